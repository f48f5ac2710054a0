"""Pixel areas: from the plane of an equal-area projection, else on the ellipsoid, row by row."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from conftest import WriteRaster, patches
from pyproj import CRS as PROJ_CRS
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from runs import config

from pipeline.core.grid import Grid
from pipeline.geo.pixel_areas import middle_pixel_area, pixel_areas
from pipeline.jobs.run import run_config
from pipeline.kernels.areas import class_areas

UTM33 = Affine(10, 0, 500_000, 0, -10, 5_900_000)
DEGREES = CRS.from_epsg(4326).to_wkt()
LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'
SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m"
GEOSTATIONARY = "+proj=geos +h=35785831 +lon_0=0 +units=m"


def grid_of(crs: Any, transform: Affine, shape: tuple[int, int] = (100, 80)) -> Grid:
    return Grid(shape=shape, transform=transform, crs=CRS.from_user_input(crs).to_wkt() if crs else None)


def hectares_on_the_ellipsoid(grid: Grid, row: float, column: float) -> float:
    """Area of a pixel on the ellipsoid in hectares, by pyproj, with densified edges along rows and columns."""
    along = np.linspace(0, 1, 33)
    square = [(along, 0 * along), (0 * along + 1, along), (1 - along, 0 * along + 1), (0 * along, 1 - along)]
    x, y = (np.concatenate([side[axis] for side in square]) for axis in (0, 1))
    crs = PROJ_CRS.from_wkt(str(grid.crs))
    t = grid.transform
    points = (t.c + t.a * (column + x) + t.b * (row + y), t.f + t.d * (column + x) + t.e * (row + y))
    lon, lat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(*points)
    degrees = np.degrees(crs.geodetic_crs.axis_info[0].unit_conversion_factor)
    geod = crs.get_geod()
    assert geod is not None
    area, _ = geod.polygon_area_perimeter(np.asarray(lon) * degrees, np.asarray(lat) * degrees)
    return abs(area) / 10_000


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (32633, UTM33),
        (32633, UTM33 @ Affine.rotation(30) @ Affine.scale(2, 0.5)),
        (32733, Affine(20, 0, 300_000, 0, -20, 7_000_000)),
        (3035, Affine(25, 0, 4_321_000, 0, -25, 3_210_000)),  # an equal-area grid of Europe
        (6933, Affine(100, 0, 1_500_000, 0, -100, 5_000_000)),  # equal-area grid of the world, at 50 degrees north
        (6933, Affine(250_000, 0, -17_367_530, 0, -73_000, 7_314_540)),  # the whole world, coarse
        (SINUSOIDAL, Affine(500, 0, 0, 0, -500, 5_559_752)),
        (27700, Affine(5, 0, 400_000, 0, -5, 300_000)),
        (2263, Affine(100, 0, 1_000_000, 0, -100, 200_000)),  # in feet
        (3857, Affine(10, 0, 0, 0, -10, 50_000)),  # Web Mercator at the equator
        (3413, Affine(10, 0, 300_000, 0, -10, -2_000_000)),  # polar, near its true latitude
    ],
)  # fmt: skip
def test_equal_area_projection_gives_areas_in_its_own_units(crs: Any, transform: Affine) -> None:
    grid = grid_of(crs, transform)
    (unit,) = {axis.unit_conversion_factor for axis in PROJ_CRS.from_user_input(crs).axis_info}
    found = pixel_areas(grid)
    assert found.hectares == abs(transform.determinant) * unit**2 / 10_000
    assert found.hectares == pytest.approx(hectares_on_the_ellipsoid(grid, 50, 40), rel=0.02)
    assert found.reason == ""


ROW_BY_ROW = [
    (4326, Affine(1e-4, 0, 15, 0, -1e-4, 53)),
    (4326, Affine(1e-4, 0, 15, 0, -1e-4, 0)),
    (4326, Affine(0.01, 0, 179.5, 0, -0.01, -40)),  # across the antimeridian
    (4326, Affine(0.5, 0, -20, 0, 0.5, 20)),  # rows from south to north
    (4326, Affine(0.1, 0.02, 15, 0, -0.1, 53)),  # sheared: columns are oblique, but areas are the same
    (4326, Affine(4.5, 0, -180, 0, -1.8, 90)),  # the whole Earth
    (4267, Affine(0.01, 0, -100, 0, -0.01, 40)),  # another ellipsoid
    (4807, Affine(0.01, 0, 2, 0, -0.01, 50)),  # in grads, from Paris
    ("+proj=longlat +R=3396190", Affine(0.05, 0, 137, 0, -0.05, -4)),  # on Mars
    (3857, Affine(10, 0, 1_000_000, 0, -10, 8_400_000)),  # Web Mercator at 60 degrees north
    (3857, Affine(10, 0, 1_000_000, 0, -10, -1_500_000)),  # and at 13 degrees south
    (3857, Affine(500_000, 0, -20_000_000, 0, -400_000, 20_000_000)),  # and the whole world, undistorted in its middle
    (3395, Affine(10, 0, 1_000_000, 0, -10, 8_400_000)),
    (4087, Affine(1000, 0, 0, 0, -1000, 6_000_000)),
]  # fmt: skip


@pytest.mark.parametrize(("crs", "transform"), ROW_BY_ROW)
def test_pixels_between_parallels_have_their_area_on_the_ellipsoid(crs: Any, transform: Affine) -> None:
    grid = grid_of(crs, transform)
    found = pixel_areas(grid)
    assert found.hectares is None
    assert found.rows is not None
    assert found.rows.shape == (100,)
    for row in (0, 1, 37, 99):
        true = hectares_on_the_ellipsoid(grid, row, 40)
        assert found.rows[row] == pytest.approx(true, rel=2e-6, abs=2e-5)  # the oracle is exact to 0.1 square metres


def test_areas_of_a_global_grid_add_up_to_the_earth() -> None:
    found = pixel_areas(
        grid_of(4326, Affine(0.25, 0, -180.125, 0, -0.25, 90.125), (721, 1440))
    )  # pixel centres on the poles
    octant, _ = Geod(ellps="WGS84").polygon_area_perimeter([0, 90, 0], [0, 0, 90])
    assert found.rows is not None
    assert found.rows.sum() * 1440 == pytest.approx(8 * octant / 10_000, rel=1e-12)


@pytest.mark.parametrize("crs", ["EPSG:3413", GEOSTATIONARY, 32633])
def test_areas_of_a_distorting_projection_are_unknown(crs: Any) -> None:
    origin = (3_000_000, 4_000_000) if crs != 32633 else (3_000_000, 5_900_000)
    found = pixel_areas(grid_of(crs, Affine(1000, 0, origin[0], 0, -1000, origin[1])))
    assert found.hectares is found.rows is None
    assert "stretches areas" in found.reason


@pytest.mark.parametrize(
    ("crs", "transform", "reason"),
    [
        (None, UTM33, "no coordinate reference system"),
        (LOCAL, UTM33, "not tied to the Earth"),
        (4326, Affine(0.1, 0.01, 15, 0.01, -0.1, 53), "rows of the grid are not parallels"),
        (4326, Affine.identity(), "beyond a pole"),
        (32633, Affine(10, 0, 1e9, 0, -10, 5e9), "outside the CRS"),
        (32633, Affine(10, 0, 500_000, 0, 0, 5_900_000), "outside the CRS"),
    ],
)
def test_unknown_areas_have_a_reason(crs: Any, transform: Affine, reason: str) -> None:
    found = pixel_areas(grid_of(crs, transform))
    assert found.hectares is found.rows is None
    assert reason in found.reason


def test_areas_with_a_rotated_pole_are_those_on_a_sphere() -> None:
    """Within 1 % of the area on the ellipsoid."""
    crs = "+proj=ob_tran +o_proj=longlat +o_lon_p=-162 +o_lat_p=39.25 +lon_0=180 +to_meter=0.0174532925199433"
    found = pixel_areas(grid_of(crs, Affine(0.1, 0, -4, 0, -0.1, 5)))
    assert found.rows is not None
    true = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    for row in (0, 50, 99):
        corners = true.transform([0, 0.1, 0.1, 0], [5 - row / 10 - y for y in (0, 0, 0.1, 0.1)])
        area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*corners)
        assert found.rows[row] == pytest.approx(abs(area) / 10_000, rel=0.01)


@pytest.mark.parametrize("latitude", [0, 50, -75])
def test_middle_pixel_in_degrees_has_the_area_of_proj(latitude: int) -> None:
    grid = Grid(shape=(2, 2), transform=Affine(0.001, 0, 20, 0, -0.001, latitude + 0.001), crs=DEGREES)
    assert middle_pixel_area(grid) == pytest.approx(1e4 * hectares_on_the_ellipsoid(grid, 1, 0), rel=1e-5)


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:32633", 1), ("EPSG:2225", 1200 / 3937), (LOCAL, 1), (None, 1)])
def test_middle_pixel_area_is_in_square_metres_for_any_unit(crs: str | None, metres: float) -> None:
    grid = Grid(shape=(2, 2), transform=Affine(3, 0, 0, 0, -2, 0), crs=crs and CRS.from_user_input(crs).to_wkt())
    assert middle_pixel_area(grid) == pytest.approx(6 * metres**2)


def test_areas_per_class_are_added_up_exactly() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 255, (70, 90), np.uint8)
    areas = rng.integers(0, 2**53, 70, np.int64)
    found = class_areas(labels, areas, 255)
    for label in range(255):
        assert found[label] == sum(
            int(area) * int((row == label).sum()) for row, area in zip(labels, areas, strict=True)
        )


@pytest.mark.parametrize(
    "profile",
    [
        {"crs": "EPSG:4326", "transform": Affine(0.01, 0, 13, 0, -0.01, 71)},
        {"crs": "EPSG:3857", "transform": Affine(1000, 0, 1_000_000, 0, -1000, 8_400_000)},
    ],
    ids=["degrees", "Web Mercator"],
)
def test_run_reports_the_area_per_class_for_any_chunk_and_number_of_workers(
    write_raster: WriteRaster, tmp_path: Path, profile: dict[str, Any]
) -> None:
    path = write_raster("scene.tif", patches(3, (150, 120)), tiled=True, blockxsize=16, blockysize=16, **profile)
    tables = []
    for chunk, workers in ((150, 1), (16, 3), (48, 2)):
        labels = tmp_path / f"{chunk}.tif"
        report = run_config(config(path, labels, fit={"k": 4}, run={"chunk": chunk, "workers": workers}))
        tables.append(labels.with_suffix(".csv").read_text())
        assert report["area_note"] == ""
    assert len(set(tables)) == 1
    with rasterio.open(labels) as file:
        classes, grid = file.read(1), Grid(shape=file.shape, transform=file.transform, crs=file.crs.to_wkt())
    area_of_pixel = np.array([hectares_on_the_ellipsoid(grid, row, 0) for row in range(150)])
    rows = list(csv.DictReader(tables[0].splitlines()))
    for label, row in enumerate(rows, start=1):
        expected = float(((classes == label).sum(axis=1) * area_of_pixel).sum())
        assert float(row["area_ha"]) == pytest.approx(expected, rel=1e-6)
        assert report["classes"][label - 1]["area_ha"] == pytest.approx(expected, rel=1e-6)
    assert sum(float(row["area_ha"]) for row in rows) == pytest.approx(
        float((area_of_pixel * (classes > 0).sum(axis=1)).sum())
    )


def test_run_reports_why_areas_are_unknown(write_raster: WriteRaster, tmp_path: Path) -> None:
    georeference = {"crs": GEOSTATIONARY, "transform": Affine(3000, 0, 3_000_000, 0, -3000, 4_000_000)}
    path = write_raster("scene.tif", patches(3, (60, 80)), **georeference)
    report = run_config(config(path, tmp_path / "map.tif", fit={"k": 3}))
    assert {entry["area_ha"] for entry in report["classes"]} == {None}
    assert "stretches areas" in report["area_note"]
