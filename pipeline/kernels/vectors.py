"""Vectors of pixels in registers: these operations exist only in compiled code, `vector_code` implements them.

Kernels otherwise leave it to the compiler to work on several pixels at once. It does so for simple loops over rows in
memory; results of a longer calculation stay in registers only if the kernel names them.
A vector has as many numbers as `VECTOR_BYTES` hold, on any processor: one with narrower registers takes several.
Vectors of one type are added, subtracted, multiplied, compared by `>`, and taken by `fma`.
"""

from typing import Any, Final, NoReturn

VECTOR_BYTES: Final = 64
"""Size of a vector: 16 numbers of float32, 8 of float64."""


def address(_array: Any) -> Any:
    """Address of the first number of a C-contiguous float array, which must be an argument of the kernel.

    Unlike arrays, addresses are not counted: what is done with them in a loop costs no more than the operation itself.
    """
    _only_compiled("address")


def load(_address: Any, _index: Any) -> Any:
    """Vector of the numbers from an index on."""
    _only_compiled("load")


def store(_vector: Any, _address: Any, _index: Any) -> None:
    """Write a vector from an index on."""
    _only_compiled("store")


def repeat(_address: Any, _index: Any) -> Any:
    """Vector of the number at an index, repeated."""
    _only_compiled("repeat")


def spread(_number: Any) -> Any:
    """Vector of a number, repeated."""
    _only_compiled("spread")


def zeros(_address: Any) -> Any:
    """Vector of zeros of the type of the numbers at an address."""
    _only_compiled("zeros")


def where(_condition: Any, _one: Any, _other: Any) -> Any:
    """Vector of the numbers of `one` where the condition is true, else of `other`."""
    _only_compiled("where")


def root(_vector: Any) -> Any:
    """Vector of the square roots of numbers."""
    _only_compiled("root")


def sum_of(_vector: Any) -> Any:
    """Sum of the numbers, added one after the other."""
    _only_compiled("sum_of")


def all_of(_condition: Any) -> Any:
    """Whether a condition is true everywhere."""
    _only_compiled("all_of")


def any_of(_condition: Any) -> Any:
    """Whether a condition is true anywhere."""
    _only_compiled("any_of")


def _only_compiled(name: str) -> NoReturn:
    msg = f"{name}: exists only in compiled code; call it from a kernel"
    raise NotImplementedError(msg)
