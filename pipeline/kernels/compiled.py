"""Kernels: functions that are compiled when they are first called, as numba takes a while to be imported."""

import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


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
