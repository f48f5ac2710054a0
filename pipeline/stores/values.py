"""What the stored numbers of variables of Zarr and NetCDF stores mean: nodata, valid range, scale, kind of layer."""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from pipeline.core.errors import SceneError
from pipeline.core.layer_kinds import LayerKind
from pipeline.core.numbers import as_number, check_scaling
from pipeline.core.units import Quantity
from pipeline.kernels.validity import representable
from pipeline.raster.file_bands import ArrayRef
from pipeline.stores.groups import is_zarr, marking_fill

logger = logging.getLogger(__name__)

NODATA_KEYS: Final = ("_FillValue", "fill_value", "missing_value", "nodata", "_nodata", "NODATA")
"""Attributes that hold nodata values: CF's, and those of rioxarray, odc-geo and the datacube; the first counts most."""

_OF_EACH_BAND: Final = "nodatavals"
"""Attribute of xarray's old `open_rasterio`: one value for each band, or for all."""

_FLAGS: Final = frozenset({"flag_values", "flag_masks", "flag_meanings"})
_ANGLE: Final = ("_zenith_angle", "_azimuth_angle", "_angle", "_elevation_angle")
_TEMPERATURE_UNITS: Final = frozenset(
    {"k", "kelvin", "degc", "deg_c", "degree_celsius", "degrees_celsius", "celsius", "°c"}
)
_ANGLE_UNITS: Final = frozenset({"degree", "degrees", "deg", "radian", "radians", "rad"})
_SINCE: Final = re.compile(r"\w+ since \S")
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """From stored numbers to physical units."""

    scale: float
    offset: float

    @classmethod
    def of(cls, attrs: Mapping[str, Any], where: str) -> "Scaling":
        """What the attributes of a variable state.

        Raises
        ------
        SceneError
            When it is no number, or makes none.
        """
        scale, offset = (
            as_number(attrs.get(name, default), f"{where}: {name}")
            for name, default in (("scale_factor", 1), ("add_offset", 0))
        )
        check_scaling(scale, offset, where)
        return cls(scale=scale, offset=offset)

    @property
    def is_stated(self) -> bool:
        """Whether physical units differ from stored numbers."""
        return (self.scale, self.offset) != (1, 0)


def kind_of(attrs: Mapping[str, Any]) -> LayerKind | None:
    """What a variable is by its CF attributes, where it is no measurement: flags or classes, or coordinates."""
    standard, units = (str(attrs.get(key, "")).lower() for key in ("standard_name", "units"))
    if _FLAGS & set(attrs) or standard.endswith(("status_flag", "quality_flag")):
        return "quality layer"
    if _SINCE.match(units) or attrs.get("dtype") == "bool":  # when a pixel was seen; xarray's yes and no
        return "quality layer"
    if standard in {"latitude", "longitude"} or units.startswith(("degrees_n", "degrees_e")):
        return "angles"
    return None


def quantity_of(attrs: Mapping[str, Any]) -> Quantity | None:
    """Physical quantity that CF attributes (`standard_name`, `units`) name; None where they name none of ours."""
    standard = str(attrs.get("standard_name", "")).lower()
    units = str(attrs.get("units", "")).strip().lower()
    if "temperature" in standard or units in _TEMPERATURE_UNITS:
        return "temperature"
    if "reflectance" in standard:
        return "reflectance"
    if "radiance" in standard:
        return "radiance"
    if standard.endswith(_ANGLE) or units in _ANGLE_UNITS:
        return "angle"
    if standard in {"height", "altitude"} or standard.startswith(("height_above", "surface_altitude")):
        return "elevation"
    return None


def nodata_values(ref: ArrayRef, stored: xr.Variable, decoded: xr.Variable, where: str) -> tuple[float, ...]:
    """All stored numbers that mean no data and can occur; where none can, the first that is stated.

    NaN, which always means no data, is given only where it is alone.

    Parameters
    ----------
    ref : ArrayRef
        The band.
    stored : Variable
        As the file has it.
    decoded : Variable
        The same with the sign that `_Unsigned` states.
    where : str
        For messages.

    Raises
    ------
    SceneError
        When a value is no number.
    """
    attrs = stored.attrs
    stated = [value for key in NODATA_KEYS if key in attrs for value in as_list(attrs[key])]
    each = as_list(attrs.get(_OF_EACH_BAND))
    stated += (
        each[ref.index : ref.index + 1]
        if ref.bands and len(each) == decoded.shape[decoded.dims.index(ref.bands)]
        else each[:1]
    )
    if not stated and is_zarr(ref.path):
        fill = marking_fill(ref.path, ref.group, ref.variable)
        stated = [] if fill is None else [fill]
    values = [_signed(value, stored.dtype, decoded.dtype, where) for value in stated if value is not None]
    known = dict.fromkeys(value for value in values if not math.isnan(value))
    can_occur = [value for value in known if representable(value, decoded.dtype)]
    return tuple(can_occur or [*known, *values][:1])


def as_list(value: Any) -> list[Any]:
    """What an attribute holds, one or many."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        return [value]
    try:
        return list(np.asarray(value).reshape(-1))
    except ValueError:  # lists of several lengths, which are no numbers
        return [value]


def _signed(value: Any, stored: np.dtype[Any], decoded: np.dtype[Any], where: str) -> float:
    """A nodata value as the decoded pixels have it."""
    if isinstance(value, float | np.floating) and np.isnan(value):
        return math.nan
    if isinstance(value, str) and value.strip().lower() == "nan":
        return math.nan
    number = as_number(value, f"{where}: nodata")
    if stored.kind == decoded.kind or stored.kind not in "iu" or not representable(number, stored):
        return number
    return float(np.array(int(number), stored).view(decoded))


def valid_limits(
    attrs: Mapping[str, Any], stored: np.dtype[Any], decoded: np.dtype[Any], scaling: Scaling, where: str
) -> tuple[float | None, float | None]:
    """Lowest and highest stored number that is data, by `valid_min`, `valid_max` and `valid_range`; None without limit.

    Limits are stored numbers, unless those are packed integers and the limits floats: these are physical (CF
    conventions, 2.5.1; NetCDF users' guide, attribute conventions).
    """
    try:
        limits = _stated_limits(attrs)
        numbers = [None if limit is None else as_number(limit, where) for limit in limits]
    except (ValueError, SceneError) as error:
        logger.warning("%s: its valid range makes no sense (%s): ignored", where, error)
        return None, None
    physical = any(isinstance(limit, float | np.floating) for limit in limits if limit is not None)
    if decoded.kind in "iu" and physical and scaling.is_stated:
        numbers = [None if number is None else _packed(number, scaling) for number in numbers]
        if scaling.scale < 0:
            numbers.reverse()
    elif stored.kind != decoded.kind:
        numbers = [None if number is None else _signed(number, stored, decoded, where) for number in numbers]
    low, high = numbers
    least, most = (np.iinfo(decoded).min, np.iinfo(decoded).max) if decoded.kind in "iu" else (-math.inf, math.inf)
    if (least if low is None else low) > (most if high is None else high):
        logger.warning("%s: its valid range, from %s to %s, makes no sense: ignored", where, low, high)
        return None, None
    return _within(low, high, decoded)


def _stated_limits(attrs: Mapping[str, Any]) -> tuple[Any, Any]:
    """The least and the largest valid number as stated.

    Raises
    ------
    ValueError
        When a range has not two numbers.
    """
    if "valid_range" in attrs:
        stated = attrs["valid_range"]
        both = _numbers_in(stated) if isinstance(stated, str) else as_list(stated)
        if len(both) != 2:  # noqa: PLR2004
            msg = f"{str(attrs['valid_range'])[:40]!r} is no pair"
            raise ValueError(msg)
        return both[0], both[1]
    low, high = (as_list(attrs.get(key)) for key in ("valid_min", "valid_max"))
    return (low[0] if low else None), (high[0] if high else None)


def _numbers_in(text: str) -> list[float]:
    """Numbers of a text such as `0, 10000`: whole ones as integers.

    Raises
    ------
    ValueError
        When one is none.
    """
    words = text.replace(",", " ").split()
    return [int(word) if word.lstrip("+-").isdigit() else float(word) for word in words]


def _packed(number: float, scaling: Scaling) -> float:
    """A physical number as a stored one, without what rounding adds to whole ones."""
    packed = (number - scaling.offset) / scaling.scale
    near = round(packed)
    return float(near) if abs(packed - near) <= _ROUNDING * max(1.0, abs(near)) else packed


def _within(low: float | None, high: float | None, dtype: np.dtype[Any]) -> tuple[float | None, float | None]:
    """Limits as numbers of a type; None where none of its numbers lies beyond."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # of numbers beyond those of the type
            low, high = (None if limit is None else float(dtype.type(limit)) for limit in (low, high))
        return low, high
    bounds = np.iinfo(dtype)
    low = None if low is None or low <= bounds.min else math.ceil(low)
    high = None if high is None or high >= bounds.max else math.floor(high)
    return low, high
