"""Decoded pixels come back from disk as they were, and the disk is left as it was."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sources import MemorySource

from pipeline.errors import OutputError
from pipeline.scenes.scratch import ScratchSource, scratch_bytes
from pipeline.scenes.source import Pixels


def scene(dtype: str, chunk: tuple[int, int] = (16, 20)) -> MemorySource:
    rng = np.random.default_rng(7)
    raw = rng.integers(0, 256, (3, 50, 70, np.dtype(dtype).itemsize), np.uint8)
    data = raw.view(dtype)[..., 0]  # every pattern of bits there is, NaNs with a payload among the floats
    return MemorySource(data, rng.random((50, 70)) < 0.8, chunk)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_blocks_come_back_bit_for_bit_whichever_thread_wrote_them(tmp_path: Path, dtype: str) -> None:
    source = scene(dtype)
    with ScratchSource(source, tmp_path) as scratch, ThreadPoolExecutor(4) as pool:
        assert (scratch.info, scratch.blocks) == (source.info, source.blocks)
        assert source.blocks
        list(pool.map(lambda block: scratch.put(block, source.read(block)), source.blocks))
        for block, back in zip(source.blocks, pool.map(scratch.read, source.blocks), strict=True):
            data, valid = source.read(block)
            assert back.data.dtype == data.dtype
            assert back.data.shape == data.shape
            assert back.data.tobytes() == data.tobytes()
            np.testing.assert_array_equal(back.valid, valid)
        assert max(source.reads.values()) == 2  # ours alone: what was put is not read again from the source


def test_pixels_in_any_memory_layout_come_back(tmp_path: Path) -> None:
    source = scene("u2")
    with ScratchSource(source, tmp_path) as scratch:
        for block in source.blocks:
            data, valid = source.read(block)
            scratch.put(block, Pixels(np.asfortranarray(data), np.asfortranarray(valid)))
        for block in source.blocks:
            np.testing.assert_array_equal(scratch.read(block).data, source.read(block).data)
            np.testing.assert_array_equal(scratch.read(block).valid, source.read(block).valid)


def test_the_space_taken_is_the_space_foretold_and_lies_below_the_folder(tmp_path: Path) -> None:
    source = scene("f4")
    with ScratchSource(source, tmp_path) as scratch:
        for block in source.blocks:
            scratch.put(block, source.read(block))
        taken = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
        assert sum(taken) == scratch_bytes(source.info) == source.data.nbytes + source.valid.nbytes
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_on_disk_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    source = scene("u1")

    def fail() -> None:
        with ScratchSource(source, tmp_path) as scratch:
            scratch.put(source.blocks[0], source.read(source.blocks[0]))
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    one, other = scene("u1"), scene("u1")
    other.data = 255 - one.data
    block = one.blocks[0]
    with ScratchSource(one, tmp_path) as first, ScratchSource(other, tmp_path) as second:
        first.put(block, one.read(block))
        second.put(block, other.read(block))
        np.testing.assert_array_equal(first.read(block).data, one.read(block).data)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_told_with_the_folder_and_the_block(tmp_path: Path) -> None:
    source = scene("u2", chunk=(50, 70))
    (block,) = source.blocks
    with ScratchSource(source, tmp_path) as scratch:
        scratch._path(block).symlink_to("/dev/full")
        with pytest.raises(OutputError, match=rf"{tmp_path}/.*rows 0-49, columns 0-69 can't be written \(.+\)"):
            scratch.put(block, source.read(block))
