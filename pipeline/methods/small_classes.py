"""Merge classes that are too small into the class that is nearest to each (`fit.min_size`)."""

import logging
import re
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError
from pipeline.core.grid import Grid
from pipeline.geo.pixel_areas import pixel_areas

logger = logging.getLogger(__name__)

_SIZE: Final = re.compile(r"([0-9.]+) ?(%|ha)")


def least_count(size: int | str, counted: int, valid: int, grid: Grid) -> Fraction:
    """Number of counted pixels that a class must have.

    Parameters
    ----------
    size : int or str
        Smallest size of a class in the scene: pixels, a share such as '1%', or an area such as '5 ha'.
    counted : int
        Number of pixels that classes are counted with: the sample, or all valid ones.
    valid : int
        Number of valid pixels of the scene.
    grid : Grid
        The scene's grid, for the areas of its pixels.

    Raises
    ------
    ConfigError
        If the size is an area, but areas of pixels are unknown.
    """
    if isinstance(size, int):
        return Fraction(size * counted, valid)
    number, unit = _SIZE.fullmatch(size).groups()  # type: ignore[union-attr]
    if unit == "%":
        return Fraction(number) * counted / 100
    areas = pixel_areas(grid)
    hectares = areas.hectares if areas.rows is None else float(areas.rows.mean())
    if not hectares:
        msg = f"fit.min_size: {size}: the areas of pixels are unknown ({areas.reason}); use a number of pixels, or 1%"
        raise ConfigError(msg)
    return Fraction(number) / Fraction(hectares) * counted / valid


def merge_small(
    counts: npt.NDArray[np.int64], centres: npt.NDArray[np.float64], least: Fraction
) -> npt.NDArray[np.intp]:
    """Merge the smallest class into the one nearest to it, until none is too small or all are one.

    Parameters
    ----------
    counts : ndarray of int64, shape (k,)
        Number of pixels per class.
    centres : ndarray of float64, shape (k, band)
        Centroids, scaled as distances are taken.
    least : Fraction
        Smallest number of pixels of a class.

    Returns
    -------
    ndarray of int, shape (k,)
        The class that each class becomes part of; its own number if it stays.
    """
    into, sizes = np.arange(len(counts)), counts.astype(np.int64)
    alive = set(range(len(counts)))
    while len(alive) > 1:
        smallest = min(alive, key=lambda label: (sizes[label], label))
        if sizes[smallest] >= least:
            break
        alive.remove(smallest)
        others = sorted(alive)
        squared = np.square(centres[others] - centres[smallest]).sum(axis=1)
        nearest = others[int(squared.argmin())]
        into[into == smallest] = nearest
        sizes[nearest] += sizes[smallest]
    merged = len(counts) - len(alive)
    if merged:
        level = logging.WARNING if len(alive) == 1 else logging.INFO
        logger.log(
            level, "fit.min_size: %d of %d classes are too small, and merged into the nearest", merged, len(counts)
        )
    return into
