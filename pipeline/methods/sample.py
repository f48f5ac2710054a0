"""N valid pixels of a scene, chosen by the hash of their position: the same for any chunking and workers."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import isqrt
from threading import RLock
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points
from pipeline.core.band_names import listed_names
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block
from pipeline.core.pixels import FitSource, Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.threads import stream
from pipeline.kernels import hashing
from pipeline.kernels.hashing import LARGEST_KEY, smallest_keys
from pipeline.kernels.validity import mask_invalid
from pipeline.pixels.cache import CachedBlocks
from pipeline.pixels.pieces import CachedPieces

_SPARE: Final = 8
"""Standard deviations by which more keys are expected under a threshold than are wanted."""

Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sample:
    """Pixels drawn from a scene."""

    points: Points
    """Shape (band, point), C-contiguous, in the scene's dtype and units, in the order of their keys."""
    valid: int
    """How many valid pixels the scene has."""
    total: int
    """How many pixels the scene has."""


class _Smallest:
    """The pixels with the smallest keys of all that were added, in bounded memory; threads may add in any order.

    Parameters
    ----------
    wanted : int
        How many are wanted.
    seed : int
        Which keys pixels have.
    info : SceneInfo
        The scene.
    expected : int, optional
        How many pixels are thought to take part. If there are fewer, wanted ones are left out: see `falls_short`.
    """

    def __init__(self, wanted: int, seed: int, info: SceneInfo, expected: int = 0) -> None:
        self.wanted = wanted
        self._seed = seed
        self._origin = info.origin
        self.threshold = min(LARGEST_KEY, LARGEST_KEY * (wanted + _SPARE * isqrt(wanted)) // max(expected, 1))
        """Pixels with a larger key are left out."""
        self.valid = 0
        """How many pixels take part, of all that were added."""
        self.seen = np.zeros(len(info.bands), np.bool_)
        """Which bands are known to hold data by themselves; told only as long as no pixel takes part."""
        self._nodata = info.nodata
        self.blocks: list[Block] = []
        """Where they are."""
        self._guard = RLock()
        self._keys: list[Keys] = [np.empty(0, np.uint64)]
        self._points: list[Points] = [np.empty((len(info.bands), 0), info.dtype)]

    def look(self, block: Block, pixels: Pixels, fitting: npt.NDArray[np.bool_]) -> None:
        """Add what a block has of them, among its pixels that take part in the fit."""
        valid = int(np.count_nonzero(fitting))
        if not valid:
            self._look_at_bands(pixels)
            return
        with self._turn():
            place = (self._origin[0] + block.top, self._origin[1] + block.left)
            keys, index = smallest_keys(fitting, place, self._seed, self.wanted, self.threshold)
            points = pixels.data.reshape(len(pixels.data), -1).take(index, axis=1)
            del index  # room for the keys of all blocks
            self._add(block, valid, keys, points)

    def _look_at_bands(self, pixels: Pixels) -> None:
        """Note which bands hold data in a block where not all do, as long as no pixel takes part."""
        for band in np.flatnonzero(~self.seen) if self.valid == 0 else ():
            plane, everywhere = pixels.data[band : band + 1], np.ones(pixels.valid.shape, np.bool_)
            self.seen[band] = mask_invalid(plane, (self._nodata[band],), everywhere).any()

    def _turn(self) -> AbstractContextManager[object]:
        """To be held from the search for candidates until they are added.

        As long as no key is ruled out, all pixels of a block are candidates, so blocks take turns: the memory taken
        shall not depend on how many begin at once.
        """
        return self._guard if self.threshold == LARGEST_KEY else nullcontext()

    def _add(self, block: Block, valid: int, keys: Keys, points: Points) -> None:
        with self._guard:
            self.blocks.append(block)
            self.valid += valid
            self._keys.append(keys)
            self._points.append(points)
            spare = 1 if self.threshold == LARGEST_KEY else 1.5  # the sooner there is a threshold, the less is added
            if sum(part.size for part in self._keys) > spare * self.wanted:
                self._shrink()

    def falls_short(self) -> bool:
        """Whether, all pixels having been added, wanted ones were left out, as fewer than expected take part."""
        return sum(part.size for part in self._keys) < min(self.wanted, self.valid)

    def _shrink(self) -> None:
        """Keep the wanted ones only."""
        keys, points = np.concatenate(self._keys), np.concatenate(self._points, axis=1)
        self._keys, self._points = [], []  # the parts go before the best are copied
        if keys.size > self.wanted:
            best = np.argpartition(keys, self.wanted - 1)[: self.wanted]
            keys, points = keys.take(best), points.take(best, axis=1)
            self.threshold = int(keys.max())
        self._keys, self._points = [keys], [points]

    def in_order(self) -> Points:
        """Return the wanted pixels, in the order of their keys."""
        self._shrink()
        return self._points[0].take(np.argsort(self._keys[0]), axis=1)


def draw_sample(
    source: FitSource,
    *,
    wanted: int,
    seed: int,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> Sample:
    """Read a scene and draw pixels that hold data in every band.

    The pixels drawn are those whose positions have the smallest hashes ("bottom-k" sampling: Cohen &
    Kaplan, 2007), so they depend on the seed and on which pixels are valid, and on nothing else.

    Parameters
    ----------
    source : FitSource
        The scene. Where it keeps blocks, those that are read while machine code is loaded are looked at later, and all
        of them once more where less than half of the pixels take part.
    wanted : int
        How many pixels to draw; all valid ones where there are fewer.
    seed : int
        Which sample to draw.
    workers : int
        Blocks worked on at once.
    step : callable
        Called after each block, for progress.

    Raises
    ------
    SceneError
        When no pixel is valid.
    """
    info = source.info
    kept = source if isinstance(source, CachedBlocks | CachedPieces) else None
    expected = info.pixels // 2 if kept else 0
    smallest = _Smallest(wanted, seed, info, expected)
    later: list[Block] = []

    def read(block: Block) -> None:
        pixels, fitting = source.read_for_fit(block)
        if kept and kept.is_cached(block) and not loading.done():
            later.append(block)
            return
        loading.result()
        smallest.look(block, pixels, fitting)

    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(hashing.load_kernel)
        for _ in stream(read, source.blocks, workers):
            step()
        loading.result()
    if kept:
        _look_again(smallest, kept, later, workers)
    while smallest.falls_short() and kept:
        expected = min(smallest.valid, expected // 2)  # less each time: few may have small keys by chance
        blocks, smallest = smallest.blocks, _Smallest(wanted, seed, info, expected)
        _look_again(smallest, kept, blocks, workers)
    if smallest.valid == 0:
        raise _nothing_valid(info, smallest.seen)
    return Sample(smallest.in_order(), smallest.valid, info.pixels)


def _look_again(smallest: _Smallest, kept: CachedBlocks | CachedPieces, blocks: Sequence[Block], workers: int) -> None:
    """Look at blocks that were read before."""
    for _ in stream(lambda block: smallest.look(block, *kept.read_again_for_fit(block)), blocks, workers):
        pass


def _nothing_valid(info: SceneInfo, seen: npt.NDArray[np.bool_]) -> SceneError:
    """Make the error that says so, and names the bands that hold no data at all."""
    odd = {"NaN, infinity"} if info.dtype.kind == "f" else set[str]()
    values = ", ".join(sorted({f"{value:g}" for value in info.nodata if value is not None} | odd))
    rule = f" ({values})" if values else ""
    beside = ", under a mask or outside of the area" if info.masked else ""
    fix = "scene.nodata, scene.mask, fit.mask and scene.aoi" if info.masked else "scene.nodata"
    empty = [name for name, any_data in zip(info.bands, seen.tolist(), strict=True) if not any_data]
    if not empty:
        where = f"in one band or another{beside}, though each band holds data somewhere"
    elif len(empty) == len(info.bands):
        where = f"in every band{beside}"
    else:
        where = f"in band {listed_names(empty)}{beside}; leave out of scene.bands what holds no data"
    return SceneError(f"{info.sources[0]}: all {info.pixels} pixels are nodata{rule} {where}; check {fix}")
