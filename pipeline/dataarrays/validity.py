"""Nodata values and valid range of a DataArray, from its attributes and the encoding left by xarray's decoder."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr

from pipeline.core.numbers import as_number
from pipeline.kernels.validity import representable
from pipeline.stores.groups import PACKING_KEYS
from pipeline.stores.values import NODATA_KEYS, Packing, as_list, valid_limits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ValidNumbers:
    """Rule for the valid numbers of a band: neither a nodata value nor outside the valid range."""

    nodata: tuple[int | float, ...] = ()
    """Nodata values in the array's type; NaN always means nodata."""
    lowest: float | None = None
    """Lowest valid number; None without a limit."""
    highest: float | None = None
    """Highest valid number; None without a limit."""

    @classmethod
    def of(cls, array: xr.DataArray) -> "ValidNumbers":
        """Rule that an array states: rioxarray's nodata value, those in attributes, and CF's valid range.

        A valid range is used only for arrays as xarray opened them: computations may keep attributes that no longer
        describe the numbers.
        """
        if array.dtype.kind not in "iuf":
            return cls()  # rejected later
        stated = [value for value in (_by_rioxarray(array), *_by_attributes(array)) if not math.isnan(value)]
        usable = [value for value in dict.fromkeys(stated) if representable(value, array.dtype)]
        if len(usable) < len(dict.fromkeys(stated)):
            unusable = next(value for value in stated if value not in usable)
            logger.warning(
                "the nodata value %.10g can't occur in the scene's %s pixels and is ignored", unusable, array.dtype
            )
        low, high = _limits(array)
        return cls(nodata=tuple(array.dtype.type(value).item() for value in usable), lowest=low, highest=high)

    def apply(self, plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Mask out the invalid numbers of a band in `valid`, in place, except those equal to the first nodata value.

        Both have the shape (rows, columns); numbers are in the array's type or a wider one.
        """
        for value in self.nodata[1:]:  # `mask_invalid` applies the first
            valid &= plane != plane.dtype.type(value)
        if self.lowest is not None:
            valid &= ~(plane < self.lowest)
        if self.highest is not None:
            valid &= ~(plane > self.highest)


def _by_rioxarray(array: xr.DataArray) -> float:
    """Nodata value by rioxarray; NaN if it finds none, or values in the encoding are read from attributes instead."""
    if _is_undecoded(array):
        return math.nan
    try:
        nodata = array.rio.nodata
    except (OverflowError, ValueError, TypeError):  # several values, or one outside the type's range
        return math.nan
    return math.nan if nodata is None or np.size(nodata) != 1 else float(np.ravel(nodata)[0])


def _is_undecoded(array: xr.DataArray) -> bool:
    """Whether pixels still hold nodata values of the encoding: decoded ones would be floats."""
    return array.dtype.kind in "iu" and array.rio.encoded_nodata is not None


def _by_attributes(array: xr.DataArray) -> list[float]:
    """Nodata values in attributes, converted to numbers of the decoded pixels."""
    encoding = array.encoding if _is_undecoded(array) else {}
    found = []
    values = (source.get(key) for key in NODATA_KEYS for source in (encoding, array.attrs))
    for stated in (number for value in values for number in as_list(value)):
        text = str(stated).strip().lower()
        number = math.nan if text == "nan" else as_number(stated, "the scene's nodata value")
        found.append(_decoded(number, array))
    return found


def _limits(array: xr.DataArray) -> tuple[float | None, float | None]:
    """CF's valid range, converted to numbers of the decoded pixels."""
    if not _as_opened(array):
        return None, None
    stored = np.dtype(array.encoding["dtype"])
    decoded = array.dtype if not _is_decoded(array) else _with_sign(stored, str(array.encoding.get("_Unsigned", "")))
    packing = array.encoding if _is_decoded(array) else array.attrs
    limits = valid_limits(array.attrs, stored, decoded, Packing.of(packing, "the scene"), "the scene")
    low, high = (None if limit is None else _decoded(limit, array) for limit in limits)
    return (low, high) if low is None or high is None or low <= high else (high, low)


def _as_opened(array: xr.DataArray) -> bool:
    """Whether an array is as xarray opened it, so that its attributes describe its numbers."""
    return "dtype" in array.encoding and np.dtype(array.encoding["dtype"]).kind in "iuf"


def _is_decoded(array: xr.DataArray) -> bool:
    """Whether xarray's decoder has applied packing, nodata values or a sign."""
    return bool({*PACKING_KEYS, "_FillValue", "missing_value", "_Unsigned"} & set(array.encoding))


def _with_sign(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any]:
    """Integer type with the sign that `_Unsigned` states."""
    if dtype.kind not in "iu" or not unsigned:
        return dtype
    return np.dtype(f"{'u' if unsigned.lower() == 'true' else 'i'}{dtype.itemsize}")


def _decoded(number: float, array: xr.DataArray) -> float:
    """Convert a stored number with xarray's decoder, so that it equals decoded pixels bit by bit."""
    packing = {key: array.encoding[key] for key in PACKING_KEYS if key in array.encoding}
    if not packing or math.isnan(number) or not _as_opened(array):
        return number
    stored = _with_sign(np.dtype(array.encoding["dtype"]), str(array.encoding.get("_Unsigned", "")))
    kind = stored if representable(number, stored) else np.dtype(np.float64)
    variable = xr.Variable("n", np.array([number], kind), packing)
    decoded = xr.conventions.decode_cf_variable("n", variable, decode_times=False).values
    return float(decoded.astype(array.dtype)[0])
