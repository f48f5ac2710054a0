"""Gaussians as the result of a fit: their classes in order, counted in the sample as the model labels it."""

import logging
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.needs import Library
from pipeline.kernels.mixture import Gaussians, working_mixture
from pipeline.methods.method import FitInput, FitResult
from pipeline.models.classes import brightness_order
from pipeline.models.gaussians import GaussianModel, MostProbable, to_stored

logger = logging.getLogger(__name__)

GAUSSIAN_KERNELS: Final = Library("numba, for the kernels of Gaussians", 60 * 10**6)
"""Measured as the difference of first runs of `gmm` and of k-means."""


def result_of_gaussians(given: FitInput[Any], physical: Gaussians, iterations: int, key: str) -> FitResult:
    """Sort Gaussians in the quantity by brightness, and count the sampled pixels in each as the model labels them.

    Warns of classes that are the most probable ones of no sampled pixel; `key` is the setting that says how many.
    """
    centres = to_stored(physical, given.units).means
    order = brightness_order(given.means_of(_labels(given, physical), centres), given.info.units.quantities)
    physical = Gaussians(*(each[order] for each in physical))
    counts = np.bincount(_labels(given, physical), minlength=len(order) + 1)[1:]
    _warn_of_dead_classes(counts, key)
    rows, matrices, weights = (each.tolist() for each in physical)
    content = {
        "means": tuple(map(tuple, rows)),
        "covariances": tuple(tuple(map(tuple, matrix)) for matrix in matrices),
        "weights": tuple(weights),
    }
    return FitResult(kind=GaussianModel, content=content, counts=counts, iterations=iterations)


def _labels(given: FitInput[Any], physical: Gaussians) -> npt.NDArray[np.uint8]:
    """Class of each sampled pixel as in any map of the model, shape (point,)."""
    units, planes = given.units, given.stored[:, np.newaxis]
    labeller = MostProbable(working_mixture(to_stored(physical, units), units.dtype), given.preparation)
    labels: npt.NDArray[np.uint8] = labeller(planes, np.ones(planes.shape[1:], np.bool_)).classes[0]
    return labels


def _warn_of_dead_classes(counts: npt.NDArray[np.int64], key: str) -> None:
    """Warn of classes that are the most probable ones of no sampled pixel."""
    dead = (np.flatnonzero(counts == 0) + 1).tolist()
    if dead:
        logger.warning(
            "%s: %d of the %d classes died out (%s): they are most probable at no sampled pixel; lower %s",
            key,
            len(dead),
            len(counts),
            ", ".join(map(str, dead)),
            key,
        )
