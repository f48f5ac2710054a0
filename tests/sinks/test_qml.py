"""The style for QGIS lists the classes with names and colours, and nothing else. QGIS: `tests/test_clients.py`."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from maps import job_of, summary_of

from pipeline.sinks.qml import QmlWriter


@pytest.mark.parametrize("unclassified", [0, 4])
def test_a_style_has_an_entry_per_class_and_none_of_nodata(tmp_path: Path, unclassified: int) -> None:
    job = job_of("<water> & 'ice'", 'wood "old"')
    QmlWriter(tmp_path / "map.qml", job).finish(summary_of(job, 1, 2, unclassified=unclassified))
    style = ET.parse(tmp_path / "map.qml").getroot()  # noqa: S314 (our own)
    expected = [("1", "<water> & 'ice'", "#332288"), ("2", 'wood "old"', "#88ccee")]
    if unclassified:
        expected.append(("255", "unclassified", "#4b4b4b"))
    entries = style.findall("pipe/rasterrenderer[@type='paletted']/colorPalette/paletteEntry")
    assert [(each.get("value"), each.get("label"), each.get("color")) for each in entries] == expected
    assert {each.get("alpha") for each in entries} == {"255"}
    assert "://" not in (tmp_path / "map.qml").read_text(), "no document type, no address"
