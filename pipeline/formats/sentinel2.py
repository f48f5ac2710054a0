"""Sentinel-2 bands, processing baselines and product metadata: level, scale and offset to reflectance.

Source: Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, issues 13 (compact names) to 15.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.errors import SceneError
from pipeline.core.numbers import number_in_text
from pipeline.core.strict_xml import one_text, text, texts
from pipeline.formats.catalogue import BandOffer, BandVersion

BAND_IDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Names of the bands, in the order of their `band_id` in the metadata, which counts from 0."""

NATIVE_RESOLUTION: Final = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10.0),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20.0),
    **dict.fromkeys(("B01", "B09", "B10"), 60.0),
}
"""Native pixel size per band, in metres."""

DEFAULT_BANDS: Final = ("B02", "B03", "B04", "B08")
"""Bands taken unless others are named: those of 10 m."""
NODATA: Final = 0.0
"""Stored number of nodata pixels."""

_FIRST_BASELINE_WITH_OFFSET: Final = (4, 0)
"""Processing baseline (major, minor) from which on an offset is added to the stored numbers of every product."""
_BASELINE: Final = re.compile(r"(\d+)\.(\d+)")


def has_offset(baseline: str) -> bool:
    """Whether products of a processing baseline, such as 05.09, have an offset; False if the baseline is unknown."""
    match = _BASELINE.fullmatch(baseline)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_BASELINE_WITH_OFFSET


def reflectance_band(
    band: str,
    versions: Sequence[BandVersion],
    scale: float,
    offset: float,
    *,
    keys: tuple[str, ...] = (),
    nodata: float | None = None,
) -> BandOffer:
    """Make the catalogue's entry of a Sentinel-2 band, one of `BAND_IDS`; all Sentinel-2 formats use it.

    `versions` may be in any order; reflectance is stored number x scale + offset; `keys` are other names by which the
    band can be chosen; `nodata` is the value that the product states, by default 0.
    """
    native = NATIVE_RESOLUTION[band]
    return BandOffer(
        name=band,
        versions=tuple(sorted(versions, key=lambda one: (one.resolution != native, one.resolution))),
        number=band.removeprefix("B").lstrip("0"),
        keys=keys,
        scale=scale,
        offset=offset,
        nodata=NODATA if nodata is None else nodata,
        quantity="reflectance",
    )


@dataclass(frozen=True, kw_only=True)
class Sentinel2Metadata:
    """Content of a product's main metadata file."""

    uri: str
    """Name of the product, with the suffix .SAFE."""
    level: str
    """Processing level, L1C or L2A."""
    sensing_start: str
    """Time of acquisition, in ISO 8601."""
    baseline: str
    """Processing baseline, such as 05.09."""
    quantification: float
    """Quantification value: reflectance is (stored number + offset) / quantification value."""
    offsets: tuple[float, ...]
    """Offset in stored numbers, one for each of `BAND_IDS`."""
    images: tuple[str, ...]
    """Paths or names, without suffix, of the image files that the product lists."""

    def scale_and_offset(self, band: str) -> tuple[float, float]:
        """Scale and offset of a band: reflectance is stored number x scale + offset."""
        return 1 / self.quantification, self.offsets[BAND_IDS.index(band)] / self.quantification

    @property
    def radiometry(self) -> str:
        """Formula from stored numbers (DN) to reflectance, such as `reflectance = (DN -1000) / 10000`."""
        offsets = sorted(set(self.offsets))
        added = ", ".join(f"{offset:+g}" for offset in offsets) + (" by band" if len(offsets) > 1 else "")
        stored = "DN" if offsets == [0] else f"(DN {added})"
        return f"reflectance = {stored} / {self.quantification:g}"


def read_metadata(root: ET.Element, origin: str) -> Sentinel2Metadata:
    """Read a product's MTD_MSIL1C.xml or MTD_MSIL2A.xml, of any issue of the specification.

    Raises SceneError if a field is missing, is stated twice with different values, or is not a number.
    """
    level = text(root, "PROCESSING_LEVEL")
    short = {"Level-1C": "L1C", "Level-2A": "L2A", "Level-2Ap": "L2A"}.get(level)
    if short is None:
        problem = f"the processing level is {level!r}" if level else "the field PROCESSING_LEVEL is missing"
        msg = f"{origin}: {problem}; expected the metadata of a Sentinel-2 product, Level-1C or Level-2A"
        raise SceneError(msg)
    return Sentinel2Metadata(
        uri=text(root, "PRODUCT_URI", "PRODUCT_URI_1C", "PRODUCT_URI_2A"),
        level=short,
        sensing_start=text(root, "PRODUCT_START_TIME"),
        baseline=text(root, "PROCESSING_BASELINE"),
        quantification=_quantification(root, short, origin),
        offsets=_offsets(root, short, origin),
        images=tuple(texts(root, "IMAGE_FILE", "IMAGE_FILE_2A", "IMAGE_ID", "IMAGE_ID_2A")),
    )


def _quantification(root: ET.Element, level: str, origin: str) -> float:
    """Quantification value, by which stored numbers are divided to get reflectance."""
    names = (
        ("QUANTIFICATION_VALUE",) if level == "L1C" else ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    )
    found = one_text(root, origin, *names)
    if not found:
        msg = f"{origin}: the field {names[0]} is missing, so reflectance is unknown; download the product again"
        raise SceneError(msg)
    value = number_in_text(found, names[0], origin)
    if value <= 0:
        msg = f"{origin}: {names[0]} is {found}; expected a number above 0"
        raise SceneError(msg)
    return value


def _offsets(root: ET.Element, level: str, origin: str) -> tuple[float, ...]:
    """Offset per band, in stored numbers; 0 in products that state none, as before baseline 04.00."""
    name = "RADIO_ADD_OFFSET" if level == "L1C" else "BOA_ADD_OFFSET"
    elements = list(root.iterfind(f".//{{*}}{name}"))
    if not elements:
        return (0.0,) * len(BAND_IDS)
    ids = {band: str(number) for number, band in enumerate(BAND_IDS)}
    stated: dict[str, float] = {}
    for element in elements:
        number = element.get("band_id", "").strip()
        value = number_in_text((element.text or "").strip(), name, origin)
        if stated.setdefault(number, value) != value:
            band = next((band for band, own in ids.items() if own == number), f"band_id {number!r}")
            msg = (
                f"{origin}: {name} is given twice for {band}, as {stated[number]:g} and as {value:g}; "
                "download the product again"
            )
            raise SceneError(msg)
    if level == "L2A":
        stated.setdefault(ids["B10"], 0.0)  # Level-2A has no B10
    missing = [band for band, number in ids.items() if number not in stated]
    if missing:
        bands = ", ".join(missing)
        msg = f"{origin}: {name} is stated for some bands, but not for {bands}; download the product again"
        raise SceneError(msg)
    return tuple(stated[number] for number in ids.values())
