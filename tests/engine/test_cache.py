"""Cached bytes are returned unchanged, and no file remains, however the run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import OutputError
from pipeline.engine.cache import open_cache

KINDS: list[Literal["memory", "disk"]] = ["memory", "disk"]
ARRAYS = st.lists(
    st.tuples(st.sampled_from(["u1", "u2", "f4", "?"]), st.integers(1, 300), st.integers(0, 99)), min_size=1, max_size=4
)


def random_array(dtype: str, count: int, seed: int) -> npt.NDArray[Any]:
    return (
        np.random.default_rng(seed).integers(0, 2, count * 8, np.uint8)[: count * np.dtype(dtype).itemsize].view(dtype)
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(spec=ARRAYS, data=st.data())
def test_any_part_of_cached_arrays_is_returned_unchanged(
    tmp_path_factory: pytest.TempPathFactory, kind: Literal["memory", "disk"], spec: Any, data: st.DataObject
) -> None:
    arrays = [random_array(*one) for one in spec]
    with open_cache(kind, tmp_path_factory.mktemp("s")) as cache:
        cache.put("a", *arrays)
        start = 0
        for array in arrays:
            first = data.draw(st.integers(0, array.size - 1))
            out = np.empty(data.draw(st.integers(1, array.size - first)), array.dtype)
            cache.take("a", (start + first * array.itemsize, out))
            assert out.tobytes() == array[first : first + out.size].tobytes()
            start += array.nbytes


@pytest.mark.parametrize("kind", KINDS)
def test_overwritten_bytes_are_returned_and_adjacent_bytes_are_unchanged(
    tmp_path: Path, kind: Literal["memory", "disk"]
) -> None:
    labels = np.arange(100, dtype=np.uint8)
    with open_cache(kind, tmp_path) as cache:
        cache.put("labels", labels.copy())
        cache.change("labels", 40, np.full(7, 255, np.uint8))
        out = np.empty_like(labels)
        cache.take("labels", (0, out))
    labels[40:47] = 255
    np.testing.assert_array_equal(out, labels)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_no_file_remains_on_disk_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with open_cache("disk", tmp_path) as cache:
            cache.put("a", np.zeros(10))
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


HANG = """
import sys, time, numpy as np
from pathlib import Path
from pipeline.engine.cache import open_cache
with open_cache("disk", Path(sys.argv[1])) as cache:
    cache.put("a", np.zeros(1000))
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
from pipeline.engine.cache import open_cache

removed, unlink = [], os.unlink

def killed(path, **where):
    removed.append(path)
    if len(removed) > 3:
        os.kill(os.getpid(), 9)
    unlink(path, **where)

with open_cache("disk", Path(sys.argv[1])) as cache:
    for name in "abcdefgh":
        cache.put(name, np.zeros(1))
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
        cache.put("a", np.zeros(1))
        (file,) = tmp_path.glob("*/a")
        file.unlink()
        file.symlink_to("/dev/full")
        with pytest.raises(OutputError, match=rf"^{tmp_path}: the cache file a can't be written \(.+\); make room"):
            cache.put("a", np.zeros(1000))


def test_a_truncated_file_raises_an_error(tmp_path: Path) -> None:
    with open_cache("disk", tmp_path) as cache:
        cache.put("a", np.zeros(10))
        (file,) = tmp_path.glob("*/a")
        os.truncate(file, 50)
        with pytest.raises(OutputError, match="can't be read back"):
            cache.take("a", (0, np.empty(10)))
