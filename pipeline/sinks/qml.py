"""The style of the map for QGIS as a sink (`.qml`): classes with names and colours, and nothing else in its legend."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.legend import LegendEntry, legend_needs, legend_of, write_xml

QML: Final = Sink(
    key="qml",
    what="the style for QGIS",
    ending=".qml",
    writer="pipeline.sinks.qml:QmlWriter",
    endings=(".qml",),
    form="a style of QGIS",
    needs=legend_needs,
)
"""What QGIS applies when it opens a map of the same name."""

_QGIS_VERSION: Final = "3.22.0"
"""Version of QGIS whose format this is; newer ones read it, too."""


class QmlWriter(Writer):
    """Writes the style of a layer that is drawn by a palette."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job = path, job

    def finish(self, summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        write_style(self._path, legend_of(self._job, summary.statistics))


def write_style(path: Path, legend: Iterable[LegendEntry]) -> None:
    """Write the style of a map; raise OutputError if it can't be written."""
    write_xml(path, paletted_style(legend), QML)


def paletted_style(legend: Iterable[LegendEntry]) -> ET.Element:
    """Return the style with an entry for each of the legend; other pixels, such as nodata, are transparent."""
    style = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    pipe = ET.SubElement(style, "pipe")
    how = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    palette = ET.SubElement(ET.SubElement(pipe, "rasterrenderer", how), "colorPalette")
    for entry in legend:
        shown = {"value": str(entry.label), "label": entry.name, "color": entry.hex_colour, "alpha": "255"}
        ET.SubElement(palette, "paletteEntry", shown)
    ET.SubElement(style, "blendMode").text = "0"
    return style
