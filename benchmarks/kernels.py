"""Kernels against scikit-learn's, on the same pixels in memory and on all cores.

Run as a fresh process.  Real texture, 33 million pixels; each side takes the uint16 pixels as they are.  Prints one
JSON line with the ratios: assigning against ``KMeans.predict``, a steady pass of the exact engine (assign, and move the
sums of the pixels that change class) against one iteration of scikit-learn's Lloyd, and two threads against one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from benchmarks.chips import find_chip
from benchmarks.scenes import mirror_index
from benchmarks.settings import BANDS, TWENTY_METRES
from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import FixedPoint, Ledger
from pipeline.kernels.moving import Mover

SIDE = 5760
PIECE = 2**18
ROUNDS = 3
SAMPLE = 100_000
"""Pixels whose clustering gives the centres to start from, as in every run."""
FIRST, LAST = 2, 12
"""Passes are timed from the third to the twelfth."""
SETUPS = ((BANDS, 8), (BANDS + TWENTY_METRES, 16))
TARGETS = {4: (3.0, 3.5), 10: (2.0, 3.5)}


def pixels_of(bands: tuple[str, ...]) -> NDArray[np.uint16]:
    """Give pixels of real texture, shape (band, pixel)."""
    chip = find_chip()
    planes = []
    for name in bands:
        band = chip.band(name)
        index = [mirror_index(length, SIDE) for length in band.shape]
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
    pixels, threads = pixels_of(bands), os.cpu_count() or 1
    table = np.ascontiguousarray(pixels.T)
    generator = np.random.default_rng(0)
    sample = table[generator.choice(len(table), SAMPLE)].astype(np.float64)
    centres = KMeans(k, n_init=1, random_state=0).fit(sample).cluster_centers_
    starts = range(0, pixels.shape[1], PIECE)
    pieces = [np.ascontiguousarray(pixels[:, begin : begin + PIECE]) for begin in starts]

    def assign_all() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda p: assign(p[:, np.newaxis], np.ones((1, p.shape[1]), np.bool_), centres), pieces))

    model = KMeans(k, init=centres, n_init=1, max_iter=1).fit(table[:: len(table) // 1000])
    model.cluster_centers_ = centres
    predict = timed(lambda: model.predict(table))
    few, many = (
        timed(lambda n=n: KMeans(k, init=centres, n_init=1, max_iter=n, tol=0).fit(table)) for n in (FIRST, LAST)
    )
    rounds = [[timed_passes(pieces, centres, workers) for workers in (1, threads)] for _ in range(ROUNDS)]
    alone, together = (median(took) for took in zip(*rounds, strict=True))
    return {
        "assign": predict / timed(assign_all),
        "steady pass": (many - few) / (LAST - FIRST) / together,
        "threads": alone / together,
    }


def timed_passes(pieces: list[NDArray[np.uint16]], centres: NDArray[np.float64], workers: int) -> float:
    """Mean seconds of one of the passes that follow the first few, as the exact engine goes over pixels in memory."""
    k, bands = centres.shape
    fixed = FixedPoint.of(pieces[0].dtype, pieces[0].min(axis=1), pieces[0].max(axis=1))
    mover, ledger = Mover(pieces[0].dtype, None, None, float(pieces[0].std(axis=1).mean())), Ledger(k, fixed)
    known = [np.zeros((2, piece.shape[1]), np.uint8) for piece in pieces]
    took = []

    def work(number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts, sums = np.zeros(k + 1, np.int64), np.zeros((k + 1, bands), np.int64)
        mover.move(pieces[number], *known[number], counts, sums)
        return counts, sums

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(LAST):
            start = time.perf_counter()
            mover.aim(centres)
            for counts, sums in pool.map(work, range(len(pieces))):
                ledger.add(counts, sums)
            centres = ledger.means(centres)
            took.append(time.perf_counter() - start)
    return sum(took[FIRST:]) / (LAST - FIRST)


def main() -> None:
    """Compare for few and many bands and print the ratios."""
    found, lines = {}, []
    for bands, k in SETUPS:
        ratios = compare(bands, k)
        found[f"{len(bands)} bands, k = {k}"] = ratios
        wanted = (*TARGETS[len(bands)], 1.8)
        for (what, ratio), least in zip(ratios.items(), wanted, strict=True):
            mark = "yes" if ratio >= least else "NO"
            lines.append(
                f"{f'kernels, {len(bands)} bands, k = {k}: {what}':<46} {f'>= {least:g}':>9} {ratio:>9.2f}  {mark}"
            )
    print(json.dumps({"ratios": found, "lines": lines}))


if __name__ == "__main__":
    main()
