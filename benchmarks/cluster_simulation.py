"""Measure what a run on a hundred workers costs its scheduler and its client, without pixels.

The scheduler, the messages, the queue of shards and the answers are real; the workers are many in one process, and
their tasks answer at once with accounts of the usual size.  The processor time of this process is that of scheduler and
client together.  ``python -m benchmarks.cluster_simulation`` prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from affine import Affine

from benchmarks.settings import ROOT
from pipeline.core import libraries
from pipeline.core.grid import Block, Grid
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import PerProcess
from pipeline.engine.worker import Opening
from pipeline.jobs.plan import WRITTEN_PIXELS, shard_blocks
from pipeline.kernels.fixed import ClassTotals, FixedPoint
from pipeline.labels.classify import LabelledBlock
from pipeline.methods.passes import PassResult
from pipeline.methods.sample import Drawn

TILE = 10980
BLOCK = 1024
CLASSES = 10
BANDS = 10
VARIANTS = 64
MOST_SECONDS = 120
START_SECONDS = 120
# All fake workers of a process share its interpreter lock, and with it the messages of all: none waits long for it.
SWITCH_SECONDS = 1e-4
PROCESSES = 4


class NoSource(PerProcess):
    """A scene without pixels, of which each process has a copy: answers of random numbers, which compress as real ones.

    Parameters
    ----------
    keys : int
        Number of pixels that a block gives for the sample.

    """

    def __init__(self, keys: int) -> None:
        self.worked_on = 0
        rng = np.random.default_rng(0)
        self._drawn = [draw(rng, keys) for _ in range(VARIANTS)]
        self._totals = [totals(rng) for _ in range(VARIANTS)]
        self._labelled = [labelled(rng) for _ in range(VARIANTS)]

    def tally(self) -> int:
        """Give the number of blocks that were worked on."""
        return self.worked_on

    def next(self) -> int:
        """Count a block, and choose an answer."""
        self.worked_on += 1
        return self.worked_on % VARIANTS

    def drawn(self) -> Drawn:
        """Give the pixels drawn from a block."""
        return self._drawn[self.next()]

    def totals(self) -> ClassTotals:
        """Give the counts and sums of a block, which may be changed."""
        chosen = self._totals[self.next()]
        made = ClassTotals(CLASSES, chosen.fixed)
        made.merge(chosen)
        return made

    def labelled(self) -> LabelledBlock:
        """Give the sums of a labelled block."""
        return self._labelled[self.next()]


def draw(rng: np.random.Generator, keys: int) -> Drawn:
    """Make pixels drawn from a block."""
    points = rng.integers(0, 10_000, (BANDS, keys), np.uint16)
    limits = rng.integers(0, 10_000, (2, BANDS), np.uint16)
    return Drawn(rng.integers(0, 2**63, keys, np.uint64), points, BLOCK**2, np.ones(BANDS, np.bool_), limits)


def totals(rng: np.random.Generator) -> ClassTotals:
    """Make counts and sums as large as those of a block."""
    fixed = FixedPoint.of(np.dtype(np.uint16), np.zeros(BANDS, np.uint16), np.full(BANDS, 10_000, np.uint16))
    made = ClassTotals(CLASSES, fixed)
    made.counts[...] = rng.integers(0, BLOCK**2, made.counts.shape).astype(object)
    made.sums[...] = rng.integers(0, 10_000 * BLOCK**2, made.sums.shape).astype(object)
    made.squares[...] = rng.integers(0, 10_000**2 * BLOCK**2, made.squares.shape).astype(object)
    return made


def labelled(rng: np.random.Generator) -> LabelledBlock:
    """Make the sums of a labelled block whose labels its worker writes; it sends their checksum."""
    shape = (1, CLASSES + 2, BANDS)
    counts = rng.integers(0, BLOCK**2, CLASSES + 2)
    sums, squares = rng.integers(0, 10_000 * BLOCK**2, shape), rng.integers(0, 10_000**2 * BLOCK**2, shape)
    extremes = rng.integers(0, 10_000, (BANDS, CLASSES + 2, 2), np.uint16)
    return LabelledBlock(counts, sums, squares, extremes, (), (int(counts.sum()),))


@dataclass(frozen=True)
class DrawNothing:
    """Answer as a block of which a few pixels are in the sample."""

    source: NoSource

    def __call__(self, item: tuple[Block, int]) -> Drawn:  # noqa: ARG002 (all are alike)
        """Give pixels drawn from a block."""
        return self.source.drawn()


@dataclass(frozen=True)
class MoveNothing:
    """Answer as a pass over a block."""

    source: NoSource

    def __call__(self, block: Block) -> PassResult:  # noqa: ARG002 (all are alike)
        """Give the account of a block."""
        return PassResult(1, self.source.totals())


@dataclass(frozen=True)
class LabelNothing:
    """Answer as a labelled block whose labels are written by its worker."""

    source: NoSource

    def __call__(self, block: Block) -> LabelledBlock:  # noqa: ARG002 (all are alike)
        """Give the sums of a block."""
        return self.source.labelled()


class CountingExecutor(ClusterExecutor):
    """A ``ClusterExecutor`` that counts the bytes of answers."""

    received = 0

    def _content(self, *args: Any) -> bytes | None:
        content = super()._content(*args)
        self.received += len(content or b"")
        return content


@dataclass
class Stage:
    """What a stage took.

    Attributes
    ----------
    name : str
        Its name.
    seconds, processor_seconds : float
        Wall time, and processor time of scheduler and client together.
    tasks, received : int
        Tasks, and bytes of their answers.

    """

    name: str
    seconds: float = 0.0
    processor_seconds: float = 0.0
    tasks: int = 0
    received: int = 0


@dataclass
class Simulation:
    """Runs the stages of a run, and measures each."""

    executor: CountingExecutor
    blocks: list[Block]
    stages: list[Stage] = field(default_factory=list)

    def measure(self, name: str, work: Callable[[], None]) -> None:
        """Add what a stage takes."""
        stage = Stage(name)
        begin = time.perf_counter(), time.process_time(), self.executor.tasks, self.executor.received
        work()
        stage.seconds, stage.processor_seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
        stage.tasks, stage.received = self.executor.tasks - begin[2], self.executor.received - begin[3]
        self.stages.append(stage)
        print(json.dumps(asdict(stage)), file=sys.stderr, flush=True)

    def run(self, passes: int, sampled: int) -> None:
        """Sample, pass over all pixels, and label."""
        source = NoSource(-(-2 * sampled // len(self.blocks)))
        self.measure("sample", lambda: self._sample(DrawNothing(source)))
        for number in range(1, passes + 1):
            self.measure(f"pass {number}", lambda: self._pass(MoveNothing(source)))
        self.measure("labels", lambda: self._label(LabelNothing(source)))

    def _sample(self, task: DrawNothing) -> None:
        items = ((block, 2**60) for block in self.blocks)
        check(
            sum(drawn.valid for _, drawn in self.executor.map(task, items, ordered=False)), len(self.blocks) * BLOCK**2
        )

    def _pass(self, task: MoveNothing) -> None:
        check(self.executor.fold(task, self.blocks, PassResult.merge).moves, len(self.blocks))

    def _label(self, task: LabelNothing) -> None:
        found = self.executor.map(task, self.blocks, ordered=False, window=len(self.blocks))
        right = {block for block, made in found if made.parts[0] == made.counts.sum()}
        check(len(right), len(self.blocks))


def check(found: int, expected: int) -> None:
    """Raise ArithmeticError if an answer was lost, or counted twice."""
    if found != expected:
        message = f"{found} counted, {expected} expected"
        raise ArithmeticError(message)


def mosaic(tiles: int) -> list[Block]:
    """Give the blocks of a mosaic of about so many tiles."""
    across = max(1, round(tiles**0.5))
    shape = (TILE * -(-tiles // across), TILE * across)
    return list(Grid(crs=None, transform=Affine.identity(), shape=shape).blocks((BLOCK, BLOCK)))


async def serve(address: str, count: int) -> None:
    """Run workers of one thread each in this process, until the scheduler closes them."""
    sys.setswitchinterval(SWITCH_SECONDS)
    workers = [libraries.distributed.Worker(address, nthreads=1, memory_limit=0) for _ in range(count)]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))


@contextmanager
def fake_workers(address: str, count: int) -> Iterator[None]:
    """Start the processes of the workers, and end them."""
    environment = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "error"}
    shares = [(count + place) // PROCESSES for place in range(PROCESSES)]
    module = [sys.executable, "-m", "benchmarks.cluster_simulation"]
    commands = [[*module, "--serve", address, "--workers", str(share)] for share in shares if share]
    children = [subprocess.Popen(command, cwd=ROOT, env=environment) for command in commands]
    try:
        yield
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


@contextmanager
def opened(workers: int, blocks: int) -> Iterator[CountingExecutor]:
    """Start a scheduler with fake workers, and open a run on them."""
    distributed = libraries.distributed
    opening = Opening(run="simulation", context=nullcontext, begin=dict, cache="none", cache_dir=None)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=":0", silence_logs=40
        ) as cluster,
        distributed.Client(cluster) as client,
        fake_workers(cluster.scheduler_address, workers),
    ):
        client.wait_for_workers(workers, timeout=START_SECONDS)
        sizes = {"shard_items": shard_blocks((BLOCK, BLOCK)), "answer_items": WRITTEN_PIXELS // BLOCK**2}
        with CountingExecutor(client, opening, **sizes, items=blocks, threads=1) as executor:
            yield executor


def main(argv: list[str] | None = None) -> None:
    """Measure, and print what each stage took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_simulation")
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--pixels", type=int, default=500_000, help="pixels of the sample")
    parser.add_argument("--serve", metavar="ADDRESS", help="be the workers of the scheduler at this address")
    args = parser.parse_args(argv)
    if args.serve:
        asyncio.run(serve(args.serve, args.workers))
        return
    blocks = mosaic(args.tiles)
    with opened(args.workers, len(blocks)) as executor:
        simulation = Simulation(executor, blocks)
        simulation.run(args.passes, args.pixels)
    stages = simulation.stages
    print(f"{args.workers} workers, {args.tiles} tiles, {len(blocks)} blocks")
    print(f"{'stage':<10} {'seconds':>8} {'processor s':>12} {'tasks':>7} {'MB received':>12}")
    everything = Stage("all", *(sum(getattr(stage, name) for stage in stages) for name in list(asdict(stages[0]))[1:]))
    for stage in [*stages, everything]:
        row = f"{stage.seconds:>8.1f} {stage.processor_seconds:>12.1f} {stage.tasks:>7} {stage.received / 1e6:>12.1f}"
        print(f"{stage.name:<10} {row}")
    met = "yes" if everything.processor_seconds <= MOST_SECONDS else "NO"
    print(f"scheduler and client: <= {MOST_SECONDS} s wanted, {everything.processor_seconds:.1f} s  {met}")


if __name__ == "__main__":
    main()
