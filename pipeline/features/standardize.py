"""Standardization of bands: centre and spread per band, computed from the sampled pixels."""

from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points
from pipeline.core.errors import FitError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Units

_QUARTILES: Final = (25, 50, 75)
"""Percentiles used by 'robust'."""


class Standardization(ModelRecord):
    """Standardization of bands before distances are computed, so that bands are weighted equally."""

    standardize: Literal["none", "zscore", "minmax", "robust"] = "none"
    """Method, with its centre and spread: 'zscore' (mean, standard deviation), 'minmax' (minimum, range) or 'robust'
    (median, interquartile range)."""
    centre: tuple[float, ...] = ()
    """Value per band that becomes 0, in the model's quantity, shape (band,). Distances do not depend on it."""
    spread: tuple[float, ...] = ()
    """Difference per band that becomes 1, in the model's quantity, shape (band,)."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if len(self.centre) != len(self.spread) or (self.standardize == "none") != (not self.spread):
            msg = "expected a centre and a spread per band, or none with standardize 'none'"
            raise ValueError(msg)
        if any(spread <= 0 for spread in self.spread):
            msg = f"a spread is {min(self.spread):g}; expected positive spreads"
            raise ValueError(msg)
        return self

    @property
    def spreads(self) -> npt.NDArray[np.float64]:
        """Spread per band as an array, shape (band,); shape (1,) with value 1 if bands are not standardized."""
        return np.array(self.spread or (1.0,))

    @classmethod
    def fit(cls, points: Points, info: SceneInfo, config: FeaturesConfig) -> Self:
        """Compute centre and spread per band from the stored numbers of sampled pixels, shape (band, point).

        The sample, and so the result, does not depend on chunks and workers.

        Raises
        ------
        FitError
            If the spread of a band is 0.
        """
        method = config.standardize
        if method == "none":
            return cls()
        found = [_centre_and_spread(band, method) for band in points]
        for name, band, (_, spread) in zip(info.bands, points, found, strict=True):
            constant = bool(band.min() == band.max())  # the mean is rounded, so a constant band may have a spread
            if constant or spread <= 0:
                reason = "all sampled pixels are equal" if constant else "at least half of the sampled pixels are equal"
                fix = "leave it out of scene.bands" + ("" if constant else ", or use zscore")
                msg = f"features.standardize: {method}: band {name} has no spread ({reason}); {fix}"
                raise FitError(msg)
        units = info.units
        centre = units.to_physical(np.array([centre for centre, _ in found]))
        spread = units.difference_factors * np.array([spread for _, spread in found])
        return cls(standardize=method, centre=tuple(centre.tolist()), spread=tuple(spread.tolist()))

    def bind(self, units: Units) -> npt.NDArray[np.float64]:
        """Factor per band for differences of stored numbers of a scene with these units, shape (band,)."""
        return units.difference_factors / self.spreads


def _centre_and_spread(band: npt.NDArray[Any], method: str) -> tuple[float, float]:
    """Centre and spread of the pixels of a band, summed in order so that the result is reproducible."""
    numbers = band.astype(np.float64)
    if method == "minmax":
        return float(numbers.min()), float(np.ptp(numbers))
    if method == "robust":
        lower, median, upper = np.percentile(numbers, _QUARTILES)
        return float(median), float(upper - lower)
    mean = float(np.cumsum(numbers)[-1]) / numbers.size
    return mean, float((np.cumsum((numbers - mean) ** 2)[-1] / numbers.size) ** 0.5)
