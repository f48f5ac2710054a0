"""What bands are divided by, found from the sampled pixels."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.config import FeaturesConfig
from pipeline.errors import FitError
from pipeline.scenes.source import SceneInfo
from pipeline.units import Preparation

_QUARTERS: Final = (25, 50, 75)


def prepare(values: npt.NDArray[Any], info: SceneInfo, features: FeaturesConfig) -> Preparation:
    """Find each band's centre and spread.

    Parameters
    ----------
    values : ndarray, shape (n, band)
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
    found = [_spread(band, way) for band in values.T]
    for name, (_, spread) in zip(info.bands, found, strict=True):
        if spread <= 0:
            what = "at least half of the sampled pixels have one value" if way == "robust" else "all pixels are equal"
            msg = f"features.standardize: {way}: band {name} has no spread ({what}); leave it out of scene.bands"
            raise FitError(msg + (", or take zscore" if way == "robust" else ""))
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
