"""A model at a glance: a short line, and a table in HTML with a row per class."""

from html.parser import HTMLParser

import numpy as np
import pytest
from sources import build, content, model_of

from pipeline.models.base import ClusterModel
from pipeline.models.classes import ClassInfo
from pipeline.models.colours import auto_colours, hex_colour, text_colour

pytestmark = pytest.mark.lowest


class Table(HTMLParser):
    """Rows of cells as text, and all tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
            self.styles.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self.styles[-1].append(str(dict(attrs)["style"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def named(model: ClusterModel, *names: str) -> ClusterModel:
    """Copy of a model with names of its classes, a colour for the first, and statistics for all but the last."""
    classes = [
        ClassInfo(
            id=number,
            name=name,
            pixels=number * 1000,
            colour=(255, 200, 0) if number == 1 else None,
            mean=(0.03 * number, 0.1 * number) if number < len(names) else None,
            std=(0.01, 0.01) if number < len(names) else None,
        )
        for number, name in enumerate(names, 1)
    ]
    return model.model_copy(update={"classes": tuple(classes)})


def test_the_table_has_a_row_per_class_with_its_numbers_and_colours() -> None:
    model = named(build(content()), "water", "forest", "roofs")
    table = Table(model._repr_html_())
    green = hex_colour(auto_colours(3)[1])
    assert table.rows == [
        ["label", "name", "colour", "pixels", "share", "mean B04", "mean B08"],
        ["1", "water", "#FFC800", "1,000", "16.7 %", "0.03000", "0.1000"],
        ["2", "forest", green, "2,000", "33.3 %", "0.06000", "0.2000"],
        ["3", "roofs", hex_colour(auto_colours(3)[2]), "3,000", "50.0 %", "-", "-"],
    ]
    assert "background: #FFC800" in table.styles[1][0]
    assert all("rgba(255, 200, 0," in style for style in table.styles[1][1:])
    assert table.open == []


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "a & b", "x\u202ey", "\x00"])
def test_names_are_escaped(name: str) -> None:
    parts = content(bands=(name, "B08"))
    table = Table(named(build(parts), name, "forest", "roofs")._repr_html_())
    assert table.tags == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert table.attributes == {"style"}
    shown = name.replace("\u202e", "\\u202e").replace("\x00", "\\x00")
    assert table.rows[1][1] == shown
    assert table.rows[0][5] == f"mean {shown}"


def test_the_line_says_method_classes_bands_and_pixels() -> None:
    model = build(content())
    line = "<Prototypes: 3 classes by kmeans of B04, B08 (numbers); fitted on 60 of 80 valid pixels>"
    assert repr(model) == str(model) == line
    many = model_of(np.arange(2 * 200).reshape(2, 200))
    assert len(repr(many)) < 250
    assert "200 in all" in repr(many)


def test_the_text_on_a_colour_is_the_one_of_more_contrast() -> None:
    def luminance(colour: tuple[int, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for colour in auto_colours(254):
        light = luminance(colour)
        contrasts = {"white": 1.05 / (light + 0.05), "black": (light + 0.05) / 0.05}
        assert contrasts[text_colour(colour)] > 4.5  # WCAG, for text of any size
