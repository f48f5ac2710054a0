"""What bands are divided by, found from the sampled pixels."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.config import FeaturesConfig
from pipeline.errors import FitError
from pipeline.kernels.distances import Points
from pipeline.scenes.source import SceneInfo
from pipeline.units import Preparation

_QUARTERS: Final = (25, 50, 75)


def prepare(points: Points, info: SceneInfo, features: FeaturesConfig) -> Preparation:
    """Find each band's centre and spread.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Sampled pixels, stored numbers. They are the same for any chunks and workers, and so is what is found.
    info : SceneInfo
        Names the bands and turns their numbers into the model's quantity.
    features : FeaturesConfig
        Which of the ways to standardize.

    Raises
    ------
    FitError
        When a band has no spread.
    """
    way = features.standardize
    if way == "none":
        return Preparation()
    found = [_spread(band, way) for band in points]
    for name, band, (_, spread) in zip(info.bands, points, found, strict=True):
        constant = bool(band.min() == band.max())  # the mean of a constant is not always that constant
        if constant or spread <= 0:
            what = "all sampled pixels are equal" if constant else "at least half of the sampled pixels have one value"
            fix = "leave it out of scene.bands" + ("" if constant else ", or take zscore")
            msg = f"features.standardize: {way}: band {name} has no spread ({what}); {fix}"
            raise FitError(msg)
    units = info.units
    centre = units.to_physical(np.array([centre for centre, _ in found]))
    spread = units.spreads * np.array([spread for _, spread in found])
    return Preparation(standardize=way, centre=tuple(centre.tolist()), spread=tuple(spread.tolist()))


def _spread(band: npt.NDArray[Any], way: str) -> tuple[float, float]:
    """Centre and spread of a band's pixels, added up in their order."""
    numbers = band.astype(np.float64)
    if way == "minmax":
        return float(numbers.min()), float(np.ptp(numbers))
    if way == "robust":
        low, middle, high = np.percentile(numbers, _QUARTERS)
        return float(middle), float(high - low)
    mean = float(np.cumsum(numbers)[-1]) / numbers.size
    return mean, float((np.cumsum((numbers - mean) ** 2)[-1] / numbers.size) ** 0.5)
