"""HTML that is safe to open: one function writes elements and escapes text, and nothing is loaded from a host."""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from typing import Final

from pipeline.core.text import printable

TIMES: Final = "\N{MULTIPLICATION SIGN}"
UNKNOWN: Final = "\N{EN DASH}"
"""What stands for a number that is not known."""

_VOID: Final = {"br", "img", "input", "link", "meta"}
"""Elements without content and without closing tag."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
"""A name of an element or of an attribute."""

_OWN: Final = ("data:", "#")
"""How addresses begin that are part of the page itself."""


class Html(str):
    """Text that is HTML already. Only `element`, `join` and `raw` make it, so that no other text gets in unescaped."""

    __slots__ = ()


def text(content: str) -> Html:
    """Escape a text, which may have several lines; invisible characters become Python escapes."""
    return Html(escape("\n".join(map(printable, content.split("\n")))))


def join(content: Iterable[str]) -> Html:
    """Join texts and elements; texts are escaped."""
    return Html("".join(each if isinstance(each, Html) else text(each) for each in content))


def element(name: str, /, *content: str, **attributes: str | float | bool | None) -> Html:
    """Write an element with its content; text and the values of attributes are escaped.

    Attributes are named as in Python: `class_` is class, `aria_label` is aria-label. False and None leave one out.
    Raises ValueError for code in an attribute, and for an address outside of the page.
    """
    given = {
        key: value for key, value in attributes.items() if value is not None and value is not False
    }  # 0 is a value
    written = "".join(_attribute(key, value) for key, value in given.items())
    start = f"<{_checked(name)}{written}>"
    return Html(start if name in _VOID else f"{start}{join(content)}</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:  # noqa: FBT001 (HTML has such attributes)
    name = _checked(key.rstrip("_").replace("_", "-"))
    if name.startswith("on") or name == "style" or (name in {"src", "href"} and not str(value).startswith(_OWN)):
        msg = f'{name}="{value}": neither code nor addresses outside of the page are allowed here'
        raise ValueError(msg)
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is not a name of an element or an attribute"
        raise ValueError(msg)
    return name


def raw(name: str, code: str) -> Html:
    """Write an element whose content is code of our own: a style sheet or a script."""
    if "</" in code or "<!--" in code:
        msg = f"{name}: the code would end its element"
        raise ValueError(msg)
    return Html(f"<{name}>{code}</{name}>")


def data_address(content: bytes, kind: str) -> str:
    """Address that holds a file of a media type, such as image/png."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, tall: bool = False
) -> Html:
    """Write a table whose first column heads its rows; cells after the first `left` columns are aligned to the right.

    It scrolls by itself if it is wider than the page, or if it may be `tall` and is.
    """
    columns = join(
        element("th", cell, scope="col", class_=None if number < left else "number") for number, cell in enumerate(head)
    )
    lines = (
        join(
            element("th", cell, scope="row")
            if number == 0
            else element("td", cell, class_=None if number < left else "number")
            for number, cell in enumerate(row)
        )
        for row in rows
    )
    body = element("tbody", join(element("tr", line) for line in lines))
    head_row = element("thead", element("tr", columns)) if any(head) else ""
    content = element("table", element("caption", element("span", caption)), head_row, body)
    return element(
        "div", content, class_="scroll tall" if tall else "scroll", role="region", aria_label=caption, tabindex=0
    )


def document(title: str, body: Html, *, style: str, script: str) -> str:
    """Write a page whose security policy allows this style sheet, this script and images inside the page, no more."""
    rules = ["default-src 'none'", "img-src data:", f"style-src {_digest(style)}", f"script-src {_digest(script)}"]
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content="; ".join([*rules, "base-uri 'none'"])),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("link", rel="icon", href="data:,"),
        raw("style", style),
    ]
    page = element("html", element("head", *head), element("body", body, raw("script", script)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _digest(code: str) -> str:
    """How a security policy names a style sheet or a script."""
    return f"'sha256-{b64encode(sha256(code.encode()).digest()).decode('ascii')}'"
