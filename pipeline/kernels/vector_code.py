"""Machine code of the operations of `vectors`, as types and instructions of numba and LLVM."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable

from pipeline.kernels.arithmetic import fma
from pipeline.kernels.vectors import (
    VECTOR_BYTES,
    address,
    all_of,
    any_of,
    load,
    repeat,
    root,
    spread,
    store,
    sum_of,
    where,
    zeros,
)


class Vector(types.Type):
    """Type of vectors of a float type."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.length = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype})")


class Condition(types.Type):
    """Type of comparisons of vectors."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(name=f"Condition({length})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), kind.length))  # type: ignore[no-untyped-call]


@register_model(Condition)
class _ConditionModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Condition) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), kind.length))  # type: ignore[no-untyped-call]


def _implement(function: Callable[..., Any], result: Callable[..., Any], pattern: tuple[Any, ...]) -> Any:
    """Register the type of a function's result, given those of its arguments, and return a decorator for its code."""
    type_callable(function)(lambda _context: result)
    return lower_builtin(function, *pattern)  # type: ignore[no-untyped-call]


def _result_of_two(one: Any, other: Any) -> Any:
    return one if isinstance(one, Vector) and one == other else None


_OPERATIONS: Final = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}

for _operation, _instruction in _OPERATIONS.items():

    @_implement(_operation, _result_of_two, (Vector, Vector))
    def _compute(_context: Any, builder: Any, _signature: Any, args: Any, *, name: str = _instruction) -> Any:
        return getattr(builder, name)(*args)


def _call(context: Any, builder: Any, operation: str, kind: Vector, args: Any) -> Any:
    """Call an operation of LLVM on vectors of one type."""
    vector = context.get_value_type(kind)
    signature = ir.FunctionType(vector, [vector] * len(args))
    name = f"llvm.{operation}.v{kind.length}f{kind.dtype.bitwidth}"
    function = cgutils.get_or_insert_function(builder.module, signature, name)  # type: ignore[no-untyped-call]
    return builder.call(function, args)


@_implement(
    fma, lambda one, two, three: one if isinstance(one, Vector) and one == two == three else None, (Vector,) * 3
)
def _fused(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _call(context, builder, "fma", signature.return_type, args)


@_implement(root, lambda vector: vector, (Vector,))
def _root(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _call(context, builder, "sqrt", signature.return_type, args)


@_implement(sum_of, lambda vector: vector.dtype, (Vector,))
def _sum_of(_context: Any, builder: Any, signature: Any, args: Any) -> Any:
    numbers = [builder.extract_element(args[0], ir.IntType(32)(lane)) for lane in range(signature.args[0].length)]
    return reduce(builder.fadd, numbers)


@_implement(
    operator.gt,
    lambda one, other: Condition(one.length) if isinstance(one, Vector) and one == other else None,
    (Vector, Vector),
)
def _greater(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    return builder.fcmp_ordered(">", *args)


@_implement(where, lambda _condition, one, _other: one, (Condition, Vector, Vector))
def _where(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
    return builder.select(*args)


def _bits(builder: Any, signature: Any, args: Any) -> Any:
    """Condition as an integer with a bit per number."""
    return builder.bitcast(args[0], ir.IntType(signature.args[0].length))


@_implement(any_of, lambda _condition: types.boolean, (Condition,))
def _any_of(_context: Any, builder: Any, signature: Any, args: Any) -> Any:
    bits = _bits(builder, signature, args)
    return builder.icmp_unsigned("!=", bits, bits.type(0))


@_implement(all_of, lambda _condition: types.boolean, (Condition,))
def _all_of(_context: Any, builder: Any, signature: Any, args: Any) -> Any:
    bits = _bits(builder, signature, args)
    return builder.icmp_unsigned("==", bits, bits.type(-1))


def _repeated(builder: Any, vector: Any, number: Any) -> Any:
    """Vector of an LLVM type of one number, repeated."""
    first = builder.insert_element(vector(ir.Undefined), number, ir.IntType(32)(0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, vector(ir.Undefined), lanes)


@_implement(spread, lambda number: Vector(number), (types.Float,))  # noqa: PLW0108 (numba reads its signature)
def _spread(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return _repeated(builder, context.get_value_type(signature.return_type), args[0])


@_implement(zeros, lambda numbers: Vector(numbers.dtype), (types.CPointer,))
def _zeros(context: Any, _builder: Any, signature: Any, _args: Any) -> Any:
    return context.get_constant_null(signature.return_type)


@_implement(address, lambda array: types.CPointer(array.dtype), (types.Array,))  # type: ignore[no-untyped-call]
def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.make_array(signature.args[0])(context, builder, args[0]).data


def _place(context: Any, builder: Any, vector: Any, numbers: Any, index: Any) -> Any:
    """Pointer to the vector that begins at an index."""
    return builder.bitcast(builder.gep(numbers, [index]), context.get_value_type(vector).as_pointer())


@_implement(load, lambda numbers, _index: Vector(numbers.dtype), (types.CPointer, types.Integer))
def _load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.return_type
    return builder.load(_place(context, builder, kind, *args), align=kind.dtype.bitwidth // 8)


@_implement(store, lambda _vector, _numbers, _index: types.void, (Vector, types.CPointer, types.Integer))
def _store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.args[0]
    builder.store(args[0], _place(context, builder, kind, *args[1:]), align=kind.dtype.bitwidth // 8)
    return context.get_dummy_value()


@_implement(repeat, lambda numbers, _index: Vector(numbers.dtype), (types.CPointer, types.Integer))
def _repeat(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    number = builder.load(builder.gep(args[0], [args[1]]))
    return _repeated(builder, context.get_value_type(signature.return_type), number)
