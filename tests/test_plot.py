"""Maps drawn by matplotlib: the pixels, their colours and places, the legend, and what is held in memory."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from sources import model_of

from pipeline import plot_classes
from pipeline.config.fields import Colour
from pipeline.core.errors import ConfigError
from pipeline.models.base import ClusterModel
from pipeline.models.colours import auto_colours
from pipeline.sinks.palette import model_colours

pytestmark = pytest.mark.lowest


@pytest.fixture(autouse=True)
def without_a_window() -> Iterator[None]:
    with mpl.rc_context():
        plt.switch_backend("agg")
        yield
        plt.close("all")


def labels(rows: int = 60, columns: int = 90, k: int = 5, **attrs: Any) -> xr.DataArray:
    numbers = np.random.default_rng(0).integers(0, k + 1, (rows, columns)).astype("uint8")
    y, x = 5000 - 10 * (np.arange(rows) + 0.5), 300 + 10 * (np.arange(columns) + 0.5)
    return xr.DataArray(numbers, dims=("y", "x"), coords={"y": y, "x": x}, attrs={"k": k, **attrs})


def named(*names: str, colour: Colour | None = None) -> ClusterModel:
    model = model_of(np.arange(len(names) * 2).reshape(-1, 2))
    classes = [each.model_copy(update={"name": name}) for each, name in zip(model.classes, names, strict=True)]
    classes[0] = classes[0].model_copy(update={"colour": colour})
    return model.model_copy(update={"classes": tuple(classes)})


def legend_of(ax: Any) -> dict[str, Colour]:
    """Colours of the legend by text."""
    legend = ax.get_legend()
    colours = [tuple(round(255 * part) for part in to_rgb(patch.get_facecolor())) for patch in legend.get_patches()]
    return dict(zip([text.get_text() for text in legend.get_texts()], colours, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1000, 90, 40, 7, 1])
@pytest.mark.parametrize("chunk", [None, 13, 64])
def test_every_nth_pixel_is_drawn_in_the_colour_of_its_class(size: int, chunk: int | None) -> None:
    array = labels()
    lazy = array if chunk is None else array.chunk({"y": chunk, "x": chunk})
    (image,) = plot_classes(lazy, size=size).images
    step = -(-90 // size)
    first = [min(step // 2, count - 1) for count in array.shape]
    expected = array.values[first[0] :: step, first[1] :: step]
    table = np.array([(0, 0, 0, 0), *((*colour, 255) for colour in auto_colours(5))])
    drawn = np.asarray(image.get_array())
    assert max(drawn.shape[:2]) <= size
    np.testing.assert_array_equal(drawn, table[expected])
    left, right, bottom, top = image.get_extent()
    rows, columns = expected.shape
    centres = left + (np.arange(columns) + 0.5) * (right - left) / columns
    if step % 2:  # else the drawn pixel is the one below and right of the middle
        np.testing.assert_allclose(centres, array.x.values[first[1] :: step])
        middle = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
        np.testing.assert_allclose(middle, array.y.values[first[0] :: step])
    assert image.axes.get_xlim() == (300, 1200)
    assert image.axes.get_ylim() == (4400, 5000)


def test_the_legend_has_names_and_colours_of_the_model() -> None:
    ax = plot_classes(labels(k=3), named("water", "forest & <b>", "roofs", colour=(1, 2, 3)), title="Map")
    auto = auto_colours(3)
    assert legend_of(ax) == {"1  water": (1, 2, 3), "2  forest & <b>": auto[1], "3  roofs": auto[2]}
    assert ax.get_title() == "Map"
    assert not ax.axison
    viridis = legend_of(plot_classes(labels(k=3), named("a", "b", "c", colour=(1, 2, 3)), palette="viridis"))
    assert viridis["1  a"] == (68, 1, 84)


def test_palettes_are_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "c.clr").write_text("1 1 2 3\n2 4 5 6\n3 7 8 9\n")
    for palette in (["#010203", [4, 5, 6], "#070809"], str(tmp_path / "c.clr")):
        for model in (None, named("a", "b", "c", colour=(99, 99, 99))):
            drawn = legend_of(plot_classes(labels(k=3), model, palette=palette))
            assert list(drawn.values()) == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    model = model_of(np.arange(9).reshape(3, 3) * 20, ("red", "green", "blue"))
    natural = legend_of(plot_classes(labels(k=3), model, palette="natural"))
    assert list(natural.values()) == list(model_colours(model, "natural"))
    with pytest.raises(ConfigError, match=r"^palette: natural: these colours are those of a model's classes"):
        plot_classes(labels(k=3), palette="natural")


@pytest.mark.parametrize("colours", ["#010203 #0a0B0c #FF0000", ["010203", "0A0B0C", "FF0000"]])
def test_without_a_model_the_attributes_say_what_classes_are(colours: Any) -> None:
    flags = {"flag_values": np.array([1, 2, 255], "uint8"), "flag_meanings": "water dry_land unclassified"}
    array = labels(k=2, **flags, flag_colors=colours)
    array[3, 4] = 255
    assert legend_of(plot_classes(array)) == {
        "1  water": (1, 2, 3),
        "2  dry land": (10, 11, 12),
        "255  unclassified": (255, 0, 0),
    }


def test_colours_may_be_integers_of_numpy() -> None:
    colours = np.arange(15, dtype="uint8").reshape(5, 3)
    drawn = legend_of(plot_classes(labels(), palette=[tuple(row) for row in colours]))
    assert list(drawn.values()) == [tuple(row) for row in colours.tolist()]


def test_labels_of_a_file_without_attributes_are_drawn_too() -> None:
    array = labels(k=4).astype("float32").expand_dims("band")
    array.attrs = {}
    array = array.where(array > 0)
    ax = plot_classes(array)
    assert legend_of(ax) == {f"{label}  class {label}": colour for label, colour in enumerate(auto_colours(4), 1)}
    drawn = np.asarray(ax.images[0].get_array())
    np.testing.assert_array_equal(drawn[..., 3] == 0, labels(k=4).values == 0)


def test_axes_and_the_note_on_left_out_pixels() -> None:
    array = labels()
    array.x.attrs["units"] = "m"
    ax = plot_classes(array, axis=True, size=30, legend=False)
    assert ax.get_xlabel() == "x (m)\n1 of 3 x 3 pixels of 90 x 60"
    assert ax.get_legend() is None
    own = plt.figure().add_subplot()
    assert plot_classes(array, ax=own, size=30) is own
    assert [text.get_text() for text in own.texts] == ["1 of 3 x 3 pixels of 90 x 60"]
    assert plot_classes(array, figsize=(4, 3)).figure.get_size_inches().tolist() == [4, 3]


def rendered(array: xr.DataArray) -> Any:
    """Colours of a map of 60 x 90 pixels on the screen, at the middle of each pixel, from the top left."""
    ax = plot_classes(array, legend=False)
    ax.figure.canvas.draw()
    screen = np.asarray(ax.figure.canvas.buffer_rgba())
    box = ax.get_window_extent()
    x = box.x0 + (np.arange(90) + 0.5) * box.width / 90
    y = len(screen) - box.y1 + (np.arange(60) + 0.5) * box.height / 60
    return screen[np.ix_(y.astype(int), x.astype(int))]


def test_north_is_up_and_east_is_right_whatever_the_order_of_the_pixels() -> None:
    array = labels()
    table = np.array([(255, 255, 255, 255), *((*colour, 255) for colour in auto_colours(5))])
    expected = table[array.values]
    counted = array.drop_vars(["y", "x"])
    rotated = counted.assign_coords(y=("y", np.arange(60) + 0.5, {"units": "pixel"}), x=np.arange(90) + 0.5)
    for each in (array, array[::-1], array[:, ::-1], counted, rotated):
        np.testing.assert_array_equal(rendered(each), expected)


def test_degrees_of_longitude_are_narrower_than_those_of_latitude() -> None:
    array = labels().rename(y="lat", x="lon").assign_coords(lat=60.5 - np.arange(60) / 60, lon=np.arange(90) / 60)
    assert plot_classes(array).get_aspect() == pytest.approx(2, rel=0.01)


def test_only_drawn_pixels_are_held_and_each_chunk_is_computed_once() -> None:
    computed = []

    def chunk(block_id: tuple[int, int]) -> Any:
        computed.append(block_id)
        return np.full((500, 500), 1, np.uint8)

    made = da.map_blocks(chunk, chunks=((500,) * 10, (500,) * 10), dtype="uint8", meta=np.empty((0, 0), "uint8"))
    plot_classes(labels())  # what is imported is no part of it
    tracemalloc.start()
    plot_classes(xr.DataArray(made, dims=("y", "x")), size=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sorted(computed) == [(i, j) for i in range(10) for j in range(10)]
    assert peak < 12e6  # the map is 25 MB


@pytest.mark.parametrize(
    ("array", "arguments", "message"),
    [
        (np.zeros((3, 4), "uint8"), {}, "expected labels from label"),
        (labels().expand_dims(band=3), {}, "expected labels from label"),
        (labels() + 0.5, {}, r"the labels hold \d\.5 at rows 0-59, columns 0-89; expected whole numbers"),
        (labels().astype(int) - 3, {}, r"the labels hold -\d at"),
        (labels(k=5), {"model": named("a", "b")}, "the labels hold 3, but the classes are 1, 2; pass the model"),
        (labels(), {"size": 0}, "size: 0 is not allowed; expected a number of pixels"),
        (labels(), {"palette": "nope"}, "^palette: 'nope' is not a matplotlib colour map"),
        (labels(), {"palette": 3}, "^plot_classes: palette: 3 is not allowed; expected"),
        (labels(rows=0), {}, "the labels have no pixels, 0 rows and 90 columns; choose"),
        (labels().assign_coords(x=np.full(90, np.nan)), {}, "the coordinate x of the labels is not finite"),
        (labels(), {"model": "m.json"}, "model: expected a ClusterModel, from fit.*; not a str"),
        (labels(), {"ax": [1, 2]}, "ax: expected one Axes of matplotlib, from plt.subplots.*; not a list"),
        (labels(), {"palette": [(1, 2, True)] * 5}, "palette"),
        (labels(), {"ax": 1, "figsize": (1, 1)}, "figsize is that of a new figure, but ax is given"),
    ],
)
def test_what_can_not_be_drawn_is_said(array: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plot_classes(array, **arguments)
