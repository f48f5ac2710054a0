"""Draw a sample of valid pixels by the hash of their position: the same sample for any blocks and workers."""

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
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.threads import stream
from pipeline.kernels import hashing
from pipeline.kernels.hashing import LARGEST_KEY, smallest_keys
from pipeline.kernels.validity import mask_invalid

_MARGIN: Final = 8
"""Standard deviations by which the expected number of keys under a threshold exceeds the wanted number."""

Keys = npt.NDArray[np.uint64]
"""Hashes of pixel positions, shape (point,)."""


@dataclass(frozen=True)
class Sample:
    """Pixels drawn from a scene."""

    points: Points
    """Sampled pixels in the scene's dtype and units, ordered by their keys, C-contiguous, shape (band, point)."""
    valid: int
    """Number of valid pixels of the scene that take part in the fit."""
    total: int
    """Number of pixels of the scene."""


class _Smallest:
    """Collects the pixels with the smallest keys in bounded memory; threads may add blocks in any order.

    Parameters
    ----------
    wanted : int
        Number of pixels to draw.
    seed : int
        Seed of the keys.
    info : SceneInfo
        The scene.
    expected : int, optional
        Expected number of pixels that take part. If there are fewer, too few may be collected: see `is_short`.
    """

    def __init__(self, wanted: int, seed: int, info: SceneInfo, expected: int = 0) -> None:
        self.wanted = wanted
        self._seed = seed
        self._origin = info.origin
        self.threshold = min(LARGEST_KEY, LARGEST_KEY * (wanted + _MARGIN * isqrt(wanted)) // max(expected, 1))
        """Largest key of pixels to be added."""
        self.valid = 0
        """Number of pixels that take part, in all blocks added."""
        self.has_valid = np.zeros(len(info.bands), np.bool_)
        """True per band with a valid pixel, shape (band,); updated only while no pixel takes part."""
        self._nodata = info.nodata
        self.blocks: list[Block] = []
        """Blocks with pixels that take part."""
        self._lock = RLock()
        self._keys: list[Keys] = [np.empty(0, np.uint64)]
        self._points: list[Points] = [np.empty((len(info.bands), 0), info.dtype)]

    def add(self, block: Block, pixels: Pixels, fitting: npt.NDArray[np.bool_]) -> None:
        """Add the pixels of a block that have small keys, among those marked in `fitting`."""
        valid = int(np.count_nonzero(fitting))
        if not valid:
            self._note_valid_bands(pixels)
            return
        with self._candidates_lock():
            corner = (self._origin[0] + block.top, self._origin[1] + block.left)
            keys, index = smallest_keys(fitting, corner, self._seed, self.wanted, self.threshold)
            points = pixels.data.reshape(len(pixels.data), -1).take(index, axis=1)
            del index  # free memory for the keys
            self._append(block, valid, keys, points)

    def _note_valid_bands(self, pixels: Pixels) -> None:
        """Update `has_valid` from a block in which no pixel takes part, while none has taken part in any block."""
        for band in np.flatnonzero(~self.has_valid) if self.valid == 0 else ():
            plane, everywhere = pixels.data[band : band + 1], np.ones(pixels.valid.shape, np.bool_)
            self.has_valid[band] = mask_invalid(plane, (self._nodata[band],), everywhere).any()

    def _candidates_lock(self) -> AbstractContextManager[object]:
        """Lock to hold from the search for candidates until they are added.

        While no key is ruled out, all pixels of a block are candidates, so blocks are added one at a time: memory
        must not depend on the number of threads.
        """
        return self._lock if self.threshold == LARGEST_KEY else nullcontext()

    def _append(self, block: Block, valid: int, keys: Keys, points: Points) -> None:
        with self._lock:
            self.blocks.append(block)
            self.valid += valid
            self._keys.append(keys)
            self._points.append(points)
            # a first threshold is made as early as possible, because fewer pixels are added from then on
            excess = 1 if self.threshold == LARGEST_KEY else 1.5
            if sum(part.size for part in self._keys) > excess * self.wanted:
                self._shrink()

    def is_short(self) -> bool:
        """Return True if, after all blocks, too few pixels were collected, because fewer than expected take part."""
        return sum(part.size for part in self._keys) < min(self.wanted, self.valid)

    def _shrink(self) -> None:
        """Drop all but the wanted number of pixels, and lower the threshold."""
        keys, points = np.concatenate(self._keys), np.concatenate(self._points, axis=1)
        self._keys, self._points = [], []  # free the parts before the best are copied
        if keys.size > self.wanted:
            best = np.argpartition(keys, self.wanted - 1)[: self.wanted]
            keys, points = keys.take(best), points.take(best, axis=1)
            self.threshold = int(keys.max())
        self._keys, self._points = [keys], [points]

    def in_order(self) -> Points:
        """Return the pixels with the smallest keys, ordered by key, shape (band, point)."""
        self._shrink()
        return self._points[0].take(np.argsort(self._keys[0]), axis=1)


def draw_sample(
    source: PixelSource,
    *,
    wanted: int,
    seed: int,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> Sample:
    """Read a scene and draw a random sample of the pixels that are valid in every band.

    The pixels drawn are those whose positions have the smallest hashes ("bottom-k" sampling: Cohen & Kaplan, 2007),
    so the sample depends only on the seed and on which pixels are valid.

    Parameters
    ----------
    source : PixelSource
        The scene. If blocks are cheap to read again, those read while compiled code is being loaded are sampled
        afterwards, and all blocks are sampled again if less than half of the pixels take part.
    wanted : int
        Number of pixels to draw; all valid ones if there are fewer.
    seed : int
        Seed of the sample.
    workers : int
        Number of threads.
    step : callable
        Called after each block, for progress.

    Raises
    ------
    SceneError
        If no pixel is valid.
    """
    info = source.info
    expected = info.pixels // 2 if source.cheap_again else 0
    smallest = _Smallest(wanted, seed, info, expected)
    later: list[Block] = []

    def read(block: Block) -> None:
        pixels, fitting = source.read_for_fit(block)
        if source.cheap_again and not loading.done():
            later.append(block)
            return
        loading.result()
        smallest.add(block, pixels, fitting)

    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(hashing.load_kernel)
        for _ in stream(read, source.blocks, workers):
            step()
        loading.result()
    _add(smallest, source, later, workers)
    while smallest.is_short():
        expected = min(smallest.valid, expected // 2)  # lower it each time: by chance few pixels may have small keys
        blocks, smallest = smallest.blocks, _Smallest(wanted, seed, info, expected)
        _add(smallest, source, blocks, workers)
    if smallest.valid == 0:
        raise _nothing_valid(info, smallest.has_valid)
    return Sample(smallest.in_order(), smallest.valid, info.pixels)


def _add(smallest: _Smallest, source: PixelSource, blocks: Sequence[Block], workers: int) -> None:
    """Read blocks again and add them."""
    for _ in stream(lambda block: smallest.add(block, *source.read_for_fit(block)), blocks, workers):
        pass


def _nothing_valid(info: SceneInfo, has_valid: npt.NDArray[np.bool_]) -> SceneError:
    """Make the error for a scene without valid pixels, which names the empty bands."""
    invalid = {"NaN, infinity"} if info.dtype.kind == "f" else set[str]()
    values = ", ".join(sorted({f"{value:g}" for value in info.nodata if value is not None} | invalid))
    rule = f" ({values})" if values else ""
    masked = ", masked out or outside of the area of interest" if info.masked else ""
    fix = "scene.nodata, scene.mask, fit.mask and scene.aoi" if info.masked else "scene.nodata"
    empty = [name for name, valid in zip(info.bands, has_valid.tolist(), strict=True) if not valid]
    if not empty:
        where = f"in at least one band{masked}, though each band has valid pixels"
    elif len(empty) == len(info.bands):
        where = f"in every band{masked}"
    else:
        where = f"in band {listed_names(empty)}{masked}; leave empty bands out of scene.bands"
    return SceneError(f"{info.sources[0]}: all {info.pixels} pixels are nodata{rule} {where}; check {fix}")
