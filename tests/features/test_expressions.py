"""Expressions of bands: what is read, what is refused, and that values are those of float arithmetic."""

import operator
import pickle
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.features.expressions import MAX_DEPTH, MAX_LENGTH, evaluate, parse_expression

Plane = npt.NDArray[Any]
BANDS = ("nir", "red", "B8A")


def values(text: str, bands: dict[str, Plane]) -> Plane:
    expression = parse_expression(text)
    plane = next(iter(bands.values()))
    results = [np.full_like(plane, np.nan) for _ in range(expression.depth)]
    with np.errstate(all="ignore"):
        evaluate(expression, bands, results)
    return results[0]


def some_bands(dtype: Any = np.float64) -> dict[str, Plane]:
    rng = np.random.default_rng(5)
    return {name: rng.normal(size=(7, 5)).astype(dtype) for name in BANDS}


def test_an_expression_is_read_into_steps() -> None:
    found = parse_expression(" (nir -red)\n/ (2*red)")
    assert found.text == "(nir -red) / (2*red)"
    assert found.steps == ("nir", "red", "-", 2.0, "red", "*", "/")
    assert found.bands == ("nir", "red")
    assert found.depth == 2
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 (our own)
    assert hash(found) == hash(parse_expression("(nir -red) / (2*red)"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nir - red - B8A", lambda n, r, b: n - r - b),
        ("nir - (red - B8A)", lambda n, r, b: n - (r - b)),
        ("nir / red / B8A", lambda n, r, b: n / r / b),
        ("nir / (red / B8A)", lambda n, r, b: n / (r / b)),
        ("nir + red * B8A", lambda n, r, b: n + r * b),
        ("-nir * +red + --B8A", lambda n, r, b: -n * r + b),
        ("-(nir - red)", lambda n, r, _: -(n - r)),
        ("2 * 3 * nir + .5 - 1e-3 * red", lambda n, r, _: 6 * n + 0.5 - 1e-3 * r),
        ("nir * nir * nir", lambda n, _, __: n * n * n),
        ("(1 + 2) * nir / (4 - 2)", lambda n, _, __: 3 * n / 2),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operators_bind_as_in_arithmetic(text: str, expected: Callable[..., Plane], dtype: Any) -> None:
    bands = some_bands(dtype)
    found = values(text, bands)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected(*bands.values()))


def test_bands_are_not_changed() -> None:
    bands = some_bands()
    copies = {name: plane.copy() for name, plane in bands.items()}
    values("((nir - red) / (nir + red) - B8A * 2) * (nir - (red - (B8A - nir)))", bands)
    for name, plane in bands.items():
        np.testing.assert_array_equal(plane, copies[name])


Terms = st.recursive(
    st.sampled_from([(name, (lambda bands, name=name: bands[name])) for name in BANDS])
    | st.integers(1, 99).map(lambda number: (f"{number / 8}", lambda _: np.float64(number / 8))),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: joined(*parts)),
    max_leaves=10,
)
FUNCTIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def joined(left: Any, symbol: str, right: Any) -> Any:
    return f"({left[0]} {symbol} {right[0]})", lambda bands: FUNCTIONS[symbol](left[1](bands), right[1](bands))


@given(Terms)
def test_values_are_those_of_the_same_operations_in_numpy(term: tuple[str, Callable[..., Plane]]) -> None:
    text, expected = term
    bands = some_bands()
    try:
        found = values(text, bands)
    except ValueError as error:
        why = str(error)
    else:
        why = ""
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, expected(bands))
    assert (
        why.startswith(("it names no band", "it is a band", "it divides by the number 0", "an expression may"))
        or not why
    )


@pytest.mark.parametrize(
    ("text", "degree"),
    [
        ("nir / red", 0),
        ("(nir - red) / (nir + red)", 0),
        ("(nir - 2 * red) / (0.5 * nir + red)", 0),
        ("nir / red + 1", 0),
        ("(nir + red) / 2", 1),
        ("-nir", 1),
        ("nir * red", 2),
        ("2 / nir", -1),
        ("(nir - red) / (nir + red + 0.5)", None),
        ("nir - 1000", None),
        ("nir + nir * red", None),
        ("(nir + 1) * 2", None),
        ("1 / (nir + 1)", None),
    ],
)
def test_the_degree_says_how_values_change_with_a_factor_of_all_bands(text: str, degree: int | None) -> None:
    assert parse_expression(text).degree == degree
    bands = some_bands()
    once, scaled = values(text, bands), values(text, {name: plane * 2.0 for name, plane in bands.items()})
    if degree is None:
        assert not any(np.allclose(scaled, once * 2.0**power) for power in range(-3, 4))
    else:
        np.testing.assert_allclose(scaled, once * 2.0**degree, rtol=1e-12)


ALLOWED = r"an expression has names of bands, numbers, \+ - \* / and parentheses"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"it can't be read; {ALLOWED}$"),
        ("nir -", f"it can't be read; {ALLOWED}$"),
        ("nir red", f"it can't be read at '(nir )?red'; {ALLOWED}$"),
        ("(nir - red", rf"it can't be read at '\(nir - red'; {ALLOWED}$"),
        ("nir - red)", rf"it can't be read at '\)'; {ALLOWED}$"),
        ("lambda / nir", f"it can't be read at .*; {ALLOWED}$"),
        ("1 + 2", "it names no band"),
        ("(nir)", r"it is a band and no more; choose bands with scene\.bands"),
        ("+nir", r"it is a band and no more; choose bands with scene\.bands"),
        ("nir ** 2", "'nir \\*\\* 2' is not allowed; multiply instead of raising to a power"),
        ("9**9**9 * nir", r"'9\*\*9\*\*9' is not allowed; multiply instead of raising to a power"),
        ("nir // red", rf"'nir // red' is not allowed; {ALLOWED}"),
        ("sqrt(nir)", r"'sqrt\(nir\)' is not allowed; write \* to multiply; functions can't be called"),
        ("2(nir + red)", r"'2\(nir \+ red\)' is not allowed; write \* to multiply; functions can't be called"),
        ("__import__(nir)", r"'__import__\(nir\)' is not allowed; .*functions can't be called"),
        ("nir if red else blue", rf"'nir if red else blue' is not allowed; {ALLOWED}"),
        ("nir and red", rf"'nir and red' is not allowed; {ALLOWED}"),
        ("not nir", rf"'not nir' is not allowed; {ALLOWED}"),
        ("nir in red", rf"'nir in red' is not allowed; {ALLOWED}"),
        ("nir * True", rf"'True' is not allowed; {ALLOWED}"),
        ("nir + None", rf"'None' is not allowed; {ALLOWED}"),
        ("nir + ()", rf"'\(\)' is not allowed; {ALLOWED}"),
        ("1or nir", "'1or' is not allowed; a name starts with a letter"),
        ("nir.real", rf"'\.real' is not allowed; {ALLOWED}; scene\.names gives bands other names"),
        ("().__class__", rf"'\.__class__' is not allowed; {ALLOWED}"),
        ("'nir' / red", rf"''' is not allowed; {ALLOWED}"),
        ('f"{nir}"', rf"'\"' is not allowed; {ALLOWED}"),
        ("nir[0]", rf"'\[' is not allowed; {ALLOWED}"),
        ("nir < red", rf"'<' is not allowed; {ALLOWED}"),
        ("nir := red", rf"':' is not allowed; {ALLOWED}"),
        ("lambda: nir", rf"':' is not allowed; {ALLOWED}"),
        ("nir; red", rf"';' is not allowed; {ALLOWED}"),
        ("nir, red", rf"',' is not allowed; {ALLOWED}"),
        ("nir @ red", rf"'@' is not allowed; {ALLOWED}"),
        ("nir % red", rf"'%' is not allowed; {ALLOWED}"),
        ("nir # red", rf"'#' is not allowed; {ALLOWED}"),
        ("nir \\ red", rf"'\\' is not allowed; {ALLOWED}"),
        ("nir\x00/ red", rf"'\x00' is not allowed; {ALLOWED}"),
        ("rød / nir", rf"'ø' is not allowed; {ALLOWED}; scene\.names gives bands other names"),
        ("\uff4eir / red", rf"'\uff4e' is not allowed; {ALLOWED}"),
        ("nir \u2212 red", rf"'\u2212' is not allowed; {ALLOWED}"),
        ("nir * ²", rf"'²' is not allowed; {ALLOWED}"),
        ("nir * ٣", rf"'٣' is not allowed; {ALLOWED}"),
        ("nir / \ud800", rf"'\ud800' is not allowed; {ALLOWED}"),
        (
            "8A / red",
            r"'8A' is not allowed; a name starts with a letter \(a band's number can't be used, as 1 is a num",
        ),
        ("2nir - red", "'2nir' is not allowed; a name starts with a letter"),
        ("nir * 0x10", "'0x10' is not allowed; a name starts with a letter"),
        ("nir * 1j", "'1j' is not allowed; a name starts with a letter"),
        ("nir * 1_000", "'1_000' is not allowed; a name starts with a letter"),
        ("nir * 1.2.3", "'1.2.3' is not allowed; a name starts with a letter"),
        ("nir * 007", f"it can't be read at '.*'; {ALLOWED}"),
        ("nir * 1e999", "the number 1e999 is out of range; expected 1e-30 to 1e\\+30"),
        ("nir * 1e-31", "the number 1e-31 is out of range"),
        ("nir * (1e20 * 1e20)", r"the number 1e\+20 \* 1e\+20 is out of range"),
        ("nir + " + "9" * 150, "the number 9{40} is out of range"),
        ("nir / 0", "it divides by the number 0"),
        ("nir / (2 - 2.0)", "it divides by the number 0"),
        ("1 / 0 * nir", "it divides by the number 0"),
        ("nir / -0.0", "it divides by the number 0"),
        ("nir + " * 50 + "nir", "an expression may have 200 characters, this one has 303"),
        ("(" * 99 + "nir" + ")" * 98, "it can't be read"),
        (
            "nir-(" * 30 + "red-nir" + ")" * 30,
            "it is nested too deeply, with 31 intermediate results at once; 12 are all",
        ),
    ],
)
def test_what_is_no_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_expression(text)


def test_limits_are_inclusive() -> None:
    longest = "nir*" + "1*" * ((MAX_LENGTH - 8) // 2) + "red1"
    assert len(longest) == MAX_LENGTH
    assert parse_expression(longest).depth == 1
    levels = MAX_DEPTH - 1
    assert parse_expression("nir-(" * levels + "red-nir" + ")" * levels).depth == MAX_DEPTH
    assert parse_expression("-" * (MAX_LENGTH - 3) + "nir").depth == 1
    assert parse_expression("(" * 90 + "nir-red" + ")" * 90).depth == 1
    assert parse_expression("nir * 1e30 + 1e-30 + 0").bands == ("nir",)


@given(st.text(max_size=250) | st.text(string.ascii_letters + string.digits + " ._+-*/()", max_size=250))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        steps = parse_expression(text).steps
    except ValueError as error:
        steps = ()
        message = str(error)
    else:
        message = "read"
    assert 0 < len(message) < 300
    assert all(isinstance(step, float) or step in "+-*/" or step in text for step in steps)
