"""Bins of one band: edges and counts are numpy's, of all valid pixels, for any blocks, workers and cache."""

import logging
import re
from dataclasses import replace
from itertools import combinations
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from blocks import holes, scene
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import FitError
from pipeline.engine.cache import open_cache
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.fit import fit_source
from pipeline.methods.histogram import Distribution, natural_breaks
from pipeline.models.ranges import Ranges
from pipeline.pixels.block_cache import CachedSource

DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64"]


def source_of(
    data: npt.NDArray[Any], chunk: tuple[int, int] = (64, 64), scale: float = 1, offset: float = 0, **how: Any
) -> MemorySource:
    source = MemorySource(data, chunk=chunk, **how)
    if (scale, offset) != (1, 0):
        source.info = replace(source.info, scales=(scale,), offsets=(offset,), quantities=("reflectance",))
    return source


def fit(source: Any, workers: int = 2, **given: Any) -> Ranges:
    config = FIT.parse({"method": "histogram", **given}, "test")
    model = fit_source(source, config, executor=ThreadExecutor(workers), progress=Progress()).model
    assert isinstance(model, Ranges)
    assert model.fitting.pixels == "all"
    return model


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bins", [2, 20, 254])
def test_equal_bins_and_counts_are_those_of_numpy_over_valid_pixels(dtype: str, bins: int) -> None:
    data, valid = scene(dtype, bands=1) // np.array(2, dtype), holes((120, 150))
    fitting = valid & (np.arange(150) % 7 > 0)
    model = fit(source_of(data, valid=valid, fitting=fitting), bins=bins)
    counts, edges = np.histogram(data[0][fitting], bins)
    assert model.edges == tuple(edges.tolist())
    assert model.counts == tuple(counts.tolist())
    assert (model.outside, model.class_order, model.inertia) == ("extend", "edges", None)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, -0.1), (-1e-4, 0.3), (2.75e-5, -0.2)])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("by", ["equal", "quantile", "natural"])
def test_edges_are_in_the_quantity_whatever_the_sign_of_the_scale(
    dtype: str, scale: float, offset: float, by: str
) -> None:
    data = scene(dtype, bands=1) * np.array(37, dtype)
    model = fit(source_of(data, scale=scale, offset=offset), by=by, bins=6)
    values = data[0].astype(np.float64) * scale + offset
    assert model.counts == tuple(np.histogram(values, model.edges)[0].tolist())
    if by == "equal":
        np.testing.assert_array_equal(model.edges, np.histogram_bin_edges(values, 6))
    if by == "quantile":  # the sample is the scene here
        np.testing.assert_array_equal(model.edges, np.quantile(values, np.linspace(0, 1, 7)))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16"]), st.integers(2, 254), st.integers(1, 400),
    st.integers(0, 2**32 - 1), st.sampled_from([1.0, -0.1, 1e-4]),
)  # fmt: skip
def test_quantiles_are_those_of_numpy_bit_for_bit(dtype: str, bins: int, width: int, seed: int, scale: float) -> None:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    pixels = (
        (rng.normal(0, width, rng.integers(2, 5000)) + 50).astype(np.int64).clip(0, np.iinfo(kind).max).astype(kind)
    )
    source = source_of(pixels[np.newaxis, np.newaxis], chunk=(1, 999), scale=scale)
    values = pixels.astype(np.float64) * scale
    distinct = np.unique(values).size
    if distinct >= bins:
        model = fit(source, by="quantile", bins=bins)
        np.testing.assert_array_equal(model.edges, np.quantile(values, np.linspace(0, 1, bins + 1)))
        assert model.counts == tuple(np.histogram(values, model.edges)[0].tolist())
    elif distinct > 1:
        with pytest.raises(
            FitError, match=re.escape(f"have {distinct}; set fit.bins to {distinct} at most, or fit.by")
        ):
            fit(source, by="quantile", bins=bins)


def deviations(values: npt.NDArray[np.float64], starts: Any) -> float:
    """Sum of squared deviations from the means of classes that begin at some indices."""
    return float(sum(((part - part.mean()) ** 2).sum() for part in np.split(values, starts) if part.size))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=9, unique=True).map(sorted),
    st.lists(st.integers(1, 9), min_size=9, max_size=9),
    st.data(),
)
def test_natural_breaks_have_the_least_deviations_of_all(values: list[int], weights: list[int], data: Any) -> None:
    classes = data.draw(st.integers(1, len(values)))
    counts = np.array(weights[: len(values)])
    first = natural_breaks(np.array(values, np.float64), counts, classes)
    assert first[0] == 0
    assert (np.diff(first) > 0).all()
    assert first.size == classes
    pixels, ends = np.repeat(np.array(values, np.float64), counts), np.cumsum(counts)
    best = min(
        deviations(pixels, ends[np.array(chosen, int)]) for chosen in combinations(range(len(values) - 1), classes - 1)
    )
    assert deviations(pixels, ends[first[1:] - 1]) == pytest.approx(best, abs=1e-9)


def test_natural_bins_are_those_of_jenkspy() -> None:
    jenkspy = pytest.importorskip("jenkspy")
    for seed in range(5):
        pixels = np.random.default_rng(seed).gamma(3, 40, 3000).astype(np.uint16)
        model = fit(source_of(pixels[np.newaxis, np.newaxis]), by="natural", bins=7)
        labels = np.digitize(pixels, model.edges[1:-1]) + 1
        largest = [float(pixels[labels == label].max()) for label in range(1, 8)]
        assert [float(pixels.min()), *largest] == jenkspy.jenks_breaks(pixels, 7)


@pytest.mark.parametrize("bins", [2, 20, 254])
def test_natural_bins_of_many_values_are_nearly_as_good_as_the_best(bins: int) -> None:
    values = np.sort(np.random.default_rng(1).gamma(2, 900, 4000).astype(np.uint16)).astype(np.float64)
    distinct, counts = np.unique(values, return_counts=True)
    assert distinct.size > 1024
    best = natural_breaks(distinct - distinct.mean(), counts, bins)
    edges = Distribution(distinct, counts).natural_edges(bins)
    assert (np.diff(edges[:-1]) > 0).all()
    assert edges[-1] == values[-1] >= edges[-2], "the largest value may be a class of its own"
    found = deviations(values, np.searchsorted(values, edges[1:-1]))
    assert found <= (1.2 if bins == 254 else 1.001) * deviations(values, np.searchsorted(values, distinct[best[1:]]))


def test_natural_bins_where_nearly_all_pixels_have_one_value() -> None:
    pixels = np.concatenate([np.full(200_000, 7), np.arange(2000)]).astype(np.uint16)
    model = fit(source_of(pixels[np.newaxis, np.newaxis], chunk=(1, 9999)), by="natural", bins=254)
    assert (np.diff(model.edges) > 0).all()
    assert model.counts == tuple(np.histogram(pixels, model.edges)[0].tolist())


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
@pytest.mark.parametrize("by", ["equal", "quantile", "natural"])
def test_the_model_is_the_same_for_any_blocks_workers_and_cache(dtype: str, by: str) -> None:
    data, valid = scene(dtype, bands=1), holes((120, 150))
    models = [
        fit(source_of(data, chunk, valid=valid), workers, by=by, bins=12)
        for chunk, workers in (((64, 64), 2), ((120, 150), 1), ((7, 150), 3))
    ]
    with open_cache("memory", Path()) as cache:
        models.append(fit(CachedSource(source_of(data, (32, 32), valid=valid), cache), by=by, bins=12))
    assert all(model == models[0] for model in models[1:])
    assert sum(models[0].counts) == valid.sum()


def test_edges_of_floats_that_are_no_equal_bins_are_those_of_the_sample_which_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("pipeline.methods.settings.DEFAULT_SAMPLE", 3000)
    data = np.random.default_rng(2).normal(0, 1, (1, 200, 200))
    model = fit(source_of(data), by="quantile", bins=10)
    assert (
        "fit.by: quantile: the values are float64, so the edges between bins are those of the 3000 sampled"
        in caplog.text
    )
    assert (model.edges[0], model.edges[-1]) == (data.min(), data.max()), "of all pixels"
    assert model.counts == tuple(np.histogram(data, model.edges)[0].tolist()), "all pixels are counted"
    assert max(model.counts) < 1.3 * min(model.counts)
    caplog.clear()
    for silent in (source_of(data), source_of(scene("uint8", bands=1))):
        fit(silent, by="equal" if silent.info.dtype.kind == "f" else "quantile")
    assert not caplog.text


def test_a_band_with_one_value_has_no_bins() -> None:
    data, valid = np.full((1, 9, 9), 7, np.uint16), np.ones((9, 9), bool)
    valid[0], data[0, 0] = False, 9  # nodata is not counted
    for by in ("equal", "quantile", "natural"):
        with pytest.raises(FitError, match="band band1: all valid pixels have the value 7; choose one that varies"):
            fit(source_of(data, valid=valid), by=by)


@pytest.mark.parametrize("by", ["quantile", "natural"])
def test_more_bins_than_values_are_refused(by: str) -> None:
    data = np.arange(100, dtype=np.float32).reshape(1, 10, 10) // 20
    with pytest.raises(FitError, match=f"fit.bins: 6 bins by {by} need 6 distinct values, but the 100 .* have 5; set"):
        fit(source_of(data), by=by, bins=6)
    assert fit(source_of(data), by=by, bins=5).counts == (20,) * 5
    assert fit(source_of(data), by="equal", bins=9).counts == tuple(np.histogram(data, 9)[0].tolist())


def test_bins_of_a_landsat_band_are_those_of_numpy(data: Path) -> None:
    """The case of many tutorials: one band, `np.histogram`, a class per bin; here without the nodata border."""
    path = next((data / "sensors" / "landsat_c2_l2sp_008059").glob("*_SR_B5.TIF"))
    with rasterio.open(path) as file:
        pixels, valid = file.read(), file.read(1) != 0
    for by in ("equal", "quantile", "natural"):
        model = fit(source_of(pixels, valid=valid), by=by)
        assert model.counts == tuple(np.histogram(pixels[0][valid], model.edges)[0].tolist())
        assert sum(model.counts) == valid.sum() < valid.size
    assert fit(source_of(pixels, valid=valid)).edges == tuple(np.histogram_bin_edges(pixels[0][valid], 20).tolist())


def test_limits_that_overflow_are_no_bins() -> None:
    data = np.array([[[0.0, 1.0, 2.0, inf]]])
    valid = np.isfinite(data[0])
    assert fit(source_of(data, valid=valid), bins=2).edges == (0.0, 1.0, 2.0)
