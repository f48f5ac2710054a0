"""Ranges with given edges: the classes of a model, and the pixels that are counted."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from blocks import holes, scene
from fakes import CountingSource, MemorySource

from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.fit import fit_source
from pipeline.models.ranges import Ranges

EDGES = (60, 100.5, 150, 170)


def fit(source: Any, workers: int = 2, **given: Any) -> Ranges:
    config = FIT.parse({"method": "ranges", "edges": EDGES, **given}, "test")
    model = fit_source(source, config, executor=ThreadExecutor(workers), progress=Progress()).model
    assert isinstance(model, Ranges)
    return model


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("pixels", ["all", 2000])
@pytest.mark.parametrize("outside", ["unclassified", "extend", "nodata"])
def test_counted_pixels_are_those_of_the_sample_or_all(dtype: str, pixels: Any, outside: str) -> None:
    data, valid = scene(dtype, bands=1), holes((120, 150))
    model = fit(MemorySource(data, valid), pixels=pixels, outside=outside)
    assert (model.edges, model.outside, model.class_order) == (EDGES, outside, "edges")
    assert [each.name for each in model.classes] == ["60 to 100.5", "100.5 to 150", "150 to 170"]
    found = np.clip(data, 60, 170) if outside == "extend" else data
    expected = np.histogram(found[0][valid], EDGES)[0]
    if pixels == "all":
        assert model.counts == tuple(expected.tolist())
    else:
        assert sum(model.counts) <= 2000
        np.testing.assert_allclose(np.array(model.counts) / 2000, expected / valid.sum(), atol=0.05)
    for other in (MemorySource(data, valid, (120, 150)), MemorySource(data, valid, (16, 16))):
        assert fit(other, 1, pixels=pixels, outside=outside) == model


def test_a_sampled_scene_is_read_once() -> None:
    source = CountingSource(MemorySource(scene("uint16", bands=1)))
    fit(source, pixels=2000)
    assert set(source.reads.values()) == {1}


def test_classes_have_the_means_of_the_sampled_pixels_in_them() -> None:
    data = scene("float64", bands=1)
    model = fit(MemorySource(data))
    for each, low, high in zip(model.classes, EDGES[:-1], EDGES[1:], strict=True):
        inside = data[(data >= low) & (data < high)]
        assert (each.mean, each.std) == (pytest.approx((inside.mean(),)), pytest.approx((inside.std(),)))


def test_edges_beyond_all_pixels_are_said_with_the_range_and_the_quantity(caplog: pytest.LogCaptureFixture) -> None:
    source = MemorySource(scene("uint16", bands=1))
    source.info = replace(source.info, scales=(1e-4,), quantities=("reflectance",))
    low, high = source.data.min() * 1e-4, source.data.max() * 1e-4
    model = fit(source)
    assert model.counts == (0, 0, 0)
    words = (
        f"fit.edges: no sampled pixel of band band1 is from 60 to 170: they are from {low:g} to {high:g} (reflectance)"
    )
    assert re.search(re.escape(words), caplog.text)
    caplog.clear()
    fit(source, edges=(low, high))
    assert not caplog.text


@pytest.mark.parametrize("far", [1e6, 1e16, 1e200])
def test_statistics_of_open_ranges_are_those_of_their_pixels(far: float) -> None:
    """Float pixels are summed as differences from the middle of their range, which must not be far away."""
    data = np.random.default_rng(0).random((1, 120, 150)).astype("float32")
    model = fit(MemorySource(data), edges=[-far, 0.3, 0.6, far], pixels="all")
    for each, low, high in zip(model.classes, (-1, 0.3, 0.6), (0.3, 0.6, 2), strict=True):
        members = data[(data >= low) & (data < high)].astype(np.float64)
        assert each.mean == pytest.approx([members.mean()], rel=1e-6)
        assert each.std == pytest.approx([members.std()], rel=1e-5)
