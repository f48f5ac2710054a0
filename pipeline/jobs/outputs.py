"""The files of a run: their paths, and how they are written together."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.config.schema import OutputConfig
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Needs
from pipeline.core.scene_info import SceneInfo
from pipeline.sinks import geotiff, quicklook
from pipeline.sinks.output_set import describe_mixed_set, digests_of
from pipeline.sinks.staging import Staging

logger = logging.getLogger(__name__)

_TEXT_BYTES: Final = 10**6
"""Disk space for the table, the model and the report."""


@dataclass(frozen=True, kw_only=True)
class OutputPaths:
    """Paths of the files that a run writes."""

    labels: Path
    table: Path
    picture: Path
    report: Path
    model: Path | None
    """Path of the fitted model; None when the run uses an existing model."""

    @classmethod
    def of(cls, output: OutputConfig, *, fits: bool) -> "OutputPaths":
        """Take the paths of a config; those not set get names next to the labels.

        Raises
        ------
        ConfigError
            When the labels are not named as a GeoTIFF, or the picture not as a PNG.
        """
        labels = Path(output.labels)
        if labels.suffix.lower() not in {".tif", ".tiff"}:
            msg = f"output.labels: {labels}: the map is a GeoTIFF; use a name that ends in .tif"
            raise ConfigError(msg)

        if output.picture and Path(output.picture).suffix.lower() != ".png":
            msg = f"output.picture: {output.picture}: the picture is a PNG; use a name that ends in .png"
            raise ConfigError(msg)

        def named(name: str | None, ending: str) -> Path:
            return Path(name) if name else labels.with_name(labels.stem + ending)

        return cls(
            labels=labels,
            table=named(output.table, ".csv"),
            picture=named(output.picture, "_quicklook.png"),
            report=named(output.report, ".run.json"),
            model=named(output.model, ".model.json") if fits else None,
        )

    def all(self) -> list[Path]:
        """Paths of all files that are written, the map first."""
        files = (self.labels, self.table, self.picture, self.model, self.report)
        return [path for path in files if path is not None]

    @property
    def reported(self) -> dict[str, Path]:
        """Paths of the files described in the report, by their keys there: all but the report."""
        return {name: path for name, path in vars(self).items() if path is not None and path != self.report}


def output_needs(info: SceneInfo, classes: int) -> Needs:
    """Needs of the files of a map of a number of classes, while they are written."""
    map_bytes, picture_bytes = (
        geotiff.max_disk_bytes(info.map_grid.shape),
        quicklook.max_disk_bytes(info.map_grid, classes + 1),
    )
    return Needs(disk=map_bytes + picture_bytes + _TEXT_BYTES)


@contextmanager
def stage_outputs(paths: OutputPaths, *, overwrite: bool) -> Iterator[Staging]:
    """Stage the files of a map; warn if the existing files that are replaced are not from one run."""
    with Staging(paths.all(), overwrite=overwrite) as staging:
        if mixed := describe_mixed_set(paths.reported, paths.report):
            logger.warning("%s", mixed)
        yield staging


def output_digests(staging: Staging, paths: OutputPaths) -> dict[str, str]:
    """SHA-256 digests of the finished files that are listed in the report."""
    return digests_of({name: staging.path(path) for name, path in paths.reported.items()})
