"""Bands of different grids: repetition where grids are aligned, else GDAL's pixels, independent of the chunk size."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from conftest import UTM, WriteRaster, patches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform
from sources import described, layers, opened, product, whole

from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Grid
from pipeline.geo.align import Alignment
from pipeline.geo.overlap import same_grid
from pipeline.scenes.raster_source import RasterSource

WKT = CRS.from_epsg(32633).to_wkt()
CHIP = "t48que_20200223_l2a"


def grid(shape: tuple[int, int], size: float, left: float = 300_000, top: float = 5_900_000) -> Grid:
    return Grid(shape=shape, transform=Affine(size, 0, left, 0, -size, top), crs=WKT)


def alignment_of(scene: Grid, file: Grid) -> Alignment:
    alignment = Alignment.of(scene, file)
    assert alignment is not None
    return alignment


@pytest.mark.parametrize(("fine", "coarse", "ratio"), [(10_980, 5_490, 2), (10_980, 1_830, 6), (5_490, 1_830, 3)])
def test_coarse_band_of_a_whole_tile_is_repeated(fine: int, coarse: int, ratio: int) -> None:
    alignment = alignment_of(grid((fine, fine), 10), grid((coarse, coarse), 10 * ratio))
    assert alignment.aligned
    for axis in (0, 1):
        np.testing.assert_array_equal(alignment.indices_along(axis, 0, fine), np.repeat(np.arange(coarse), ratio))


@given(ratio=st.integers(1, 40), rows=st.integers(1, 400), size=st.sampled_from([10, 0.3, 1 / 3, 60, 1e-4]))
def test_coarse_pixels_are_repeated_for_odd_sizes_and_pixel_sizes(ratio: int, rows: int, size: float) -> None:
    coarse = -(-rows // ratio)  # the last coarse pixel may extend beyond the fine grid
    alignment = alignment_of(grid((rows, rows), size), grid((coarse, coarse), size * ratio))
    np.testing.assert_array_equal(alignment.indices_along(0, 0, rows), np.repeat(np.arange(coarse), ratio)[:rows])


@given(start=st.integers(0, 200), stop=st.integers(0, 200), ratio=st.floats(0.05, 30), shift=st.floats(-500, 500))
def test_indices_do_not_depend_on_the_rows_read_together(start: int, stop: int, ratio: float, shift: float) -> None:
    alignment = alignment_of(grid((200, 200), 10), grid((77, 77), 10 * ratio, left=300_000 + shift))
    np.testing.assert_array_equal(
        alignment.indices_along(1, start, max(start, stop)), alignment.indices_along(1, 0, 200)[start:stop]
    )


def test_rotated_and_flipped_grids_have_no_alignment() -> None:
    here = grid((10, 10), 10)
    for transform in (here.transform @ Affine.rotation(10), here.transform @ Affine.scale(1, -1)):
        assert Alignment.of(here, Grid(shape=(10, 10), transform=transform, crs=WKT)) is None


@pytest.mark.parametrize("chunk", [64, 100, 1068])
def test_coarser_bands_of_a_real_chip_are_repeated_onto_its_grid(data: Path, chunk: int) -> None:
    folder = data / "scenes" / CHIP
    files = [str(folder / f"{band}.tif") for band in ("B02", "B8A", "B01", "B11", "B08")]
    source = opened(files, chunk)
    assert source.info.grid.shape == (1068, 1068)
    pixels, valid = whole(source)
    for plane, path, ratio in zip(pixels, files, (1, 2, 6, 2, 1), strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(plane, file.read(1).repeat(ratio, axis=0).repeat(ratio, axis=1))
    assert valid.all()


def test_files_resampled_alike_are_one_log_line(write_raster: WriteRaster, caplog: pytest.LogCaptureFixture) -> None:
    fine = write_raster("s_B02.tif", patches(1, (40, 40)))
    coarse = {"transform": Affine(25, 0, 300_000, 0, -25, 5_900_000)}
    others = [write_raster(f"s_{name}.tif", patches(1, (16, 16)), **coarse) for name in ("B05", "B06", "B07")]
    with caplog.at_level(logging.INFO, logger="pipeline.scenes"):
        described([str(path) for path in (fine, *others)])
    (line,) = [record.getMessage() for record in caplog.records if "resampled" in record.getMessage()]
    assert line.startswith(f"{others[0]} and 2 more: resampled (nearest neighbour) from 16 x 16 pixels")


def warped(path: Path, here: Grid, method: str, **settings: Any) -> npt.NDArray[Any]:
    """A band on another grid, as GDAL warps the whole of it."""
    with rasterio.open(path) as file, WarpedVRT(
        file, crs=here.crs, transform=here.transform, height=here.shape[0], width=here.shape[1],
        resampling=Resampling[method], tolerance=1e-12, add_alpha=True, **settings,
    ) as view:  # fmt: skip
        return np.asarray(view.read(1))


@pytest.mark.parametrize("method", ["bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "med"])
@pytest.mark.parametrize("band", ["B8A", "B01"])
def test_resampling_methods_match_gdal_for_every_chunk(data: Path, method: str, band: str) -> None:
    folder = data / "scenes" / CHIP
    files = [str(folder / f"{name}.tif") for name in ("B02", band)]
    resolution = 30 if method == "mode" else 10  # GDAL loops over all 65536 values for the mode of each pixel
    for chunk in (97, 512):
        source = opened(files, chunk, resolution=resolution, resampling={"default": "nearest", band: method})
        pixels, valid = whole(source)
        np.testing.assert_array_equal(pixels[1], warped(folder / f"{band}.tif", source.info.grid, method))
        assert valid.all()


@pytest.mark.parametrize("resolution", [20, 60, 30, 25, 10, 7.5])
def test_requested_resolution_is_that_of_the_scene(data: Path, resolution: float) -> None:
    folder = data / "scenes" / CHIP
    source = opened([str(folder / "B02.tif"), str(folder / "B8A.tif")], 89, resolution=resolution)
    side = -(-10_680 // resolution)
    assert source.info.grid.shape == (side, side)
    assert source.info.grid.resolution == (resolution, resolution)
    pixels, valid = whole(source)
    for plane, band in zip(pixels, ("B02", "B8A"), strict=True):
        expected = warped(folder / f"{band}.tif", source.info.grid, "nearest")
        covered = valid if 10_680 % resolution else slice(None)
        np.testing.assert_array_equal(plane[covered], expected[covered])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(40, 120), columns=st.integers(40, 120), chunk=st.integers(5, 130),
    shift=st.sampled_from([0, 10, -35, 12.5]), method=st.sampled_from(["nearest", "bilinear", "cubic"]),
    size=st.sampled_from([10, 20, 25, 60]),
)  # fmt: skip
def test_chunks_do_not_change_pixels(  # noqa: PLR0917
    write_raster: WriteRaster, rows: int, columns: int, chunk: int, shift: float, method: str, size: float
) -> None:
    fine, coarse = patches(1, (rows, columns)), patches(1, (rows // 3 + 1, columns // 3 + 1), seed=1)
    coarse[:, 3:6, 4:9] = 0
    files = [
        str(write_raster("s_B02.tif", fine, nodata=0)),
        str(
            write_raster("s_B05.tif", coarse, nodata=0, transform=Affine(size, 0, 300_000 + shift, 0, -size, 5_900_000))
        ),
    ]
    chunked, in_one = opened(files, chunk, resampling=method), opened(files, 4096, resampling=method)
    for found, expected in zip(whole(chunked), whole(in_one), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pixels_that_a_band_does_not_cover_are_nodata(write_raster: WriteRaster) -> None:
    one = write_raster("s_B02.tif", patches(1, (60, 80)))
    two = write_raster("s_B03.tif", patches(1, (60, 80)), transform=Affine(10, 0, 300_100, 0, -10, 5_899_950))
    pixels, valid = whole(opened([str(one), str(two)], 32))
    expected = np.zeros((60, 80), bool)
    expected[5:, 10:] = True
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(pixels[1, 5:, 10:], patches(1, (60, 80))[0, :55, :70])


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_files_in_another_crs_are_warped_and_logged(
    data: Path, write_raster: WriteRaster, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    folder = data / "scenes" / CHIP
    with rasterio.open(folder / "B8A.tif") as file:
        transform, width, height = calculate_default_transform(
            file.crs, "EPSG:32647", file.width, file.height, *file.bounds
        )
        profile = {"crs": "EPSG:32647", "transform": transform}
        with WarpedVRT(file, **profile, width=width, height=height, nodata=0) as view:
            other = write_raster("s_B8A.tif", view.read(), nodata=0, **profile)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        source = opened([str(folder / "B02.tif"), str(other)], 300, resampling=method)
    assert f"s_B8A.tif: warped ({method}) from" in caplog.text
    pixels, valid = whole(source)
    assert valid.mean() > 0.9
    expected = warped(other, source.info.grid, method, src_nodata=0, nodata=0)
    np.testing.assert_array_equal(pixels[1][valid], expected[valid])
    other_pixels, other_valid = whole(opened([str(folder / "B02.tif"), str(other)], 111, resampling=method))
    np.testing.assert_array_equal(pixels, other_pixels)
    np.testing.assert_array_equal(valid, other_valid)


def test_nodata_is_not_mixed_into_warped_pixels(write_raster: WriteRaster) -> None:
    coarse = np.full((1, 20, 20), 500, "uint16")
    coarse[:, :, 10:] = 0
    files = [
        str(write_raster("s_B02.tif", patches(1, (40, 40)))),
        str(write_raster("s_B05.tif", coarse, transform=Affine(20, 0, 300_000, 0, -20, 5_900_000))),
    ]
    pixels, valid = whole(opened(files, 16, resampling="bilinear", nodata=0))
    assert set(np.unique(pixels[1][valid])) == {500}
    assert valid[:, :20].all()
    assert not valid[:, 21:].any()


def test_file_without_crs_is_refused_next_to_one_with_a_crs(write_raster: WriteRaster) -> None:
    one = write_raster("s_B02.tif", patches(1))
    two = write_raster("s_B03.tif", patches(1, (50, 50)), crs=None, transform=Affine.identity())
    with pytest.raises(SceneError, match=r"B03 and B02 have different coordinate systems: .*50 x 50.*300 x 200"):
        described([one, two])


def test_files_that_do_not_overlap_are_refused(write_raster: WriteRaster) -> None:
    one = write_raster("s_B02.tif", patches(1))
    two = write_raster("s_B03.tif", patches(1), transform=Affine(10, 0, 400_000, 0, -10, 5_900_000))
    with pytest.raises(SceneError, match=r"B02 and B03 show different places: .*300000, 5900000.*400000, 5900000"):
        described([one, two])
    three = write_raster("s_B04.tif", patches(1), crs="EPSG:32720", transform=UTM["transform"])
    with pytest.raises(SceneError, match="different places"):
        described([one, three])


@pytest.mark.parametrize("resolution", [1e9, 1e-7])
def test_resolution_without_a_sensible_grid_is_refused(write_raster: WriteRaster, resolution: float) -> None:
    path = write_raster("scene.tif", patches(2))
    with pytest.raises(ConfigError, match=r"scene\.resolution: pixels of .* 300 x 200 pixels of 10"):
        described(path, resolution=resolution)


def test_resampling_of_an_unknown_band_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster("scene.tif", patches(2), bands=["B02", "B03"])
    with pytest.raises(ConfigError, match=r"scene\.resampling: there is no band 'B04'"):
        described(path, resampling={"B04": "bilinear"})


@pytest.mark.parametrize(("called", "name"), [(1, "B02"), ("3", "B08"), ("nir", "B08"), ("blue", "B02")])
def test_bands_to_resample_are_called_as_those_to_choose(write_raster: WriteRaster, called: object, name: str) -> None:
    path = write_raster("scene.tif", patches(3), bands=["B02", "B03", "B08"])
    chosen = described(path, bands=[called], resolution=20).info.bands
    assert chosen == (name,)
    one, other = (
        described(path, bands=["B08", "B02"], resolution=20, resampling={key: "average", "default": "mode"})
        for key in (called, name)
    )
    assert one.parts == other.parts
    methods = [part.warp.resampling for part in one.parts if part.warp]
    assert methods == (["average", "mode"] if name == "B08" else ["mode", "average"])


def test_numbers_of_bands_to_resample_are_those_of_the_product(tmp_path: Path) -> None:
    path = product(tmp_path, "one", layers())
    parts = [
        described(path, bands=["B08", "B02"], resolution=20, resampling={band: "average"}).parts
        for band in ("B02", 2, "B08", 8)
    ]
    assert parts[0] == parts[1] != parts[2] == parts[3]


def test_requested_resolution_of_a_coarser_band_takes_its_grid(data: Path) -> None:
    folder = data / "scenes" / CHIP
    scene = described([folder / "B02.tif", folder / "B8A.tif"], resolution=20)
    assert scene.parts[1].alignment is None
    assert same_grid(scene.info.grid, described(folder / "B8A.tif").info.grid)
    assert isinstance(RasterSource(scene, (64, 64)).passes, float)


@pytest.mark.parametrize("method", ["bilinear", "cubic", "lanczos"])
def test_area_of_interest_changes_no_warped_pixel(write_raster: WriteRaster, method: str) -> None:
    """The bands are in different UTM zones, so that GDAL would estimate another kernel for every block it warps."""
    noise = np.random.default_rng(3).integers(1, 5000, (1, 420, 420)).astype("uint16")
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    here = write_raster("s_B02.tif", patches(1, (400, 400)), crs="EPSG:32633", **tiles, transform=Affine(
        10, 0, 300_000, 0, -10, 5_900_000))  # fmt: skip
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:32633", "EPSG:32632", [300_000], [5_900_000])
    other = write_raster(
        "s_B03.tif", noise, crs="EPSG:32632", transform=Affine(10, 0, round(x) - 300, 0, -10, round(y) + 100)
    )
    files = [str(here), str(other)]
    whole_scene = opened(files, 128, resampling=method)
    pixels, valid = whole(whole_scene)
    cut = opened(
        files, 64, resampling=method, aoi={"bounds": [301_500, 5_897_000, 302_700, 5_898_100], "crs": "EPSG:32633"}
    )
    inner, ok = whole(cut)
    column, row = ~whole_scene.info.grid.transform @ (cut.info.grid.transform.c, cut.info.grid.transform.f)
    rows, columns = (
        slice(round(start), round(start) + size) for start, size in ((row, ok.shape[0]), (column, ok.shape[1]))
    )
    np.testing.assert_array_equal(inner, pixels[:, rows, columns])
    assert (ok <= valid[rows, columns]).all()
    assert ok.any()


def test_warped_pixels_are_cached_in_large_blocks(write_raster: WriteRaster) -> None:
    """With the blocks of a file in strips of one row, each row of the map would be a cache file."""
    one = write_raster("s_B02.tif", patches(1))
    two = write_raster("s_B05.tif", patches(1, (100, 150)), transform=Affine(20, 0, 300_000, 0, -20, 5_900_000),
                       blockysize=1)  # fmt: skip
    assert described([one, two], resampling="bilinear").parts[1].block_shape == (512, 512)
