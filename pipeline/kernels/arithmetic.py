"""Operations that exist only in compiled code: kernels call these stubs, `machine` implements them."""

from typing import Any, Final

SQUARE_SHIFT: Final = 24
"""Number of low bits of an `add_powers` total that hold the sum; the upper 40 bits hold the sum of squares."""


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


def add_powers(_totals: Any, _total_index: Any, _numbers: Any, _number_index: Any) -> None:
    """Add four numbers to four totals with one vector instruction; their squares are added `SQUARE_SHIFT` bits higher.

    numba disables the LLVM pass that would vectorise a plain loop. Array bounds are not checked.

    Parameters
    ----------
    _totals : ndarray of uint64, shape (n,)
        Totals, C-contiguous. Each has room for 256 additions.
    _total_index : int
        Index of the first of the four totals.
    _numbers : ndarray of uint16, shape (m,)
        Numbers to add, C-contiguous.
    _number_index : int
        Index of the first of the four numbers.

    Raises
    ------
    NotImplementedError
        When called outside a compiled kernel.
    """
    msg = "add_powers: exists only in compiled code; call it from a kernel"
    raise NotImplementedError(msg)
