"""Machine code of kernels: cached for the next process, never used for anything else, never a reason to stop."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

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
    """Call a kernel in a new process from a read-only installation; return its standard error.

    Files named `__pycache__` where Python expects folders make it read-only.
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


def test_machine_code_is_cached_in_the_users_folder_if_the_installation_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cached = []
    for _ in range(2):
        use_read_only(tmp_path, "cache")
        cached.append({path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")})
    assert any("smallest_keys" in name or "_scan" in name for name in cached[0])
    assert cached[0] == cached[1], "the second process compiled nothing"


def test_a_run_logs_once_that_machine_code_can_not_be_cached(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    log = use_read_only(tmp_path, "file")
    assert log.count("compiling") == 1
    assert log.count("compiled kernels can't be cached here (neither this folder nor the user's cache") == 1
    assert not list(tmp_path.rglob("*.nbc"))


SUMS = """
import sys
import numpy as np
from pipeline.kernels.sums import class_sums
pixels = np.full((1, 1, 4), -1, np.int16).view(sys.argv[1])
print(class_sums(pixels, np.ones((1, 4), np.uint8), np.zeros((1, 1)))[1][0, 1, 0])
"""


def total(dtype: str, folder: Path) -> int:
    """Sum of four times -1 from a new process that caches machine code in a folder."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", SUMS, dtype]
    return int(subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout)


def cached_sums(folder: Path) -> Path:
    """The file of the one kernel that adds up integers."""
    (found,) = folder.rglob("*_add_integers*.nbc")
    return found


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of machine code that adds up signed integers, to copy."""
    folder = tmp_path_factory.mktemp("signed") / "code"
    assert total("int16", folder) == -4
    return folder


def test_cached_machine_code_for_other_types_is_not_used(tmp_path: Path, signed: Path) -> None:
    """A file states what it was compiled for: neither its name nor an index decides."""
    one = tmp_path / "one"
    assert total("uint16", one) == 4 * 65535
    ours, theirs = cached_sums(one), cached_sums(signed)
    assert ours.name != theirs.name, "processes that compile at the same time don't write the same file"
    shutil.copy(theirs, ours)
    assert total("uint16", one) == 4 * 65535
    assert ours.read_bytes() != theirs.read_bytes(), "the code compiled instead is cached"


@pytest.mark.parametrize("damage", [lambda code: code[: len(code) // 2], lambda code: code.replace(b"int16", b"in_16")])
def test_cached_machine_code_that_can_not_be_read_is_compiled_again(
    tmp_path: Path, signed: Path, damage: Callable[[bytes], bytes]
) -> None:
    folder = shutil.copytree(signed, tmp_path / "code")
    cached = cached_sums(folder)
    cached.write_bytes(damage(cached.read_bytes()))
    damaged = cached.read_bytes()
    assert total("int16", folder) == -4
    assert cached.read_bytes() != damaged, "the code compiled instead is cached"


def test_machine_code_is_compiled_again_if_another_module_of_its_folder_has_changed(tmp_path: Path) -> None:
    """`use` is compiled together with a constant of another module, whose size and time stay as they were."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "far.py").write_text("FACTOR = 2\n")
    (package / "near.py").write_text(
        "from package.far import FACTOR\nfrom pipeline.kernels.compiled import compiled\n"
        "@compiled\ndef use(number):\n    return FACTOR * number\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", "from package.near import use; print(use(21))"]

    def run() -> int:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
        return int(done.stdout)

    assert run() == 42
    cached = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert (run(), {path: path.stat().st_mtime_ns for path in cached}) == (42, cached), "nothing was compiled again"
    times = (package / "far.py").stat()
    (package / "far.py").write_text("FACTOR = 9\n")
    os.utime(package / "far.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run() == 9 * 21
    assert list(tmp_path.rglob("*.nbc")) == list(cached), "what is stale was replaced"


LIMITED = """
import logging, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # as on a full disk: files are limited to 64 bytes
logging.basicConfig(level=logging.INFO)
import numpy as np
from pipeline.kernels.hashing import smallest_keys
keys, index = smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
print(sorted(index.tolist()) == list(range(16)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_a_full_disk_does_not_stop_a_run_that_caches_machine_code(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
    assert done.stderr.count("compiled kernels can't be cached here (File too large)") == 1


FIRST = """
import logging
logging.basicConfig(level=logging.INFO)
import numpy as np
from pipeline.kernels.hashing import smallest_keys
from pipeline.kernels.sums import class_sums
smallest_keys(np.ones((4, 4), bool), (0, 0), 0, 16)
class_sums(np.ones((1, 1, 4), np.int16), np.ones((1, 4), np.uint8), np.zeros((1, 1)))
"""


def test_only_the_first_run_logs_that_it_compiles_and_only_once(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-B", "-c", FIRST]
    runs = [subprocess.run(command, capture_output=True, text=True, env=environment, check=True) for _ in range(2)]
    assert [done.stderr.count("compiling") for done in runs] == [1, 0]


def test_the_cache_extends_a_version_of_numba_that_was_read() -> None:
    """It replaces a private part of numba: read `numba/core/caching.py` again before raising this limit."""
    assert (0, 61) <= numba.version_info[:2] <= (0, 68)
