"""Areas of interest: pixels outside are nodata, as rasterio rasterizes the polygon; blocks outside are not read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import WriteRaster, patches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask
from rasterio.warp import transform_bounds, transform_geom
from sources import ORIGIN, TRIANGLE, described, opened, polygon, whole, write_vector

from pipeline.core.errors import ConfigError, SceneError

pytestmark = pytest.mark.lowest


def rasterized(scene: Any, shape: dict[str, Any]) -> Any:
    grid = scene.info.grid
    return geometry_mask([shape], grid.shape, grid.transform, invert=True)


@pytest.mark.parametrize("chunk", [37, 64, 4096])
def test_pixels_outside_a_polygon_are_nodata(write_raster: WriteRaster, tmp_path: Path, chunk: int) -> None:
    scene = write_raster("scene.tif", patches(2))
    source = opened(scene, chunk, aoi=write_vector(tmp_path / "a.geojson", TRIANGLE))
    _, valid = whole(source)
    np.testing.assert_array_equal(valid, rasterized(source, TRIANGLE))
    assert 0 < valid.mean() < 1


def test_polygon_in_another_crs_is_transformed(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("scene.tif", patches(1))
    degrees = transform_geom("EPSG:32633", "EPSG:4326", TRIANGLE)
    source = opened(scene, aoi=write_vector(tmp_path / "a.geojson", degrees, crs="EPSG:4326"))
    back = transform_geom("EPSG:4326", "EPSG:32633", degrees)
    assert (whole(source)[1] != rasterized(source, back)).sum() <= 8  # straight edges become slightly curved


def test_bounds_in_degrees_match_those_in_metres(write_raster: WriteRaster) -> None:
    scene = write_raster("scene.tif", patches(1), tiled=True, blockxsize=512, blockysize=512)
    metres = (300_500, 5_898_500, 302_000, 5_899_500)
    by_metres = whole(opened(scene, aoi={"bounds": metres, "crs": "EPSG:32633"}))[1]
    expected = np.zeros((200, 300), bool)
    expected[50:150, 50:200] = True
    np.testing.assert_array_equal(by_metres, expected)
    by_degrees = whole(opened(scene, aoi=transform_bounds("EPSG:32633", "EPSG:4326", *metres)))[1]
    assert by_degrees[by_metres].mean() > 0.97  # the box in degrees is slightly rotated, and wider


def test_scene_is_cropped_to_whole_blocks_around_the_area(write_raster: WriteRaster) -> None:
    pixels = patches(2)
    path = write_raster("scene.tif", pixels, tiled=True, blockxsize=64, blockysize=32)
    source = opened(path, 32, aoi={"bounds": (300_700, 5_899_100, 301_500, 5_899_500), "crs": "EPSG:32633"})
    grid = source.info.grid
    assert grid.shape == (64, 128)  # rows 50..90 overlap blocks 32..96, columns 70..150 overlap blocks 64..192
    assert grid.transform == ORIGIN @ Affine.translation(64, 32)
    data, valid = whole(source)
    np.testing.assert_array_equal(data, pixels[:, 32:96, 64:192])
    expected = np.zeros((200, 300), bool)
    expected[50:90, 70:150] = True
    np.testing.assert_array_equal(valid, expected[32:96, 64:192])
    assert source.passes == pytest.approx(64 * 128 / 60_000)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.integers(5, 300),
    corners=st.lists(st.tuples(st.integers(-40, 340), st.integers(-40, 240)), min_size=3, max_size=6, unique=True),
    half=st.sampled_from([0, 5]),
)
def test_chunks_do_not_change_an_area(
    write_raster: WriteRaster, tmp_path: Path, chunk: int, corners: list[tuple[int, int]], half: int
) -> None:
    """Corners are on edges and centres of pixels, where rounding errors would change pixels."""
    import shapely

    shape = shapely.convex_hull(shapely.MultiPoint([ORIGIN @ corner for corner in corners]))
    shape = shapely.transform(shape, lambda points: points + half)
    box = shapely.box(300_000, 5_898_000, 303_000, 5_900_000)
    if shape.geom_type != "Polygon" or not shape.intersects(box):
        return
    path = write_vector(tmp_path / "a.geojson", shapely.geometry.mapping(shape))
    scene = write_raster("scene.tif", patches(1), tiled=True, blockxsize=16, blockysize=16)
    (pixels, valid), (other_pixels, other_valid) = (whole(opened(scene, size, aoi=path)) for size in (chunk, 4096))
    np.testing.assert_array_equal(pixels, other_pixels)
    np.testing.assert_array_equal(valid, other_valid)


def test_area_is_the_union_of_polygons_without_lines(write_raster: WriteRaster, tmp_path: Path) -> None:
    two = [polygon((300_101, 5_899_900), (300_402, 5_899_900), (300_402, 5_899_603)), TRIANGLE]
    line = {"type": "LineString", "coordinates": [(300_000, 5_899_000), (303_000, 5_899_000)]}
    scene = write_raster("scene.tif", patches(1))
    source = opened(scene, aoi=write_vector(tmp_path / "a.geojson", *two, line))
    np.testing.assert_array_equal(whole(source)[1], rasterized(source, two[0]) | rasterized(source, two[1]))


def test_real_polygons_of_a_geopackage_are_read(data: Path) -> None:
    folder = data / "scenes" / "t33uuu_20170216_l1c"
    source = opened([str(folder / "T33UUU_20170216T102101_B04.jp2")], 320, aoi=str(folder / "s2l1c_ref.gpkg"))
    _, valid = whole(source)
    assert 0 < valid.mean() < 1


def test_vector_file_is_accepted_as_a_mask(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("scene.tif", patches(1))
    source = opened(scene, mask=write_vector(tmp_path / "m.geojson", TRIANGLE))
    assert source.info.grid.shape == (200, 300)
    np.testing.assert_array_equal(whole(source)[1], rasterized(source, TRIANGLE))


def test_area_outside_the_scene_is_refused_with_the_scene_bounds(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("scene.tif", patches(1))
    for aoi in ([7, 50, 8, 51], write_vector(tmp_path / "a.geojson", polygon((0, 0), (1, 1), (1, 0)))):
        with pytest.raises(SceneError, match=r"does not overlap this area; it covers 300000, 5898000, 303000, 5900000"):
            described(scene, aoi=aoi)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "can't be read as a vector file"), ("none", "can't be read as a vector file"), (None, "can't be read")],
)
def test_file_that_is_not_a_vector_file_is_refused(
    write_raster: WriteRaster, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "a.geojson"
    if content:
        path.write_text(content)
    with pytest.raises(SceneError, match=rf"scene\.aoi: .*a\.geojson {message}"):
        described(write_raster("scene.tif", patches(1)), aoi=str(path))


def test_vector_file_without_polygons_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_vector(tmp_path / "a.geojson", {"type": "Point", "coordinates": [300_100, 5_899_000]})
    with pytest.raises(SceneError, match=r"a\.geojson contains no polygon"):
        described(write_raster("scene.tif", patches(1)), aoi=path)


def test_unknown_crs_is_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(ConfigError, match=r"scene\.aoi\.crs: 'EPSG:1' is not a coordinate reference system"):
        described(write_raster("scene.tif", patches(1)), aoi={"bounds": [1, 2, 3, 4], "crs": "EPSG:1"})


def test_area_in_a_scene_without_crs_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster("scene.tif", patches(1), crs=None)
    with pytest.raises(SceneError, match="the scene has no coordinate reference system"):
        described(path, aoi=[7, 50, 8, 51])
    with rasterio.open(path) as file:
        assert file.crs is None


def test_long_edges_in_another_crs_are_curved_like_bounds(write_raster: WriteRaster, tmp_path: Path) -> None:
    wide = {"crs": "EPSG:32633", "transform": Affine(400, 0, 200_000, 0, -400, 5_900_000)}
    scene = write_raster("scene.tif", patches(1), tiled=True, blockxsize=512, blockysize=512, **wide)
    west, south, east, north = 11.2, 52.75, 12.4, 53.05
    box = polygon((west, south), (east, south), (east, north), (west, north))
    by_file = whole(opened(scene, aoi=write_vector(tmp_path / "a.geojson", box, crs="EPSG:4326")))[1]
    by_bounds = whole(opened(scene, aoi=[west, south, east, north]))[1]
    assert by_bounds.any()
    np.testing.assert_array_equal(by_file, by_bounds)


@pytest.mark.parametrize("aoi", [[-180, -90, 180, 90], {"bounds": [-2e7, -2e7, 2e7, 2e7], "crs": "EPSG:3857"}])
def test_area_of_the_whole_world_covers_the_scene(write_raster: WriteRaster, aoi: Any) -> None:
    assert whole(opened(write_raster("scene.tif", patches(1)), aoi=aoi))[1].all()


def test_degenerate_polygons_are_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    ring = [(300_100, 5_899_000), (300_200, 5_899_000)]
    path = write_vector(tmp_path / "a.geojson", {"type": "Polygon", "coordinates": [ring]})
    with pytest.raises(SceneError, match=r"a\.geojson"):
        described(write_raster("scene.tif", patches(1)), aoi=path)


@pytest.mark.parametrize("side", ["west", "east"])
def test_areas_on_either_side_of_the_antimeridian_are_found(write_raster: WriteRaster, side: str) -> None:
    fiji = {"crs": "EPSG:32760", "transform": Affine(1000, 0, 780_000, 0, -1000, 8_100_000)}
    scene = write_raster("scene.tif", patches(1, (100, 100)), tiled=True, blockxsize=128, blockysize=128, **fiji)
    bounds = [179.7, -17.9, 179.9, -17.6] if side == "west" else [-179.9, -17.9, -179.7, -17.6]
    _, valid = whole(opened(scene, aoi=bounds))
    assert 400 < valid.sum() < 1000


def test_area_in_degrees_works_in_a_scene_beyond_the_domain_of_degrees(write_raster: WriteRaster) -> None:
    disk = {"crs": "+proj=geos +h=35785831 +lon_0=0 +sweep=y", "transform": Affine(60_000, 0, -6e6, 0, -60_000, 6e6)}
    scene = write_raster("scene.tif", patches(1, (200, 200)), tiled=True, blockxsize=256, blockysize=256, **disk)
    _, valid = whole(opened(scene, aoi=[-10, -10, 10, 10]))
    assert 500 < valid.sum() < 2500


def test_lines_of_geometry_collections_are_not_rasterized(write_raster: WriteRaster) -> None:
    import shapely

    from pipeline.geo.area_of_interest import _to_pixels

    grid = described(write_raster("scene.tif", patches(1))).info.grid
    box = shapely.box(300_500, 5_899_000, 301_000, 5_899_500)
    both = shapely.GeometryCollection([box, shapely.LineString([(300_000, 5_898_505), (303_000, 5_898_505)])])
    (block,) = grid.blocks(grid.shape)
    np.testing.assert_array_equal(
        _to_pixels(both, "EPSG:32633", grid, "a").inside(block), _to_pixels(box, "EPSG:32633", grid, "a").inside(block)
    )
