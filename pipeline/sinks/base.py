"""What an output of a run is: a light record that config and plan read, and the writer that a job opens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from pipeline.core.errors import ConfigError, OutputError
from pipeline.core.grid import Block
from pipeline.core.needs import Needs
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.executor import Executor
from pipeline.engine.work_folder import output_error
from pipeline.labels.classify import BlockPart, ClassStatistics, Labels
from pipeline.models.base import ClusterModel
from pipeline.sinks.palette import Colour
from pipeline.sinks.picture_options import DEFAULT_OPTIONS, PictureOptions
from pipeline.sinks.provenance import MapProvenance
from pipeline.sinks.store_folders import is_store_path

OFF: Final = "none"
"""Value of an output's key in the config that switches the output off."""


def text_needs(info: SceneInfo, classes: int) -> Needs:
    """Needs of a text file with a few numbers per class and band."""
    names = sum(map(len, (*info.bands, *info.sources))) + sum(map(len, info.files)) + 150 * len(info.files)
    return Needs(disk=300_000 + 4 * names + 100 * classes * (2 + len(info.bands)))


@dataclass(frozen=True, kw_only=True)
class Sink:
    """An output of a run."""

    key: str
    """Key of its path under `output` in the config, and under `outputs` in the report."""
    what: str
    """Name in messages, with its article."""
    ending: str | None
    """Default path, with the path of the map without its own ending before it; None if the config must name a path."""
    beside: bool = False
    """True if its ending follows the whole name of the map, and its path can't be chosen, as clients look for it
    there."""
    on_request: bool = False
    """True if it is written only if the config names a path."""
    conditional: bool = False
    """True if a run may leave it out, and says why."""
    with_maps: tuple[str, ...] = ()
    """Endings of the maps that it is written for; empty for all."""
    writer: str
    """`module:name` of the function that opens its writer, (path, job) -> `Writer`; imported when a job needs it."""
    endings: tuple[str, ...] = ()
    """Endings of file names that are allowed, in lower case; empty if all are."""
    form: str = ""
    """File format in messages, if `endings` are limited."""
    other_formats: tuple["Sink", ...] = ()
    """The same output in other formats, each with its own endings: the ending of its path chooses."""
    hints: tuple[tuple[str, str], ...] = ()
    """Endings that are not allowed and what a message adds for each, such as the key of that format."""
    needs: Callable[..., Needs] = text_needs
    """Needs while it is written, for a scene and a number of classes, and options of pictures if `needs_options`."""
    needs_options: bool = False
    """True if its needs depend on how pictures are drawn."""
    follows: str = ""
    """Key of the output that it belongs to, whose name it takes; the config then says only true or false."""
    following: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Ending of its name by that of the output that it belongs to."""
    of_fit: bool = False
    """True if only a run that fits a model writes it."""
    left_out: Callable[[SceneInfo], str] | None = None
    """Says why a run of a scene leaves it out, empty if it does not; None if no run does. The file of an earlier run
    is removed then if it is a STAC item that says so."""
    of_files: bool = False
    """True if it describes the other files, and so is finished when these are, with the report of the run."""
    block_side: int = 1
    """Number of which sides of blocks are best multiples, if it is written where labels are made; else 1."""
    most_pixels: int | None = None
    """Largest number of pixels of a map in this format; None for any."""

    @property
    def description(self) -> str:
        """What the config says of its key."""
        if self.follows:
            return f"true or false: whether {self.what} is written, for output.panels: classes, or scene"
        if self.ending is None:
            return f"the path of {self.what}, {self.forms}, for example out/classes{self.endings[0]}"
        if self.on_request:
            return f"the path of {self.what}, such as out/classes{self.ending} (default: '{OFF}')"
        if self.beside:
            return f"'{OFF}' to leave out {self.what}, which is written as <labels>{self.with_maps[0]}{self.ending}"
        return f"the path of {self.what} (default: <labels>{self.ending}), or '{OFF}' to leave it out"

    @property
    def formats(self) -> tuple["Sink", ...]:
        """The output in each of its formats, this one first."""
        return (self, *self.other_formats)

    @property
    def forms(self) -> str:
        """Its formats in messages, with endings if there are several."""
        if not self.other_formats:
            return self.form
        return " or ".join(f"{each.form} ({each.endings[0]})" for each in self.formats)

    def in_format_of(self, path: Path) -> "Sink":
        """The output in the format that the ending of a path says; as it is if no format has that ending."""
        return next((each for each in self.formats if path.suffix.lower() in each.endings), self)

    def default_path(self, labels: Path) -> Path:
        """Path of its file beside a map, unless the config names another; of the map itself its own."""
        if self.ending is None:
            return labels
        return labels.with_name((labels.name if self.beside else labels.stem) + self.ending)

    def fits(self, labels: Path) -> bool:
        """Whether it is written for a map of this path."""
        return not self.with_maps or labels.suffix.lower() in self.with_maps

    def check(self, path: Path, labels: Path) -> None:
        """Raise ConfigError if its file can't have this path beside a map."""
        if self.beside and path != self.default_path(labels):
            expected = self.default_path(labels)
            msg = f"output.{self.key}: {path}: {self.what} has to be {expected}; leave this key out, or set it to {OFF}"
            raise ConfigError(msg)
        if self.endings and not any(path.suffix.lower() in each.endings for each in self.formats):
            names = " or ".join(each.endings[0] for each in self.formats)
            form = " or ".join(each.form for each in self.formats)
            hint = dict(self.hints).get(path.suffix.lower())
            fix = f"use a name that ends in {names}" + (f" ({hint})" if hint else "")
            msg = f"output.{self.key}: {path}: {self.what} is {form}; {fix}"
            raise ConfigError(msg)
        if not self.endings and is_store_path(path):
            reason = f"{self.what} is a file, and {path.suffix} ends the names of folders"
            msg = f"output.{self.key}: {path}: {reason}; use another name"
            raise ConfigError(msg)

    def check_size(self, shape: tuple[int, int], path: Path) -> None:
        """Raise ConfigError if a map of a shape (rows, columns) is too large for this format."""
        rows, columns = shape
        if self.most_pixels is not None and rows * columns > self.most_pixels:
            msg = (
                f"output.{self.key}: {path}: a map of {columns} x {rows} pixels is too large for {self.form}, which "
                f"has {self.most_pixels:,} at most; use a name that ends in .zarr"
            )
            raise ConfigError(msg)

    def check_off(self) -> None:
        """Raise ConfigError if it can't be switched off."""
        if self.ending is None:
            fix = f"give a path that ends in {' or '.join(each.endings[0] for each in self.formats)}"
            msg = f"output.{self.key}: {self.what} can't be switched off ({OFF}); {fix}"
            raise ConfigError(msg)

    def failure(self, path: Path, error: OSError) -> OutputError:
        """Build the error of a file that can't be written."""
        key = "labels" if self.beside else self.key
        return output_error(path, self.what, f"output.{key}", error)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a writer knows before the first block."""

    info: SceneInfo
    """The scene on the map's grid."""
    model: ClusterModel
    """The classes."""
    colours: tuple[Colour, ...]
    """Colours of classes 1 to k."""
    workers: int
    """Number of threads, at most."""
    zarr_format: Literal[2, 3] = 2
    """Format of a map that is a Zarr store."""
    zarr_overviews: bool = False
    """Whether such a map has overviews."""
    provenance: MapProvenance = field(default_factory=MapProvenance)
    """Files and settings that decide the map."""
    picture: PictureOptions = DEFAULT_OPTIONS
    """How pictures are drawn."""


@dataclass(frozen=True)
class Summary:
    """What a writer knows after the last block."""

    statistics: ClassStatistics
    """Pixels, areas, means and deviations per class."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Report of the run, as plain values; empty until the other files are finished."""


class Writer:
    """Writes one output of a job. Only `part` is called by several threads at once.

    Leaving the context removes temporary files, and the file itself is complete if `finish` has ended without error.
    """

    part: BlockPart | None = None
    """What is taken from each block, picklable and called where labels are made; None if blocks are not needed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove temporary files."""

    def add(self, block: Block, part: Any) -> None:
        """Add what `part` took from a block; blocks come in any order."""

    def complete(self, executor: Executor, /) -> None:
        """Do what remains when all blocks were added, by tasks that run where labels are made."""

    def prepare(self, summary: Summary, /) -> None:
        """Do what needs memory for pixels after the last block; no writer's `finish` runs meanwhile."""

    def finish(self, summary: Summary, /) -> None:
        """Write the file."""


class LabelWriter(Writer):
    """Writes a map, also one of labels that are not those of a job."""

    def add_labels(self, block: Block, labels: Labels) -> None:
        """Write the labels of a block; raise OutputError if the disk is full."""
        raise NotImplementedError

    def prepare(self, _summary: Summary | None = None) -> None:
        """Do what needs memory for pixels, after all labels; raise OutputError if the disk is full."""
        raise NotImplementedError

    def finish(self, _summary: Summary | None = None) -> None:
        """Finish the map and read it back; raise OutputError if that fails, or labels differ from those written."""
        raise NotImplementedError
