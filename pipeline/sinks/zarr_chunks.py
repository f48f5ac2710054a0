"""The chunks of a Zarr map, written where the labels of a block are made: those that are within the block.

So the labels of a run on a cluster don't pass through its client. It loads zarr.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

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
"""Folder in a store, while labels are made: chunks are in it until they are whole."""

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

    A task may be run twice, also at the same time: then a chunk is written twice, with the same bytes.
    """

    async def _open(self, **_how: Any) -> None:
        """Open the store; raise FileNotFoundError if it is not here, or takes no more chunks."""
        if not (self.root / PARTS).is_dir():
            raise FileNotFoundError(self.root)
        await Store._open(self)  # noqa: SLF001 (that of the local store makes the folder)

    def _write(self, key: str, value: Buffer) -> None:
        part = self.root / PARTS / uuid4().hex
        try:
            part.write_bytes(value.to_bytes())
            part.replace(self._path_of(key))
        except OSError:
            part.unlink(missing_ok=True)
            raise


def on_store(array: LabelArray, store: Store) -> LabelArray:
    """Return an array as another store gives it; every chunk of it will be written, whatever it holds."""
    config = ArrayConfig.from_dict({"write_empty_chunks": True})
    return zarr.Array(zarr.AsyncArray(array.metadata, StorePath(store, array.path), config))


@dataclass(frozen=True)
class WrittenBlock:
    """What became of the labels of a block where they were made."""

    checksum: int
    """Checksum of all its labels."""
    others: tuple[tuple[Block, Labels], ...]
    """Rectangles of the block that are not written yet, and their labels."""
    is_visible: bool
    """Whether the process sees the store."""


@dataclass(frozen=True)
class ChunkWriter:
    """Writes the chunks of a map that are within a block; a `BlockPart`."""

    array: LabelArray
    """The labels of the map, in a store that is shared by all processes."""

    def __call__(self, block: Block, _pixels: Pixels, labels: Labels) -> WrittenBlock:
        """Write all chunks that hold labels of this block only; raise OutputError if the disk is full."""
        whole: list[Block] = []
        others: list[Block] = []
        rows, columns = self.array.shape
        for chunk in chunks_of((rows, columns)).touching(block):
            part = chunk.common(block)
            (whole if part.shape == chunk.shape else others).append(part)
        is_visible = not whole or self._write(whole, block, labels)
        if not (whole and is_visible):
            others = [block]
        return WrittenBlock(
            checksum(labels, (block.top, block.left)),
            tuple((other, labels[other.within(block)]) for other in others),
            is_visible,
        )

    def _write(self, chunks: Iterable[Block], block: Block, labels: Labels) -> bool:
        """Write chunks of a block; return False if this process does not see the store."""
        try:
            for chunk in chunks:
                self.array[chunk.slices] = labels[chunk.within(block)]
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ZARR.failure(self.array.store.root, error) from error  # type: ignore[attr-defined]
        return True


def chunks_of(shape: tuple[int, int]) -> Blocks:
    """Return the chunks of a map or overview of a shape (rows, columns)."""
    return split_into_blocks(shape, chunk_shape(shape))
