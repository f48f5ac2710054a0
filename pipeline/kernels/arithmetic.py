"""The operation that exists only in compiled code: kernels call this stub, `machine` implements it."""

from typing import Any


def fma(_a: Any, _b: Any, _c: Any) -> Any:
    """Fused multiply-add: a * b + c of floats of one type, rounded once on every machine.

    Without it the compiler decides whether to fuse, and results differ between machines.

    Raises
    ------
    NotImplementedError
        When called outside a compiled kernel.
    """
    msg = "fma: exists only in compiled code; call it from a kernel"
    raise NotImplementedError(msg)
