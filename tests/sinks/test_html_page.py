"""HTML is read back as what was written, whatever the text, and nothing of it comes from elsewhere."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import ROOT
from pages import Node, read_page

from pipeline.core.text import printable
from pipeline.sinks.html_page import Html, document, element, join, raw, table

HOSTILE = [
    "<script>alert(1)</script>", "a & b", "&amp;", "\"'><img src=x onerror=alert(1)>", "</style>", "--><!-- x", "]]>",
    "B\u202e04", "null\x00", "a\tb", "caf\u00e9 \u6c34", "\ud800", "</td></table>",
]  # fmt: skip


def only(html: str) -> Node:
    """The one element of a text."""
    (node,) = read_page(html).content
    assert isinstance(node, Node)
    return node


@pytest.mark.parametrize("text", HOSTILE)
def test_text_stays_text_in_elements_attributes_and_tables(text: str) -> None:
    shown = printable(text)
    node = only(element("p", text, element("b", text), aria_label=text))
    assert node.attributes == {"aria-label": shown}
    assert [each if isinstance(each, str) else (each.name, each.text) for each in node.content] == [shown, ("b", shown)]
    rows = only(table(text, ["class", text], [[text, text]])).all("tr")
    assert [[cell.text for cell in row.all("th") + row.all("td")] for row in rows] == [["class", shown], [shown] * 2]
    page = read_page(document(text, join([text]), style="p{}", script="1"))
    assert page.all("title")[0].text == page.all("body")[0].content[0] == shown
    assert len(page.all("script")) == len(page.all("style")) == 1


def test_lines_stay_lines() -> None:
    assert only(element("pre", "a: <1>\n  b: &\n")).text == "a: <1>\n  b: &\n"


@pytest.mark.parametrize(
    "attributes",
    [
        {"onclick": "alert(1)"},
        {"style": "color: red"},
        {"src": "https://example.org/x.png"},
        {"src": "//example.org/x.png"},
        {"href": "javascript:alert(1)"},
        {"href": "map.tif"},
        {"src": "file:///etc/passwd"},
    ],
)
def test_code_and_addresses_outside_of_the_page_are_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="neither code nor addresses outside of the page"):
        element("img", **attributes)


@pytest.mark.parametrize("name", ["p onclick=x", "p>", "", "1"])
def test_a_text_is_no_name_of_an_element(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        element(name)


def test_a_style_sheet_can_not_end_its_element() -> None:
    with pytest.raises(ValueError, match="would end its element"):
        raw("style", "p::after { content: '</style><script>alert(1)</script>' }")


def test_the_policy_allows_this_style_sheet_and_this_script_and_nothing_else() -> None:
    page = read_page(document("t", Html(), style="p{color:red}", script="'use strict';"))
    (policy,) = [meta.attributes["content"] for meta in page.all("meta") if "http-equiv" in meta.attributes]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))

    def digest(code: str) -> str:
        return f"'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": digest("p{color:red}"),
        "script-src": digest("'use strict';"),
        "base-uri": "'none'",
    }


def test_cells_have_their_heads() -> None:
    heads = only(table("caption", ["class", "pixels"], [["1", "5"], ["2", "7"]])).all("th")
    assert [(head.text, head.attributes["scope"]) for head in heads] == [
        ("class", "col"), ("pixels", "col"), ("1", "row"), ("2", "row"),
    ]  # fmt: skip


def test_text_becomes_html_in_one_module_only() -> None:
    made = [
        file.name
        for file in (ROOT / "pipeline").rglob("*.py")
        if re.search(r"\bHtml\((?!\))", file.read_text()) and "html_page" not in file.name
    ]
    assert made == []
    assert Path(ROOT / "pipeline" / "sinks" / "html_page.py").is_file()


def test_numbers_of_attributes_are_kept_also_zero() -> None:
    node = only(element("input", min=0, value=0.0, tabindex=0, hidden=False, title=None, disabled=True))
    assert {**node.attributes, "disabled": ""} == {"min": "0", "value": "0.0", "tabindex": "0", "disabled": ""}
