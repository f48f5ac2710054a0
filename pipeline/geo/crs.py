"""Coordinate reference systems as files and arrays state them: the keys, the forms, and the units of coordinates."""

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

KEYS: Final = (
    "crs_wkt", "spatial_ref", "proj:wkt2", "proj:code", "proj:epsg", "proj:projjson", "epsg_code", "EPSG_code", "epsg",
    "EPSG", "crs", "proj4", "proj4text", "proj4_params", "proj4_string", "proj4_def", "esri_pe_string",
)  # fmt: skip
"""Attributes that state a CRS: CF's and GDAL's, GeoZarr's and STAC's, xarray's, rioxarray's, odc-geo's and others'."""

COORDINATES: Final = ("proj:wkt2", "proj:code", "proj:epsg", "epsg", "crs", "spatial_ref")
"""Scalar coordinates whose value is a CRS: stackstac's, and others that hold a STAC item's properties."""

USUAL_MAPPINGS: Final = ("spatial_ref", "crs")
"""Usual names of grid mappings."""

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
"""Radians in each unit of the angles at which a satellite sees."""


@cache
def check_proj() -> None:
    """Raise SceneError where PROJ's database can't be used, as the environment names another installation's."""
    try:
        with rasterio.Env():
            CRS.from_epsg(_ANY_CODE)
    except CRSError as error:
        named = next((f"{name} is {os.environ[name]}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ), "")
        fix = f"{named}: unset it, as Terrazzo brings its own" if named else "install rasterio anew"
        msg = f"PROJ, which knows coordinate systems, can't use its database ({error}); {fix}"
        raise SceneError(msg) from error


def mapping_named(stated: Any, dims: Sequence[str]) -> str:
    """Name of the grid mapping of some dimensions or coordinates; '' where none is named.

    Parameters
    ----------
    stated : str or None
        Attribute `grid_mapping`: a name, or CF's extended syntax (`utm: x y wgs: lat lon`).
    dims : sequence of str
        Dimensions of rows and columns, and their coordinates.
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
    """Whether a value says anything: 0, NaN, '' and None do not."""
    if value is None or (isinstance(value, str | bytes) and not value.strip()):
        return False
    if isinstance(value, numbers.Rational):  # which may be too large for a float
        return value != 0
    return not isinstance(value, numbers.Real) or (bool(value) and math.isfinite(value))


def read_crs(stated: Any) -> CRS:
    """Read a CRS: WKT, a code, a PROJ string, PROJJSON, CF parameters, or an object of pyproj, odc-geo or rasterio.

    Raises
    ------
    CRSError
        When it is none.
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
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:  # the first is JSON's, too
        raise CRSError(str(error)) from error


def _of_text(text: str) -> CRS:
    if text.startswith("{"):
        return _by_pyproj(json.loads(text))
    old = _OLD_INIT.fullmatch(text)
    text = old.group(1) if old else text
    return CRS.from_epsg(int(text)) if text.isdigit() else CRS.from_user_input(text)


def _by_pyproj(stated: dict[str, Any]) -> CRS:
    try:
        return CRS.from_wkt(libraries.pyproj.CRS.from_user_input(stated).to_wkt())
    except libraries.pyproj.exceptions.CRSError as error:
        raise CRSError(str(error)) from error


def _of_parameters(attrs: Mapping[str, Any]) -> CRS:
    """A CRS by its CF parameters alone."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in attrs.items()}
    if plain.get("longitude_of_prime_meridian") == 0:
        del plain["longitude_of_prime_meridian"]  # Greenwich, which has a name then
    if plain["grid_mapping_name"] == "latitude_longitude" and _is_wgs84(plain):
        return CRS.from_epsg(4326)
    try:
        return CRS.from_wkt(libraries.pyproj.CRS.from_cf(plain).to_wkt())
    except libraries.pyproj.exceptions.CRSError as error:
        raise CRSError(str(error)) from error


def _is_wgs84(attrs: Mapping[str, Any]) -> bool:
    """Whether the ellipsoid that CF parameters state is that of WGS 84, or none is stated."""
    other = {"earth_radius", "semi_minor_axis", "longitude_of_prime_meridian", "horizontal_datum_name"} & set(attrs)
    return not other and all(np.isclose(attrs.get(key, value), value, rtol=1e-9) for key, value in _WGS84.items())


def unit_factor(units: str, wkt: str | None, mapping: Mapping[str, Any]) -> float:
    """What coordinates are multiplied by to be in the units of their CRS.

    Parameters
    ----------
    units : str
        Attribute of the coordinates.
    wkt : str or None
        Their CRS.
    mapping : mapping
        Attributes of the grid mapping.
    """
    unit = units.strip().lower()
    if wkt is None or (unit not in _METRES and unit not in _RADIANS):
        return 1.0
    with rasterio.Env():
        crs = CRS.from_wkt(wkt)
        if crs.is_geographic:
            return float(np.rad2deg(_RADIANS[unit])) if "rad" in unit else 1.0
        if unit in _RADIANS:
            return _RADIANS[unit] * _height_of_view(wkt, mapping)
        if _METRES[unit] == 1:
            return 1.0
        return float(_METRES[unit] / crs.linear_units_factor[1])


def _height_of_view(wkt: str, mapping: Mapping[str, Any]) -> float:
    """Height of a satellite above the ground, in metres, by which angles become PROJ's coordinates; else 1."""
    stated = mapping.get("perspective_point_height")
    if stated is None and "eostationary" in wkt:
        stated = libraries.pyproj.CRS.from_wkt(wkt).to_cf().get("perspective_point_height")
    return 1.0 if stated is None else float(np.asarray(stated).reshape(-1)[0])
