"""Label a scene with a model and write the files of the map: labels, table, picture."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.core.pixels import BlockSource
from pipeline.core.version import __version__
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.jobs.outputs import OutputPaths
from pipeline.labels.classify import ClassStatistics, classify_blocks
from pipeline.models.base import ClusterModel
from pipeline.sinks import registry
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.palette import class_colours
from pipeline.sinks.quicklook import Layout, QuickLook, thinning_for
from pipeline.sinks.staging import Staging
from pipeline.sinks.table import write_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MapSummary:
    """Pixel counts and areas of a map."""

    counts: tuple[int, ...]
    """Number of nodata pixels, then of pixels per class, shape (k + 1,)."""
    hectares: tuple[float | None, ...]
    """Area per class in hectares, shape (k,); None where it is unknown."""
    area_note: str
    """Reason why the areas are unknown; empty if they are known."""


def map_tags(digest: str) -> dict[str, str]:
    """GeoTIFF tags that say what a map is, and which version and model made it."""
    return {
        "TIFFTAG_SOFTWARE": f"terrazzo {__version__}",
        "TIFFTAG_IMAGEDESCRIPTION": "Classes of an unsupervised clustering, 0 is nodata. Clusters are not land cover.",
        "TERRAZZO_VERSION": __version__,
        "TERRAZZO_MODEL_SHA256": digest,
    }


def write_map(
    source: BlockSource,
    model: ClusterModel,
    paths: OutputPaths,
    *,
    staging: Staging,
    palette: str,
    workers: int,
    progress: Progress,
) -> MapSummary:
    """Label a scene and write its map, table and picture under their temporary names.

    Parameters
    ----------
    source : BlockSource
        A scene with the model's bands, in the model's order.
    model : ClusterModel
        The classes.
    paths : OutputPaths
        Paths of the outputs.
    staging : Staging
        Gives the temporary names of the outputs.
    palette : str
        'auto' or the name of a matplotlib colour map.
    workers : int
        Number of blocks processed at the same time.
    progress : Progress
        Shows the stages `label` and `write`.

    Raises
    ------
    SceneError
        If a block can't be read.
    OutputError
        If a file can't be written.
    """
    info, colours = source.info, class_colours(model.k, palette)
    areas = pixel_areas(info.grid)
    layout = Layout.of(info.grid, model.k + 1)
    thinning = thinning_for(layout, info.bands, info.common_names)
    picture = QuickLook(info.grid, layout, thinning, info.dtype)
    statistics = ClassStatistics(model, info.units, areas)
    with MapWriter(staging.path(paths.labels), info.grid, colours, map_tags(model.digest), workers) as writer:
        with progress.stage("label", len(source.blocks)) as step:
            for block, labelled in classify_blocks(source, model, thinning, workers, areas):
                writer.write(labelled.labels, block)
                statistics.add(labelled)
                picture.add(block, labelled)
                step()
        release_memory()
        if not any(statistics.counts[1:]):
            logger.warning("%s: no pixel is valid in every band, so the whole map is nodata", info.sources[0])
        with progress.stage("write", 2) as step:
            write_table(staging.path(paths.table), statistics, info.bands, colours)
            with ThreadPoolExecutor(1) as background:
                overviews = background.submit(writer.make_overviews)  # needs little memory, unlike GDAL's copy
                nodata = statistics.counts[0] / info.pixels
                drawn = registry.draw_picture(picture, info.bands, colours, shares(statistics.counts), nodata)
                del picture
                overviews.result()
                release_memory()  # before GDAL's copy needs memory
                # GDAL's copy leaves one core partly idle, enough to compress the picture
                saving = background.submit(registry.save_picture, drawn, staging.path(paths.picture))
                del drawn
                step()
                writer.finish()
                saving.result()
                step()
    hectares = tuple(statistics.hectares(label) for label in range(1, model.k + 1))
    return MapSummary(counts=tuple(statistics.counts), hectares=hectares, area_note=areas.reason)


def shares(counts: Sequence[int]) -> list[float]:
    """Share of the valid pixels per class, from the numbers of nodata pixels and of pixels per class."""
    valid = sum(counts[1:])
    return [count / valid if valid else 0.0 for count in counts[1:]]
