"""Maps of more than 2^31 pixels: planned and made from scenes far from each other; GeoTIFFs end at 10^10 pixels."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from runs import config, read
from sources import LEFT, ROWS, TOP, layers, product

from pipeline import ClusterModel, predict, write
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.jobs.run import plan_config, run_config
from pipeline.sinks.registry import OutputConfig

SIDE = 46_500
"""Rows and columns of the mosaic: 2.16 * 10^9 pixels, just more than 2^31."""

CORNERS = {"T33UUV": (0, 0), "T33UVU": (23_456, 31_234), "T33UWT": (SIDE - ROWS, SIDE - ROWS)}
"""Row and column of the first pixel of each product, by its tile."""


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Products that are far from each other."""
    return [
        product(tmp_path, tile, layers(seed), origin=(LEFT + 10 * column, TOP - 10 * row), tile=tile)
        for seed, (tile, (row, column)) in enumerate(CORNERS.items())
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_mosaic_of_more_than_2_31_pixels_has_the_labels_of_its_parts(parts: list[Path], tmp_path: Path) -> None:
    labels, bands = tmp_path / "classes.zarr", {"bands": ["B02"]}
    job = config(parts, labels, scene=bands, fit={"k": 4, "starts": 1}, run={"workers": 2, "chunk": 4096})
    scene, plan = plan_config(job)
    assert (scene.info.map_grid.shape, plan.blocks) == ((SIDE, SIDE), 144)
    report = run_config(job)
    valid = len(parts) * ROWS**2
    assert report["nodata_pixels"] + valid == SIDE**2 > 2**31
    array = zarr.open_group(labels, mode="r")["class"]
    assert array.shape == (SIDE, SIDE)
    model, found = ClusterModel.load(tmp_path / "classes.model.json"), 0
    for path, (row, column) in zip(parts, CORNERS.values(), strict=True):
        predict(SceneConfig(source=str(path)), model, OutputConfig(labels=str(tmp_path / "part.tif")), overwrite=True)
        expected = read(tmp_path / "part.tif")
        np.testing.assert_array_equal(array[row : row + ROWS, column : column + ROWS], expected)
        found += np.count_nonzero(expected)
    assert found == valid == sum(each["pixels"] for each in report["classes"])


def test_a_geotiff_of_more_than_10_10_pixels_is_refused_before_any_is_read(tmp_path: Path) -> None:
    far = [
        product(tmp_path, tile, layers(), origin=(LEFT + 10 * away, TOP - 10 * away), tile=tile)
        for tile, away in (("T33UUV", 0), ("T33UVU", 100_000))
    ]
    message = (
        r"^output\.labels: .*classes\.tif: a map of 100360 x 100360 pixels is too large for a GeoTIFF, which has "
        r"10,000,000,000 at most; use a name that ends in \.zarr$"
    )
    job = config(far, tmp_path / "classes.tif", fit={"k": 4})
    for refused in (plan_config, run_config):
        with pytest.raises(ConfigError, match=message):
            refused(job)
    run_config(config(far[0], tmp_path / "one.tif", fit={"k": 4, "starts": 1, "pixels": 500}))
    model = ClusterModel.load(tmp_path / "one.model.json")
    with pytest.raises(ConfigError, match=message):
        predict(SceneConfig(source=list(map(str, far))), model, OutputConfig(labels=str(tmp_path / "classes.tif")))
    _, plan = plan_config(config(far, tmp_path / "classes.zarr", fit={"k": 4}))
    assert plan.blocks == 99**2
    plan_config(config(far, tmp_path / "classes.tif", fit={"k": 4}, scene={"resolution": 20}))
    assert not list(tmp_path.glob("classes*"))


def test_python_refuses_to_write_such_a_geotiff(tmp_path: Path) -> None:
    labels = xr.DataArray(da.zeros((10**5, 10**5 + 1), dtype="uint8", chunks=5000), dims=("y", "x"), attrs={"k": 3})
    with pytest.raises(ConfigError, match=r"a map of 100001 x 100000 pixels is too large for a GeoTIFF, .*\.zarr$"):
        write(labels, tmp_path / "classes.tif")
    assert not list(tmp_path.iterdir())
