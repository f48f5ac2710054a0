"""Run the command with a fault injected, each run in a process forked from one that has imported everything.

This file is also the script of that server process, which `Runs` starts: it reads requests from its standard input,
one line of JSON each, and writes its answers to standard output in the same way.
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
"""Audit events of Python for system calls on files; calls of `fsync` are counted with them."""


@dataclass(frozen=True)
class Fault:
    """A fault to inject into a run."""

    at: int = 0
    """Number of the system call on a file in the folder that fails, from 1; 0 for none."""
    kill: bool = False
    """True to kill the process at that call; else the call raises an error."""
    number: int = errno.EIO
    """Error number of the call that fails."""
    after: float = 0
    """Seconds until the process is killed; 0 for never."""
    quota: int = 0
    """Largest size of a file in bytes; 0 for no limit."""


@dataclass(frozen=True)
class Outcome:
    """Result of a run."""

    status: int
    """Exit status, or the negative number of the signal that killed the process."""
    said: str
    """Text written to standard error."""
    calls: int
    """Number of system calls on files in the folder."""
    seconds: float
    """Duration of the run."""


class Runs:
    """The server process that runs are forked from."""

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
        """Run the command and count its system calls on files in a folder."""
        assert self._process.stdin
        assert self._process.stdout
        request = {"folder": str(folder), "args": [str(arg) for arg in args], "fault": asdict(fault or Fault())}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


class _Hook:
    """Audit hook that counts system calls and injects the fault."""

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
        """Return True for a call on a file in the folder, or on one relative to an open folder."""
        paths = [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]
        if any(path.startswith(self._folder) for path in paths):
            return True
        return event in {"os.remove", "os.rmdir"} and args[1] != -1


def _child(request: dict[str, Any], output: int, counted: mmap.mmap) -> None:
    """Run the command in this process, then exit."""
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    fault = Fault(**request["fault"])
    if fault.quota:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.quota, fault.quota))
    hook, real_fsync = _Hook(request["folder"], fault, counted), os.fsync

    def fsync(number: int) -> None:
        hook("open", (request["folder"],))
        real_fsync(number)

    os.fsync = fsync
    sys.addaudithook(hook)
    from pipeline.cli.main import main

    sys.argv = ["terrazzo", *request["args"]]
    status = 70
    try:
        main()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 (printed for the test)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _answer(request: dict[str, Any]) -> Outcome:
    """Fork a process for a run, and wait until it ends."""
    begin, (reading, writing), calls = time.perf_counter(), os.pipe(), mmap.mmap(-1, 8)
    process = os.fork()
    if process == 0:
        _child(request, writing, calls)
    os.close(writing)
    if after := request["fault"]["after"]:
        time.sleep(after)
        os.kill(process, signal.SIGKILL)
    with open(reading, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123 (a file descriptor)
        text = stream.read()
    _, status = os.waitpid(process, 0)
    return Outcome(
        os.waitstatus_to_exitcode(status), text, int.from_bytes(calls[:], "little"), time.perf_counter() - begin
    )


def _work_once(folder: Path) -> None:
    """Make a small map on one thread, so that all modules are imported and kernels compiled."""
    import numpy as np
    import rasterio

    from pipeline.jobs.config import RunConfig
    from pipeline.jobs.run import run_config

    pixels = np.random.default_rng(0).integers(1, 255, (2, 64, 64), np.uint16)
    profile = {"driver": "GTiff", "count": 2, "height": 64, "width": 64, "dtype": "uint16"}
    profile |= {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 300_000, 0, -10, 5_900_000)}
    with rasterio.open(folder / "scene.tif", "w", **profile) as file:
        file.write(pixels)
    settings = {
        "version": 1,
        "scene": {"source": str(folder / "scene.tif")},
        "fit": {"k": 2, "pixels": "all"},
        "output": {"labels": str(folder / "map.tif")},
        "run": {"workers": 1},
    }
    run_config(RunConfig.model_validate(settings))


def _serve() -> None:
    """Answer requests until standard input is closed."""
    import pyproj  # noqa: F401
    import sklearn.cluster  # noqa: F401
    import xarray.backends.h5netcdf_  # noqa: F401

    import pipeline.sinks.zarr_writer
    import pipeline.stores.variables  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        _work_once(Path(folder))
    assert threading.active_count() == 1, "fork copies only the calling thread"
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(_answer(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
