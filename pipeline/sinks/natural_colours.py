"""Colours of classes as in the picture, moved until they can be told apart, also by the colour-blind."""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.config.fields import Colour
from pipeline.models.base import ClusterModel
from pipeline.sinks.colour_difference import Lab, ciede2000, differences, seen_as_lab

NO_DATA: Final = (215, 215, 215)
"""Colour of nodata in pictures, from which those of classes differ."""

_WANTED: Final = (10.0, 8.0, 6.5, 5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.2)
"""Differences (CIEDE2000) between all colours, of which the first is taken that suits the classes."""

_ENOUGH: Final = 5.0
"""Difference that is always worth moving colours for."""

_FAR: Final = 10.0
"""Mean difference between a colour and that of the picture, above which a larger difference is not worth it."""

_MOST: Final = 700
"""Number of classes times difference, above which there are never enough colours: so it is not tried."""

_LEVELS: Final = np.linspace(0, 255, 18)
"""Red, green and blue of the colours to choose from."""

_QUANTILES: Final = np.array([NormalDist().inv_cdf((i + 0.5) / 64) for i in range(64)])
"""Quantiles of the normal distribution, by which the spread of a class is described."""


def mean_colours(
    model: ClusterModel, bands: Sequence[int], percentiles: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Return the mean of each class in three bands (or one, as grey), stretched as pixels are, 0 to 255, shape (k, 3).

    The stretch is between percentiles of all pixels of the fit, taken as normally distributed in each class. A class
    without a mean has the colour of its centre.
    """
    centres = model.centres
    means = np.array([centres[i] if each.mean is None else each.mean for i, each in enumerate(model.classes)])
    spread = np.array([np.zeros_like(centres[0]) if each.std is None else each.std for each in model.classes])
    weights = np.repeat(np.array(model.counts, np.float64) + 1, len(_QUANTILES))  # no class is of no weight
    channels = []
    for band in [bands[channel % len(bands)] for channel in range(3)]:
        values = (means[:, band, np.newaxis] + spread[:, band, np.newaxis] * _QUANTILES).ravel()
        low, high = _weighted_percentiles(values, weights, percentiles)
        channels.append(np.clip((means[:, band] - low) / ((high - low) or 1), 0, 1) * 255)
    return np.stack(channels, axis=-1)


def _weighted_percentiles(
    values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], percentiles: tuple[float, float]
) -> tuple[float, float]:
    order = values.argsort(kind="stable")
    below = weights[order].cumsum()
    positions = np.searchsorted(below, np.array(percentiles) / 100 * below[-1])
    low, high = values[order][np.minimum(positions, len(order) - 1)]
    return float(low), float(high)


def natural_colours(
    model: ClusterModel,
    bands: Sequence[int],
    percentiles: tuple[float, float] = (5, 95),
    taken: Sequence[Colour] = (),
) -> tuple[Colour, ...]:
    """Return the colours of a model's classes like those of the picture, in which these bands are shown.

    Parameters
    ----------
    model : ClusterModel
        The model.
    bands : sequence of int
        Positions of the bands shown in red, green and blue, or of one shown in grey.
    percentiles : tuple of float
        Percentiles of the pixels shown as black and white.
    taken : sequence of Colour
        Colours besides that of nodata that no class may have.
    """
    moved = move_apart(mean_colours(model, bands, percentiles), model.counts, [NO_DATA, *taken])
    return tuple((int(red), int(green), int(blue)) for red, green, blue in moved)


def move_apart(
    wanted: npt.NDArray[np.float64], sizes: Sequence[int], taken: Sequence[Colour] = ()
) -> npt.NDArray[np.float64]:
    """Change colours as little as needed to tell them apart, with normal vision, protanopia and deuteranopia.

    In the order of their sizes, each gets its own colour or the nearest one that differs enough from all before it.

    Parameters
    ----------
    wanted : ndarray, shape (k, 3)
        sRGB colours, 0 to 255.
    sizes : sequence of int
        Size of each class; the largest keep their colours.
    taken : sequence of Colour
        Further colours that all have to differ from.

    Returns
    -------
    ndarray, shape (k, 3)
        sRGB colours, whole numbers from 0 to 255, all different.
    """
    wanted = wanted.round()
    order = np.argsort(-np.asarray(sizes, np.float64), kind="stable")
    own = seen_as_lab(wanted[order])
    for least in (each for each in _WANTED if each * len(wanted) <= _MOST):
        colours = _choose(wanted[order], own, least, taken)
        if colours is not None:
            moved = ciede2000(own[0], seen_as_lab(colours)[0]).mean()
            if moved <= _FAR or least <= _ENOUGH:
                break
    else:  # the last difference is possible for any 254 colours
        raise AssertionError
    apart = np.empty_like(colours)
    apart[order] = colours
    return apart


def _choose(
    wanted: npt.NDArray[np.float64], own: Lab, least: float, taken: Sequence[Colour]
) -> npt.NDArray[np.float64] | None:
    """Choose a colour for each wanted one, seen as `own`, with a least difference; None if there are not enough."""
    grid, seen_grid = _choices()
    colours, seen = np.concatenate([grid, wanted]), np.concatenate([seen_grid, own], axis=1)
    nearest = np.full(len(colours), np.inf)  # difference from the nearest chosen colour
    if taken:
        nearest = differences(seen_as_lab(taken), seen).min(axis=0)
    chosen = []
    for number in range(len(wanted)):
        pick = len(grid) + number
        if nearest[pick] < least:
            free = np.flatnonzero(nearest >= least)
            if not free.size:
                return None
            # rounded, so that the last digits of another machine choose no other colour
            pick = int(free[ciede2000(seen[0, free], own[0, number]).round(3).argmin()])
        chosen.append(colours[pick])
        nearest = np.minimum(nearest, differences(seen[:, [pick]], seen)[0].round(3))
    return np.array(chosen)


@cache
def _choices() -> tuple[npt.NDArray[np.float64], Lab]:
    """Return the colours to choose from, shape (n, 3), and how they are seen."""
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid, seen_as_lab(grid)
