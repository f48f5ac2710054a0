"""How kernels are compiled: without the interpreter's lock, and kept for the next process where that can be."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from numba import njit
from numba.core.caching import FunctionCache
from numba.extending import intrinsic

logger = logging.getLogger(__name__)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class _KeptCode(FunctionCache):
    """Machine code on disk, as `njit(cache=True)` keeps it; a full disk costs the next run its time, not this one."""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, if that can be."""
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _tell(self.cache_path, f"{error.strerror}")


@cache
def _tell(folder: str, reason: str) -> None:
    """Say once that code is not kept."""
    logger.info("%s: compiled code can't be kept here (%s); the next run compiles it again", folder, reason)


def compiled(kernel: Kernel) -> Kernel:
    """Compile a kernel; keep the machine code on disk unless no folder can be written to (a read-only install)."""
    machine_code: Any = njit(nogil=True)(kernel)
    with suppress(RuntimeError):  # numba: no locator available
        machine_code._cache = _KeptCode(kernel)  # type: ignore[no-untyped-call]  # noqa: SLF001 (as its enable_caching)
    return machine_code  # type: ignore[no-any-return]


def _fma(_typing: Any, a: Any, _b: Any, _c: Any) -> Any:
    """A * b + c of floats of one type, rounded once, on every machine; left to itself, each compiler decides."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


fma: Any = intrinsic(_fma)
