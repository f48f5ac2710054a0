"""Label a scene with a model, block by block, and write the outputs."""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from operator import methodcaller
from pathlib import Path

from pipeline.core.pixels import BlockSource
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.labels.classify import ClassStatistics, LabelTask
from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.registry import open_writer

logger = logging.getLogger(__name__)


def write_outputs(
    source: BlockSource, job: Job, files: Iterable[tuple[Sink, Path]], progress: Progress
) -> ClassStatistics:
    """Label a scene with the model's bands, in the model's order, and write outputs to their temporary paths.

    Raises SceneError if a block can't be read, OutputError if a file can't be written.
    """
    statistics = ClassStatistics(job.model, source.info.units, pixel_areas(source.info.grid))
    with ExitStack() as context:
        writers = [context.enter_context(open_writer(sink, path, job)) for sink, path in files]
        _label(source, job, writers, statistics, progress)
        release_memory()
        if not statistics.valid:
            logger.warning("%s: no pixel is valid in every band, so the whole map is nodata", source.info.sources[0])
        _finish(writers, Summary(statistics), progress)
    return statistics


def _label(
    source: BlockSource, job: Job, writers: Sequence[Writer], statistics: ClassStatistics, progress: Progress
) -> None:
    """Label all blocks; add them to the statistics and the outputs in order."""
    collecting = [(writer, writer.part) for writer in writers if writer.part]
    task = LabelTask.of(source, job.model, statistics.pixel_areas, tuple(part for _, part in collecting))
    with progress.stage("label", len(source.blocks)) as step:
        for block, labelled in ThreadExecutor(job.workers).map(task, source.blocks):
            statistics.add(labelled)
            for (writer, _), part in zip(collecting, labelled.parts, strict=True):
                writer.add(block, part)
            step()


def _finish(writers: Sequence[Writer], summary: Summary, progress: Progress) -> None:
    """Finish files in two steps, and release memory after each: the first file here, the others on another thread.

    More threads would be no faster, and each has a heap of its own, which adds to the peak of memory.
    """
    with progress.stage("write", 2) as step, ThreadPoolExecutor(1) as background:
        for half in ("prepare", "finish"):
            call = methodcaller(half, summary)
            others = [background.submit(call, writer) for writer in writers[1:]]
            call(writers[0])
            for other in others:
                other.result()
            release_memory()
            step()


def write_descriptions(files: Iterable[tuple[Sink, Path]], job: Job, summary: Summary) -> None:
    """Write the outputs that describe the others, when these are finished; raise OutputError if that fails."""
    for sink, path in files:
        with open_writer(sink, path, job) as writer:
            writer.prepare(summary)
            writer.finish(summary)
