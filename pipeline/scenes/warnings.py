"""What there is to say of a scene's files: what may not be meant, what is not quite where it was, what is slow."""

import logging
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.band_names import listed_names
from pipeline.core.grid import Grid
from pipeline.core.layer_kinds import is_terrain
from pipeline.formats.catalogue import Catalogue
from pipeline.geo.overlap import coverage, grid_words
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import FilePart
from pipeline.scenes.preview import Preview

logger = logging.getLogger(__name__)

_STRIP_OF_NOTE: Final = 10**6
"""Bytes above which a file that is one strip is told."""

_HARDLY: Final = 0.5
"""Share of a scene below which a band is told that covers no more of it."""

_ALL: Final = 0.99
"""Share of the first band's ground that others cover, at least: edges of products differ by some pixels."""


_PLURALS: Final = {
    "quality layer": "quality layers",
    "angles": "angles",
    "picture": "pictures",
    "atmosphere": "layers of the atmosphere",
    "labels": "labels",
}
"""Kinds of layers in words."""


def left_out_note(catalogue: Catalogue, wanted: Sequence[str] | str) -> str:
    """Say which layers 'auto' or 'all' leaves out, and why; empty where there is none, or bands are named."""
    if not isinstance(wanted, str):
        return ""
    chosen = {band.name for band in catalogue.choose(wanted)}
    reasons: dict[str, list[str]] = {}
    for name, reason in catalogue.unselectable:
        reasons.setdefault(_PLURALS.get(reason, reason), []).append(name)
    for band in catalogue.bands:
        if band.name not in chosen and (band.kind != "measured" or band.measures_no_light):
            measures = "terrain" if is_terrain(band.name) else band.quantity or "thermal"
            reasons.setdefault(_PLURALS.get(band.kind, measures), []).append(band.name)
    if not reasons:
        return ""
    listed = "; ".join(f"{reason}: {listed_names(names)}" for reason, names in reasons.items())
    masks = f"; masks there are: {', '.join(map(str, catalogue.masks))}" if catalogue.masks else ""
    return f"{catalogue.origin}: left out, as no band is named: {listed} (scene.bands takes what it names{masks})"


def warn_of_little_overlap(bands: Sequence[FileBand], grid: Grid) -> None:
    """Warn of a file that shows another place, for the most part: it is hardly a band of the scene."""
    share, least = min(((coverage(grid, band.grid), band) for band in bands), key=operator.itemgetter(0))
    if share < _HARDLY:
        logger.warning(
            "scene.source: %s covers %.2g%% of the scene (%s); the rest lacks band %s: files of several places are "
            "no bands of one scene, make a map of each; where bands overlap, scene.aoi cuts out that part",
            least.path,
            100 * share,
            grid_words(grid),
            least.name,
        )


def warn_of_resampled_bands(parts: Sequence[FilePart], bands: Sequence[FileBand], grid: Grid) -> None:
    """Tell which bands don't lie on the scene's grid, so that their pixels are not quite where they were."""
    for part in parts:
        band = bands[part.first]
        if part.warp:
            logger.info(
                "%s: warped (%s) from %s onto %s",
                part.path,
                part.warp.resampling,
                band.grid.describe(),
                grid.describe(),
            )
        elif part.alignment and not part.alignment.aligned:
            logger.info(
                "%s: brought by nearest neighbour from %s onto %s, whose pixel edges differ",
                part.path,
                band.grid.describe(),
                grid.describe(),
            )


def warn_of_slow_strips(strips: Mapping[str, int]) -> None:
    """Warn of files that are one compressed strip."""
    for path, size in strips.items():
        if size > _STRIP_OF_NOTE:
            logger.warning(
                "%s: all rows are one compressed strip of %.0f MB: each worker keeps it in memory, and decodes it anew "
                "from its start for each block; tiles are quicker: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE",
                path,
                size / 1e6,
            )


def alpha_notes(bands: Iterable[FileBand]) -> Iterator[str]:
    """Tell of bands that are tagged as alpha, but hold data."""
    for path, index, name in dict.fromkeys((band.path, band.index, band.name) for band in bands if band.tagged_alpha):
        yield (
            f"{path}: band {index} is tagged as alpha, but more than 1% of it are neither 0 nor its largest value: "
            f"it is taken as data, band {name}, and masks nothing; if it is a mask with soft edges, leave it out by "
            "scene.bands, and set scene.nodata or scene.mask"
        )


def preview_notes(previews: Sequence[Preview]) -> Iterator[str]:
    """Tell what the previews of bands, and their grids, show that may spoil a map."""
    first = previews[0].band
    grids = {preview.band.grid: preview.band for preview in reversed(previews)}
    if first.grid.crs is None:
        yield "no coordinate reference system: the map will have none, and areas are unknown"
    yield from _band_notes(previews)
    sizes = {grid.describe(): band.name for grid, band in grids.items()}
    if len(sizes) > 1:
        listed = "; ".join(f"{size} (such as {name})" for size, name in reversed(sizes.items()))
        yield f"the bands have different grids; together they are brought onto the finest: {listed}"
    elsewhere = next((band for grid, band in reversed(grids.items()) if coverage(first.grid, grid) < _ALL), None)
    if elsewhere:
        yield (
            f"bands {first.name} and {elsewhere.name} don't show the same ground: {grid_words(first.grid)}, and "
            f"{grid_words(elsewhere.grid)}; the map is that of the finest band, with data where all bands have some"
        )


def _band_notes(previews: Sequence[Preview]) -> Iterator[str]:
    """Tell of bands without valid pixels, constants, infinities, and copies of other bands."""
    seen: dict[object, str] = {}
    for preview in previews:
        pixels, name = preview.pixels[preview.valid], preview.band.name
        constant = pixels.size and pixels.min() == pixels.max()
        if not pixels.size:
            yield f"band {name} has no valid pixel among those looked at"
        elif constant:
            yield f"band {name} is {pixels.flat[0]:g} everywhere among the pixels looked at: leave it out"
        if preview.pixels.dtype.kind == "f" and np.isinf(preview.pixels).any():
            yield f"band {name} holds infinite values: they count as nodata"
        if pixels.size and not constant:
            twin = seen.setdefault((preview.band.grid, _digest(preview.pixels)), name)
            if twin != name:
                yield f"band {name} looks the same as {twin}: it adds weight, not information"


def _digest(pixels: npt.NDArray[Any]) -> bytes:
    """What stands for pixels of equal numbers, whatever their type."""
    numbers = pixels.astype(np.float64) + 0.0  # -0 becomes 0
    numbers[np.isnan(numbers)] = np.nan
    return blake2b(numbers.tobytes(), digest_size=16).digest()
