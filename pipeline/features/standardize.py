"""Standardization of bands: centre and spread per band, computed from the sampled pixels."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points
from pipeline.core.band_names import find_band
from pipeline.core.errors import ConfigError, FitError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Units
from pipeline.features.base import Preparation
from pipeline.features.components import Components
from pipeline.features.indices import index_dtype

_QUARTILES: Final = (25, 50, 75)
"""Percentiles used by 'robust'."""

_LEAST_STEP: Final = 1e-3
"""Share of a stored integer by which a bound may differ from it: that of rounding, when it is converted."""


class Standardization(ModelRecord):
    """Standardization of bands before distances are computed, so that bands are weighted equally."""

    standardize: Literal["none", "clip", "zscore", "minmax", "robust"] = "none"
    """Method, with its centre and spread: 'clip' (lower bound, range between bounds), 'zscore' (mean, standard
    deviation), 'minmax' (minimum, range) or 'robust' (median, interquartile range)."""
    centre: tuple[float, ...] = ()
    """Value per band that becomes 0, in the model's quantity, shape (band,). Distances do not depend on it."""
    spread: tuple[float, ...] = ()
    """Difference per band that becomes 1, in the model's quantity, shape (band,)."""
    bounds: tuple[tuple[float, float], ...] = ()
    """Smallest and largest value per band of 'clip', to which values beyond are clamped, in the model's quantity, shape
    (band, 2)."""

    weights: tuple[float, ...] = ()
    """Factor per band by which its differences count more, shape (band,); empty if all are 1."""

    components: Components | None = None
    """Principal components of the standardized bands, which distances are between; None if these are between bands."""

    @model_serializer(mode="wrap")
    def _without_unused_fields(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what there is not, so that digests of older models stay as they are."""
        optional = {"bounds", "weights", "components"}
        return {name: value for name, value in dump(self).items() if name not in optional or value}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if len(self.centre) != len(self.spread) or (self.standardize == "none") != (not self.spread):
            msg = "expected a centre and a spread per band, or none with standardize 'none'"
            raise ValueError(msg)
        if len(self.bounds) != (len(self.spread) if self.standardize == "clip" else 0):
            msg = "expected a lower and an upper bound per band with standardize 'clip', and none without"
            raise ValueError(msg)
        if any(low >= high for low, high in self.bounds):
            msg = "expected lower bounds below the upper ones"
            raise ValueError(msg)
        if any(weight <= 0 for weight in self.weights):
            msg = f"a weight is {min(self.weights):g}; expected positive weights"
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
        method = config.way
        if method == "none":
            return cls()
        if method == "clip":
            return cls._clip(points, info, config)
        found = [_centre_and_spread(band, method) for band in points]
        for number, (band, (_, spread)) in enumerate(zip(points, found, strict=True)):
            constant = bool(band.min() == band.max())  # the mean is rounded, so a constant band may have a spread
            if constant or spread <= 0:
                reason = "all sampled pixels are equal" if constant else "at least half of the sampled pixels are equal"
                name, fix = column_words(info, number, config)
                fix += "" if constant else ", or use zscore"
                msg = f"features.standardize: {method}: {name} has no spread ({reason}); {fix}"
                raise FitError(msg)
        units = info.units
        centre = units.to_physical(np.array([centre for centre, _ in found]))
        spread = units.difference_factors * np.array([spread for _, spread in found])
        return cls(standardize=method, centre=tuple(centre.tolist()), spread=tuple(spread.tolist()))

    @classmethod
    def _clip(cls, points: Points, info: SceneInfo, config: FeaturesConfig) -> Self:
        """Bounds at percentiles of sampled pixels, rounded outward to a pixel's value."""
        percentiles = config.percentiles
        low = np.percentile(points, percentiles[0], axis=1, method="lower")
        high = np.percentile(points, percentiles[1], axis=1, method="higher")
        ends = info.units.to_physical(np.stack([low, high]).astype(np.float64))  # equal if they differ by rounding only
        for number in np.flatnonzero(ends[0] == ends[1]).tolist():
            (lower, upper), (name, fix) = percentiles, column_words(info, number, config)
            msg = (
                f"features.standardize: clip: {name} has no spread (the sampled pixels from percentile {lower:g} to "
                f"{upper:g} are equal); {fix}, or use zscore"
            )
            raise FitError(msg)
        bounds = np.sort(ends, axis=0)  # a scale may be negative
        return cls(
            standardize="clip",
            centre=tuple(bounds[0].tolist()),
            spread=tuple((bounds[1] - bounds[0]).tolist()),
            bounds=tuple((low, high) for low, high in bounds.T.tolist()),
        )

    def bind(self, units: Units) -> Preparation:
        """Return what is done with the stored numbers of a scene with these units; see `Transform`."""
        if self.components:
            projection = self.components.project(*self._line(units), index_dtype([np.dtype(units.dtype)]))
            return Preparation(np.ones(len(projection.matrix)), self._limits(units), projection)
        return Preparation(units.difference_factors / self.spreads * (self.weights or 1.0), self._limits(units))

    def weighted(self, weights: Mapping[str, float] | None, info: SceneInfo) -> Self:
        """Return it with weights of bands by name or common name; see `weights_of_bands`."""
        return self.model_copy(update={"weights": weights_of_bands(weights, info)}) if weights else self

    def prepared_units(self, units: Units) -> Units:
        """Units of prepared points, given those of a scene."""
        return self.bind(units).units(units)

    def with_components(self, wanted: float | None, points: Points, info: SceneInfo) -> Self:
        """Return it with components of sampled pixels (band, point): a number, or a share of the variance below 1."""
        if wanted is None:
            return self
        clamped = self.bind(info.units).apply(points)
        components = Components.fit(clamped, *self._line(info.units), wanted)
        return self.model_copy(update={"components": components})

    def to_bands(self, points: npt.NDArray[np.float64], units: Units) -> npt.NDArray[np.float64]:
        """Convert prepared points in the model's quantity, shape (point, component), to bands; others are bands."""
        if not self.components:
            return points
        return units.to_physical(self.bind(units).restore(points))

    def _line(self, units: Units) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Slope per band, and the stored number that becomes 0, of standardized bands; shape (band,) each."""
        slopes = units.signed_factors / self.spreads * (self.weights or 1.0)
        return slopes, units.to_stored(np.array(self.centre or (0.0,) * len(slopes)))

    def _limits(self, units: Units) -> npt.NDArray[Any] | None:
        """Bounds in stored numbers of a scene, rounded outward to its data type, shape (2, band); None without any."""
        if not self.bounds:
            return None
        low, high = np.sort(units.to_stored(np.array(self.bounds).T), axis=0)
        kind = np.dtype(units.dtype)
        if kind.kind == "f":
            ends = np.finfo(kind)  # a bound beyond them clamps nothing
            return np.stack([low, high]).clip(ends.min, ends.max).astype(kind)
        whole = np.stack([np.floor(low + _LEAST_STEP), np.ceil(high - _LEAST_STEP)])
        return whole.clip(np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)


def column_words(info: SceneInfo, number: int, config: FeaturesConfig) -> tuple[str, str]:
    """What a column is, with its name, and how to leave it out: a band, or an index or texture computed from bands."""
    name = info.bands[number]
    if info.units.quantities[number] != "index":
        return f"band {name}", "leave it out of scene.bands"
    if name in {" ".join(text.split()) for text in config.indices}:
        return f"index {name}", "leave it out of features.indices"
    return f"texture {name}", "leave its band out of features.texture.bands"


def weights_of_bands(weights: Mapping[str, float] | None, info: SceneInfo) -> tuple[float, ...]:
    """Weight of each band of a scene, 1 for those that are not named.

    Raises
    ------
    ConfigError
        If there is no such band, or two names are of the same one.
    """
    found: dict[int, float] = {}
    for band, weight in (weights or {}).items():
        number = find_band(band, info.bands, info.common_names or None, key="fit.weights")
        if number in found:
            msg = f"fit.weights: {band} is {info.bands[number]}, which has a weight already; leave one out"
            raise ConfigError(msg)
        found[number] = weight
    return tuple(found.get(number, 1.0) for number in range(len(info.bands)))


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
