"""Writes the map as a Zarr store, each chunk once; then reads it back. It loads zarr.

Chunks that are within one block are written where its labels are made. The labels of all others are collected, and then
written chunk by chunk.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
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
from pipeline.core.grid import Block
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.work_folder import folder_of
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.kernels.majority import halve
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.overviews import window_reader
from pipeline.sinks.raw_map import GDAL_CACHE, RawMapWriter
from pipeline.sinks.zarr_chunks import (
    PARTS,
    ChunkWriter,
    LabelArray,
    SharedStore,
    StagedStore,
    WrittenBlock,
    chunks_of,
    on_store,
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


class ZarrWriter(RawMapWriter):
    """Writes the labels of a grid, in blocks of any shape and order, to a Zarr store."""

    def __init__(
        self,
        path: Path,
        description: MapDescription,
        workers: int = 1,
        *,
        zarr_format: Literal[2, 3] = 2,
        overviews: bool = False,
    ) -> None:
        super().__init__(path, description.grid, workers)
        self._description = description
        self._format: Literal[2, 3] = zarr_format
        self._levels = levels_of(description.grid, overviews=overviews)
        self._chunks = chunks_of(description.grid.shape)
        self._collected = np.zeros(self._chunks.shape, np.bool_)
        """True for chunks whose labels are collected, shape (rows of chunks, columns of chunks)."""
        self._sums: list[int] = []
        """Checksum of each level, the largest first."""
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
        self.part = ChunkWriter(on_store(self._array, SharedStore(self._path.resolve())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            if not self._is_finished:
                self._remove()

    def add(self, _block: Block, part: WrittenBlock) -> None:
        """Collect the labels of a block that are not written yet; raise OutputError if the disk is full."""
        if not part.is_visible and not self._is_hidden:
            self._is_hidden = True
            logger.warning(
                "%s: not every worker sees this folder, so labels are sent to this process, which writes the map; in a "
                "folder that all machines share, the workers write it",
                folder_of(self._path),
            )
        for rectangle, labels in part.others:
            self._write_raw(rectangle, labels)
        self._add_checksum(part.checksum)

    def _write_raw(self, block: Block, labels: Labels) -> None:
        """Collect the labels of a rectangle."""
        if self._file is None:
            self._open_raw()
        super()._write_raw(block, labels)
        for chunk in self._chunks.touching(block):
            self._collected[chunk.row, chunk.column] = True

    def prepare(self, _summary: Summary | None = None) -> None:
        """Finish the store, after all labels are made; raise OutputError if the disk is full."""
        with self._gdal(GDAL_CACHEMAX=GDAL_CACHE), self._errors():
            self._remove(PARTS)  # from now on no other process writes
            if self._file is not None:
                self._write_collected()
            self._sums, array = [self._checksum], self._array
            for level in self._levels[1:]:
                finer = array
                array = self._create(self._store, level, CF)
                self._sums.append(_write_chunks(array, _halves_of(finer), self._workers))

    def _write_collected(self) -> None:
        """Write the chunks whose labels were collected."""
        self._close_raw()
        chunks = (self._chunks.at(row, column) for row, column in np.argwhere(self._collected).tolist())
        with window_reader(self._raw, self._workers) as read:
            _write_chunks(self._array, read, self._workers, chunks)
        self._raw.unlink()  # makes room for the overviews

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


def _write_chunks(
    array: LabelArray, read: Callable[[Block], Labels], workers: int, chunks: Iterable[Block] | None = None
) -> int:
    """Fill chunks of an array of labels, by default all, each by one thread, and return the sum of their checksums."""

    def write(chunk: Block) -> int:
        labels = read(chunk)
        array[chunk.slices] = labels
        return checksum(labels, (chunk.top, chunk.left))

    return _sum_of_chunks(array, write, workers, chunks)


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


def _sum_of_chunks(
    array: LabelArray, checksum_of: Callable[[Block], int], workers: int, chunks: Iterable[Block] | None = None
) -> int:
    """Sum of the checksums of chunks of an array, by default all."""
    rows, columns = array.shape
    total = 0
    for _, part in ThreadExecutor(workers).map(checksum_of, chunks_of((rows, columns)) if chunks is None else chunks):
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
