"""Kernels against scikit-learn's, on the same pixels in memory and on all cores.

Run as a fresh process. Real texture, 84 and 34 million pixels; each side takes the uint16 pixels as they are. Prints
one JSON line with the ratios: assigning against ``KMeans.predict``, a steady pass of the exact engine (assign, and move
the sums of the pixels that change class) against one iteration of scikit-learn's Lloyd, and all cores against one, for
assigning, for the first pass, which looks at every pixel (without the squares that a run adds up with it), and for a
steady one, which passes over most. Blocks come to threads as in runs, but lie in memory: no cache is read.

What all cores bring is the machine's as much as ours: cores of a virtual one may share what others on its host use too.
So the kernel that assigns is timed in the same turns by itself, over few pixels that stay in each core's own cache:
threads that share nothing. Much more than those gain the machine does not give.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from math import isqrt
from statistics import median
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from benchmarks.chips import find_chip
from benchmarks.scenes import mirror_index
from benchmarks.settings import BANDS, TWENTY_METRES
from pipeline.engine.executor import ThreadExecutor
from pipeline.kernels.assign import assign, working_centroids
from pipeline.kernels.fixed import ClassTotals, FixedPoint
from pipeline.kernels.mover import Mover
from pipeline.kernels.nearest import Centroids, assign_pixels

NUMBERS = 2**28 + 2**26
"""Pixels times bands, whatever the bands: as many blocks for the few as for the many."""
PIECE = 2**18
BLOCK_BYTES = 8 * 2**20
"""Of a block, which a thread works on at once, as in runs."""
ROUNDS = 3
TURNS = 15
"""Rounds on one core and on all of them by turns: single ones differ by a fifth and more."""
SAMPLE = 100_000
"""Pixels whose clustering gives the centres to start from, as in every run."""
FIRST, LAST = 2, 12
"""Passes are timed from the third to the twelfth."""
SETUPS = ((BANDS, 8), (BANDS + TWENTY_METRES, 16))
TARGETS = {4: (3.0, 3.5), 10: (2.0, 3.5)}
THREADS = 1.8
CACHED = 2**12
"""Pixels that stay in a core's own cache, with what is made of them."""
CORES = os.cpu_count() or 1
TASKS = 8 * CORES
"""Of such pixels by themselves, together a quarter of all pixels: a few milliseconds each, as a block takes."""
GAINS = ("threads, assign", "threads, first pass", "threads, steady pass", "threads, by themselves")


def pixels_of(bands: tuple[str, ...]) -> NDArray[np.uint16]:
    """Give pixels of real texture, shape (band, pixel)."""
    chip, side = find_chip(), isqrt(NUMBERS // len(bands))
    planes = []
    for name in bands:
        band = chip.band(name)
        index = [mirror_index(length, side) for length in band.shape]
        planes.append(band[index[0]][:, index[1]].reshape(-1))
    return np.stack(planes)


def timed(work: Callable[[], Any]) -> float:
    """Median seconds of some rounds, after one that is not counted."""
    work()
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return median(took)


def compare(bands: tuple[str, ...], k: int) -> dict[str, float]:
    """Measure both sides on pixels of some bands."""
    pixels = pixels_of(bands)
    table = np.ascontiguousarray(pixels.T)
    generator = np.random.default_rng(0)
    sample = table[generator.choice(len(table), SAMPLE)].astype(np.float64)
    centres = KMeans(k, n_init=1, random_state=0).fit(sample).cluster_centers_
    model = KMeans(k, init=centres, n_init=1, max_iter=1).fit(table[:: len(table) // 1000])
    model.cluster_centers_ = centres
    predict = timed(lambda: model.predict(table))
    few, many = (
        timed(lambda n=n: KMeans(k, init=centres, n_init=1, max_iter=n, tol=0).fit(table)) for n in (FIRST, LAST)
    )
    took = timed_turns(pixels, centres)
    assigning, _, steady, _ = np.median(took[:, 1], axis=0)
    gains = np.median(took[:, 0] / took[:, 1], axis=0)
    return {
        "assign": predict / assigning,
        "steady pass": (many - few) / (LAST - FIRST) / steady,
    } | dict(zip(GAINS, gains, strict=True))


def timed_turns(pixels: NDArray[np.uint16], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds that each of `GAINS` takes on one core and on all, one right after the other, shape (turn, 2, what)."""
    blocks = cut(pixels, BLOCK_BYTES // pixels[:, 0].nbytes)
    pieces = [cut(block, PIECE) for block in blocks]
    turns, order = [], [1, CORES]
    for _ in range(TURNS + 1):
        labels = {n: timed_labels(blocks, centres, n) for n in order}
        passes = {n: timed_passes(pieces, centres, n) for n in order}
        by_themselves = {n: timed_few(pixels, centres, n) for n in order}
        turns.append([[labels[n], *passes[n], by_themselves[n]] for n in (1, CORES)])
        order.reverse()
    return np.array(turns[1:])  # compiled in the one that is not counted


def cut(pixels: NDArray[np.uint16], size: int) -> list[NDArray[np.uint16]]:
    """Copies of so many pixels each."""
    return [np.ascontiguousarray(pixels[:, start : start + size]) for start in range(0, pixels.shape[1], size)]


def timed_labels(blocks: list[NDArray[np.uint16]], centres: NDArray[np.float64], workers: int) -> float:
    """Seconds to label all pixels; the labels of each block are handed on, as in runs."""
    everywhere = [np.ones((1, block.shape[1]), np.bool_) for block in blocks]

    def work(some: tuple[NDArray[np.uint16], NDArray[np.bool_]]) -> NDArray[np.uint8]:
        block, valid = some
        return assign(block[:, np.newaxis], valid, centres)

    start = time.perf_counter()
    for _ in ThreadExecutor(workers).map(work, zip(blocks, everywhere, strict=True)):
        pass
    return time.perf_counter() - start


def timed_passes(
    blocks: list[list[NDArray[np.uint16]]], centres: NDArray[np.float64], workers: int
) -> tuple[float, float]:
    """Seconds of the first pass, and the mean of those that follow the first few, over pieces of blocks in memory."""
    k, some = len(centres), blocks[0][0]
    fixed = FixedPoint.of(some.dtype, some.min(axis=1), some.max(axis=1))
    mover, ledger = Mover(some.dtype, None, None, float(some.std(axis=1).mean())), ClassTotals(k, fixed)
    # written to, so that pages are there
    known = [[np.full((2, piece.shape[1]), 0, np.uint8) for piece in pieces] for pieces in blocks]
    took = []

    def work(block: tuple[list[NDArray[np.uint16]], list[NDArray[np.uint8]]]) -> ClassTotals:
        changes, added_up = ClassTotals(k, fixed), fixed.zero_sums(k)
        for piece, beside in zip(*block, strict=True):
            mover.move(piece, *beside, *added_up)
        changes.add(*added_up)
        return changes

    def merge(one: ClassTotals, other: ClassTotals) -> ClassTotals:
        one.merge(other)
        return one

    for _ in range(LAST):
        start = time.perf_counter()
        mover = mover.to(centres)
        ledger.merge(ThreadExecutor(workers).fold(work, zip(blocks, known, strict=True), merge))
        centres = ledger.means(centres)
        took.append(time.perf_counter() - start)
    return took[0], sum(took[FIRST:]) / (LAST - FIRST)


@njit(nogil=True)  # type: ignore[untyped-decorator]
def assign_again(
    pixels: NDArray[np.uint16], valid: NDArray[np.bool_], aims: Centroids, labels: NDArray[np.uint8], times: int
) -> None:
    """Label the same pixels again and again, without the interpreter between."""
    for _ in range(times):
        assign_pixels(pixels, valid, aims, labels)


def timed_few(pixels: NDArray[np.uint16], centres: NDArray[np.float64], workers: int) -> float:
    """Seconds to label few pixels as often as makes a quarter of all, each task its own."""
    few, times = cut(pixels[:, : TASKS * CACHED], CACHED), pixels.shape[1] // (4 * TASKS * CACHED)
    aims, valid = working_centroids(centres, None, pixels.dtype), np.ones(CACHED, np.bool_)
    labels = np.empty((TASKS, CACHED), np.uint8)

    def work(at: int) -> None:
        assign_again(few[at], valid, aims, labels[at], times)

    start = time.perf_counter()
    ThreadExecutor(workers).fold(work, range(TASKS), lambda *_: None)
    return time.perf_counter() - start


def main() -> None:
    """Compare for few and many bands and print the ratios."""
    found, lines = {}, []
    for bands, k in SETUPS:
        ratios = compare(bands, k)
        found[f"{len(bands)} bands, k = {k}"] = ratios
        wanted = (*TARGETS[len(bands)], *[THREADS] * 3, None)
        for (what, ratio), least in zip(ratios.items(), wanted, strict=True):
            bound, mark = ("", "") if least is None else (f">= {least:g}", "yes" if ratio >= least else "NO")
            lines.append(f"{f'kernels, {len(bands)} bands, k = {k}: {what}':<52} {bound:>9} {ratio:>9.2f}  {mark}")
    print(json.dumps({"ratios": found, "lines": lines}))


if __name__ == "__main__":
    main()
