"""Bands of a picture: near infrared is in a visible colour only if the config says so."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import MemorySource

from pipeline.config.schema import OutputSection
from pipeline.core.errors import ConfigError
from pipeline.core.scene_info import SceneInfo
from pipeline.sinks.picture_options import PictureOptions, check_shown, shown_bands
from pipeline.sinks.registry import OutputConfig


def info_of(bands: tuple[str, ...], common: tuple[str | None, ...] = ()) -> SceneInfo:
    return replace(MemorySource(np.zeros((len(bands), 4, 4), np.uint8)).info, bands=bands, common_names=common)


def section(**keys: Any) -> OutputSection:
    return OutputConfig(labels="c.tif", **keys)


@pytest.mark.parametrize(
    ("bands", "common", "expected"),
    [
        (("B02", "B03", "B04", "B08"), (), ("B04", "B03", "B02")),
        (("B08", "B04", "B03"), (), ("B08",)),
        (("nir", "red", "green", "swir16"), (), ("nir",)),
        (("band1", "band2", "band3", "band4"), (), ("band1",)),
        (("band1", "band2", "band3", "band4"), ("nir", "red", "green", "blue"), ("band2", "band3", "band4")),
        (("band1", "band2", "band3"), ("red", "green", None), ("band1",)),
        (("B1", "B2", "B3", "B4"), (), ("B1",)),  # blue on one sensor, coastal on another
        (("red", "Red", "green", "blue"), (), ("red",)),
    ],
)
def test_without_a_choice_only_red_green_and_blue_are_shown_in_colour(
    bands: tuple[str, ...], common: tuple[str | None, ...], expected: tuple[str, ...]
) -> None:
    assert tuple(bands[i] for i in shown_bands(bands, common)) == expected


def test_chosen_bands_are_shown_in_their_order_by_name_or_common_name() -> None:
    bands = ("B02", "B03", "B04", "B08")
    assert shown_bands(bands, (), ("nir", "B4", "green")) == (3, 2, 1)
    assert shown_bands(bands, (), ("nir",)) == (3,)
    assert shown_bands(("a", "b", "c"), ("red", "nir", "green"), ("nir", "a", "c")) == (1, 0, 2)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["B11", "B08", "B04"], r"output\.rgb: 'B11' is not among the bands of the map, which are B02, B04, B08, nir2"),
        ([4, 3, 2], r"output\.rgb: '4' is not among"),  # of the source or of the map? a number does not say
        (["nir", "B04", "B02"], r"output\.rgb: 'nir' matches B08, nir2; name one of them"),
    ],
)
def test_a_band_that_is_not_read_or_not_one_is_refused(wanted: list[Any], message: str) -> None:
    info = info_of(("B02", "B04", "B08", "nir2"), ("blue", "red", "nir", "nir"))
    with pytest.raises(ConfigError, match=message):
        check_shown(info, section(rgb=wanted))


def test_natural_colours_need_colours_of_the_scene_or_a_choice() -> None:
    info = info_of(("B04", "B08", "B11"))
    with pytest.raises(ConfigError, match=r"natural: which of B04, B08, B11 are red, green and blue is not known"):
        check_shown(info, section(palette="natural"))
    assert check_shown(info, section(palette="natural", rgb=["nir", "B11", "red"])) == (1, 2, 0)
    assert check_shown(info, section()) == (0,)


def test_a_world_file_fits_a_picture_of_one_panel_without_a_title() -> None:
    options = PictureOptions.of(section(world_file=True, panels="classes"))
    assert options.bare
    assert options.shown == ("classes",)
    with pytest.raises(ConfigError, match=r"output\.world_file: .*choose one with output\.panels: classes, or scene"):
        PictureOptions.of(section(world_file=True))
    with pytest.raises(ConfigError, match=r"output\.title: a picture with a world file has no title"):
        PictureOptions.of(section(world_file=True, panels="scene", title="x"))
