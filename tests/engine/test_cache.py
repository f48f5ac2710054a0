"""Cached arrays are returned unchanged, and no file remains, however the run ends."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import OutputError
from pipeline.engine.cache import Entry, open_cache
from pipeline.engine.owner_mark import MARK

Kind = Literal["memory", "disk"]

KINDS: list[Kind] = ["memory", "disk"]
ZEROS = Entry("a", np.dtype(np.float64), (10,))

DTYPES = ["u1", "u2", "i4", "f4", "f8", "?"]


def entry_of(array: npt.NDArray[Any], name: str = "a") -> Entry:
    return Entry(name, array.dtype, array.shape)


def random_array(dtype: str, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[Any]:
    """Random bits, including NaNs with a payload."""
    raw = np.random.default_rng(seed).integers(0, 2, (*shape, np.dtype(dtype).itemsize), np.uint8)
    return raw.view(dtype)[..., 0].copy()


def draw_window(data: st.DataObject, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Any part of an array, with at least one item; the last axes may have no slice."""
    window = []
    for side in shape[: data.draw(st.integers(0, len(shape)))]:
        start = data.draw(st.integers(0, side - 1))
        window.append(data.draw(st.sampled_from([slice(None), slice(start, data.draw(st.integers(start + 1, side)))])))
    return tuple(window)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), shape=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_any_part_of_an_array_is_read_and_overwritten_like_numpys(
    tmp_path_factory: pytest.TempPathFactory, kind: Kind, data: st.DataObject, dtype: str, shape: list[int]
) -> None:
    expected = random_array(dtype, tuple(shape))
    entry = entry_of(expected)
    with open_cache(kind, tmp_path_factory.mktemp("s")) as cache:
        cache.write(entry, expected.copy())
        for seed in range(1, 4):
            window = draw_window(data, expected.shape)
            part = random_array(dtype, expected[window].shape, seed)
            expected[window] = part
            cache.update(entry, window, part)
            window = draw_window(data, expected.shape)
            out = np.empty(expected[window].shape, dtype)
            assert cache.read(entry, window, out) is out
            for found in (out, cache.read(entry, window)):
                assert (found.dtype, found.shape) == (expected.dtype, expected[window].shape)
                assert found.tobytes() == expected[window].tobytes()
        assert cache.read(entry).tobytes() == expected.tobytes()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count the bytes read")
def test_rows_are_read_without_the_rest(tmp_path: Path) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    array = np.arange(3 * 1000 * 500, dtype=np.uint16).reshape(3, 1000, 500)
    with open_cache("disk", tmp_path) as cache:
        cache.write(entry_of(array), array)
        out, before = np.empty((3, 10, 500), np.uint16), bytes_read()
        cache.read(entry_of(array), (slice(None), slice(200, 210)), out)
        assert bytes_read() - before < out.nbytes + 2000
    np.testing.assert_array_equal(out, array[:, 200:210])


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_holds_an_array_until_it_is_dropped(tmp_path: Path, kind: Kind) -> None:
    with open_cache(kind, tmp_path) as cache:
        assert not cache.holds(ZEROS)
        cache.write(ZEROS, np.zeros(10))
        assert cache.holds(ZEROS)
        cache.drop(ZEROS)
        cache.drop(ZEROS)
        assert not cache.holds(ZEROS)


@pytest.mark.parametrize("dump", [pickle.dumps, cloudpickle.dumps])
def test_another_process_reads_a_disk_cache_and_gets_an_empty_memory_cache(
    tmp_path: Path, dump: Callable[[Any], bytes]
) -> None:
    code = """
import pickle, sys
import numpy as np
from pipeline.engine.cache import Entry
a, b = Entry("a", np.dtype(np.int16), (2, 3)), Entry("b", np.dtype(np.float64), (2,))
disk, memory = pickle.load(sys.stdin.buffer)
assert disk.read(a, (slice(1, 2),)).tolist() == [[3, 4, 5]]
disk.update(a, (slice(0, 1),), np.full((1, 3), 7, np.int16))
disk.write(b, np.ones(2))
assert not memory.holds(a)
memory.write(b, np.ones(2))
"""
    array = np.arange(6, dtype=np.int16).reshape(2, 3)
    one, other = entry_of(array), Entry("b", np.dtype(np.float64), (2,))
    with open_cache("disk", tmp_path) as disk, open_cache("memory", tmp_path) as memory:
        for cache in (disk, memory):
            cache.write(one, array.copy())
        subprocess.run([sys.executable, "-c", code], input=dump((disk, memory)), check=True)
        assert disk.read(one).tolist() == [[7, 7, 7], [3, 4, 5]]
        assert disk.read(other).tolist() == [1, 1]
        assert memory.read(one).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert not memory.holds(other)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_file_remains_on_disk_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with open_cache("disk", tmp_path) as cache:
            cache.write(ZEROS, np.zeros(10))
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


HANG = """
import sys, time, numpy as np
from pathlib import Path
from pipeline.engine.cache import Entry, open_cache
with open_cache("disk", Path(sys.argv[1])) as cache:
    cache.write(Entry("a", np.dtype(float), (1000,)), np.zeros(1000))
    print("cached", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal")
def test_the_next_run_removes_the_folder_of_a_killed_run_but_not_of_a_living_one(tmp_path: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, "-c", HANG, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    try:
        for run in runs:
            assert run.stdout
            assert run.stdout.readline() == "cached\n"
        assert len(list(tmp_path.iterdir())) == 2
        runs[0].send_signal(signal.SIGKILL)
        runs[0].wait()
        with open_cache("disk", tmp_path):
            assert len(list(tmp_path.iterdir())) == 2, "its own, and that of the living run"
        (left,) = tmp_path.iterdir()
        assert {file.name for file in left.iterdir()} == {"a", "lock"}
    finally:
        for run in runs:
            run.kill()
            run.communicate()


KILLED_WHILE_REMOVING = """
import os, sys, numpy as np
from pathlib import Path
from pipeline.engine.cache import Entry, open_cache

removed, unlink = [], os.unlink

def killed(path, **where):
    removed.append(path)
    if len(removed) > 3:
        os.kill(os.getpid(), 9)
    unlink(path, **where)

with open_cache("disk", Path(sys.argv[1])) as cache:
    for name in "abcdefgh":
        cache.write(Entry(name, np.dtype(float), (1,)), np.zeros(1))
    os.unlink = killed
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal")
def test_the_next_run_removes_the_folder_of_a_run_killed_while_removing_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_WHILE_REMOVING, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob("*/*"))) == 6, "five of eight files, and the lock"
    with open_cache("disk", tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_program_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / ".terrazzo-scratch-notes").mkdir()
    (tmp_path / ".terrazzo-scratch-notes" / "mine.txt").write_text("keep")
    with open_cache("disk", tmp_path):
        pass
    assert (tmp_path / ".terrazzo-scratch-notes" / "mine.txt").read_text() == "keep"


def test_the_error_of_a_missing_folder_names_the_setting(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=rf"^{tmp_path}/no: not a folder, or does not exist.*run\.cache_dir"),
        open_cache("disk", tmp_path / "no"),
    ):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_the_error_of_a_full_disk_names_the_folder_and_the_file(tmp_path: Path) -> None:
    with open_cache("disk", tmp_path) as cache:
        (folder,) = tmp_path.iterdir()
        (folder / f"a.{os.getpid()}-{threading.get_ident()}").symlink_to("/dev/full")
        with pytest.raises(OutputError, match=rf"^{tmp_path}: the cache file a can't be written \(.+\); make room"):
            cache.write(ZEROS, np.zeros(10))
        assert not cache.holds(ZEROS)
        assert [file.name for file in folder.iterdir()] == [MARK]


def test_an_error_of_writing_other_than_a_full_disk_is_not_met_by_making_room(tmp_path: Path) -> None:
    with open_cache("disk", tmp_path) as cache:
        cache.write(ZEROS, np.zeros(10))
        shutil.rmtree(next(tmp_path.iterdir()))
        with pytest.raises(
            OutputError, match=r"\(No such file or directory\); set run\.cache_dir to a folder on another"
        ):
            cache.write(Entry("b", np.dtype(np.float64), (10,)), np.zeros(10))


@pytest.mark.parametrize("size", [0, 30, 79])
def test_a_truncated_file_raises_an_error(tmp_path: Path, size: int) -> None:
    with open_cache("disk", tmp_path) as cache:
        cache.write(ZEROS, np.zeros(10))
        (file,) = tmp_path.glob("*/a")
        os.truncate(file, size)
        fix = r"was it changed\? Run again, or set run\.cache_dir to a folder on another disk"
        with pytest.raises(OutputError, match=rf"^{tmp_path}: the cache file a can't be read back \(.+\); {fix}"):
            cache.read(ZEROS)


def test_a_removed_file_raises_an_error(tmp_path: Path) -> None:
    with open_cache("disk", tmp_path) as cache:
        cache.write(ZEROS, np.zeros(10))
        next(tmp_path.glob("*/a")).unlink()
        with pytest.raises(OutputError, match=r"the cache file a can't be read back \(No such file.*was it changed\?"):
            cache.read(ZEROS)
