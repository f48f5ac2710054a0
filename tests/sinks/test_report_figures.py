"""Figures of the report: which bands they show, in which order, and the numbers of pixels in them."""

import re
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from blocks import scene
from fakes import MemorySource
from pages import Node, content_of, ranges_of, read_page
from sources import model_of

from pipeline.methods.lloyd import Start
from pipeline.methods.method import Pass
from pipeline.sinks.report import MOST_CLASSES
from pipeline.sinks.report_figures import entry_name, histograms, log_charts, spectra

CENTRES = [[40.0, 60, 90, 30], [120, 110, 100, 180], [200, 190, 210, 170]]


def source_of(*names: str, **facts: Any) -> MemorySource:
    """A scene whose bands have names, and facts."""
    source = MemorySource(scene("u1", bands=len(names)))
    source.info = replace(source.info, bands=names, **facts)
    return source


def test_spectra_are_in_the_order_of_wavelengths_and_leave_out_other_quantities() -> None:
    quantities = ("reflectance", "reflectance", "index", "reflectance")
    source = source_of("B08", "B02", "ndvi", "B04", scales=(0.004,) * 4, quantities=quantities)
    model = model_of(np.array(CENTRES), bands=source.info.bands)
    content = content_of(source, model.model_copy(update={"units": source.info.units}))
    chart, note = spectra(content)
    page = read_page(chart)
    assert [node.text for node in page.all("text", "middle")][1:-1] == ["B02 490", "B04 665", "B08 835"]
    assert "(reflectance)" in note
    assert note.endswith("Not drawn, as they are other quantities: ndvi.")
    assert [node.text for node in page.all("text", "strong")] != []


def test_bands_of_unknown_wavelengths_are_in_their_own_order() -> None:
    source = source_of("swir", "red", "x", "blue")
    chart, _ = spectra(content_of(source, model_of(CENTRES, bands=source.info.bands)))
    assert [node.text for node in read_page(chart).all("text", "middle")][1:-1] == ["swir", "red", "x", "blue"]


def test_one_band_has_no_spectrum() -> None:
    source = source_of("B08")
    assert spectra(content_of(source, model_of([[50], [150]], bands=["B08"]))) == ("", "")


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_histograms_count_the_valid_pixels_of_each_class(dtype: str) -> None:
    data = scene(dtype, bands=1)
    source = MemorySource(data, np.random.default_rng(1).random(data.shape[1:]) < 0.8)
    content = content_of(source, model_of([[60], [110], [160]], dtype=source.info.dtype.name))
    figure = read_page(histograms(content)[0])
    tops = {node.attributes["fill"]: heights(node) for node in figure.all("path") if "fill" in node.attributes}
    values, labels = data[0][source.valid], content.sample_labels[content.valid_sample]
    low, high = np.percentile(values, [0.5, 99.5])
    inside = labels[(values >= low) & (values <= high)]
    # the classes are stacked, so each outline is the sum of its class and those below
    areas = np.array([tops[each.hex_colour].sum() for each in content.classes])
    expected = np.cumsum(np.bincount(inside, minlength=4)[1:])
    assert areas / areas[-1] == pytest.approx(expected / expected[-1], abs=0.01)
    assert 20 <= len(tops["#332288"]) <= 61
    assert len(figure.all("line", "casing")) == 3, "the extent of each class"


def heights(node: Node) -> npt.NDArray[np.float64]:
    """Heights of the bars of an outline."""
    start = float(node.attributes["d"].split()[1].split("V")[0])
    return start - np.array([float(up) for up in re.findall(r"V([\d.]+)H", node.attributes["d"])])


def test_whole_numbers_at_a_distance_make_no_comb() -> None:
    values = np.repeat(np.arange(0, 16 * 100, 16, dtype="u2"), 50).reshape(1, 50, 100)
    content = content_of(MemorySource(values), model_of([[100], [9000]], dtype="uint16"))
    bars = heights(read_page(histograms(content)[0]).all("path", "outline")[0])
    assert np.ptp(bars[1:-1]) == 0, "the same number of values in each bin"


def test_one_value_has_a_histogram() -> None:
    for dtype in ("u1", "f4"):
        content = content_of(
            MemorySource(np.full((1, 9, 9), 7, dtype)), model_of([[7], [90]], dtype=np.dtype(dtype).name)
        )
        assert (heights(read_page(histograms(content)[0]).all("path", "outline")[0]) > 0).sum() == 1


def test_classes_of_ranges_have_their_edges_in_the_histogram() -> None:
    source = MemorySource(np.arange(200, dtype="u1").reshape(1, 10, 20))
    content = content_of(source, ranges_of(20, 80, 120, 250))
    edges = [float(node.attributes["x1"]) for node in read_page(histograms(content)[0]).all("line", "edge")]
    assert len(edges) == 3, "that at 250 is beyond the pixels"
    assert (edges[2] - edges[1]) / (edges[1] - edges[0]) == pytest.approx(40 / 60, abs=0.01)


def test_many_classes_are_not_told_apart() -> None:
    source = source_of("B08")
    centres = np.linspace(30, 220, MOST_CLASSES + 1)[:, np.newaxis]
    (figure,) = histograms(content_of(source, model_of(centres, bands=["B08"])))
    assert len([node for node in read_page(figure).all("path") if "fill" in node.attributes]) == 1


def test_each_number_of_a_log_that_changes_has_a_chart() -> None:
    passes = [asdict(Pass(shift=10.0**-n, inertia=9.0 - n, changed=None if not n else 0.5)) for n in range(6)]
    titles = [read_page(chart).all("figcaption")[0].text for chart in log_charts(passes)]
    assert titles == ["Squared moves of the centres, by pass", "Sum of squared distances, by pass"]
    shift = read_page(log_charts(passes)[0])
    assert len(shift.all("text", "end")) >= 3, "powers of ten"
    starts = [asdict(Start(5.0, 7)), asdict(Start(4.0, 9))]
    assert entry_name(starts) == "start"
    assert not read_page(log_charts(starts)[0]).all("polyline"), "starts are not a sequence"
    assert log_charts(passes[:1]) == log_charts([]) == []
