"""Writes the map as a Zarr store: its labels by all processes that make them, all else here; then reads it back.

It loads zarr.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, Blocks
from pipeline.engine.executor import Executor, ThreadExecutor
from pipeline.engine.work_folder import folder_of
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.kernels.majority import halve
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Job, LabelWriter, Summary
from pipeline.sinks.zarr_chunks import (
    PARTS,
    LabelArray,
    SharedMap,
    StagedStore,
    WriteBlock,
    WriteChunk,
    WrittenBlock,
    chunks_of,
)
from pipeline.sinks.zarr_layout import (
    CF,
    LABELS,
    Level,
    MapDescription,
    StoredArray,
    arrays_of,
    levels_of,
    root_attributes,
)
from pipeline.sinks.zarr_map import ZARR, chunk_shape

logger = logging.getLogger(__name__)

_ZSTD_LEVEL: Final = 1

_READ_ERRORS: Final = (OSError, ValueError, RuntimeError, LookupError, TypeError)
"""Exceptions of zarr and of its codecs for a damaged store."""


def open_map(path: Path, job: Job) -> "ZarrWriter":
    """Return the writer of a job's map."""
    description = MapDescription.of(job)
    return ZarrWriter(path, description, job.workers, zarr_format=job.zarr_format, overviews=job.zarr_overviews)


class ZarrWriter(LabelWriter):
    """Writes the labels of a grid to a Zarr store, in blocks of any shape and order that divide the grid."""

    def __init__(
        self,
        path: Path,
        description: MapDescription,
        workers: int = 1,
        *,
        zarr_format: Literal[2, 3] = 2,
        overviews: bool = False,
    ) -> None:
        self._path = path
        self._workers = workers
        self._description = description
        self._format: Literal[2, 3] = zarr_format
        self._levels = levels_of(description.grid, overviews=overviews)
        self._checksum = 0
        """Checksum of the labels so far."""
        self._sums: list[int] = []
        """Checksum of each level, the largest first."""
        self._chunks = chunks_of(description.grid.shape)
        self._missing = np.zeros(self._chunks.shape, np.bool_)
        """True for chunks whose labels are kept, shape (rows of chunks, columns of chunks)."""
        self._edges = tuple({0, count} for count in description.grid.shape)
        """First rows and first columns of the blocks so far, and the numbers of rows and of columns."""
        self._is_finished = False
        self._is_hidden = False
        """Whether a process did not see the store."""

    def __enter__(self) -> Self:
        try:
            with self._errors():
                self._store = StagedStore(self._path)
                self._array = self._create(
                    self._store, self._levels[0], root_attributes(self._description, self._levels)
                )
                (self._path / PARTS).mkdir()
        except BaseException:
            self._remove()
            raise
        self._map = SharedMap.of(self._array, self._path.resolve())
        self.part = WriteBlock(self._map)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_finished:
            self._remove()

    def add(self, block: Block, part: WrittenBlock) -> None:
        """Note where the labels of a block are; write them if that was not possible where they were made.

        Raises OutputError if the disk is full.
        """
        if part.labels is not None:
            self._tell_of_hidden_store()
            self.add_labels(block, part.labels)
            return
        self._checksum = add_checksums(self._checksum, part.checksum)
        for edges, first in zip(self._edges, (block.top, block.left), strict=True):
            edges.add(first)
        for chunk in self._chunks.touching(block):
            if chunk.common(block).shape != chunk.shape:
                self._missing[chunk.row, chunk.column] = True

    def add_labels(self, block: Block, labels: Labels) -> None:
        """Write the labels of a block; raise OutputError if the disk is full."""
        written = WriteBlock(self._map)(block, None, labels)
        if written.labels is not None:
            raise self._gone()
        self.add(block, written)

    def _tell_of_hidden_store(self) -> None:
        """Warn once that labels come to this process."""
        if not self._is_hidden:
            self._is_hidden = True
            logger.warning(
                "%s: not every worker sees this folder, so labels are sent to this process, which writes the map; in a "
                "folder that all machines share, the workers write it",
                folder_of(self._path),
            )

    def _gone(self) -> OutputError:
        return OutputError(f"{folder_of(self._path)}: the temporary folder of the map was removed; run again")

    def complete(self, executor: Executor) -> None:
        """Write the chunks that hold labels of several blocks; raise OutputError if the disk is full."""
        rows, columns = (tuple(sorted(edges)) for edges in self._edges)
        task = WriteChunk(self._map, Blocks(rows, columns))
        chunks = (self._chunks.at(row, column) for row, column in np.argwhere(self._missing).tolist())
        for chunk, is_written in executor.map(task, chunks, ordered=False):
            if not (is_written or task(chunk)):
                raise self._gone()
        self._missing[:] = False
        self._remove(PARTS)  # from now on no other process writes

    def prepare(self, _summary: Summary | None = None) -> None:
        """Finish the store, after all labels are made; raise OutputError if the disk is full."""
        if (self._path / PARTS).exists():
            self.complete(ThreadExecutor(self._workers))
        with self._errors():
            self._sums, array = [self._checksum], self._array
            for level in self._levels[1:]:
                finer = array
                array = self._create(self._store, level, CF)
                self._sums.append(_write_chunks(array, _halves_of(finer), self._workers))

    def finish(self, _summary: Summary | None = None) -> None:
        """Read the store back and compare checksums; raise OutputError if labels differ from those written."""
        verify_store(
            self._path, dict(zip((level.group for level in self._levels), self._sums, strict=True)), self._workers
        )
        self._is_finished = True

    def _create(self, store: LocalStore, level: Level, attributes: dict[str, Any]) -> LabelArray:
        """Create the group of a level with all that is small, and return its array of labels, which is empty.

        The metadata of a group are consolidated without those of overviews: if GDAL saw several arrays of labels, it
        would open none of them by the path of the store.
        """
        zarr.create_group(store, path=level.group, zarr_format=self._format, attributes=attributes)
        for stored in arrays_of(self._description, level):
            array = self._create_array(store, level, stored)
            if stored.values is None:
                labels = array
            else:
                array[...] = stored.values
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)  # not specified for format 3
            zarr.consolidate_metadata(store, path=level.group or None, zarr_format=self._format)
        _sort_metadata(self._path / level.group)
        return labels

    def _create_array(self, store: LocalStore, level: Level, stored: StoredArray) -> LabelArray:
        """Create an array of a level; every chunk of it will be written, whatever it holds."""
        if stored.values is None:
            shape, chunks, dtype = level.grid.shape, chunk_shape(level.grid.shape), "uint8"
        else:
            shape, chunks, dtype = stored.values.shape, stored.values.shape, stored.values.dtype.name
        old = self._format == 2  # noqa: PLR2004
        return zarr.create_array(
            store,
            name=level.path_of(stored.name),
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            zarr_format=self._format,
            fill_value=None if old else 0,  # with any other, xarray reads labels of format 2 as floats
            compressors=numcodecs.Zstd(_ZSTD_LEVEL) if old else ZstdCodec(level=_ZSTD_LEVEL),
            dimension_names=None if old else stored.dimensions,
            attributes={**({"_ARRAY_DIMENSIONS": list(stored.dimensions)} if old else {}), **stored.attributes},
            config={"write_empty_chunks": True},
        )

    def _remove(self, inside: str = "") -> None:
        """Remove the store, or what is inside; renamed first, so that no other process writes to it meanwhile."""
        gone = self._path.with_name(f"{self._path.name}{inside}-gone")
        with suppress(OSError):
            (self._path / inside).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the system into OutputError."""
        try:
            yield
        except OSError as error:
            raise ZARR.failure(self._path, error) from error


def _sort_metadata(group: Path) -> None:
    """Sort the consolidated metadata of a group by name: zarr 3.0 writes them as its threads deliver them."""
    path = next(path for path in (group / ".zmetadata", group / "zarr.json") if path.exists())
    record = json.loads(path.read_bytes())
    consolidated = record.get("consolidated_metadata", record)
    consolidated["metadata"] = dict(sorted(consolidated["metadata"].items()))
    path.write_bytes(json.dumps(record, indent=2).encode())


def _write_chunks(array: LabelArray, read: Callable[[Block], Labels], workers: int) -> int:
    """Fill an array of labels, a chunk at a time and each by one thread, and return its checksum."""

    def write(chunk: Block) -> int:
        labels = read(chunk)
        array[chunk.slices] = labels
        return checksum(labels, (chunk.top, chunk.left))

    return _sum_of_chunks(array, write, workers)


def _halves_of(finer: LabelArray) -> Callable[[Block], Labels]:
    """Return what computes labels of an overview: majorities of 2 x 2 labels of the next finer array."""

    def read(chunk: Block) -> Labels:
        (top, bottom), (left, right) = chunk.window
        return halve(_labels(finer, (slice(2 * top, 2 * bottom), slice(2 * left, 2 * right))))

    return read


def _labels(array: LabelArray, window: tuple[slice, slice]) -> Labels:
    """Labels of a window of an array, which may extend beyond it."""
    labels: Labels = array[window]  # type: ignore[assignment]
    return labels


def _sum_of_chunks(array: LabelArray, checksum_of: Callable[[Block], int], workers: int) -> int:
    """Sum of the checksums of all chunks of an array."""
    rows, columns = array.shape
    total = 0
    for _, part in ThreadExecutor(workers).map(checksum_of, chunks_of((rows, columns))):
        total = add_checksums(total, part)
    return total


def verify_store(path: Path, expected: dict[str, int], workers: int = 1) -> None:
    """Raise OutputError unless the groups of a store hold labels with the checksums that were written."""
    for group, total in expected.items():
        try:
            array = zarr.open_group(path, path=group, mode="r")[LABELS]

            def checksum_of(chunk: Block, array: Any = array) -> int:
                return checksum(_labels(array, chunk.slices), (chunk.top, chunk.left))

            found = _sum_of_chunks(array, checksum_of, workers)  # type: ignore[arg-type]
        except _READ_ERRORS as error:
            msg = f"{folder_of(path)}: the map can't be read back ({error}); is the disk full or failing?"
            raise OutputError(msg) from error
        if found != total:
            what = f"{group or 'the map'} read back"
            msg = f"{folder_of(path)}: {what} differs from what was written; is the disk full or failing?"
            raise OutputError(msg)
