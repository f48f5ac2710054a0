"""The protocols of features: what a scene's bands go through before a method sees them."""

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points
from pipeline.core.pixels import PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units


class BlockFeature(Protocol):
    """Bands that are computed from those of the same block, without a fit: a source that wraps a source."""

    def wrap(self, source: PixelSource) -> PixelSource:
        """Return a source of the same blocks, whose `info` describes the bands that it gives.

        A pixel that is not valid in `source` is not valid in it, and no value depends on how the scene is cut into
        blocks.
        """


class Transform(Protocol):
    """Change of the bands that is fitted on the sampled pixels, stored in the model, and folded into numbers.

    Where distances are taken, differences are multiplied by these numbers; the pixels themselves stay as they are, so
    that sums over them stay exact.
    """

    @classmethod
    def fit(cls, points: Points, info: SceneInfo, config: FeaturesConfig) -> Self:
        """Fit it to sampled pixels (band, point) in stored numbers of a scene, as the config's `features` says."""

    def bind(self, units: Units) -> npt.NDArray[np.float64]:
        """Factor per band for differences of stored numbers of a scene with these units, shape (band,)."""
