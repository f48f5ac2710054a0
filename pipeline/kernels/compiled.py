"""Kernels: functions that are compiled when they are first called, as numba takes a while to be imported."""

import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SQUARES_AT: Final = 24
"""Bits of a total of `add_powers` that sums of numbers take; those of their squares take the 40 others."""

_guard = threading.RLock()
"""Held while a kernel gets its machine code: each has one, whichever thread comes first."""


class Kernel(Generic[Arguments, Result]):
    """A function that runs as machine code, without the interpreter's lock; other kernels may call it."""

    def __init__(self, function: Callable[Arguments, Result]) -> None:
        update_wrapper(self, function)
        self.function = function
        """What is compiled."""
        self._code: Any = None

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Run its machine code."""
        return self._machine_code()(*args, **kwargs)  # type: ignore[no-any-return]

    @property
    def _numba_type_(self) -> Any:
        """What numba asks any object for that it meets in the code of a kernel."""
        return self._machine_code()._numba_type_

    def _machine_code(self) -> Any:
        if self._code is None:
            with _guard:
                from pipeline.kernels.machine import machine_code  # noqa: PLC0415 (see above)

                self._code = self._code or machine_code(self.function)
        return self._code


def compiled(function: Callable[Arguments, Result]) -> Kernel[Arguments, Result]:
    """Make a kernel of a function; its machine code is kept on disk where that can be."""
    return Kernel(function)


def fma(_a: Any, _b: Any, _c: Any) -> Any:
    """A * b + c of floats of one type, rounded once, on every machine; left to itself, each compiler decides.

    Raises
    ------
    NotImplementedError
        Outside of kernels.
    """
    msg = "fma is for kernels alone"
    raise NotImplementedError(msg)


def add_powers(_totals: Any, _at: Any, _numbers: Any, _of: Any) -> None:
    """Add four numbers, and their squares `SQUARES_AT` bits higher, to four totals, as one vector.

    LLVM would add them one by one: numba leaves off the pass that finds such vectors. No bounds are checked.

    Parameters
    ----------
    _totals : ndarray of uint64, shape (n,)
        C-contiguous. Each has room for 256 additions.
    _at : int
        Place of the first total; three more follow.
    _numbers : ndarray of uint16, shape (m,)
        C-contiguous.
    _of : int
        Place of the first number; three more follow.

    Raises
    ------
    NotImplementedError
        Outside of kernels.
    """
    msg = "add_powers is for kernels alone"
    raise NotImplementedError(msg)
