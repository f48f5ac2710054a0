"""The command line: its commands, signals, errors and exit statuses."""

import atexit
import gc
import hashlib  # noqa: F401 (early: if memory for its library is short, it prints a traceback for each digest and goes on)
import os
import sys
import warnings
from contextlib import suppress

import click

from pipeline.cli.commands import demo, fit, grid, init, inspect, plan, predict, run, validate
from pipeline.cli.faults import fault_sentence
from pipeline.cli.terminal import drop_output, error_of_printing, set_up_streams, unprinted
from pipeline.core.errors import TerrazzoError
from pipeline.core.text import printable
from pipeline.core.version import __version__
from pipeline.engine.signals import STOPPED, exit_at_signals, handle_signals, signal_exit_status


@click.group(
    commands=[demo, fit, grid, init, inspect, plan, predict, run, validate],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="terrazzo")
@click.option("--debug", is_flag=True, expose_value=False, help="Show Python's traceback when a command fails.")
def cli() -> None:
    """Turn a large satellite scene into an unsupervised land-cover map.

    \b
    terrazzo init scene.tif > my.yaml     a config to edit
    terrazzo run my.yaml                  the map, with a report

    Results go to standard output, progress and warnings to standard error. Exit status: 0 done, 1 failed,
    2 wrong usage or config.
    """  # noqa: D301 (click needs the character itself)


def main() -> None:
    """Run the command line and leave with its exit status."""
    exit_at_signals()
    set_up_streams()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # our threads work on blocks; those of BLAS would only spin
    atexit.register(gc.freeze)  # collecting garbage at exit takes a twentieth of a small run, and frees nothing
    warnings.filterwarnings("ignore", message="Dataset has no geotransform|The given matrix is equal")  # ours say more
    try:
        handle_signals()
        status = _run()
    except BaseException:  # libraries may turn the exception of a signal into another
        if not signal_exit_status():
            raise
        status = 1
    finally:
        exit_at_signals()
    if signal_exit_status():
        click.echo(STOPPED, err=True)
    _leave(signal_exit_status() or status)


def _run() -> int:
    """Run the command line and return its exit status."""
    try:
        status = cli.main([word for word in sys.argv[1:] if word != "--debug"], "terrazzo", standalone_mode=False)
    except click.ClickException as error:
        if not isinstance(error, click.exceptions.NoArgsIsHelpError):  # its message is the help, of many lines
            error.message = printable(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except click.Abort:  # click's exception for Ctrl-C
        return 130
    except Exception as error:
        lost = drop_output() or error_of_printing(error)
        if isinstance(error, BrokenPipeError):
            return 1
        if "--debug" in sys.argv:
            raise
        ours = isinstance(error, TerrazzoError)
        sentence = unprinted(lost) if lost else str(error) if ours else fault_sentence(error)
        click.echo(f"terrazzo: {sentence}", err=True)
        return getattr(error, "exit_code", 1)
    return status if isinstance(status, int) else 0


def _leave(status: int) -> None:
    """Exit; without Python's own shutdown after a signal, or if a thread still waits for a remote file.

    Such a thread would block the shutdown. After a Ctrl-C that came while a module was made by `exec`, `python -m`
    would end by SIGINT, although the command has handled it.
    """
    time_limits = sys.modules.get("pipeline.engine.time_limits")  # not imported by --help
    if signal_exit_status() or (time_limits and time_limits.has_abandoned_threads()):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
