"""What there is to say of a scene's files: what may not be meant, what is not quite where it was, what is slow."""

import logging
import operator
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.grid import Grid
from pipeline.scenes.filebands import FileBand
from pipeline.scenes.ground import covered, place
from pipeline.scenes.parts import FilePart

logger = logging.getLogger(__name__)

_STRIP_OF_NOTE: Final = 10**6
"""Bytes above which a file that is one strip is told."""

_HARDLY: Final = 0.5
"""Share of a scene below which a band is told that covers no more of it."""


def say_what_is_missing(bands: Sequence[FileBand], grid: Grid) -> None:
    """Warn of a file that shows another place, for the most part: it is hardly a band of the scene."""
    share, least = min(((covered(grid, band.grid), band) for band in bands), key=operator.itemgetter(0))
    if share < _HARDLY:
        logger.warning(
            "scene.source: %s covers %.2g%% of the scene (%s); the rest lacks band %s: files of several places are "
            "no bands of one scene, make a map of each; where bands overlap, scene.aoi cuts out that part",
            least.path,
            100 * share,
            place(grid),
            least.name,
        )


def say_what_moves(parts: Sequence[FilePart], bands: Sequence[FileBand], grid: Grid) -> None:
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
        elif part.placement and not part.placement.aligned:
            logger.info(
                "%s: brought by nearest neighbour from %s onto %s, whose pixel edges differ",
                part.path,
                band.grid.describe(),
                grid.describe(),
            )


def say_what_is_slow(strips: Mapping[str, int]) -> None:
    """Warn of files that are one compressed strip."""
    for path, size in strips.items():
        if size > _STRIP_OF_NOTE:
            logger.warning(
                "%s: all rows are one compressed strip of %.0f MB: each worker keeps it in memory, and decodes it anew "
                "from its start for each block; tiles are quicker: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE",
                path,
                size / 1e6,
            )
