"""Opens Zarr and NetCDF stores with xarray: groups, undecoded variables, and attributes of parent groups."""

import atexit
import logging
import lzma
import struct
import warnings
import weakref
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar
from zipfile import BadZipFile

import h5py  # type: ignore[import-untyped]
import numpy as np
import xarray as xr
import zarr
from zarr.storage import ZipStore

from pipeline.core import libraries
from pipeline.core.errors import SceneError
from pipeline.raster.file_bands import ArrayRef
from pipeline.stores.locate import is_zarr_group, zarr_in_zip

logger = logging.getLogger(__name__)

STORE_ERRORS: Final = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(EOFError, BadZipFile, struct.error, zlib.error, lzma.LZMAError),
)
"""Exceptions that zarr, h5py, xarray and the codecs raise for damaged stores and for malformed metadata."""

PACKING_KEYS: Final = ("scale_factor", "add_offset")
"""CF attributes of packed data: physical = stored * scale_factor + add_offset."""

XARRAY_BYTES: Final = 175 * 10**6
"""Memory of xarray and of the library that reads the format, in bytes: measured and rounded up."""


def is_zarr(path: str) -> bool:
    """Whether the path of a store is that of a Zarr store, in a folder or a zip, not of a NetCDF file."""
    return Path(path).is_dir() or path.lower().endswith(".zip")


Opened = TypeVar("Opened", xr.Dataset, ZipStore)

_opened: list[weakref.ref[Any]] = []
"""Weak references to open datasets and zips, for `close_stores`."""


def _registered(opened: Opened) -> Opened:
    """Register a dataset or zip for closing before the interpreter ends, when h5py may be gone already."""
    _opened.append(weakref.ref(opened))
    return opened


@lru_cache(maxsize=16)
def _open_zip(path: str) -> ZipStore:
    return _registered(ZipStore(path, mode="r"))


def zarr_location(path: str, group: str = "") -> tuple[Any, str]:
    """Arguments for zarr to open a group: a folder or an opened zip, and the group's path in it."""
    if Path(path).is_dir():
        return path, group
    return _open_zip(path), "/".join(part for part in (zarr_in_zip(path), group) if part)


@atexit.register
def close_stores() -> None:
    """Close all open stores and clear the caches, so that rewritten stores are opened anew."""
    for reference in _opened:
        if (opened := reference()) is not None:
            opened.close()
    _opened.clear()
    open_group.cache_clear()
    nodata_fill_value.cache_clear()
    _open_zip.cache_clear()


@lru_cache(maxsize=64)
def open_group(path: str, group: str = "") -> xr.Dataset:
    """Open a group, undecoded; raise SceneError if xarray can't. Reads metadata and coordinates only; cached."""
    options: dict[str, Any] = {"chunks": None, "mask_and_scale": False, "decode_times": False}
    try:
        with warnings.catch_warnings(action="ignore"):  # missing consolidated metadata, future format changes
            if is_zarr(path):
                store, inside = zarr_location(path, group)
                if inside != group:  # else xarray looks for consolidated metadata in the zip's root, which is no group
                    options["consolidated"] = False
                return _registered(xr.open_dataset(store, engine="zarr", group=inside or None, **options))
            return _registered(xr.open_dataset(path, group=group or None, **options))
    except STORE_ERRORS as error:
        if not is_zarr(path):
            _ = libraries.h5netcdf  # raises if it is broken, which xarray does not say
        location = f"{path}/{group}" if group else path
        reason = (f"{error}".splitlines() or [""])[0]
        msg = f"{location}: xarray can't open this store ({type(error).__name__}: {reason})"
        raise SceneError(msg) from error


def has_node(path: str, name: str) -> bool:
    """Whether a Zarr store has an array or group at a path such as `measurements/reflectance`."""
    if not is_zarr(path):
        return False
    if Path(path).is_dir():
        return (Path(path) / name).is_dir()
    try:
        store, inside = zarr_location(path, name)
        with warnings.catch_warnings(action="ignore"):
            zarr.open(store, path=inside, mode="r")
    except STORE_ERRORS:
        return False
    return True


def groups_in(path: str) -> list[str]:
    """Names of the groups in a store's root; empty if they can't be listed."""
    try:
        if not is_zarr(path):
            with h5py.File(path) as file:
                return sorted(name for name, node in file.items() if isinstance(node, h5py.Group))
        store, inside = zarr_location(path)
        with warnings.catch_warnings(action="ignore"):
            return sorted(zarr.open_group(store, path=inside, mode="r").group_keys())
    except STORE_ERRORS as error:
        logger.debug("%s: groups can't be listed: %s", path, error)
        return []


@lru_cache(maxsize=1024)
def nodata_fill_value(path: str, group: str, name: str) -> Any:
    """Return the fill value of a Zarr array if it means nodata; else None.

    Zarr 3 requires a fill value for every array, by default 0. So 0 means nodata only if chunks are missing. Cached, so
    that chunks are counted, and a message is logged, once for all bands of an array.
    """
    store, inside = zarr_location(path, "/".join(part for part in (group, name) if part))
    array = zarr.open_array(store, path=inside, mode="r")
    fill, chunks = array.fill_value, array.nchunks
    # for sharded arrays zarr also counts chunks outside the array
    missing = chunks - array.nchunks_initialized if fill is not None and array.shards is None else 0
    if missing > 0:
        message = "%s: %s: %d of %d chunks are not stored; their fill value, %s, is treated as nodata"
        logger.warning(message, path, name, missing, chunks, fill)
    elif fill is None or fill == 0:
        return None
    else:
        logger.info("%s: %s: its fill value, %s, is treated as nodata", path, name, fill)
    return fill


def stored_variable(ref: ArrayRef) -> xr.Variable:
    """Return a variable undecoded and lazy, except that integers have the sign that `_Unsigned` states."""
    return with_sign(ref.variable, open_group(ref.path, ref.group)[ref.variable].variable)


def with_sign(name: str, variable: xr.Variable) -> xr.Variable:
    """Convert integers to the sign that the attribute `_Unsigned` states, lazily, by xarray's own decoder."""
    stated = variable.attrs.get("_Unsigned")
    if stated is None or variable.dtype.kind not in "iu":
        return variable
    bare = xr.Variable(variable.dims, variable._data, {"_Unsigned": str(stated).lower()}, variable.encoding)  # noqa: SLF001 (`.data` would read the pixels)
    decoded = xr.conventions.decode_cf_variable(name, bare, decode_times=False)
    decoded.attrs = dict(variable.attrs)
    return decoded


def decoded_coordinate(name: str, variable: xr.Variable) -> xr.Variable:
    """Decode a coordinate variable by xarray's own decoder, unpacked in double precision.

    Fill values are ignored: coordinates have no missing values (CF conventions, 2.5.1), and 0, Zarr's default fill
    value, is a usual coordinate.
    """
    stated = {key: value for key, value in variable.attrs.items() if key not in {"_FillValue", "missing_value"}}
    attrs = {key: float(value) if key in PACKING_KEYS else value for key, value in stated.items()}
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):  # the caller reports invalid numbers
        stored = xr.Variable(variable.dims, variable.values, attrs)
        return xr.conventions.decode_cf_variable(name, stored, decode_times=False).load()


def attributes_around(path: str, group: str) -> Iterator[Mapping[str, Any]]:
    """Yield the attributes of a group and of its parent groups, the nearest first, up to the root.

    The path may itself be a group of a larger Zarr store, whose groups are included.
    """
    yield open_group(path, group).attrs
    parts = group.split("/") if group else []
    for count in range(len(parts) - 1, -1, -1):
        yield _attributes(*(zarr_location(path, "/".join(parts[:count])) if is_zarr(path) else (None, "")))
    folder = Path(path).absolute().parent
    while Path(path).is_dir() and is_zarr_group(folder):
        yield _attributes(str(folder), "")
        folder = folder.parent


def _attributes(store: Any, group: str) -> Mapping[str, Any]:
    """Attributes of a Zarr group; empty if they can't be read, because they are optional."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return dict(zarr.open_group(store, path=group, mode="r").attrs) if store is not None else {}
    except STORE_ERRORS as error:
        logger.debug("%s: attributes of group %r can't be read: %s", store, group, error)
        return {}
