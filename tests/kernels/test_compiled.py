"""Compiled kernels are kept for the next process, also where the install can't be written to."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

USE = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np
from pipeline.kernels.hashing import smallest_keys
import pipeline
print(pipeline.__file__)
smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 5, 2**63)
"""


def use_read_only(folder: Path, cache: str) -> str:
    """Use a kernel in a fresh process, from an install that nobody may write into; give what it says.

    A file where Python keeps what it has compiled stands for such an install.
    """
    site = folder / "site"
    if not site.exists():
        shutil.copytree(ROOT / "pipeline", site / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        for module in [site / "pipeline", *(path for path in (site / "pipeline").iterdir() if path.is_dir())]:
            (module / "__pycache__").write_text("no folder")
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    environment |= {"PYTHONPATH": str(site), "XDG_CACHE_HOME": str(folder / cache), "HOME": str(folder / cache)}
    environment |= {"IPYTHONDIR": str(folder / cache), "LOCALAPPDATA": str(folder / cache)}
    command = [sys.executable, "-B", "-c", USE]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=True)
    assert done.stdout.startswith(str(site)), "the copy was used"
    return done.stderr


def test_machine_code_is_kept_for_the_user_where_the_install_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kept = []
    for _ in range(2):
        use_read_only(tmp_path, "cache")
        kept.append({path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb[ic]")})
    assert any("smallest_keys" in name or "_scan" in name for name in kept[0])
    assert kept[0] == kept[1], "the second process compiled nothing"


def test_machine_code_that_can_be_kept_nowhere_is_told_of_in_each_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    told = [use_read_only(tmp_path, "file") for _ in range(2)]
    for said in told:
        assert said.count("compiling") == 1
        assert said.count("compiled code can't be kept here (neither this folder nor the user's cache") == 1
    assert not list(tmp_path.rglob("*.nb[ic]"))


SUMS = """
import sys
import numpy as np
from pipeline.kernels.sums import class_sums
pixels = np.full((1, 1, 4), -1, np.int16).view(sys.argv[1])
print(class_sums(pixels, np.ones((1, 4), np.uint8), np.zeros((1, 1)))[1][0, 1, 0])
"""


def total(dtype: str, folder: Path) -> int:
    """Add up -1 four times in a fresh process that keeps machine code in a folder."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", SUMS, dtype]
    return int(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)


def test_machine_code_for_other_types_is_not_taken(tmp_path: Path) -> None:
    """Two processes that compile at once may leave one's index beside the other's code."""
    one, other = tmp_path / "one", tmp_path / "other"
    assert (total("uint16", one), total("int16", other)) == (4 * 65535, -4)
    theirs = [path.relative_to(other) for path in other.rglob("*_sums*.nbc")]
    assert len(theirs) == 1
    shutil.copy(other / theirs[0], one / theirs[0])
    assert total("uint16", one) == 4 * 65535
    assert (one / theirs[0]).read_bytes() != (other / theirs[0]).read_bytes(), "what was compiled instead is kept"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("spoil", [lambda kept: kept[: len(kept) // 2], lambda kept: kept.replace(b"int16", b"in_16")])
def test_machine_code_that_cannot_be_read_is_compiled_again(
    tmp_path: Path, kind: str, spoil: Callable[[bytes], bytes]
) -> None:
    assert total("int16", tmp_path) == -4
    kept = list(tmp_path.rglob(f"*_sums*.{kind}"))
    assert len(kept) == 1
    kept[0].write_bytes(spoil(kept[0].read_bytes()))
    spoilt = kept[0].read_bytes()
    assert total("int16", tmp_path) == -4
    assert kept[0].read_bytes() != spoilt, "what was compiled instead is kept"


def test_machine_code_is_made_anew_when_a_module_beside_its_own_has_changed(tmp_path: Path) -> None:
    """`use` is compiled with what it calls in the other module; its own stays as it is."""
    (tmp_path / "far.py").write_text("FACTOR = 2\n")
    (tmp_path / "near.py").write_text(
        "from far import FACTOR\nfrom pipeline.kernels.compiled import compiled\n"
        "@compiled\ndef use(number):\n    return FACTOR * number\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", "from near import use; print(use(21))"]

    def run() -> int:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
        return int(done.stdout)

    assert run() == 42
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert (run(), {path: path.stat().st_mtime_ns for path in kept}) == (42, kept), "nothing was compiled again"
    (tmp_path / "far.py").write_text("FACTOR = 200\n")
    assert run() == 4200


LIMITED = """
import logging, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # as a full disk: files end after 64 bytes
logging.basicConfig(level=logging.INFO)
import numpy as np
from pipeline.kernels.hashing import smallest_keys
keys, index = smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
print(sorted(index.tolist()) == list(range(16)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no files")
def test_a_disk_too_full_for_machine_code_stops_no_run(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert done.stderr.count("compiled code can't be kept here (File too large)") == 1


FIRST = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np
from pipeline.kernels.hashing import smallest_keys
from pipeline.kernels.sums import class_sums
smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
class_sums(np.ones((1, 1, 4), np.int16), np.ones((1, 4), np.uint8), np.zeros((1, 1)))
"""


def test_the_first_run_says_once_why_it_takes_longer(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", FIRST]
    runs = [subprocess.run(command, capture_output=True, text=True, env=environment, check=True) for _ in range(2)]
    assert [done.stderr.count("compiling") for done in runs] == [1, 0]


WITHOUT_BLAS = """
import sys
import numpy as np
from numba import njit
from pipeline.kernels.hashing import smallest_keys
smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
print("scipy.linalg" in sys.modules)
print(njit(lambda a, b: a @ b)(np.eye(3), np.arange(9.0).reshape(3, 3)).sum())
"""


def test_kernels_load_no_linear_algebra_and_leave_it_to_others(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", WITHOUT_BLAS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", "36.0"]


LATE = """
import sys
import pipeline.cli.main, pipeline.jobs.run
print("numba" in sys.modules)
"""


def test_numba_is_not_imported_before_a_kernel_is_called() -> None:
    """A third of what a command takes to start; reading begins meanwhile."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"
