"""Arithmetic expressions of bands: read with `ast` into a list of steps, and computed tile by tile."""

import ast
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_LENGTH: Final = 200
"""Largest number of characters of an expression."""
MAX_DEPTH: Final = 12
"""Largest number of intermediate results that exist at once, each an array of the size of a tile."""
ALLOWED: Final = "an expression has names of bands, numbers, + - * / and parentheses"
"""What messages say is allowed."""

_LARGEST: Final = 1e30
"""Largest absolute value of a number, and the inverse of the smallest: float32 represents them."""
_TOKEN: Final = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.]))|(?P<name>[a-z_]\w*)|[-+*/() ]", re.ASCII | re.IGNORECASE
)
_OPERATORS: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_UFUNCS: Final[dict[str, np.ufunc]] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
_SQRT: Final = "sqrt()"
"""Step of the square root, which formulas of our own may use; no band can have this name."""


@dataclass(frozen=True)
class Expression:
    """An arithmetic expression of bands, as steps for a stack of operands."""

    text: str
    """The expression as it was written, with single spaces."""
    steps: tuple[str | float, ...]
    """Names of bands and numbers, which are put on the stack, and operators, which replace the last two operands
    (`sqrt()`: the last one) by their result: ('nir', 'red', '-', 2.0, '/') for (nir - red) / 2."""
    bands: tuple[str, ...]
    """Names of the bands, each once, in the order of their first use."""
    degree: float | None
    """Power of a factor common to all bands by which results change: 0 for nir / red, 1 for nir - red. None if results
    change in another way, as those of nir + 1 do: bands must be in the units that the numbers are meant for."""
    depth: int
    """Number of intermediate results that exist at once."""


class _Part(NamedTuple):
    """A part of an expression."""

    steps: tuple[str | float, ...]
    degree: float | None

    @property
    def number(self) -> float | None:
        """Value of a part without bands; None if it has any."""
        return self.steps[0] if isinstance(self.steps[0], float) and len(self.steps) == 1 else None


def parse_expression(text: str, *, with_sqrt: bool = False) -> Expression:
    """Read an expression; nothing in it is evaluated, names are only names.

    Parameters
    ----------
    text : str
        Names of bands (letters, digits and underscores, not starting with a digit), numbers, + - * / and parentheses.
    with_sqrt : bool, optional
        Whether calls of `sqrt` are allowed, too: for formulas of our own.

    Raises
    ------
    ValueError
        If anything else is in the text, or it is too long or nested too deeply; the message says why.
    """
    text = " ".join(text.split())
    if len(text) > MAX_LENGTH:
        msg = f"an expression may have {MAX_LENGTH} characters, this one has {len(text)}"
        raise ValueError(msg)
    _check_tokens(text)
    whole = _part(_syntax_tree(text), text, with_sqrt=with_sqrt)
    bands = tuple(dict.fromkeys(step for step in whole.steps if isinstance(step, str) and step.isidentifier()))
    if not bands:
        msg = "it names no band"
        raise ValueError(msg)
    if len(whole.steps) == 1:
        msg = "it is a band and no more; choose bands with scene.bands"
        raise ValueError(msg)
    depth = _depth(whole.steps)
    if depth > MAX_DEPTH:
        msg = f"it is nested too deeply, with {depth} intermediate results at once; {MAX_DEPTH} are allowed"
        raise ValueError(msg)
    return Expression(text, whole.steps, bands, whole.degree, depth)


def _check_tokens(text: str) -> None:
    """Raise ValueError at the first character that is part of no name, number or operator.

    What remains for the parser holds no strings, attributes, comparisons or characters that it would normalise.
    """
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if not token:
            word = re.match(r"[\w.]*", text[position:], re.ASCII)
            found = word[0] if word and word[0] else text[position]
            if found[0].isascii() and found[0].isdigit():
                hint = "a name starts with a letter (a band's number can't be used, as 1 is a number)"
            else:
                hint = f"{ALLOWED}; scene.names gives bands other names"
            msg = f"{_short(found)} is not allowed; {hint}"
            raise ValueError(msg)
        if token["number"]:
            _check_number(float(token[0]), token[0])
        position = token.end()


def _check_number(value: float, text: str) -> None:
    if value and not 1 / _LARGEST <= abs(value) <= _LARGEST:  # also catches NaN
        msg = f"the number {_short(text, quote='')} is out of range; expected {1 / _LARGEST:g} to {_LARGEST:g}"
        raise ValueError(msg)


def _syntax_tree(text: str) -> ast.expr:
    """Parse text as one Python expression."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of keywords after numbers
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        place = (error.offset or 0) - 1
        after = f" at {_short(text[place:])}" if 0 <= place < len(text) else ""
        msg = f"it can't be read{after}; {ALLOWED}"
        raise ValueError(msg) from error
    except (RecursionError, MemoryError) as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error


def _part(node: ast.expr, text: str, *, with_sqrt: bool) -> _Part:
    """Convert a node of the syntax tree; parts without bands become numbers."""
    match node:
        case ast.Name(id=name):
            return _Part((name,), 1)
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _Part((float(value),), 0)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _part(operand, text, with_sqrt=with_sqrt)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine("*", _part(operand, text, with_sqrt=with_sqrt), _Part((-1.0,), 0))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            parts = [_part(each, text, with_sqrt=with_sqrt) for each in (left, right)]
            return _combine(_OPERATORS[type(op)], *parts)
        case ast.Call(func=ast.Name(id="sqrt"), args=[operand]) if with_sqrt:
            inner = _part(operand, text, with_sqrt=with_sqrt)
            return _Part((*inner.steps, _SQRT), None if inner.degree is None else inner.degree / 2)
        case ast.BinOp(op=ast.Pow()):
            hint = "multiply instead of raising to a power"
        case ast.Call():
            hint = "write * to multiply; functions can't be called"
        case _:
            hint = ALLOWED
    msg = f"{_short(ast.get_source_segment(text, node) or '')} is not allowed; {hint}"
    raise ValueError(msg)


def _combine(operator: str, left: _Part, right: _Part) -> _Part:
    """Apply an operator to two parts."""
    if operator == "/" and right.number == 0:
        msg = "it divides by the number 0"
        raise ValueError(msg)
    if left.number is not None and right.number is not None:
        value = float(_UFUNCS[operator](left.number, right.number))
        _check_number(value, f"{left.number:g} {operator} {right.number:g}")
        return _Part((value,), 0)
    degree = None
    if left.degree is not None and right.degree is not None:
        if operator in "*/":
            degree = left.degree + (right.degree if operator == "*" else -right.degree)
        elif left.degree == right.degree:
            degree = left.degree
    return _Part((*left.steps, *right.steps, operator), degree)


def _depth(steps: Sequence[str | float]) -> int:
    """Number of intermediate results that exist at once: one for each height of the stack at which there are any."""
    height = deepest = 0
    for step in steps:
        if step in _UFUNCS:
            height -= 1
        elif step != _SQRT:
            height += 1
            continue
        deepest = max(deepest, height)
    return deepest


def _short(text: str, quote: str = "'") -> str:
    return f"{quote}{shorten(text, 40, placeholder='...') if ' ' in text else text[:40]}{quote}"


def evaluate(
    expression: Expression, bands: Mapping[str, npt.NDArray[Any]], results: Sequence[npt.NDArray[np.floating]]
) -> None:
    """Compute an expression elementwise, as IEEE arithmetic has it: a division by zero gives infinity or NaN.

    Parameters
    ----------
    expression : Expression
        What to compute.
    bands : mapping of str to ndarray
        Values by name, all of one floating dtype and shape.
    results : sequence of ndarray
        `expression.depth` arrays for intermediate results, of that dtype and shape; the first receives the result.
    """
    stack: list[npt.NDArray[Any] | float] = []
    for step in expression.steps:
        if isinstance(step, float):
            stack.append(step)
            continue
        if step not in _UFUNCS and step != _SQRT:
            stack.append(bands[step])
            continue
        operands = [stack.pop() for _ in range(1 if step == _SQRT else 2)][::-1]
        # an intermediate result at this height of the stack is one of the operands, and may be replaced
        result = results[len(stack)]
        function: Callable[..., Any] = np.sqrt if step == _SQRT else _UFUNCS[step]
        function(*operands, out=result)
        stack.append(result)
