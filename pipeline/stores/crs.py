"""Coordinate reference systems of variables of Zarr and NetCDF stores: attributes, grid mappings, groups, products."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import rasterio
import xarray as xr
from rasterio.errors import CRSError

from pipeline.core.errors import SceneError
from pipeline.geo.crs import COORDINATES, KEYS, USUAL_MAPPINGS, is_stated, mapping_named, read_crs

logger = logging.getLogger(__name__)

_RECORDS: Final = ("proj", "_CRS")
"""Attributes whose value is a mapping that describes a CRS: early GeoZarr's, and the one GDAL writes into Zarr."""

_RECORD_KEYS: Final = ("wkt2", "wkt", "code", "epsg", "projjson", "url")

_ROOT_RECORDS: Final = ("stac_discovery", "other_metadata")
"""Root attributes of EOPF products with metadata of the whole product."""


@dataclass(frozen=True)
class GridMapping:
    """A CF grid mapping: the variable whose attributes describe the CRS of the coordinates."""

    name: str
    attrs: Mapping[str, Any]

    @classmethod
    def of(cls, array: xr.DataArray, dataset: xr.Dataset, dims: Sequence[str]) -> "GridMapping":
        """Find a variable's grid mapping: the one it names, else one with a usual name, else the only one in the group.

        `dims` are the names of its dimensions of rows and columns and of their coordinates; they select a mapping from
        CF's extended syntax (`utm: x y wgs: lat lon`).
        """
        named = mapping_named(array.attrs.get("grid_mapping") or array.encoding.get("grid_mapping"), dims)
        candidates = [
            str(name)
            for name, variable in dataset.variables.items()
            if {"grid_mapping_name", "crs_wkt"} & set(variable.attrs)
        ]
        for name in (named, *USUAL_MAPPINGS, *(candidates if len(candidates) == 1 else ())):
            if name and name in dataset.variables:
                return cls(name, dict(dataset.variables[name].attrs))
        return cls("", {})


def find_crs(
    array: xr.DataArray, dataset: xr.Dataset, mapping: GridMapping, around: Sequence[Mapping[str, Any]], where: str
) -> str | None:
    """Find a variable's CRS as WKT; of several statements, the one nearest to the variable is used.

    `around` are the attributes of its group and of the parent groups, up to the root; `where` names store and variable
    in messages. Raises SceneError when a CRS is stated but can't be read, except for CF parameters of an unknown
    projection.
    """
    invalid: Any = None
    for stated in _statements(array, dataset, mapping, around):
        try:
            crs = read_crs(stated)
        except CRSError as error:
            logger.debug("%s: %s", where, error)
            invalid = invalid or stated
            continue
        if invalid is not None:
            logger.warning(
                "%s: %s is not a valid coordinate reference system; another one that is stated is used",
                where,
                _short(invalid, mapping),
            )
        with rasterio.Env():
            return str(crs.to_wkt())
    if _is_parameters(invalid):  # a projection that CF does not define: the scene can still be clustered
        logger.warning("%s: %s can't be read as a coordinate reference system", where, _short(invalid, mapping))
    elif invalid is not None:
        msg = f"{where}: {_short(invalid, mapping)} is not a valid coordinate reference system; fix the attribute"
        raise SceneError(msg)
    return None


def _short(stated: Any, mapping: GridMapping) -> str:
    """Text of a statement for messages, shortened."""
    if _is_parameters(stated):
        return f"the grid mapping {mapping.name} ({str(stated['grid_mapping_name'])[:60]!r})"
    return repr(str(stated)[:60])


def _is_parameters(stated: Any) -> bool:
    """Whether a CRS is stated by the parameters of a CF grid mapping."""
    return isinstance(stated, Mapping) and "grid_mapping_name" in stated


def _statements(
    array: xr.DataArray, dataset: xr.Dataset, mapping: GridMapping, around: Sequence[Mapping[str, Any]]
) -> Iterator[Any]:
    """All statements of a CRS, those nearest to the variable first."""
    names = set(map(str, dataset.variables))
    yield from _stated_in(array.attrs, names)
    yield from _stated_in(mapping.attrs, names)
    if "grid_mapping_name" in mapping.attrs:
        yield mapping.attrs
    for attrs in around[:1]:
        yield from _stated_in(attrs, names)
    for key in COORDINATES:
        if key in dataset.variables and dataset.variables[key].ndim == 0 and key != mapping.name:
            value = dataset.variables[key].values.item()
            if is_stated(value):
                yield value
    for other in dataset.data_vars.values():  # other bands on the same grid
        if set(array.dims) == set(other.dims):
            yield from _stated_in(other.attrs, names)
    for attrs in around[1:]:
        yield from _stated_in(attrs, names)
    yield from _stated_by_product(around[-1] if around else {})


def _stated_in(attrs: Mapping[str, Any], names: set[str]) -> Iterator[Any]:
    """CRS statements among attributes; values that only name a variable are skipped."""
    for key in KEYS:
        value = attrs.get(key)
        if is_stated(value) and not (isinstance(value, str) and value in names):
            yield value
    for key in _RECORDS:
        record = attrs.get(key)
        if isinstance(record, Mapping):
            yield from (record[name] for name in _RECORD_KEYS if record.get(name))


def _stated_by_product(root: Mapping[str, Any]) -> Iterator[Any]:
    """CRS statements in the root attributes of an EOPF product."""
    discovery, other = (record if isinstance(record := root.get(key), Mapping) else {} for key in _ROOT_RECORDS)
    properties = discovery.get("properties", {})
    stated = [properties.get(key) for key in ("proj:wkt2", "proj:code", "proj:epsg")]
    yield from (value for value in (*stated, other.get("horizontal_CRS_code")) if value)
