"""Compilation of kernels with numba: they release the GIL, and their machine code is cached on disk if possible."""

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

from pipeline.kernels.arithmetic import SQUARE_SHIFT, add_powers, fma

logger = logging.getLogger(__name__)


def _load_without_blas() -> None:
    """Import the numba modules that the first kernel needs, without scipy.linalg, which doubles the time.

    numba's array functions import scipy.linalg to check that there is a BLAS. There is one, because scikit-learn
    depends on scipy, and code that calls BLAS checks again when it is compiled.
    """
    ensure_blas = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas


_load_without_blas()


class _SignedFile(IndexDataCacheFile):
    """Cache file that states the argument types and source it was compiled for; an unreadable one is ignored.

    numba records these only in a separate index. If two processes compile at the same time, each may write the file
    that the index of the other one names, and numba would silently run code for other types. It would also fail at a
    truncated file, or at an index that refers to classes of another version.
    """

    def save(self, key: Any, data: Any) -> None:
        """Write the code for a key."""
        super().save(key, (self._source_stamp, key, data))  # type: ignore[no-untyped-call]

    def load(self, key: Any) -> Any:
        """Return the code for a key; None if there is none or it is for another key, so that it is compiled again."""
        try:
            found = super().load(key)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 (unpickling may raise anything)
            logger.info("%s: the cached machine code can't be read (%r); it is compiled again", self._index_path, error)
            return None
        return found[2] if found and found[:2] == (self._source_stamp, key) else None

    def _load_index(self) -> Any:
        """Return numba's index of cache files; empty if it can't be read, so that it is written again."""
        try:
            return super()._load_index()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001
            logger.info(
                "%s: the index of cached machine code can't be read (%r); it is written again", self._index_path, error
            )
            return {}


class _CachedCode(FunctionCache):
    """Cache of machine code on disk, as of `njit(cache=True)`, but a failed write does not stop the run."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)  # type: ignore[no-untyped-call]
        own_stamp = self._impl.locator.get_source_stamp()  # the only stamp if modules are not files, as in a zip
        stamp = (own_stamp, _stamp(Path(kernel.__code__.co_filename).parent))
        # a different file name: numba would fail at these files
        self._cache_file = _SignedFile(self.cache_path, f"{self._impl.filename_base}.signed", stamp)  # type: ignore[no-untyped-call]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for a signature; None if it has to be compiled."""
        found = super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        if found is None:
            _log_compiling()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the code for a signature; log why if that fails."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _log_uncached(self.cache_path, f"{error.strerror}")


class _UncachedCode(NullCache):
    """Stand-in for the cache if no folder for machine code is writable."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self._folder = str(Path(kernel.__code__.co_filename).parent)

    def load_overload(self, _sig: Any, _target_context: Any) -> None:
        """Log that the code is compiled in each run."""
        _log_compiling()
        _log_uncached(
            self._folder, "neither this folder nor the user's cache is writable; set NUMBA_CACHE_DIR to one that is"
        )


@cache
def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of all modules in a folder, because a kernel is compiled together with those it calls.

    numba itself checks only the module of the kernel.
    """
    stats = {file.name: file.stat() for file in sorted(folder.glob("*.py"))}
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats.items())


@cache
def _log_compiling() -> None:
    """Log once why this run starts slowly."""
    logger.info("compiling kernels, once for each kind of data: this takes a few seconds")


@cache
def _log_uncached(folder: str, reason: str) -> None:
    """Log once that machine code is not cached."""
    logger.info("%s: compiled kernels can't be cached here (%s); the next run compiles them again", folder, reason)


def machine_code(kernel: Callable[..., Any]) -> Any:
    """Compile a kernel with numba; its machine code is cached on disk unless no folder is writable."""
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
    """Implement `fma` in machine code."""

    def fused(_a: Any, _b: Any, _c: Any) -> Any:  # numba requires the same argument names
        return _fused(_a, _b, _c)  # type: ignore[call-arg]

    return fused


@intrinsic
def _added_powers(_typing: Any, totals: Any, total_index: Any, numbers: Any, number_index: Any) -> Any:
    words, halves = (ir.VectorType(ir.IntType(bits), 4) for bits in (64, 16))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def pointer(array: int, kind: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            index = context.cast(builder, arguments[array + 1], signature.args[array + 1], types.intp)
            return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())

        total, shift = pointer(0, words), ir.Constant(words, [SQUARE_SHIFT] * 4)
        number = builder.zext(builder.load(pointer(2, halves), align=2), words)
        powers = builder.add(builder.shl(builder.mul(number, number), shift), number)
        builder.store(builder.add(builder.load(total, align=8), powers), total, align=8)
        return context.get_dummy_value()

    return types.none(totals, total_index, numbers, number_index), generate


@overload(add_powers)
def _add_powers(_totals: Any, _total_index: Any, _numbers: Any, _number_index: Any) -> Any:
    """Implement `add_powers` in machine code, for C-contiguous arrays of uint64 and uint16 only."""
    if (_totals, _numbers) != (types.Array(types.uint64, 1, "C"), types.Array(types.uint16, 1, "C")):
        return None

    def added(_totals: Any, _total_index: Any, _numbers: Any, _number_index: Any) -> Any:
        return _added_powers(_totals, _total_index, _numbers, _number_index)  # type: ignore[call-arg]

    return added
