"""The contract of sinks, held by each output of a run and by the fake."""

import pickle
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cloudpickle
import numpy as np
import pytest
from fakes import MEMORY_SINK, MemorySource
from runs import RECORD, contents
from sources import model_of

from pipeline.core.errors import ConfigError
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics, LabelTask
from pipeline.sinks.base import Job, Sink, Summary
from pipeline.sinks.palette import class_colours
from pipeline.sinks.registry import SINKS, OutputConfig, open_writer

FORMATS = [form for sink in SINKS for form in sink.formats]
EACH = pytest.mark.parametrize("sink", [*FORMATS, MEMORY_SINK], ids=lambda sink: "".join([sink.key, *sink.endings[:1]]))
AREAS = PixelAreas(hectares=0.01)


def source_of(chunk: tuple[int, int], shape: tuple[int, int] = (150, 170), bands: int = 3) -> MemorySource:
    """A scene of noise, a tenth of it nodata."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, 256, (bands, *shape)).astype(np.uint8)
    return MemorySource(data, rng.random(shape) < 0.9, chunk)


def job_of(source: MemorySource, k: int = 5) -> Job:
    bands = len(source.info.bands)
    model = model_of(np.random.default_rng(6).integers(0, 256, (k, bands)))
    return Job(info=source.info, model=model, colours=class_colours(k), workers=2)


def ending_of(sink: Sink) -> str:
    return sink.ending or sink.endings[0]


def write(sink: Sink, source: MemorySource, path: Path, job: Job, *, shuffled: bool = False) -> dict[str, bytes]:
    """Label a scene, write one output and return its bytes, by the names of its files if it is a folder."""
    statistics = ClassStatistics(job.model, source.info.units, AREAS)
    with open_writer(sink, path, job) as writer:
        task = LabelTask.of(source, job.model, AREAS, (writer.part,) if writer.part else ())
        done = list(ThreadExecutor(2).map(task, source.blocks))
        for _, labelled in done:
            statistics.add(labelled)
        if shuffled:
            done = [*done[1::2], *done[::2]]
        for block, labelled in done:
            for part in labelled.parts:
                writer.add(block, part)
        summary = Summary(statistics, RECORD)
        writer.prepare(summary)
        writer.finish(summary)
    return contents(path) if path.is_dir() else {"": path.read_bytes()}


@EACH
@pytest.mark.parametrize("chunk", [(150, 170), (64, 64), (16, 170), (7, 31)])
def test_blocks_of_any_shape_and_order_give_the_same_file(sink: Sink, tmp_path: Path, chunk: tuple[int, int]) -> None:
    whole = source_of((150, 170))
    expected = write(sink, whole, tmp_path / f"whole{ending_of(sink)}", job_of(whole))
    source = source_of(chunk)
    path = tmp_path / f"blocks{ending_of(sink)}"
    assert write(sink, source, path, job_of(whole), shuffled=True) == expected
    assert len(list(tmp_path.iterdir())) == 2, "no other file is left"


@EACH
@pytest.mark.parametrize("library", [pickle, cloudpickle])
def test_what_is_taken_from_a_block_is_the_same_after_it_has_travelled(
    sink: Sink, tmp_path: Path, library: Any
) -> None:
    source = source_of((64, 64))
    assert library.loads(library.dumps(sink)) == sink
    with open_writer(sink, tmp_path / f"out{ending_of(sink)}", library.loads(library.dumps(job_of(source)))) as writer:
        if writer.part is None:
            assert sink.key in {"table", "model", "stac", "run", "sidecar", "qml", "clr", "world_file"}
            return
        there = library.loads(library.dumps(writer.part))
        for block in source.blocks:
            pixels = source.read(block)
            labels = (pixels.data[0] % 6).astype(np.uint8)
            assert pickle.dumps(library.loads(library.dumps(there(block, pixels, labels)))) == pickle.dumps(
                pickle.loads(pickle.dumps(writer.part(block, pixels, labels)))  # noqa: S301 (our own)
            )


@EACH
def test_a_writer_that_does_not_finish_leaves_no_file(sink: Sink, tmp_path: Path) -> None:
    source = source_of((64, 64))
    job = job_of(source)

    def stop() -> None:
        with open_writer(sink, tmp_path / f"out{ending_of(sink)}", job) as writer:
            task = LabelTask.of(source, job.model, AREAS, (writer.part,) if writer.part else ())
            for block in source.blocks[:2]:
                for part in task(block).parts:
                    writer.add(block, part)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert list(tmp_path.iterdir()) == []


@EACH
@pytest.mark.parametrize(("shape", "bands", "k"), [((30, 40), 1, 2), ((700, 530), 3, 254), ((20, 30), 200, 254)])
def test_no_more_disk_is_taken_than_a_sink_needs(
    sink: Sink, tmp_path: Path, shape: tuple[int, int], bands: int, k: int
) -> None:
    source, done, largest = source_of((64, 64), shape, bands), Event(), 0

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.001):
            with suppress(FileNotFoundError):  # a folder that is removed meanwhile
                largest = max(largest, sum(size_of(path) for path in tmp_path.rglob("*")))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        final = sum(map(len, write(sink, source, tmp_path / f"out{ending_of(sink)}", job_of(source, k)).values()))
    finally:
        done.set()
        watcher.join()
    assert 0 < max(largest, final) <= sink.needs(source.info, k).disk


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0


@EACH
def test_a_name_with_the_ending_of_another_format_is_refused(sink: Sink) -> None:
    if sink.beside:
        sink.check(Path("out/map.tif.aux.xml"), Path("out/map.tif"))
        with pytest.raises(ConfigError, match=rf"^output\.{sink.key}: .*has to be out/map\.tif\.aux\.xml; leave"):
            sink.check(Path("out/map.aux.xml"), Path("out/map.tif"))
        return
    if not sink.endings:
        sink.check(Path("out/any.name"), Path("out/map.tif"))
        return
    sink.check(Path(f"out/map{sink.endings[-1].upper()}"), Path("out/map.tif"))
    message = (
        rf"^output\.{sink.key}: out/a\.bmp: {sink.what} is {sink.form}( or .*)?; "
        rf"use a name that ends in {sink.endings[0]}( or .*)?$"
    )
    with pytest.raises(ConfigError, match=message):
        sink.check(Path("out/a.bmp"), Path("out/map.tif"))


@pytest.mark.parametrize("sink", SINKS, ids=lambda sink: sink.key)
def test_the_config_describes_each_output(sink: Sink) -> None:
    assert OutputConfig.model_fields[sink.key].description == sink.description


def test_keys_and_endings_differ() -> None:
    assert len({sink.key for sink in SINKS}) == len({sink.ending for sink in SINKS}) == len(SINKS)
    assert [sink.key for sink in SINKS if sink.ending is None] == ["labels"], "all others are named after it"
