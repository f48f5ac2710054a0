"""Write the report of a run: collect thinned pixels with the map, draw them, and write the page when all is known."""

from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core import libraries
from pipeline.core.grid import Block
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Summary, Writer
from pipeline.sinks.html_page import data_address
from pipeline.sinks.natural_colours import NO_DATA
from pipeline.sinks.palette import unclassified_colour
from pipeline.sinks.picture import bands_in_words, stretch
from pipeline.sinks.quicklook import Thinning
from pipeline.sinks.report import REPORT, ReportPixels, Taken
from pipeline.sinks.report_content import Pictures, ReportContent
from pipeline.sinks.report_page import report_page
from pipeline.sinks.text_files import write_text

_SMALL: Final = 200_000
"""Pixels of a scene's picture up to which it is written without loss; as JPEG it would hardly be smaller."""

_QUALITY: Final = 85
"""Quality of JPEG pictures."""


class _Thinned:
    """Thinned pixels and labels of a scene, which are added block by block."""

    def __init__(self, thinning: Thinning, job: Job) -> None:
        self._thinning = thinning
        shape = thinning.shape(job.info.grid)
        self.pixels = np.zeros((len(thinning.bands), *shape), job.info.dtype)
        """Pixels, shape (selected bands, rows, columns)."""
        self.labels = np.zeros(shape, np.uint8)
        """Labels, 0 for nodata, shape (rows, columns)."""

    def add(self, block: Block, taken: tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]) -> None:
        """Add the pixels and labels of a block."""
        window = self._thinning.thinned_window(block)
        self.pixels[(slice(None), *window)], self.labels[window] = taken


class ReportWriter(Writer):
    """Collects the pixels that the page shows, and writes the page."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job = path, job
        self.part: ReportPixels = ReportPixels.of(job.info, job.picture.rgb)
        self._shown, self._sample = _Thinned(self.part.picture, job), _Thinned(self.part.histogram, job)

    def add(self, block: Block, part: Taken) -> None:
        """Add the pixels of a block."""
        self._shown.add(block, part.picture)
        self._sample.add(block, part.histogram)

    def prepare(self, _summary: Summary) -> None:
        """Draw the pictures of the scene and of the map, after which their pixels are not needed."""
        job, bands = self._job, self.part.picture.bands
        names = [job.info.bands[band] for band in bands]
        high, wide = self._shown.labels.shape
        self._pictures = Pictures(
            scene=_scene_address(stretch(self._shown.pixels, self._shown.labels > 0, job.picture.stretch)),
            map=_map_address(self._shown.labels, job),
            size=(wide, high),
            bands=bands_in_words(names),
            step=self.part.picture.step,
        )
        del self._shown

    def finish(self, summary: Summary) -> None:
        """Write the page; raise OutputError if it can't be written."""
        content = ReportContent(
            job=self._job,
            statistics=summary.statistics,
            report=summary.report,
            pictures=self._pictures,
            sample=self._sample.pixels.reshape(len(self._sample.pixels), -1),
            sample_labels=self._sample.labels.reshape(-1),
            sample_step=self.part.histogram.step,
        )
        write_text(self._path, report_page(content), REPORT)


def _scene_address(picture: npt.NDArray[np.uint8]) -> str:
    """Encode a picture of the scene, shape (rows, columns, 3), as an address."""
    image, file = libraries.image.fromarray(picture), BytesIO()
    if picture.shape[0] * picture.shape[1] <= _SMALL:
        image.save(file, format="PNG")
        return data_address(file.getvalue(), "image/png")
    image.save(file, format="JPEG", quality=_QUALITY)
    return data_address(file.getvalue(), "image/jpeg")


def _map_address(labels: npt.NDArray[np.uint8], job: Job) -> str:
    """Encode labels, shape (rows, columns), in the colours of their classes as an address."""
    colours = np.zeros((UNCLASSIFIED + 1, 3), np.uint8)
    colours[: 1 + len(job.colours)] = [NO_DATA, *job.colours]
    colours[UNCLASSIFIED] = unclassified_colour(job.colours)
    image, file = libraries.image.fromarray(labels), BytesIO()
    image.putpalette(colours.tobytes())
    image.save(file, format="PNG")
    return data_address(file.getvalue(), "image/png")
