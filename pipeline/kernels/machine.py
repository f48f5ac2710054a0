"""Machine code for kernels: made without the interpreter's lock, and kept for the next process where that can be."""

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.extending import intrinsic, overload
from numba.np import linalg

from pipeline.kernels.arithmetic import SQUARES_AT, add_powers, fma

logger = logging.getLogger(__name__)


def _load_without_blas() -> None:
    """Load what the first kernel would, but for scipy's linear algebra, which takes as long again.

    numba's array functions import it to see whether there is a BLAS. There is one, as scikit-learn wants scipy, too;
    and whatever code calls BLAS looks once more as it is compiled.
    """
    look = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = look


_load_without_blas()


class _SignedFile(IndexDataCacheFile):
    """Machine code that says which types and which source it was made for; what can't be read is as if not there.

    numba knows that only from an index beside it. Where two processes compile at once, each may write the file that
    the other's index names, and numba would run code for other types without a word. And it would stop at a file cut
    short, or at an index that speaks of classes of another version.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep code for a key."""
        super().save(key, (self._source_stamp, key, data))  # type: ignore[no-untyped-call]

    def load(self, key: Any) -> Any:
        """Give the code for a key; None where there is none, or it is another's: it is compiled and kept anew."""
        try:
            found = super().load(key)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 (what is unpickled may raise anything)
            logger.info("%s: compiled code can't be read (%r); it is compiled again", self._index_path, error)
            return None
        return found[2] if found and found[:2] == (self._source_stamp, key) else None

    def _load_index(self) -> Any:
        """Give what numba knows of the files; nothing where that can't be read: it is written anew."""
        try:
            return super()._load_index()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001
            logger.info("%s: the index of compiled code can't be read (%r)", self._index_path, error)
            return {}


class _CachedCode(FunctionCache):
    """Machine code on disk, as `njit(cache=True)` keeps it; a full disk costs the next run its time, not this one."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)  # type: ignore[no-untyped-call]
        own = self._impl.locator.get_source_stamp()  # all there is where modules are no files, as in a zip
        stamp = (own, _stamp(Path(kernel.__code__.co_filename).parent))
        # a name of its own: numba itself can't read what is signed, and would stop at it
        self._cache_file = _SignedFile(self.cache_path, f"{self._impl.filename_base}.signed", stamp)  # type: ignore[no-untyped-call]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Give the code for a signature; None where it has to be compiled."""
        found = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        if found is None:
            _tell_of_compiling()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, if that can be."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _tell(self.cache_path, f"{error.strerror}")


class _UncachedCode(NullCache):
    """Machine code that can be kept nowhere."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self._folder = str(Path(kernel.__code__.co_filename).parent)

    def load_overload(self, _sig: Any, _target_context: Any) -> None:
        """Say that it has to be compiled, each time."""
        _tell_of_compiling()
        _tell(self._folder, "neither this folder nor the user's cache can be written to; NUMBA_CACHE_DIR names another")


@cache
def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes with any of the modules in a folder: a kernel is compiled together with those it calls.

    numba itself looks at the one that it stands in.
    """
    stats = {file.name: file.stat() for file in sorted(folder.glob("*.py"))}
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items())


@cache
def _tell_of_compiling() -> None:
    """Say once why this run begins slowly."""
    logger.info("compiling machine code, which takes some seconds the first time")


@cache
def _tell(folder: str, reason: str) -> None:
    """Say once that code is not kept."""
    logger.info("%s: compiled code can't be kept here (%s); the next run compiles it again", folder, reason)


def machine_code(kernel: Callable[..., Any]) -> Any:
    """Give what runs as a kernel; its code stays on disk unless no folder can be written to (a read-only install)."""
    code: Any = njit(nogil=True)(kernel)
    try:
        code._cache = _CachedCode(kernel)  # noqa: SLF001 (as its enable_caching)
    except RuntimeError:  # numba: no locator available
        code._cache = _UncachedCode(kernel)  # noqa: SLF001
    return code


@intrinsic
def _fused(_typing: Any, a: Any, _b: Any, _c: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


@overload(fma)
def _fma(_a: Any, _b: Any, _c: Any) -> Any:
    """What stands for `fma` in machine code."""

    def fused(_a: Any, _b: Any, _c: Any) -> Any:  # numba wants the same names and types
        return _fused(_a, _b, _c)  # type: ignore[call-arg]

    return fused


@intrinsic
def _added_powers(_typing: Any, totals: Any, at: Any, numbers: Any, of: Any) -> Any:
    words, halves = (ir.VectorType(ir.IntType(bits), 4) for bits in (64, 16))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(array: int, kind: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            index = context.cast(builder, arguments[array + 1], signature.args[array + 1], types.intp)
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        total, shift = place(0, words), ir.Constant(words, [SQUARES_AT] * 4)
        number = builder.zext(builder.load(place(2, halves), align=2), words)
        powers = builder.add(builder.shl(builder.mul(number, number), shift), number)
        builder.store(builder.add(builder.load(total, align=8), powers), total, align=8)
        return context.get_dummy_value()

    return types.none(totals, at, numbers, of), generate


@overload(add_powers)
def _add_powers(_totals: Any, _at: Any, _numbers: Any, _of: Any) -> Any:
    """What stands for `add_powers` in machine code: for arrays whose bytes are where it looks for them, alone."""
    if (_totals, _numbers) != (types.Array(types.uint64, 1, "C"), types.Array(types.uint16, 1, "C")):
        return None

    def added(_totals: Any, _at: Any, _numbers: Any, _of: Any) -> Any:
        return _added_powers(_totals, _at, _numbers, _of)  # type: ignore[call-arg]

    return added
