"""How kernels are compiled: without the interpreter's lock, and kept for the next process where that can be."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit
from numba.extending import intrinsic

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """Compile a kernel; keep the machine code on disk unless no folder can be written to (a read-only install)."""
    try:
        machine_code: Any = njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # numba: no locator available
        machine_code = njit(nogil=True)(kernel)
    return machine_code  # type: ignore[no-any-return]


def _fma(_typing: Any, a: Any, _b: Any, _c: Any) -> Any:
    """A * b + c of floats of one type, rounded once, on every machine; left to itself, each compiler decides."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


fma: Any = intrinsic(_fma)
