"""Zarr and NetCDF stores opened with xarray: groups, variables as they are stored, and attributes of groups around."""

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

BROKEN: Final = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(EOFError, BadZipFile, struct.error, zlib.error, lzma.LZMAError),
)
"""What zarr, h5py, xarray and the codecs raise when a store is damaged, or states what nobody expects."""

_UNPACKING: Final = ("scale_factor", "add_offset")


def is_zarr(path: str) -> bool:
    """Whether a store is a Zarr store, in a folder or a zip, and no NetCDF file."""
    return Path(path).is_dir() or path.lower().endswith(".zip")


Opened = TypeVar("Opened", xr.Dataset, ZipStore)

_opened: list[weakref.ref[Any]] = []
"""What has been opened here, for as long as it is there."""


def _to_be_closed(opened: Opened) -> Opened:
    """Have something closed before it is forgotten, and before the interpreter ends: h5py is gone by then."""
    _opened.append(weakref.ref(opened))
    return opened


@lru_cache(maxsize=16)
def _open_zip(path: str) -> ZipStore:
    return _to_be_closed(ZipStore(path, mode="r"))


def zarr_location(path: str, group: str = "") -> tuple[Any, str]:
    """Where zarr finds a group: a folder or an opened zip, and the group's path in it."""
    if Path(path).is_dir():
        return path, group
    return _open_zip(path), "/".join(part for part in (zarr_in_zip(path), group) if part)


@atexit.register
def forget() -> None:
    """Close what was opened: a store may be written anew. Who still reads it opens it again."""
    for reference in _opened:
        if (opened := reference()) is not None:
            opened.close()
    _opened.clear()
    open_group.cache_clear()
    marking_fill.cache_clear()
    _open_zip.cache_clear()


@lru_cache(maxsize=64)
def open_group(path: str, group: str = "") -> xr.Dataset:
    """Open a group of a store, undecoded; nothing is read but metadata and coordinates.

    Raises
    ------
    SceneError
        When xarray can't open it.
    """
    how: dict[str, Any] = {"chunks": None, "mask_and_scale": False, "decode_times": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that aren't consolidated, and formats to come
            if is_zarr(path):
                store, inside = zarr_location(path, group)
                if inside != group:  # xarray looks for consolidated metadata at the root of a zip, which is no group
                    how["consolidated"] = False
                return _to_be_closed(xr.open_dataset(store, engine="zarr", group=inside or None, **how))
            return _to_be_closed(xr.open_dataset(path, group=group or None, **how))
    except BROKEN as error:
        if not is_zarr(path):
            _ = libraries.h5netcdf  # xarray does not say that this is broken
        what = f"{path}/{group}" if group else path
        why = (f"{error}".splitlines() or [""])[0]
        msg = f"{what}: xarray can't open this ({type(error).__name__}: {why})"
        raise SceneError(msg) from error


def has_node(path: str, name: str) -> bool:
    """Whether a Zarr store has an array or a group of this name (`measurements/reflectance`)."""
    if not is_zarr(path):
        return False
    if Path(path).is_dir():
        return (Path(path) / name).is_dir()
    try:
        store, inside = zarr_location(path, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.open(store, path=inside, mode="r")
    except BROKEN:
        return False
    return True


def groups_in(path: str) -> list[str]:
    """Names of the groups that lie in a store's root."""
    try:
        if not is_zarr(path):
            with h5py.File(path) as file:
                return sorted(name for name, node in file.items() if isinstance(node, h5py.Group))
        store, inside = zarr_location(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sorted(zarr.open_group(store, path=inside, mode="r").group_keys())
    except BROKEN as error:
        logger.debug("groups of %s can't be listed: %s", path, error)
        return []


@lru_cache(maxsize=1024)
def marking_fill(path: str, group: str, name: str) -> Any:
    """Give the fill value of a Zarr array that marks pixels without data, where no attribute does; else None.

    The third version of the format makes every array have one, so that 0, which is what it is unless it is chosen,
    means no data only where chunks are missing. It is told once for all bands of the array, whose chunks are counted
    once.
    """
    store, inside = zarr_location(path, "/".join(part for part in (group, name) if part))
    array = zarr.open_array(store, path=inside, mode="r")
    fill, chunks = array.fill_value, array.nchunks
    # of shards zarr counts chunks that lie outside of the array, too
    missing = chunks - array.nchunks_initialized if fill is not None and array.shards is None else 0
    if missing > 0:
        told = "%s: %s: %d of %d chunks are not stored: their value, %s, is taken for nodata"
        logger.warning(told, path, name, missing, chunks, fill)
    elif fill is None or fill == 0:
        return None
    else:
        logger.info("%s: %s: its fill value, %s, is taken for nodata", path, name, fill)
    return fill


def stored_variable(ref: ArrayRef) -> xr.Variable:
    """Give a variable as it is stored, lazily, but for integers whose sign `_Unsigned` states."""
    return with_sign(ref.variable, open_group(ref.path, ref.group)[ref.variable].variable)


def with_sign(name: str, variable: xr.Variable) -> xr.Variable:
    """Read integers as unsigned, or as signed, where `_Unsigned` says so; by xarray's own decoder."""
    stated = variable.attrs.get("_Unsigned")
    if stated is None or variable.dtype.kind not in "iu":
        return variable
    bare = xr.Variable(variable.dims, variable._data, {"_Unsigned": str(stated).lower()}, variable.encoding)  # noqa: SLF001 (lazy)
    decoded = xr.conventions.decode_cf_variable(name, bare, decode_times=False)
    decoded.attrs = dict(variable.attrs)
    return decoded


def decoded_coordinate(name: str, variable: xr.Variable) -> xr.Variable:
    """Decode a coordinate as CF says, by xarray's own decoder: unpacked in double precision.

    None is missing (CF conventions, 2.5.1): 0 is what Zarr's fill value happens to be.
    """
    stated = {key: value for key, value in variable.attrs.items() if key not in {"_FillValue", "missing_value"}}
    attrs = {key: float(value) if key in _UNPACKING else value for key, value in stated.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what is no number then is told by who places the pixels
        stored = xr.Variable(variable.dims, variable.values, attrs)
        return xr.conventions.decode_cf_variable(name, stored, decode_times=False).load()


def attributes_around(path: str, group: str) -> Iterator[Mapping[str, Any]]:
    """Give the attributes of a group and of those around it, the nearest first: up to the root, or beyond.

    A path may name a group inside of a larger store.
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
    """Attributes of a Zarr group; none where it can't be read, as nothing is missed but what it might say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(zarr.open_group(store, path=group, mode="r").attrs) if store is not None else {}
    except BROKEN as error:
        logger.debug("attributes of a group can't be read: %s", error)
        return {}
