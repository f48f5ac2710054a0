"""Cached blocks: in other processes, after they were dropped, and when the disk is full."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import numpy as np
import pytest
from blocks import pieces_of
from conftest import WriteRaster, patches
from fakes import MemorySource
from sources import described

from pipeline.core.errors import OutputError
from pipeline.engine.cache import DiskCache, open_cache
from pipeline.engine.executor import ThreadExecutor
from pipeline.methods.passes import Passes
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.pieces import PixelPieces
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.mosaic_source import open_source

ANOTHER_PROCESS = """
import json, pickle, sys
source, pixels = pickle.load(sys.stdin.buffer)
labels, total = set(), 0
for piece in pixels.pieces(pixels.blocks):
    fitted = piece.labels != 255
    labels |= set(piece.labels_and_bounds[:, fitted].ravel().tolist())
    total += int(piece.points[:, fitted].sum(dtype="int64"))
    piece.labels_and_bounds[:, fitted] += 1
    pixels.store_labels(piece)
fitted, high = sum(pixels.fitted.counts.values()), pixels.fitted.high.tolist()
print(json.dumps({"labels": sorted(labels), "pixels": [total, fitted, high], "decoded": source.passes}))
"""


def pass_in_another_process(dumped: bytes) -> dict[str, Any]:
    """Go over the pieces of pickled (source, pieces); return the labels, the pixels and how much was decoded."""
    done = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS], input=dumped, capture_output=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("count", "cached", "kind", "dump"),
    [
        (1, "files", "disk", pickle.dumps),
        (1, "blocks", "disk", cloudpickle.dumps),
        (1, "both", "memory", pickle.dumps),
        (2, "files", "disk", cloudpickle.dumps),
        (2, "both", "disk", pickle.dumps),
    ],
)
def test_another_process_finds_the_cache_of_a_source(
    *, request: pytest.FixtureRequest, write_raster: WriteRaster, tmp_path: Path,
    dump: Callable[[Any], bytes], count: int, cached: str, kind: Literal["memory", "disk"],
) -> None:  # fmt: skip
    tiles = {"nodata": 0, "tiled": True, "blockxsize": 64, "blockysize": 48}
    files = [write_raster("scene.tif", patches(3), **tiles)] if count == 1 else request.getfixturevalue("two")
    with open_cache(kind, tmp_path) as cache:
        source = open_source(described(files), (100, 128), None if cached == "blocks" else FileCache(cache))
        cached_source = source if cached == "files" else CachedSource(source, cache)
        pixels = pieces_of(cached_source)
        read = [cached_source.read_for_fit(block) for block in source.blocks]
        fitted = np.concatenate([block.data[:, fitting] for block, fitting in read], axis=1)
        expected = [int(fitted.sum(dtype="int64")), fitted.shape[1], fitted.max(axis=1).tolist()]
        for _ in range(2):
            found = pass_in_another_process(dump((source, pixels)))
            assert found["pixels"] == expected
            assert found["labels"] == [0], "a copy has labels of its own"
            assert found["decoded"] == (0 if kind == "disk" else source.passes)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_pass_reads_blocks_that_were_dropped_and_begins_with_their_labels(
    kind: Literal["memory", "disk"], tmp_path: Path
) -> None:
    data = patches(2)
    source = MemorySource(data, data[0] > 100, (64, 64))
    with open_cache(kind, tmp_path) as cache:
        cached = CachedSource(source, cache)
        pixels = pieces_of(cached)
        for piece in pixels.pieces(source.blocks):
            piece.labels_and_bounds[:] = 7
            pixels.store_labels(piece)
        dropped = set(source.blocks[3:5])
        for block in dropped:
            cached.read(block)
        for piece in pixels.pieces(source.blocks):
            rows, columns = piece.block.slices
            fitted = source.valid[rows, columns].ravel()
            np.testing.assert_array_equal(piece.points, data[:, rows, columns].reshape(2, -1))
            expected = np.where(fitted, 0, 255) if piece.block in dropped else np.full(fitted.shape, 7)
            np.testing.assert_array_equal(piece.labels, expected)
        assert {window for window, reads in source.reads.items() if reads == 2} == {block.window for block in dropped}


def test_blocks_are_dropped_when_the_map_has_read_them(tmp_path: Path) -> None:
    source = MemorySource(patches(2), np.random.default_rng(0).random((200, 300)) < 0.5, (64, 64))
    with open_cache("disk", tmp_path) as cache:
        cached = CachedSource(source, cache)
        pixels = pieces_of(cached)
        for _ in pixels.pieces(source.blocks):
            pass
        assert len(list(tmp_path.glob("*/*-*"))) == 3 * len(source.blocks)
        for block in source.blocks:
            cached.read(block)
        assert not list(tmp_path.glob("*/*-*"))


@pytest.mark.parametrize("required", [True, False])
def test_a_full_disk_is_an_error_only_if_the_cache_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, required: bool
) -> None:
    source = MemorySource(patches(2), chunk=(64, 64))
    write, left = DiskCache.write, iter(range(4))

    def filling(self: DiskCache, *args: Any) -> None:
        if next(left, None) is None:
            msg = "the disk is full"
            raise OutputError(msg)
        write(self, *args)

    monkeypatch.setattr(DiskCache, "write", filling)
    with open_cache("disk", tmp_path) as cache:
        cached = CachedSource(source, cache, required=required)
        again = pickle.loads(pickle.dumps(cached))  # noqa: S301 (our own)
        assert (again.store is None) == (cached.store is None) == (not required)
        if required:
            with pytest.raises(OutputError, match="the disk is full"):
                list(map(cached.read_for_fit, source.blocks))
            return
        list(map(cached.read_for_fit, source.blocks))
        assert not cached.cheap_again
        assert [line for line in caplog.messages if "the disk is full" in line] == [
            "decoded pixels are no longer cached, the files are read again: the disk is full"
        ]
        assert not list(tmp_path.glob("*/block-*"))
        for block in source.blocks:
            np.testing.assert_array_equal(cached.read(block).data, source.read(block).data)


def exact_sums(pixels: PixelPieces, lose: Callable[[], None] = lambda: None) -> tuple[list[int], list[list[int]]]:
    """Counts and sums per class after two passes, between which something is lost."""
    passes = Passes(pixels, 3, None, ThreadExecutor(2), 1.0)
    passes.assign(np.array([[20.0, 20], [120, 120], [220, 220]]))
    lose()
    passes.assign(np.array([[40.0, 30], [130, 140], [200, 210]]))
    return passes.counts.tolist(), passes.totals.sums.tolist()


@pytest.mark.parametrize("lost", ["labels-*", "block-*", "nothing"])
def test_a_pass_after_cache_files_are_lost_gives_the_same_sums(lost: str, tmp_path: Path) -> None:
    data = patches(2)
    source = MemorySource(data, data[0] > 100, (64, 64))
    found = []
    for pattern in ("nothing", lost):
        with open_cache("disk", tmp_path) as cache:
            pixels = pieces_of(CachedSource(source, cache))
            files = tmp_path.glob(f"*/{pattern}")
            found.append(exact_sums(pixels, lambda files=files: [file.unlink() for file in list(files)[::2]]))  # type: ignore[misc]
    assert found[0] == found[1]
    assert sum(found[0][0]) == source.valid.sum()


@pytest.mark.parametrize("required", [True, False])
def test_a_status_that_is_lost_is_not_taken_for_valid_pixels(tmp_path: Path, *, required: bool) -> None:
    source = MemorySource(patches(2), np.random.default_rng(0).random((200, 300)) < 0.5, (64, 64))
    with open_cache("disk", tmp_path) as cache:
        cached = CachedSource(source, cache, required=required)
        list(map(cached.read_for_fit, source.blocks))
        for file in tmp_path.glob("*/status-*"):
            file.unlink()
        for block in source.blocks:
            if required:
                with pytest.raises(OutputError, match=r"status-.* can't be read back"):
                    cached.read(block)
            else:
                np.testing.assert_array_equal(cached.read(block).valid, source.valid[block.slices])


def test_a_block_that_is_dropped_while_it_is_read_is_read_from_the_source(tmp_path: Path) -> None:
    source = MemorySource(patches(2), chunk=(64, 64))
    with open_cache("disk", tmp_path) as cache:
        cached = CachedSource(source, cache, required=False)
        list(map(cached.read_for_fit, source.blocks))
        for file in tmp_path.glob("*/block-*"):
            file.write_bytes(b"")  # there, but not to be read
        for block in source.blocks:
            np.testing.assert_array_equal(cached.read_for_fit(block)[0].data, source.data[:, *block.slices])
