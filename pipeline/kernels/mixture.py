"""Gaussian mixtures prepared for the kernels: factors of covariances, float types, error bounds."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.gaussians import Mixture, classify_pixels
from pipeline.kernels.nearest import BANDS_AT_ONCE

Numbers = npt.NDArray[np.float64]

LEAST_PIVOT: Final = 1e-12
"""Share of the variance of a band, up to which what the bands before it leave of it is 0, but for rounding."""

_LARGEST_NORM: Final = 1e4
"""Largest norm of a whitening matrix with which float32 still separates nearly all pixels."""


class Gaussians(NamedTuple):
    """Parameters of a mixture of Gaussians, in any unit."""

    means: Numbers
    """Means, shape (class, band)."""
    covariances: Numbers
    """Covariances, shape (class, band, band), symmetric."""
    weights: Numbers
    """Shares of the classes, shape (class,); their sum is 1."""

    def moved(self, centre: Numbers, scale: Numbers) -> "Gaussians":
        """Return the Gaussians of pixels from which a centre is subtracted, and which then are multiplied by a scale.

        Both have shape (band,).
        """
        return Gaussians((self.means - centre) * scale, self.covariances * np.outer(scale, scale), self.weights)


def whitening(covariances: Numbers, least: float = LEAST_PIVOT) -> Numbers:
    """Inverses of the Cholesky factors of covariances, shape (class, band, band).

    Raises
    ------
    numpy.linalg.LinAlgError
        If one of them is singular: the bands before one leave it no more than a share `least` of its variance.
    """
    factors = np.linalg.cholesky(covariances)
    pivots, variances = (np.diagonal(each, axis1=1, axis2=2) for each in (factors, covariances))
    if not (pivots**2 > least * variances).all():  # NaN is not
        msg = "a covariance is singular"
        raise np.linalg.LinAlgError(msg)
    return np.tril(np.linalg.inv(factors))


def is_regular(gaussians: Gaussians) -> bool:
    """Whether no covariance is singular, as `whitening` says it."""
    try:
        whitening(gaussians.covariances)
    except np.linalg.LinAlgError:
        return False
    return True


def packed_numbers(constant: Numbers, matrices: Numbers, offset: Numbers, *, diagonal: bool) -> Numbers:
    """Arrange the numbers of each class in the order in which the kernel takes them, shape (class, number).

    First is the constant. Then rows are taken four at once, and two at once where no more are left: the columns before
    the triangle in which they end, but not if matrices are diagonal; the offsets; the columns of the triangle.
    """
    k, bands = offset.shape
    rows = bands + bands % 2
    square, padded = np.zeros((k, rows, rows)), np.zeros((k, rows))
    square[:, :bands, :bands], padded[:, :bands] = matrices, offset
    parts = [constant[:, np.newaxis]]
    for start in range(0, rows, 4):
        end = min(start + 4, rows)
        if not diagonal:
            parts += [square[:, start:end, b] for b in range(start)]
        parts += [padded[:, start:end], *(square[:, b:end, b] for b in range(start, end))]
    return np.concatenate(parts, axis=1)


def standard_mixture(
    gaussians: Gaussians, centre: Numbers, scale: Numbers, dtype: npt.DTypeLike, least: float = LEAST_PIVOT
) -> Mixture:
    """Prepare Gaussians of centred and scaled pixels for the kernels.

    Parameters
    ----------
    gaussians : Gaussians
        Of pixels after they are centred and scaled.
    centre, scale : ndarray, shape (band,)
        Centre and scale of the pixels: numbers that are exact in `dtype`.
    dtype : dtype
        Working type, float32 or float64.
    least : float
        As in `whitening`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a covariance is singular.
    """
    (means, covariances, weights), bands = gaussians, gaussians.means.shape[1]
    exact = whitening(covariances, least) * 0.5**0.5  # the square of a length is then twice as small, as densities ask
    offset = (exact * means[:, np.newaxis]).sum(axis=2)
    diagonals, alive = np.diagonal(exact, axis1=1, axis2=2), weights > 0
    constant = np.where(alive, np.log(np.where(alive, weights, 1)) + np.log(diagonals).sum(axis=1), -np.inf)
    diagonal = bool((exact == diagonals[:, np.newaxis] * np.eye(bands)).all())
    padded = bands + -bands % BANDS_AT_ONCE
    limits, largest = np.finfo(np.dtype(dtype)), constant[alive]
    roundoff = float(limits.eps) / 2
    return Mixture(
        centre=centre.astype(dtype),
        scale=scale.astype(dtype),
        numbers=packed_numbers(constant, exact, offset, diagonal=diagonal).astype(dtype),
        rows=bands + bands % 2,
        exact_whitening=exact,
        exact_offset=offset,
        exact_constant=constant,
        diagonal=diagonal,
        largest_constant=float(largest.max()),
        unit=roundoff * (padded + 8),
        norm=float(np.linalg.norm(exact, axis=(1, 2)).max()),
        reach=float(np.linalg.norm(offset, axis=1).max()),
        relative_error=2 * roundoff * (padded + 8),
        absolute_error=8 * roundoff * float(np.abs(largest).max()) + float(limits.tiny) * padded,
    )


def working_mixture(gaussians: Gaussians, dtype: npt.DTypeLike) -> Mixture:
    """Prepare Gaussians in stored numbers of pixels of `dtype` for the kernels; see `standard_mixture`.

    Pixels are centred at the mean of the mixture and divided by its deviation. Both are rounded to the type of the
    pixels first: the difference of a pixel from the centre is then wrong by one rounding, however far from 0 both are.
    """
    means, covariances, weights = gaussians
    middle = (weights[:, np.newaxis] * means).sum(axis=0)
    variances = np.diagonal(covariances, axis1=1, axis2=2) + (means - middle) ** 2
    deviation = np.sqrt((weights[:, np.newaxis] * variances).sum(axis=0))
    kind = working_dtype(dtype)
    centre, scale = (each.astype(kind).astype(np.float64) for each in (middle, 1 / deviation))
    standard = gaussians.moved(centre, scale)
    mixture = standard_mixture(standard, centre, scale, kind)
    return mixture if mixture.norm <= _LARGEST_NORM else standard_mixture(standard, centre, scale, np.float64)


def classify(
    points: Points, valid: npt.NDArray[np.bool_], mixture: Mixture, *, confidence: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
    """Find the class of largest posterior of each pixel.

    Parameters
    ----------
    points : ndarray, shape (band, pixel)
        Pixels in the dtype and units that the mixture was prepared for.
    valid : ndarray of bool, shape (pixel,)
        Valid pixels.
    mixture : Mixture
        Of `working_mixture`.
    confidence : bool
        Whether to return the posterior; it takes a little longer.

    Returns
    -------
    labels : ndarray of uint8, shape (pixel,)
        0 where not valid, else 1 + the index of the class; where rounding could change it, it is found in float64.
    posterior : ndarray of float32, shape (pixel,), or None
        Posterior of the class with an error below 1e-3, 0 where not valid.
    """
    labels = np.empty(valid.shape, np.uint8)
    posterior = np.empty(valid.shape, np.float32) if confidence else None
    classify_pixels(np.ascontiguousarray(points), np.ascontiguousarray(valid), mixture, labels, posterior)
    return labels, posterior
