"""The sidecar file of the map as a sink (GDAL's PAM, `.aux.xml`): names, colours and a table of the classes."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.labels.classify import ClassCounts
from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.legend import NODATA_NAME, LegendEntry, legend_needs, legend_of, write_xml

SIDECAR: Final = Sink(
    key="sidecar",
    what="the sidecar file with class names for GDAL",
    ending=".aux.xml",
    beside=True,
    with_maps=(".tif", ".tiff"),
    writer="pipeline.sinks.sidecar:SidecarWriter",
    needs=legend_needs,
)
"""What GDAL, QGIS, ArcGIS, GRASS and R read of the classes together with the map."""

_INTEGER, _REAL, _STRING = "0", "1", "2"
"""Types of a column of GDAL's attribute tables."""

_GENERIC, _PIXEL_COUNT, _NAME, _MIN_MAX = "0", "1", "2", "5"
"""What a column is used for (`GFU_...`); MIN_MAX is the value of the pixels that a row is of."""

_COLOUR_USAGES: Final = {"Red": "6", "Green": "7", "Blue": "8"}
"""Names of the columns of colours, and what they are used for."""

_LARGEST_INTEGER: Final = 2**31 - 1
"""Largest number in a column of integers."""

_NODATA_COLOUR: Final = (0, 0, 0, 0)
"""Colour of label 0, with an alpha of 0; without it QGIS shows it in its legend as black."""


@dataclass(frozen=True)
class _Column:
    """A column of an attribute table."""

    name: str
    """Its heading."""
    kind: str
    """Its type, as GDAL's number."""
    usage: str
    """What it is used for, as GDAL's number."""
    values: Sequence[object]
    """A value per row."""


class SidecarWriter(Writer):
    """Writes category names, a colour table and a thematic attribute table of the map's band.

    GDAL's COG driver would write the colour table with 256 entries and lose the names, so the file is our own.
    """

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job = path, job

    def finish(self, summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        write_sidecar(self._path, legend_of(self._job, summary.statistics), summary.statistics)


def write_sidecar(path: Path, legend: Sequence[LegendEntry], counts: ClassCounts) -> None:
    """Write the file of a map; raise OutputError if it can't be written."""
    dataset = ET.Element("PAMDataset")
    band = ET.SubElement(dataset, "PAMRasterBand", band="1")
    band.extend([_category_names(legend), _colour_table(legend), _attribute_table(legend, counts)])
    write_xml(path, dataset, SIDECAR)


def _category_names(legend: Iterable[LegendEntry]) -> ET.Element:
    """Names by label, from 0 to the largest."""
    element, names = ET.Element("CategoryNames"), {0: NODATA_NAME} | {entry.label: entry.name for entry in legend}
    for label in range(max(names) + 1):
        ET.SubElement(element, "Category").text = names.get(label, "")
    return element


def _colour_table(legend: Iterable[LegendEntry]) -> ET.Element:
    """Colours with alpha by label, from 0 to the largest; clients list each entry, so there are no more.

    This table replaces that of the TIFF, which always has 256 entries.
    """
    element, colours = ET.Element("ColorTable"), {entry.label: (*entry.colour, 255) for entry in legend}
    for label in range(max(colours) + 1):
        colour = colours.get(label, _NODATA_COLOUR)
        ET.SubElement(element, "Entry", {f"c{number}": str(part) for number, part in enumerate(colour, start=1)})
    return element


def _attribute_table(legend: Sequence[LegendEntry], totals: ClassCounts) -> ET.Element:
    """Thematic table with a row per entry of the legend: label, pixels, name, colour, and area where it is known."""
    counts = [totals.pixels(entry.label) for entry in legend]
    areas = [totals.hectares(entry.label) for entry in legend]
    columns = [
        _Column("Value", _INTEGER, _MIN_MAX, [entry.label for entry in legend]),
        _Column("Count", _INTEGER if max(counts) <= _LARGEST_INTEGER else _REAL, _PIXEL_COUNT, counts),
        _Column("Class", _STRING, _NAME, [entry.name for entry in legend]),
    ]
    for part, (name, usage) in enumerate(_COLOUR_USAGES.items()):
        columns.append(_Column(name, _INTEGER, usage, [entry.colour[part] for entry in legend]))
    if None not in areas:
        columns.append(_Column("Hectares", _REAL, _GENERIC, [f"{area:.4f}" for area in areas]))
    table = ET.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, column in enumerate(columns):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", column.name), ("Type", column.kind), ("Usage", column.usage)):
            ET.SubElement(field, tag).text = text
    for index, values in enumerate(zip(*(column.values for column in columns), strict=True)):
        row = ET.SubElement(table, "Row", index=str(index))
        for value in values:
            ET.SubElement(row, "F").text = str(value)
    return table
