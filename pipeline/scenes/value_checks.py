"""Warnings about pixel values: untagged fill values, implausible scales, a band that dominates the variance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_LEAST_SHARE: Final = 0.001
"""Smallest share of the pixels that have a fill value in every band at once."""

_LEAST_PIXELS: Final = 4
"""Smallest number of pixels with a fill value: fewer may be chance."""

_MOST_FILLS: Final = 4
"""Largest number of searches for fill values."""

_NEARLY_ALL: Final = 0.99
"""Share of the variance of all bands above which a band is said to dominate."""

_MOST_PIXELS: Final = 100_000
"""Approximate largest number of pixels used to check scales and variances."""

_PLAUSIBLE: Final = {
    "reflectance": (-1.0, 2.0),
    "temperature": (-100.0, 400.0),  # degrees Celsius or kelvin
    "angle": (-360.0, 360.0),
    "elevation": (-12_000.0, 9_000.0),
    "radiance": (-1e6, 1e6),
    "scaled": (-1e6, 1e6),
}
"""Lowest and highest plausible value per quantity."""

_JUDGED_BY_ENDS: Final = frozenset({"scaled", "radiance"})
"""Quantities whose 1st and 99th percentile must be plausible; of all others the median must be."""

_TWO_DIGITS_BELOW: Final = 0.01
"""Shares below this are shown with two decimals, others with one."""

_FAR: Final = 0.1
"""Distance from all other values, as a share of their range, at which a value stands out however frequent it is."""

_LONG: Final = 10**15
"""Whole numbers below this are written with all their digits."""

_ROUNDING: Final = 1e-6
"""Rounding error allowed before digits are cut off."""

_NAMED: Final = 5
"""Largest number of bands named in a warning."""

PREFIX: Final = "suspicious: "
"""First word of each warning."""


@dataclass(frozen=True, kw_only=True)
class BandValues:
    """Pixels that are valid in every band, and the metadata of the bands."""

    names: tuple[str, ...]
    """Band names."""
    stored: Sequence[npt.NDArray[Any]]
    """Stored numbers per band, each of shape (pixel,), of the same pixels."""
    scales: tuple[float, ...]
    """Scale per band, from stored numbers to the quantity."""
    offsets: tuple[float, ...]
    """Offset per band, in units of the quantity."""
    quantities: tuple[str, ...]
    """Physical quantity per band after scale and offset; 'numbers' where they are not applied."""
    nodata: tuple[float | None, ...]
    """Nodata value per band; None if it has none."""
    masked: bool
    """True if a mask or alpha band marks the valid pixels."""

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return len(self.stored[0]) if self.stored else 0


def check_values(values: BandValues, *, standardized: bool) -> Iterator[str]:
    """Yield a warning for each property of the pixel values that may spoil a map.

    Parameters
    ----------
    values : Values
        A sample of the scene's pixels.
    standardized : bool
        Whether bands are divided by their spread before they are compared.
    """
    if not values.pixels:
        return
    yield from fill_warnings(values)
    yield from implausible_value_warnings(values)
    if not standardized and len(values.names) > 1:
        yield from dominant_band_warnings(values)


def fill_warnings(values: BandValues) -> Iterator[str]:
    """Yield a warning for each value that many pixels have in every band at once, at an end of each band's range.

    Such a value may be fill or saturation. 0 is reported anywhere in the range, except in a single band with nodata.
    """
    tagged = sorted({f"{value:.10g}" for value in values.nodata if value is not None})
    where = "in every band" if len(values.names) > 1 else f"in band {values.names[0]}"
    for value, share, largest in find_fill_values(values):
        shown = _format_stored(value, values.stored[0].dtype)
        what = ", the largest value (saturation or nodata)" if largest and value > 0 else ""
        if tagged:
            known = f"in addition to the nodata value {', '.join(tagged)}"
            fix = f"if {shown} means nodata, too, give the files one value for both, or mask it out by scene.mask"
        else:
            known = "in addition to masked pixels" if values.masked else "and no nodata value is set"
            fix = f"if {shown} means nodata, set scene.nodata: {shown}"
        pixels = f"{percent(share, 1 if share >= _TWO_DIGITS_BELOW else 2)} of the pixels"
        yield f"{PREFIX}{pixels} are {shown} {where}{what}, {known}: {fix}"


def find_fill_values(values: BandValues) -> Iterator[tuple[float | int, float, bool]]:
    """Find fill values; yield (value, share of the pixels, whether it is the largest value)."""
    bands, first = values.stored, values.stored[0]
    same = _same_in_all(bands)
    least = max(_LEAST_PIXELS, _LEAST_SHARE * values.pixels)
    nodata_known = values.masked or any(value is not None for value in values.nodata)
    rest = np.ones(values.pixels, np.bool_)
    zeros = same & (first == 0)
    if np.count_nonzero(zeros) >= least and (len(bands) > 1 or not nodata_known):
        rest = ~zeros
        yield 0, np.count_nonzero(zeros) / values.pixels, max(float(band.max()) for band in bands) == 0
    for _ in range(_MOST_FILLS):
        ends = _ends(bands, rest) if np.count_nonzero(same & rest) >= least else []
        counted = dict(zip(*(part.tolist() for part in np.unique(first[same & rest], return_counts=True)), strict=True))
        found = [end for end in ends if counted.get(end, 0) >= least and _stands_out(end, counted, first[rest])]
        for value, largest in [(value, value == first[rest].max()) for value in found]:
            yield value, counted[value] / values.pixels, bool(largest)
            rest &= ~(same & (first == value))
        if not found:
            return


def _same_in_all(bands: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Mark the pixels with the same number in all bands, shape (pixel,)."""
    same = np.ones(len(bands[0]), np.bool_)
    for band in bands[1:]:
        same &= band == bands[0]
        if not same.any():
            break
    return same


def _ends(bands: Sequence[npt.NDArray[Any]], rest: npt.NDArray[np.bool_]) -> list[float | int]:
    """Values that are the minimum or maximum of every band, among the pixels marked in `rest`."""
    ends: set[float | int] | None = None
    for band in bands:
        numbers = band[rest]
        own = {numbers.min().item(), numbers.max().item()}
        ends = own if ends is None else ends & own
        if not ends:
            break
    return sorted(ends or ())


def _stands_out(end: float, counted: dict[float, int], band: npt.NDArray[Any]) -> bool:
    """Return True if a value at the end of a range is more frequent than the next value, or far from all others."""
    others, within = [value for value in counted if value != end], band[band != end].astype(np.float64)
    if not others or not within.size:
        return bool(within.size)  # constant bands have a warning of their own
    nearest = min(others, key=lambda value: abs(value - end))
    return counted[end] > counted[nearest] or bool(np.abs(within - end).min() > _FAR * np.ptp(within))


def _format_stored(value: float, dtype: np.dtype[Any]) -> str:
    """Format a stored number for YAML, with no more digits than its type has."""
    if float(value).is_integer() and abs(value) < _LONG:
        return str(int(value))
    digits, *power = str(dtype.type(value)).split("e")
    return "e".join([digits if "." in digits else f"{digits}.0", *power])


def percent(share: float, digits: int) -> str:
    """Format a share in per cent, rounded down so that only the whole is 100%."""
    return f"{floor(share * 100 * 10**digits + _ROUNDING) / 10**digits:.{digits}f}%"


def implausible_value_warnings(values: BandValues) -> Iterator[str]:
    """Yield a warning for bands whose scale and offset give values that their quantity can't have."""
    odd: dict[tuple[str, float, float], list[tuple[str, float]]] = {}
    for name, stored, scale, offset, quantity in zip(
        values.names, values.stored, values.scales, values.offsets, values.quantities, strict=True
    ):
        if quantity not in _PLAUSIBLE:
            continue
        low, high = _PLAUSIBLE[quantity]
        numbers = np.percentile(_subsample(stored) * scale + offset, (1, 99) if quantity in _JUDGED_BY_ENDS else (50,))
        most = float(numbers[np.abs(numbers).argmax()])
        if not low <= most <= high:
            odd.setdefault((quantity, scale, offset), []).append((name, most))
    for (quantity, scale, offset), bands in odd.items():
        names = ", ".join(name for name, _ in bands[:_NAMED]) + (", ..." if len(bands) > _NAMED else "")
        number = max((number for _, number in bands), key=abs)
        kind = "numbers" if quantity == "scaled" else f"a {quantity}"
        yield (
            f"{PREFIX}by its tag, scale {scale:.10g} and offset {offset:.10g}, band {names} holds {kind} "
            f"of {number:.3g}{_hint_at_inverse(number, scale, offset, quantity)}; fix the tag, or set "
            "features.scale: none"
        )


def _subsample(stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Every n-th pixel, so that about `_MOST_PIXELS` remain, as float64."""
    return stored[:: max(1, stored.size // _MOST_PIXELS)].astype(np.float64)


def _hint_at_inverse(number: float, scale: float, offset: float, quantity: str) -> str:
    """Suggest the inverse of the scale if it gives plausible values; else return an empty string."""
    low, high = _PLAUSIBLE[quantity]
    better = (number - offset) / scale / scale + offset
    return f" (1 / {scale:.10g} would make it {better:.3g})" if scale > 1 and low <= better <= high else ""


def variance_shares(values: BandValues) -> npt.NDArray[np.float64]:
    """Share of each band in the sum of all bands' variances after scaling, shape (band,)."""
    variances = np.array(
        [
            float(_subsample(stored).var()) * (1.0 if quantity == "numbers" else scale**2)
            for stored, scale, quantity in zip(values.stored, values.scales, values.quantities, strict=True)
        ]
    )
    return variances / (variances.sum() or 1.0)


def dominant_band_warnings(values: BandValues) -> Iterator[str]:
    """Yield a warning if one band dominates, or if bands of different quantities are compared unscaled."""
    shares = variance_shares(values)
    largest = int(shares.argmax())
    fix = "set features.standardize: zscore, or leave it out of scene.bands"
    if len(set(values.quantities)) > 1:
        order = np.argsort(-shares, kind="stable")[:_NAMED]
        listed = ", ".join(f"{values.names[i]} ({values.quantities[i]}) {percent(shares[i], 1)}" for i in order)
        more = ", ..." if len(shares) > _NAMED else ""
        what = "bands of different quantities are compared unscaled, with these shares of the variance"
        yield f"{PREFIX}{what}: {listed}{more}; {fix}"
    elif shares[largest] > _NEARLY_ALL:
        yield (
            f"{PREFIX}band {values.names[largest]} has {percent(shares[largest], 2)} of the variance of all bands, so "
            f"the classes depend on this band alone: {fix}"
        )
