"""Kernels of Gaussian mixtures: the most probable class of each pixel and its posterior, and the sums of an EM step.

A pixel is centred, scaled, and multiplied by the inverse Cholesky factor of each class: the squared length of what
results gives the log density. This is done in tiles, vectorised over pixels, four bands at a time.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled, inlined
from pipeline.kernels.nearest import BANDS_AT_ONCE, TILE_POINTS
from pipeline.kernels.vectors import (
    VECTOR_BYTES,
    address,
    all_of,
    any_of,
    load,
    repeat,
    root,
    spread,
    store,
    sum_of,
    where,
    zeros,
)

_STRIDE: Final = TILE_POINTS + 16
"""Numbers per row of a buffer: with a power of two, rows would displace each other from the first-level cache."""

_LANES: Final = VECTOR_BYTES // 8
"""Numbers of float64 per vector."""

_NEGLIGIBLE: Final = -50.0
"""Log of the ratio of two densities from which on the smaller one is taken for 0: e^-50 is far below rounding."""

_LABEL_MARGIN: Final = 0.5
"""Difference of two log densities from which on the smaller one matters no more for labels: above all rounding errors,
or many pixels are rechecked for nothing."""

_NEGLECTED: Final = 2e-4
"""Part of a posterior that classes may have together which are left out of it."""

_LARGEST_ERROR: Final = 0.05
"""Error bound of log densities up to which that of the posterior is nearly proportional to it."""

_POSTERIOR_ERROR: Final = 7e-4
"""Error bound of a posterior from rounding, beyond which it is found in float64. With `_NEGLECTED`, and 4e-5 for the
exponentials and their sum, the error of confidence stays below 1e-3."""

_SQUARINGS: Final = 10
"""Number of times that the exponential of a 1024th is squared."""


class Mixture(NamedTuple):
    """Gaussians in the form kernels take: rounded for the fast search, exact for the recheck of doubtful pixels.

    The log density of class c at pixel x is, but for a number that all classes share, `exact_constant[c]` minus the
    square of the length of `exact_whitening[c] @ z - exact_offset[c]`, where z is `(x - centre) * scale`.
    """

    centre: npt.NDArray[np.floating]
    """Stored number per band that is subtracted, exact in the working type, shape (band,)."""
    scale: npt.NDArray[np.floating]
    """Factor per band, exact in the working type, shape (band,)."""
    numbers: npt.NDArray[np.floating]
    """Constant, whitening matrix and offset of each class in the working type, shape (class, number), in the order in
    which the kernel takes them; see `packed_numbers` of `mixture`. The constant is the log of the weight over the root
    of the determinant; -inf for weight 0."""
    rows: int
    """Number of rows of the matrices and offsets, padded to an even one with zeros."""
    exact_whitening: npt.NDArray[np.float64]
    """Lower triangular matrices, shape (class, band, band)."""
    exact_offset: npt.NDArray[np.float64]
    """Whitened means, shape (class, band)."""
    exact_constant: npt.NDArray[np.float64]
    """Constants, shape (class,)."""
    diagonal: bool
    """Whether all matrices are diagonal."""
    largest_constant: float
    """Largest of the constants."""
    unit: float
    """Error bound of the length of a whitened pixel per unit of `norm` times the length of z, plus `reach`."""
    norm: float
    """Largest Frobenius norm of the matrices."""
    reach: float
    """Largest length of the whitened means."""
    relative_error: float
    """Further error bound of the difference of two log densities, as a share of their distance from the largest
    constant."""
    absolute_error: float
    """Further error bound of the difference of two log densities."""


class Buffers(NamedTuple):
    """Buffers for a tile of pixels."""

    tile: npt.NDArray[np.floating]
    """Centred and scaled pixels, shape (band, pixel), bands padded with zeros."""
    error: npt.NDArray[np.floating]
    """Error bound of the difference of the two largest log densities, shape (pixel,)."""
    posterior: npt.NDArray[np.floating]
    """Posterior of the class of the largest log density, shape (pixel,)."""
    density: npt.NDArray[np.floating]
    """Log densities, later their ratios to the largest one, shape (class, pixel)."""
    best: npt.NDArray[np.floating]
    """Largest log density, shape (pixel,)."""
    second: npt.NDArray[np.floating]
    """Second largest log density, shape (pixel,)."""
    label: npt.NDArray[np.floating]
    """1 + the index of the class of the largest log density, shape (pixel,)."""


@compiled
def _make_buffers(mixture: Mixture) -> Buffers:
    """Allocate the buffers for a mixture."""
    dtype, bands = mixture.numbers.dtype, mixture.centre.size
    padded = bands + -bands % BANDS_AT_ONCE
    return Buffers(
        np.zeros((padded, _STRIDE), dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty((mixture.numbers.shape[0], _STRIDE), dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, dtype),
    )


@compiled
def _load_tile(data: Points, start: int, n: int, mixture: Mixture, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with n centred and scaled pixels of a block (band, pixel), beginning at `start`."""
    kind = tile.dtype.type
    for b in range(data.shape[0]):
        row, tile_row, centre, scale = data[b, start : start + n], tile[b], mixture.centre[b], mixture.scale[b]
        for i in range(n):
            tile_row[i] = (kind(row[i]) - centre) * scale


@inlined
def _add_four_rows(numbers: Any, at: int, tile: Any, bands: tuple[int, int], squares: Any) -> Any:
    """Add the squares of four rows times a vector of pixels to `squares`.

    `bands` are the places in the tile of the vector's first band, and of that where the triangle begins, in which the
    rows end.
    """
    start, end = bands
    one = two = three = four = zeros(numbers)
    for band in range(start, end, _STRIDE):
        pixels = load(tile, band)
        one = fma(repeat(numbers, at), pixels, one)
        two = fma(repeat(numbers, at + 1), pixels, two)
        three = fma(repeat(numbers, at + 2), pixels, three)
        four = fma(repeat(numbers, at + 3), pixels, four)
        at += 4
    p, q = load(tile, end), load(tile, end + _STRIDE)
    r, s = load(tile, end + 2 * _STRIDE), load(tile, end + 3 * _STRIDE)
    one = fma(repeat(numbers, at + 4), p, one - repeat(numbers, at))
    two = fma(repeat(numbers, at + 5), p, two - repeat(numbers, at + 1))
    three = fma(repeat(numbers, at + 6), p, three - repeat(numbers, at + 2))
    four = fma(repeat(numbers, at + 7), p, four - repeat(numbers, at + 3))
    two = fma(repeat(numbers, at + 8), q, two)
    three = fma(repeat(numbers, at + 11), r, fma(repeat(numbers, at + 9), q, three))
    four = fma(repeat(numbers, at + 12), r, fma(repeat(numbers, at + 10), q, four))
    four = fma(repeat(numbers, at + 13), s, four)
    return fma(four, four, fma(three, three, fma(two, two, fma(one, one, squares))))


@inlined
def _add_two_rows(numbers: Any, at: int, tile: Any, bands: tuple[int, int], squares: Any) -> Any:
    """Add the squares of two rows, as `_add_four_rows`."""
    start, end = bands
    one = two = zeros(numbers)
    for band in range(start, end, _STRIDE):
        pixels = load(tile, band)
        one = fma(repeat(numbers, at), pixels, one)
        two = fma(repeat(numbers, at + 1), pixels, two)
        at += 2
    p, q = load(tile, end), load(tile, end + _STRIDE)
    one = fma(repeat(numbers, at + 2), p, one - repeat(numbers, at))
    two = fma(repeat(numbers, at + 4), q, fma(repeat(numbers, at + 3), p, two - repeat(numbers, at + 1)))
    return fma(two, two, fma(one, one, squares))


@inlined
def _log_density(  # noqa: PLR0917 (numba takes arguments by position)
    numbers: Any, at: int, tile: Any, i: int, layout: tuple[int, bool], least: Any
) -> Any:
    """Return the log densities of a class, whose numbers begin at a place, at a vector of pixels of a tile.

    They are upper bounds where all of these are less than `least`: rows are added until that is certain.
    """
    rows, diagonal = layout
    constant, squares, at, j = repeat(numbers, at), zeros(numbers), at + 1, 0
    value, may_be_more = constant, True
    while may_be_more and j + 4 <= rows:
        end = i + j * _STRIDE
        squares = _add_four_rows(numbers, at, tile, (end if diagonal else i, end), squares)
        at += 14 if diagonal else 4 * j + 14
        value = constant - squares
        may_be_more = any_of(value > least)
        j += 4
    if may_be_more and j < rows:
        end = i + j * _STRIDE
        value = constant - _add_two_rows(numbers, at, tile, (end if diagonal else i, end), squares)
    return value


@inlined
def _error_bound(tile: Any, place: tuple[int, int], mixture: Mixture, density: Any, kind: Any) -> Any:
    """Bound the rounding errors of the difference of two log densities, both at least `density`, at pixels of a tile.

    A whitened pixel of length l is wrong by at most e = `unit` (`norm` |z| + `reach`), its square by e (2 l + e).
    `place` is where the vector begins, and after where its bands end.
    """
    squares = spread(kind(0))
    for band in range(place[0], place[1], _STRIDE):
        pixels = load(tile, band)
        squares = fma(pixels, pixels, squares)
    length = fma(spread(kind(mixture.norm)), root(squares), spread(kind(mixture.reach)))
    error, two = spread(kind(mixture.unit)) * length, spread(kind(2))
    depth = spread(kind(mixture.largest_constant)) - density
    of_rows = two * error * fma(two, root(depth), error)  # of both densities
    return of_rows + fma(spread(kind(mixture.relative_error)), depth, spread(kind(mixture.absolute_error)))


@compiled
def _find_densities(mixture: Mixture, n: int, margin: float, buffers: Buffers) -> None:
    """Fill the buffers with log densities of the first n pixels of the tile, the two largest ones, and the label.

    Those that are smaller than the largest by more than `margin` may be upper bounds.
    """
    kind, (k, length), layout = buffers.tile.dtype.type, mixture.numbers.shape, (mixture.rows, mixture.diagonal)
    numbers, tile, density = address(mixture.numbers), address(buffers.tile), address(buffers.density)
    best_of, second_of, label_of = address(buffers.best), address(buffers.second), address(buffers.label)
    guess, gap = 0, spread(kind(margin))
    for i in range(0, n, VECTOR_BYTES // buffers.tile.itemsize):
        best = second = spread(kind(-np.inf))
        label = spread(kind(1))
        for t in range(k):
            c = guess if t == 0 else 0 if t == guess else t  # the class of the pixels before comes first
            value = _log_density(numbers, c * length, tile, i, layout, best - gap)
            store(value, density, c * _STRIDE + i)
            better = value > best
            rest = where(better, best, value)
            second = where(rest > second, rest, second)
            label = where(better, spread(kind(c + 1)), label)
            best = where(better, value, best)
        store(best, best_of, i)
        store(second, second_of, i)
        store(label, label_of, i)
        guess = int(buffers.label[i]) - 1


@compiled
def _find_doubtful(mixture: Mixture, n: int, buffers: Buffers) -> bool:
    """Fill the buffer of errors for the two largest log densities; return if one may exceed their difference."""
    kind, tile, errors = buffers.tile.dtype.type, address(buffers.tile), address(buffers.error)
    best_of, second_of = address(buffers.best), address(buffers.second)
    end, doubtful = mixture.centre.size * _STRIDE, False
    for i in range(0, n, VECTOR_BYTES // buffers.tile.itemsize):
        second = load(second_of, i)
        error = _error_bound(tile, (i, end + i), mixture, second, kind)
        store(error, errors, i)
        doubtful |= not all_of(load(best_of, i) - second > error)
    return doubtful


@inlined
def _exponential(x: Any) -> Any:
    """Exponential of a number from `_NEGLIGIBLE` to 0, to 12 digits, with the same bits on any machine.

    A series for a 1024th of the number, squared ten times.
    """
    part = x * 0.5**_SQUARINGS
    power = fma(part, 1 / 40320, 1 / 5040)
    power = fma(part, power, 1 / 720)
    power = fma(part, power, 1 / 120)
    power = fma(part, power, 1 / 24)
    power = fma(part, power, 1 / 6)
    power = fma(part, power, 0.5)
    power = fma(part, power, 1.0)
    power = fma(part, power, 1.0)
    for _ in range(_SQUARINGS):
        power *= power
    return power


@inlined
def _exponentials(x: Any) -> Any:
    """Exponentials of a vector of float64, as `_exponential`."""
    part = x * spread(0.5**_SQUARINGS)
    power = fma(part, spread(1 / 40320), spread(1 / 5040))
    power = fma(part, power, spread(1 / 720))
    power = fma(part, power, spread(1 / 120))
    power = fma(part, power, spread(1 / 24))
    power = fma(part, power, spread(1 / 6))
    power = fma(part, power, spread(0.5))
    power = fma(part, power, spread(1.0))
    power = fma(part, power, spread(1.0))
    for _ in range(_SQUARINGS):
        power = power * power
    return power


@compiled
def _class_exactly(point: npt.NDArray[Any], mixture: Mixture) -> tuple[int, float]:
    """Return 1 + the index of the class of largest posterior at one pixel, shape (band,), and this, in float64."""
    bands, best, found, total = point.size, -np.inf, 1, 0.0
    scaled = np.empty(bands)
    for b in range(bands):
        scaled[b] = (np.float64(point[b]) - np.float64(mixture.centre[b])) * np.float64(mixture.scale[b])
    for c in range(mixture.exact_constant.size):
        matrix, offset, square = mixture.exact_whitening[c], mixture.exact_offset[c], 0.0
        for j in range(bands):
            length = -offset[j]
            for b in range(j + 1):
                length = fma(matrix[j, b], scaled[b], length)
            square = fma(length, length, square)
        value = mixture.exact_constant[c] - square
        ratio = _ratio(-abs(value - best))
        if value > best:
            best, found, total = value, c + 1, total * ratio + 1
        else:
            total += ratio
    return found, 1 / max(total, 1.0)  # less than 1 only where densities overflow


@inlined
def _ratio(below: float) -> float:
    """Ratio of two densities, given the difference of their logs, 0 at most; 0 if it is no number."""
    return _exponential(below) if below > _NEGLIGIBLE else 0.0


@compiled
def _recheck_doubtful(points: Points, valid: npt.NDArray[np.bool_], mixture: Mixture, buffers: Buffers) -> None:
    """Find labels in float64 where the two largest log densities differ by less than rounding errors, or overflowed."""
    if not _find_doubtful(mixture, valid.size, buffers):
        return
    for i in range(valid.size):
        if not buffers.best[i] - buffers.second[i] > buffers.error[i] and valid[i]:
            buffers.label[i] = _class_exactly(points[:, i], mixture)[0]


@inlined
def _power(below: Any, kind: Any) -> Any:
    """Exponentials of a vector of numbers from -16 to 0, to 5 digits: a series for a 32nd of these, squared."""
    part = below * spread(kind(1 / 32))
    power = fma(part, spread(kind(1 / 5040)), spread(kind(1 / 720)))
    power = fma(part, power, spread(kind(1 / 120)))
    power = fma(part, power, spread(kind(1 / 24)))
    power = fma(part, power, spread(kind(1 / 6)))
    power = fma(part, power, spread(kind(0.5)))
    power = fma(part, power, spread(kind(1)))
    power = fma(part, power, spread(kind(1)))
    second = power * power
    fourth = second * second
    eighth = fourth * fourth
    sixteenth = eighth * eighth
    return sixteenth * sixteenth


@compiled
def _find_confidence(mixture: Mixture, n: int, margin: float, buffers: Buffers) -> bool:
    """Fill the buffers with the largest posterior of each pixel, and a bound of its error; return if one is too large.

    If log densities are wrong by e, p is wrong by p (1 - p) e at most, but for terms of higher order.
    """
    kind, tile, density = buffers.tile.dtype.type, address(buffers.tile), address(buffers.density)
    best_of, posteriors, errors = address(buffers.best), address(buffers.posterior), address(buffers.error)
    zero, one, most, unsure = spread(kind(0)), spread(kind(1)), spread(kind(_POSTERIOR_ERROR)), False
    end = mixture.centre.size * _STRIDE
    for i in range(0, n, VECTOR_BYTES // buffers.tile.itemsize):
        best, total = load(best_of, i), zero
        least = best - spread(kind(margin))
        for c in range(mixture.exact_constant.size):
            value = load(density, c * _STRIDE + i)
            if any_of(value > least):
                total = total + where(value > least, _power(value - best, kind), zero)
        posterior = one / total
        error = _error_bound(tile, (i, end + i), mixture, least, kind)
        known = spread(kind(_LARGEST_ERROR)) > error
        error = where(known, posterior * (one - posterior) * error, spread(kind(np.inf)))
        store(posterior, posteriors, i)
        store(error, errors, i)
        unsure |= not all_of(most > error)
    return unsure


@compiled
def _fill_confidence(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    valid: npt.NDArray[np.bool_],
    mixture: Mixture,
    margin: float,
    buffers: Buffers,
    confidence: npt.NDArray[np.float32],
) -> None:
    """Fill `confidence` with the largest posterior of each pixel of a tile, found in float64 where necessary."""
    n = valid.size
    unsure = _find_confidence(mixture, n, margin, buffers)
    for i in range(n):
        confidence[i] = buffers.posterior[i] if valid[i] else 0
    if unsure:
        for i in range(n):
            if not (buffers.error[i] < _POSTERIOR_ERROR) and valid[i]:  # NaN is not
                confidence[i] = _class_exactly(points[:, i], mixture)[1]


@compiled
def classify_pixels(
    data: Points,
    valid: npt.NDArray[np.bool_],
    mixture: Mixture,
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.float32] | None,
) -> None:
    """Label the pixels of a block (band, pixel): 0 where not valid, else 1 + the class of the largest posterior.

    `confidence`, unless None, is filled with that posterior, with an error below 1e-3, and 0 where not valid. Neither
    depends on other pixels of the block.
    """
    pixels, buffers = data.shape[1], _make_buffers(mixture)
    margin = _LABEL_MARGIN if confidence is None else np.log(mixture.exact_constant.size / _NEGLECTED)
    for start in range(0, pixels, TILE_POINTS):
        n = min(TILE_POINTS, pixels - start)
        found, valid_points = labels[start : start + n], valid[start : start + n]
        if not valid_points.any():
            found[:] = 0
            if confidence is not None:
                confidence[start : start + n] = 0
            continue
        _load_tile(data, start, n, mixture, buffers.tile)
        _find_densities(mixture, n, margin, buffers)
        points = data[:, start : start + n]
        if confidence is not None:  # decided when the kernel is compiled
            _fill_confidence(points, valid_points, mixture, margin, buffers, confidence[start : start + n])
        _recheck_doubtful(points, valid_points, mixture, buffers)
        for i in range(n):
            found[i] = buffers.label[i] * valid_points[i]


@compiled
def _find_posteriors(n: int, buffers: Buffers) -> None:
    """Divide the densities of each pixel by the largest one, and fill `posterior` with that one's."""
    density, best_of, posterior_of = address(buffers.density), address(buffers.best), address(buffers.posterior)
    nothing, unity, least = spread(0.0), spread(1.0), spread(_NEGLIGIBLE)
    for i in range(0, n, _LANES):
        best, total = load(best_of, i), spread(0.0)
        for c in range(buffers.density.shape[0]):
            below, ratio = load(density, c * _STRIDE + i) - best, nothing
            if any_of(below > least):
                ratio = where(below > least, _exponentials(below), nothing)
            store(ratio, density, c * _STRIDE + i)
            total = total + ratio  # less than 1 only where pixels that are not valid have no number
        store(unity / where(total > unity, total, unity), posterior_of, i)


class Moments(NamedTuple):
    """Sums over points weighted by the responsibility of each class for them."""

    weights: npt.NDArray[np.float64]
    """Sum of the responsibilities, shape (class,)."""
    sums: npt.NDArray[np.float64]
    """Sum of the differences from the class's reference point, shape (class, band)."""
    products: npt.NDArray[np.float64]
    """Sum of the products of these, shape (class, band, band): only below the diagonal and on it. The last axis is
    padded to a multiple of `BANDS_AT_ONCE`."""


class References(NamedTuple):
    """What the moments of classes refer to."""

    points: npt.NDArray[np.float64]
    """Centred and scaled points from which differences are taken, shape (class, band)."""
    diagonal: bool
    """Whether products of a band and others may be left out."""


class _MomentBuffers(NamedTuple):
    """Buffers for the points of a tile, and of one class."""

    tile: npt.NDArray[np.floating]
    """Centred and scaled points, shape (band, point)."""
    shares: npt.NDArray[np.float64]
    """Responsibility of the class for each point, 0 after the last one up to a whole vector, shape (point,)."""
    apart: npt.NDArray[np.float64]
    """Differences from the reference of the class, shape (band, point), bands padded with zeros."""
    weighted: npt.NDArray[np.float64]
    """Differences in a band times responsibilities, shape (point,)."""


@inlined
def _four_products(weighted: Any, apart: Any, place: int, n: int) -> Any:
    """Sums over n points of the weighted differences times those in four bands, from a place on."""
    one = two = three = four = zeros(weighted)
    for i in range(0, n, _LANES):
        factor, i_there = load(weighted, i), place + i
        one = fma(factor, load(apart, i_there), one)
        two = fma(factor, load(apart, i_there + _STRIDE), two)
        three = fma(factor, load(apart, i_there + 2 * _STRIDE), three)
        four = fma(factor, load(apart, i_there + 3 * _STRIDE), four)
    return sum_of(one), sum_of(two), sum_of(three), sum_of(four)


@compiled
def _add_moments(c: int, n: int, references: References, buffers: _MomentBuffers, moments: Moments) -> None:
    """Add the n points of a tile to the moments of class c, by its responsibility for each."""
    shares, apart, weighted = address(buffers.shares), address(buffers.apart), address(buffers.weighted)
    bands, weight = references.points.shape[1], zeros(shares)
    for i in range(0, n, _LANES):
        weight = weight + load(shares, i)
    if sum_of(weight) == 0:
        return
    moments.weights[c] += sum_of(weight)
    for b in range(bands):
        row, difference, position = buffers.tile[b], buffers.apart[b], references.points[c, b]
        for i in range(n):
            difference[i] = row[i] - position
    for b in range(bands):
        products, last, total = moments.products[c, b], b - b % BANDS_AT_ONCE, zeros(weighted)
        for i in range(0, n, _LANES):
            product = load(shares, i) * load(apart, b * _STRIDE + i)
            store(product, weighted, i)
            total = total + product
        moments.sums[c, b] += sum_of(total)
        for g in range(last if references.diagonal else 0, last + 1, BANDS_AT_ONCE):
            one, two, three, four = _four_products(weighted, apart, g * _STRIDE, n)
            products[g] += one
            products[g + 1] += two
            products[g + 2] += three
            products[g + 3] += four


@compiled
def add_moments(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    limits: tuple[int, int],
    labels: npt.NDArray[np.uint8] | None,
    mixture: Mixture,
    references: References,
    moments: Moments,
) -> None:
    """Add points (band, point), from the first of `limits` to the one before the second, to the moments of classes.

    Responsibilities are the posteriors of a mixture in float64; or 1 for the class of `labels`, unless these are None.
    """
    buffers, shares = _make_buffers(mixture), np.empty(_STRIDE)
    of_class = _MomentBuffers(buffers.tile, shares, np.zeros_like(buffers.tile), np.empty(_STRIDE))
    for start in range(limits[0], limits[1], TILE_POINTS):
        n = min(TILE_POINTS, limits[1] - start)
        _load_tile(points, start, n, mixture, buffers.tile)
        if labels is None:  # decided when the kernel is compiled
            _find_densities(mixture, n, 1 - _NEGLIGIBLE, buffers)
            _find_posteriors(n, buffers)
        shares[n:] = 0
        for c in range(references.points.shape[0]):
            if labels is None:
                ratios = buffers.density[c]
                for i in range(n):
                    shares[i] = ratios[i] * buffers.posterior[i]
            else:
                for i in range(n):
                    shares[i] = labels[start + i] == c + 1
            _add_moments(c, n, references, of_class, moments)
