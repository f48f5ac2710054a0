"""Fakes of protocols: simple implementers in memory, and some that do all that a protocol allows."""

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import islice
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import numpy.typing as npt
from sources import MemorySource

from pipeline.core.grid import Block
from pipeline.kernels.move_points import EXCLUDED
from pipeline.pixels.pieces import Piece

Item = TypeVar("Item")
Result = TypeVar("Result")


class SerialExecutor:
    """An `Executor` that works on one item after the other."""

    workers = 1

    def map(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        ordered: bool = True,  # noqa: ARG002
    ) -> Iterator[tuple[Item, Result]]:
        for item in items:
            yield item, task(item)

    def fold(
        self, task: Callable[[Item], Result], items: Iterable[Item], merge: Callable[[Result, Result], Result]
    ) -> Result:
        results = map(task, items)
        for first in results:
            return reduce(merge, results, first)
        msg = "fold: there are no items"
        raise ValueError(msg)


class RepeatingExecutor:
    """An `Executor` that runs each task twice, in another order, some of them as copies made by pickle."""

    workers = 3

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, ordered: bool = True
    ) -> Iterator[tuple[Item, Result]]:
        some = iter(items)
        while some_items := list(islice(some, self.workers)):
            numbers = self._random.sample(range(len(some_items)), len(some_items))
            results = {number: self._twice(task, some_items[number]) for number in numbers}
            for number in sorted(numbers) if ordered else numbers:
                yield some_items[number], results[number]

    def fold(
        self, task: Callable[[Item], Result], items: Iterable[Item], merge: Callable[[Result, Result], Result]
    ) -> Result:
        parts = [result for _, result in self.map(task, items, ordered=False)]
        if not parts:
            msg = "fold: there are no items"
            raise ValueError(msg)
        while len(parts) > 1:
            parts = [reduce(merge, parts[i : i + 2]) for i in range(0, len(parts), 2)]
        return parts[0]

    def _twice(self, task: Callable[[Item], Result], item: Item) -> Result:
        """Run a task, or a copy of it, twice; return the second result, as it arrives from another process."""
        dumps = self._random.choice([pickle.dumps, cloudpickle.dumps])
        copy = pickle.loads(dumps(task))  # noqa: S301
        first, second = self._random.choice([(copy, task), (task, copy), (task, task), (copy, copy)])
        first(item)
        return pickle.loads(dumps(second(item)))  # type: ignore[no-any-return]  # noqa: S301


class MemoryPixels:
    """`PixelPieces` in memory, which can be pickled; labels and accounts of random blocks are lost between passes."""

    caches_labels = True
    cheap_again = True

    def __init__(self, source: MemorySource, piece_pixels: int, lost: float = 0.0, seed: int = 0) -> None:
        self.info = source.info
        self.blocks = source.blocks
        self._blocks = {block: source.read(block) for block in source.blocks}
        self.fitting = {block: int(pixels.valid.sum()) for block, pixels in self._blocks.items()}
        self.low, self.high = (np.array([f(band[source.valid]) for band in source.data]) for f in (np.min, np.max))
        self.accounts: dict[Block, Any] = {}
        self._labels: dict[Block, npt.NDArray[np.uint8]] = {}
        self._piece_pixels = piece_pixels
        self._lost = lost
        self._random = random.Random(seed)  # noqa: S311
        self.times_lost = 0
        """Number of times that labels of a block were lost."""

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        for block in blocks:
            data, valid = self._blocks[block]
            for start in range(0, valid.size, self._piece_pixels) if self.fitting[block] else ():
                part = slice(start, start + self._piece_pixels)
                labels = self._stored(block)[:, part].copy()
                yield Piece(np.ascontiguousarray(data.reshape(len(data), -1)[:, part]), labels, block, start)

    def store_labels(self, piece: Piece) -> None:
        labels = self._stored(piece.block)
        labels[:, piece.start : piece.start + piece.labels.size] = piece.labels_and_bounds

    def forget(self) -> None:
        """Lose the labels and accounts of random blocks."""
        for block in [block for block in self._labels if self._random.random() < self._lost]:
            del self._labels[block], self.accounts[block]
            self.times_lost += 1

    def read(self, block: Block) -> Any:
        return self._blocks[block]

    def read_for_fit(self, block: Block) -> Any:
        return self._blocks[block], self._blocks[block].valid

    def _stored(self, block: Block) -> npt.NDArray[np.uint8]:
        outside = ~self._blocks[block].valid.reshape(1, -1).repeat(2, 0)
        return self._labels.setdefault(block, outside * np.uint8(EXCLUDED))
