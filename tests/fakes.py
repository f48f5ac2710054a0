"""Fakes of protocols: they do in memory what the real ones do with files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Job, Sink, Summary, Writer


@dataclass(frozen=True)
class Counting:
    """Counts the pixels of each class of a block."""

    classes: int

    def __call__(self, _block: Block, _pixels: Pixels, labels: Labels) -> Any:
        return np.bincount(labels.ravel(), minlength=self.classes + 1)


class MemoryWriter(Writer):
    """Counts the pixels of each class, and writes the sums as text."""

    def __init__(self, path: Path, job: Job) -> None:
        self.path, self.part = path, Counting(job.model.k)
        self.counts = np.zeros(job.model.k + 1, np.int64)
        self.blocks: list[Block] = []
        """Blocks in the order in which they came."""
        self.calls: list[str] = []
        """What was called after the last block."""

    def add(self, block: Block, part: Any) -> None:
        self.blocks.append(block)
        self.counts += part

    def prepare(self, _summary: Summary) -> None:
        self.calls.append("prepare")

    def finish(self, _summary: Summary) -> None:
        self.calls.append("finish")
        self.path.write_text(" ".join(map(str, self.counts)))


MEMORY_SINK = Sink(key="counts", what="the counts", ending=".counts.txt", writer="fakes:MemoryWriter")
