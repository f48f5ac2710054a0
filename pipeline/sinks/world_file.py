"""Write the world file of a picture: six lines with the size and the position of its pixels."""

import logging
from pathlib import Path

from affine import Affine

from pipeline.sinks.base import Job, Summary, Writer
from pipeline.sinks.quicklook import WORLD_FILE, Layout
from pipeline.sinks.text_files import write_text

logger = logging.getLogger(__name__)


class WorldFileWriter(Writer):
    """Writes the world file of a picture that is the scene or its classes alone; none without georeference."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._grid = path, job.info.grid
        layout = Layout.of(self._grid, 0, job.picture)
        self._side = layout.step / layout.zoom
        """Side of a pixel of the picture, in pixels of the scene."""

    def finish(self, _summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        if self._grid.transform == Affine.identity():
            logger.warning("output.world_file: left out, as the scene has no georeference")
            return
        write_text(self._path, world_text(self._grid.transform @ Affine.scale(self._side)), WORLD_FILE)


def world_text(transform: Affine) -> str:
    """Return the text of a world file for a picture with this transform; its position is the centre of a pixel."""
    centre = transform @ (0.5, 0.5)
    return "".join(f"{number!r}\n" for number in (transform.a, transform.d, transform.b, transform.e, *centre))
