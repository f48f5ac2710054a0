"""Write a map of labels that are not those of a run: the map, and its legend for clients."""

from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.core.grid import Block
from pipeline.engine.progress import Progress
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.labels.classify import ClassCounts, Labels
from pipeline.sinks.base import LabelWriter
from pipeline.sinks.geotiff import LABELS
from pipeline.sinks.legend import map_legend
from pipeline.sinks.qml import QML, write_style
from pipeline.sinks.sidecar import SIDECAR, write_sidecar
from pipeline.sinks.staging import Staging
from pipeline.sinks.zarr_layout import MapDescription


def files_of_map(target: Path) -> list[Path]:
    """Paths of a map and of the files beside it."""
    return [target, *(sink.default_path(target) for sink in (QML, SIDECAR) if sink.fits(target))]


def write_labels(
    target: Path,
    description: MapDescription,
    opened: Callable[[Path], LabelWriter],
    parts: Iterable[tuple[Block, Labels]],
    progress: Progress,
    *,
    overwrite: bool,
) -> None:
    """Write a map and, beside it, what clients read of its classes; all get their names together.

    Parameters
    ----------
    target : Path
        Path of the map.
    description : MapDescription
        Grid, names and colours of the map.
    opened : callable
        Opens the writer of the map for a temporary path.
    parts : iterable of (Block, ndarray of uint8)
        The labels, block by block.
    progress : Progress
        Reports progress of the stage `write`.
    overwrite : bool
        Whether existing files may be replaced.

    Raises
    ------
    ConfigError
        If the map is too large for its format.
    OutputError
        If a file exists already or can't be written.
    """
    LABELS.in_format_of(target).check_size(description.grid.shape, target)
    style, sidecar = QML.default_path(target), SIDECAR.default_path(target) if SIDECAR.fits(target) else None
    counts = ClassCounts(len(description.colours), pixel_areas(description.grid))
    with Staging(files_of_map(target), overwrite=overwrite) as staging, opened(staging.path(target)) as writer:
        for block, labels in parts:
            writer.add_labels(block, labels)
            counts.add_labels(block, labels)
        with progress.stage("write", 2) as step:
            writer.prepare()
            step()
            writer.finish()
            legend = map_legend(description.names, description.colours, counts)
            write_style(staging.path(style), legend)
            if sidecar:
                write_sidecar(staging.path(sidecar), legend, counts)
            step()
