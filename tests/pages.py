"""Pages of reports for tests: written for a scene in memory, and read back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from fakes import MemorySource
from runs import RECORD
from sources import model_of

from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics, Labels, LabelTask
from pipeline.models.base import ClusterModel
from pipeline.models.ranges import Ranges
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import class_colours
from pipeline.sinks.report_content import Pictures, ReportContent
from pipeline.sinks.report_writer import ReportWriter

VOID = {"br", "img", "input", "link", "meta"}


@dataclass
class Node:
    """An element of a page."""

    name: str
    attributes: dict[str, str]
    content: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it."""
        return "".join(each if isinstance(each, str) else each.text for each in self.content)

    def all(self, name: str = "", class_: str = "") -> list["Node"]:
        """Elements in it, in order, of a name or a class."""
        return [
            node
            for node in self._walk()
            if name in ("", node.name) and (not class_ or class_ in node.attributes.get("class", "").split())
        ]

    def _walk(self) -> Iterator["Node"]:
        for each in self.content:
            if isinstance(each, Node):
                yield each
                yield from each._walk()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Node("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, "elements overlap"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def read_page(text: str) -> Node:
    """Read a page; each element must be closed."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    (page,) = reader.open
    return page


def table_of(page: Node, caption: str) -> list[list[str]]:
    """Rows of the table whose caption begins with a text, the head first."""
    (found,) = [table for table in page.all("table") if table.all("caption")[0].text.startswith(caption)]
    return [[cell.text for cell in row.content if isinstance(cell, Node)] for row in found.all("tr")]


def write_page(
    path: Path, source: MemorySource, model: ClusterModel, record: Mapping[str, Any] = RECORD
) -> tuple[str, ClassStatistics]:
    """Label a scene and write its page; return it, and the statistics of the classes."""
    areas = PixelAreas(hectares=0.01)
    job = Job(info=source.info, model=model, colours=class_colours(model.k), workers=2)
    statistics = ClassStatistics(model, source.info.units, areas)
    with ReportWriter(path, job) as writer:
        task = LabelTask.of(source, model, areas, (writer.part,))
        for block, labelled in ThreadExecutor(2).map(task, source.blocks):
            statistics.add(labelled)
            writer.add(block, *labelled.parts)
        writer.prepare(Summary(statistics))
        writer.finish(Summary(statistics, record))
    return path.read_text(), statistics


def content_of(source: MemorySource, model: ClusterModel, record: Mapping[str, Any] = RECORD) -> ReportContent:
    """Label a scene; return what its page shows, with all pixels as the sample and without pictures."""
    statistics = ClassStatistics(model, source.info.units, PixelAreas(hectares=0.01))
    task = LabelTask.of(source, model, statistics.pixel_areas, (labels_of,))
    labels = np.zeros(source.info.grid.shape, np.uint8)
    for block in source.blocks:
        labelled = task(block)
        statistics.add(labelled)
        (labels[block.slices],) = labelled.parts
    return ReportContent(
        job=Job(info=source.info, model=model, colours=class_colours(model.k), workers=1),
        statistics=statistics,
        report=record,
        pictures=Pictures(scene="data:,", map="data:,", size=(1, 1), bands="", step=1),
        sample=source.data.reshape(len(source.data), -1),
        sample_labels=labels.reshape(-1),
        sample_step=1,
    )


def labels_of(_block: Block, _pixels: Pixels, labels: Labels) -> Labels:
    """Labels of a block."""
    return labels


def ranges_of(*edges: float, dtype: str = "uint8") -> Ranges:
    """A model of ranges of band1 with these edges; values outside are unclassified."""
    centres = [[each] for each in range(1, len(edges))]
    parts = model_of(centres, dtype=dtype).model_dump(exclude={"centroids", "classes_of_points"})
    changes = {"class_order": "edges", "inertia": None, "edges": edges, "outside": "unclassified"}
    return Ranges.model_validate({**parts, **changes})
