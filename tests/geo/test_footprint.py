"""Footprints of grids, compared with PROJ and shapely point by point."""

import json
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from pipeline.core.grid import Grid
from pipeline.geo.footprint import footprint

GRIDS = {
    "UTM": (32633, Affine(10, 0, 300_000, 0, -10, 5_900_040), (10980, 10980)),
    "south up": (32633, Affine(10, 0, 300_000, 0, 10, 5_800_000), (1000, 500)),
    "rotated": (32718, Affine(7, 7, 300_000, 7, -7, 8_900_040), (1000, 2000)),
    "degrees": (4326, Affine(0.01, 0, -60, 0, -0.01, 10), (300, 400)),
    "across the antimeridian": (32660, Affine(100, 0, 700_000, 0, -100, 4_900_040), (1098, 1098)),
    "across the antimeridian in degrees": (4326, Affine(0.1, 0, 175, 0, -0.1, 10), (100, 100)),
    "longitudes beyond 180": (4326, Affine(0.1, 0, 200, 0, -0.1, 10), (100, 100)),
    "the north pole": (3413, Affine(10_000, 0, -900_000, 0, -10_000, 1_000_000), (200, 200)),
    "the south pole": (3031, Affine(10_000, 0, -1_000_000, 0, -10_000, 900_000), (200, 200)),
    "the whole earth": (4326, Affine(1, 0, -180, 0, -1, 90), (180, 360)),
    "the whole earth from 0": (4326, Affine(1, 0, 0, 0, -1, 90), (180, 360)),
    "a full disk": ("+proj=geos +h=35785831 +lon_0=170 +datum=WGS84", Affine(1e5, 0, -55e5, 0, -1e5, 55e5), (110, 110)),
}


def grid(crs: Any, transform: Affine, shape: tuple[int, int]) -> Grid:
    return Grid(shape=shape, transform=transform, crs=CRS.from_user_input(crs).to_wkt())


@pytest.mark.parametrize("name", GRIDS)
def test_all_pixels_lie_in_the_footprint_and_its_bounds(name: str) -> None:
    own = grid(*GRIDS[name])
    place = footprint(own)
    assert place is not None
    rng = np.random.default_rng(0)
    rows, columns = (rng.random(500) * (count - 1) + 0.5 for count in own.shape)
    xs, ys = own.transform.a * columns + own.transform.b * rows, own.transform.d * columns + own.transform.e * rows
    there = Transformer.from_crs(own.crs, 4326, always_xy=True).transform(xs + own.transform.c, ys + own.transform.f)
    points = np.transpose(there)[np.isfinite(there).all(axis=0)]
    points[:, 0] = (points[:, 0] + 180) % 360 - 180
    shape = shapely.from_geojson(json.dumps(place.geometry))
    assert shape.is_valid
    inside = shapely.contains_xy(shape.buffer(1e-3), points)
    assert inside.mean() > (0.95 if name == "a full disk" else 0.9999)
    west, south, east, north = place.bbox
    span = (east - west) % 360 or 360
    assert (((points[inside, 0] - west) % 360 <= span + 1e-3) | ((west - points[inside, 0]) % 360 <= 1e-3)).all()
    assert ((south - 1e-3 <= points[inside, 1]) & (points[inside, 1] <= north + 1e-3)).all()


@pytest.mark.parametrize("name", [name for name in GRIDS if "pole" not in name and "disk" not in name])
def test_the_footprint_is_no_larger_than_the_grid(name: str) -> None:
    """Its area in the plane of degrees is that of the transformed outline, by a fine lattice of pixels."""
    own = grid(*GRIDS[name])
    place = footprint(own)
    assert place is not None
    shape = shapely.from_geojson(json.dumps(place.geometry))
    rows, columns = (np.linspace(0, count, 65) for count in own.shape)
    across, down = np.meshgrid(columns, rows)
    t = own.transform
    longitudes, latitudes = Transformer.from_crs(own.crs, 4326, always_xy=True).transform(
        t.a * across + t.b * down + t.c, t.d * across + t.e * down + t.f
    )
    longitudes = np.unwrap(np.unwrap(longitudes, period=360, axis=0), period=360, axis=1)
    corners = np.stack([longitudes, latitudes], axis=-1)
    cells = [corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]]
    area = shapely.area(shapely.polygons(np.stack(cells, axis=2).reshape(-1, 4, 2))).sum()
    assert shape.area == pytest.approx(area, rel=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_rings_are_closed_counterclockwise_and_within_the_range_of_longitudes(name: str) -> None:
    place = footprint(grid(*GRIDS[name]))
    assert place is not None
    for ring in place.rings:
        assert ring[0] == ring[-1]
        assert shapely.LinearRing(ring).is_ccw
        assert np.abs(np.array(ring)[:, 0]).max() <= 180
    assert (place.bbox[0] > place.bbox[2]) is (len(place.rings) == 2), "west of east, unless it is cut in two"


def test_a_grid_without_a_place_has_none() -> None:
    transform = Affine(1, 0, 0, 0, -1, 0)
    assert footprint(Grid(shape=(5, 5), transform=transform, crs=None)) is None
    assert footprint(Grid(shape=(5, 5), transform=transform, crs='LOCAL_CS["plan",UNIT["m",1]]')) is None
