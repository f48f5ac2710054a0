"""What in the values of a scene's pixels may spoil a map: fill that no tag tells of, scales, one band above all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SHARE_OF_NOTE: Final = 0.001
"""Share of the pixels that one value has to have in every band at once."""

_LEAST_PIXELS: Final = 4
"""Pixels that one value has to have: fewer may be chance."""

_FILLS: Final = 4
"""Values that are told, at most."""

_NEARLY_ALL: Final = 0.99
"""Share of the variance of all bands from which one band alone decides."""

_PIXELS: Final = 100_000
"""Pixels by which scales are judged, at most."""

_PLAUSIBLE: Final = {
    "reflectance": (-1.0, 2.0),
    "temperature": (-100.0, 400.0),  # degrees Celsius or kelvin
    "angle": (-360.0, 360.0),
    "elevation": (-12_000.0, 9_000.0),
    "radiance": (-1e6, 1e6),
    "scaled": (-1e6, 1e6),
}
"""What numbers of a quantity can be."""

_JUDGED_BY_ENDS: Final = frozenset({"scaled", "radiance"})
"""Quantities of which hardly a number may be out of its range; of others the median may not."""

_COARSE: Final = 0.01
"""Shares below it are told with one digit more."""

_FAR: Final = 0.1
"""Share of the rest's range by which a value lies outside of it, to stand out whatever its share."""

_LONG: Final = 10**15
"""Integers below it are written with all their digits."""

_ROUNDING: Final = 1e-6
"""What sums of shares may lack."""

_NAMED: Final = 5
"""Bands named in a line, at most."""

PREFIX: Final = "suspicious: "
"""First word of each line."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """Pixels that are valid in every band, and what the files say of their numbers."""

    names: tuple[str, ...]
    """Of the bands."""
    stored: Sequence[npt.NDArray[Any]]
    """Stored numbers of each band, shape (pixel,), of the same pixels in each."""
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    quantities: tuple[str, ...]
    """What scale and offset make of each band; 'numbers' where they are not applied."""
    nodata: tuple[float | None, ...]
    masked: bool
    """Whether a mask or alpha band tells which pixels hold data."""

    @property
    def pixels(self) -> int:
        """How many there are."""
        return len(self.stored[0]) if self.stored else 0


def suspicions(values: Values, *, standardized: bool) -> Iterator[str]:
    """Tell what may spoil a map, a line for each.

    Parameters
    ----------
    values : Values
        A sample of the scene's pixels.
    standardized : bool
        Whether bands are divided by their spread before they are compared.
    """
    if not values.pixels:
        return
    yield from fills(values)
    yield from impossible_numbers(values)
    if not standardized and len(values.names) > 1:
        yield from dominant_bands(values)


def fills(values: Values) -> Iterator[str]:
    """Tell of single values that many pixels have in every band at once, at an end of each band's range.

    They may be fill, or saturation. 0 is told wherever it stands, unless a lone band says what is no data.
    """
    tagged = sorted({f"{value:.10g}" for value in values.nodata if value is not None})
    where = "in every band" if len(values.names) > 1 else f"in band {values.names[0]}"
    for value, share, largest in find_fills(values):
        shown = _stored_words(value, values.stored[0].dtype)
        what = ", the largest value (saturation, or no data)" if largest and value > 0 else ""
        if tagged:
            told = f"beside the nodata value {', '.join(tagged)}"
            fix = f"if {shown} means no data, too, give the files one value for both, or leave it out by scene.mask"
        else:
            told = "beside what a mask leaves out" if values.masked else "and no nodata is set"
            fix = f"if {shown} means no data, set scene.nodata: {shown}"
        pixels = f"{percent(share, 1 if share >= _COARSE else 2)} of the pixels"
        yield f"{PREFIX}{pixels} are {shown} {where}{what}, {told}: {fix}"


def find_fills(values: Values) -> Iterator[tuple[float | int, float, bool]]:
    """Find such values: each with its share of the pixels, and whether it is the largest there is."""
    bands, first = values.stored, values.stored[0]
    same = _same_in_all(bands)
    least = max(_LEAST_PIXELS, _SHARE_OF_NOTE * values.pixels)
    told = values.masked or any(value is not None for value in values.nodata)
    rest = np.ones(values.pixels, np.bool_)
    zeros = same & (first == 0)
    if np.count_nonzero(zeros) >= least and (len(bands) > 1 or not told):
        rest = ~zeros
        yield 0, np.count_nonzero(zeros) / values.pixels, max(float(band.max()) for band in bands) == 0
    for _ in range(_FILLS):
        ends = _ends(bands, rest) if np.count_nonzero(same & rest) >= least else []
        counted = dict(zip(*(part.tolist() for part in np.unique(first[same & rest], return_counts=True)), strict=True))
        found = [end for end in ends if counted.get(end, 0) >= least and _stands_out(end, counted, first[rest])]
        for value, largest in [(value, value == first[rest].max()) for value in found]:
            yield value, counted[value] / values.pixels, bool(largest)
            rest &= ~(same & (first == value))
        if not found:
            return


def _same_in_all(bands: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """Where every band has the number of the first."""
    same = np.ones(len(bands[0]), np.bool_)
    for band in bands[1:]:
        same &= band == bands[0]
        if not same.any():
            break
    return same


def _ends(bands: Sequence[npt.NDArray[Any]], rest: npt.NDArray[np.bool_]) -> list[float | int]:
    """Values that are the least or the largest of each band, among some of the pixels."""
    ends: set[float | int] | None = None
    for band in bands:
        some = band[rest]
        own = {some.min().item(), some.max().item()}
        ends = own if ends is None else ends & own
        if not ends:
            break
    return sorted(ends or ())


def _stands_out(end: float, counted: dict[float, int], band: npt.NDArray[Any]) -> bool:
    """Whether a value at an end of a range is more than its thin end: more frequent than the next one, or far off."""
    others, within = [value for value in counted if value != end], band[band != end].astype(np.float64)
    if not others or not within.size:
        return bool(within.size)  # a constant is told elsewhere
    following = min(others, key=lambda value: abs(value - end))
    return counted[end] > counted[following] or bool(np.abs(within - end).min() > _FAR * np.ptp(within))


def _stored_words(value: float, dtype: np.dtype[Any]) -> str:
    """A stored number as YAML takes it, in no more digits than its type has."""
    if float(value).is_integer() and abs(value) < _LONG:
        return str(int(value))
    digits, *power = str(dtype.type(value)).split("e")
    return "e".join([digits if "." in digits else f"{digits}.0", *power])


def percent(share: float, digits: int) -> str:
    """A share in per cent, cut off after so many digits: no 100 % but all of it."""
    return f"{floor(share * 100 * 10**digits + _ROUNDING) / 10**digits:.{digits}f}%"


def impossible_numbers(values: Values) -> Iterator[str]:
    """Tell of bands whose scale and offset make numbers that their quantity can't have."""
    odd: dict[tuple[str, float, float], list[tuple[str, float]]] = {}
    for name, stored, scale, offset, quantity in zip(
        values.names, values.stored, values.scales, values.offsets, values.quantities, strict=True
    ):
        if quantity not in _PLAUSIBLE:
            continue
        low, high = _PLAUSIBLE[quantity]
        numbers = np.percentile(_some(stored) * scale + offset, (1, 99) if quantity in _JUDGED_BY_ENDS else (50,))
        most = float(numbers[np.abs(numbers).argmax()])
        if not low <= most <= high:
            odd.setdefault((quantity, scale, offset), []).append((name, most))
    for (quantity, scale, offset), bands in odd.items():
        names = ", ".join(name for name, _ in bands[:_NAMED]) + (", ..." if len(bands) > _NAMED else "")
        number = max((number for _, number in bands), key=abs)
        kind = "numbers" if quantity == "scaled" else f"a {quantity}"
        yield (
            f"{PREFIX}by its tag, scale {scale:.10g} and offset {offset:.10g}, band {names} holds {kind} of "
            f"{number:.3g}{_upside_down(number, scale, offset, quantity)}; correct the tag, or set features.scale: none"
        )


def _some(stored: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Every n-th of many pixels."""
    return stored[:: max(1, stored.size // _PIXELS)].astype(np.float64)


def _upside_down(number: float, scale: float, offset: float, quantity: str) -> str:
    """Say so where one over the scale would do better."""
    low, high = _PLAUSIBLE[quantity]
    better = (number - offset) / scale / scale + offset
    return f" (1 / {scale:.10g} would make it {better:.3g})" if scale > 1 and low <= better <= high else ""


def variance_shares(values: Values) -> npt.NDArray[np.float64]:
    """Share of each band in the sum of all bands' variances, shape (band,), in what scales make of the numbers."""
    variances = np.array(
        [
            float(_some(stored).var()) * (1.0 if quantity == "numbers" else scale**2)
            for stored, scale, quantity in zip(values.stored, values.scales, values.quantities, strict=True)
        ]
    )
    return variances / (variances.sum() or 1.0)


def dominant_bands(values: Values) -> Iterator[str]:
    """Tell where one band decides alone, or bands of different quantities are compared as they are."""
    shares = variance_shares(values)
    largest = int(shares.argmax())
    fix = "set features.standardize: zscore, or leave it out of scene.bands"
    if len(set(values.quantities)) > 1:
        order = np.argsort(-shares, kind="stable")[:_NAMED]
        listed = ", ".join(f"{values.names[i]} ({values.quantities[i]}) {percent(shares[i], 1)}" for i in order)
        more = ", ..." if len(shares) > _NAMED else ""
        told = "bands of different quantities are compared as they are, with these shares of the variance"
        yield f"{PREFIX}{told}: {listed}{more}; {fix}"
    elif shares[largest] > _NEARLY_ALL:
        yield (
            f"{PREFIX}band {values.names[largest]} has {percent(shares[largest], 2)} of the variance of all bands, so "
            f"that classes are those of this band alone: {fix}"
        )
