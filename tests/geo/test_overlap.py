"""Overlap of grids, relative pixel sizes, and the choice of the finest band."""

import logging
from pathlib import Path

import pytest
import rasterio
import shapely
from affine import Affine
from conftest import WriteRaster, patches
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from sources import described

from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.geo.overlap import bounds_in, coverage, overlap, steps_between
from pipeline.jobs.inspect import inspect_scene

METRES, DEGREES = (CRS.from_epsg(code).to_wkt() for code in (32633, 4326))
LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'
NORTH_UP = Affine(0.001, 0, 11.99, 0, -0.001, 53.26)
"""Grid in degrees, whose first 60 rows and 80 columns contain the extent of `patches` on the grid `UTM`."""

transforms = st.builds(
    lambda x, y, angle, size: Affine.translation(x, y) @ Affine.rotation(angle) @ Affine.scale(size, -size),
    st.floats(-50, 50), st.floats(-50, 50), st.sampled_from([0, 30, 45, 90, 180]), st.floats(0.5, 3),
)  # fmt: skip
"""Grids shifted, rotated and scaled."""

quarters = st.integers(-160, 160).map(lambda n: n / 4)
"""Multiples of a quarter of a pixel."""


@given(transforms, quarters, quarters, st.sampled_from([0.5, 1, 2.25]), st.sampled_from([None, METRES]))
def test_coverage_of_equally_rotated_grids_is_the_area_of_their_intersection(
    transform: Affine, down: float, right: float, size: float, crs: str | None
) -> None:
    """The oracle is shapely in pixel coordinates, where neither grid is rotated, so that rounding loses no sliver."""
    one = Grid(shape=(20, 30), transform=transform, crs=crs)
    other = Grid(shape=(25, 15), transform=transform @ Affine.translation(right, down) @ Affine.scale(size), crs=crs)
    pixels = shapely.box(0, 0, 30, 20), shapely.box(right, down, right + 15 * size, down + 25 * size)
    assert coverage(one, other) == pytest.approx(shapely.intersection(*pixels).area / 600, abs=1e-9)
    assert coverage(one, one) == pytest.approx(1)


def test_coverage_of_a_grid_without_crs_and_one_with_crs_is_zero() -> None:
    one, other = (Grid(shape=(2, 2), transform=Affine.identity(), crs=crs) for crs in (None, DEGREES))
    assert coverage(one, other) == coverage(other, one) == 0


@pytest.mark.parametrize(
    ("left", "top", "share"),
    [(300_000, 5_900_000, 100), (301_500, 5_900_000, 50), (301_650, 5_900_000, 45), (302_700, 5_898_500, 2.5)],
)
def test_file_that_covers_little_of_the_scene_is_warned_of(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture, left: float, top: float, share: float
) -> None:
    """The scene has 300 x 200 pixels of 10 m from 300000, 5900000."""
    files = [
        write_raster("s_B02.tif", patches(1)),
        write_raster("s_B03.tif", patches(1), transform=Affine(10, 0, left, 0, -10, top)),
    ]
    with caplog.at_level(logging.WARNING):
        described(files)
    warnings = [record.message for record in caplog.records if "covers" in record.message]
    assert len(warnings) == (share < 50)
    assert all(f"s_B03.tif covers {share:g}% of the scene" in message for message in warnings)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        described(files, aoi={"bounds": [302_800, 5_898_100, 302_900, 5_898_400], "crs": "EPSG:32633"})
    assert "covers" not in caplog.text  # the file may cover all of the area of interest


def test_coarser_band_and_band_in_another_crs_cover_the_scene(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    one = write_raster("s_B02.tif", patches(1))
    two = write_raster("s_B05.tif", patches(1, (100, 150)), transform=Affine(20, 0, 300_000, 0, -20, 5_900_000))
    three = write_raster("s_B06.tif", patches(1, (60, 80)), crs="EPSG:4326", transform=NORTH_UP)
    with caplog.at_level(logging.WARNING):
        described([one, two, three])
    assert "covers" not in caplog.text


def finest(files: list[Path]) -> Path:
    """The file whose grid is that of a scene of these files; `inspect` must agree."""
    grid, inspected = described(files).info.grid, inspect_scene([str(file) for file in files])
    assert (inspected.rows, inspected.columns) == grid.shape
    assert inspected.resolution == grid.resolution
    for path in files:
        with rasterio.open(path) as file:
            if file.shape == grid.shape and file.transform == grid.transform:
                return path
    pytest.fail("the grid of the scene is not that of one of its files")


def test_finest_band_has_the_smallest_pixels_on_the_ground_in_any_units(write_raster: WriteRaster) -> None:
    """0.001 degrees is more than 10 metres."""
    metres = write_raster("s_B02.tif", patches(1))
    coarse = write_raster("s_B06.tif", patches(1, (60, 80)), crs="EPSG:4326", transform=NORTH_UP)
    fine = write_raster("s_B07.tif", patches(1, (1000, 1200)), crs="EPSG:4326",
                        transform=NORTH_UP @ Affine.scale(1 / 20))  # fmt: skip
    assert finest([metres, coarse]) == finest([coarse, metres]) == metres
    assert finest([metres, coarse, fine]) == fine


def test_first_of_equally_fine_bands_defines_the_grid(write_raster: WriteRaster) -> None:
    """Pixels of 10 m in two UTM zones, and of the same size in degrees at two latitudes."""
    east = write_raster("s_B02.tif", patches(1))
    west = write_raster("s_B03.tif", patches(1, (250, 350)), crs="EPSG:32632",
                        transform=Affine(10, 0, 700_000, 0, -10, 5_901_000))  # fmt: skip
    assert finest([east, west]) == east
    assert finest([west, east]) == west
    south = write_raster("s_B05.tif", patches(1, (60, 80)), crs="EPSG:4326", transform=NORTH_UP)
    north = write_raster("s_B06.tif", patches(1, (61, 81)), crs="EPSG:4326",
                         transform=Affine.translation(0, 0.03) @ NORTH_UP)  # fmt: skip
    assert finest([south, north]) == south


def test_world_map_is_accepted_next_to_a_scene_in_utm(write_raster: WriteRaster) -> None:
    """The poles are outside the domain of UTM."""
    scene = write_raster("s_B02.tif", patches(1))
    world = write_raster("s_B03.tif", patches(1, (360, 720)), crs="EPSG:4326",
                         transform=Affine(0.5, 0, -180, 0, -0.5, 90))  # fmt: skip
    assert finest([scene, world]) == finest([world, scene]) == scene


def test_pixels_below_the_rounding_of_coordinates_are_refused(write_raster: WriteRaster) -> None:
    """Neighbouring pixels have the same coordinates."""
    path = write_raster("s_B02.tif", patches(1), transform=Affine(1e-13, 0, 3e5, 0, -1e-13, 5.9e6))
    with pytest.raises(
        SceneError, match=r"s_B02\.tif: its geotransform is .* smaller than the rounding of coordinates there"
    ):
        described(path)


def test_file_in_a_local_crs_does_not_overlap(write_raster: WriteRaster) -> None:
    one = write_raster("s_B02.tif", patches(1))
    two = write_raster("s_B03.tif", patches(1), crs=LOCAL)
    with pytest.raises(SceneError, match="different places"):
        described([one, two])


def test_grids_overlap_across_the_antimeridian() -> None:
    utm = Grid(shape=(100, 100), transform=Affine(1000, 0, 780_000, 0, -1000, 8_100_000),
               crs=CRS.from_epsg(32760).to_wkt())  # fmt: skip
    degrees = CRS.from_epsg(4326).to_wkt()
    west, _, east, _ = bounds_in(utm, degrees)
    assert west < 180 < east < 182
    for left in (-179.9, 179.9):
        there = Grid(shape=(10, 10), transform=Affine(0.01, 0, left, 0, -0.01, -17.5), crs=degrees)
        assert overlap(there, utm)
        assert overlap(utm, there)
        assert all(0 < step < 1000 for step in steps_between(utm, there))
    far = Grid(shape=(10, 10), transform=Affine(0.01, 0, 20, 0, -0.01, -17.5), crs=degrees)
    assert not overlap(far, utm)
