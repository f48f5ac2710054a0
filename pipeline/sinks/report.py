"""The report as a sink: one HTML page that shows a map and how it was made; which pixels it takes, and its size."""

from dataclasses import dataclass
from math import isqrt
from typing import Any, Final, NamedTuple, Self

import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.needs import Needs
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Sink
from pipeline.sinks.picture_options import shown_bands
from pipeline.sinks.quicklook import Thinning

_PICTURE_PIXELS: Final = 2**20
"""Largest number of pixels of the picture."""

_LARGEST_SIDE: Final = 2560
"""Longest side of the picture in pixels."""

MOST_BANDS: Final = 24
"""Largest number of bands that have a histogram, and a column in tables."""

MOST_CLASSES: Final = 24
"""Largest number of classes that are told apart in histograms, and between which distances are listed."""

_HISTOGRAM_PIXELS: Final = 2**16
"""Largest number of pixels of which histograms are made."""

_FRAME_BYTES: Final = 400_000
"""Bytes of the page without pictures, and without what grows with classes and bands."""


class Taken(NamedTuple):
    """What the report takes of a block."""

    picture: tuple[npt.NDArray[Any], Labels]
    """Thinned pixels of the bands that are shown, and their labels."""
    histogram: tuple[npt.NDArray[Any], Labels]
    """Pixels of all bands, thinned more, and their labels."""


@dataclass(frozen=True)
class ReportPixels:
    """Takes the pixels of the picture, and those of the histograms, from each block of a scene."""

    picture: Thinning
    """Pixels of the picture."""
    histogram: Thinning
    """Pixels of the histograms."""

    @classmethod
    def of(cls, info: SceneInfo, wanted: tuple[str, ...] = ()) -> Self:
        """Choose the pixels of a scene: as many as fit, of the bands that the picture shows (`output.rgb`)."""
        step = _step(info, _PICTURE_PIXELS)
        while max(info.map_grid.shape) > step * _LARGEST_SIDE:
            step += 1
        bands = tuple(range(min(len(info.bands), MOST_BANDS)))
        shown = shown_bands(info.bands, info.common_names, wanted)
        return cls(Thinning(step, shown), Thinning(_step(info, _HISTOGRAM_PIXELS), bands))

    def __call__(self, block: Block, pixels: Pixels, labels: Labels) -> Taken:
        """Return what is taken of a block."""
        return Taken(self.picture(block, pixels, labels), self.histogram(block, pixels, labels))


def _step(info: SceneInfo, most: int) -> int:
    """Least step between rows and columns with which no more pixels of a scene are taken than a number."""
    rows, columns = info.map_grid.shape
    step = max(1, isqrt(rows * columns // most))
    while -(-rows // step) * -(-columns // step) > most:
        step += 1
    return step


def report_needs(info: SceneInfo, classes: int) -> Needs:
    """Needs of the report of a scene and a number of classes."""
    taken, grid = ReportPixels.of(info), info.map_grid
    (rows, columns), (high, wide) = taken.picture.shape(grid), taken.histogram.shape(grid)
    pixels, bands = rows * columns, min(len(info.bands), MOST_BANDS)
    kept = pixels * (3 * info.dtype.itemsize + 1) + high * wide * (bands * info.dtype.itemsize + 1)
    # three colours; of one band at a time its valid pixels, as they are and twice as numbers of 8 bytes; the addresses
    drawn = pixels * (3 + info.dtype.itemsize + 2 * 8 + 3) + high * wide * 3 * 8
    listed = min(classes, MOST_CLASSES)
    text = _FRAME_BYTES + classes * (6_000 + 60 * bands + 80 * len(info.bands)) + bands * (6_000 + 700 * listed)
    names = sum(map(len, (*info.bands, *info.sources)))
    return Needs(fixed=kept + drawn, disk=6 * pixels + text + 80 * listed**2 + 60 * names)


REPORT: Final = Sink(
    key="report",
    what="the report",
    ending=".html",
    writer="pipeline.sinks.report_writer:ReportWriter",
    endings=(".html", ".htm"),
    form="an HTML page",
    hints=((".json", "the JSON record of a run is output.run now"),),
    needs=report_needs,
    of_files=True,
)
"""The page that shows a map, its classes and how they were found."""
