"""Coordinate reference systems of variables of Zarr and NetCDF stores, wherever tools write them."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import rasterio
import xarray as xr
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline.errors import SceneError

logger = logging.getLogger(__name__)

_KEYS: Final = (
    "crs_wkt", "spatial_ref", "proj:wkt2", "proj:code", "proj:epsg", "proj:projjson", "epsg_code", "EPSG_code", "epsg",
    "crs", "proj4", "proj4text", "proj4_params", "proj4_string", "proj4_def", "esri_pe_string",
)  # fmt: skip
"""Attributes that state a CRS: CF's and GDAL's, GeoZarr's and STAC's, xarray's, rioxarray's, odc-geo's and others'."""

_RECORDS: Final = ("proj", "_CRS")
"""Attributes that hold a record of a CRS: an early GeoZarr's, and GDAL's of Zarr."""

_KEYS_OF_RECORDS: Final = ("wkt2", "wkt", "code", "epsg", "projjson", "url")

_COORDINATES: Final = ("proj:wkt2", "proj:code", "proj:epsg", "epsg", "crs")
"""Scalar coordinates that state a CRS: stackstac's, and others that keep a STAC item's properties."""

_ROOT_RECORDS: Final = ("stac_discovery", "other_metadata")
"""Where EOPF products keep what holds for all groups."""

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
"""Of angles: those at which a satellite sees."""


@dataclass(frozen=True)
class GridMapping:
    """The variable that says what coordinates mean, as the CF conventions have it."""

    name: str
    attrs: Mapping[str, Any]

    @classmethod
    def of(cls, array: xr.DataArray, dataset: xr.Dataset, dims: Sequence[str]) -> "GridMapping":
        """Find a variable's grid mapping: the one it names, else one of a usual name, else the only one there is.

        Parameters
        ----------
        array : DataArray
            The variable.
        dataset : Dataset
            Its group.
        dims : sequence of str
            Its dimensions of rows and columns, for which the extended syntax (`utm: x y wgs: lat lon`) names one.
        """
        named = _named(str(array.attrs.get("grid_mapping") or array.encoding.get("grid_mapping") or ""), dims)
        alone = [
            str(name)
            for name, variable in dataset.variables.items()
            if {"grid_mapping_name", "crs_wkt"} & set(variable.attrs)
        ]
        for name in (named, "spatial_ref", "crs", *(alone if len(alone) == 1 else ())):
            if name and name in dataset.variables:
                return cls(name, dict(dataset.variables[name].attrs))
        return cls("", {})


def _named(stated: str, dims: Sequence[str]) -> str:
    """Name of the grid mapping of some dimensions."""
    if ":" not in stated:
        return stated.strip()
    names: dict[str, list[str]] = {}
    for word in stated.replace(":", ": ").split():
        if word.endswith(":"):
            names[word[:-1]] = []
        elif names:
            names[next(reversed(names))].append(word)
    return next((name for name, of in names.items() if set(dims) & set(of)), next(iter(names), ""))


def find_crs(
    array: xr.DataArray, dataset: xr.Dataset, mapping: GridMapping, around: Sequence[Mapping[str, Any]], where: str
) -> str | None:
    """Find a variable's coordinate reference system, in whichever place it is stated: the nearest counts.

    Parameters
    ----------
    array : DataArray
        The variable.
    dataset : Dataset
        Its group.
    mapping : GridMapping
        Its grid mapping.
    around : sequence of mappings
        Attributes of its group and of those around it, up to the root.
    where : str
        For messages.

    Returns
    -------
    str or None
        WKT.

    Raises
    ------
    SceneError
        When what is stated is no CRS, and nothing else is stated.
    """
    odd: Any = None
    for stated in _statements(array, dataset, mapping, around):
        try:
            wkt = to_wkt(stated)
        except (CRSError, ValueError, TypeError) as error:
            logger.debug("%s: %s", where, error)
            odd = odd or stated
            continue
        if odd is not None:
            logger.warning(
                "%s: %s is no coordinate reference system: another that is stated is taken", where, _short(odd)
            )
        return wkt
    if isinstance(odd, _Parameters):  # of a projection that CF doesn't have
        logger.warning("%s: %s can't be read as a coordinate reference system", where, _short(odd))
    elif odd is not None:
        msg = f"{where}: {_short(odd)} is no coordinate reference system"
        raise SceneError(msg)
    return None


def _short(stated: Any) -> str:
    if isinstance(stated, _Parameters):
        return f"the grid mapping {stated.name} ({str(stated.attrs.get('grid_mapping_name'))[:60]!r})"
    return repr(str(stated)[:60])


@dataclass(frozen=True)
class _Parameters:
    """A CRS by its CF parameters."""

    name: str
    attrs: Mapping[str, Any]


def _statements(
    array: xr.DataArray, dataset: xr.Dataset, mapping: GridMapping, around: Sequence[Mapping[str, Any]]
) -> Iterator[Any]:
    """Everything that states a CRS, the nearest first."""
    names = set(map(str, dataset.variables))
    yield from _stated_in(array.attrs, names)
    yield from _stated_in(mapping.attrs, names)
    if "grid_mapping_name" in mapping.attrs:
        yield _Parameters(mapping.name, mapping.attrs)
    for attrs in around[:1]:
        yield from _stated_in(attrs, names)
    for key in _COORDINATES:
        if key in dataset.variables and dataset.variables[key].ndim == 0 and key != mapping.name:
            value = dataset.variables[key].values.item()
            if isinstance(value, str | bytes) or value:
                yield value.decode() if isinstance(value, bytes) else value
    for attrs in around[1:]:
        yield from _stated_in(attrs, names)
    yield from _of_product(around[-1] if around else {})


def _stated_in(attrs: Mapping[str, Any], names: set[str]) -> Iterator[Any]:
    """What attributes state of a CRS; not the name of a variable that does."""
    for key in _KEYS:
        value = attrs.get(key)
        if value is not None and str(value).strip() and not (isinstance(value, str) and value in names):
            yield value
    for key in _RECORDS:
        record = attrs.get(key)
        if isinstance(record, Mapping):
            yield from (record[name] for name in _KEYS_OF_RECORDS if record.get(name))


def _of_product(root: Mapping[str, Any]) -> Iterator[Any]:
    """What the records of an EOPF product state."""
    discovery, other = (record if isinstance(record := root.get(key), Mapping) else {} for key in _ROOT_RECORDS)
    properties = discovery.get("properties", {})
    stated = [properties.get(key) for key in ("proj:wkt2", "proj:code", "proj:epsg")]
    yield from (value for value in (*stated, other.get("horizontal_CRS_code")) if value)


def to_wkt(stated: Any) -> str:
    """Read a CRS: WKT, a code, a PROJ string, PROJJSON, or CF parameters.

    Raises
    ------
    CRSError, ValueError
        When it is none.
    """
    if isinstance(stated, _Parameters):
        return _by_parameters(stated.attrs)
    if isinstance(stated, Mapping):
        return _by_pyproj(dict(stated))
    if isinstance(stated, np.ndarray):
        (stated,) = stated.reshape(-1).tolist()
    text = str(stated).strip()
    if text.startswith("{"):
        return _by_pyproj(json.loads(text))
    if text.lower().startswith("+init="):
        text = text[len("+init=") :].split()[0]
    with rasterio.Env():
        return str(CRS.from_user_input(int(text) if text.isdigit() else text).to_wkt())


def _by_pyproj(stated: dict[str, Any]) -> str:
    import pyproj  # noqa: PLC0415 (not for every scene)

    try:
        wkt = pyproj.CRS.from_user_input(stated).to_wkt()
    except pyproj.exceptions.CRSError as error:
        raise CRSError(error) from error
    with rasterio.Env():
        return str(CRS.from_wkt(wkt).to_wkt())


def _by_parameters(attrs: Mapping[str, Any]) -> str:
    """A CRS by its CF parameters alone."""
    import pyproj  # noqa: PLC0415 (not for every scene)

    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in attrs.items()}
    if plain.get("longitude_of_prime_meridian") == 0:
        del plain["longitude_of_prime_meridian"]  # Greenwich, which has a name then
    if plain["grid_mapping_name"] == "latitude_longitude" and _is_wgs84(plain):
        return str(CRS.from_epsg(4326).to_wkt())
    try:
        crs = pyproj.CRS.from_cf(plain)
    except (pyproj.exceptions.CRSError, KeyError, TypeError) as error:
        raise CRSError(error) from error
    with rasterio.Env():
        return str(CRS.from_wkt(crs.to_wkt()).to_wkt())


def _is_wgs84(attrs: Mapping[str, Any]) -> bool:
    """Whether the ellipsoid that CF parameters state is that of WGS 84, or none is stated."""
    other = {"earth_radius", "semi_minor_axis", "longitude_of_prime_meridian", "horizontal_datum_name"} & set(attrs)
    return not other and all(np.isclose(attrs.get(key, value), value, rtol=1e-9) for key, value in _WGS84.items())


def unit_factor(units: str, wkt: str | None, mapping: GridMapping) -> float:
    """What coordinates are multiplied by to be in the units of their CRS.

    Parameters
    ----------
    units : str
        Attribute of the coordinates.
    wkt : str or None
        Their CRS.
    mapping : GridMapping
        Of the variable.
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
    with rasterio.Env():
        return float(_METRES[unit] / crs.linear_units_factor[1])


def _height_of_view(wkt: str, mapping: GridMapping) -> float:
    """Height of a satellite above the ground, in metres, by which angles become PROJ's coordinates; else 1."""
    import pyproj  # noqa: PLC0415 (not for every scene)

    stated = mapping.attrs.get("perspective_point_height")
    if stated is None and "eostationary" in wkt:
        stated = pyproj.CRS.from_wkt(wkt).to_cf().get("perspective_point_height")
    return 1.0 if stated is None else float(np.asarray(stated).reshape(-1)[0])
