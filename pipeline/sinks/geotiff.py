"""The map as a sink: labels, block by block, in a Cloud-Optimized GeoTIFF; memory use does not depend on its size."""

from pathlib import Path
from typing import Final

import rasterio
import rasterio.shutil

from pipeline.core.grid import Grid
from pipeline.core.needs import Needs
from pipeline.core.scene_info import SceneInfo
from pipeline.core.version import __version__
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Sink, Summary, text_needs
from pipeline.sinks.overviews import level_shapes, write_overviews
from pipeline.sinks.palette import Colour, unclassified_colour
from pipeline.sinks.raw_map import GDAL_CACHE, TILE_SIDE, RawMapWriter, stored_bytes
from pipeline.sinks.verify import verify_map
from pipeline.sinks.zarr_map import ZARR

_MOST_PIXELS: Final = 10**10
"""Largest number of pixels of a GeoTIFF: one process writes it, and then reads it twice, at some 100 million a second.

So that is a few minutes. Chunks of a Zarr store are written by all processes of a run.
"""


def map_needs(info: SceneInfo, _classes: int) -> Needs:
    """Needs of the map of a scene while it is written: it and its overviews, with the tags, twice."""
    return Needs(disk=2 * (sum(map(stored_bytes, level_shapes(info.map_grid.shape))) + text_needs(info, 0).disk))


LABELS: Final = Sink(
    key="labels",
    what="the map",
    ending=None,
    writer="pipeline.sinks.geotiff:open_map",
    endings=(".tif", ".tiff"),
    form="a GeoTIFF",
    needs=map_needs,
    other_formats=(ZARR,),
    most_pixels=_MOST_PIXELS,
)
"""The labels of all pixels."""


def map_tags(digest: str, *, unclassified: bool = False) -> dict[str, str]:
    """GeoTIFF tags that say what a map is, and which version and model made it; pixels may be `unclassified`."""
    others = f"0 is nodata, {UNCLASSIFIED} is unclassified" if unclassified else "0 is nodata"
    return {
        "TIFFTAG_SOFTWARE": f"terrazzo {__version__}",
        "TIFFTAG_IMAGEDESCRIPTION": f"Classes of an unsupervised clustering, {others}. Clusters are not land cover.",
        "TERRAZZO_VERSION": __version__,
        "TERRAZZO_MODEL_SHA256": digest,
    }


def open_map(path: Path, job: Job) -> "MapWriter":
    """Return the writer of a job's map."""
    unclassified = job.model.leaves_unclassified
    tags = map_tags(job.model.digest, unclassified=unclassified) | job.provenance.tags(job.info)
    return MapWriter(path, job.info.grid, job.colours, tags, job.workers, unclassified=unclassified)


class MapWriter(RawMapWriter):
    """Writes the labels of a grid to a GeoTIFF, in blocks of any shape and order, then converts it to a COG."""

    def __init__(
        self,
        path: Path,
        grid: Grid,
        colours: tuple[Colour, ...],
        tags: dict[str, str],
        workers: int = 1,
        *,
        unclassified: bool = False,
    ) -> None:
        super().__init__(path, grid, workers)
        self._overviews: list[int] = []
        """Checksum of each overview, the largest first."""
        self._colours = {0: (0, 0, 0), **dict(enumerate(colours, start=1))}
        if unclassified:
            self._colours[UNCLASSIFIED] = unclassified_colour(colours)
        self._tags = tags

    def _describe(self, file: rasterio.io.DatasetWriter) -> None:
        """Write palette and tags: before any pixel, because GDAL writes the palette into the file's header."""
        file.write_colormap(1, self._colours)
        file.update_tags(**self._tags, AREA_OR_POINT="Area")
        file.set_band_description(1, "class")

    def prepare(self, _summary: Summary | None = None) -> None:
        """Write overviews by majority, after all labels are written; needs little memory, unlike GDAL's copy.

        Raises OutputError if the disk is full.
        """
        with self._gdal(GDAL_CACHEMAX=GDAL_CACHE):
            self._file.close()
            self._overviews = write_overviews(self._raw, self._profile, self._workers)

    def finish(self, _summary: Summary | None = None) -> None:
        """Write the finished map with overviews, then read it back and compare checksums.

        Raises OutputError if the disk is full, or the labels read back differ from those written.
        """
        with self._gdal(GDAL_CACHEMAX=GDAL_CACHE):
            rasterio.shutil.copy(
                self._raw,
                self._path,
                driver="COG",
                BLOCKSIZE=TILE_SIDE,
                COMPRESS="DEFLATE",
                LEVEL=1,  # level 6 takes ten times as long to save 15 %
                OVERVIEWS="FORCE_USE_EXISTING",  # else the driver would make its own by nearest neighbour
                BIGTIFF="IF_SAFER",
                NUM_THREADS=self._workers,
            )
            verify_map(self._path, [self._checksum, *self._overviews], self._workers)
