"""Colours of classes are all different, and safe for the colour-blind up to nine classes."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from sources import model_of

from pipeline.core.errors import ConfigError
from pipeline.sinks.palette import Colour, class_colours, model_colours, unclassified_colour
from pipeline.sinks.picture import _NO_DATA

pytestmark = pytest.mark.lowest


def bytes_of(colour: object) -> Colour:
    red, green, blue, _ = (round(255 * part) for part in to_rgba(colour))  # type: ignore[arg-type]
    return red, green, blue


def test_up_to_254_colours_differ_from_each_other_and_from_nodata() -> None:
    for k in range(2, 255):
        colours = class_colours(k)
        assert len(set(colours)) == len(colours) == k
        assert not {(0, 0, 0), (255, 255, 255), _NO_DATA} & set(colours)  # nodata, paper
        assert 0 <= np.min(colours) <= np.max(colours) <= 255


def test_a_class_keeps_its_colour_when_there_are_more_classes() -> None:
    longest = class_colours(254)
    assert all(class_colours(k) == longest[:k] for k in range(2, 255))


def test_the_first_nine_colours_are_the_published_colour_blind_safe_scheme() -> None:
    muted = "#332288 #88CCEE #117733 #DDCC77 #CC6677 #44AA99 #AA4499 #999933 #882255"  # SRON/EPS/TN/09-002
    assert class_colours(9) == tuple(bytes_of(colour) for colour in muted.split())


def test_a_listed_colour_map_is_used_from_its_start() -> None:
    named = ["tab:blue", "tab:orange", "tab:green"]
    assert class_colours(3, "tab10") == tuple(bytes_of(name) for name in named)


@pytest.mark.parametrize("k", [2, 5, 100])
def test_a_continuous_colour_map_is_sampled_evenly_from_end_to_end(k: int) -> None:
    expected = [bytes_of(colormaps["viridis"](float(position))) for position in np.linspace(0, 1, k)]
    assert class_colours(k, "viridis") == tuple(expected)


@pytest.mark.parametrize("name", ["hsv", "twilight", "twilight_shifted", "hsv_r", "twilight_r", "twilight_shifted_r"])
def test_a_cyclic_colour_map_gives_different_colours_at_its_ends(name: str) -> None:
    for k in (2, 3, 8, 20):
        colours = np.array(class_colours(k, name), int)
        between = np.abs(colours[:, None] - colours).sum(axis=2)
        neighbours = between[np.arange(k - 1), np.arange(1, k)]
        assert between[0, -1] > neighbours.min() / 2  # last and first as far apart as others are


@pytest.mark.parametrize("k", [2, 9, 20, 100, 254])
def test_colours_of_any_colour_map_differ_or_it_is_refused(k: int) -> None:
    repeating = []
    for name in colormaps:
        try:
            colours = class_colours(k, name)
        except ConfigError:
            continue
        if len(set(colours)) < k:
            repeating.append(name)
    assert repeating == []


@pytest.mark.parametrize(("name", "most"), [("tab10", 10), ("tab20", 20), ("Set3", 12)])
def test_a_listed_colour_map_with_too_few_colours_is_refused_with_both_numbers(name: str, most: int) -> None:
    assert len(set(class_colours(most, name))) == most
    with pytest.raises(ConfigError, match=rf"output\.palette: {name} has {most} colours for {most + 1} classes"):
        class_colours(most + 1, name)


def test_an_unknown_palette_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"output\.palette: 'virids' is not a .*colour map; did you mean viridis\?"):
        class_colours(4, "virids")
    with pytest.raises(ConfigError, match=r"'\?!' is not a matplotlib colour map; use 'auto'"):
        class_colours(4, "?!")


def test_colours_chosen_for_the_classes_of_a_model_are_used_unless_a_palette_is_named() -> None:
    model = model_of([[0.0], [1.0], [2.0]])
    chosen = model.classes[1].model_copy(update={"colour": (1, 2, 3)})
    model = model.model_copy(update={"classes": (model.classes[0], chosen, model.classes[2])})
    own = class_colours(3)
    assert model_colours(model) == (own[0], (1, 2, 3), own[2])
    assert model_colours(model, "tab10") == class_colours(3, "tab10")


@pytest.mark.parametrize(("k", "palette"), [(254, "auto"), (254, "gray"), (7, "Greys_r"), (20, "tab20")])
def test_the_grey_of_unclassified_pixels_is_that_of_no_class(k: int, palette: str) -> None:
    colours = class_colours(k, palette)
    red, green, blue = unclassified_colour(colours)
    assert red == green == blue
    assert (red, green, blue) not in colours
    assert unclassified_colour(class_colours(8)) == (75, 75, 75)
