"""What bands are divided by, found from the sampled pixels."""

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points
from pipeline.core.errors import FitError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord

_QUARTERS: Final = (25, 50, 75)


class Preparation(ModelRecord):
    """What bands are divided by before distances are taken, so that each has the same say."""

    standardize: Literal["none", "zscore", "minmax", "robust"] = "none"
    """How centre and spread were found: mean and standard deviation, least and range, median and the range of the
    middle half."""
    centre: tuple[float, ...] = ()
    """Of each band, in the model's quantity: what stands at 0 once standardized. No distance depends on it."""
    spread: tuple[float, ...] = ()
    """Of each band, in the model's quantity: what stands at 1 above the centre."""

    @model_validator(mode="after")
    def _is_complete(self) -> "Preparation":
        if len(self.centre) != len(self.spread) or (self.standardize == "none") != (not self.spread):
            msg = "expected a centre and a spread for each band, or 'none'"
            raise ValueError(msg)
        if any(spread <= 0 for spread in self.spread):
            msg = "a spread is not positive"
            raise ValueError(msg)
        return self

    @property
    def spreads(self) -> npt.NDArray[np.float64]:
        """Spread of each band as an array, shape (band,), or (1,) where nothing is divided."""
        return np.array(self.spread or (1.0,))


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
    spread = units.difference_factors * np.array([spread for _, spread in found])
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
