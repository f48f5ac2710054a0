"""Bands on a coarse grid are pixels of the scene at the right place, with physical values and validity."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from conftest import UTM, WriteRaster
from rasterio.enums import Resampling
from sources import described

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.choose_bands import catalogues_of, choose_bands
from pipeline.scenes.coarse import read_coarse

STEP = 8


def bands_of(path: Path) -> list[FileBand]:
    config = SceneConfig(source=[str(path)], bands="all")
    (bands,) = choose_bands(catalogues_of(config), config)
    return bands


def ramp(rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Each pixel says its row and its column."""
    return np.stack([
        np.arange(rows)[:, None] + np.zeros(columns, int), np.arange(columns) + np.zeros((rows, 1), int),
    ]).astype(np.uint16)  # fmt: skip


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("shift", [(0, 0), (40, 72), (-24, -16), (300, 500)])
def test_pixels_are_those_of_the_ground_that_the_grid_covers(
    write_raster: WriteRaster, *, tiled: bool, shift: tuple[int, int]
) -> None:
    path = write_raster("a.tif", ramp(400, 600), tiled=tiled, blockxsize=64, blockysize=64 if tiled else 1)
    if tiled:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8], Resampling.nearest)
    grid = described(path).info.grid
    coarse = Grid(
        shape=(20, 30), crs=grid.crs,
        transform=grid.transform @ Affine.translation(shift[1], shift[0]) @ Affine.scale(STEP),
    )  # fmt: skip
    pixels, valid = read_coarse(bands_of(path), coarse)
    rows = shift[0] + STEP * (np.arange(20) + 0.5)
    columns = shift[1] + STEP * (np.arange(30) + 0.5)
    inside = ((rows >= 0) & (rows < 400))[:, None] & ((columns >= 0) & (columns < 600))
    np.testing.assert_array_equal(valid, inside)
    np.testing.assert_allclose(pixels[0][inside], np.broadcast_to(rows[:, None], (20, 30))[inside], atol=STEP)
    np.testing.assert_allclose(pixels[1][inside], np.broadcast_to(columns, (20, 30))[inside], atol=STEP)


def test_values_are_physical_and_nodata_is_not_valid(write_raster: WriteRaster) -> None:
    pixels = np.full((1, 60, 60), 3000, np.uint16)
    pixels[:, :30] = 7
    path = write_raster("a.tif", pixels, nodata=7)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.0001,), (-0.1,)
    grid = described(path).info.grid
    values, valid = read_coarse(bands_of(path), Grid(shape=(60, 60), crs=grid.crs, transform=grid.transform))
    np.testing.assert_array_equal(valid, pixels[0] != 7)
    np.testing.assert_allclose(values[0][valid], 0.2)


def test_bands_of_other_resolutions_lie_on_each_other(write_raster: WriteRaster) -> None:
    fine = ramp(120, 120)[:1]
    write_raster("s_B02.tif", fine)
    path = write_raster("s_B11.tif", fine[:, ::2, ::2], transform=UTM["transform"] @ Affine.scale(2))
    config = SceneConfig(source=[str(path.parent / "s_B02.tif"), str(path)], bands="all")
    (bands,) = choose_bands(catalogues_of(config), config)
    grid = Grid(shape=(12, 12), crs=bands[0].grid.crs, transform=bands[0].grid.transform @ Affine.scale(10))
    pixels, valid = read_coarse(bands, grid)
    assert valid.all()
    np.testing.assert_allclose(pixels[0], pixels[1], atol=2)


def test_another_crs_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster("a.tif", ramp(40, 60))
    grid = described(path).info.grid
    other = Grid(shape=(20, 30), crs=rasterio.CRS.from_epsg(32634).to_wkt(), transform=grid.transform)
    with pytest.raises(SceneError, match=r"a\.tif: its coordinate reference system is not that of the map"):
        read_coarse(bands_of(path), other)
