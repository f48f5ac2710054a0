"""Kernels: functions that numba compiles on their first call, because importing numba is slow."""

import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_guard = threading.RLock()
"""Lock held while a kernel is compiled, so that threads share one compiled version."""


class Kernel(Generic[Arguments, Result]):
    """A function that runs as machine code and releases the GIL; other kernels may call it."""

    def __init__(self, function: Callable[Arguments, Result], *, inline: bool = False) -> None:
        update_wrapper(self, function)
        self._inline = inline
        self.function = function
        """The Python function that is compiled."""
        self._code: Any = None

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Run the compiled function."""
        return self._machine_code()(*args, **kwargs)  # type: ignore[no-any-return]

    @property
    def _numba_type_(self) -> Any:
        """Type of this object for numba, which reads it when one kernel calls another."""
        return self._machine_code()._numba_type_

    def _machine_code(self) -> Any:
        if self._code is None:
            with _guard:
                from pipeline.kernels.machine import machine_code  # noqa: PLC0415 (see above)

                self._code = self._code or machine_code(self.function, inline=self._inline)
        return self._code


def compiled(function: Callable[Arguments, Result]) -> Kernel[Arguments, Result]:
    """Turn a function into a kernel; its machine code is cached on disk if a folder is writable."""
    return Kernel(function)


def inlined(function: Callable[Arguments, Result]) -> Kernel[Arguments, Result]:
    """Turn a function into a kernel whose code is part of the code of those that call it."""
    return Kernel(function, inline=True)
