"""Chunks of a Zarr map are written where labels are made: each whole, by any process, and as often as tasks are run."""

import errno
import logging
import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from affine import Affine
from fakes import RepeatingExecutor
from runs import contents

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, Grid, split_into_blocks
from pipeline.core.pixels import Pixels
from pipeline.engine.executor import ThreadExecutor
from pipeline.kernels.checksum import checksum
from pipeline.sinks.palette import class_colours
from pipeline.sinks.zarr_chunks import PARTS, WrittenBlock, chunks_of
from pipeline.sinks.zarr_layout import MapDescription
from pipeline.sinks.zarr_writer import ZarrWriter

K = 5
SHAPE = (2100, 3000)
CHUNKS = [(1024, 1024), (2048, 1024), (1024, 3000), (2100, 3000), (512, 512), (1500, 1100), (700, 3000), (1024, 999)]
"""Shapes of blocks: whole chunks, parts of chunks, and both."""


def labels_of_map(shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    labels = np.random.default_rng(0).integers(0, K + 1, shape).astype(np.uint8)
    labels[shape[0] // 2 :] = 0  # whole chunks of nodata, which are written, too
    return labels


def writer_of(path: Path, zarr_format: Literal[2, 3] = 2, *, overviews: bool = False) -> ZarrWriter:
    description = MapDescription(
        grid=Grid(shape=SHAPE, transform=Affine(10, 0, 300_000, 0, -10, 5_900_000), crs=None),
        colours=class_colours(K),
        names=tuple(f"class {number}" for number in range(1, K + 1)),
        unclassified=False,
        tags={},
    )
    return ZarrWriter(path, description, 2, zarr_format=zarr_format, overviews=overviews)


def made(part: Any, block: Block, labels: npt.NDArray[np.uint8]) -> WrittenBlock:
    """What a part takes from a block of a map."""
    no_pixels = Pixels(np.empty((0, *block.shape)), np.empty(block.shape, np.bool_))
    found: WrittenBlock = part(block, no_pixels, labels[block.slices])
    return found


def made_elsewhere(pickled: bytes) -> bytes:
    """Run pickled (part, block, labels), and return the result pickled."""
    return pickle.dumps(made(*pickle.loads(pickled)))  # noqa: S301 (pickled by the test)


def finish(writer: ZarrWriter, parts: Sequence[tuple[Block, WrittenBlock]]) -> None:
    for block, part in parts:
        writer.add(block, part)
    writer.prepare()
    writer.finish()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, bytes]]:
    """The map in both formats, of labels that were all kept."""
    folder, labels = tmp_path_factory.mktemp("expected"), labels_of_map()
    for form in (2, 3):
        with writer_of(folder / f"{form}.zarr", form, overviews=True) as writer:
            for block in split_into_blocks(SHAPE, (300, 777)):
                writer.add_labels(block, labels[block.slices])
            writer.prepare()
            writer.finish()
        np.testing.assert_array_equal(zarr.open_group(folder / f"{form}.zarr", mode="r")["class"][...], labels)
    return {form: contents(folder / f"{form}.zarr") for form in (2, 3)}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_blocks_of_any_shape_give_the_same_map(
    tmp_path: Path, chunk: tuple[int, int], zarr_format: Literal[2, 3], expected: dict[int, dict[str, bytes]]
) -> None:
    labels, path = labels_of_map(), tmp_path / "map.zarr"
    with writer_of(path, zarr_format, overviews=True) as writer:
        parts = []
        for block in reversed(split_into_blocks(SHAPE, chunk)):
            found = made(writer.part, block, labels)
            assert found.checksum == checksum(labels[block.slices], (block.top, block.left))
            parts.append((block, found))
        assert all(part.labels is None for _, part in parts)
        within = [each for each in chunks_of(SHAPE) if any(is_within(each, block) for block, _ in parts)]
        assert len(chunk_files(path)) == len(within), "they are written with their block"
        finish(writer, parts)
    assert contents(path) == expected[zarr_format]
    assert list(tmp_path.iterdir()) == [path]


def chunk_files(path: Path) -> list[Path]:
    """Files of the chunks of a map in either format."""
    return [file for file in (path / "class").rglob("*") if file.is_file() and file.name[-1].isdecimal()]


def is_within(inner: Block, outer: Block) -> bool:
    return all(a <= c and d <= b for (a, b), (c, d) in zip(outer.window, inner.window, strict=True))


@pytest.mark.parametrize("chunk", [(1024, 1024), (600, 3000)])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_other_processes_write_chunks_also_twice_at_the_same_time(
    tmp_path: Path,
    zarr_format: Literal[2, 3],
    elsewhere: ProcessPoolExecutor,
    expected: dict[int, dict[str, bytes]],
    chunk: tuple[int, int],
) -> None:
    labels, path = labels_of_map(), tmp_path / "map.zarr"
    with writer_of(path, zarr_format, overviews=True) as writer, ThreadPoolExecutor(3) as pool:
        blocks = split_into_blocks(SHAPE, chunk)
        sent = [pickle.dumps((writer.part, block, labels)) for block in blocks]
        there = [elsewhere.submit(made_elsewhere, each) for each in sent]
        here = [pool.submit(made, writer.part, block, labels) for block in blocks for _ in range(2)]
        parts = [pickle.loads(each.result()) for each in there]  # noqa: S301 (our own)
        assert all(each.result().labels is None for each in here)
        assert all(each.labels is None for each in parts)
        assert len(list((path / PARTS).iterdir())) == (0 if chunk == (1024, 1024) else len(blocks))
        for block, part in zip(blocks, parts, strict=True):
            writer.add(block, part)
        writer.complete(RepeatingExecutor())
        assert len(chunk_files(path)) == len(chunks_of(SHAPE))
        finish(writer, [])
    assert contents(path) == expected[zarr_format]


@pytest.mark.parametrize("chunk", [(1024, 1024), (500, 1100)])
def test_a_process_that_does_not_see_the_store_hands_on_its_labels_and_makes_no_folder(
    tmp_path: Path, expected: dict[int, dict[str, bytes]], caplog: pytest.LogCaptureFixture, chunk: tuple[int, int]
) -> None:
    labels, path, away = labels_of_map(), tmp_path / "map.zarr", tmp_path / "away"
    with writer_of(path, overviews=True) as writer:
        blocks = split_into_blocks(SHAPE, chunk)
        parts = [(block, made(writer.part, block, labels)) for block in blocks[:4]]
        path.rename(away)
        parts += [(block, made(writer.part, block, labels)) for block in blocks[4:]]
        assert not path.exists()
        away.rename(path)
        assert [part.labels is None for _, part in parts] == [True] * 4 + [False] * (len(blocks) - 4)
        with caplog.at_level(logging.WARNING):
            finish(writer, parts)
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: not every worker sees this folder, so labels are sent to this process")
    assert contents(path) == expected[2]


def test_a_task_that_is_late_changes_nothing(tmp_path: Path, expected: dict[int, dict[str, bytes]]) -> None:
    """It was taken for lost and done again; meanwhile the map was finished, or even replaced."""
    labels, path = labels_of_map(), tmp_path / "map.zarr"
    with writer_of(path, overviews=True) as writer:
        blocks = split_into_blocks(SHAPE, (1024, 1024))
        late = pickle.loads(pickle.dumps(writer.part))  # noqa: S301 (our own)
        finish(writer, [(block, made(writer.part, block, labels)) for block in blocks])
        assert made(late, blocks[0], 5 - labels).labels is not None
        assert contents(path) == expected[2]
    assert contents(path) == expected[2]
    shutil.rmtree(path)
    assert made(late, blocks[0], labels).labels is not None
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_is_late_finds_no_store_if_the_run_has_failed(tmp_path: Path) -> None:
    labels = labels_of_map()
    block = split_into_blocks(SHAPE, (1024, 1024))[0]

    def stop() -> None:
        with writer_of(tmp_path / "map.zarr") as writer:
            parts.append(writer.part)
            made(writer.part, block, labels)
            raise KeyboardInterrupt

    parts: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        stop()
    assert made(parts[0], block, labels).labels is not None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_where_labels_are_made_and_leaves_no_part_of_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        plain(path, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with writer_of(tmp_path / "map.zarr") as writer:
        monkeypatch.setattr(Path, "write_bytes", full)
        block = split_into_blocks(SHAPE, (1024, 1024))[0]
        message = r"the map can't be written \(No space left on device\); make room there, or set output\.labels to"
        with pytest.raises(OutputError, match=message):
            made(writer.part, block, labels_of_map())
        assert list((tmp_path / "map.zarr" / PARTS).iterdir()) == []
        assert not (tmp_path / "map.zarr" / "class" / "0.0").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_removed_before_all_chunks_are_written_is_told(tmp_path: Path) -> None:
    labels = labels_of_map()
    blocks = split_into_blocks(SHAPE, (700, 3000))
    for kept in (0, len(blocks)):
        with writer_of(tmp_path / "map.zarr") as writer:
            for block in blocks[:kept]:
                writer.add_labels(block, labels[block.slices])
            shutil.rmtree(tmp_path / "map.zarr")
            with pytest.raises(OutputError, match="the temporary folder of the map was removed; run again"):
                writer.complete(ThreadExecutor(2)) if kept else writer.add_labels(blocks[0], labels[blocks[0].slices])
        assert list(tmp_path.iterdir()) == []
