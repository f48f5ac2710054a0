"""Coordinate reference systems of variables of Zarr and NetCDF stores, wherever tools write them."""

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
"""Attributes that hold a record of a CRS: an early GeoZarr's, and GDAL's of Zarr."""

_KEYS_OF_RECORDS: Final = ("wkt2", "wkt", "code", "epsg", "projjson", "url")

_ROOT_RECORDS: Final = ("stac_discovery", "other_metadata")
"""Where EOPF products keep what holds for all groups."""


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
        named = mapping_named(array.attrs.get("grid_mapping") or array.encoding.get("grid_mapping"), dims)
        alone = [
            str(name)
            for name, variable in dataset.variables.items()
            if {"grid_mapping_name", "crs_wkt"} & set(variable.attrs)
        ]
        for name in (named, *USUAL_MAPPINGS, *(alone if len(alone) == 1 else ())):
            if name and name in dataset.variables:
                return cls(name, dict(dataset.variables[name].attrs))
        return cls("", {})


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
            crs = read_crs(stated)
        except CRSError as error:
            logger.debug("%s: %s", where, error)
            odd = odd or stated
            continue
        if odd is not None:
            logger.warning(
                "%s: %s is no coordinate reference system: another that is stated is taken", where, _short(odd, mapping)
            )
        with rasterio.Env():
            return str(crs.to_wkt())
    if _is_parameters(odd):  # of a projection that CF doesn't have
        logger.warning("%s: %s can't be read as a coordinate reference system", where, _short(odd, mapping))
    elif odd is not None:
        msg = f"{where}: {_short(odd, mapping)} is no coordinate reference system"
        raise SceneError(msg)
    return None


def _short(stated: Any, mapping: GridMapping) -> str:
    if _is_parameters(stated):
        return f"the grid mapping {mapping.name} ({str(stated['grid_mapping_name'])[:60]!r})"
    return repr(str(stated)[:60])


def _is_parameters(stated: Any) -> bool:
    """Whether a CRS is stated by CF parameters."""
    return isinstance(stated, Mapping) and "grid_mapping_name" in stated


def _statements(
    array: xr.DataArray, dataset: xr.Dataset, mapping: GridMapping, around: Sequence[Mapping[str, Any]]
) -> Iterator[Any]:
    """Everything that states a CRS, the nearest first."""
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
    for other in dataset.data_vars.values():  # of the same pixels
        if set(array.dims) == set(other.dims):
            yield from _stated_in(other.attrs, names)
    for attrs in around[1:]:
        yield from _stated_in(attrs, names)
    yield from _of_product(around[-1] if around else {})


def _stated_in(attrs: Mapping[str, Any], names: set[str]) -> Iterator[Any]:
    """What attributes state of a CRS; not the name of a variable that does."""
    for key in KEYS:
        value = attrs.get(key)
        if is_stated(value) and not (isinstance(value, str) and value in names):
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
