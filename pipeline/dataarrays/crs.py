"""Coordinate reference system of a DataArray: from its grid mapping, attributes or coordinates, whoever wrote them."""

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
from pipeline.stores.dimensions import has_latitudes

logger = logging.getLogger(__name__)

_MARKS_OF_A_MAPPING: Final = frozenset({"crs_wkt", "spatial_ref", "grid_mapping_name", "GeoTransform"})


def grid_mappings(array: xr.DataArray) -> list[Hashable]:
    """Coordinates that describe the grid (CF conventions): the one that is named, else those that look like one."""
    named = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping"))
    name = mapping_named(named, tuple(map(str, array.dims)))
    found: list[Hashable] = [name] if name in array.coords and name not in array.dims else []
    scalar = [name for name, coordinate in array.coords.items() if coordinate.ndim == 0 and name not in found]
    usual = [name for name in USUAL_MAPPINGS if name in scalar]
    others = [name for name in scalar if name not in usual and _MARKS_OF_A_MAPPING & set(array.coords[name].attrs)]
    return [*found, *usual, *others]


def crs_of(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any]) -> str | None:
    """Coordinate reference system of an array as WKT; None where nothing states one.

    The grid mapping counts before attributes, and these before other coordinates; a contradiction is said, as is what
    can't be understood. Latitudes without any are those of WGS 84.

    Parameters
    ----------
    array : DataArray
        Its coordinates and its encoding tell.
    axes : Axes
        Its rows and columns.
    attrs : mapping
        Its attributes, and those of its Dataset.
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
                "the array's CRS is %s by %s, but %s by %s: the first counts",
                *(_name(first[1]), first[0], _name(crs), where),
            )
            break
    if first:
        with rasterio.Env():
            return str(first[1].to_wkt())
    return _by_latitudes(array, axes.rows)


def _by_latitudes(array: xr.DataArray, rows: Hashable) -> str | None:
    if has_latitudes(array.coords, rows):
        logger.info("the array states no CRS: its %s is taken for that of WGS 84", rows)
        return str(CRS.from_epsg(4326).to_wkt())
    return None


def _statements(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any]) -> Iterator[tuple[str, Any]]:
    """All that an array says of its CRS, the most trusted first, and where it does."""
    yield from _of_mappings(array)
    for key in KEYS:
        if is_stated(attrs.get(key)) and not (isinstance(attrs[key], str) and attrs[key] in array.coords):
            yield f"attribute {key}", attrs[key]
    for dim in axes:
        if dim in array.coords and is_stated(array.coords[dim].attrs.get("crs")):
            yield f"attribute crs of {dim}", array.coords[dim].attrs["crs"]
    for name in COORDINATES:
        value = _lone_value(array, name)
        if value is not None:
            yield f"coordinate {name}", value
    if "+init=" in str(array.attrs.get("crs", "")):
        return  # rioxarray would read the same, and PROJ complain of the old form on stderr
    try:
        told = array.rio.crs  # what rio.set_crs() was told
    except (CRSError, KeyError, ValueError, RuntimeError):  # something above, which is no CRS
        return
    if told:
        yield "rio.crs", told


def _of_mappings(array: xr.DataArray) -> Iterator[tuple[str, Any]]:
    """What grid mappings say: a CRS, or CF's parameters of one."""
    for name in grid_mappings(array):
        record = array.coords[name].attrs
        stated = next((record[key] for key in KEYS if is_stated(record.get(key))), None)
        if stated is not None:
            yield f"coordinate {name}", stated
        elif "grid_mapping_name" in record:
            yield f"coordinate {name}", dict(record)


def _lone_value(array: xr.DataArray, name: str) -> Any:
    """The one value that a coordinate has, as often as it may; None where it says nothing."""
    if name not in array.coords or array.coords[name].attrs.get("grid_mapping_name"):
        return None
    values = [value for value in np.ravel(array.coords[name].values).tolist() if is_stated(value)]
    return values[0] if values and all(value == values[0] for value in values) else None


def _read(stated: Any, where: str) -> CRS | None:
    """Read a CRS in whatever form it is stated; None, with a warning, where it is none."""
    try:
        return read_crs(stated)
    except CRSError as error:
        logger.debug("%s: %s", where, error)
        logger.warning("the array's %s, %.60r, is no coordinate reference system", where, stated)
        return None


def _same(one: CRS, other: CRS) -> bool:
    """Whether two CRSs are one, however they are spelled and called."""
    with rasterio.Env():
        if one == other or (one.to_epsg() is not None and one.to_epsg() == other.to_epsg()):
            return True
        ours, theirs = (
            {key: value for key, value in crs.to_dict().items() if key not in {"datum", "ellps", "no_defs", "towgs84"}}
            for crs in (one, other)
        )
        return bool(ours) and ours == theirs


def _name(crs: CRS) -> str:
    with rasterio.Env():
        authority = crs.to_authority()
        return ":".join(authority) if authority else str(crs.to_wkt()).split('"')[1]


def unit_of(array: xr.DataArray, dim: Hashable, crs: str | None) -> float:
    """What coordinates along a dimension are multiplied by to be in the units of the CRS."""
    mapping = next(iter(grid_mappings(array)), None)
    attrs = {} if mapping is None else array.coords[mapping].attrs
    return unit_factor(str(array.coords[dim].attrs.get("units", "")), crs, attrs)
