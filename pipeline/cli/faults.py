"""Sentences for errors that Terrazzo did not raise itself: of the system, of broken packages, of bugs."""

import mmap
import traceback
from collections.abc import Sequence
from types import FrameType

from pipeline.core.text import printable

_OWN_PACKAGE = "pipeline"

_NO_MEMORY = ("failed to map segment", "annot allocate memory", "annot create shared object descriptor")
"""Parts of messages of the system's loader if there is no memory or address space for a library."""

_ROOM = 64 * 2**20
"""Bytes, as many as large libraries map: memory is short if they can't be mapped after an import has failed."""


def fault_sentence(error: BaseException) -> str:
    """Describe an unexpected error, any but a `TerrazzoError`, in a sentence that says what to do."""
    if sentence := _import_sentence(error):
        return sentence
    if isinstance(error, MemoryError):
        return "there is not enough memory; set run.memory lower"
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


def _import_sentence(error: BaseException) -> str:
    """Describe why a module can't be imported, and what to do; empty if the error has another cause."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(map(_is_importing, frames)) and _is_short_of_memory(error):
        return (
            "there is not enough memory to load the libraries that the program needs; allow it more, for instance of "
            "address space: ulimit -v"
        )
    if package := _broken_package(error, frames):
        reason = printable(f"{type(error).__name__}: {error}")
        return (
            f"the package {package} can't be imported ({reason}); it is missing or broken: reinstall it with the "
            "other dependencies: pip install --force-reinstall terrazzo"
        )
    return ""


def _is_importing(frame: FrameType) -> bool:
    """Whether a frame of a traceback belongs to the import of a module."""
    return bool(_imported_package(frame)) or frame.f_code.co_filename.startswith("<frozen importlib")


def _is_short_of_memory(error: BaseException | None) -> bool:
    """Whether an error of an import, or one that led to it, says that there is no memory, or there is indeed none.

    A library that gets no memory while it is loaded may raise any error, for instance a SystemError.
    """
    while error:
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    try:
        mmap.mmap(-1, _ROOM).close()
    except OSError:
        return True
    return False


def _broken_package(error: BaseException, frames: Sequence[FrameType]) -> str:
    """Return the name of the package whose import failed; empty if the error has another cause."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
    importing = [name for frame in frames if (name := _imported_package(frame))]
    return next((name for name in (missing, *reversed(importing)) if name and name != _OWN_PACKAGE), "")


def _imported_package(frame: FrameType) -> str:
    """Return the package of the module that is being imported in a frame of a traceback; empty if none is."""
    if frame.f_code.co_name != "<module>":
        return ""
    spec = frame.f_globals.get("__spec__")
    name = spec.name if spec else ""
    return "" if frame.f_globals.get("__name__") == "__main__" else name.partition(".")[0]
