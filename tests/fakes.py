"""The simplest implementer of each protocol, in memory: contract tests run on them as on the real ones."""

import pickle
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import cloudpickle
import numpy as np
import numpy.typing as npt
from affine import Affine
from pydantic import Field

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ModelError
from pipeline.core.grid import Block, Grid
from pipeline.core.needs import Needs, Work
from pipeline.core.pixels import Piece, Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.features.base import Inner, Preparation
from pipeline.kernels.move_points import EXCLUDED
from pipeline.labels.classify import Labels
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import SampleSettings
from pipeline.models.base import CLASSES_ONLY, ClusterModel, Layer, Layers
from pipeline.pixels.pieces import FittedPixels
from pipeline.sinks.base import Job, Sink, Summary, Writer

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ThresholdLabeller:
    """Labeller of `Threshold`."""

    level: float

    def __call__(self, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> Layers:
        return Layers(np.where(valid, 1 + (data[0] >= self.level), 0).astype(np.uint8))


class Threshold(ClusterModel):
    """`ClusterModel` of two classes: below a level of the first band, and the others."""

    kind: ClassVar[str] = "threshold"
    decisive: ClassVar[frozenset[str]] = frozenset({"level"})
    level: float

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        return np.full((2, len(self.bands)), self.level)

    def labeller(self, info: SceneInfo, want: frozenset[Layer] = CLASSES_ONLY) -> ThresholdLabeller:
        if want != CLASSES_ONLY:
            msg = "only classes"
            raise ModelError(msg)
        levels = np.full(len(self.bands), self.level)
        return ThresholdLabeller(float(info.units.to_stored(levels)[0]))


class HalvesSettings(SampleSettings):
    """Section `fit` of `HALVES`."""

    method: Literal["halves"] = Field(description="'halves'")
    k: Literal[2] = 2


def fit_halves(given: FitInput[HalvesSettings]) -> FitResult:
    """Divide the sample at the median of the first band; the means of the halves are the centroids."""
    order = np.argsort(given.points[0], kind="stable")
    halves = np.array_split(order, given.settings.k)
    return given.result_of_sample(np.array([given.points[:, half].mean(axis=1) for half in halves]), 1)


def halves_needs(info: SceneInfo, settings: HalvesSettings, _work: Work) -> Needs:
    return Needs(fixed=settings.sampled_of(info) * (8 + 2 * info.bytes_per_pixel))


HALVES: Method[HalvesSettings] = Method(
    name="halves",
    description="two halves",
    settings=HalvesSettings,
    same_bits=True,
    classes=lambda settings: (settings.k, settings.k),
    needs=halves_needs,
    function="fakes:fit_halves",
)


@dataclass(frozen=True)
class FirstPixel:
    """`Transform` that divides each band by the first sampled pixel's value, in the quantity."""

    divisor: tuple[float, ...] = ()

    @classmethod
    def fit(cls, points: npt.NDArray[Any], info: SceneInfo, config: FeaturesConfig) -> "FirstPixel":
        del config
        return cls(tuple(info.units.to_physical(points[:, 0].astype(np.float64)).tolist()))

    def bind(self, units: Units) -> Preparation:
        return Preparation(units.difference_factors / np.abs(self.divisor))


class WithSum:
    """`BlockFeature` that adds a column: the sum of the bands."""

    halo = 0

    def info(self, scene: SceneInfo) -> SceneInfo:
        more = {name: (*getattr(scene, name), getattr(scene, name)[0]) for name in ("nodata", "scales", "offsets")}
        return replace(scene, bands=(*scene.bands, "sum"), dtype=np.dtype(np.float64), **more)

    def apply(self, pixels: Pixels, scene: SceneInfo, inner: Inner) -> npt.NDArray[Any]:
        assert len(pixels.data) == len(scene.bands)
        numbers = pixels.data[:, *inner].astype(np.float64)
        return np.concatenate([numbers, numbers.sum(axis=0, keepdims=True)])

    def needs(self, scene: SceneInfo, work: Work) -> Needs:
        return Needs(per_block=work.pixels * 8 * (len(scene.bands) + 1))


@dataclass(frozen=True)
class Counting:
    """Counts the pixels of each class of a block."""

    classes: int

    def __call__(self, _block: Block, _pixels: Pixels, labels: Labels) -> Any:
        return np.bincount(labels.ravel(), minlength=self.classes + 1)


class MemoryWriter(Writer):
    """Counts the pixels of each class, and writes the sums as text."""

    def __init__(self, path: Path, job: Job) -> None:
        self.path, self.part = path, Counting(job.model.k)
        self.counts = np.zeros(job.model.k + 1, np.int64)
        self.blocks: list[Block] = []
        """Blocks in the order in which they came."""
        self.calls: list[str] = []
        """What was called after the last block."""

    def add(self, block: Block, part: Any) -> None:
        self.blocks.append(block)
        self.counts += part

    def prepare(self, _summary: Summary) -> None:
        self.calls.append("prepare")

    def finish(self, _summary: Summary) -> None:
        self.calls.append("finish")
        self.path.write_text(" ".join(map(str, self.counts)))


MEMORY_SINK = Sink(key="counts", what="the counts", ending=".counts.txt", writer="fakes:MemoryWriter")


_lock = threading.Lock()
"""Of the counters; not one per source, as locks can't be pickled."""


class MemorySource:
    """`PixelSource` over an array (band, rows, columns) that counts its reads."""

    cheap_again = False
    store = None

    def __init__(
        self,
        data: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_] | None = None,
        chunk: tuple[int, int] = (64, 64),
        crs: str | None = None,
        fitting: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.data = data
        self.valid = np.ones(data.shape[1:], bool) if valid is None else valid
        self.fitting = self.valid if fitting is None else fitting
        grid = Grid(shape=data.shape[1:], transform=Affine(10, 0, 300_000, 0, -10, 5_900_000), crs=crs)
        count = len(data)
        self.info = SceneInfo(
            grid=grid,
            bands=tuple(f"band{n}" for n in range(1, count + 1)),
            dtype=data.dtype,
            nodata=(None,) * count,
            nodata_rule="auto",
            scales=(1.0,) * count,
            offsets=(0.0,) * count,
            block_shape=chunk,
            masked=valid is not None,
            drivers=("memory",),
            sources=("memory",),
            files=(),
        )
        self.blocks = grid.blocks(chunk)
        self.reads: Counter[Any] = Counter()
        """Number of reads per window."""

    def read(self, block: Block) -> Pixels:
        with _lock:
            self.reads[block.window] += 1
        rows, columns = block.slices
        return Pixels(self.data[:, rows, columns], self.valid[rows, columns])

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        pixels = self.read(block)
        return pixels, pixels.valid if self.fitting is self.valid else self.fitting[block.slices]


class CountingSource:
    """`PixelSource` that counts the reads of another source."""

    def __init__(self, source: PixelSource) -> None:
        self._source = source
        self.reads: Counter[Any] = Counter()
        """Number of reads per window."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, block: Block) -> Pixels:
        with _lock:
            self.reads[block.window] += 1
        return self._source.read(block)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        with _lock:
            self.reads[block.window] += 1
        return self._source.read_for_fit(block)


class SerialExecutor:
    """An `Executor` that works on one item after the other."""

    workers = 1

    def map(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        ordered: bool = True,  # noqa: ARG002
        window: int | None = None,  # noqa: ARG002
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
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        ordered: bool = True,
        window: int | None = None,  # noqa: ARG002
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

    remembers = True

    def __init__(self, source: MemorySource, piece_pixels: int, lost: float = 0.0, seed: int = 0) -> None:
        self.info = source.info
        self.blocks = source.blocks
        self._blocks = {block: source.read(block) for block in source.blocks}
        counts = {block: int(pixels.valid.sum()) for block, pixels in self._blocks.items()}
        low, high = (np.array([f(band[source.valid]) for band in source.data]) for f in (np.min, np.max))
        self.fitted = FittedPixels(counts, low, high)
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
            is_new = block not in self._labels
            for start in range(0, valid.size, self._piece_pixels) if self.fitted.counts[block] else ():
                part = slice(start, start + self._piece_pixels)
                labels, points = self._stored(block)[:, part].copy(), data.reshape(len(data), -1)[:, part]
                yield Piece(np.ascontiguousarray(points), labels, block, (part, slice(None)), is_new)

    def store_labels(self, piece: Piece) -> None:
        labels = self._stored(piece.block)
        labels[:, piece.window[0]] = piece.labels_and_bounds

    def forget(self) -> None:
        """Lose the labels of random blocks, and the accounts of some of them."""
        for block in [block for block in self._labels if self._random.random() < self._lost]:
            del self._labels[block]
            if self._random.random() < 0.5:
                del self.accounts[block]
            self.times_lost += 1

    def _stored(self, block: Block) -> npt.NDArray[np.uint8]:
        outside = ~self._blocks[block].valid.reshape(1, -1).repeat(2, 0)
        return self._labels.setdefault(block, outside * np.uint8(EXCLUDED))
