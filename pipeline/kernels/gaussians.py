"""Kernels of Gaussian mixtures: the most probable class of each pixel and its posterior, and the sums of an EM step.

A pixel is centred, scaled, and multiplied by the inverse Cholesky factor of each class: the squared length of what
results gives the log density. This is done in tiles, vectorised over pixels, four bands at a time.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled
from pipeline.kernels.nearest import BANDS_AT_ONCE, TILE_POINTS

ROWS_AT_ONCE: Final = 2
"""Number of rows of a matrix that are multiplied in one loop."""

_NEGLIGIBLE: Final = -50.0
"""Log of the ratio of two densities from which on the smaller one is taken for 0: e^-50 is far below rounding."""

_SQUARINGS: Final = 10
"""Number of times that the exponential of a 1024th is squared."""


class Mixture(NamedTuple):
    """Gaussians in the form kernels take: rounded for the fast search, exact for the recheck of doubtful pixels.

    The log density of class c at pixel x is, but for a number that all classes share, `constant[c]` minus the square of
    the length of `whitening[c] @ z - offset[c]`, where z is `(x - centre) * scale`.
    """

    centre: npt.NDArray[np.floating]
    """Stored number per band that is subtracted, exact in the working type, shape (band,)."""
    scale: npt.NDArray[np.floating]
    """Factor per band, exact in the working type, shape (band,)."""
    whitening: npt.NDArray[np.floating]
    """Lower triangular matrices in the working type, shape (class, row, band); padded with zeros to multiples of
    `ROWS_AT_ONCE` and `BANDS_AT_ONCE`."""
    offset: npt.NDArray[np.floating]
    """Whitened means in the working type, shape (class, row), padded likewise."""
    constant: npt.NDArray[np.floating]
    """Log of the weight over the root of the determinant in the working type, shape (class,); -inf for weight 0."""
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
    partial: npt.NDArray[np.floating]
    """Partial sums of `ROWS_AT_ONCE` rows, shape (row, pixel); zero between calls."""
    squares: npt.NDArray[np.floating]
    """Squared lengths of whitened pixels, shape (pixel,)."""
    density: npt.NDArray[np.floating]
    """Log densities, later posteriors, shape (class, pixel)."""
    best: npt.NDArray[np.floating]
    """Largest log density, shape (pixel,)."""
    second: npt.NDArray[np.floating]
    """Second largest log density, shape (pixel,)."""
    label: npt.NDArray[np.int32]
    """1 + the index of the class of the largest log density, shape (pixel,)."""


@compiled
def _make_buffers(whitening: npt.NDArray[np.floating]) -> Buffers:
    """Allocate the buffers for padded matrices (class, row, band)."""
    dtype = whitening.dtype
    return Buffers(
        np.zeros((whitening.shape[2], TILE_POINTS), dtype),
        np.zeros((ROWS_AT_ONCE, TILE_POINTS), dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty((whitening.shape[0], TILE_POINTS), dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, np.int32),
    )


@compiled
def _load_tile(data: Points, start: int, n: int, mixture: Mixture, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with n centred and scaled pixels of a block (band, pixel), beginning at `start`."""
    for b in range(data.shape[0]):
        row, tile_row, centre, scale = data[b, start : start + n], tile[b], mixture.centre[b], mixture.scale[b]
        for i in range(n):
            tile_row[i] = row[i]
        for i in range(n):
            tile_row[i] = (tile_row[i] - centre) * scale


@compiled
def _four_numbers(row: npt.NDArray[np.floating], g: int) -> tuple[Any, Any, Any, Any]:
    """Return four numbers of a row of a matrix, from column g on."""
    return row[g], row[g + 1], row[g + 2], row[g + 3]


@compiled
def _add_products(row: tuple[Any, Any, Any, Any], pixel: tuple[Any, Any, Any, Any], total: Any) -> Any:
    """Add the products of four numbers of a row and four bands of a pixel to a total."""
    total = fma(row[0], pixel[0], total)
    total = fma(row[1], pixel[1], total)
    total = fma(row[2], pixel[2], total)
    return fma(row[3], pixel[3], total)


@compiled
def _square_lengths(  # noqa: PLR0917 (numba takes arguments by position)
    tile: npt.NDArray[np.floating],
    n: int,
    matrix: npt.NDArray[np.floating],
    offset: npt.NDArray[np.floating],
    partial: npt.NDArray[np.floating],
    squares: npt.NDArray[np.floating],
    diagonal: bool,  # noqa: FBT001
) -> None:
    """Fill `squares` with the squared length of a lower triangular matrix times each pixel of a tile, minus an offset.

    As in `nearest_class`, every inner loop runs from 0 over rows that the compiler knows to be contiguous. Two rows of
    the matrix share the loads of four bands of a pixel: more rows would multiply more zeros above the diagonal.
    """
    one, two = partial[0], partial[1]
    for i in range(n):
        squares[i] = 0
    for j in range(0, matrix.shape[0], ROWS_AT_ONCE):
        last = j - j % BANDS_AT_ONCE
        for g in range(last if diagonal else 0, last, BANDS_AT_ONCE):
            p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
            first, second = _four_numbers(matrix[j], g), _four_numbers(matrix[j + 1], g)
            for i in range(n):
                pixel = p[i], q[i], r[i], s[i]
                one[i] = _add_products(first, pixel, one[i])
                two[i] = _add_products(second, pixel, two[i])
        p, q, r, s = tile[last], tile[last + 1], tile[last + 2], tile[last + 3]
        first, second = _four_numbers(matrix[j], last), _four_numbers(matrix[j + 1], last)
        for i in range(n):
            pixel = p[i], q[i], r[i], s[i]
            a = _add_products(first, pixel, one[i] - offset[j])
            b = _add_products(second, pixel, two[i] - offset[j + 1])
            squares[i] = fma(b, b, fma(a, a, squares[i]))
            one[i], two[i] = 0, 0


@compiled
def _find_densities(mixture: Mixture, n: int, buffers: Buffers) -> None:
    """Fill the buffers with log densities of the first n pixels of the tile, the two largest ones, and the label."""
    best, second, label, squares = buffers.best, buffers.second, buffers.label, buffers.squares
    for i in range(n):
        best[i] = -np.inf
        second[i] = -np.inf
        label[i] = 1
    for c in range(mixture.whitening.shape[0]):
        _square_lengths(
            buffers.tile, n, mixture.whitening[c], mixture.offset[c], buffers.partial, squares, mixture.diagonal
        )
        density, constant, number = buffers.density[c], mixture.constant[c], np.int32(c + 1)
        for i in range(n):
            value = constant - squares[i]
            density[i] = value
            better = value > best[i]
            second[i] = max(second[i], best[i] if better else value)
            label[i] = number if better else label[i]
            best[i] = value if better else best[i]


@compiled
def _class_exactly(point: npt.NDArray[Any], mixture: Mixture) -> int:
    """Return 1 + the index of the class of largest log density at one pixel, shape (band,), in float64."""
    bands, best, found = point.size, -np.inf, 1
    scaled = np.empty(bands)
    for b in range(bands):
        scaled[b] = (np.float64(point[b]) - np.float64(mixture.centre[b])) * np.float64(mixture.scale[b])
    for c in range(mixture.exact_constant.size):
        matrix, offset, square = mixture.exact_whitening[c], mixture.exact_offset[c], 0.0
        for j in range(bands):
            total = -offset[j]
            for b in range(j + 1):
                total = fma(matrix[j, b], scaled[b], total)
            square = fma(total, total, square)
        value = mixture.exact_constant[c] - square
        if value > best:
            best, found = value, c + 1
    return found


@compiled
def _recheck_doubtful(points: Points, valid: npt.NDArray[np.bool_], mixture: Mixture, buffers: Buffers) -> None:
    """Find labels in float64 where the two largest log densities differ by less than rounding errors, or overflowed.

    A whitened pixel of length l is wrong by at most e = `unit` (`norm` |z| + `reach`), its square by e (2 l + e).
    """
    n, best, second, squares = valid.size, buffers.best, buffers.second, buffers.squares
    kind = buffers.tile.dtype.type
    unit, norm, reach = kind(mixture.unit), kind(mixture.norm), kind(mixture.reach)
    most, share, least = kind(mixture.largest_constant), kind(mixture.relative_error), kind(mixture.absolute_error)
    two = kind(2)
    for i in range(n):
        squares[i] = 0
    for b in range(points.shape[0]):
        row = buffers.tile[b]
        for i in range(n):
            squares[i] = fma(row[i], row[i], squares[i])
    doubtful = 0
    for i in range(n):
        error, depth = unit * fma(norm, np.sqrt(squares[i]), reach), most - second[i]
        squares[i] = two * error * (two * np.sqrt(depth) + error) + share * depth + least  # of both densities
        doubtful += not best[i] - second[i] > squares[i]
    if not doubtful:
        return
    for i in range(n):
        if not best[i] - second[i] > squares[i] and valid[i]:
            buffers.label[i] = _class_exactly(points[:, i], mixture)


@compiled
def classify_pixels(
    data: Points,
    valid: npt.NDArray[np.bool_],
    mixture: Mixture,
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.float32] | None,
) -> None:
    """Label the pixels of a block (band, pixel): 0 where not valid, else 1 + the class of the largest posterior.

    `confidence`, unless None, is filled with that posterior, and 0 where not valid.
    """
    pixels, buffers = data.shape[1], _make_buffers(mixture.whitening)
    for start in range(0, pixels, TILE_POINTS):
        n = min(TILE_POINTS, pixels - start)
        found, valid_points = labels[start : start + n], valid[start : start + n]
        if not valid_points.any():
            found[:] = 0
            if confidence is not None:
                confidence[start : start + n] = 0
            continue
        _load_tile(data, start, n, mixture, buffers.tile)
        _find_densities(mixture, n, buffers)
        if confidence is not None:  # decided when the kernel is compiled
            _find_posteriors(n, buffers)
            largest = confidence[start : start + n]
            for i in range(n):
                largest[i] = buffers.squares[i] * valid_points[i]
        _recheck_doubtful(data[:, start : start + n], valid_points, mixture, buffers)
        for i in range(n):
            found[i] = buffers.label[i] * valid_points[i]


@compiled
def _exponential(x: Any) -> Any:
    """Exponential of a number from `_NEGLIGIBLE` to 0, to 12 digits, with the same bits on any machine.

    Unlike that of a library it is vectorised: a series for a 1024th of the number, squared ten times.
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


@compiled
def _find_posteriors(n: int, buffers: Buffers) -> None:
    """Divide the densities of each pixel by the largest one, and fill `squares` with that one's posterior."""
    best, largest = buffers.best, buffers.squares
    for i in range(n):
        largest[i] = 0
    for c in range(buffers.density.shape[0]):
        density = buffers.density[c]
        for i in range(n):
            below = np.float64(density[i] - best[i])
            density[i] = _exponential(below) if below > _NEGLIGIBLE else 0.0
            largest[i] += density[i]
    for i in range(n):
        largest[i] = 1 / max(largest[i], 1)  # less than 1 only where pixels that are not valid have no number


class Moments(NamedTuple):
    """Sums over points weighted by the responsibility of each class for them."""

    weights: npt.NDArray[np.float64]
    """Sum of the responsibilities, shape (class,)."""
    sums: npt.NDArray[np.float64]
    """Sum of the differences from the class's reference point, shape (class, band)."""
    products: npt.NDArray[np.float64]
    """Sum of the products of these, shape (class, band, band): only below the diagonal and on it. The last axis is
    padded to a multiple of `BANDS_AT_ONCE`."""


@compiled
def _add_moments(  # noqa: PLR0917 (numba takes arguments by position)
    tile: npt.NDArray[np.floating],
    n: int,
    responsibility: npt.NDArray[np.floating],
    c: int,
    reference: npt.NDArray[np.float64],
    diagonal: bool,  # noqa: FBT001
    moments: Moments,
    chosen: npt.NDArray[np.int32],
    apart: npt.NDArray[np.floating],
    weighted: npt.NDArray[np.float64],
) -> None:
    """Add the points of a tile for which class c has a responsibility above 0 to its moments.

    Four products are added at a time: each sum would wait for the addition before it.
    """
    m, weight = 0, 0.0
    for i in range(n):
        if responsibility[i] > 0:
            chosen[m] = i
            m += 1
            weight += responsibility[i]
    moments.weights[c] += weight
    bands = reference.size
    for b in range(bands):
        row, difference, position = tile[b], apart[b], reference[b]
        for t in range(m):
            difference[t] = row[chosen[t]] - position
    for b in range(bands):
        difference, total = apart[b], 0.0
        for t in range(m):
            weighted[t] = responsibility[chosen[t]] * difference[t]
            total += weighted[t]
        moments.sums[c, b] += total
        last, products = b - b % BANDS_AT_ONCE, moments.products[c, b]
        for g in range(last if diagonal else 0, last + 1, BANDS_AT_ONCE):
            p, q, r, s = apart[g], apart[g + 1], apart[g + 2], apart[g + 3]
            one, two, three, four = 0.0, 0.0, 0.0, 0.0
            for t in range(m):
                one = fma(weighted[t], p[t], one)
                two = fma(weighted[t], q[t], two)
                three = fma(weighted[t], r[t], three)
                four = fma(weighted[t], s[t], four)
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
    references: npt.NDArray[np.float64],
    diagonal: bool,  # noqa: FBT001
    moments: Moments,
) -> None:
    """Add points (band, point), from the first of `limits` to the one before the second, to the moments of classes.

    Responsibilities are the posteriors of a mixture in float64; or 1 for the class of `labels`, unless these are None.
    `references` are centred and scaled points from which differences are taken, shape (class, band).
    With `diagonal`, products of a band and others may be left out.
    """
    buffers = _make_buffers(mixture.whitening)
    k, apart, weighted = references.shape[0], np.zeros_like(buffers.tile), np.empty(TILE_POINTS)
    for start in range(limits[0], limits[1], TILE_POINTS):
        n = min(TILE_POINTS, limits[1] - start)
        _load_tile(points, start, n, mixture, buffers.tile)
        if labels is None:  # decided when the kernel is compiled
            _find_densities(mixture, n, buffers)
            _find_posteriors(n, buffers)
        for c in range(k):
            responsibility = buffers.density[c]
            if labels is None:
                for i in range(n):
                    responsibility[i] *= buffers.squares[i]
            else:
                for i in range(n):
                    responsibility[i] = labels[start + i] == c + 1
            _add_moments(
                buffers.tile,
                n,
                responsibility,
                c,
                references[c],
                diagonal,
                moments,
                buffers.label,
                apart,
                weighted,
            )
