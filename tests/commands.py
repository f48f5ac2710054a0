"""Run the command in a process forked from one that has imported it: as `python -m pipeline`, in a tenth of the time.

It begins with what `main` does; for what happens before, such as imports and signals during them, tests start Python.
"""

import os
import subprocess
import sys
import tempfile
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any

IMPORTED = [
    *("pipeline.cli.main", "pipeline.cli.text", "pipeline.jobs.inspect", "pipeline.jobs.predict", "pipeline.jobs.run"),
    *("pipeline.jobs.template", "numba"),
]
"""Modules that the process imports from which commands are forked."""

TIME_LIMIT = 300
"""Seconds after which a command is killed."""


def terrazzo(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command with these words; return its exit status and what it printed."""
    texts = [str(word) for word in words]
    if "forkserver" not in get_all_start_methods():
        command = [sys.executable, "-m", "pipeline", *texts]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=TIME_LIMIT)
    context: Any = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder) / name for name in ("stdout", "stderr")]
        where = str(cwd or Path.cwd())
        process = context.Process(target=_main, args=(texts, where, dict(os.environ), list(map(str, printed))))
        process.start()
        process.join(TIME_LIMIT)
        if process.exitcode is None:
            process.kill()
        assert process.exitcode is not None, f"{texts} did not end within {TIME_LIMIT} s"
        return subprocess.CompletedProcess(texts, process.exitcode, *(path.read_text("utf-8") for path in printed))


def _main(words: list[str], cwd: str, environment: dict[str, str], printed: list[str]) -> None:
    """Run the command in this process, with standard output and error in files."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = ["terrazzo", *words]
    from pipeline.__main__ import main

    main()
