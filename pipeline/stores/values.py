"""Meaning of the stored numbers of variables of Zarr and NetCDF stores: nodata, valid range, scale, kind of layer."""

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
from pipeline.stores.groups import PACKING_KEYS, is_zarr, nodata_fill_value

logger = logging.getLogger(__name__)

NODATA_KEYS: Final = ("_FillValue", "fill_value", "missing_value", "nodata", "_nodata", "NODATA")
"""Attributes with nodata values, of CF, rioxarray, odc-geo and the Open Data Cube, in order of precedence."""

_NODATA_PER_BAND: Final = "nodatavals"
"""Attribute written by xarray's old `open_rasterio`: a nodata value per band, or one for all."""

_FLAGS: Final = frozenset({"flag_values", "flag_masks", "flag_meanings"})
_ANGLE_SUFFIXES: Final = ("_zenith_angle", "_azimuth_angle", "_angle", "_elevation_angle")
_TEMPERATURE_UNITS: Final = frozenset(
    {"k", "kelvin", "degc", "deg_c", "degree_celsius", "degrees_celsius", "celsius", "°c"}
)
_ANGLE_UNITS: Final = frozenset({"degree", "degrees", "deg", "radian", "radians", "rad"})
_TIME_UNITS: Final = re.compile(r"\w+ since \S")
_ROUNDING: Final = 1e-6
"""Relative difference from a whole number that counts as rounding of a packed number."""


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Scale and offset of packed data (CF conventions, 8.1): physical = stored * scale + offset."""

    scale: float
    offset: float

    @classmethod
    def of(cls, attrs: Mapping[str, Any], where: str) -> "Packing":
        """Read the scale and offset that the attributes of a variable state; 1 and 0 if they state none.

        Raises SceneError when one is not a finite number, or too large or small to compute with.
        """
        scale, offset = (
            as_number(attrs.get(name, default), f"{where}: {name}")
            for name, default in zip(PACKING_KEYS, (1, 0), strict=True)
        )
        check_scaling(scale, offset, where)
        return cls(scale=scale, offset=offset)

    @property
    def is_stated(self) -> bool:
        """Whether physical units differ from stored numbers."""
        return (self.scale, self.offset) != (1, 0)


def kind_of(attrs: Mapping[str, Any]) -> LayerKind | None:
    """Kind of a layer that is not a measurement, by CF attributes: flags, classes, times or coordinates; else None."""
    standard, units = (str(attrs.get(key, "")).lower() for key in ("standard_name", "units"))
    if _FLAGS & set(attrs) or standard.endswith(("status_flag", "quality_flag")):
        return "quality layer"
    if _TIME_UNITS.match(units) or attrs.get("dtype") == "bool":  # acquisition times, or booleans as xarray stores them
        return "quality layer"
    if standard in {"latitude", "longitude"} or units.startswith(("degrees_n", "degrees_e")):
        return "angles"
    return None


def quantity_of(attrs: Mapping[str, Any]) -> Quantity | None:
    """Physical quantity by CF attributes (`standard_name`, `units`); None if they state no known one."""
    standard = str(attrs.get("standard_name", "")).lower()
    units = str(attrs.get("units", "")).strip().lower()
    if "temperature" in standard or units in _TEMPERATURE_UNITS:
        return "temperature"
    if "reflectance" in standard:
        return "reflectance"
    if "radiance" in standard:
        return "radiance"
    if standard.endswith(_ANGLE_SUFFIXES) or units in _ANGLE_UNITS:
        return "angle"
    if standard in {"height", "altitude"} or standard.startswith(("height_above", "surface_altitude")):
        return "elevation"
    return None


def nodata_values(ref: ArrayRef, stored: xr.Variable, decoded: xr.Variable, where: str) -> tuple[float, ...]:
    """Nodata values among the stored numbers that can occur in pixels; if none can, the first that is stated.

    NaN, which always means nodata, is returned only if it is the only one. `decoded` is the variable with the sign that
    `_Unsigned` states; `where` names store and variable in messages. Raises SceneError when a value is not a number.
    """
    attrs = stored.attrs
    stated = [value for key in NODATA_KEYS if key in attrs for value in as_list(attrs[key])]
    per_band = as_list(attrs.get(_NODATA_PER_BAND))
    stated += (
        per_band[ref.index : ref.index + 1]
        if ref.bands and len(per_band) == decoded.shape[decoded.dims.index(ref.bands)]
        else per_band[:1]
    )
    if not stated and is_zarr(ref.path):
        fill = nodata_fill_value(ref.path, ref.group, ref.variable)
        stated = [] if fill is None else [fill]
    values = [_signed(value, stored.dtype, decoded.dtype, where) for value in stated if value is not None]
    known = dict.fromkeys(value for value in values if not math.isnan(value))
    can_occur = [value for value in known if representable(value, decoded.dtype)]
    return tuple(can_occur or [*known, *values][:1])


def as_list(value: Any) -> list[Any]:
    """Values of an attribute, one or several, as a list."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    if isinstance(value, str):
        return [value]
    try:
        return list(np.asarray(value).reshape(-1))
    except ValueError:  # nested lists of different lengths
        return [value]


def _signed(value: Any, stored: np.dtype[Any], decoded: np.dtype[Any], where: str) -> float:
    """Convert a stated nodata value or limit to the sign of the decoded pixels."""
    if isinstance(value, float | np.floating) and np.isnan(value):
        return math.nan
    if isinstance(value, str) and value.strip().lower() == "nan":
        return math.nan
    number = as_number(value, f"{where}: nodata")
    if stored.kind == decoded.kind or stored.kind not in "iu" or not representable(number, stored):
        return number
    return float(np.array(int(number), stored).view(decoded))


def valid_limits(
    attrs: Mapping[str, Any], stored: np.dtype[Any], decoded: np.dtype[Any], packing: Packing, where: str
) -> tuple[float | None, float | None]:
    """Lowest and highest valid stored number, by `valid_range`, `valid_min` and `valid_max`; None without a limit.

    Limits are stored numbers, except that floats for packed integers are physical (CF conventions, 2.5.1; NetCDF Users
    Guide, attribute conventions).
    """
    try:
        limits = _stated_limits(attrs)
        numbers = [None if limit is None else as_number(limit, where) for limit in limits]
    except (ValueError, SceneError) as error:
        logger.warning("%s: the valid range is malformed (%s) and ignored", where, error)
        return None, None
    physical = any(isinstance(limit, float | np.floating) for limit in limits if limit is not None)
    if decoded.kind in "iu" and physical and packing.is_stated:
        numbers = [None if number is None else _packed(number, packing) for number in numbers]
        if packing.scale < 0:
            numbers.reverse()
    elif stored.kind != decoded.kind:
        numbers = [None if number is None else _signed(number, stored, decoded, where) for number in numbers]
    low, high = numbers
    least, most = (np.iinfo(decoded).min, np.iinfo(decoded).max) if decoded.kind in "iu" else (-math.inf, math.inf)
    if (least if low is None else low) > (most if high is None else high):
        logger.warning("%s: the valid range from %s to %s is empty and ignored", where, low, high)
        return None, None
    return _within(low, high, decoded)


def _stated_limits(attrs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Lowest and highest valid number as stated; None without a limit.

    Raises ValueError when `valid_range` is not two numbers.
    """
    if "valid_range" in attrs:
        stated = attrs["valid_range"]
        limits = _numbers_in(stated) if isinstance(stated, str) else as_list(stated)
        if len(limits) != 2:  # noqa: PLR2004
            msg = f"{str(attrs['valid_range'])[:40]!r} is not two numbers"
            raise ValueError(msg)
        return limits[0], limits[1]
    low, high = (as_list(attrs.get(key)) for key in ("valid_min", "valid_max"))
    return (low[0] if low else None), (high[0] if high else None)


def _numbers_in(text: str) -> list[float]:
    """Numbers in a text such as `0, 10000`, whole ones as integers; raise ValueError when a word is not a number."""
    words = text.replace(",", " ").split()
    return [int(word) if word.lstrip("+-").isdigit() else float(word) for word in words]


def _packed(number: float, packing: Packing) -> float:
    """Convert a physical number to a stored one, rounded if it is almost whole."""
    packed = (number - packing.offset) / packing.scale
    near = round(packed)
    return float(near) if abs(packed - near) <= _ROUNDING * max(1.0, abs(near)) else packed


def _within(low: float | None, high: float | None, dtype: np.dtype[Any]) -> tuple[float | None, float | None]:
    """Convert limits to numbers of a type; None for limits that no number of an integer type exceeds."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # limits beyond the type's range become infinite
            low, high = (None if limit is None else float(dtype.type(limit)) for limit in (low, high))
        return low, high
    bounds = np.iinfo(dtype)
    low = None if low is None or low <= bounds.min else math.ceil(low)
    high = None if high is None or high >= bounds.max else math.floor(high)
    return low, high
