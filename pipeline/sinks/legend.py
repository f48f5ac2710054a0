"""Legend of a map: label, name and colour of each class, as clients of the map show them."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pipeline.core.needs import Needs
from pipeline.core.scene_info import SceneInfo
from pipeline.labels.classify import ClassCounts
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Sink
from pipeline.sinks.palette import Colour, unclassified_colour

NODATA_NAME: Final = "no data"
"""Name of label 0."""

UNCLASSIFIED_NAME: Final = "unclassified"
"""Name of label 255."""

_LONGEST_NAME: Final = 200
"""Largest number of characters of a name in a legend."""

_NOT_XML: Final = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that XML 1.0 can't contain, not even escaped."""


@dataclass(frozen=True)
class LegendEntry:
    """A class of a map, or its unclassified pixels."""

    label: int
    """Value of its pixels: 1 to k, or `UNCLASSIFIED`."""
    name: str
    """Name on one line, without characters that XML can't contain."""
    colour: Colour
    """(red, green, blue), 0 to 255 each."""

    @classmethod
    def of(cls, label: int, name: str, colour: Colour) -> Self:
        """Build the entry of a class of any name; a name without visible characters becomes 'class <label>'."""
        line = " ".join(_NOT_XML.sub(lambda found: ascii(found[0])[1:-1], name).split())
        short = line if len(line) <= _LONGEST_NAME else line[: _LONGEST_NAME - 1] + "…"
        return cls(label, short or f"class {label}", colour)

    @property
    def hex_colour(self) -> str:
        """Colour as #rrggbb."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


def legend_of(job: Job, counts: ClassCounts) -> list[LegendEntry]:
    """Return the legend of the finished map of a job."""
    return map_legend([each.name for each in job.model.classes], job.colours, counts)


def map_legend(names: Sequence[str], colours: Sequence[Colour], counts: ClassCounts) -> list[LegendEntry]:
    """Return the legend of a finished map: classes 1 to k, and unclassified pixels if there are any."""
    pairs = enumerate(zip(names, colours, strict=True), start=1)
    entries = [LegendEntry.of(label, name, colour) for label, (name, colour) in pairs]
    if counts.unclassified:
        entries.append(LegendEntry.of(UNCLASSIFIED, UNCLASSIFIED_NAME, unclassified_colour(colours)))
    return entries


def legend_needs(_info: SceneInfo, classes: int) -> Needs:
    """Needs of a text file with the legend: up to two names of each class, and some numbers."""
    return Needs(disk=20_000 + classes * (1_000 + 2 * 10 * _LONGEST_NAME))


def write_xml(path: Path, root: ET.Element, sink: Sink) -> None:
    """Write an XML file; raise OutputError if it can't be written."""
    ET.indent(root)
    try:
        path.write_bytes(ET.tostring(root, encoding="utf-8") + b"\n")
    except OSError as error:
        raise sink.failure(path, error) from error
