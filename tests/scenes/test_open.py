"""Scenes of raster files: band names, scales, CRS and warnings."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import WriteRaster, patches
from sources import described

from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import SceneError
from pipeline.jobs.plan import make_plan
from pipeline.methods.kmeans import KMeansSettings


def test_descriptions_name_bands(data: Path) -> None:
    info = described([str(data / "scenes" / "rstoolbox_s2" / "rstoolbox_sen2.tif")]).info
    assert info.bands[:3] == ("B01", "B02", "B03")
    assert info.dtype.name == "float32"


def test_bands_without_descriptions_are_numbered(data: Path) -> None:
    info = described([str(data / "scenes" / "rgbn_5m" / "rgbn.tif")]).info
    assert info.bands == ("band1", "band2", "band3", "band4")


def test_files_of_one_band_are_named_after_the_files(write_raster: WriteRaster) -> None:
    files = [str(write_raster(f"farm_2020_{band}.tif", patches(1))) for band in ("red2", "green2", "nir")]
    assert described(files).info.bands == ("red2", "green2", "nir")


def test_two_bands_of_one_name_are_refused_with_both_files(write_raster: WriteRaster) -> None:
    files = [str(write_raster(name, patches(2), bands=["B04", name])) for name in ("one.tif", "two.tif")]
    with pytest.raises(SceneError, match=r"called B04, in .*one\.tif and in .*two\.tif"):
        described(files)


def test_files_of_one_band_with_one_description_are_named_after_the_files(write_raster: WriteRaster) -> None:
    files = [str(write_raster(f"s_{name}.tif", patches(1), bands=["reflectance"])) for name in ("red", "nir")]
    assert described(files).info.bands == ("red", "nir")


@pytest.mark.parametrize(
    ("compress", "rows_of_a_strip", "interleave", "strips_kept"),
    [("deflate", 4000, "pixel", 1), ("lzw", 4000, "band", 0.5), ("deflate", 1, "pixel", 0), ("none", 4000, "pixel", 0)],
)
def test_a_single_strip_is_planned_for_and_causes_a_warning(  # noqa: PLR0917
    write_raster: WriteRaster,
    caplog: pytest.LogCaptureFixture,
    compress: str,
    rows_of_a_strip: int,
    interleave: str,
    strips_kept: float,
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 4000, 4000), np.uint8)
    path = write_raster("strip.tif", noise, interleave=interleave, compress=compress, blockysize=rows_of_a_strip)
    scene = described([str(path)])
    assert scene.reading.strip_bytes == pytest.approx(strips_kept * path.stat().st_size, rel=0.01)
    assert ("one compressed strip" in caplog.text) is bool(strips_kept)
    run, fit = ResourceConfig(workers=1), KMeansSettings()
    without = make_plan(replace(scene, reading=replace(scene.reading, strip_bytes=0)), run, fit)
    assert make_plan(scene, run, fit).peak - without.peak == scene.reading.strip_bytes


def test_a_missing_crs_is_a_warning(write_raster: WriteRaster, caplog: pytest.LogCaptureFixture) -> None:
    path = write_raster("plain.tif", patches(1), crs=None)
    with caplog.at_level(logging.WARNING):
        info = described([str(path)]).info
    assert info.grid.crs is None
    assert "no coordinate reference system" in caplog.text


def test_scales_and_offsets_are_read(write_raster: WriteRaster) -> None:
    import rasterio

    path = write_raster("scaled.tif", patches(2))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.0001, 0.0001), (-0.1, -0.1)
    info = described([str(path)]).info
    assert (info.scales, info.offsets) == ((0.0001, 0.0001), (-0.1, -0.1))


def test_crs_spelled_differently_is_the_same_grid(jpeg2000: list[str], tmp_path: Path) -> None:
    import rasterio

    copy = tmp_path / "T33UUU_20170216T102101_B03.tif"
    with rasterio.open(jpeg2000[1]) as file:
        profile = {**file.profile, "driver": "GTiff", "crs": rasterio.CRS.from_epsg(32633), "tiled": False}
        for key in ("blockxsize", "blockysize"):
            profile.pop(key, None)
        with rasterio.open(copy, "w", **profile) as out:
            out.write(file.read())
    assert described([jpeg2000[0], str(copy)]).info.bands == ("B02", "B03")
