"""The table of classes says what is in the map, and hectares only where they are right."""

import csv
from math import nan
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS as PROJ_CRS
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from sources import MemorySource
from test_model import model_of

from pipeline.errors import OutputError
from pipeline.grid import Grid
from pipeline.labels.classify import ClassStatistics, Thinning, classify_blocks
from pipeline.sinks.palette import class_colours
from pipeline.sinks.tables import PixelArea, pixel_area, write_table

UTM33 = Affine(10, 0, 500_000, 0, -10, 5_900_000)


def grid_of(epsg: int | None, transform: Affine, shape: tuple[int, int] = (100, 80)) -> Grid:
    return Grid(shape=shape, transform=transform, crs=CRS.from_epsg(epsg).to_wkt() if epsg else None)


def hectares_on_the_ellipsoid(grid: Grid, epsg: int) -> float:
    """Area of the middle pixel, along geodesics."""
    rows, columns = grid.shape
    corners = [grid.transform @ (columns / 2 + x, rows / 2 + y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    geographic = Transformer.from_crs(PROJ_CRS.from_epsg(epsg), 4326, always_xy=True)
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*geographic.transform(*zip(*corners, strict=True)))
    return abs(area) / 10_000


@pytest.mark.parametrize(
    ("epsg", "transform"),
    [
        (32633, UTM33),
        (32633, UTM33 @ Affine.rotation(30) @ Affine.scale(2, 0.5)),
        (32733, Affine(20, 0, 300_000, 0, -20, 7_000_000)),
        (3035, Affine(25, 0, 4_321_000, 0, -25, 3_210_000)),  # an equal-area grid of Europe
        (6933, Affine(100, 0, 1_500_000, 0, -100, 5_000_000)),  # and one of the world, at 50 degrees north
        (27700, Affine(5, 0, 400_000, 0, -5, 300_000)),
        (2263, Affine(100, 0, 1_000_000, 0, -100, 200_000)),  # in feet
        (3857, Affine(10, 0, 0, 0, -10, 50_000)),  # Web Mercator at the equator
        (3857, Affine(10, 0, 1_000_000, 0, -10, 8_400_000)),  # and at 60 degrees north
        (3857, Affine(10, 0, 1_000_000, 0, -10, -1_500_000)),  # and at 13 degrees south
        (32633, Affine(10, 0, 3_000_000, 0, -10, 5_900_000)),  # far outside its zone
        (3413, Affine(10, 0, 300_000, 0, -10, -2_000_000)),  # polar, near its true latitude
        (3413, Affine(10, 0, 300_000, 0, -10, -6_000_000)),  # and far from it
    ],
)
def test_hectares_are_known_just_where_the_coordinates_keep_area(epsg: int, transform: Affine) -> None:
    grid = grid_of(epsg, transform)
    true = hectares_on_the_ellipsoid(grid, epsg)
    (unit,) = {axis.unit_conversion_factor for axis in PROJ_CRS.from_epsg(epsg).axis_info}
    planar = abs(transform.determinant) * unit**2 / 10_000
    found = pixel_area(grid)
    if abs(planar / true - 1) > 0.03:
        assert found.hectares is None
        assert "stretches areas" in found.reason
    elif abs(planar / true - 1) < 0.01:
        assert found.hectares == pytest.approx(planar, rel=1e-9)
        assert found.reason == ""
    else:
        pytest.fail("on the edge of what is tolerated: choose another place")


@pytest.mark.parametrize(
    ("epsg", "transform", "told"),
    [
        (None, UTM33, "no coordinate reference system"),
        (4326, Affine(1e-4, 0, 15, 0, -1e-4, 53), "geographic"),
        (4326, Affine(1e-4, 0, 15, 0, -1e-4, 0), "geographic"),
    ],
)
def test_without_a_projection_the_area_is_unknown(epsg: int | None, transform: Affine, told: str) -> None:
    found = pixel_area(grid_of(epsg, transform))
    assert found.hectares is None
    assert told in found.reason


@pytest.mark.parametrize(
    "transform", [Affine(10, 0, 1e9, 0, -10, 5e9), Affine(10, 0, 500_000, 0, 0, 5_900_000)], ids=["nowhere", "flat"]
)
def test_coordinates_that_make_no_sense_leave_the_area_unknown(transform: Affine) -> None:
    found = pixel_area(grid_of(32633, transform))
    assert found.hectares is None
    assert found.reason


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("chunk", [(50, 60), (7, 9)])
@pytest.mark.parametrize("hectares", [0.01, None])
def test_the_table_says_what_numpy_says_of_each_class(
    tmp_path: Path, chunk: tuple[int, int], hectares: float | None
) -> None:
    rng = np.random.default_rng(8)
    data = rng.gamma(2, 500, (2, 50, 60)).astype(np.uint16)
    valid = rng.random((50, 60)) < 0.8
    model = model_of([[300, 300], [1000, 1000], [3000, 300], [60_000, 60_000]], ("B04", "B08"), "uint16")
    statistics = ClassStatistics(model, model.units)
    labels = np.zeros((50, 60), int)
    for block, labelled in classify_blocks(MemorySource(data, valid, chunk), model, Thinning(5, (0,)), 2):
        statistics.add(labelled)
        labels[block.slices] = labelled.labels
    colours = class_colours(4)
    write_table(tmp_path / "t.csv", statistics, ("B04", "B08"), PixelArea(hectares, ""), colours)
    table = read_table(tmp_path / "t.csv")
    assert list(table[0]) == [
        "class",
        "colour",
        "pixels",
        "share",
        "area_ha",
        "mean_B04",
        "std_B04",
        "mean_B08",
        "std_B08",
    ]
    assert [row["class"] for row in table] == ["1", "2", "3", "4"]
    for label, (row, colour) in enumerate(zip(table, colours, strict=True), start=1):
        members = data[:, labels == label].astype(float)
        count = members.shape[1]
        assert int(row["pixels"]) == count
        assert float(row["share"]) == pytest.approx(count / valid.sum(), abs=1e-6)
        assert bytes.fromhex(row["colour"].removeprefix("#")) == bytes(colour)
        if hectares is None:
            assert row["area_ha"] == ""
        else:
            assert float(row["area_ha"]) == pytest.approx(count * hectares, abs=1e-4)
        for band, name in enumerate(("B04", "B08")):
            if count:
                assert float(row[f"mean_{name}"]) == pytest.approx(members[band].mean(), rel=1e-6)
                assert float(row[f"std_{name}"]) == pytest.approx(members[band].std(), rel=1e-6)
            else:
                assert (row[f"mean_{name}"], row[f"std_{name}"]) == ("", "")
    assert int(table[3]["pixels"]) == 0  # the empty class has been seen
    assert sum(float(row["share"]) for row in table) == pytest.approx(1, abs=1e-5)


def test_a_map_without_data_has_a_table_without_shares(tmp_path: Path) -> None:
    model = model_of([[1.0], [2.0]])
    statistics = ClassStatistics(model, model.units)
    write_table(tmp_path / "t.csv", statistics, ("a, b",), PixelArea(0.01, ""), class_colours(2))
    table = read_table(tmp_path / "t.csv")
    assert [float(row["share"] or nan) for row in table] == [0, 0]
    assert [row["mean_a, b"] for row in table] == ["", ""]  # a comma in a band's name is no column


def test_a_table_that_can_not_be_written_is_told_with_its_folder(tmp_path: Path) -> None:
    model = model_of([[1.0], [2.0]])
    statistics = ClassStatistics(model, model.units)
    with pytest.raises(
        OutputError, match=rf"{tmp_path / 'none'}: the table of classes can't be written \(No such file"
    ):
        write_table(tmp_path / "none" / "t.csv", statistics, ("a",), PixelArea(None, ""), class_colours(2))
