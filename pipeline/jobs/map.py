"""From a source and a model to the files of a map: labels, table, picture."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.schema import OutputConfig
from pipeline.core.errors import ConfigError
from pipeline.core.pixels import BlockSource
from pipeline.core.version import __version__
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.labels.classify import ClassStatistics, classify_blocks
from pipeline.models.cluster_model import ClusterModel
from pipeline.sinks import registry
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.palette import class_colours
from pipeline.sinks.quicklook import Layout, QuickLook, thinning_for
from pipeline.sinks.staging import Staging
from pipeline.sinks.table import write_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OutputPaths:
    """Where each file of a run goes."""

    labels: Path
    table: Path
    picture: Path
    report: Path
    model: Path | None
    """None when the run uses a model that is there already."""

    @classmethod
    def of(cls, output: OutputConfig, *, fits: bool) -> "OutputPaths":
        """Fill in the defaults, beside the labels.

        Raises
        ------
        ConfigError
            When the labels would be no GeoTIFF, or the picture no PNG.
        """
        labels = Path(output.labels)
        if labels.suffix.lower() not in {".tif", ".tiff"}:
            msg = f"output.labels: {labels}: the map is a GeoTIFF; give it a name that ends in .tif"
            raise ConfigError(msg)

        if output.picture and Path(output.picture).suffix.lower() != ".png":
            msg = f"output.picture: {output.picture}: the picture is a PNG; give it a name that ends in .png"
            raise ConfigError(msg)

        def beside(name: str | None, ending: str) -> Path:
            return Path(name) if name else labels.with_name(labels.stem + ending)

        return cls(
            labels=labels,
            table=beside(output.table, ".csv"),
            picture=beside(output.picture, "_quicklook.png"),
            report=beside(output.report, ".run.json"),
            model=beside(output.model, ".model.json") if fits else None,
        )

    def all(self) -> list[Path]:
        """Every file that is written, the map first."""
        files = (self.labels, self.table, self.picture, self.model, self.report)
        return [path for path in files if path is not None]

    @property
    def told(self) -> dict[str, Path]:
        """What the report tells of, by what each is: all files but itself."""
        return {name: path for name, path in vars(self).items() if path is not None and path != self.report}


@dataclass(frozen=True, kw_only=True)
class MapSummary:
    """What a map holds."""

    counts: tuple[int, ...]
    """Pixels of nodata, then of each class."""
    hectares: tuple[float | None, ...]
    """Area of each class; None where it is not known."""
    area_note: str
    """Why the area is unknown, if it is."""


def map_tags(digest: str) -> dict[str, str]:
    """Tags that say what a map is and where it comes from."""
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
        Where the files shall stand.
    staging : Staging
        Gives the names they have until all are whole.
    palette : str
        'auto' or a matplotlib colour map.
    workers : int
        Blocks worked on at once.
    progress : Progress
        Shows the stages `label` and `write`.

    Raises
    ------
    SceneError
        When a block can't be read.
    OutputError
        When a file can't be written.
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
            logger.warning("%s: no pixel holds data in every band; the map is all nodata", info.sources[0])
        with progress.stage("write", 2) as step:
            write_table(staging.path(paths.table), statistics, info.bands, colours)
            with ThreadPoolExecutor(1) as beside:
                halving = beside.submit(writer.make_overviews)  # in little memory, unlike GDAL's copy
                # not before: Pillow is not wanted until then
                nodata = statistics.counts[0] / info.pixels
                drawn = registry.draw_picture(picture, info.bands, colours, shares(statistics.counts), nodata)
                del picture
                halving.result()
                release_memory()  # before GDAL takes its share
                # one thread's work: GDAL leaves room for it between its own
                saving = beside.submit(registry.save_picture, drawn, staging.path(paths.picture))
                del drawn
                step()
                writer.finish()
                saving.result()
                step()
    hectares = tuple(statistics.hectares(label) for label in range(1, model.k + 1))
    return MapSummary(counts=tuple(statistics.counts), hectares=hectares, area_note=areas.reason)


def shares(counts: Sequence[int]) -> list[float]:
    """Share of the valid pixels in each class, from pixels of nodata and of each class."""
    valid = sum(counts[1:])
    return [count / valid if valid else 0.0 for count in counts[1:]]
