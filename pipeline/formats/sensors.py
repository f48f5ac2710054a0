"""Sensors recognised by file names, and the common names of their bands.

Sources: Landsat Collection 1 and 2 Data Format Control Books (USGS), HLS User Guide 2.0 and MODIS band table (NASA),
the Planet Imagery Product Specifications, INPE's CBERS-4 pages; common names are those of STAC's electro-optical
extension.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Final

from pipeline.core.band_names import SENTINEL2_COMMON_NAMES


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A sensor whose files are recognised by their names."""

    name: str
    """Name of the sensor, for messages."""
    files: re.Pattern[str]
    """Pattern for the start of its file names, also after a prefix such as `clip_` in `clip_LC08_...`."""
    bands: Mapping[str, str]
    """Common name per band, by the band's number in lower case and without leading zeros."""
    fill: float | None = None
    """Nodata value of its products by their specification, for files without a nodata tag; None if unspecified."""
    multi_band: tuple[str, ...] = ()
    """Common names of the bands of one file in order, if each file holds all bands; else empty."""

    def common_name(self, band: str) -> str | None:
        """Common name of a band, such as swir16 for `SR_B6`, `B06`, `BAND6` or `Nadir_Reflectance_Band6`."""
        number = band_number(band)
        return self.bands.get(number) if number else None


_SEPARATOR: Final = re.compile(r"[_\-. ]+")
_MIN_MATCH: Final = 4
"""Smallest number of characters that must match inside a name (not at its start) to recognise a sensor."""

_THERMAL: Final = re.compile(r"(?i)(^|_)(ST_B\d+|BT_BAND\d+|LST|LWIR\d*|TIR\d*|THERMAL)(_|$)")
"""Names of thermal bands of unknown sensors, such as those of Earth Engine's exports."""

_NUMBER: Final = re.compile(r"(?i)(?:^|.*[_\-. ])b(?:and)?[_\-. ]?0*(\d{1,2}a?)(?:_vcid_[12])?$")


def band_number(band: str) -> str | None:
    """Number in a band's name, in lower case and without leading zeros: 4 for `SR_B4`, 8a for `B8A`; None without."""
    match = _NUMBER.match(band)
    return match[1].lower() if match else None


def _numbered(names: Sequence[str | None]) -> dict[str, str]:
    """Common names by band number, from a list for bands 1, 2, 3, ..."""
    return {str(number): name for number, name in enumerate(names, 1) if name}


_OLI: Final = _numbered(
    ["coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "pan", "cirrus", "lwir11", "lwir12"]
)
_TM: Final = _numbered(["blue", "green", "red", "nir08", "swir16", "lwir", "swir22", "pan"])
_MSS_EARLY: Final = {"4": "green", "5": "red", "6": "nir08", "7": "nir09"}
_MSS_LATE: Final = {"1": "green", "2": "red", "3": "nir08", "4": "nir09"}
_SENTINEL2: Final = {name[1:].lstrip("0").lower(): common for name, common in SENTINEL2_COMMON_NAMES.items()}
_HLS_L30: Final = {**_numbered(["coastal", "blue", "green", "red", "nir08", "swir16", "swir22", None, "cirrus"]),
                   "10": "lwir11", "11": "lwir12"}  # fmt: skip
_MODIS: Final = {"1": "red", "2": "nir08", "3": "blue", "4": "green", "6": "swir16", "7": "swir22"}
_CBERS_AWFI: Final = {"13": "blue", "14": "green", "15": "red", "16": "nir"}
_CBERS_MUX: Final = {"5": "blue", "6": "green", "7": "red", "8": "nir"}
_PLANET_4: Final = ("blue", "green", "red", "nir")
_PLANET_8: Final = ("coastal", "blue", "green05", "green", "yellow", "red", "rededge071", "nir")

_LANDSAT: Final = (
    ("Landsat 8-9 OLI/TIRS", r"L[COT]0?[89](?=_|\d)|L[89](?=[_-])", _OLI),
    ("Landsat 4-7 TM/ETM+", r"L[TE]0?[4-7](?=_|\d)|L[57](?=[_-])", _TM),
    ("Landsat 1-3 MSS", r"LM0?[1-3](?=_|\d)", _MSS_EARLY),
    ("Landsat 4-5 MSS", r"LM0?[45](?=_|\d)", _MSS_LATE),
)

SENSORS: Final = (
    *(Sensor(name=name, files=re.compile(rf"(?i){start}"), bands=bands, fill=0) for name, start, bands in _LANDSAT),
    Sensor(name="HLS L30", files=re.compile(r"HLS\.L30\."), bands=_HLS_L30, fill=-9999),
    Sensor(name="HLS S30", files=re.compile(r"HLS\.S30\."), bands=_SENTINEL2, fill=-9999),
    Sensor(
        name="Sentinel-2 MSI",
        files=re.compile(r"T\d\d[A-Z]{3}_\d{8}T\d{6}_|L[12][AC]_T\d\d[A-Z]{3}_|S2[A-D]_(MSI|OPER|USER|\d\d[A-Z]{3})"),
        bands=_SENTINEL2,
        fill=0,
    ),
    Sensor(name="Sentinel-2 MSI (MAJA)", files=re.compile(r"SENTINEL2[A-D]_"), bands=_SENTINEL2, fill=-10000),
    Sensor(name="MODIS", files=re.compile(r"M(OD|YD|CD)(09|43)"), bands=_MODIS),
    Sensor(name="CBERS-4 AWFI", files=re.compile(r"CBERS_4A?_(AWFI|WFI)"), bands=_CBERS_AWFI),
    Sensor(name="CBERS-4 MUX", files=re.compile(r"CBERS_4A?_MUX"), bands=_CBERS_MUX),
    Sensor(
        name="PlanetScope, 8 bands", files=re.compile(r"(?i)\d{8}_.*AnalyticMS.*_8b"), bands={}, multi_band=_PLANET_8
    ),
    Sensor(name="PlanetScope", files=re.compile(r"(?i)\d{8}_.*AnalyticMS"), bands={}, multi_band=_PLANET_4),
)
"""Sensors that are recognised by file names, more specific patterns first."""


def sensor_of(paths: Sequence[str]) -> Sensor | None:
    """Find the sensor of files by their names; None if a file is of no known sensor, or the sensors differ."""
    found = {sensor.name if sensor else "": sensor for sensor in map(_sensor, paths)}
    return next(iter(found.values())) if len(found) == 1 else None


@lru_cache(maxsize=1024)
def _sensor(path: str) -> Sensor | None:
    """Sensor whose pattern matches the start of a file's name, or the rest of the name from one of its words on.

    Inside a name only long matches count, because short ones are chance: `plot_L8_B4.tif` may be of any sensor.
    """
    name = PurePath(path).name
    starts = [0, *(match.end() for match in _SEPARATOR.finditer(name))]
    found = ((start, sensor, sensor.files.match(name, start)) for start in starts for sensor in SENSORS)
    return next(
        (sensor for start, sensor, match in found if match and (not start or len(match[0]) >= _MIN_MATCH)), None
    )


def is_thermal(common: str | None, name: str = "") -> bool:
    """Whether a band is thermal, judged by its common name or its name."""
    return bool(common and common.startswith("lwir")) or bool(_THERMAL.search(name))
