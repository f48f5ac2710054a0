"""How kernels are compiled: without the interpreter's lock, and kept for the next process where that can be."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """Compile a kernel; keep the machine code on disk unless no folder can be written to (a read-only install)."""
    try:
        machine_code: Any = njit(nogil=True, cache=True)(kernel)
    except RuntimeError:  # numba: no locator available
        machine_code = njit(nogil=True)(kernel)
    return machine_code  # type: ignore[no-any-return]
