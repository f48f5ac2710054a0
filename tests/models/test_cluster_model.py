"""Model files: exact round trip, refusal of changed files, and the check that a model fits a scene."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sources import build, content

from pipeline.core.errors import ModelError
from pipeline.core.units import Units, relative_to_first
from pipeline.models.cluster_model import ClusterModel

pytestmark = pytest.mark.lowest


def changed(path: str, value: object) -> dict[str, Any]:
    """Content of a model with a changed value at a dotted path."""
    parts: dict[str, Any] = json.loads(json.dumps(content()))
    *sections, key = path.split(".")
    inner = parts
    for section in sections:
        inner = inner[section]
    inner[key] = value
    return parts


def bits(model: ClusterModel) -> bytes:
    """All floats of a model as bytes, so that -0.0 and 0.0 differ."""
    numbers = [*np.ravel(model.centroids), *model.units.scales, *model.units.offsets, model.inertia, model.fitting.tol]
    return struct.pack(f"{len(numbers)}d", *numbers)


finite = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([5e-324, -0.0, 1.7976931348623157e308, 0.1])


@st.composite
def models(draw: st.DrawFn) -> ClusterModel:
    bands, k = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    each_band = st.lists(finite, min_size=bands, max_size=bands)
    return build(
        content(
            bands=draw(st.lists(st.text(max_size=8), min_size=bands, max_size=bands, unique=True)),
            units={
                "dtype": draw(st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"])),
                "scales": draw(each_band),
                "offsets": draw(each_band),
            },
            nodata=draw(st.just("auto") | finite | st.integers(-(2**70), 2**70)),
            centroids=draw(st.lists(each_band, min_size=k, max_size=k)),
            counts=draw(st.lists(st.integers(0, 2**40), min_size=k, max_size=k)),
            inertia=draw(finite.map(abs)),
        )
    )


@settings(max_examples=150, deadline=None)
@given(model=models())
def test_model_read_back_from_json_is_bitwise_equal(
    tmp_path_factory: pytest.TempPathFactory, model: ClusterModel
) -> None:
    path = tmp_path_factory.getbasetemp() / "model.json"
    path.write_text(model.to_json(), encoding="utf-8")
    for read_back in (ClusterModel.load(path), ClusterModel.from_json(model.to_json())):
        assert read_back == model
        assert bits(read_back) == bits(model)
        assert read_back.digest == model.digest
        assert read_back.to_json() == model.to_json()


def test_centres_are_the_centroids_as_an_array() -> None:
    model = build(content())
    assert model.k == 3
    assert model.centres.dtype == np.float64
    assert model.centres.tolist() == [list(row) for row in model.centroids]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bands", ("B08", "B04")),
        ("units.dtype", "int16"),
        ("units.scales", (1e-4, 1e-3)),
        ("units.offsets", (0.0, -0.1)),
        ("nodata", "auto"),
        ("nodata", 1.0),
        ("centroids", ((100.5, 2000.25), (1000.1, 1500.0), (3000.0, np.nextafter(3100.7, 0)))),
        ("centroids", ((1000.1, 1500.0), (100.5, 2000.25), (3000.0, 3100.7))),
    ],
)
def test_digest_depends_on_all_that_determines_labels(path: str, value: object) -> None:
    assert build(changed(path, value)).digest != build(content()).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("counts", (1, 2, 3)),
        ("inertia", 3.0),
        ("fitting.seed", 9),
        ("fitting.iterations", 3),
        ("fitting.method", "minibatch"),
        ("fitting.valid_pixels", 61),
        ("provenance.version", "9"),
        ("provenance.sources", ("b.tif", "c.tif")),
        ("provenance.crs", "EPSG:32633"),
    ],
)
def test_digest_does_not_depend_on_counts_fitting_and_provenance(path: str, value: object) -> None:
    other = build(changed(path, value))
    assert other != build(content())
    assert other.digest == build(content()).digest


def test_digest_is_the_same_for_integer_and_float_nodata() -> None:
    whole, real = (build(content(nodata=number)) for number in (-9999, -9999.0))
    assert whole.digest == real.digest


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("extra", 1, r"extra: .*not permitted"),
        ("fitting.extra", 1, r"fitting\.extra: .*not permitted"),
        ("schema_version", 2, r"schema_version: "),
        ("bands", [], r"bands: "),
        ("bands", ["B04"], r"centroids have \[2\] numbers each; expected 1, one per band"),
        ("bands", ["B04", "B04"], r"two bands have the same name: B04, B04"),
        ("centroids", [[1.0, 2.0]], r"1 centroids and 3 counts"),
        ("centroids", [[1.0, 2.0], [1.0], [2.0, 3.0]], r"centroids have \[1, 2\] numbers each"),
        ("centroids", [[0.0, float(i)] for i in range(255)], r"255 centroids"),
        ("centroids", [[1.0, "x"], [1.0, 2.0], [2.0, 3.0]], r"centroids\.0\.1: "),
        ("centroids", [[1.0, float("nan")], [1.0, 2.0], [2.0, 3.0]], r"finite|NaN"),
        ("centroids", [[1.0, float("inf")], [1.0, 2.0], [2.0, 3.0]], r"finite|Infinity"),
        ("counts", [1, 2], r"3 centroids and 2 counts"),
        ("units.scales", [1.0], r"a scale and an offset per band"),
        ("units.offsets", [0.0, 0.0, 0.0], r"a scale and an offset per band"),
        ("units.dtype", "float99", r"units"),
        ("units.dtype", "object", r"units"),
        ("nodata", "none", r"nodata"),
        ("fitting.method", "dbscan", r"fitting\.method: "),
    ],
)
def test_changed_model_file_is_refused_naming_the_inconsistent_part(path: str, value: object, message: str) -> None:
    with pytest.raises(ModelError, match=rf"^m\.json: .*({message})"):
        ClusterModel.from_json(json.dumps({"format": "terrazzo-model", **changed(path, value)}), "m.json")


@pytest.mark.parametrize("key", sorted(content()))
def test_model_with_a_missing_part_is_refused(key: str) -> None:
    parts = json.loads(build(content()).to_json())
    del parts[key]
    with pytest.raises(ModelError, match=f"m.json: {key}: "):
        ClusterModel.from_json(json.dumps(parts), "m.json")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_truncated_model_file_is_refused(data: st.DataObject) -> None:
    text = build(content()).to_json().rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ModelError, match="not a Terrazzo model: it is not JSON"):
        ClusterModel.from_json(text[:cut])


@settings(max_examples=100, deadline=None)
@given(
    thing=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["format", "k"]), inner),
    )
)
def test_other_json_is_refused(thing: object) -> None:
    with pytest.raises(ModelError, match=r'this is JSON, but not a Terrazzo model \(expected "format": "terrazzo'):
        ClusterModel.from_json(json.dumps(thing))


def test_file_that_is_not_a_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_bytes(b"II*\0\xff\xfe\xfd")
    (tmp_path / "nested.json").write_text("[" * 100_000)
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(64 * 2**20 + 1)  # sparse, so that it takes no disk space
    reasons = {
        "none.json": "can't be read: No such file",
        ".": "can't be read: .*directory",
        "map.tif": "it is not text",
        "huge.json": "it is larger than 64 MB",
        "nested.json": "it is not JSON",
    }
    for name, reason in reasons.items():
        with pytest.raises(ModelError, match=reason) as caught:
            ClusterModel.load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_model_is_frozen() -> None:
    model = build(content())
    for name in ClusterModel.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, getattr(model, name))
    with pytest.raises(ValidationError, match="frozen"):
        model.units.dtype = "uint8"  # type: ignore[misc]
    assert hash(model) == hash(build(content()))  # no list or dict inside


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32"])
def test_model_fits_integer_pixels_of_the_same_bands_and_units(dtype: str) -> None:
    model = build(content())
    assert model.check_fits(model.bands, model.units.model_copy(update={"dtype": dtype}), "s.tif") is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("bands", "units", "message"),
    [
        (("B04", "B02"), {}, r"needs bands B04, B08; the scene has B04, B02 \(B08 missing\)"),
        (("B08", "B04"), {}, r"has B08, B04 \(another order or number\)"),
        (("B04", "B08", "B11"), {}, r"another order or number"),
        (None, {"dtype": "uint8"}, r"fitted on uint16 pixels .*, the scene has uint8 \(8-bit\)"),
        (None, {"dtype": "float32"}, r"the scene has float32 \(floating-point\)"),
        (None, {"scales": (1e-4, 1e-3)}, r"band B08 has scale 0\.001 and offset 0, .* scale 0\.0001 and offset 0"),
        (None, {"offsets": (0.0, 0.0)}, r"band B04 has scale 0\.0001 and offset 0, .* scale 0\.0001 and offset -0\.1"),
    ],
)
def test_scene_with_other_bands_or_units_is_refused_naming_the_difference(
    bands: tuple[str, ...] | None, units: dict[str, Any], message: str
) -> None:
    model = build(content())
    scene_units = Units(**{**model.units.model_dump(), **units})
    with pytest.raises(ModelError, match=rf"^s\.tif: .*{message}"):
        model.check_fits(bands or model.bands, scene_units, "s.tif")


@pytest.mark.parametrize("quantity", ["scaled", "reflectance"])
def test_physical_centroids_are_converted_to_stored_numbers_of_any_scene(quantity: str) -> None:
    one = Units(dtype="uint16", scales=(1e-4, 1e-4), offsets=(0.0, 0.0), quantity=quantity)
    other = Units(dtype="uint16", scales=(1e-4, 2e-4), offsets=(-0.1, 0.3), quantity=quantity)
    stored = np.array([[1200.0, 30.0], [5.5, 9000.0]])
    parts = content(units=one.model_dump(), centroids=one.to_physical(stored).tolist(), counts=(1, 1))
    model = build(parts)
    np.testing.assert_allclose(model.centres_in(one), stored, rtol=1e-13)
    np.testing.assert_allclose(other.to_physical(model.centres_in(other)), model.centres, rtol=1e-13)
    assert model.check_fits(model.bands, other, "s.tif") is None  # type: ignore[func-returns-value]
    assert relative_to_first(one.difference_factors) is None
    np.testing.assert_allclose(relative_to_first(other.difference_factors), [1, 2])


def test_model_in_reflectance_refuses_a_scene_without_scale() -> None:
    parts = content()
    parts["units"] = {**parts["units"], "quantity": "reflectance"}
    plain = Units(dtype="uint16", scales=(1.0, 1.0), offsets=(0.0, 0.0))
    with pytest.raises(
        ModelError, match=r"s\.tif: the model is in reflectance, but band B04 of the scene \(uint16\) states no scale"
    ):
        build(parts).check_fits(("B04", "B08"), plain, "s.tif")


def test_stored_numbers_are_not_converted_without_a_quantity() -> None:
    units = Units(dtype="uint16", scales=(1e-4, 7.0), offsets=(-0.1, 3.0))
    values = np.array([[1.0, 2.0]])
    assert units.to_physical(values) is values
    assert units.to_stored(values) is values
    assert relative_to_first(units.difference_factors) is None


@pytest.mark.parametrize("key", ["centroids", "dtype"])
def test_repeated_key_is_refused_by_name(key: str) -> None:
    text = build(content()).to_json()
    start = text.index(f'"{key}"')
    stated = text[start : text.index(",\n", text.index("]\n", start) if key == "centroids" else start)]
    with pytest.raises(ModelError, match=rf"m\.json: the key '{key}' is given twice"):
        ClusterModel.from_json(text[:start] + stated + ", " + text[start:], "m.json")


def test_units_may_have_a_different_quantity_per_band() -> None:
    mixed = Units(
        dtype="uint16", scales=(1e-4, 0.00341802), offsets=(-0.1, 149.0), quantity=("reflectance", "temperature")
    )
    stored = np.array([[3000.0, 40000.0]])
    physical = mixed.to_physical(stored)
    np.testing.assert_allclose(physical, [[0.2, 40000 * 0.00341802 + 149]])
    np.testing.assert_allclose(mixed.to_stored(physical), stored)
    half = Units(dtype="uint16", scales=(1e-4, 2.0), offsets=(-0.1, 5.0), quantity=("reflectance", "numbers"))
    np.testing.assert_allclose(half.to_physical(stored), [[0.2, 40000]])
    np.testing.assert_array_equal(half.difference_factors, [1e-4, 1])
    same = Units(dtype="uint16", scales=(1.0, 1.0), offsets=(0.0, 0.0), quantity=("reflectance", "reflectance"))
    assert same.quantity == "reflectance"
    with pytest.raises(ValueError, match="3 quantities and 2 scales"):
        Units(dtype="uint16", scales=(1.0, 1.0), offsets=(0.0, 0.0), quantity=("numbers", "scaled", "angle"))


def test_model_with_one_quantity_for_all_bands_fits_its_scene_with_one_per_band() -> None:
    """Earlier versions stored 'scaled' for all bands if one of them was scaled."""
    parts = content()
    units = {"dtype": "uint16", "scales": (1e-4, 1.0), "offsets": (-0.1, 0.0)}
    model = build(parts | {"units": units | {"quantity": "scaled"}})
    own = Units(**units, quantity=("scaled", "numbers"))
    assert model.check_fits(model.bands, own, "s.tif") is None  # type: ignore[func-returns-value]
    np.testing.assert_array_equal(model.centres_in(own), model.centres_in(model.units))
    silent = Units(dtype="uint16", scales=(1.0, 1.0), offsets=(0.0, 0.0))
    with pytest.raises(ModelError, match=f"band {model.bands[0]} of the scene .* states no scale"):
        model.check_fits(model.bands, silent, "s.tif")


def test_scene_with_a_band_of_another_quantity_is_refused() -> None:
    parts = content()
    count = len(parts["bands"])
    reflectance = {"dtype": "uint16", "scales": (1e-4,) * count, "offsets": (0.0,) * count}
    model = build(parts | {"units": {**reflectance, "quantity": "reflectance"}})
    again = ClusterModel.from_json(model.to_json())
    assert again == model
    hot = Units(**reflectance, quantity=("temperature", *["reflectance"] * (count - 1)))
    with pytest.raises(ModelError, match=f"band {model.bands[0]} of the scene is in temperature"):
        model.check_fits(model.bands, hot, "other.tif")
    mixed = build(parts | {"units": hot.model_dump()})
    assert ClusterModel.from_json(mixed.to_json()) == mixed
    mixed.check_fits(mixed.bands, hot, "other.tif")
