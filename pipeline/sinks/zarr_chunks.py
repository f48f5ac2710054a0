"""The chunks of a Zarr map, written by the processes that make its labels, which then don't pass through a client.

A chunk that is within a block is written with it. The labels of other blocks are kept in the store until all are made;
then their chunks are written, each by one task. It loads zarr.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeAlias
from uuid import uuid4

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.array_spec import ArrayConfig
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore, StorePath

from pipeline.core.grid import Block, Blocks, split_into_blocks
from pipeline.core.pixels import Pixels
from pipeline.kernels.checksum import checksum
from pipeline.labels.classify import Labels
from pipeline.sinks.zarr_map import ZARR, chunk_shape

PARTS: Final = ".parts"
"""Folder in a store while labels are made: of files that are not whole yet, and of labels that are kept."""

LabelArray: TypeAlias = "zarr.Array[Any]"


class StagedStore(LocalStore):
    """A folder that is written to as long as it exists.

    Zarr's threads may still write when a signal has removed the temporary folder of the run: zarr's own store would
    create it again.
    """

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file of the store; raise FileNotFoundError if the store was removed."""
        await asyncio.to_thread(self._write, key, value)

    def _write(self, key: str, value: Buffer) -> None:
        self._path_of(key).write_bytes(value.to_bytes())

    def _path_of(self, key: str) -> Path:
        """Path of a file, whose folders in the store are made."""
        *folders, name = key.split("/")
        path = self.root
        for folder in folders:
            path /= folder
            path.mkdir(exist_ok=True)
        return path / name


class SharedStore(StagedStore):
    """A folder that several processes write to as long as its folder of parts exists; each file appears whole.

    A task may be run twice, also at the same time: then a file is written twice, with the same bytes.
    """

    async def _open(self, **_how: Any) -> None:
        """Open the store; raise FileNotFoundError if it is not here, or takes no more chunks."""
        if not (self.root / PARTS).is_dir():
            raise FileNotFoundError(self.root)
        await Store._open(self)  # noqa: SLF001 (that of the local store makes the folder)

    def _write(self, key: str, value: Buffer) -> None:
        self.put(self._path_of(key), value.to_bytes())

    def put(self, path: Path, content: bytes) -> None:
        """Write a file; raise FileNotFoundError if the store is not here, or takes nothing more."""
        part = self.root / PARTS / uuid4().hex
        try:
            part.write_bytes(content)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


@dataclass(frozen=True)
class SharedMap:
    """The labels of a map in a store that several processes write to."""

    array: LabelArray
    """The labels, in a `SharedStore`."""

    @classmethod
    def of(cls, array: LabelArray, root: Path) -> Self:
        """Return the map of an array in a store at a path; every chunk of it will be written, whatever it holds."""
        config, place = ArrayConfig.from_dict({"write_empty_chunks": True}), StorePath(SharedStore(root), array.path)
        return cls(zarr.Array(zarr.AsyncArray(array.metadata, place, config)))

    @property
    def chunks(self) -> Blocks:
        """The chunks of the map."""
        rows, columns = self.array.shape
        return chunks_of((rows, columns))

    def write(self, chunk: Block, labels: Labels) -> None:
        """Write a chunk; raise FileNotFoundError if this process does not see the store."""
        self.array[chunk.slices] = labels

    def keep(self, block: Block, labels: Labels) -> None:
        """Keep the labels of a block until its chunks are written; raise FileNotFoundError as `write`."""
        self._store.put(self._kept(block), np.ascontiguousarray(labels).tobytes())

    def kept(self, block: Block, part: Block) -> Labels:
        """Return labels of a part of a block that were kept; raise FileNotFoundError as `write`."""
        rows, columns = part.within(block)
        skipped, count = rows.start * block.width, part.height * block.width
        found = np.fromfile(self._kept(block), np.uint8, count, offset=skipped)
        return found.reshape(part.height, block.width)[:, columns]

    def _kept(self, block: Block) -> Path:
        return self._store.root / PARTS / f"{block.top}_{block.left}"

    @property
    def _store(self) -> SharedStore:
        store: SharedStore = self.array.store  # type: ignore[assignment]
        return store

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the system, but that of a store that is not seen, into OutputError."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ZARR.failure(self._store.root, error) from error


@dataclass(frozen=True)
class WrittenBlock:
    """What became of the labels of a block where they were made."""

    checksum: int
    """Checksum of the labels."""
    labels: Labels | None
    """The labels, if the process does not see the store; None if they are in it."""


@dataclass(frozen=True)
class WriteBlock:
    """Writes the chunks of a map that are within a block, and keeps the labels of others; a `BlockPart`."""

    map: SharedMap

    def __call__(self, block: Block, _pixels: Pixels | None, labels: Labels) -> WrittenBlock:
        """Write labels of a block; raise OutputError if the disk is full."""
        found = checksum(labels, (block.top, block.left))
        try:
            with self.map.errors():
                missing = labels.size
                for chunk in self.map.chunks.touching(block):
                    if chunk.common(block).shape == chunk.shape:
                        self.map.write(chunk, labels[chunk.within(block)])
                        missing -= chunk.height * chunk.width
                if missing:
                    self.map.keep(block, labels)
        except FileNotFoundError:
            return WrittenBlock(found, labels)
        return WrittenBlock(found, None)


@dataclass(frozen=True)
class WriteChunk:
    """Task: write a chunk of the labels that were kept of several blocks."""

    map: SharedMap
    blocks: Blocks
    """All blocks."""

    def __call__(self, chunk: Block) -> bool:
        """Write a chunk; return False if this process does not see the store. Raise OutputError if the disk is full."""
        labels = np.empty(chunk.shape, np.uint8)
        try:
            with self.map.errors():
                for block in self.blocks.touching(chunk):
                    part = block.common(chunk)
                    labels[part.within(chunk)] = self.map.kept(block, part)
                self.map.write(chunk, labels)
        except FileNotFoundError:
            return False
        return True


def chunks_of(shape: tuple[int, int]) -> Blocks:
    """Return the chunks of a map or overview of a shape (rows, columns)."""
    return split_into_blocks(shape, chunk_shape(shape))
