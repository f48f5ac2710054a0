"""What the report of a run shows, as one record: classes, pictures, sampled pixels, and the report's plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.scene_info import SceneInfo
from pipeline.geo.gdal import public_address
from pipeline.labels.classify import ClassStatistics, Labels
from pipeline.models.base import ClusterModel
from pipeline.sinks.base import Job
from pipeline.sinks.legend import LegendEntry, legend_of

_QUANTITIES: Final = {"numbers": "stored number", "scaled": "scaled number"}
"""Words for quantities whose name says nothing."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a scene and of its map, which have the same size."""

    scene: str
    """Address of the scene's picture."""
    map: str
    """Address of the map's picture."""
    size: tuple[int, int]
    """(width, height) in pixels."""
    bands: str
    """What is shown of the scene, for example 'red: B04, green: B03, blue: B02'."""
    step: int
    """Every `step`-th row and column of the scene is shown."""


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What the report of a run shows."""

    job: Job
    """Scene, model and colours."""
    statistics: ClassStatistics
    """Pixels, areas, means and deviations per class."""
    report: Mapping[str, Any]
    """Plain values of the run's JSON record."""
    pictures: Pictures
    """The scene and the map."""
    sample: npt.NDArray[Any]
    """Pixels of which histograms are made, in stored numbers, shape (band, pixel)."""
    sample_labels: Labels
    """Labels of these pixels, shape (pixel,)."""
    sample_step: int
    """Every `sample_step`-th row and column of the scene is among these pixels."""

    @property
    def info(self) -> SceneInfo:
        """The scene."""
        return self.job.info

    @property
    def model(self) -> ClusterModel:
        """The classes."""
        return self.job.model

    @cached_property
    def classes(self) -> tuple[LegendEntry, ...]:
        """The model's classes, and last the unclassified pixels if there are any."""
        return tuple(legend_of(self.job, self.statistics))

    @cached_property
    def numbers(self) -> dict[int, npt.NDArray[np.float64]]:
        """Mean, deviation, minimum and maximum of the pixels with each label, shape (band, 4); NaN without pixels."""
        return {each.label: np.array(self.statistics.of_bands(each.label)) for each in self.classes}

    @cached_property
    def scene_name(self) -> str:
        """Short name of the scene: that of its file, or of the folder of its files; never the query of an address."""
        config = self.report.get("config", {}).get("scene", {})
        paths = [PurePath(public_address(source)) for source in config.get("source", self.info.sources)]
        if len(paths) > 1 and len({path.parent for path in paths}) == 1 and paths[0].parent.name:
            return paths[0].parent.name
        return paths[0].name + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")

    def quantity(self, band: int) -> str:
        """What the numbers of a band are."""
        name = self.info.units.quantities[band]
        return _QUANTITIES.get(name, name)

    @cached_property
    def common_quantity(self) -> str:
        """What the numbers of most bands are; of the first ones if two are as frequent."""
        names = [self.quantity(band) for band in range(len(self.info.bands))]
        return max(dict.fromkeys(names), key=names.count)

    def sample_of(self, band: int) -> npt.NDArray[Any]:
        """Sampled pixels of a band that are valid, in stored numbers, shape (valid pixel,)."""
        found: npt.NDArray[Any] = self.sample[band][self.valid_sample]
        return found

    @cached_property
    def valid_sample(self) -> npt.NDArray[np.bool_]:
        """Which of the sampled pixels are valid, shape (pixel,)."""
        return self.sample_labels > 0
