"""Spectral indices: the formulas against the literature and spyndex, and the guards of their values."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.core.band_names import COMMON_NAMES
from pipeline.core.errors import ConfigError
from pipeline.features.indices import INDICES, Index, compute, index_dtype, parse_index, resolve

Plane = npt.NDArray[Any]

SPECTRA = {
    #           vegetation, water, soil
    "blue": (0.03, 0.06, 0.10),
    "green": (0.06, 0.05, 0.14),
    "red": (0.04, 0.03, 0.20),
    "rededge": (0.10, 0.025, 0.23),
    "nir": (0.40, 0.02, 0.28),
    "swir16": (0.18, 0.01, 0.36),
    "swir22": (0.08, 0.008, 0.31),
}
"""Reflectance of three surfaces by common name."""

SPYNDEX = {
    "ndvi": (0.818182, -0.2, 0.166667),
    "gndvi": (0.73913, -0.428571, 0.333333),
    "ndre": (0.6, -0.111111, 0.098039),
    "evi": (0.636042, -0.033333, 0.115607),
    "evi2": (0.601604, -0.022894, 0.113636),
    "savi": (0.574468, -0.027273, 0.122449),
    "osavi": (0.6, -0.047619, 0.125),
    "msavi": (0.6, -0.018888, 0.110373),
    "vari": (0.285714, 1.0, -0.25),
    "gli": (0.263158, 0.052632, -0.034483),
    "ndmi": (0.37931, 0.333333, -0.125),
    "ndwi": (-0.73913, 0.428571, -0.333333),
    "mndwi": (-0.5, 0.666667, -0.44),
    "aweish": (-0.71, 0.138, -0.5875),
    "ndti": (-0.2, -0.25, 0.176471),
    "ndci": (0.428571, -0.090909, 0.069767),
    "ndsi": (-0.5, 0.666667, -0.44),
    "ndbi": (-0.37931, -0.333333, 0.125),
    "ui": (-0.666667, -0.428571, 0.050847),
    "bsi": (-0.323077, -0.333333, 0.191489),
    "nbr": (0.666667, 0.428571, -0.050847),
    "nbr2": (0.384615, 0.111111, 0.074627),
}
"""Values of spyndex 0.12.0 (L = 0.5 for SAVI; its BI is our bsi, its NDREI our ndre). Left out are ARVI and AWEInsh,
whose signs differ there from their publications, and brightness, which is ours."""

BY_HAND: dict[str, Callable[..., Any]] = {
    # Kaufman and Tanre 1992: NDVI with red corrected to red - gamma (blue - red)
    "arvi": lambda blue, red, nir, **_: np.clip((nir - (2 * red - blue)) / (nir + (2 * red - blue)), -1, 1),
    # Feyisa et al. 2014, equation 2
    "aweinsh": lambda green, nir, swir16, swir22, **_: 4 * (green - swir16) - (0.25 * nir + 2.75 * swir22),
    "brightness": lambda blue, green, red, nir, **_: np.mean([blue, green, red, nir], axis=0),
    # Qi et al. 1994, equation of MSAVI2
    "msavi": lambda red, nir, **_: (2 * nir + 1 - np.sqrt((2 * nir + 1) ** 2 - 8 * (nir - red))) / 2,
    "evi": lambda blue, red, nir, **_: np.clip(2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1), -1, 1),
    "savi": lambda red, nir, **_: (nir - red) / (nir + red + 0.5) * (1 + 0.5),
}

DIFFERENCES = sorted(set(INDICES) - {"evi", "evi2", "savi", "osavi", "msavi", "aweinsh", "aweish", "brightness"})
"""Indices that are ratios of differences and sums."""


def planes_of(index: Index, dtype: Any = np.float64) -> list[Plane]:
    return [np.array(SPECTRA[band], dtype) for band in index.bands]


def scene(dtype: Any = np.float32, shape: tuple[int, int] = (90, 70)) -> dict[str, Plane]:
    """Reflectance of mixed pixels by common name."""
    rng = np.random.default_rng(11)
    return {name: rng.gamma(2, 0.08, shape).astype(dtype) for name in SPECTRA}


def same_bits(one: Plane, other: Plane) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", SPYNDEX)
def test_values_are_those_of_spyndex(name: str) -> None:
    index = parse_index(name)
    np.testing.assert_allclose(compute(index, planes_of(index)), SPYNDEX[name], atol=5.1e-7)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)])
def test_values_are_those_of_the_publications(name: str, dtype: Any, tolerance: float) -> None:
    index, bands = parse_index(name), scene(dtype)
    expected = BY_HAND[name](**{band: plane.astype(np.float64) for band, plane in bands.items()})
    # near a zero of the denominator, rounding is magnified
    usual = np.abs(expected) < (0.5 if INDICES[name].limits else np.inf)
    found = compute(index, [bands[band] for band in index.bands])
    assert usual.mean() > 0.4
    np.testing.assert_allclose(found[usual], expected[usual], atol=tolerance, rtol=tolerance)


def test_each_line_of_the_table_is_tested_and_complete() -> None:
    assert set(SPYNDEX) | set(BY_HAND) == set(INDICES)
    for name, line in INDICES.items():
        assert name == name.lower()
        assert name.isidentifier()
        assert set(parse_index(name).bands) <= COMMON_NAMES
        assert line.title
        assert line.source


@pytest.mark.parametrize("name", INDICES)
def test_float32_is_close_to_float64(name: str) -> None:
    index, bands = parse_index(name), scene()
    single = compute(index, [bands[band] for band in index.bands])
    double = compute(index, [bands[band].astype(np.float64) for band in index.bands])
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    far = np.abs(double) < 0.99 if index.limits else np.full(double.shape, fill_value=True)
    # indices with limits are quotients whose denominator may be a small difference
    np.testing.assert_allclose(single[far], double[far], atol=1e-4 if index.limits else 1e-6)


@pytest.mark.parametrize("name", INDICES)
def test_those_with_absolute_numbers_need_reflectance(name: str) -> None:
    """Others change by the same factor everywhere, if at all, when all bands are multiplied by one."""
    index, bands = parse_index(name), scene(np.float64)
    planes = [bands[band] for band in index.bands]
    assert index.needs_reflectance == (name in {"evi", "evi2", "savi", "osavi", "msavi"})
    ratio = compute(index, [plane * 1e4 for plane in planes]) / compute(index, planes)
    assert (np.ptp(ratio[np.isfinite(ratio)]) < 1e-6 * np.median(ratio)) == (not index.needs_reflectance)


def test_a_name_may_have_any_case_and_is_the_name_of_the_column() -> None:
    assert [parse_index(text).name for text in ("NDVI", " ndvi ", "Ndvi")] == ["NDVI", "ndvi", "Ndvi"]
    assert parse_index("NDVI").expression == parse_index("ndvi").expression
    written = parse_index("(nir - red) / (nir + red)")
    assert written.name == "(nir - red) / (nir + red)"
    assert written.expression == parse_index("ndvi").expression
    assert (written.is_named, parse_index("ndvi").is_named) == (False, True)
    assert pickle.loads(pickle.dumps(written)) == written  # noqa: S301 (our own)
    assert hash(written) == hash(parse_index(written.name))


NAMES = ", ".join(INDICES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ndvii",
            rf"^features\.indices: 'ndvii' is no index; did you mean ndvi\? There are {NAMES}; an expression has ",
        ),
        ("NDWII", r"'NDWII' is no index; did you mean ndwi\?"),
        ("awei_nsh", r"'awei_nsh' is no index; did you mean aweinsh\?"),
        ("qqq", rf"'qqq' is no index; there are {NAMES}"),
        ("nir", rf"'nir' is no index; bands are chosen with scene\.bands; there are {NAMES}"),
        ("", "'' is no index; there are"),
        (" \n", "'' is no index; there are"),
        ("x" * 100_000, r"'x{57}\.\.\.' is no index; there are"),
        ("nir ** 2", r"^features\.indices: 'nir \*\* 2': 'nir \*\* 2' is not allowed; multiply instead of raising"),
        ("nir + " * 100 + "nir", r"'(nir \+ ){9}nir\.\.\.': an expression may have 200 characters, this one has 603$"),
    ],
)
def test_what_is_no_index_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_index(text)


def test_the_key_of_a_message_can_be_chosen() -> None:
    with pytest.raises(ConfigError, match=r"^indices: '%' is not|^indices: '%': '%' is not allowed"):
        parse_index("%", key="indices")


SENTINEL2 = ("B02", "B03", "B04", "B05", "B08", "B8A", "B11", "B12")
LANDSAT = ("SR_B2", "SR_B4", "SR_B5", "SR_B6")


@pytest.mark.parametrize(
    ("text", "names", "common", "columns"),
    [
        ("ndvi", SENTINEL2, (), (4, 2)),
        ("ndvi", LANDSAT, ("blue", "red", "nir08", "swir16"), (2, 1)),
        ("ndvi", ("Red", "NIR"), (), (1, 0)),
        ("ndre", SENTINEL2, (), (4, 3)),
        ("B8A / b12 - RED", SENTINEL2, (), (5, 7, 2)),
        ("SR_B5 / blue", LANDSAT, ("blue", "red", "nir08", "swir16"), (2, 0)),
        ("nir / ndvi", ("ndvi", "nir"), (), (1, 0)),
        ("nir / red", ("red", "nir", "x"), ("nir", "red", None), (1, 0)),
    ],
)
def test_bands_are_found_by_name_and_by_common_name(
    text: str, names: tuple[str, ...], common: tuple[str | None, ...], columns: tuple[int, ...]
) -> None:
    assert resolve(parse_index(text), names, common) == columns


@pytest.mark.parametrize(
    ("text", "names", "common", "message"),
    [
        (
            "ndmi",
            ("B04", "B08"),
            (),
            r"^features\.indices: ndmi: the scene has no band 'swir16'; it has B04 \(red\), B08 \(nir\)$",
        ),
        (
            "B44 / nir",
            ("B04", "B08"),
            (),
            r"^features\.indices: B44 / nir: .* no band 'B44'; did you mean B04\? It has ",
        ),
        ("nir / redd", ("a", "b"), ("red", "nir"), r"no band 'redd'; did you mean red\? It has a \(red\), b \(nir\)$"),
        (
            "ndvi / 2",
            ("B04", "B08"),
            (),
            r"no band 'ndvi'; ndvi is an index: write its formula, \(nir - red\) / \(nir \+ red\); the scene has B04",
        ),
        (
            "ndvi",
            ("a", "b", "c"),
            ("red", "red", "nir"),
            r"^features\.indices: ndvi: 'red' matches a, b; write an expression with the name of one of them$",
        ),
        (
            "nir - nir08",
            ("SR_B4", "SR_B5"),
            ("red", "nir08"),
            r"^features\.indices: nir - nir08: nir and nir08 are the same band of this scene, SR_B5; name another$",
        ),
        ("nir / red", [f"band{i}" for i in range(1000)], (), r"band19, \.\.\. \(1000 in all\)$"),
    ],
)
def test_bands_that_a_scene_does_not_have_are_refused(
    text: str, names: tuple[str, ...], common: tuple[str | None, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(parse_index(text), names, common)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (["uint8", "int16", "uint16", "float32"], "float32"),
        (["float32", "float64"], "float64"),
        (["uint16", "int32"], "float64"),
        (["uint32"], "float64"),
        (["int64"], "float64"),
        (["uint64", "float32"], "float64"),
    ],
)
def test_the_dtype_represents_all_bands(dtypes: list[str], expected: str) -> None:
    assert index_dtype([np.dtype(name) for name in dtypes]) == expected
    planes = [np.ones((2, 2), name) for name in dtypes]
    index = parse_index(" + ".join(f"b{i}" for i in range(len(planes))) + " + 1")
    found = compute(index, planes)
    assert found.dtype == expected
    assert (found == len(planes) + 1).all()


def test_integers_are_not_rounded() -> None:
    large = np.array([2**24 + 1, 2**31 - 1])
    found = compute(parse_index("a - b"), [large.astype(np.int32), np.array([2**24, 2**31 - 2], np.uint32)])
    assert found.tolist() == [1, 1]


def test_a_division_by_zero_gives_zero() -> None:
    nir, red = np.array([0, 3, 0, 5], np.float32), np.array([0, 0, 2, 5], np.float32)
    assert compute(parse_index("ndvi"), [nir, red]).tolist() == [0, 1, -1, 0]
    assert compute(parse_index("nir / red"), [nir, red]).tolist() == [0, 0, 0, 1]
    # as in arithmetic with limits, an infinite quotient is a zero when it divides
    assert compute(parse_index("2 - 1 / (nir / red)"), [nir[1:], red[1:]]).tolist() == [2, 0, 1]


def test_results_that_overflow_give_zero() -> None:
    large = np.array([1e30, 2], np.float32)
    assert compute(parse_index("a * b"), [large, large]).tolist() == [0, 4]


def test_negative_reflectance_counts_as_zero() -> None:
    nir, red = np.array([-0.01, 0.2, -0.01]), np.array([0.0101, -0.1, -0.3])
    assert compute(parse_index("ndvi"), [nir, red]).tolist() == [-1, 1, 0]
    written = parse_index("(nir - red) / (nir + red)")
    assert compute(written, [nir, red], reflectance=[True, True]).tolist() == [-1, 1, 0]
    np.testing.assert_allclose(compute(written, [nir, red]), (nir - red) / (nir + red))
    np.testing.assert_allclose(compute(written, [nir, red], reflectance=[False, True]), [-201, 1, 1], rtol=1e-9)


def test_evi_of_snow_is_limited() -> None:
    index = parse_index("evi")
    blue, red, nir = np.array([0.9, 0.8]), np.array([0.85, 0.7]), np.array([0.65, 0.81])
    assert index.bands == ("nir", "red", "blue")
    raw = compute(parse_index(index.expression.text), [nir, red, blue])
    assert np.abs(raw).max() > 20
    assert np.abs(compute(index, [nir, red, blue])).max() == 1


def test_nodata_is_nan_only_where_a_band_of_the_index_is() -> None:
    bands = scene()
    for i, plane in enumerate(bands.values()):
        plane[i::9, ::7] = (np.nan, np.inf, -np.inf)[i % 3]
        plane[8] = 0
    for name in INDICES:
        index = parse_index(name)
        planes = [bands[band] for band in index.bands]
        found = compute(index, planes)
        assert not np.isinf(found).any()
        assert not (np.isnan(found) & np.isfinite(planes).all(axis=0)).any()
        assert np.isnan(found[np.isnan(planes).any(axis=0)]).all()
        assert np.isfinite(found[8]).all()


def test_stored_numbers_are_scaled() -> None:
    rng = np.random.default_rng(2)
    stored = [rng.integers(1000, 9000, (300, 200)).astype(np.uint16) for _ in range(3)]
    scaling = [(1e-4, -0.1), (1e-4, -0.1), (2.75e-5, -0.2)]
    for text in ("evi", "nir - red + blue"):
        index = parse_index(text)
        physical = [plane * scale + offset for plane, (scale, offset) in zip(stored, scaling, strict=True)]
        found = compute(index, stored, scaling)
        assert found.dtype == np.float32
        expected = compute(index, physical)
        usual = np.abs(expected) < 0.9
        np.testing.assert_allclose(found[usual], expected[usual], atol=2e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_what_is_zero_after_scaling_is_exactly_zero(dtype: Any) -> None:
    """Otherwise the index of a black pixel would be that of rounding errors."""
    stored = [np.array([1000, 1000, 3000], dtype), np.array([1000, 2000, 1000], dtype)]
    assert compute(parse_index("ndvi"), stored, [(0.0001, -0.1)] * 2).tolist() == [0, -1, 1]


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (1, 1), (100_001,), (1, 70_000), (40_000, 2), (3, 30, 50)])
def test_planes_may_have_any_shape(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    nir, red = rng.random(shape), rng.random(shape)
    found = compute(parse_index("ndvi"), [nir, red])
    np.testing.assert_array_equal(found, (nir - red) / (nir + red))


def test_planes_are_not_changed_and_need_not_be_contiguous() -> None:
    nir, red = scene()["nir"], scene()["red"]
    views = [nir.T[::2, ::-1], red.T[::2, ::-1]]
    copies = [view.copy() for view in views]
    assert same_bits(compute(parse_index("msavi"), views), compute(parse_index("msavi"), copies))
    for view, copy in zip(views, copies, strict=True):
        view.flags.writeable = False
        np.testing.assert_array_equal(view, copy)
    compute(parse_index("ndvi"), views)


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_no_bit_depends_on_the_block(name: str, dtype: str) -> None:
    index = parse_index(name)
    rng = np.random.default_rng(8)
    shape = (301, 257)
    bands = [rng.integers(0, 12_000, shape).astype(dtype) for _ in index.bands]
    if dtype != "uint16":
        bands[0][rng.random(shape) < 0.1] = np.nan
    for plane in bands:
        plane[rng.random(shape) < 0.05] = 1000  # zero, after scaling
    scaling = [(1e-4, -0.1)] * len(bands)
    whole = compute(index, bands, scaling)
    parts = np.empty_like(whole)
    for rows in (slice(0, 7), slice(7, 208), slice(208, 301)):
        for columns in (slice(0, 1), slice(1, 130), slice(130, 257)):
            parts[rows, columns] = compute(index, [plane[rows, columns] for plane in bands], scaling)
    assert same_bits(whole, parts)
    points = compute(index, [np.ascontiguousarray(plane).reshape(-1) for plane in bands], scaling)
    assert same_bits(points.reshape(shape), whole)


@given(
    st.sampled_from(DIFFERENCES),
    arrays(np.float32, (6, 4), elements=st.floats(0, 2, width=32) | st.sampled_from([0, 1e-45, 1.25e-38, 3e38])),
)
def test_normalized_differences_stay_between_minus_one_and_one(name: str, values: Plane) -> None:
    index = parse_index(name)
    found = compute(index, list(values[: len(index.bands)]))
    assert np.abs(found).max() <= 1


@given(
    st.sampled_from([*INDICES, "a / b / c", "a / (b - c) * 1e30", "(a * b - c * a) / (a - a) + 1 / (b - b)"]),
    arrays(np.float32, (6, 4), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
    | arrays(np.float64, (6, 4), elements=st.floats(allow_nan=False, allow_infinity=False))
    | arrays(np.int16, (6, 4))
    | arrays(np.uint32, (6, 4)),
)
def test_values_are_finite_where_bands_are(text: str, values: Plane) -> None:
    index = parse_index(text)
    assert np.isfinite(compute(index, list(values[: len(index.bands)]))).all()
