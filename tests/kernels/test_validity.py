"""Validity of pixels: compared with numpy for many dtypes and nodata values."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.validity import mask_invalid, representable

DTYPES = ["u1", "u2", "i2", "i4", "f4", "f8"]
Nodata = tuple[float | None, ...]


def expected(data: npt.NDArray[np.generic], nodata: Nodata, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The rule in numpy: finite and not nodata in every band, and not masked out."""
    valid = mask & np.isfinite(data).all(axis=0)
    for band, value in zip(data, nodata, strict=True):
        if value is not None:
            valid &= band != value
    return valid


def values_of(dtype: str) -> list[float]:
    """Values that a pixel of a dtype can have, extreme ones first."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        limits = np.finfo(kind)
        extremes = [float(limits.max), float(limits.min), float(limits.tiny)]
        return [0.0, *extremes, -9999.0, 1.0, float(kind.type(0.1)), -1.5]
    whole = np.iinfo(kind)
    return [0.0, float(whole.max), float(whole.min), 1.0, float(whole.max - 1), 7.0]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[npt.NDArray[np.generic], Nodata, npt.NDArray[np.bool_]]:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 9)))
    pool = values_of(dtype)
    pixels = pool + ([np.nan, np.inf, -np.inf] if dtype[0] == "f" else [])
    chosen = np.random.default_rng(draw(st.integers(0, 999))).integers(0, len(pixels), shape)
    data = np.array(pixels)[chosen].astype(dtype)
    marks = [None, *pool, *([np.nan, np.inf] if dtype[0] == "f" else [])]
    nodata = tuple(draw(st.sampled_from(marks)) for _ in range(shape[0]))
    mask = np.random.default_rng(draw(st.integers(0, 999))).random(shape[1:]) < draw(st.sampled_from([0.3, 1.0]))
    return data, nodata, mask


@settings(max_examples=300, deadline=None)
@given(scene=scenes())
def test_a_pixel_is_valid_if_every_band_is_finite_and_not_nodata_and_it_is_not_masked_out(
    scene: tuple[npt.NDArray[np.generic], Nodata, npt.NDArray[np.bool_]],
) -> None:
    data, nodata, mask = scene
    np.testing.assert_array_equal(mask_invalid(data, nodata, mask.copy()), expected(data, nodata, mask))


def test_the_mask_is_changed_in_place_and_returned() -> None:
    mask = np.ones((1, 3), np.bool_)
    result = mask_invalid(np.array([[[1, 2, 3]]], np.uint8), (2.0,), mask)
    assert result is mask
    assert mask.tolist() == [[True, False, True]]


def test_each_band_has_its_own_nodata_value() -> None:
    data = np.array([[[0, 0, 5, 5]], [[9, 0, 9, 0]]], np.uint16)
    assert mask_invalid(data, (0.0, 9.0), np.ones((1, 4), np.bool_)).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("largest", [2**31 - 1, -(2**31)])
def test_nodata_at_the_ends_of_32_bits_does_not_mask_adjacent_values(largest: int) -> None:
    near = largest - 1 if largest > 0 else largest + 1  # the same number in float32
    data = np.array([[[largest, near]]], np.int32)
    assert mask_invalid(data, (float(largest),), np.ones((1, 2), np.bool_)).tolist() == [[False, True]]


def test_a_float32_pixel_equals_a_nodata_value_with_more_digits() -> None:
    data = np.array([[[0.1, 0.2]]], np.float32)
    assert mask_invalid(data, (0.1,), np.ones((1, 2), np.bool_)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("u1", -9999.0), ("u1", 0.5), ("u2", 65536.0), ("i2", 1e10), ("u2", -1.0), ("i4", np.inf), ("f4", -1.797e308)],
)
def test_a_nodata_value_that_no_pixel_can_have_masks_nothing(dtype: str, nodata: float) -> None:
    data = np.arange(2**16).reshape(1, 256, 256).astype(dtype)  # every 8- and 16-bit number
    assert not (data.astype(np.float64) == nodata).any()
    assert mask_invalid(data, (nodata,), np.ones((256, 256), np.bool_)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_layout_does_not_matter(dtype: str) -> None:
    data = np.random.default_rng(1).integers(0, 4, (3, 11, 13)).astype(dtype)
    plain = mask_invalid(data, (2.0, None, 0.0), np.ones((11, 13), np.bool_))
    strided = np.repeat(data, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(mask_invalid(strided, (2.0, None, 0.0), np.ones((11, 13), np.bool_)), plain)
    assert 0 < plain.sum() < plain.size


@pytest.mark.parametrize("dtype", ["u1", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("value", [2**64, 10**30, -(10**39), 10**400], ids=["2^64", "10^30", "-10^39", "10^400"])
def test_integers_of_any_size_are_representable_within_the_range_of_the_dtype(dtype: str, value: int) -> None:
    largest = float(np.finfo(dtype).max) if dtype[0] == "f" else float(np.iinfo(dtype).max)
    assert representable(value, np.dtype(dtype)) == (abs(value) <= largest and (dtype[0] == "f"))
