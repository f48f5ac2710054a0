"""The files of a run: their paths, and how they are written together."""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.config.fields import says_none
from pipeline.core.errors import ConfigError
from pipeline.core.scene_info import SceneInfo
from pipeline.sinks.base import OFF, Sink
from pipeline.sinks.output_set import describe_mixed_set, digests_of
from pipeline.sinks.picture_options import PictureOptions
from pipeline.sinks.publish import sidecars
from pipeline.sinks.registry import SINKS, OutputConfig
from pipeline.sinks.stac import is_own_item
from pipeline.sinks.staging import Staging, path_fault

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OutputPaths:
    """Paths of the files that a run writes."""

    files: tuple[tuple[Sink, Path], ...]
    """Outputs and their paths, the map first."""
    left_out: tuple[tuple[Sink, Path], ...]
    """Outputs that are switched off, and their default paths."""

    @classmethod
    def of(cls, output: OutputConfig, *, fits: bool) -> "OutputPaths":
        """Take the paths of a config; those not set get names next to the labels.

        Raises
        ------
        ConfigError
            If a file has not the ending of its format, a path is that of two outputs, of a folder or of a device, or
            the map is switched off.
        """
        labels = Path(output.labels)
        files: list[tuple[Sink, Path]] = []
        left_out: list[tuple[Sink, Path]] = []
        options = PictureOptions.of(output)
        for sink in SINKS:
            if sink.follows:
                if getattr(output, sink.key):
                    files.append((sink, _path_after(sink, files)))
                elif any(other.key == sink.follows for other, _ in files):
                    left_out.append((sink, _path_after(sink, files)))
                continue
            name: str | None = getattr(output, sink.key)
            default = sink.default_path(labels)
            if name and not says_none(name) and not sink.fits(labels):
                msg = f"output.{sink.key}: {sink.what} is written beside a GeoTIFF only; leave this key out"
                raise ConfigError(msg)
            if (sink.of_fit and not fits) or not sink.fits(labels):
                continue
            if sink.on_request and name is None:
                left_out.append((sink, default))
            elif says_none(name):
                sink.check_off()
                left_out.append((sink, default))
            else:
                path = Path(name) if name else default
                sink.check(path, labels)
                bound = sink.in_format_of(path)
                if bound.needs_options:
                    bound = replace(bound, needs=partial(bound.needs, options=options))
                files.append((bound, path))
        beside = {os.path.realpath(path) for sink, path in files if sink.beside}
        _check_paths({f"output.{sink.key}": path for sink, path in files}, beside)
        return cls(tuple(files), tuple(left_out))

    @property
    def folder(self) -> Path:
        """Folder of the map."""
        return self.files[0][1].parent

    @property
    def sinks(self) -> list[Sink]:
        """The outputs that are written."""
        return [sink for sink, _ in self.files]

    def all(self) -> list[Path]:
        """Paths of all files that are written, the map first."""
        return [path for _, path in self.files]

    def by_key(self) -> dict[str, Path]:
        """Paths of all files that are written, by their keys in the config."""
        return {f"output.{sink.key}": path for sink, path in self.files}

    def check_size(self, shape: tuple[int, int]) -> None:
        """Raise ConfigError if a map of a shape (rows, columns) is too large for its format."""
        sink, path = self.files[0]
        sink.check_size(shape, path)


def _path_after(sink: Sink, files: Iterable[tuple[Sink, Path]]) -> Path:
    """Path of an output that has the name of another one; raise ConfigError if that is switched off."""
    for other, path in files:
        if other.key == sink.follows:
            return path.with_suffix(sink.following[path.suffix.lower()])
    msg = f"output.{sink.key}: output.{sink.follows} is {OFF}, so there is nothing that {sink.what} could belong to"
    raise ConfigError(msg)


def _check_paths(paths: Mapping[str, Path], beside: Collection[str]) -> None:
    """Raise ConfigError if a path can't be that of a file, or two outputs, given by their keys, have one path.

    No output may be what GDAL reads as part of another one, unless it is `beside` it for that.
    """
    taken: dict[str, str] = {}
    for key, path in paths.items():
        if fault := path_fault(path):
            msg = f"{key}: {path}: {fault}"
            raise ConfigError(msg)
        if (other := taken.setdefault(os.path.realpath(path), key)) != key:
            msg = f"{key}: {path}: this is the path of {other}, too; give them different names"
            raise ConfigError(msg)
    for key, path in paths.items():
        folder = next((other for other in map(os.path.realpath, path.parents) if other in taken), None)
        if folder:
            msg = f"{key}: {path}: this is inside {taken[folder]}, {folder}; use another name"
            raise ConfigError(msg)
        for sidecar in map(os.path.realpath, sidecars(path)):
            if sidecar in taken and sidecar not in beside:
                msg = (
                    f"{taken[sidecar]}: {sidecar}: GDAL would read this file as part of {key}, {path}; use another name"
                )
                raise ConfigError(msg)


@dataclass(frozen=True)
class StagedOutputs:
    """The files of a run under their temporary names."""

    paths: OutputPaths
    """Final names."""
    staging: Staging
    """Temporary names."""
    left_out: frozenset[str] = frozenset()
    """Keys of outputs that are not written for the scene."""

    def of_scene(self, info: SceneInfo) -> "StagedOutputs":
        """Return the outputs that are written for a scene, and log why others are not.

        Of these, the file of an earlier run is removed when the others are replaced, because it would seem to be new.
        """
        left_out = set()
        for sink, path in self.paths.files:
            if reason := sink.left_out(info) if sink.left_out else "":
                logger.info("%s: %s is not written, as %s", path, sink.what, reason)
                left_out.add(sink.key)
                if is_own_item(path):
                    self.staging.leave_out(path)
                elif os.path.lexists(path):
                    _warn_of_unchanged(path, "it is not written for this scene")
        return replace(self, left_out=frozenset(left_out))

    def files(self) -> list[tuple[Sink, Path]]:
        """Return the outputs that are written and their temporary paths, the map first."""
        written = [(sink, path) for sink, path in self.paths.files if sink.key not in self.left_out]
        return [(sink, self.staging.path(path)) for sink, path in written]

    def record(self) -> dict[str, dict[str, str]]:
        """What a report says of the files: the path of each, and the SHA-256 digests of those that it describes."""
        described = [(sink, path) for sink, path in self.files() if not sink.of_files]
        left_out = {sink.key for sink, path in described if sink.conditional and not path.exists()} | self.left_out
        return {
            "outputs": {sink.key: str(path) for sink, path in self.paths.files if sink.key not in left_out},
            "sha256": digests_of({sink.key: path for sink, path in described if sink.key not in left_out}),
        }


def _warn_of_unchanged(path: Path, why: str) -> None:
    """Warn of an existing file that has the name of an output that is not written."""
    reason = f"is left as it is and will not belong to the new map, as {why}"
    logger.warning("%s: this file %s; remove it, or give it another name", path, reason)


@contextmanager
def stage_outputs(paths: OutputPaths, *, overwrite: bool) -> Iterator[StagedOutputs]:
    """Stage the files of a map; warn if existing files that are replaced or left are not from one run.

    What GDAL reads as part of the map is not compared, because GDAL adds statistics to it, and is never left.
    """
    with Staging(paths.all(), overwrite=overwrite) as staging:
        described = [path for sink, path in paths.files if not (sink.of_files or sink.beside)]
        for sink, path in paths.files:
            if sink.of_files and (mixed := describe_mixed_set(described, path)):
                logger.warning("%s", mixed)
        for sink, path in paths.left_out:
            if os.path.lexists(path) and not sink.beside:
                _warn_of_unchanged(path, f"output.{sink.key} is {OFF}")
        yield StagedOutputs(paths, staging)
