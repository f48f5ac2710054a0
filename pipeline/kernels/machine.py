"""Compilation of kernels with numba: they release the GIL, and their machine code is cached on disk if possible."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from numba import njit
from numba.extending import intrinsic, overload
from numba.np import linalg

import pipeline.kernels.vector_code  # noqa: F401 (its operations are then known to numba)
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.code_cache import CodeCache, log_compiling, log_uncached


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


def machine_code(kernel: Callable[..., Any], *, inline: bool) -> Any:
    """Compile a kernel with numba; its machine code is cached on disk unless no folder is writable."""
    code: Any = njit(nogil=True, forceinline=inline)(kernel)
    try:
        code._cache = CodeCache(kernel)  # noqa: SLF001 (as its enable_caching)
    except RuntimeError:  # numba: no locator available
        log_compiling()
        log_uncached(
            str(Path(kernel.__code__.co_filename).parent),
            "neither this folder nor the user's cache is writable; set NUMBA_CACHE_DIR to one that is",
        )
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
