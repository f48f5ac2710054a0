"""Which numbers of a DataArray mean no data, by its attributes and by what xarray's decoder left of them."""

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
from pipeline.stores.values import NODATA_KEYS, Scaling, as_list, valid_limits

logger = logging.getLogger(__name__)

_PACKING = ("scale_factor", "add_offset")


@dataclass(frozen=True, kw_only=True)
class ValidNumbers:
    """Which numbers of an array are data."""

    nodata: tuple[int | float, ...] = ()
    """Numbers that mean no data; NaN always does."""
    lowest: float | None = None
    highest: float | None = None

    @classmethod
    def of(cls, array: xr.DataArray) -> "ValidNumbers":
        """What an array says: rioxarray's nodata value, those of attributes, and CF's valid range.

        A valid range counts only in arrays as they were opened: attributes may stay where numbers were changed.
        """
        if array.dtype.kind not in "iuf":
            return cls()  # which is refused later
        stated = [value for value in (_by_rioxarray(array), *_by_attributes(array)) if not math.isnan(value)]
        usable = [value for value in dict.fromkeys(stated) if representable(value, array.dtype)]
        if len(usable) < len(dict.fromkeys(stated)):
            odd = next(value for value in stated if value not in usable)
            logger.warning("the nodata value %.10g can't occur in the scene's %s pixels: ignored", odd, array.dtype)
        low, high = _limits(array)
        return cls(nodata=tuple(array.dtype.type(value).item() for value in usable), lowest=low, highest=high)

    def apply(self, plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Strike out of `valid`, in place, the pixels of a band that hold no data by its numbers.

        Parameters
        ----------
        plane : ndarray, shape (rows, columns)
            Numbers of the band, in its own type or a wider one.
        valid : ndarray of bool, shape (rows, columns)
            Changed.
        """
        for value in self.nodata[1:]:  # the first counts for all scenes
            valid &= plane != plane.dtype.type(value)
        if self.lowest is not None:
            valid &= ~(plane < self.lowest)
        if self.highest is not None:
            valid &= ~(plane > self.highest)


def _by_rioxarray(array: xr.DataArray) -> float:
    """Nodata value that rioxarray knows; NaN where it knows none, or can't tell, as attributes do."""
    if _is_undecoded(array):
        return math.nan
    try:
        nodata = array.rio.nodata
    except (OverflowError, ValueError, TypeError):  # one that pixels can't hold, or several
        return math.nan
    return math.nan if nodata is None or np.size(nodata) != 1 else float(np.ravel(nodata)[0])


def _is_undecoded(array: xr.DataArray) -> bool:
    """Whether nodata values in the encoding are still in the pixels: xarray's decoder would have made them floats."""
    return array.dtype.kind in "iu" and array.rio.encoded_nodata is not None


def _by_attributes(array: xr.DataArray) -> list[float]:
    """Nodata values in attributes, as the decoded pixels have them."""
    encoding = array.encoding if _is_undecoded(array) else {}
    found = []
    values = (source.get(key) for key in NODATA_KEYS for source in (encoding, array.attrs))
    for stated in (number for value in values for number in as_list(value)):
        text = str(stated).strip().lower()
        number = math.nan if text == "nan" else as_number(stated, "the scene's nodata value")
        found.append(_decoded(number, array))
    return found


def _limits(array: xr.DataArray) -> tuple[float | None, float | None]:
    """CF's valid range, as the decoded pixels have it."""
    if not _as_opened(array):
        return None, None
    stored = np.dtype(array.encoding["dtype"])
    decoded = array.dtype if not _is_decoded(array) else _with_sign(stored, str(array.encoding.get("_Unsigned", "")))
    packing = array.encoding if _is_decoded(array) else array.attrs
    limits = valid_limits(array.attrs, stored, decoded, Scaling.of(packing, "the scene"), "the scene")
    low, high = (None if limit is None else _decoded(limit, array) for limit in limits)
    return (low, high) if low is None or high is None or low <= high else (high, low)


def _as_opened(array: xr.DataArray) -> bool:
    """Whether an array is one that xarray opened, whose attributes speak of its numbers."""
    return "dtype" in array.encoding and np.dtype(array.encoding["dtype"]).kind in "iuf"


def _is_decoded(array: xr.DataArray) -> bool:
    return bool({*_PACKING, "_FillValue", "missing_value", "_Unsigned"} & set(array.encoding))


def _with_sign(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any]:
    """Type that integers are read in, as `_Unsigned` states."""
    if dtype.kind not in "iu" or not unsigned:
        return dtype
    return np.dtype(f"{'u' if unsigned.lower() == 'true' else 'i'}{dtype.itemsize}")


def _decoded(number: float, array: xr.DataArray) -> float:
    """A stored number as xarray's decoder makes it, to the last bit."""
    packing = {key: array.encoding[key] for key in _PACKING if key in array.encoding}
    if not packing or math.isnan(number) or not _as_opened(array):
        return number
    stored = _with_sign(np.dtype(array.encoding["dtype"]), str(array.encoding.get("_Unsigned", "")))
    kind = stored if representable(number, stored) else np.dtype(np.float64)
    one = xr.Variable("n", np.array([number], kind), packing)
    decoded = xr.conventions.decode_cf_variable("n", one, decode_times=False).values
    return float(decoded.astype(array.dtype)[0])
