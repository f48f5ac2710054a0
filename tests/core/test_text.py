"""Text from outside on a terminal: nothing in it moves the cursor, hides or turns other letters."""

import json
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import SceneError
from pipeline.core.text import json_text, printable, unreadable_name, yaml_text

NASTY = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "L", "Zs", "So", "P"]))


@given(NASTY)
def test_what_is_shown_has_no_character_that_shows_nothing(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown
    assert str(SceneError(text)) == shown
    assert shown.encode().decode() == shown


def test_letters_of_any_script_stay_as_they_are() -> None:
    for text in ("Größe 10 m²", "衛星画像", "рельеф", "صورة", "🛰"):
        assert printable(text) == text


@given(NASTY, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_json_can_be_written_and_means_the_same(text: str, encoding: str) -> None:
    written = json_text({text: [text, 1.5, None]}, encoding, indent=1)
    assert json.loads(written.encode(encoding).decode(encoding)) == {text: [text, 1.5, None]}
    assert all(line == printable(line) for line in written.split("\n"))


@given(NASTY)
def test_yaml_means_the_same(text: str) -> None:
    assert yaml.safe_load(yaml_text([text])) == [text]
    assert yaml_text(text) == printable(yaml_text(text))


@pytest.mark.parametrize("name", ["a\udcfc.tif", "\ud800"])
def test_names_that_are_no_utf8_are_told(name: str) -> None:
    assert "not UTF-8" in unreadable_name(name)
    assert unreadable_name("für/szene.tif") == ""
