"""Warnings about a scene's bands, grids and file layout; `value_checks` looks at pixel values instead."""

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

_LARGE_STRIP: Final = 10**6
"""Size in bytes above which a single-strip file causes a warning."""

_LITTLE_OVERLAP: Final = 0.5
"""Share of the scene below which the coverage of a band causes a warning."""

_FULL_OVERLAP: Final = 0.99
"""Share of the first band's extent from which another band counts as covering it: product edges differ by pixels."""

_PLURALS: Final = {
    "quality layer": "quality layers",
    "angles": "angles",
    "picture": "pictures",
    "atmosphere": "atmosphere layers",
    "labels": "labels",
}
"""Plural of each kind of layer, for messages."""


def left_out_note(catalogue: Catalogue, wanted: Sequence[str] | str) -> str:
    """Describe the layers that 'auto' or 'all' leaves out, and why; empty if there are none, or if bands are named."""
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
    masks = f"; available masks: {', '.join(map(str, catalogue.masks))}" if catalogue.masks else ""
    return f"{catalogue.origin}: left out by default: {listed}; to use a layer, name it in scene.bands{masks}"


def warn_of_little_overlap(bands: Sequence[FileBand], grid: Grid) -> None:
    """Warn if the band with the least overlap covers less than half of the scene."""
    share, least = min(((coverage(grid, band.grid), band) for band in bands), key=operator.itemgetter(0))
    if share < _LITTLE_OVERLAP:
        logger.warning(
            "scene.source: %s covers %.2g%% of the scene (%s), so the rest has no band %s; if these files show "
            "different places, run them separately; else set scene.aoi to the area where all bands overlap",
            least.path,
            100 * share,
            grid_words(grid),
            least.name,
        )


def warn_of_resampled_bands(parts: Sequence[FilePart], bands: Sequence[FileBand], grid: Grid) -> None:
    """Log the files that are resampled onto the scene's grid: one line for each method and grid they come from."""
    paths: dict[str, list[str]] = {}
    for part in parts:
        sizes = f"from {bands[part.first].grid.describe()} onto {grid.describe()}"
        if part.warp:
            paths.setdefault(f"warped ({part.warp.resampling}) {sizes}", []).append(part.path)
        elif part.alignment and not part.alignment.aligned:
            how = f"resampled (nearest neighbour) {sizes}, whose pixel edges differ"
            paths.setdefault(how, []).append(part.path)
    for how, (first, *others) in paths.items():
        logger.info("%s%s: %s", first, f" and {len(others)} more" if others else "", how)


def warn_of_slow_strips(strips: Mapping[str, int]) -> None:
    """Warn of files whose rows are all in one compressed strip; `strips` maps paths to sizes in bytes."""
    for path, size in strips.items():
        if size > _LARGE_STRIP:
            logger.warning(
                "%s: all rows are one compressed strip of %.0f MB, which each worker holds in memory and decodes from "
                "the start for each block; convert it to tiles: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE",
                path,
                size / 1e6,
            )


def alpha_notes(bands: Iterable[FileBand]) -> Iterator[str]:
    """Yield a warning for each band that is tagged as alpha but holds data."""
    for path, index, name in dict.fromkeys((band.path, band.index, band.name) for band in bands if band.tagged_alpha):
        yield (
            f"{path}: band {index} is tagged as alpha, but more than 1% of its pixels are neither 0 nor its largest "
            f"value: it is used as data band {name}, not as a mask; if it is a mask with soft edges, leave it out of "
            "scene.bands, and set scene.nodata or scene.mask"
        )


def preview_notes(previews: Sequence[Preview]) -> Iterator[str]:
    """Yield warnings about previews of bands and about their grids."""
    first = previews[0].band
    grids = {preview.band.grid: preview.band for preview in reversed(previews)}
    if first.grid.crs is None:
        yield "no coordinate reference system: the map will have none, and class areas are unknown"
    yield from _band_notes(previews)
    sizes = {grid.describe(): band.name for grid, band in grids.items()}
    if len(sizes) > 1:
        listed = "; ".join(f"{size} (such as {name})" for size, name in reversed(sizes.items()))
        yield f"the bands have different grids, and all are resampled onto the first of these, the finest: {listed}"
    apart = next((band for grid, band in reversed(grids.items()) if coverage(first.grid, grid) < _FULL_OVERLAP), None)
    if apart:
        yield (
            f"bands {first.name} and {apart.name} have different extents: {grid_words(first.grid)}, and "
            f"{grid_words(apart.grid)}; the map has the extent of the finest band, and data where all bands have data"
        )


def _band_notes(previews: Sequence[Preview]) -> Iterator[str]:
    """Yield warnings about bands without valid pixels, constants, infinite values and duplicate bands."""
    seen: dict[object, str] = {}
    for preview in previews:
        pixels, name = preview.pixels[preview.valid], preview.band.name
        constant = pixels.size and pixels.min() == pixels.max()
        if not pixels.size:
            yield f"band {name} has no valid pixel in its preview"
        elif constant:
            yield f"band {name} is {pixels.flat[0]:g} in every pixel of its preview: leave it out of scene.bands"
        if preview.pixels.dtype.kind == "f" and np.isinf(preview.pixels).any():
            yield f"band {name} holds infinite values, which count as nodata"
        if pixels.size and not constant:
            twin = seen.setdefault((preview.band.grid, _digest(preview.pixels)), name)
            if twin != name:
                yield f"band {name} has the same preview as {twin}: it adds weight, not information"


def _digest(pixels: npt.NDArray[Any]) -> bytes:
    """Hash of the pixel values; equal for equal numbers of different types."""
    numbers = pixels.astype(np.float64) + 0.0  # -0 becomes 0
    numbers[np.isnan(numbers)] = np.nan
    return blake2b(numbers.tobytes(), digest_size=16).digest()
