"""What of a scene takes part, in the config: masks, and the area of interest."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline.fields import Text
from pipeline.record import Record

MaskKind = Literal["scl", "qa_pixel", "bqa", "udm", "udm2", "fmask"]
"""Layers of quality that are known by name."""

Bits = int | tuple[int, ...]
"""A bit by its number, or several that count only where all are set."""


@dataclass(frozen=True, kw_only=True)
class MaskLayer:
    """What the values of a layer of quality mean, and what is left out unless the config says otherwise."""

    names: Mapping[str, Bits]
    """Number of each class or bit; the first name of a number is the one that is shown."""
    drop: tuple[int, ...] = ()
    """Classes left out."""
    keep: tuple[int, ...] = ()
    """Classes kept, all others left out."""
    bits: tuple[Bits, ...] = ()
    """Bits left out."""
    nodata: int | None = None
    """Value outside of the image, where the file has no tag that says so."""

    @property
    def has_bits(self) -> bool:
        """Whether values are made of bits, not classes."""
        return bool(self.bits)

    def name(self, number: Bits) -> str:
        """Name of a class or bit; empty where it has none."""
        return next((name for name, own in self.names.items() if own == number), "")


MASK_LAYERS: Final[Mapping[MaskKind, MaskLayer]] = {
    # Sentinel-2's scene classification (Sen2Cor)
    "scl": MaskLayer(
        names={
            "nodata": 0, "saturated": 1, "dark": 2, "cloud_shadow": 3, "vegetation": 4, "bare": 5, "water": 6,
            "unclassified": 7, "cloud_medium": 8, "cloud_high": 9, "cirrus": 10, "snow": 11,
        },
        drop=(0, 1, 3, 8, 9, 10),
    ),
    # Landsat Collection 2, QA_PIXEL
    "qa_pixel": MaskLayer(
        names={
            "fill": 0, "dilated_cloud": 1, "cirrus": 2, "cloud": 3, "cloud_shadow": 4, "snow": 5, "clear": 6,
            "water": 7,
        },
        bits=(0, 1, 2, 3, 4),
    ),
    # Landsat Collection 1, BQA: confidences take two bits each, both set where it is high
    "bqa": MaskLayer(
        names={
            "fill": 0, "terrain_occlusion": 1, "cloud": 4, "cloud_confident": (5, 6), "cloud_shadow": (7, 8),
            "snow": (9, 10), "cirrus": (11, 12),
        },
        bits=(0, 4, (7, 8), (11, 12)),
    ),
    # Planet's first unusable data mask: 0 is usable
    "udm": MaskLayer(
        names={"blackfill": 0, "cloud": 1, "blue": 2, "green": 3, "red": 4, "rededge": 5, "nir": 6},
        bits=(0, 1, 2, 3, 4, 5, 6, 7),
    ),
    # Planet's second mask, band 'clear'
    "udm2": MaskLayer(names={"not_clear": 0, "clear": 1}, keep=(1,)),
    # Harmonized Landsat Sentinel-2
    "fmask": MaskLayer(
        names={
            "cirrus": 0, "cloud": 1, "adjacent": 2, "shadow": 3, "snow": 4, "water": 5, "aerosol_high": (6, 7),
            "cloud_shadow": 3,
        },
        bits=(0, 1, 2, 3),
        nodata=255,
    ),
}  # fmt: skip
"""Layers of quality by name. Sources: the products' own handbooks."""

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
    path: Text | None = Field(
        None, description="the path of a raster or vector file; with 'layer': of a file of that kind"
    )
    drop: tuple[Value, ...] | None = Field(None, description="values to leave out; classes of SCL also by name")
    keep: tuple[Value, ...] | None = Field(None, description="values to keep; all others are left out")
    bits: tuple[Bit | Annotated[tuple[Bit, ...], Field(min_length=1)], ...] | None = Field(
        None,
        description="bits, 0 to 31 or by name (those of the layer, of a file Landsat's); left out where one is set, or "
        "where all bits of a list are, such as [cloud, [7, 8]]",
    )
    dilate: float = Field(0, ge=0, le=5_000, description="metres, 0 to 5000, by which what is left out grows")

    @model_validator(mode="before")
    @classmethod
    def _names_to_numbers(cls, value: object) -> object:
        """Read classes and bits given by name as the layer's numbers."""
        if not isinstance(value, dict):
            return value
        layer = value.get("layer")
        known = MASK_LAYERS.get(layer) if isinstance(layer, str) else None  # type: ignore[call-overload]
        names = {key: (known or MASK_LAYERS["qa_pixel" if key == "bits" else "scl"]).names for key in _RULES}
        return value | {key: _numbered(value[key], names[key]) for key in _RULES if isinstance(value.get(key), list)}

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


_RULES: Final = ("drop", "keep", "bits")
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
    path: Text | None = Field(None, description="the path of a vector file")
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
