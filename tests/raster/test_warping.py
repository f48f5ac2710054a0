"""Bands in other coordinate systems: pixels are where PROJ puts them, and nodata stays nodata."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from affine import Affine
from conftest import UTM, WriteRaster, patches
from sources import described, opened, whole

from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid


def of_quarter_degrees(
    west: float, columns: int, rows: int = 720, north: float = 90
) -> tuple[npt.NDArray[Any], Affine]:
    """Pixels of 0.25 degrees whose values encode their position, shape (1, rows, columns), and their transform."""
    positions = np.arange(rows)[:, np.newaxis] * 1440 + np.arange(columns) + round(west * 4)
    return (positions % 60_000 + 1)[np.newaxis].astype("uint16"), Affine.translation(west, north) @ Affine.scale(
        0.25, -0.25
    )


def expected(grid: Grid, pixels: npt.NDArray[Any], transform: Affine) -> npt.NDArray[Any]:
    """Value under the centre of each of a grid's pixels, located by PROJ; 0 outside."""
    rows, columns = np.indices(grid.shape) + 0.5
    x, y = grid.transform @ (columns, rows)
    lon, lat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    west = transform.c
    column = ((np.asarray(lon) - west) % 360 / transform.a).astype(int)
    row = np.floor((np.asarray(lat) - transform.f) / transform.e).astype(int)
    inside = (column < pixels.shape[2]) & (row >= 0) & (row < pixels.shape[1])
    return np.where(inside, pixels[0][row.clip(0, pixels.shape[1] - 1), column.clip(0, pixels.shape[2] - 1)], 0)


ACROSS_180 = {"crs": "EPSG:32760", "transform": Affine(1000, 0, 700_000, 0, -1000, 8_100_000)}
SCENES = {
    "the file's middle is outside the CRS": {"crs": "EPSG:32645", "transform": Affine(100, 0, 5e5, 0, -100, 25e5)},
    "west of Greenwich": {"crs": "EPSG:32720", "transform": Affine(100, 0, 5e5, 0, -100, 8e6)},
    "across the antimeridian": ACROSS_180,
    "across Greenwich": {"crs": "EPSG:32631", "transform": Affine(1000, 0, 100_000, 0, -1000, 5_900_000)},
    "around the pole": {"crs": "EPSG:3413", "transform": Affine(20_000, 0, -3e6, 0, -20_000, 3e6)},
    "degrees": {"crs": "EPSG:4326", "transform": Affine(0.1, 0, -30.03, 0, -0.1, 10)},
}


@pytest.mark.parametrize("west", [-180, 0, -0.25])
@pytest.mark.parametrize("where", SCENES)
def test_longitudes_of_a_world_map_may_start_anywhere(write_raster: WriteRaster, west: float, where: str) -> None:
    pixels, transform = of_quarter_degrees(west, 1440)
    scene = write_raster("s_B02.tif", patches(1), **SCENES[where])
    world = write_raster("s_B03.tif", pixels, crs="EPSG:4326", transform=transform)
    source = opened([scene, world], 64)
    data, valid = whole(source)
    assert valid.all()
    differ = data[1] != expected(source.info.grid, pixels, transform)
    assert differ.mean() < 1e-4  # a position between two pixels may be rounded to either


def test_file_may_extend_beyond_180_degrees(write_raster: WriteRaster) -> None:
    pixels, transform = of_quarter_degrees(178, 12, rows=12, north=-16)
    scene = write_raster("s_B02.tif", patches(1), **ACROSS_180)
    beyond = write_raster("s_B03.tif", pixels, crs="EPSG:4326", transform=transform)
    source = opened([scene, beyond], 64)
    data, valid = whole(source)
    inside = expected(source.info.grid, pixels, transform)
    assert 0 < valid.mean() < 1
    assert (valid != (inside > 0)).mean() < 1e-3
    assert (data[1][valid] != inside[valid]).mean() < 1e-3


def test_file_across_180_degrees_keeps_its_datum(write_raster: WriteRaster) -> None:
    """Longitudes of Pulkovo 1942 differ by more than 100 m from those of WGS 84."""
    pixels = np.arange(1, 40_001, dtype="uint16").reshape(1, 200, 200)
    transform = Affine(0.001, 0, 179.9, 0, -0.001, 65)
    scene = write_raster("s_B02.tif", patches(1), crs="EPSG:32660",
                         transform=Affine(25, 0, 637_000, 0, -25, 7_207_000))  # fmt: skip
    beyond = write_raster("s_B03.tif", pixels, crs="EPSG:4284", transform=transform)
    source = opened([scene, beyond], 64)
    data, valid = whole(source)
    rows, columns = np.indices(valid.shape) + 0.5
    x, y = source.info.grid.transform @ (columns, rows)
    lon, lat = pyproj.Transformer.from_crs("EPSG:32660", "EPSG:4284", always_xy=True).transform(x, y)
    column, row = ~transform @ (np.asarray(lon) % 360, np.asarray(lat))
    inside = (column >= 0) & (column < 200) & (row >= 0) & (row < 200)
    assert valid.mean() > 0.5
    assert (valid != inside).mean() < 1e-2
    found = pixels[0][row.clip(0, 199).astype(int), column.clip(0, 199).astype(int)]
    assert (data[1] != found)[valid & inside].mean() < 1e-2


@pytest.mark.parametrize(("resolution", "rows"), [(25_000, 41), (80_000, 40)])
@pytest.mark.parametrize("crs", ["+proj=laea +lat_0=50 +lon_0=180", "EPSG:3413"])
def test_area_of_interest_at_the_antimeridian_or_a_pole_changes_no_pixel(
    write_raster: WriteRaster, crs: str, resolution: int, rows: int
) -> None:
    noise = np.random.default_rng(0).integers(1, 60_000, (1, 720, 1440)).astype("uint16")
    world = write_raster("s_B03.tif", noise, crs="EPSG:4326", transform=Affine(0.25, 0, -180, 0, -0.25, 90))
    corner = rows / 2 * resolution
    transform = Affine(resolution / 100, 0, -corner, 0, -resolution / 100, corner)
    scene = write_raster("s_B02.tif", patches(1, (rows, rows)), crs=crs,
                         transform=transform @ Affine.scale(100))  # fmt: skip
    source = opened([scene, world], 64, resampling="bilinear", resolution=resolution)
    warp = source._scene.parts[1].warp
    assert warp.steps[1] < 40 * resolution / 25_000
    data, _ = whole(source)
    area = {"bounds": [-corner, -corner, 0, corner / 2], "crs": crs}
    cut = opened([scene, world], 64, resampling="bilinear", resolution=resolution, aoi=area)
    inner, _ = whole(cut)
    column, row = ~source.info.grid.transform @ (cut.info.grid.transform.c, cut.info.grid.transform.f)
    top, left = round(row), round(column)
    np.testing.assert_array_equal(inner, data[:, top : top + inner.shape[1], left : left + inner.shape[2]])


@pytest.mark.parametrize("zone", [31, 49])
def test_kernel_width_is_that_at_the_position_of_the_scene(write_raster: WriteRaster, zone: int) -> None:
    """Not that in the middle of the file, which is at the edge of the domain of UTM."""
    pixels, transform = of_quarter_degrees(-180, 1440)
    world = write_raster("s_B03.tif", pixels, crs="EPSG:4326", transform=transform)
    scene = write_raster("s_B02.tif", patches(1), crs=f"EPSG:326{zone}",
                         transform=Affine(5000, 0, 200_000, 0, -5000, 1_000_000))  # fmt: skip
    warp = described([scene, world], resampling="average").parts[1].warp
    assert warp is not None
    ground = 0.25 * math.pi / 180 * 6_371_000
    assert warp.steps == pytest.approx((5000 / ground, 5000 / ground), rel=0.03)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average"])
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", -9999), ("float32", math.nan)]
)
def test_nodata_of_one_band_is_not_mixed_into_pixels(
    write_raster: WriteRaster, method: str, dtype: str, nodata: float
) -> None:
    pixels = np.full((2, 200, 300), 100, dtype)
    pixels[np.random.default_rng(0).random(pixels.shape) < 0.05] = nodata
    scene = write_raster("s_B02.tif", patches(1))
    two = write_raster("two.tif", pixels, crs="EPSG:32632", nodata=nodata,
                       transform=Affine(10, 0, 700_000, 0, -10, 5_901_500))  # fmt: skip
    data, valid = whole(opened([scene, two], 64, resampling=method))
    assert 0.15 < valid.mean() < 1
    assert set(np.unique(data[1:, valid])) == {100}


def test_mask_of_a_single_band_is_refused_if_gdal_would_lose_it(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("s_B02.tif", patches(1))
    for name, pixels in (("pixels.tif", patches(2)), ("mask.tif", np.full((1, 200, 300), 255, "uint8"))):
        write_raster(name, pixels, crs="EPSG:32632", transform=Affine(10, 0, 700_000, 0, -10, 5_901_500))
    band = """<VRTRasterBand dataType="UInt16" band="{i}"><Description>{i}</Description>
        <SimpleSource><SourceFilename relativeToVRT="1">pixels.tif</SourceFilename><SourceBand>{i}</SourceBand>
        </SimpleSource><MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>
        <SourceFilename relativeToVRT="1">mask.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
        </VRTRasterBand></MaskBand></VRTRasterBand>"""
    with rasterio.open(tmp_path / "pixels.tif") as file:
        numbers = ", ".join(map(str, file.transform.to_gdal()))
        georeference = f"<SRS>{file.crs.to_wkt()}</SRS><GeoTransform>{numbers}</GeoTransform>"
    bands = "".join(band.format(i=i) for i in (1, 2))
    virtual = tmp_path / "masked.vrt"
    virtual.write_text(f'<VRTDataset rasterXSize="300" rasterYSize="200">{georeference}{bands}</VRTDataset>')
    assert described(virtual).parts[0].masks == (1, 2)
    with pytest.raises(SceneError, match=r"masked\.vrt: band 1 has a mask of its own"):
        described([scene, virtual])


def test_requested_resolution_does_not_take_the_grid_of_a_partial_file(write_raster: WriteRaster) -> None:
    scene = write_raster("s_B02.tif", patches(1))
    part = write_raster("s_B03.tif", patches(1, (30, 30)), transform=UTM["transform"] @ Affine.scale(2))
    degrees = write_raster("s_B04.tif", patches(1, (1000, 1200)), crs="EPSG:4326",
                           transform=Affine(0.00005, 0, 11.99, 0, -0.00005, 53.26))  # fmt: skip
    assert described([scene, part], resolution=20).info.grid.shape == (100, 150)
    full = write_raster("s_B05.tif", patches(1, (101, 151)), transform=UTM["transform"] @ Affine.scale(2))
    assert described([scene, part, full], resolution=20).info.grid.shape == (101, 151)
    for files in ([degrees, part], [part, degrees]):
        assert described(files, resolution=20).info.grid.shape == (30, 30)


@pytest.mark.parametrize("west", [-180, 0])
def test_longitudes_of_a_world_mask_may_start_anywhere(write_raster: WriteRaster, west: float) -> None:
    mask = np.ones((1, 360, 720), "uint8")
    mask[0, :, 300 if west else 660 :] = 0  # from 30 degrees west
    scene = write_raster("s_B02.tif", patches(1), crs="EPSG:32625",
                         transform=Affine(5000, 0, 200_000, 0, -5000, 1_000_000))  # fmt: skip
    world = write_raster("world.tif", mask, crs="EPSG:4326", transform=Affine(0.5, 0, west, 0, -0.5, 90))
    source = opened(scene, 64, mask={"path": str(world), "keep": [1]})
    _, valid = whole(source)
    rows, columns = np.indices(valid.shape) + 0.5
    x, y = source.info.grid.transform @ (columns, rows)
    lon, _ = pyproj.Transformer.from_crs("EPSG:32625", "EPSG:4326", always_xy=True).transform(x, y)
    expected_valid = np.asarray(lon) < -30
    assert 0 < expected_valid.mean() < 1
    assert (valid != expected_valid).mean() < 1e-3
