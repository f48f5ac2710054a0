"""Coordinate reference systems as files and arrays state them: attribute names, notations, units of coordinates."""

import json
import math
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline.core import libraries
from pipeline.core.errors import SceneError

_ANY_CODE: Final = 4326
"""EPSG code looked up to test PROJ's database."""

KEYS: Final = (
    "crs_wkt", "spatial_ref", "proj:wkt2", "proj:code", "proj:epsg", "proj:projjson", "epsg_code", "EPSG_code", "epsg",
    "EPSG", "crs", "proj4", "proj4text", "proj4_params", "proj4_string", "proj4_def", "esri_pe_string",
)  # fmt: skip
"""Attributes that state a CRS: those of CF, GDAL, GeoZarr, STAC, xarray, rioxarray, odc-geo and others."""

COORDINATES: Final = ("proj:wkt2", "proj:code", "proj:epsg", "epsg", "crs", "spatial_ref")
"""Scalar coordinates whose value is a CRS, as stackstac and others copy them from a STAC item's properties."""

USUAL_MAPPINGS: Final = ("spatial_ref", "crs")
"""Usual names of grid mapping variables."""

_OLD_INIT: Final = re.compile(r"\s*\+init=(\S+).*", re.IGNORECASE | re.DOTALL)
_WGS84: Final = {"semi_major_axis": 6_378_137.0, "inverse_flattening": 298.257_223_563}

_METRES: Final = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0,
    "km": 1000.0, "kilometre": 1000.0, "kilometres": 1000.0, "kilometer": 1000.0, "kilometers": 1000.0,
}  # fmt: skip
_RADIANS: Final = {
    "rad": 1.0, "radian": 1.0, "radians": 1.0, "mrad": 1e-3, "milliradian": 1e-3, "milliradians": 1e-3,
    "microradian": 1e-6, "microradians": 1e-6, "urad": 1e-6,
    "degree": np.pi / 180, "degrees": np.pi / 180, "arc_degree": np.pi / 180,
}  # fmt: skip
"""Radians per unit of a geostationary satellite's scanning angles."""


@cache
def check_proj() -> None:
    """Raise SceneError if PROJ's database is unusable, mostly because a variable points to another installation."""
    try:
        with rasterio.Env():
            CRS.from_epsg(_ANY_CODE)
    except CRSError as error:
        named = next((f"{name} is {os.environ[name]}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ), "")
        fix = f"{named}: unset it, Terrazzo has its own" if named else "reinstall rasterio"
        msg = f"PROJ can't use its database of coordinate systems ({error}); {fix}"
        raise SceneError(msg) from error


def mapping_named(stated: Any, dims: Sequence[str]) -> str:
    """Return the name of the grid mapping variable of given dimensions or coordinates; '' if none is named.

    Parameters
    ----------
    stated : str or None
        The attribute `grid_mapping`: a name, or CF's extended syntax (`utm: x y wgs: lat lon`).
    dims : sequence of str
        Names of the dimensions of rows and columns, and of their coordinates.
    """
    text = str(stated or "")
    if ":" not in text:
        return text.strip()
    names: dict[str, list[str]] = {}
    for word in text.replace(":", ": ").split():
        if word.endswith(":"):
            names[word[:-1]] = []
        elif names:
            names[next(reversed(names))].append(word)
    return next((name for name, of in names.items() if set(dims) & set(of)), next(iter(names), ""))


def is_stated(value: Any) -> bool:
    """Whether an attribute holds a value; 0, NaN, '' and None count as missing."""
    if value is None or (isinstance(value, str | bytes) and not value.strip()):
        return False
    if isinstance(value, numbers.Rational):  # which may be too large for a float
        return value != 0
    return not isinstance(value, numbers.Real) or (bool(value) and math.isfinite(value))


def read_crs(stated: Any) -> CRS:
    """Parse a CRS: WKT, a code, a PROJ string, PROJJSON, CF parameters, or an object of pyproj, odc-geo or rasterio.

    Raises CRSError if it is not a valid CRS.
    """
    if isinstance(stated, np.ndarray | np.generic):
        (stated,) = np.ravel(stated).tolist() if np.size(stated) == 1 else (str(stated),)
    if isinstance(stated, bytes):
        stated = stated.decode(errors="replace")
    try:
        with rasterio.Env():
            if isinstance(stated, Mapping):
                return _of_parameters(stated) if "grid_mapping_name" in stated else _by_pyproj(dict(stated))
            if hasattr(stated, "to_wkt"):
                return CRS.from_wkt(stated.to_wkt())
            if isinstance(stated, numbers.Real):
                return CRS.from_epsg(int(float(stated)))
            return _of_text(str(stated).strip())
    except (ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:  # also those of JSON and pyproj
        raise CRSError(str(error)) from error


def _of_text(text: str) -> CRS:
    if text.startswith("{"):
        return _by_pyproj(json.loads(text))
    old = _OLD_INIT.fullmatch(text)
    text = old.group(1) if old else text
    return CRS.from_epsg(int(text)) if text.isdigit() else CRS.from_user_input(text)


def _by_pyproj(stated: dict[str, Any]) -> CRS:
    return CRS.from_wkt(libraries.pyproj.CRS.from_user_input(stated).to_wkt())


def _of_parameters(attrs: Mapping[str, Any]) -> CRS:
    """Build a CRS from CF grid mapping parameters."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in attrs.items()}
    if plain.get("longitude_of_prime_meridian") == 0:
        del plain["longitude_of_prime_meridian"]  # 0 is Greenwich, which pyproj then names
    if plain["grid_mapping_name"] == "latitude_longitude" and _is_wgs84(plain):
        return CRS.from_epsg(4326)
    return CRS.from_wkt(libraries.pyproj.CRS.from_cf(plain).to_wkt())


def _is_wgs84(attrs: Mapping[str, Any]) -> bool:
    """Whether CF parameters state the ellipsoid of WGS 84, or none."""
    other = {"earth_radius", "semi_minor_axis", "longitude_of_prime_meridian", "horizontal_datum_name"} & set(attrs)
    return not other and all(np.isclose(attrs.get(key, value), value, rtol=1e-9) for key, value in _WGS84.items())


def unit_factor(units: str, wkt: str | None, mapping: Mapping[str, Any]) -> float:
    """Return the factor from coordinates with an attribute `units` to the units of their CRS.

    `mapping` are the attributes of the grid mapping variable.
    """
    unit = units.strip().lower()
    if wkt is None or (unit not in _METRES and unit not in _RADIANS):
        return 1.0
    with rasterio.Env():
        crs = CRS.from_wkt(wkt)
        if crs.is_geographic:
            return float(np.rad2deg(_RADIANS[unit])) if "rad" in unit else 1.0
        if unit in _RADIANS:
            return _RADIANS[unit] * _satellite_height(wkt, mapping)
        if _METRES[unit] == 1:
            return 1.0
        return float(_METRES[unit] / crs.linear_units_factor[1])


def _satellite_height(wkt: str, mapping: Mapping[str, Any]) -> float:
    """Height of a geostationary satellite in metres, the factor from scanning angles to PROJ coordinates; else 1."""
    stated = mapping.get("perspective_point_height")
    if stated is None and "eostationary" in wkt:
        stated = libraries.pyproj.CRS.from_wkt(wkt).to_cf().get("perspective_point_height")
    return 1.0 if stated is None else float(np.asarray(stated).reshape(-1)[0])
