"""A scene put together from the bands of raster files: which are read, on what grid, from where."""

import logging
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from rasterio.crs import CRS

from pipeline.errors import ConfigError, SceneError
from pipeline.grid import Grid
from pipeline.kernels.validity import representable
from pipeline.model import PIXEL_TYPES
from pipeline.scenes.bands import choose_bands
from pipeline.scenes.filebands import FileBand, list_bands
from pipeline.scenes.source import SceneInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """Bands that are read from one file in one call."""

    path: str
    first: int
    """Where they start among the scene's bands."""
    indexes: tuple[int, ...]
    masks: tuple[int, ...]
    """Bands whose GDAL masks are read along."""
    alphas: tuple[int, ...]
    """Alpha bands that are read along."""


def same_grid(band: FileBand, other: FileBand) -> bool:
    """Whether two bands have the same pixels in the same CRS, which their files may spell differently."""
    return band.grid.same_pixels(other.grid) and _same_crs(band.grid.crs, other.grid.crs)


def _same_crs(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one == other
    return one == other or CRS.from_wkt(one) == CRS.from_wkt(other)


def _check_one_grid(bands: Sequence[FileBand]) -> Grid:
    """Raise SceneError, with both files, sizes and resolutions, unless all bands have the same pixels."""
    first = bands[0]
    for band in bands[1:]:
        if not same_grid(first, band):
            ours, theirs = first.grid, band.grid
            what = "pixels" if _same_crs(ours.crs, theirs.crs) else "coordinate systems"
            msg = (
                f"scene.source: bands {first.name} and {band.name} are on different {what}: {first.path} has "
                f"{ours.describe()} from {ours.transform.c:.10g}, {ours.transform.f:.10g} and {band.path} has "
                f"{theirs.describe()} from {theirs.transform.c:.10g}, {theirs.transform.f:.10g}; choose bands of "
                "one resolution with scene.bands, or bring the files onto one grid first "
                "(gdalbuildvrt -separate -resolution highest stack.vrt FILES)"
            )
            raise SceneError(msg)
    return first.grid


def _choose_nodata(bands: Sequence[FileBand], asked: str | float) -> tuple[int | float | None, ...]:
    """Each band's nodata value, as its pixels hold it: what the config says, else the file's tag.

    A value is rounded in the band's own type, before bands of other types make that type wider.
    """
    if not isinstance(asked, str) and not any(representable(asked, np.dtype(band.dtype)) for band in bands):
        shown = reprlib.repr(asked)  # which may have hundreds of digits
        msg = f"scene.nodata: {shown} can't occur in pixels of type {bands[0].dtype}; give a value that can, or 'auto'"
        raise ConfigError(msg)
    values: list[int | float | None] = []
    for band in bands:
        value, dtype = band.nodata if isinstance(asked, str) else asked, np.dtype(band.dtype)
        if value is not None and not representable(value, dtype):
            logger.warning("%s: the nodata value %s can't occur in %s pixels: ignored", band.path, value, dtype)
            value = None
        values.append(None if value is None else dtype.type(value).item())
    return tuple(values)


@dataclass(frozen=True)
class RasterScene:
    """Raster files described: which bands are read from where. Nothing but metadata has been read."""

    info: SceneInfo
    parts: tuple[FilePart, ...]
    """In the order of the bands."""


def describe_scene(
    files: Sequence[str], bands: Sequence[str] | str = "all", nodata: str | float = "auto"
) -> RasterScene:
    """Read the metadata of a scene's files.

    Parameters
    ----------
    files : sequence of str
        One file, or several whose bands are stacked in this order.
    bands : sequence of str, or 'all'
        Bands to keep, in this order: names, numbers from 1, common names. 'all' leaves out alpha bands, which are
        masks; one that is named is a band like any other (GDAL takes the fourth of four bytes for alpha, which
        may well be near infrared).
    nodata : 'auto' or float
        What marks pixels without data; 'auto' takes the files' tags.

    Raises
    ------
    SceneError
        When a file can't be opened or the bands are not on one grid.
    ConfigError
        When a band or the nodata value doesn't fit the files.
    """
    everything = list_bands(files)
    scene = summarize(_choose(bands, everything), nodata)
    if scene.info.grid.crs is None:
        logger.warning("%s: no coordinate reference system; the map will have none either", scene.info.sources[0])
    for path in dict.fromkeys(part.path for part in scene.parts if part.alphas):
        logger.info("%s: the alpha band is used as a mask: no data where it is 0", path)
    return scene


def _choose(wanted: Sequence[str] | str, everything: Sequence[FileBand]) -> list[FileBand]:
    """Bands asked for. An alpha band among them masks nothing any more."""
    if isinstance(wanted, str):
        return [band for band in everything if not band.is_alpha]
    kept = [everything[i] for i in choose_bands(wanted, [band.name for band in everything])]
    data = [(band.path, band.index) for band in kept if band.is_alpha]
    for path, index in data:
        logger.warning("%s: band %d is marked as alpha, but was asked for as a band: it masks nothing", path, index)
    return [replace(band, alpha=None) if (band.path, band.alpha) in data else band for band in kept]


def summarize(kept: Sequence[FileBand], nodata: str | float) -> RasterScene:
    """Put bands together as a scene.

    Raises
    ------
    SceneError
        When they are not on one grid or hold no numbers to cluster.
    ConfigError
        When the nodata value can't occur in them.
    """
    grid = _check_one_grid(kept)
    for band in kept:
        if band.dtype not in PIXEL_TYPES:
            msg = f"{band.path}: pixels of type {band.dtype} can't be clustered; integers and floats can"
            raise SceneError(msg)
    dtype = np.result_type(*{band.dtype for band in kept})
    info = SceneInfo(
        grid=grid,
        bands=tuple(band.name for band in kept),
        dtype=dtype,
        nodata=_choose_nodata(kept, nodata),
        nodata_rule=nodata,
        scales=tuple(band.scale for band in kept),
        offsets=tuple(band.offset for band in kept),
        block_shape=max((band.block_shape for band in kept), key=lambda shape: shape[0] * shape[1]),
        masked=any((band.mask or band.alpha) is not None for band in kept),
        drivers=tuple(dict.fromkeys(band.driver for band in kept)),
        file_block_bytes=max(band.block_bytes for band in kept),
        sources=tuple(dict.fromkeys(band.path for band in kept)),
        files=tuple(dict.fromkeys(file for band in kept for file in (band.path, *band.files))),
    )
    return RasterScene(info, tuple(_group(kept)))


def _group(bands: Sequence[FileBand]) -> list[FilePart]:
    """Group neighbouring bands of one file and type, so that each group is read in one call."""
    parts, first = [], 0
    for (path, _), members in groupby(bands, key=lambda band: (band.path, band.dtype)):
        group = list(members)
        parts.append(
            FilePart(
                path=path,
                first=first,
                indexes=tuple(band.index for band in group),
                masks=tuple(dict.fromkeys(band.mask for band in group if band.mask is not None)),
                alphas=tuple(dict.fromkeys(band.alpha for band in group if band.alpha is not None)),
            )
        )
        first += len(group)
    return parts
