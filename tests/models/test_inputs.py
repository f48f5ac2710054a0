"""The check that a scene has the bands and units of a model."""

from typing import Any

import numpy as np
import pytest
from sources import build, content

from pipeline.core.errors import ModelError
from pipeline.core.units import Units, relative_to_first
from pipeline.models.base import ClusterModel

pytestmark = pytest.mark.lowest


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
