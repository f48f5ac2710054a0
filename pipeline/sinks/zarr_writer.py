"""Writes the map as a Zarr store: each chunk once, by one thread; then reads it back. It loads zarr."""

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numcodecs  # type: ignore[import-untyped]
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, split_into_blocks
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.work_folder import folder_of
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.kernels.majority import halve
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.overviews import window_reader
from pipeline.sinks.raw_map import GDAL_CACHE, RawMapWriter
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

_ZSTD_LEVEL: Final = 1

_READ_ERRORS: Final = (OSError, ValueError, RuntimeError, LookupError, TypeError)
"""Exceptions of zarr and of its codecs for a damaged store."""


_Array: TypeAlias = "zarr.Array[Any]"


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
        self._sums: list[int] = []
        """Checksum of each level, the largest first."""

    def prepare(self, _summary: Summary | None = None) -> None:
        """Write the store, after all labels are written; raise OutputError if the disk is full."""
        with self._gdal(GDAL_CACHEMAX=GDAL_CACHE), self._errors():
            self._file.close()
            store = _StagedStore(self._path)
            array = self._create(store, self._levels[0], root_attributes(self._description, self._levels))
            with window_reader(self._raw, self._workers) as read:
                _write_chunks(array, read, self._workers)
            self._sums = [self._checksum]
            self._raw.unlink()  # makes room for the overviews
            for level in self._levels[1:]:
                finer = array
                array = self._create(store, level, CF)
                self._sums.append(_write_chunks(array, _halves_of(finer), self._workers))

    def finish(self, _summary: Summary | None = None) -> None:
        """Read the store back and compare checksums; raise OutputError if labels differ from those written."""
        verify_store(
            self._path, dict(zip((level.group for level in self._levels), self._sums, strict=True)), self._workers
        )

    def _create(self, store: LocalStore, level: Level, attributes: dict[str, Any]) -> _Array:
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

    def _create_array(self, store: LocalStore, level: Level, stored: StoredArray) -> _Array:
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

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the system into OutputError."""
        try:
            yield
        except OSError as error:
            raise ZARR.failure(self._path, error) from error


class _StagedStore(LocalStore):
    """A folder that is written to as long as it exists.

    Zarr's threads may still write when a signal has removed the temporary folder of the run: zarr's own store would
    create it again.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file of the store; raise FileNotFoundError if the store was removed."""
        await asyncio.to_thread(self._write, key, value)

    def _write(self, key: str, value: Buffer) -> None:
        *folders, name = key.split("/")
        path = self.root
        for folder in folders:
            path /= folder
            path.mkdir(exist_ok=True)
        (path / name).write_bytes(value.to_bytes())


def _sort_metadata(group: Path) -> None:
    """Sort the consolidated metadata of a group by name: zarr 3.0 writes them as its threads deliver them."""
    path = next(path for path in (group / ".zmetadata", group / "zarr.json") if path.exists())
    record = json.loads(path.read_bytes())
    consolidated = record.get("consolidated_metadata", record)
    consolidated["metadata"] = dict(sorted(consolidated["metadata"].items()))
    path.write_bytes(json.dumps(record, indent=2).encode())


def _write_chunks(array: _Array, read: Callable[[Block], Labels], workers: int) -> int:
    """Fill an array of labels, a chunk at a time and each by one thread, and return its checksum."""

    def write(chunk: Block) -> int:
        labels = read(chunk)
        array[chunk.slices] = labels
        return checksum(labels, (chunk.top, chunk.left))

    return _sum_of_chunks(array, write, workers)


def _halves_of(finer: _Array) -> Callable[[Block], Labels]:
    """Return what computes labels of an overview: majorities of 2 x 2 labels of the next finer array."""

    def read(chunk: Block) -> Labels:
        (top, bottom), (left, right) = chunk.window
        return halve(_labels(finer, (slice(2 * top, 2 * bottom), slice(2 * left, 2 * right))))

    return read


def _labels(array: _Array, window: tuple[slice, slice]) -> Labels:
    """Labels of a window of an array, which may extend beyond it."""
    labels: Labels = array[window]  # type: ignore[assignment]
    return labels


def _sum_of_chunks(array: _Array, checksum_of: Callable[[Block], int], workers: int) -> int:
    """Sum of the checksums of all chunks of an array."""
    rows, columns = array.shape
    total = 0
    for _, part in ThreadExecutor(workers).map(
        checksum_of, split_into_blocks((rows, columns), chunk_shape((rows, columns)))
    ):
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
