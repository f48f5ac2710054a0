"""The map as a sink: labels, block by block, in a Cloud-Optimized GeoTIFF; memory use does not depend on its size."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import rasterio
import rasterio.shutil

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, Grid
from pipeline.core.needs import Needs
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.version import __version__
from pipeline.engine.work_folder import folder_of
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.labels.classify import Labels
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Sink, Summary, Writer, text_needs
from pipeline.sinks.overviews import level_shapes, overview_paths, write_overviews
from pipeline.sinks.palette import Colour, unclassified_colour
from pipeline.sinks.verify import verify_map

TILE_SIDE: Final = 512
"""Side of the map's tiles in pixels."""

_CACHE: Final = 12 * 2**20
"""Bytes of GDAL's cache while the map is finished: small, because each tile is read once."""


def map_needs(info: SceneInfo, _classes: int) -> Needs:
    """Needs of the map of a scene while it is written: it and its overviews, with the tags, twice."""
    return Needs(disk=2 * (_stored_bytes(info.map_grid.shape) + text_needs(info, 0).disk))


def _stored_bytes(shape: tuple[int, int]) -> int:
    """Most bytes of a map with its overviews: tiles at the edges are stored whole, and noisy labels hardly compress."""
    return TILE_SIDE**2 * sum(-(-rows // TILE_SIDE) * -(-columns // TILE_SIDE) for rows, columns in level_shapes(shape))


LABELS: Final = Sink(
    key="labels",
    what="the map",
    ending=None,
    writer="pipeline.sinks.geotiff:open_map",
    endings=(".tif", ".tiff"),
    form="a GeoTIFF",
    needs=map_needs,
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


def labels_of(_block: Block, _pixels: Pixels, labels: Labels) -> Labels:
    """Return the labels of a block."""
    return labels


def open_map(path: Path, job: Job) -> "MapWriter":
    """Return the writer of a job's map."""
    unclassified = job.model.leaves_unclassified
    tags = map_tags(job.model.digest, unclassified=unclassified) | job.provenance.tags(job.info)
    return MapWriter(path, job.info.grid, job.colours, tags, job.workers, unclassified=unclassified)


class MapWriter(Writer):
    """Writes the labels of a grid to a GeoTIFF, in blocks of any shape and order, then converts it to a COG.

    Labels are first written uncompressed: blocks need not match the map's tiles, and a tile that is written twice
    leaves no unused space in the file. Only one thread may write at a time.
    """

    part = staticmethod(labels_of)

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
        self._workers = workers
        self._path = path
        self._raw = path.with_suffix(".raw.tif")
        self._grid = grid
        self._checksum = 0
        self._overviews: list[int] = []
        """Checksum of each overview, the largest first."""
        self._colours = {0: (0, 0, 0), **dict(enumerate(colours, start=1))}
        if unclassified:
            self._colours[UNCLASSIFIED] = unclassified_colour(colours)
        self._tags = tags
        self._profile = {
            "driver": "GTiff",
            "dtype": "uint8",
            "count": 1,
            "height": grid.shape[0],
            "width": grid.shape[1],
            "crs": grid.crs,
            "transform": grid.transform,
            "nodata": 0,
            "tiled": True,
            "blockxsize": TILE_SIDE,
            "blockysize": TILE_SIDE,
            "SPARSE_OK": True,
            "BIGTIFF": "IF_SAFER",
        }

    def __enter__(self) -> Self:
        try:
            with self._gdal():
                self._file = rasterio.open(self._raw, "w", **self._profile)
                # before any pixel, because GDAL writes the palette into the file's header
                self._file.write_colormap(1, self._colours)
                self._file.update_tags(**self._tags, AREA_OR_POINT="Area")
                self._file.set_band_description(1, "class")
        except BaseException:
            self._raw.unlink(missing_ok=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            for path in (self._raw, *overview_paths(self._raw, self._grid.shape)):
                path.unlink(missing_ok=True)

    def add(self, block: Block, part: Labels) -> None:
        """Write the labels of a block; raise OutputError if the disk is full."""
        with self._gdal():
            self._file.write(part, 1, window=block.window)
        self._checksum = add_checksums(self._checksum, checksum(part, (block.top, block.left)))

    def prepare(self, _summary: Summary | None = None) -> None:
        """Write overviews by majority, after all labels are written; needs little memory, unlike GDAL's copy.

        Raises OutputError if the disk is full.
        """
        with self._gdal(GDAL_CACHEMAX=_CACHE):
            self._file.close()
            self._overviews = write_overviews(self._raw, self._profile, self._workers)

    def finish(self, _summary: Summary | None = None) -> None:
        """Write the finished map with overviews, then read it back and compare checksums.

        Raises OutputError if the disk is full, or the labels read back differ from those written.
        """
        with self._gdal(GDAL_CACHEMAX=_CACHE):
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

    @contextmanager
    def _gdal(self, **ours: Any) -> Iterator[None]:
        """Set GDAL options: all workers are its threads, as no other work runs then. Its errors become OutputError."""
        try:
            with rasterio.Env(**gdal_options(GDAL_NUM_THREADS=str(self._workers), **ours)):
                yield
        except GDAL_ERRORS as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        cause = error.__cause__ or error
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            fix = "its temporary folder was removed; run again, or "
        else:
            room = "make room, or " if free < _stored_bytes(self._grid.shape) else ""  # GDAL gives no error number
            fix = f"{free / 1e6:.0f} MB are free there; {room}"
        return OutputError(
            f"{folder_of(self._path)}: the map can't be written ({cause}); {fix}write the map to another disk"
        )
