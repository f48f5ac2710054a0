"""Pixel arrays for tests of kernels and fits."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig
from pipeline.core.pixels import PixelSource
from pipeline.engine.cache import open_cache
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.features.base import Preparation
from pipeline.methods.fit import Fit, fit_source
from pipeline.methods.sample import draw_sample
from pipeline.methods.settings import SampleSettings
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.pieces import PixelPieces


def scene(dtype: str, shape: tuple[int, int] = (120, 150), bands: int = 3, seed: int = 0) -> npt.NDArray[Any]:
    """Noisy patches of six spectra, shape (band, row, column)."""
    rng = np.random.default_rng([seed, bands])
    patches = rng.integers(0, 6, (-(-shape[0] // 10), -(-shape[1] // 10))).repeat(10, 0).repeat(10, 1)
    spectra = rng.uniform(40, 200, (6, bands))
    pixels = spectra[patches[: shape[0], : shape[1]]] + rng.normal(0, 9, (*shape, bands))
    return np.ascontiguousarray(np.moveaxis(pixels.clip(0, 255), 2, 0).astype(dtype))


def holes(shape: tuple[int, int], seed: int = 3) -> npt.NDArray[np.bool_]:
    """Validity with single invalid pixels and an invalid corner."""
    valid = np.random.default_rng(seed).random(shape) < 0.9
    valid[: shape[0] // 3, : shape[1] // 3] = False
    return valid


def fitted(
    source: PixelSource, config: SampleSettings, features: FeaturesConfig | None = None, workers: int = 2
) -> Fit:
    """Fit a source with pixels cached in memory."""
    with open_cache("memory", Path()) as cache:
        return fit_source(
            CachedSource(source, cache),
            config,
            features or FeaturesConfig(),
            executor=ThreadExecutor(workers),
            progress=Progress(),
        )


def unprepared(bands: int) -> Preparation:
    """Stored numbers as they are."""
    return Preparation(np.ones(bands))


def pieces_of(source: PixelSource, preparation: Preparation | None = None, *, remembers: bool = True) -> PixelPieces:
    """Pieces of a source for passes over all pixels, each block of which was read for the fit."""
    sample = draw_sample(source, wanted=1, seed=0, executor=ThreadExecutor(1), limits=True)
    assert sample.fitted
    return PixelPieces(source, sample.fitted, preparation or unprepared(len(source.info.bands)), remembers=remembers)


DTYPES = ["u1", "u2", "i2", "i4", "u4", "f4", "f8"]


ROWS, COLUMNS = 41, 77  # more pixels than kernels process at once, and not a multiple of that number


def make(dtype: str, bands: int, k: int) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.float64]]:
    """Random pixels over the whole range of a type, and centroids that are not whole numbers."""
    rng = np.random.default_rng([bands, k])
    kind = np.dtype(dtype)
    low, high = (-0.3, 1.2) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    data = rng.uniform(low, high, (bands, ROWS, COLUMNS)).astype(kind)
    return data, rng.uniform(low, high, (k, bands))
