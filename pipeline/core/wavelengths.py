"""Central wavelengths of bands, by their common names."""

from collections.abc import Sequence
from typing import Final

from pipeline.core.band_names import common_names

_NANOMETRES: Final = {
    "coastal": 443, "blue": 490, "green05": 531, "green": 560, "yellow": 610, "red": 665, "rededge": 705,
    "rededge071": 704, "rededge075": 740, "rededge078": 783, "nir": 835, "nir08": 865, "nir09": 945, "cirrus": 1375,
    "swir16": 1610, "swir22": 2200,
}  # fmt: skip
"""Nominal central wavelength by common name: those of Sentinel-2, from which other sensors differ by some 10 to 30
nanometres. Panchromatic and thermal bands are left out, as they belong into no spectrum with these."""


def wavelengths(names: Sequence[str], common: Sequence[str | None] = ()) -> tuple[int | None, ...]:
    """Nominal central wavelength of each band in nanometres, None if unknown; shape (band,).

    Common names, None if unknown, are derived from the names if all are unknown.
    """
    known = common if any(common) else common_names(names)
    return tuple(_NANOMETRES.get(name) if name else None for name in known)
