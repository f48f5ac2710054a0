"""Colours of classes are all different, and safe for the colour-blind up to nine classes."""

import logging
import subprocess
import sys

import cmocean
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from sources import model_of

from pipeline.core.errors import ConfigError
from pipeline.sinks.palette import (
    Colour,
    check_palette,
    class_colours,
    model_colours,
    unclassified_colour,
    warn_of_palette,
)
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
    with pytest.raises(ConfigError, match=r"output\.palette: 'virids' is not a .*; did you mean viridis\?"):
        class_colours(4, "virids")
    with pytest.raises(ConfigError, match=r"'\?!' is not a matplotlib colour map, nor one of cmocean; use 'auto'"):
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


@pytest.mark.parametrize("name", ["deep", "cmo.deep_r", "cmo.gray"])
def test_colour_maps_of_cmocean_are_found_with_and_without_their_prefix(name: str) -> None:
    shades = cmocean.cm.cmap_d[name.removeprefix("cmo.")](np.linspace(0, 1, 7))
    assert class_colours(7, name) == tuple(bytes_of(shade) for shade in shades)


def test_without_cmocean_a_message_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['cmocean'] = None\n"
        "from pipeline.sinks.palette import class_colours\n"
        "try: class_colours(3, 'cmo.deep')\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "output.palette: deep is a colour map of cmocean, which is not installed; install it with: "
        "pip install 'terrazzo[cmocean]'\n"
    )


@pytest.mark.parametrize("name", ["hsv", "twilight_shifted_r", "phase", "cmo.phase_r", "cmo.phase_i"])
def test_a_cyclic_colour_map_is_warned_about_and_no_other(name: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_palette("viridis", 8)
    warn_of_palette("auto", 8)
    assert not caplog.records
    warn_of_palette(name, 8)
    assert "is cyclic: the colours of classes 1 and 8 look alike" in caplog.text


LISTED = ((1, 2, 3), (4, 5, 6), (7, 8, 9))


def test_a_list_gives_each_class_its_colour_and_a_wrong_length_is_refused_with_both_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert class_colours(3, LISTED) == model_colours(model_of([[0.0], [1.0], [2.0]]), LISTED) == LISTED
    for k in (2, 4):
        with pytest.raises(ConfigError, match=rf"^output\.palette: there are 3 colours for {k} classes"):
            check_palette(LISTED, k, k)
    check_palette(LISTED, 2, 5)  # isodata may find as many
    for least, most in ((4, 6), (1, 2)):
        with pytest.raises(ConfigError, match=rf"there are 3 colours for {least} to {most} classes"):
            check_palette(LISTED, least, most)
    warn_of_palette((*LISTED, LISTED[1]), 4)
    assert "classes 2 and 4 have the same colour" in caplog.text


def test_after_a_fit_that_found_another_number_of_classes_colours_are_left_out_or_filled_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert model_colours(model_of([[0.0], [1.0]]), LISTED) == LISTED[:2]
    assert "there are 3 colours for the 2 classes that the fit found; the last 1 are not used" in caplog.text
    assert model_colours(model_of([[0.0], [1.0], [2.0], [3.0], [4.0]]), LISTED) == (*LISTED, *class_colours(2))
    assert "classes 4 to 5 have colours of 'auto'" in caplog.text


def test_natural_colours_say_how_much_they_differ(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    colours = model_colours(model_of([[0, 0, 0], [9, 5, 1], [1, 5, 9]]), "natural", (0, 1, 2))
    assert len(set(colours)) == 3
    assert "natural: the colours of classes" in caplog.text
    with pytest.raises(ConfigError, match="natural: these colours are those of a model's classes"):
        class_colours(3, "natural")
