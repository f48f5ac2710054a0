"""What of a scene takes part, in the config: masks, and the area of interest."""

from math import isfinite
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from pipeline.fields import Text
from pipeline.record import Record
from pipeline.settings import NO_PATHS

SCL_CLASSES: Final = {
    "nodata": 0, "saturated": 1, "dark": 2, "cloud_shadow": 3, "vegetation": 4, "bare": 5, "water": 6,
    "unclassified": 7, "cloud_medium": 8, "cloud_high": 9, "cirrus": 10, "snow": 11,
}  # fmt: skip
"""Classes of Sentinel-2's scene classification (Sen2Cor)."""

SCL_DROPPED: Final = (0, 1, 3, 8, 9, 10)
"""What is left out unless the config says otherwise: nodata, defects, shadows of clouds, clouds, cirrus."""

QA_BITS: Final = {
    "fill": 0, "dilated_cloud": 1, "cirrus": 2, "cloud": 3, "cloud_shadow": 4, "snow": 5, "clear": 6, "water": 7,
}  # fmt: skip
"""Bits of the pixel quality band of Landsat Collection 2."""

QA_DROPPED: Final = (0, 1, 2, 3, 4)

MASK_WORDS: Final = (
    "what to leave out: 'scl' (clouds, their shadows, defects), 'qa_pixel' (the same of Landsat), the path of a raster "
    "(kept where not 0) or vector file (kept inside), or a mapping: scl or qa_pixel (a list of classes or bits to "
    "drop), path, keep, drop, bits, dilate (metres)"
)

_SHORT: Final = NO_PATHS[1:]


def _spelled_out(value: object) -> object:
    """A mask as a mapping with `layer` or `path`, whatever short form it was given in."""
    if isinstance(value, str) and value.lower() == "none":
        return None
    if isinstance(value, str):
        return {"layer": value.lower()} if value.lower() in _SHORT else {"path": value}
    if isinstance(value, dict):
        for layer, key in (("scl", "drop"), ("qa_pixel", "bits")):
            if layer in value:
                rest = {name: entry for name, entry in value.items() if name != layer}
                listed = value[layer]
                return {"layer": layer, **rest} | ({} if listed in (None, "default") else {key: listed})
    return value


def _number_of(names: dict[str, int]) -> Any:
    """Read a class or bit given by name as its number."""

    def number(value: object) -> object:
        if isinstance(value, bool):
            msg = "yes or no"
            raise ValueError(msg)  # noqa: TRY004 (pydantic wants this one)
        return names.get(value.lower(), value) if isinstance(value, str) else value

    return BeforeValidator(number)


Value = Annotated[int, _number_of(SCL_CLASSES), Field(ge=0, le=2**32 - 1)]
Bit = Annotated[int, _number_of(QA_BITS), Field(ge=0, le=31)]


class MaskRecord(Record):
    """Which pixels are left out. Just one of `layer` and `path` is given."""

    layer: Literal["scl", "qa_pixel"] | None = Field(None, description="'scl' or 'qa_pixel', of the product")
    path: Text | None = Field(None, description="the path of a raster or vector file")
    drop: tuple[Value, ...] | None = Field(None, description="values to leave out; classes of SCL also by name")
    keep: tuple[Value, ...] | None = Field(None, description="values to keep; all others are left out")
    bits: tuple[Bit, ...] | None = Field(
        None, description="bits, 0 to 31 or Landsat's names; left out where one is set"
    )
    dilate: float = Field(0, ge=0, le=5_000, description="metres, 0 to 5000, by which what is left out grows")

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.layer is None) == (self.path is None):
            msg = "give either 'layer' (or 'scl', 'qa_pixel') or 'path'"
            raise ValueError(msg)
        if sum(rule is not None for rule in (self.drop, self.keep, self.bits)) > 1:
            msg = "give one of 'drop', 'keep' and 'bits'"
            raise ValueError(msg)
        if self.layer == "scl" and max((*(self.drop or ()), *(self.keep or ())), default=0) > max(SCL_CLASSES.values()):
            msg = f"scl has classes 0 to 11: {', '.join(f'{number} {name}' for name, number in SCL_CLASSES.items())}"
            raise ValueError(msg)
        if (self.layer == "scl" and self.bits) or (self.layer == "qa_pixel" and (self.drop or self.keep)):
            msg = f"{self.layer} goes by {'classes: drop or keep' if self.layer == 'scl' else 'bits'}"
            raise ValueError(msg)
        return self


_VALUES: Final = {"type": "array", "items": {"type": ["integer", "string"]}}
_CHOICE: Final = {"anyOf": [{"const": "default"}, _VALUES]}

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
                        "scl": _CHOICE,
                        "qa_pixel": _CHOICE,
                        "layer": {"enum": list(_SHORT)},
                        "path": {"type": "string", "minLength": 1},
                        "drop": _VALUES,
                        "keep": _VALUES,
                        "bits": _VALUES,
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
