"""What of a scene takes part, in the config: masks, and the area of interest."""

from collections.abc import Mapping
from math import isfinite
from pathlib import PurePath
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline.config.fields import Name, Text
from pipeline.config.record import Record
from pipeline.core.mask_layers import MASK_LAYERS, Bits, MaskKind, MaskLayer, mask_kind

SCL_DROPPED: Final = MASK_LAYERS["scl"].drop

MASK_WORDS: Final = (
    "what to leave out: a layer of the product's by its name (scl, qa_pixel, bqa, udm, udm2, fmask: clouds, their "
    "shadows, defects), the path of a raster (kept where not 0) or vector file (kept inside), or a mapping: such a "
    "name with a list of classes or bits to drop, path, keep, drop, bits, dilate (metres)"
)


def _spelled_out(value: object) -> object:
    """A mask as a mapping with `layer` or `path`, whatever short form it was given in."""
    if isinstance(value, str) and value.lower() == "none":
        return None
    if isinstance(value, str):
        return {"layer": value.lower()} if value.lower() in MASK_LAYERS else {"path": value}
    if isinstance(value, dict):
        for layer, meaning in MASK_LAYERS.items():
            if layer in value:
                rest = {name: entry for name, entry in value.items() if name != layer}
                listed = value[layer]
                key = "bits" if meaning.has_bits else "drop"
                return {"layer": layer, **rest} | ({} if listed in (None, "default") else {key: listed})
    return value


def _numbered(entry: object, names: Mapping[str, Bits]) -> object:
    """A class or bit by its number, also inside of a list; what is no name stays as it is."""
    if isinstance(entry, list | tuple):
        return tuple(_numbered(one, names) for one in entry)
    return names.get(entry.lower(), entry) if isinstance(entry, str) else entry


def _no_yes_or_no(value: object) -> object:
    """Refuse YAML's yes and no, which pydantic would read numbers out of."""
    if isinstance(value, bool):
        msg = "yes or no"
        raise ValueError(msg)  # noqa: TRY004 (pydantic wants this one)
    return value


Value = Annotated[int, BeforeValidator(_no_yes_or_no), Field(ge=0, le=2**32 - 1)]
Bit = Annotated[int, BeforeValidator(_no_yes_or_no), Field(ge=0, le=31)]


class MaskRecord(Record):
    """Which pixels are left out: by a layer of the product, or by a file, which may be read as such a layer."""

    layer: MaskKind | None = Field(None, description=f"a layer of the product: {', '.join(MASK_LAYERS)}")
    path: Name | None = Field(
        None, description="the path of a raster or vector file; with 'layer': of a file of that kind"
    )
    drop: tuple[Value, ...] | None = Field(None, description="values to leave out; classes of SCL also by name")
    keep: tuple[Value, ...] | None = Field(None, description="values to keep; all others are left out")
    bits: tuple[Bit | Annotated[tuple[Bit, ...], Field(min_length=1)], ...] | None = Field(
        None,
        description="bits, 0 to 31 or by name (those of the layer, or of what the file's name says, else Landsat's); "
        "left out where one is set, or where all bits of a list are, such as [cloud, [7, 8]]",
    )
    dilate: float = Field(0, ge=0, le=5_000, description="metres, 0 to 5000, by which what is left out grows")

    @model_validator(mode="before")
    @classmethod
    def _names_to_numbers(cls, value: object) -> object:
        """Read classes and bits given by name as the layer's numbers."""
        if not isinstance(value, dict):
            return value
        names = {rule: _names(value, rule) for rule in _RULES}
        listed = [rule for rule in _RULES if isinstance(value.get(rule), list | tuple)]
        return value | {rule: _numbered(value[rule], names[rule]) for rule in listed}

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.layer is None and self.path is None:
            msg = f"give 'path' or a layer: {', '.join(MASK_LAYERS)}"
            raise ValueError(msg)
        if sum(rule is not None for rule in (self.drop, self.keep, self.bits)) > 1:
            msg = "give one of 'drop', 'keep' and 'bits'"
            raise ValueError(msg)
        if self.layer is None:
            return self
        known = MASK_LAYERS[self.layer]
        classes = {number: name for name, number in known.names.items()}
        if not known.has_bits and not {*(self.drop or ()), *(self.keep or ())} <= set(classes):
            listed = ", ".join(f"{number} {name}" for number, name in classes.items())
            msg = f"{self.layer} has classes 0 to {len(classes) - 1}: {listed}"
            raise ValueError(msg)
        asked = (self.drop, self.keep) if known.has_bits else (self.bits,)
        if any(rule is not None for rule in asked):
            msg = f"{self.layer} goes by {'bits' if known.has_bits else 'classes: drop or keep'}"
            raise ValueError(msg)
        return self

    @property
    def rule(self) -> tuple[str, tuple[Bits, ...]]:
        """Which of 'drop', 'keep' and 'bits' holds, and its numbers: by the config, else what goes with the layer."""
        for name in _RULES:
            if (numbers := getattr(self, name)) is not None:
                return name, numbers
        known = MASK_LAYERS[self.layer] if self.layer else None
        default = ((name, getattr(known, name)) for name in _RULES if known and getattr(known, name))
        return next(default, ("drop", (0,)))


_RULES: Final = ("drop", "keep", "bits")


def _names(value: Mapping[str, object], rule: str) -> Mapping[str, Bits]:
    """Numbers of classes or bits by name: of the layer, else of what a file's name says, else SCL's or Landsat's."""
    layer, path = value.get("layer"), value.get("path")
    kind = layer if isinstance(layer, str) else mask_kind(PurePath(path).stem) if isinstance(path, str) else None
    known = MASK_LAYERS.get(kind) if kind else None  # type: ignore[call-overload]
    if known and known.has_bits == (rule == "bits"):
        return known.names  # type: ignore[no-any-return]
    return MASK_LAYERS["qa_pixel" if rule == "bits" else "scl"].names


_VALUES: Final = {"type": "array", "items": {"type": ["integer", "string"]}}
_BITS: Final = {"type": "array", "items": {"anyOf": [*({"type": kind} for kind in ("integer", "string")), _VALUES]}}


def _choice(layer: MaskLayer) -> dict[str, Any]:
    return {"anyOf": [{"const": "default"}, _BITS if layer.has_bits else _VALUES]}


MaskConfig = Annotated[
    MaskRecord | None,
    BeforeValidator(_spelled_out),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {
                        **{name: _choice(layer) for name, layer in MASK_LAYERS.items()},
                        "layer": {"enum": list(MASK_LAYERS)},
                        "path": {"type": "string", "minLength": 1},
                        "drop": _VALUES,
                        "keep": _VALUES,
                        "bits": _BITS,
                        "dilate": {"type": "number", "minimum": 0},
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def _area_spelled_out(value: object) -> object:
    """An area as a mapping, whatever short form it was given in."""
    if isinstance(value, str):
        return {"path": value}
    return {"bounds": value} if isinstance(value, list | tuple) else value


class AreaRecord(Record):
    """The area of interest. Just one of `bounds` and `path` is given."""

    bounds: tuple[float, float, float, float] | None = Field(None, description="[west, south, east, north]")
    path: Name | None = Field(None, description="the path of a vector file")
    crs: Text | None = Field(None, description="of the bounds, such as EPSG:32648 (default: EPSG:4326, degrees)")

    @model_validator(mode="after")
    def _one_area(self) -> Self:
        if (self.bounds is None) == (self.path is None):
            msg = "give either 'bounds' or 'path'"
            raise ValueError(msg)
        if self.path and self.crs:
            msg = "'crs' is that of 'bounds'; a vector file has its own"
            raise ValueError(msg)
        if self.bounds:
            west, south, east, north = self.bounds
            if not all(map(isfinite, self.bounds)) or west >= east or south >= north:
                msg = "expected west < east and south < north"
                raise ValueError(msg)
            if self.crs is None and not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):  # noqa: PLR2004
                msg = "these are no degrees; say which 'crs' they are in"
                raise ValueError(msg)
        return self


AreaConfig = Annotated[
    AreaRecord | None,
    BeforeValidator(_area_spelled_out),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                {
                    "type": "object",
                    "properties": {
                        "bounds": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                        "path": {"type": "string", "minLength": 1},
                        "crs": {"type": "string", "minLength": 1},
                    },
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
