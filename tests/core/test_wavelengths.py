"""Wavelengths of bands by their common names."""

import pytest

from pipeline.core.band_names import COMMON_NAMES, SENTINEL2_COMMON_NAMES
from pipeline.core.wavelengths import wavelengths

SENTINEL2A = {
    "B01": 442.7, "B02": 492.4, "B03": 559.8, "B04": 664.6, "B05": 704.1, "B06": 740.5, "B07": 782.8, "B08": 832.8,
    "B8A": 864.7, "B09": 945.1, "B10": 1373.5, "B11": 1613.7, "B12": 2202.4,
}  # fmt: skip
"""Central wavelengths in nanometres as ESA gives them."""

LANDSAT8 = {"coastal": 443, "blue": 482, "green": 561.5, "red": 654.5, "nir08": 865, "swir16": 1608.5, "swir22": 2200.5}
"""Middles of the bands that USGS gives."""


def test_they_are_those_of_sentinel2_and_near_those_of_landsat() -> None:
    names = list(SENTINEL2A)
    assert wavelengths(names) == pytest.approx(list(SENTINEL2A.values()), abs=4)
    assert wavelengths(names) == wavelengths(["x"] * 13, list(SENTINEL2_COMMON_NAMES.values()))
    assert wavelengths(["B1"] * 7, list(LANDSAT8)) == pytest.approx(list(LANDSAT8.values()), abs=15)


def test_bands_of_no_known_name_and_thermal_ones_have_none() -> None:
    assert wavelengths(["B1", "B2"]) == (None, None)
    assert wavelengths(["a", "b", "c"], ["pan", "lwir11", "red"]) == (None, None, 665)
    assert sum(found is None for found in wavelengths(["x"] * len(COMMON_NAMES), sorted(COMMON_NAMES))) == 4
