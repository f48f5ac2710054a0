"""Config records of masks and of the area of interest."""

from collections.abc import Mapping
from math import isfinite
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, create_model, model_validator

from pipeline.config.fields import Name, Text, says_none
from pipeline.config.record import Record, refuse_boolean
from pipeline.core.mask_layers import MASK_LAYERS, Bits, MaskKind, MaskLayer, mask_kind

MASK_DESCRIPTION: Final = (
    "which pixels to mask out: the name of a quality layer of the product (scl, qa_pixel, bqa, udm, udm2, fmask: masks "
    "out clouds, their shadows and defects), the path of a raster (masks out 0) or vector file (masks out pixels "
    "outside its polygons), or a mapping: a layer's name with a list of classes or bits to drop, path, keep, drop, "
    "bits, dilate (metres)"
)


def _expand_mask(value: object) -> object:
    """Expand the short forms of a mask to a mapping with `layer` or `path`."""
    if says_none(value):
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


def _names_to_numbers(entry: object, names: Mapping[str, Bits]) -> object:
    """Replace names of classes or bits by numbers, also inside nested lists; other values are returned unchanged."""
    if isinstance(entry, list | tuple):
        return tuple(_names_to_numbers(item, names) for item in entry)
    return names.get(entry.lower(), entry) if isinstance(entry, str) else entry


Value = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(refuse_boolean, json_schema_input_type=int | str)]
"""Pixel value of a mask layer."""
Bit = Annotated[int, Field(ge=0, le=31), BeforeValidator(refuse_boolean, json_schema_input_type=int | str)]
"""Bit number in the pixel values of a mask layer."""


class MaskRecord(Record):
    """Mask: a quality layer of the product, or a file, which may be read as a layer of that kind."""

    layer: MaskKind | None = Field(None, description=f"a quality layer of the product: {', '.join(MASK_LAYERS)}")
    path: Name | None = Field(
        None, description="the path of a raster or vector file; with 'layer': of a raster of that kind"
    )
    drop: tuple[Value, ...] | None = Field(None, description="values to mask out; classes of SCL also by name")
    keep: tuple[Value, ...] | None = Field(None, description="values to keep; all others are masked out")
    bits: tuple[Bit | Annotated[tuple[Bit, ...], Field(min_length=1)], ...] | None = Field(
        None,
        description="bits, 0 to 31 or by name (those of the layer, else of the layer that the file name says, else of "
        "Landsat's QA_PIXEL); pixels where one is set, or all bits of an inner list, are masked out, such as "
        "[cloud, [7, 8]]",
    )
    dilate: float = Field(0, ge=0, le=5_000, description="metres, 0 to 5000, by which the masked out areas grow")

    @model_validator(mode="before")
    @classmethod
    def _parse_names(cls, value: object) -> object:
        """Convert names of classes and bits to the numbers of the layer."""
        if not isinstance(value, dict):
            return value
        names = {rule: _names_of_values(value, rule) for rule in _RULES}
        listed = [rule for rule in _RULES if isinstance(value.get(rule), list | tuple)]
        return value | {rule: _names_to_numbers(value[rule], names[rule]) for rule in listed}

    @model_validator(mode="after")
    def _has_one_valid_rule(self) -> Self:
        if self.layer is None and self.path is None:
            msg = f"give 'path' or a layer: {', '.join(MASK_LAYERS)}"
            raise ValueError(msg)
        if sum(rule is not None for rule in (self.drop, self.keep, self.bits)) > 1:
            msg = "give only one of 'drop', 'keep' and 'bits'"
            raise ValueError(msg)
        if self.layer is None:
            return self
        known = MASK_LAYERS[self.layer]
        classes = {number: name for name, number in known.names.items()}
        if not known.has_bits and not {*(self.drop or ()), *(self.keep or ())} <= set(classes):
            listed = ", ".join(f"{number} {name}" for number, name in classes.items())
            msg = f"{self.layer} has classes 0 to {len(classes) - 1}: {listed}"
            raise ValueError(msg)
        unsuitable = (self.drop, self.keep) if known.has_bits else (self.bits,)
        if any(rule is not None for rule in unsuitable):
            instead = "bits; give 'bits'" if known.has_bits else "classes; give 'drop' or 'keep'"
            msg = f"{self.layer} holds {instead}"
            raise ValueError(msg)
        return self

    @property
    def rule(self) -> tuple[str, tuple[Bits, ...]]:
        """'drop', 'keep' or 'bits', with its numbers: from the config, else the default of the layer, else drop 0."""
        for name in _RULES:
            if (numbers := getattr(self, name)) is not None:
                return name, numbers
        known = MASK_LAYERS[self.layer] if self.layer else None
        default = ((name, getattr(known, name)) for name in _RULES if known and getattr(known, name))
        return next(default, ("drop", (0,)))


_RULES: Final = ("drop", "keep", "bits")
"""Keys that select pixels by value."""


def _names_of_values(value: Mapping[str, object], rule: str) -> Mapping[str, Bits]:
    """Numbers of classes or bits by name: of the layer, else of that in the file name, else of SCL or QA_PIXEL."""
    layer, path = value.get("layer"), value.get("path")
    kind = layer if isinstance(layer, str) else mask_kind(PurePath(path).stem) if isinstance(path, str) else None
    known = MASK_LAYERS.get(kind) if kind else None  # type: ignore[call-overload]
    if known and known.has_bits == (rule == "bits"):
        return known.names  # type: ignore[no-any-return]
    return MASK_LAYERS["qa_pixel" if rule == "bits" else "scl"].names


def _entry(layer: MaskLayer) -> Any:
    """Type of an entry in the list of a layer's key."""
    return Bit | tuple[Bit, ...] if layer.has_bits else Value


_LAYER_KEYS: Final[dict[str, Any]] = {
    name: (tuple[_entry(layer), ...] | Literal["default"] | None, "default")  # type: ignore[misc]
    for name, layer in MASK_LAYERS.items()
}
_MaskInput = create_model("MaskInput", __base__=MaskRecord, **_LAYER_KEYS)
"""A mask as it may be written: with a key for each layer, for its classes or bits."""

MaskConfig = Annotated[
    MaskRecord | None, BeforeValidator(_expand_mask, json_schema_input_type=Text | _MaskInput | None)
]


def _expand_area(value: object) -> object:
    """Expand the short forms of an area to a mapping with `bounds` or `path`."""
    if isinstance(value, str):
        return {"path": value}
    return {"bounds": value} if isinstance(value, list | tuple) else value


class AreaRecord(Record):
    """Area of interest: exactly one of `bounds` and `path`."""

    bounds: tuple[float, float, float, float] | None = Field(None, description="[west, south, east, north]")
    path: Name | None = Field(None, description="the path of a vector file")
    crs: Text | None = Field(None, description="CRS of the bounds, such as EPSG:32648 (default: EPSG:4326, degrees)")

    @model_validator(mode="after")
    def _has_one_valid_area(self) -> Self:
        if (self.bounds is None) == (self.path is None):
            msg = "give either 'bounds' or 'path'"
            raise ValueError(msg)
        if self.path and self.crs:
            msg = "'crs' applies to 'bounds' only, as a vector file states its own; leave it out"
            raise ValueError(msg)
        if self.bounds:
            west, south, east, north = self.bounds
            if not all(map(isfinite, self.bounds)) or west >= east or south >= north:
                msg = "expected west < east and south < north"
                raise ValueError(msg)
            if self.crs is None and not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):  # noqa: PLR2004
                msg = "these are not degrees; give the 'crs' of the bounds"
                raise ValueError(msg)
        return self


AreaConfig = Annotated[
    AreaRecord | None,
    BeforeValidator(_expand_area, json_schema_input_type=Text | tuple[float, float, float, float] | AreaRecord | None),
]
