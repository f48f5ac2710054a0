"""Runs of the command, each in a process forked from one that has imported everything, with a fault put into it.

A process of its own, started by `Runs`: it reads what to do from its standard input, a line of JSON each, and answers
in the same way.
"""

import errno
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

EVENTS = frozenset(
    {
        "open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "os.scandir",
        "tempfile.mkdtemp", "shutil.rmtree",
    }
)  # fmt: skip
"""Calls of the system that Python tells of before they are made; and, counted with them, those that write through."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a run."""

    at: int = 0
    """The call of the system on a file in the folder at which it does, counted from 1; 0 for none."""
    kill: bool = False
    """Whether the process is killed then; else the call fails."""
    number: int = errno.EIO
    """Error of a call that fails."""
    after: float = 0
    """Seconds after which the process is killed; 0 for never."""
    quota: int = 0
    """Bytes that no file may exceed; 0 for any."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int
    """Exit status; the negative number of the signal that killed it."""
    said: str
    """What it wrote to standard error."""
    calls: int
    """Calls of the system on files in the folder."""
    seconds: float
    """How long it took."""


class Runs:
    """The process that runs are forked from."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, folder: Path, *args: object, fault: Fault | None = None) -> Outcome:
        """Run the command; what is counted is what it does to files in a folder."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"folder": str(folder), "args": [str(arg) for arg in args], "fault": asdict(fault or Fault())}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


class _Hook:
    """Counts calls, and makes one of them go wrong."""

    def __init__(self, folder: str, fault: Fault, counted: mmap.mmap) -> None:
        self._folder = folder
        self._fault = fault
        self._counted = counted
        self._calls = 0
        self._busy = False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or self._busy or not self._concerns(event, args):
            return
        self._busy = True
        try:
            self._calls += 1
            self._counted[:] = self._calls.to_bytes(8, "little")
            if self._calls == self._fault.at:
                if self._fault.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(self._fault.number, os.strerror(self._fault.number))
        finally:
            self._busy = False

    def _concerns(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether a call is about a file in the folder, or one that is named within an open folder."""
        paths = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
        if any(path.startswith(self._folder) for path in paths):
            return True
        return event in {"os.remove", "os.rmdir"} and args[1] != -1


def _child(asked: dict[str, Any], said: int, counted: mmap.mmap) -> None:
    """Run the command in this process, and end it."""
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))  # of other kinds of files
    fault = Fault(**asked["fault"])
    if fault.quota:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.quota, fault.quota))
    hook, plain = _Hook(asked["folder"], fault, counted), os.fsync

    def fsync(number: int) -> None:
        hook("open", (asked["folder"],))
        plain(number)

    os.fsync = fsync
    sys.addaudithook(hook)
    from pipeline.cli.main import main

    sys.argv = ["terrazzo", *asked["args"]]
    status = 70
    try:
        main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 (to be seen by who reads what was said)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _answer(asked: dict[str, Any]) -> Outcome:
    begin, (said, says), calls = time.perf_counter(), os.pipe(), mmap.mmap(-1, 8)
    process = os.fork()
    if process == 0:
        _child(asked, says, calls)
    os.close(says)
    if after := asked["fault"]["after"]:
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
    with open(said, encoding="utf-8", errors="replace") as words:  # noqa: PTH123 (a number)
        text = words.read()
    _, status = os.waitpid(process, 0)
    return Outcome(
        os.waitstatus_to_exitcode(status), text, int.from_bytes(calls[:], "little"), time.perf_counter() - begin
    )


def _work_once(folder: Path) -> None:
    """Make a small map, on one thread."""
    import numpy as np
    import rasterio

    from pipeline.config.schema import RunConfig
    from pipeline.jobs.run import run_config

    pixels = np.random.default_rng(0).integers(1, 255, (2, 64, 64), np.uint16)
    profile = {"driver": "GTiff", "count": 2, "height": 64, "width": 64, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 300_000, 0, -10, 5_900_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile) as file:
        file.write(pixels)
    asked = {
        "version": 1,
        "scene": {"source": str(folder / "scene.tif")},
        "fit": {"k": 2, "pixels": "all"},
        "output": {"labels": str(folder / "map.tif")},
        "run": {"workers": 1},
    }
    run_config(RunConfig.model_validate(asked))


def _serve() -> None:
    import sklearn.cluster  # noqa: F401
    import xarray.backends.h5netcdf_  # noqa: F401

    import pipeline.stores.variables  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        _work_once(Path(folder))  # so that all is imported and compiled
    assert threading.active_count() == 1, "threads are not forked"
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(_answer(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
