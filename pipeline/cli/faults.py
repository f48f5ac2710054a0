"""What is said of errors that are none of Terrazzo's own: of the system, of packages that are broken, of its code."""

import traceback
from types import TracebackType

from pipeline.core.text import printable

_HOME = "pipeline"


def fault_sentence(error: BaseException) -> str:
    """Say in a sentence what ended the command, and what to do.

    Parameters
    ----------
    error : BaseException
        Any error that is no `TerrazzoError`.
    """
    if isinstance(error, MemoryError):
        return "there is not enough memory; set run.memory lower"
    package = _broken_package(error)
    if package:
        why = printable(f"{type(error).__name__}: {error}")
        return (
            f"the package {package} can't be imported ({why}); it is missing or broken: install it anew, with what "
            "else is needed: pip install --force-reinstall terrazzo"
        )
    if isinstance(error, OSError):
        return printable(error)
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{printable(error.object[:200])}: this can't be written in {error.encoding}; set PYTHONUTF8=1, or rename "
            "what is called so"
        )
    if isinstance(error, RecursionError):
        return "something here is nested too deeply to be read; run 'terrazzo --debug ...' to see what"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f", {last[0].name}" if last else ""
    return (
        f"this is a fault of Terrazzo itself ({printable(f'{type(error).__name__}: {error}')[:200]}{where}); what "
        "'terrazzo --debug ...' prints helps to mend it: please report that"
    )


def _broken_package(error: BaseException) -> str:
    """Name of the package whose import an error ended; empty where it ended none."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    importing = [name for frame in _frames(error.__traceback__) if (name := _imported_there(frame))]
    return next((name for name in (missing, *reversed(importing)) if name and name != _HOME), "")


def _frames(trace: TracebackType | None) -> list[TracebackType]:
    """Every step of a traceback, the outermost first."""
    found = []
    while trace:
        found.append(trace)
        trace = trace.tb_next
    return found


def _imported_there(step: TracebackType) -> str:
    """Package whose module is being imported at a step of a traceback; empty where none is."""
    frame = step.tb_frame
    if frame.f_code.co_name != "<module>":
        return ""
    spec = frame.f_globals.get("__spec__")
    name = spec.name if spec else ""
    return "" if frame.f_globals.get("__name__") == "__main__" else name.partition(".")[0]
