"""Coordinate reference system of a DataArray, from its grid mapping, attributes or coordinates."""

import logging
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import rasterio
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline.dataarrays.dimensions import Axes
from pipeline.geo.crs import COORDINATES, KEYS, USUAL_MAPPINGS, is_stated, mapping_named, read_crs, unit_factor
from pipeline.geo.overlap import crs_name
from pipeline.stores.dimensions import has_latitudes

logger = logging.getLogger(__name__)

_MAPPING_ATTRS: Final = frozenset({"crs_wkt", "spatial_ref", "grid_mapping_name", "GeoTransform"})
"""Attributes that identify a scalar coordinate as a grid mapping."""


def grid_mappings(array: xr.DataArray) -> list[Hashable]:
    """Names of the CF grid mappings of an array: the one it names, then coordinates with a usual name or attributes."""
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    name = mapping_named(named, tuple(map(str, array.dims)))
    found: list[Hashable] = [name] if name in array.coords and name not in array.dims else []
    scalar = [name for name, coordinate in array.coords.items() if coordinate.ndim == 0 and name not in found]
    usual = [name for name in USUAL_MAPPINGS if name in scalar]
    others = [name for name in scalar if name not in usual and _MAPPING_ATTRS & set(array.coords[name].attrs)]
    return [*found, *usual, *others]


def crs_of(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any]) -> str | None:
    """Coordinate reference system of an array as WKT; None if none is stated.

    The grid mapping takes precedence over attributes, and these over other coordinates. Contradicting and unreadable
    statements are warned of. Latitudes without a stated CRS are taken as WGS 84. `attrs` are the array's attributes
    together with those of its Dataset.
    """
    first: tuple[str, CRS] | None = None
    for where, stated in _statements(array, axes, attrs):
        crs = _read(stated, where)
        if crs is None:
            continue
        if first is None:
            first = (where, crs)
        elif not _same(first[1], crs):
            logger.warning(
                "the array's CRS is %s by %s, but %s by %s; the first is used",
                *(crs_name(first[1].to_wkt()), first[0], crs_name(crs.to_wkt()), where),
            )
            break
    if first:
        with rasterio.Env():
            return str(first[1].to_wkt())
    if has_latitudes(array.coords, axes.rows):
        logger.info("the array states no CRS; its %s is taken as WGS 84", axes.rows)
        return str(CRS.from_epsg(4326).to_wkt())
    return None


def _statements(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any]) -> Iterator[tuple[str, Any]]:
    """Yield where an array states a CRS and what it states, in order of precedence."""
    yield from _stated_by_mappings(array)
    for key in KEYS:
        if is_stated(attrs.get(key)) and not (isinstance(attrs[key], str) and attrs[key] in array.coords):
            yield f"attribute {key}", attrs[key]
    for dim in axes:
        if dim in array.coords and is_stated(array.coords[dim].attrs.get("crs")):
            yield f"attribute crs of {dim}", array.coords[dim].attrs["crs"]
    for name in COORDINATES:
        value = _common_value(array, name)
        if value is not None:
            yield f"coordinate {name}", value
    if "+init=" in str(array.attrs.get("crs", "")):
        return  # rioxarray would read the same again, and PROJ write a deprecation warning to stderr
    try:
        accessor_crs = array.rio.crs  # set by rio.set_crs()
    except (CRSError, KeyError, ValueError, RuntimeError):  # an invalid statement, which was yielded above
        return
    if accessor_crs:
        yield "rio.crs", accessor_crs


def _stated_by_mappings(array: xr.DataArray) -> Iterator[tuple[str, Any]]:
    """Yield the CRS statements of grid mappings: a CRS, else CF parameters."""
    for name in grid_mappings(array):
        record = array.coords[name].attrs
        stated = next((record[key] for key in KEYS if is_stated(record.get(key))), None)
        if stated is not None:
            yield f"coordinate {name}", stated
        elif "grid_mapping_name" in record:
            yield f"coordinate {name}", dict(record)


def _common_value(array: xr.DataArray, name: str) -> Any:
    """Value of a coordinate whose elements are all equal; None if they differ or there is none."""
    if name not in array.coords or array.coords[name].attrs.get("grid_mapping_name"):
        return None
    values = [value for value in np.ravel(array.coords[name].values).tolist() if is_stated(value)]
    return values[0] if values and all(value == values[0] for value in values) else None


def _read(stated: Any, where: str) -> CRS | None:
    """Read a CRS in any form; None, with a warning, if it is invalid."""
    try:
        return read_crs(stated)
    except CRSError as error:
        logger.debug("%s: %s", where, error)
        logger.warning(
            "the array's %s, %.60r, is not a valid coordinate reference system and is ignored", where, stated
        )
        return None


def _same(one: CRS, other: CRS) -> bool:
    """Whether two CRSs are equivalent: equal, or with the same EPSG code or PROJ parameters except the datum."""
    with rasterio.Env():
        if one == other or (one.to_epsg() is not None and one.to_epsg() == other.to_epsg()):
            return True
        first, second = (
            {key: value for key, value in crs.to_dict().items() if key not in {"datum", "ellps", "no_defs", "towgs84"}}
            for crs in (one, other)
        )
        return bool(first) and first == second


def unit_of(array: xr.DataArray, dim: Hashable, crs: str | None) -> float:
    """Factor from the units of a coordinate to those of the CRS."""
    mapping = next(iter(grid_mappings(array)), None)
    attrs = {} if mapping is None else array.coords[mapping].attrs
    return unit_factor(str(array.coords[dim].attrs.get("units", "")), crs, attrs)
