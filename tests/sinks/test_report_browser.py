"""The page of a run in Chromium: no errors, a slider for the keyboard, no scrolling sideways, readable in the dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from blocks import holes, scene
from fakes import MemorySource
from pages import write_page
from sources import model_of

from pipeline.sinks.html_page import Html, document

pytestmark = pytest.mark.skipif(not browser.COMMAND, reason="Chromium is not installed")

LEAST_CONTRAST = 4.5
"""Contrast of text that WCAG 2 asks for (AA)."""

CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = "h1, h2, p, td, th, dt, dd, pre code, figcaption, caption span, .shade, svg text, .spread";
  for (const node of document.querySelectorAll(texts)) {
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.ownerSVGElement ? style.fill : style.color)), light(behind(node))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.outerHTML.slice(0, 80)]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a scene with nodata, many bands and classes."""
    path = tmp_path_factory.mktemp("report") / "classes.html"
    source = MemorySource(scene("u1", bands=13), holes((120, 150)))
    write_page(path, source, model_of(np.random.default_rng(3).integers(40, 200, (10, 13))))
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_loads_without_errors_fits_its_window_and_can_be_read(
    page: browser.Page,
    file: Path,
    width: int,
    dark: bool,  # noqa: FBT001
) -> None:
    page.open(file, width, dark=dark)
    assert page.complaints == []
    assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)"
    )
    faint = [each for each in page.run(CONTRAST) if each[0] < LEAST_CONTRAST]
    assert faint == []
    height = "text.getBBox().height * text.ownerSVGElement.getScreenCTM().d"
    heights = f"[...document.querySelectorAll('svg text')].map(text => {height})"
    assert min(abs(height) for height in page.run(heights)) >= 9, "labels are no smaller than this"


def test_the_slider_moves_by_keyboard_and_uncovers_the_scene(page: browser.Page, file: Path) -> None:
    page.open(file, 1280)
    assert state(page) == ["50", "inset(0px 0px 0px 50%)"]
    page.press("Tab")
    assert page.run("document.activeElement === document.querySelector('.stage input')"), (
        "it is the first to be reached"
    )
    for key, expected in (
        ("ArrowRight", "51"),
        ("ArrowLeft", "50"),
        ("ArrowLeft", "49"),
        ("End", "100"),
        ("Home", "0"),
    ):
        page.press(key)
        assert state(page) == [expected, f"inset(0px 0px 0px {expected}%)"], key
    assert page.run("document.activeElement.getAttribute('aria-valuetext')") == "0 % scene, 100 % map"
    page.call("Emulation.setEmulatedMedia", media="print")
    shown = page.run("[...document.querySelectorAll('.stage img')].map(image => image.getBoundingClientRect().width)")
    assert shown[0] == shown[1] > 0, "side by side on paper"
    assert page.run("getComputedStyle(document.querySelector('img.map')).clipPath") == "none"


def state(page: browser.Page) -> Any:
    """Position of the slider, and what is cut off from the picture of the map."""
    image = "getComputedStyle(document.querySelector('img.map')).clipPath"
    return page.run(f"[document.querySelector('.stage input').value, {image}]")


def test_its_policy_stops_code_and_addresses_that_would_get_in(page: browser.Page, tmp_path: Path) -> None:
    """The browser tells what it stops, so that the absence of complaints says something."""
    hostile = '<script>document.title = "changed"</script><img src="https://example.org/x.png" onerror="alert(1)">'
    path = tmp_path / "p.html"
    path.write_text(document("title", Html(hostile), style="p{color:red}", script="1;"))
    page.open(path, 400)
    assert page.run("document.title") == "title"
    assert len(page.complaints) >= 2
