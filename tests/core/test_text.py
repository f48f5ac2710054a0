"""Escaped text: no invisible or control characters on terminals, in JSON and in YAML."""

import json
import unicodedata

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import SceneError
from pipeline.core.text import json_text, printable, unreadable_name, yaml_text

ANY_TEXT = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "L", "Zs", "So", "P"]))


@given(ANY_TEXT)
def test_printable_text_has_no_invisible_characters(text: str) -> None:
    escaped = printable(text)
    assert not {unicodedata.category(character) for character in escaped} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(escaped) == escaped
    assert str(SceneError(text)) == escaped
    assert escaped.encode().decode() == escaped


def test_letters_of_any_script_are_not_escaped() -> None:
    for text in ("Größe 10 m²", "衛星画像", "рельеф", "صورة", "🛰"):
        assert printable(text) == text


@given(ANY_TEXT, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_json_text_can_be_encoded_and_parsed_back(text: str, encoding: str) -> None:
    written = json_text({text: [text, 1.5, None]}, encoding, indent=1)
    assert json.loads(written.encode(encoding).decode(encoding)) == {text: [text, 1.5, None]}
    assert all(line == printable(line) for line in written.split("\n"))


@given(ANY_TEXT)
def test_yaml_text_can_be_parsed_back(text: str) -> None:
    assert yaml.safe_load(yaml_text([text])) == [text]
    assert yaml_text(text) == printable(yaml_text(text))


@pytest.mark.parametrize("name", ["a\udcfc.tif", "\ud800"])
def test_file_names_that_are_not_utf8_are_reported(name: str) -> None:
    assert "not UTF-8" in unreadable_name(name)
    assert unreadable_name("für/szene.tif") == ""
