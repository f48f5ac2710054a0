"""Band names: derived from file names, found by name, number or common name; others are refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.core.band_names import (
    band_from_file_name,
    band_order,
    check_names_differ,
    choose_bands,
    find_band,
    find_rgb,
    names_of_band_files,
)
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.text import printable

SENTINEL2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]

names = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
several_names = st.lists(names, min_size=1, max_size=6, unique=True)


@pytest.mark.parametrize(
    ("file", "band"),
    [
        ("/data/T33UUU_20170105T101402_B02.jp2", "B02"),  # level 1C since 2016
        ("R20m/T32TQM_20200101T100319_B8A_20m.jp2", "B8A"),  # level 2A
        ("S2A_OPER_MSI_L1C_TL_SGS__20160101T000000_A002733_T32TQM_B10.jp2", "B10"),  # level 1C before 2016
        ("landsat.b4.tif", "B4"),
        ("B11.tif", "B11"),
        ("field_B2_B04.tif", "B04"),  # the last of several
        ("LC08_L2SP_190024_20200101_SR_B1.TIF", "B1"),
        ("T33UUU_20170105T101402_TCI.jp2", None),
        ("B02/scene.tif", None),  # a folder's name is not the file's
        ("B123.tif", None),
        ("Berlin.tif", None),
    ],
)
def test_band_of_a_file_is_the_last_band_token_of_its_name(file: str, band: str | None) -> None:
    assert band_from_file_name(file) == band


@given(order=st.permutations(SENTINEL2))
@settings(max_examples=50, deadline=None)
def test_band_order_is_by_number_with_8a_after_8(order: list[str]) -> None:
    assert sorted([f"T33UUU_{band}_20m.jp2" for band in order], key=band_order) == [
        f"T33UUU_{band}_20m.jp2" for band in SENTINEL2
    ]


@given(one=st.text(max_size=8), other=st.text(max_size=8))
@example(one="a1²2", other="a1b2")
@settings(max_examples=100, deadline=None)
def test_any_two_names_are_comparable(one: str, other: str) -> None:
    assert band_order(one) <= band_order(other) or band_order(other) <= band_order(one)


@given(
    stems=st.lists(st.text("ab12B0_-. ", min_size=1, max_size=9), min_size=2, max_size=5, unique=True), data=st.data()
)
@settings(max_examples=200, deadline=None)
def test_band_names_of_files_are_unique_and_independent_of_file_order(stems: list[str], data: st.DataObject) -> None:
    paths = [f"/scene/x{stem}x.tif" for stem in stems]
    found = names_of_band_files(paths)
    assert len(set(found)) == len(paths)
    assert all(found)
    order = data.draw(st.permutations(range(len(paths))))
    assert names_of_band_files([paths[i] for i in order]) == [found[i] for i in order]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["T33UUU_B02_10m.jp2", "T33UUU_B8A_10m.jp2"], ["B02", "B8A"]),
        (["farm_red2.tif", "farm_nir.tif"], ["red2", "nir"]),
        (["farm_red_2020.tif", "farm_nir_2020.tif"], ["red", "nir"]),
        (["a_B02.tif", "b_B02.tif"], ["a", "b"]),  # the same band of two scenes
        (["farm.tif", "farm_nir.tif"], ["farm", "farm_nir"]),  # "farm" would become an empty name
        (["x_B04.tif"], ["B04"]),
        (["x.tif"], ["band1"]),
    ],
)
def test_single_band_files_are_named_after_their_differing_words(files: list[str], expected: list[str]) -> None:
    assert names_of_band_files(files) == expected


COMMON = ["coastal", "blue", "green", "red", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09",
          "cirrus", "swir16", "swir22"]  # fmt: skip


@pytest.mark.parametrize(("band", "common"), list(zip(SENTINEL2, COMMON, strict=True)))
@given(order=st.permutations(SENTINEL2))
@settings(max_examples=10, deadline=None)
def test_sentinel2_band_is_found_by_name_number_and_common_name(band: str, common: str, order: list[str]) -> None:
    position = order.index(band)
    for wanted in (band, band.lower(), str(position + 1), common, common.upper()):
        assert find_band(wanted, order) == position


def test_exact_name_takes_precedence_over_number() -> None:
    assert find_band("2", ["2", "1"]) == 0
    assert find_band("1", ["2", "1"]) == 1


def test_common_name_of_two_bands_is_refused_naming_both() -> None:
    with pytest.raises(ConfigError, match=r"'red' matches B04, Red; name one"):
        find_band("red", ["B04", "Red", "B08"])


def test_unknown_band_is_refused_naming_the_nearest_and_all_bands() -> None:
    with pytest.raises(ConfigError, match=r"no band 'B44'; did you mean B04\? .* B02, B04; by number, 1 to 2"):
        find_band("B44", ["B02", "B04"])


@given(wanted=st.text(max_size=5), names=several_names)
@example(wanted="²", names=["a", "b"])
@example(wanted="0", names=["a"])
@example(wanted="٢", names=["a", "b"])
@settings(max_examples=200, deadline=None)
def test_any_requested_band_is_found_or_refused_listing_all_bands(wanted: str, names: list[str]) -> None:
    message = ""
    try:
        position = find_band(wanted, names)
    except ConfigError as error:
        message = str(error)
    if message:
        assert wanted not in names
        assert all(printable(name) in message for name in names)
    else:
        assert 0 <= position < len(names)
        assert names[position] == wanted or wanted not in names


@given(names=several_names, data=st.data())
@settings(max_examples=100, deadline=None)
def test_chosen_bands_are_in_the_requested_order(names: list[str], data: st.DataObject) -> None:
    positions = data.draw(st.lists(st.sampled_from(range(len(names))), min_size=1, unique=True))
    assert choose_bands([names[i] for i in positions], names) == positions


@pytest.mark.parametrize("twice", [["B04", "B04"], ["B04", "red"], ["2", "B04"], ["B02", "red", "b04"]])
def test_band_requested_twice_under_different_names_is_refused(twice: list[str]) -> None:
    with pytest.raises(ConfigError, match=rf"{twice[-1]!r} selects band B04 a second time"):
        choose_bands(twice, ["B02", "B04"])


def test_two_bands_with_the_same_name_are_refused_naming_their_files() -> None:
    with pytest.raises(SceneError, match=r"called B04, in a\.tif and in b\.tif"):
        check_names_differ(["B02", "B04", "B04"], ["a.tif", "a.tif", "b.tif"])
    with pytest.raises(SceneError, match=r"called B04, in a\.tif;"):
        check_names_differ(["B04", "B04"], ["a.tif", "a.tif"])
    assert check_names_differ(["B02", "B04"], ["a.tif", "a.tif"]) is None  # type: ignore[func-returns-value]


@given(order=st.permutations(["B04", "Green", "blue", "B08", "x"]))
@settings(max_examples=30, deadline=None)
def test_find_rgb_works_for_any_band_order(order: list[str]) -> None:
    found = find_rgb(order)
    assert found is not None
    assert [order[i] for i in found] == ["B04", "Green", "blue"]


@pytest.mark.parametrize("names", [["B04", "B03"], ["B04", "red", "B03", "B02"], ["band1", "band2", "band3"], []])
def test_find_rgb_returns_none_if_a_colour_is_missing_or_occurs_twice(names: list[str]) -> None:
    assert find_rgb(names) is None
