"""Names in legends: any text of a model becomes a line that XML can contain."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maps import job_of, summary_of

from pipeline.core.errors import OutputError
from pipeline.sinks.legend import LegendEntry, legend_of
from pipeline.sinks.qml import QmlWriter
from pipeline.sinks.sidecar import SidecarWriter


@given(st.text())
def test_any_name_is_a_line_that_xml_gives_back(name: str) -> None:
    shown = LegendEntry.of(7, name, (0, 0, 0)).name
    element = ET.Element("paletteEntry", label=shown)
    element.text = shown
    again = ET.fromstring(ET.tostring(element, encoding="utf-8"))  # noqa: S314 (our own)
    assert again.get("label") == again.text == shown
    assert shown.strip() == shown != ""
    assert len(shown.splitlines()) == 1
    assert len(shown) <= 200


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("wet meadow", "wet meadow"),
        (" a\n\tb ", "a b"),
        ("bell\x07", r"bell\x07"),
        ("half \ud83d", r"half \ud83d"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\u2028 ", "class 7"),
        ("", "class 7"),
        ("森" * 300, "森" * 199 + "…"),
    ],
)
def test_names_are_changed_only_where_a_legend_can_not_show_them(name: str, shown: str) -> None:
    assert LegendEntry.of(7, name, (0, 0, 0)).name == shown


def test_unclassified_pixels_are_in_the_legend_only_if_there_are_any() -> None:
    job = job_of("water", "wood")
    assert [(each.label, each.name) for each in legend_of(job, summary_of(job, 1, 2).statistics)] == [
        (1, "water"), (2, "wood"),
    ]  # fmt: skip
    last = legend_of(job, summary_of(job, 1, 2, unclassified=1).statistics)[-1]
    assert (last.label, last.name, last.hex_colour) == (255, "unclassified", "#4b4b4b")


def test_files_that_can_not_be_written_name_the_key_that_can_be_changed(tmp_path: Path) -> None:
    job = job_of("water", "wood")
    for writer, key in ((QmlWriter, "qml"), (SidecarWriter, "labels")):
        with pytest.raises(
            OutputError, match=rf"none: the \w+ .* can't be written \(No such file.*; set output\.{key}"
        ):
            writer(tmp_path / "none" / "a.xml", job).finish(summary_of(job, 1, 2))
