"""Sentences for errors that Terrazzo did not raise itself: of the system, of broken packages, of bugs."""

import traceback
from types import FrameType

from pipeline.core.text import printable

_OWN_PACKAGE = "pipeline"


def fault_sentence(error: BaseException) -> str:
    """Describe an unexpected error, any but a `TerrazzoError`, in a sentence that says what to do."""
    if isinstance(error, MemoryError):
        return "there is not enough memory; set run.memory lower"
    package = _broken_package(error)
    if package:
        reason = printable(f"{type(error).__name__}: {error}")
        return (
            f"the package {package} can't be imported ({reason}); it is missing or broken: reinstall it with the other "
            "dependencies: pip install --force-reinstall terrazzo"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return printable(f"{where}{error.strerror}" if error.strerror else error)
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{printable(error.object[:200])}: this can't be encoded as {error.encoding}; set PYTHONUTF8=1, or rename "
            "the file"
        )
    if isinstance(error, RecursionError):
        return "the input is nested too deeply; run 'terrazzo --debug ...' to see where it is read"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f", {last[0].name}" if last else ""
    return (
        f"this is a bug in Terrazzo ({printable(f'{type(error).__name__}: {error}')[:200]}{where}); please report it "
        "with the output of 'terrazzo --debug ...'"
    )


def _broken_package(error: BaseException) -> str:
    """Return the name of the package whose import failed; empty if the error has another cause."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    importing = [name for frame in frames if (name := _imported_package(frame))]
    return next((name for name in (missing, *reversed(importing)) if name and name != _OWN_PACKAGE), "")


def _imported_package(frame: FrameType) -> str:
    """Return the package of the module that is being imported in a frame of a traceback; empty if none is."""
    if frame.f_code.co_name != "<module>":
        return ""
    spec = frame.f_globals.get("__spec__")
    name = spec.name if spec else ""
    return "" if frame.f_globals.get("__name__") == "__main__" else name.partition(".")[0]
