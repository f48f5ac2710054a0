"""Label a scene with a model, block by block, and write the outputs."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Final

from pipeline.core.pixels import BlockSource
from pipeline.engine.executor import Executor, ThreadExecutor
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.labels.classify import ClassStatistics, LabelTask, SumsInOrder
from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.registry import open_writer

logger = logging.getLogger(__name__)

_MOST_THREADS: Final = 8
"""Threads that finish outputs in the client of a cluster, at most: each holds some megabytes of labels.

Together that is less than the client's share of what is planned for a block, as it works on none.
"""


@dataclass(frozen=True)
class OpenOutputs:
    """The writers of a run's outputs."""

    files: tuple[Writer, ...]
    """Writers of the files that are made of labels, that of the map first."""
    descriptions: tuple[Writer, ...]
    """Writers of the files that describe the others."""

    @property
    def all(self) -> tuple[Writer, ...]:
        """All writers."""
        return self.files + self.descriptions


def finishing_threads(executor: Executor) -> int:
    """Number of threads of this process that finish outputs."""
    if isinstance(executor, ThreadExecutor):
        return executor.threads
    return min(executor.threads, _MOST_THREADS)


@contextmanager
def open_outputs(files: Iterable[tuple[Sink, Path]], job: Job) -> Iterator[OpenOutputs]:
    """Open the writers of outputs for their temporary paths, and remove their temporary files in the end."""
    with ExitStack() as context:
        opened = [(sink.of_files, context.enter_context(open_writer(sink, path, job))) for sink, path in files]
        described = tuple(writer for of_files, writer in opened if not of_files)
        yield OpenOutputs(described, tuple(writer for of_files, writer in opened if of_files))


def write_outputs(
    source: BlockSource, job: Job, outputs: OpenOutputs, executor: Executor, progress: Progress
) -> ClassStatistics:
    """Label a scene with the model's bands, in the model's order, and write all outputs but the descriptions.

    Raises SceneError if a block can't be read, OutputError if a file can't be written.
    """
    statistics = ClassStatistics(job.model, source.info.units, pixel_areas(source.info.grid))
    _label(source, job, outputs.all, statistics, executor, progress=progress)
    release_memory()
    if not statistics.valid:
        logger.warning("%s: no pixel is valid in every band, so the whole map is nodata", source.info.sources[0])
    summary = Summary(statistics)
    with progress.stage("write", 2) as step:
        for writer in outputs.all:
            writer.complete(executor)
        for call, writers in (("prepare", outputs.all), ("finish", outputs.files)):
            _call(methodcaller(call, summary), writers)
            step()
    return statistics


def _label(
    source: BlockSource,
    job: Job,
    writers: Sequence[Writer],
    statistics: ClassStatistics,
    executor: Executor,
    *,
    progress: Progress,
) -> None:
    """Label all blocks; add them to the outputs as they are finished, and to the statistics in order."""
    collecting = [(writer, writer.part) for writer in writers if writer.part]
    task = LabelTask.of(source, job.model, statistics.pixel_areas, tuple(part for _, part in collecting))
    sums = SumsInOrder(statistics, source.blocks)
    with progress.stage("label", len(source.blocks)) as step:
        for block, labelled in executor.map(task, source.blocks, ordered=False, window=sums.window):
            sums.add(block, labelled)
            for (writer, _), part in zip(collecting, labelled.parts, strict=True):
                writer.add(block, part)
            step()


def _call(step: Callable[[Writer], None], writers: Sequence[Writer]) -> None:
    """Take a step of all writers, then release memory: the first file here, the others on another thread.

    More threads would be no faster, and each has a heap of its own, which adds to the peak of memory.
    """
    with ThreadPoolExecutor(1) as background:
        others = [background.submit(step, writer) for writer in writers[1:]]
        step(writers[0])
        for other in others:
            other.result()
    release_memory()


def write_descriptions(outputs: OpenOutputs, summary: Summary) -> None:
    """Write the outputs that describe the others, when these are finished; raise OutputError if that fails."""
    for writer in outputs.descriptions:
        writer.finish(summary)
