"""The cache of file blocks returns the pixels of the file, and decodes each block once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import SceneError
from pipeline.core.grid import Block, Grid
from pipeline.engine.cache import open_cache
from pipeline.engine.owner_mark import MARK
from pipeline.raster.file_cache import FileCache
from pipeline.raster.file_parts import FilePart

SHAPE = (50, 70)


def part(dtype: str, blocks: tuple[int, int] = (16, 20), *, masks: tuple[int, ...] = (1,)) -> FilePart:
    grid = Grid(shape=SHAPE, transform=Affine.identity(), crs=None)
    return FilePart(
        path="memory",
        first=0,
        indexes=(1, 2, 3),
        masks=masks,
        alphas=(),
        grid=grid,
        dtype=dtype,
        block_shape=blocks,
        alignment=None,
        warp=None,
    )


class Memory:
    """A `WindowReader` of an array in memory that counts how often each window is read."""

    def __init__(self, dtype: str) -> None:
        rng = np.random.default_rng(7)
        raw = rng.integers(0, 256, (3, *SHAPE, np.dtype(dtype).itemsize), np.uint8)
        self.data = raw.view(dtype)[..., 0]  # random bits, including NaNs with a payload
        self.valid = rng.random(SHAPE) < 0.8
        self.reads: Counter[Block] = Counter()
        self._lock = threading.Lock()

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        with self._lock:
            self.reads[window] += 1
        out[...] = self.data[(slice(None), *window.slices)]
        valid &= self.valid[window.slices]


def window(top: int, left: int, height: int, width: int) -> Block:
    return Block(row=0, column=0, top=top, left=left, height=height, width=width)


def read(reader: Any, block: Block, dtype: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    out, valid = np.empty((3, *block.shape), dtype), np.ones(block.shape, bool)
    reader.read(block, out, valid)
    return out, valid


@pytest.mark.parametrize("kind", ["memory", "disk"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_windows_are_identical_and_each_block_is_decoded_once(
    tmp_path: Path, dtype: str, kind: Literal["memory", "disk"]
) -> None:
    memory = Memory(dtype)
    windows = [window(t, left, 13, 17) for t in range(0, 37, 7) for left in range(0, 53, 11)] * 2
    with open_cache(kind, tmp_path) as cache, ThreadPoolExecutor(4) as pool:
        reader = FileCache(cache).cached_reader(part(dtype), memory)
        for block, (data, valid) in zip(windows, pool.map(lambda w: read(reader, w, dtype), windows), strict=True):
            assert data.tobytes() == memory.data[(slice(None), *block.slices)].tobytes()
            np.testing.assert_array_equal(valid, memory.valid[block.slices])
        assert set(memory.reads.values()) == {1}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_windows_equal_the_source_for_any_block_size(data: st.DataObject) -> None:
    import tempfile

    blocks = (data.draw(st.integers(1, 60)), data.draw(st.integers(1, 80)))
    memory = Memory("u2")
    with tempfile.TemporaryDirectory() as folder, open_cache("disk", Path(folder)) as cache:
        reader = FileCache(cache).cached_reader(part("u2", blocks), memory)
        for _ in range(3):
            top, left = data.draw(st.integers(0, 49)), data.draw(st.integers(0, 69))
            block = window(top, left, data.draw(st.integers(1, 50 - top)), data.draw(st.integers(1, 70 - left)))
            out, valid = read(reader, block, "u2")
            np.testing.assert_array_equal(out, memory.data[(slice(None), *block.slices)])
            np.testing.assert_array_equal(valid, memory.valid[block.slices])
        assert max(memory.reads.values()) == 1


def test_readers_of_one_part_share_the_cache(tmp_path: Path) -> None:
    memory = Memory("u1")
    with open_cache("disk", tmp_path) as cache:
        files = FileCache(cache)
        for _ in range(2):
            read(files.cached_reader(part("u1"), memory), window(0, 0, 50, 70), "u1")
    assert set(memory.reads.values()) == {1}


@pytest.mark.parametrize("masks", [(), (1,)])
def test_cache_takes_the_predicted_space_and_is_removed(tmp_path: Path, masks: tuple[int, ...]) -> None:
    memory, described = Memory("f4"), part("f4", masks=masks)
    with open_cache("disk", tmp_path) as cache:
        read(FileCache(cache).cached_reader(described, memory), window(0, 0, 50, 70), "f4")
        taken = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path.name != MARK]
        assert sum(taken) == described.size == memory.data.nbytes + bool(masks) * memory.valid.nbytes
    assert list(tmp_path.iterdir()) == []


def test_two_caches_in_one_folder_are_independent(tmp_path: Path) -> None:
    one, other = Memory("u1"), Memory("u1")
    other.data = 255 - one.data
    with open_cache("disk", tmp_path) as first, open_cache("disk", tmp_path) as second:
        readers = [FileCache(first).cached_reader(part("u1"), one), FileCache(second).cached_reader(part("u1"), other)]
        for _ in range(2):
            for reader, memory in zip(readers, (one, other), strict=True):
                np.testing.assert_array_equal(read(reader, window(3, 5, 40, 60), "u1")[0], memory.data[:, 3:43, 5:65])


def test_failed_decoding_of_a_block_raises_for_every_reader(tmp_path: Path) -> None:
    class Broken(Memory):
        def read(self, *_: Any) -> None:
            raise SceneError

    with open_cache("disk", tmp_path) as cache:
        reader = FileCache(cache).cached_reader(part("u1"), Broken("u1"))
        for _ in range(2):
            with pytest.raises(SceneError):
                read(reader, window(0, 0, 5, 5), "u1")
