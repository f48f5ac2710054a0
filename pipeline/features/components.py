"""Principal components of standardized bands, found on the sampled pixels."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import fsum
from typing import Annotated, Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.core.arrays import Points
from pipeline.core.units import ModelRecord

logger = logging.getLogger(__name__)

_PIECE: Final = 2**16
"""Points that are converted at once, so that intermediate results are small."""

_DIGITS: Final = 12
"""Decimal places of loadings: those that linear algebra gives on any processor."""

_ROUNDING: Final = 1e-9
"""Error of a share or of the length of a vector that counts as rounding."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Components as linear functions of points, elementwise, so that a value depends on its own point only."""

    matrix: npt.NDArray[np.float64]
    """Factor of each band in each component, shape (component, band)."""
    constant: npt.NDArray[np.float64]
    """Number that is added to each component, shape (component,)."""
    back: npt.NDArray[np.float64]
    """Factor of each component in each band of the nearest point with these components, shape (band, component)."""
    origin: npt.NDArray[np.float64]
    """Point whose components are all 0, shape (band,)."""
    dtype: np.dtype[np.floating]
    """Data type of components."""

    def apply(self, points: Points) -> Points:
        """Return the components of points, shape (component, ...), added up band by band as float64."""
        flat = points.reshape(len(points), -1)
        out = np.empty((len(self.matrix), flat.shape[1]), self.dtype)
        with np.errstate(all="ignore"):  # pixels that are not valid may be anything
            for start in range(0, flat.shape[1], _PIECE):
                piece = flat[:, start : start + _PIECE]
                for row, constant, result in zip(self.matrix, self.constant, out, strict=True):
                    total = np.full(piece.shape[1], constant)
                    for factor, numbers in zip(row, piece, strict=True):
                        total += np.multiply(numbers, factor, dtype=np.float64)
                    result[start : start + _PIECE] = total
        return out.reshape(len(out), *points.shape[1:])

    def bounds(self, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return points whose component i is the smallest, and the largest, of any point between two.

        These are corners of the box, for which rounding is no more in favour than for the points inside. Shape
        (2, band, component).
        """
        rises = self.matrix.T >= 0
        return np.stack([np.where(rises, low[:, None], high[:, None]), np.where(rises, high[:, None], low[:, None])])

    def restore(self, components: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the points with these components, shape (..., component), on the plane of all; shape (..., band)."""
        return _combine(components, self.back, self.origin)


class Components(ModelRecord):
    """Principal components: linear functions of the standardized bands, uncorrelated over the sampled pixels."""

    centre: tuple[float, ...]
    """Mean of each standardized band, shape (band,)."""
    loadings: Annotated[tuple[tuple[float, ...], ...], Field(min_length=1)]
    """Factor of each band in each component, unit vectors whose largest number is positive, shape (component, band)."""
    shares: tuple[float, ...]
    """Share of the variance of all standardized bands that each component has, in descending order."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if {len(row) for row in self.loadings} != {len(self.centre)} or len(self.shares) != len(self.loadings):
            msg = "expected loadings per component and band, a centre per band, and a share per component"
            raise ValueError(msg)
        if len(self.loadings) > len(self.centre):
            msg = f"{len(self.loadings)} components of {len(self.centre)} bands; expected as many at most"
            raise ValueError(msg)
        if any(abs(fsum(number * number for number in row) - 1) > _ROUNDING for row in self.loadings):
            msg = "loadings: expected unit vectors"
            raise ValueError(msg)
        return self

    @classmethod
    def fit(
        cls, points: Points, slopes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], wanted: float
    ) -> Self:
        """Find the components of points (band, point), summed in their order.

        Parameters
        ----------
        points : ndarray, shape (band, point)
            Sampled pixels.
        slopes, origin : ndarray of float64, shape (band,)
            Standardized bands are `slopes * (points - origin)`.
        wanted : int or float
            Number of components, or the least share of the variance, below 1, that they must have.
        """
        count, bands = points.shape[1], len(points)
        means = np.zeros(bands)
        for piece in _pieces(points, slopes, origin):
            means += [np.cumsum(band)[-1] for band in piece]
        means /= count
        covariance = np.zeros((bands, bands))
        for standardized in _pieces(points, slopes, origin):
            piece = standardized - means[:, np.newaxis]
            for one in range(bands):
                for other in range(one, bands):
                    covariance[one, other] += np.cumsum(piece[one] * piece[other])[-1]
        values, vectors = np.linalg.eigh(covariance / count, UPLO="U")
        values, vectors = values[::-1].clip(0), vectors.T[::-1]
        shares = values / (values.sum() or 1)
        chosen = wanted if wanted >= 1 else np.searchsorted(np.cumsum(shares), wanted - _ROUNDING) + 1
        chosen = min(int(chosen), bands)
        signs = [np.sign(vector[np.abs(vector.round(_DIGITS)).argmax()]) for vector in vectors]
        loadings = (vectors * np.array(signs)[:, np.newaxis]).round(_DIGITS)[:chosen] + 0.0  # no negative zeros
        logger.info("features.pca: %d components have %.2f%% of the variance", chosen, 100 * shares[:chosen].sum())
        return cls(
            centre=tuple(means.tolist()),
            loadings=tuple(map(tuple, loadings.tolist())),
            shares=tuple(shares[:chosen].tolist()),
        )

    def project(
        self, slopes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64], dtype: np.dtype[np.floating]
    ) -> Projection:
        """Return the components as functions of points whose standardized bands are `slopes * (points - origin)`."""
        loadings, centre = np.array(self.loadings), origin + np.array(self.centre) / slopes
        matrix = loadings * slopes
        constant = np.array([-fsum(row * centre) for row in matrix])
        return Projection(matrix, constant, (loadings / slopes).T, centre, dtype)


def _pieces(
    points: Points, slopes: npt.NDArray[np.float64], origin: npt.NDArray[np.float64]
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield standardized points piece by piece, as float64, shape (band, point)."""
    length = max(1, _PIECE * 4 // len(points))  # pieces of 2 MiB
    for start in range(0, points.shape[1], length):
        yield (points[:, start : start + length] - origin[:, np.newaxis]) * slopes[:, np.newaxis]


def _combine(
    numbers: npt.NDArray[np.float64], factors: npt.NDArray[np.float64], constants: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Compute linear functions of the last axis of an array, with correctly rounded sums."""
    flat = numbers.reshape(-1, numbers.shape[-1])
    rows = [
        [fsum([constant, *(row * each)]) for row, constant in zip(factors, constants, strict=True)] for each in flat
    ]
    return np.array(rows, np.float64).reshape(*numbers.shape[:-1], len(constants))
