"""The quick-look: its elements fit the page and don't overlap, and its colours are those of the pixels."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from fakes import MemorySource
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import model_of

from pipeline.core.errors import OutputError
from pipeline.core.grid import Grid
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics, LabelTask
from pipeline.models.base import ClusterModel
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import Colour, class_colours
from pipeline.sinks.picture import _NO_DATA, PictureWriter, fitted, stretch
from pipeline.sinks.picture_options import DEFAULT_OPTIONS, LARGEST_SIDE, PictureOptions
from pipeline.sinks.quicklook import Layout, Thinning

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
Box = tuple[int, int, int, int]


def grid_of(shape: tuple[int, int]) -> Grid:
    return Grid(shape=shape, transform=Affine.identity(), crs=None)


sides = st.integers(1, 300) | st.integers(1, 30_000)


@settings(max_examples=300, deadline=None)
@given(
    rows=sides, columns=sides, entries=st.integers(2, 255), size=st.sampled_from([LARGEST_SIDE, 512, 700, 8192]),
    panels=st.sampled_from(["both", "classes"]), title=st.sampled_from(["", "title"]), bare=st.booleans(),
)  # fmt: skip
@example(rows=1, columns=1, entries=255, size=512, panels="both", title="title", bare=False)
@example(rows=30_000, columns=10, entries=255, size=LARGEST_SIDE, panels="both", title="", bare=False)
@example(rows=10, columns=30_000, entries=3, size=LARGEST_SIDE, panels="both", title="", bare=False)
@example(rows=200_000, columns=200_000, entries=255, size=LARGEST_SIDE, panels="both", title="", bare=False)
def test_a_page_is_never_too_large_and_shows_the_whole_scene_undistorted(
    *, rows: int, columns: int, entries: int, size: int, panels: Any, title: str, bare: bool
) -> None:
    options = PictureOptions(size=size, panels=panels, title=title, bare=bare and panels == "classes")
    layout = Layout.of(grid_of((rows, columns)), entries, options)
    assert max(layout.page) <= size
    assert layout.legend_columns or size < LARGEST_SIDE or options.bare, "a legend fits a picture of the usual size"
    assert layout.panel[0] >= 1 <= layout.panel[1]
    shown = len(range(0, columns, layout.step)), len(range(0, rows, layout.step))
    zooms = {layout.panel[0] / shown[0], layout.panel[1] / shown[1]}
    assert len(zooms) == 1  # the same zoom in both directions
    assert zooms.pop() % 1 == 0  # by a whole number, so that all pixels are equally large


def draw(
    source: MemorySource,
    model: ClusterModel,
    colours: tuple[Colour, ...],
    path: Path | None = None,
    *,
    nodata: int = 0,
    options: PictureOptions = DEFAULT_OPTIONS,
) -> npt.NDArray[np.uint8]:
    """Label a scene, and return its picture as pixels, shape (rows, columns, 3); some nodata is only in the legend."""
    job = Job(info=source.info, model=model, colours=colours, workers=2, picture=options)
    statistics = ClassStatistics(model, source.info.units, PixelAreas())
    with tempfile.TemporaryDirectory() as folder:
        path = path or Path(folder) / "p.png"
        writer = PictureWriter(path, job)
        for block, labelled in ThreadExecutor(2).map(
            LabelTask.of(source, model, PixelAreas(), (writer.part,)), source.blocks
        ):
            statistics.add(labelled)
            writer.add(block, labelled.parts[0])
        statistics.counts[0] += nodata
        writer.prepare(Summary(statistics))
        writer.finish(Summary(statistics))
        with Image.open(path) as picture:
            return np.asarray(picture)


def draw_one_class(
    data: npt.NDArray[np.generic],
    colours: tuple[Colour, ...],
    bands: tuple[str, ...] = (),
    nodata: int = 0,
) -> npt.NDArray[np.uint8]:
    """Draw a scene that is all of class 1."""
    source = MemorySource(data, None, (256, 256))
    source.info = replace(source.info, bands=bands or source.info.bands)
    centroids = [data.mean(axis=(1, 2)) + 1000.0 * i for i in range(len(colours))]
    return draw(source, model_of(centroids, source.info.bands), colours, nodata=nodata)


def box_of(page: npt.NDArray[np.uint8], colour: Colour, below: int = 0) -> Box:
    """Left, top, right and bottom of the pixels of a colour, in the rows from `below` on."""
    red, green, blue = np.moveaxis(page[below:], 2, 0)
    rows, columns = np.nonzero((red == colour[0]) & (green == colour[1]) & (blue == colour[2]))
    assert rows.size, f"{colour} is not in the picture"
    return int(columns.min()), below + int(rows.min()), int(columns.max()) + 1, below + int(rows.max()) + 1


def count_boxes(page: npt.NDArray[np.uint8], colour: Colour, shape: tuple[int, int]) -> int:
    """Count the positions of a filled box of (rows, columns); antialiased letters have a few pixels of any grey."""
    total = np.pad((page == colour).all(axis=2).astype(int).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    high, wide = shape
    inside = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    return int((inside == high * wide).sum())


def is_filled(page: npt.NDArray[np.uint8], box: Box, colour: Colour) -> bool:
    return bool((page[box[1] : box[3], box[0] : box[2]] == colour).all())


@pytest.mark.parametrize("k", [2, 9, 61, 254])
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (1500, 40), (1500, 1100), (20, 4000)])
def test_panels_are_side_by_side_above_the_legend_which_has_a_whole_box_per_entry(
    shape: tuple[int, int], k: int
) -> None:
    data = np.full((1, *shape), 7, np.uint8)  # one value everywhere is drawn black
    colours = class_colours(k)
    page = draw_one_class(data, colours, nodata=9)
    scene = box_of(page, BLACK)
    assert is_filled(page, scene, BLACK)
    panel_rows = page[scene[1] : scene[3]]
    left, top, right, bottom = box_of(panel_rows, colours[0])
    assert (top, bottom) == (0, scene[3] - scene[1])
    assert left > scene[2]
    assert right - left == scene[2] - scene[0]
    assert is_filled(panel_rows, (left, top, right, bottom), colours[0])
    # the boxes of classes and of nodata have the same size, and none is cut or covered
    boxes = [box_of(page, colour, below=scene[3]) for colour in colours]
    assert all(is_filled(page, box, colour) for box, colour in zip(boxes, colours, strict=True))
    assert count_boxes(page[scene[3] :], _NO_DATA, (boxes[0][3] - boxes[0][1], boxes[0][2] - boxes[0][0])) == 1
    assert len({(box[2] - box[0], box[3] - box[1]) for box in boxes}) == 1
    assert min(boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1]) >= 10
    # nothing touches the edge of the page
    for edge in (page[0], page[-1], page[:, 0], page[:, -1]):
        assert (edge == WHITE).all()


def is_ink(page: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (page < 128).all(axis=2)


@pytest.mark.lowest
def test_long_band_names_do_not_overlap_the_next_title() -> None:
    data, colours = np.full((3, 200, 200), 7, np.uint8), class_colours(2)
    short = is_ink(draw_one_class(data, colours, ("a", "b", "c")))
    long = is_ink(draw_one_class(data, colours, tuple(f"surface_reflectance_of_band_{i}" for i in "abc")))
    middle = short.shape[1] // 2
    np.testing.assert_array_equal(long[:40, middle:], short[:40, middle:])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6), dtype=st.sampled_from(["u1", "u2", "i2", "f4"]), bands=st.sampled_from([1, 3]),
    share=st.sampled_from([0.02, 0.5, 1.0]), span=st.sampled_from([1, 3, 100]),
)  # fmt: skip
def test_bands_are_stretched_between_their_5th_and_95th_percentile_and_nodata_is_grey(
    seed: int, dtype: str, bands: int, share: float, span: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, span, (bands, 12, 15)).astype(dtype)
    valid = rng.random((12, 15)) < share
    picture = stretch(data, valid)
    assert picture.shape == (12, 15, 3)
    assert (picture[~valid] == _NO_DATA).all()
    for channel in range(3):
        band = data[channel % bands][valid].astype(float).tolist()
        if len(band) < 2:
            continue
        twentieths = quantiles(band, n=20, method="inclusive")
        low, high = twentieths[0], twentieths[-1]
        shown = picture[..., channel][valid].tolist()
        for value, bright in zip(band, shown, strict=True):
            expected = min(max((value - low) / (high - low), 0), 1) if high > low else float(value > low)
            assert abs(bright - 255 * expected) <= 0.5 + 1e-9


def test_nan_in_nodata_pixels_does_not_change_the_stretch() -> None:
    data = np.array([[[np.nan, 1.0, 2.0, 3.0]]], np.float32)
    valid = np.array([[False, True, True, True]])
    np.testing.assert_array_equal(stretch(data, valid), stretch(np.nan_to_num(data, nan=9.0), valid))


def test_a_scene_of_nodata_is_grey() -> None:
    assert (stretch(np.zeros((3, 4, 5)), np.zeros((4, 5), np.bool_)) == _NO_DATA).all()


def test_red_green_and_blue_bands_are_shown_if_there_are_any() -> None:
    layout = Layout.of(grid_of((100, 100)), 5)
    assert Thinning.of(layout, ("B02", "B03", "B04", "B08")).bands == (2, 1, 0)
    assert Thinning.of(layout, ("a", "b", "c", "d")).bands == (0,)


@pytest.mark.lowest
def test_pixels_of_the_picture_are_those_of_the_scene() -> None:
    rows, columns = 30, 40
    data = np.zeros((3, rows, columns), np.uint8)
    data[:, :, 20:] = 200
    source = MemorySource(data, np.arange(rows)[:, None] + np.zeros(columns, int) >= 10, (7, 9))
    red, green = (250, 0, 0), (0, 250, 0)
    page = draw(source, model_of([[0, 0, 0], [200, 200, 200]]), (red, green))
    legend = box_of(page, BLACK)[3]
    red_box, green_box = box_of(page[:legend], red), box_of(page[:legend], green)
    zoom = Layout.of(source.info.grid, 3).panel[0] // columns
    for box in (red_box, green_box):  # a third of the rows is nodata, each class has half of the columns
        assert (box[2] - box[0], box[3] - box[1]) == (20 * zoom, 20 * zoom)
    assert red_box[2] == green_box[0]
    assert red_box[1] == green_box[1]


@pytest.mark.lowest
def test_a_picture_is_a_png_that_says_it_is_not_data(tmp_path: Path) -> None:
    source = MemorySource(np.arange(600, dtype=np.uint16).reshape(1, 20, 30))
    page = draw(source, model_of([[100], [300], [500]]), class_colours(3), tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as back:
        assert back.format == "PNG"
        assert "not data" in back.text["Description"]
        assert (back.mode, (back.height, back.width, 3)) == ("RGB", page.shape)


def test_the_error_for_a_picture_that_can_not_be_written_names_its_folder(tmp_path: Path) -> None:
    source = MemorySource(np.zeros((1, 5, 5), np.uint8))
    with pytest.raises(OutputError, match=rf"{tmp_path / 'none'}: the picture can't be written \(No such file"):
        draw(source, model_of([[0], [1]]), class_colours(2), tmp_path / "none" / "p.png")


@pytest.mark.parametrize("name", ["p.jpg", "p.JPEG"])
def test_a_jpeg_has_nearly_the_pixels_of_the_png_and_says_that_it_is_not_data(tmp_path: Path, name: str) -> None:
    source = MemorySource(np.random.default_rng(1).integers(0, 250, (3, 40, 50), np.uint8))
    model = model_of([[50] * 3, [120] * 3, [200] * 3])
    png = draw(source, model, class_colours(3), tmp_path / "p.png")
    jpeg = draw(source, model, class_colours(3), tmp_path / name)
    assert np.abs(jpeg.astype(int) - png).mean() < 4
    with Image.open(tmp_path / name) as back:
        assert back.format == "JPEG"
        assert b"not data" in back.info["comment"]


@pytest.mark.parametrize("panels", ["classes", "scene"])
def test_a_panel_alone_is_the_picture_and_its_pixels_are_colours_of_classes_or_of_the_scene(panels: Any) -> None:
    data = np.zeros((3, 30, 45), np.uint8)
    data[0, :, 20:], data[1, :10], data[2, 5:, :9] = 200, 100, 50
    source = MemorySource(data)
    options = PictureOptions(rgb=("b2", "b0", "b1"), panels=panels, bare=True, stretch=(0, 100))
    source.info = replace(source.info, bands=("b0", "b1", "b2"))
    page = draw(source, model_of([[0] * 3, [200, 0, 0]]), ((9, 8, 7), (250, 240, 230)), options=options)
    zoom = page.shape[0] // 30
    assert page.shape == (30 * zoom, 45 * zoom, 3)
    small = page[::zoom, ::zoom]
    np.testing.assert_array_equal(page, small.repeat(zoom, axis=0).repeat(zoom, axis=1))
    if panels == "scene":
        expected = np.moveaxis(data[[2, 0, 1]] * np.array([255 / 50, 255 / 200, 255 / 100])[:, None, None], 0, 2)
        np.testing.assert_allclose(small, expected, atol=0.51)
    else:
        assert {tuple(colour) for colour in small.reshape(-1, 3)} == {(9, 8, 7), (250, 240, 230)}


def test_a_picture_of_the_scene_alone_has_no_legend_of_classes() -> None:
    source = MemorySource(np.full((1, 200, 200), 7, np.uint8))
    colours = ((250, 0, 0), (0, 250, 0))
    page = draw(source, model_of([[7], [900]]), colours, options=PictureOptions(panels="scene"))
    assert not any((page == colour).all(axis=2).any() for colour in colours)
    assert box_of(page, BLACK)[2] == page.shape[1] - 16


def test_a_title_moves_the_panels_down_and_is_shortened_to_the_width_of_the_page() -> None:
    source = MemorySource(np.full((1, 200, 200), 7, np.uint8))
    model, colours = model_of([[7], [900]]), class_colours(2)
    plain = draw(source, model, colours)
    titled = draw(source, model, colours, options=PictureOptions(title="Title " * 100))
    added = titled.shape[0] - plain.shape[0]
    assert added > 0
    assert titled.shape[1] == plain.shape[1]
    np.testing.assert_array_equal(titled[added + 16 :], plain[16:])
    assert is_ink(titled[: added + 8]).any()
    assert not is_ink(titled[:, -16:]).any()


def test_a_text_is_shortened_to_the_most_characters_that_fit_with_few_measurements() -> None:
    class Font:
        measured = 0

        def getlength(self, text: str) -> float:
            self.measured += 1
            return 7.5 * len(text)

    for length, width in ((10, 75), (11, 75), (100_000, 300), (20, 10), (20, 0)):
        font = Font()
        text = "abcdefghij" * (length // 10) + "k" * (length % 10)
        most = max(0, int(width / 7.5) - 3)
        assert fitted(text, font, width) == (text if 7.5 * length <= width else f"{text[:most]}...")
        assert font.measured < 25


def test_a_stretch_by_other_percentiles_is_that_of_numpy() -> None:
    data = np.random.default_rng(4).normal(100, 20, (1, 30, 30))
    low, high = np.percentile(data, [20, 70])
    expected = np.clip((data[0] - low) / (high - low), 0, 1) * 255
    shown = stretch(data, np.ones((30, 30), np.bool_), (20, 70))
    np.testing.assert_allclose(shown[..., 0], expected, atol=0.51)


def test_a_scene_shown_in_grey_is_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    source = MemorySource(np.random.default_rng(1).integers(0, 250, (3, 40, 50), np.uint8))
    source.info = replace(source.info, bands=("B08", "B04", "B03"))
    page = draw(source, model_of([[50] * 3, [200] * 3]), ((250, 0, 0), (0, 250, 0)))
    assert "the scene is shown in grey, by band B08" in caplog.text
    panel = page[50:300, 20:400]
    assert (panel[..., 0] == panel[..., 1]).all()
