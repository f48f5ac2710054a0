"""Arithmetic that only machine code has: kernels call it, `machine` says what stands for it."""

from typing import Any, Final

SQUARES_AT: Final = 24
"""Bits of a total of `add_powers` that sums of numbers take; those of their squares take the 40 others."""


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
