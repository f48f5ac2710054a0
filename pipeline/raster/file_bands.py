"""Describe the bands of raster files from metadata: name, grid, data type, nodata, mask. Reads no pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import Final

import numpy as np
import rasterio
from rasterio.enums import MaskFlags

from pipeline.core.acquisition import Acquisition
from pipeline.core.band_names import check_names_differ, names_of_band_files
from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.core.numbers import check_scaling
from pipeline.core.regular_files import read_start
from pipeline.core.units import Quantity
from pipeline.geo.coordinates import check_transform
from pipeline.geo.gdal import GDAL_ERRORS, display_path, gdal_options, may_be_remote, open_raster, run_within_limit
from pipeline.raster.alpha import sort_alphas
from pipeline.raster.file_dates import file_acquisition
from pipeline.raster.file_notes import control_points_note, palette_note
from pipeline.raster.stored_blocks import NO_OPEN_FILES, OpenFiles, stored_bands
from pipeline.raster.virtual_files import VIRTUAL_DRIVERS, virtual_bands


@dataclass(frozen=True, kw_only=True)
class ArrayRef:
    """A variable of a Zarr or NetCDF store, and how a band is read from it."""

    path: str
    """Path or address of the store."""
    group: str
    """Group of the variable within the store; empty for the root."""
    variable: str
    """Name of the variable in its group."""
    index: int = 0
    """Index of the band along the dimension `bands`, counted from 0."""
    at: tuple[tuple[str, int], ...] = ()
    """Dimensions at a fixed position, such as time, with the index along each."""
    rows: str = ""
    """Name of the dimension of rows; empty until the variable is described."""
    columns: str = ""
    """Name of the dimension of columns; empty until the variable is described."""
    bands: str | None = None
    """Name of the dimension of bands; None if the variable is a single band."""
    bands_per_chunk: int = 1
    """Number of bands per chunk of the store, decoded together."""
    flipped: bool = False
    """Whether rows are stored from south to north."""
    nodata: tuple[float, ...] = ()
    """Stored values that mean nodata, in addition to the band's own nodata value."""
    lowest: float | None = None
    """Smallest valid stored value, below which is nodata; None if there is no limit."""
    highest: float | None = None
    """Largest valid stored value, above which is nodata; None if there is no limit."""

    @property
    def has_validity_mask(self) -> bool:
        """Whether more than one stored value means nodata, so that reading computes a validity mask."""
        return bool(self.nodata) or self.lowest is not None or self.highest is not None


@dataclass(frozen=True, kw_only=True)
class FileBand:
    """One band of a file, and its metadata."""

    path: str
    """Path of the file, as GDAL opens it."""
    files: tuple[str, ...]
    """Paths of the file and of those it refers to: sidecars, and the sources of a VRT."""
    index: int
    """Number of the band in the file, counted from 1."""
    name: str
    """Name of the band; the file's description until the bands of a scene are named."""
    grid: Grid
    """Grid of the file."""
    dtype: str
    """Data type of the stored values."""
    nodata: float | None
    """Stored value that means nodata; None if the file states none."""
    scale: float
    """Factor from stored values to the physical quantity; 1 if the file states none."""
    offset: float
    """Offset added after the factor; 0 if the file states none."""
    quantity: Quantity
    """Physical quantity of the pixels after scale and offset are applied; 'numbers' if the file states neither."""
    block_shape: tuple[int, int]
    """Size of a block that is decoded as one, (rows, columns); for a virtual file that of its source files."""
    alpha: int | None
    """Index of the file's alpha band, which is 0 where pixels are nodata; None if it has none."""
    is_alpha: bool
    """Whether this band is a true alpha band: a mask, unless it is requested as a band."""
    tagged_alpha: bool = False
    """Whether the file tags this band as alpha although it holds data; it is used as a band, not as a mask."""
    mask: int | None
    """Index of the band whose GDAL mask marks this band's valid pixels; None if only nodata or alpha do."""
    own_mask: bool
    """Whether the band has a GDAL mask of its own, not shared by the whole file."""
    driver: str
    """GDAL driver of the file."""
    block_bytes: int
    """Bytes decoded at once to read a block of this band."""
    interleaved: bool = False
    """Whether blocks of a virtual file's sources contain pixels of several bands."""
    straddles: bool = False
    """Whether blocks of source files straddle those of the virtual file, so that several are decoded for one."""
    expensive: bool = False
    """Whether decoding is expensive, or the file or one of its sources is remote."""
    remote: bool = False
    """Whether the file or one of its sources is remote."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Source files of a virtual file that GDAL keeps open."""
    compressed: bool = False
    """Whether pixels are stored compressed."""
    strip_bytes: int = 0
    """Compressed bytes of the only strip, if it spans all rows, which GDAL keeps in memory; 0 otherwise."""
    has_palette: bool = False
    """Whether values are indexes of colours or classes."""
    array: ArrayRef | None = None
    """Variable of a store that the band is read from; None for a band of a raster file."""
    notes: tuple[str, ...] = ()
    """Notes to the user about the file, one sentence each."""
    has_control_points: bool = False
    """Whether the file has ground control points instead of a grid of its own, as one of the notes says."""
    common: str | None = None
    """Common name, such as red, if the file, the sensor or the config states it."""
    acquired: Acquisition | None = None
    """When its pixels were acquired by the file's tags or name, or the store's time; None if unknown."""

    def __post_init__(self) -> None:
        """Raise SceneError, for all formats, if the transform, scale or offset is unusable."""
        check_transform(self.grid.transform, display_path(self.path))
        check_scaling(self.scale, self.offset, f"{display_path(self.path)}: band {self.name or self.index}")


_COLOURS: Final = frozenset({"red", "green", "blue", "nir"})
"""GDAL colour interpretations that are also common band names."""


def _is_compressed(file: rasterio.DatasetReader) -> bool:
    """Whether pixels are stored compressed; assumed for virtual files, whose sources mostly are."""
    return file.driver in VIRTUAL_DRIVERS or "COMPRESSION" in file.tags(ns="IMAGE_STRUCTURE")


def _describe_file(path: str) -> list[FileBand]:
    """Open a file and describe each of its bands."""
    try:
        if may_be_remote(path):
            return run_within_limit(
                partial(_open_and_describe, path), f"{display_path(path)}: GDAL can't open this file as a raster"
            )
        return _open_and_describe(path)
    except (*GDAL_ERRORS, ValueError) as error:
        reason = f"{error}".splitlines()[0].removeprefix(f"'{path}' ").removeprefix(f"{path}: ")
        if _is_hdf4(path):
            reason = "it is HDF4, for which this GDAL has no driver; convert it with another GDAL: gdal_translate"
        hint = "; to run a config, use: terrazzo run" if path.endswith((".yaml", ".yml")) else ""
        msg = f"{display_path(path)}: GDAL can't open this file as a raster ({reason}){hint}"
        raise SceneError(msg) from error


def _open_and_describe(path: str) -> list[FileBand]:
    with rasterio.Env(**gdal_options(path)), open_raster(path) as file:
        return _describe_bands(path, file)


_HDF4: Final = b"\x0e\x03\x13\x01"
"""First bytes of an HDF4 file."""


def _is_hdf4(path: str) -> bool:
    """Whether a local file has the signature of HDF4."""
    try:
        return read_start(path, len(_HDF4)) == _HDF4
    except (OSError, ValueError):
        return False


def read_band(path: str, index: int) -> FileBand:
    """Describe one band of a file.

    Raises
    ------
    SceneError
        If the file can't be opened, or has no such band.
    """
    bands = _describe_file(path)
    if index > len(bands):
        msg = f"{path}: band {index} was requested, but the file has {len(bands)} bands"
        raise SceneError(msg)
    return bands[index - 1]


def _check_numbers(path: str, file: rasterio.DatasetReader) -> None:
    """Raise SceneError if a file has no bands, or a scale or offset is not finite."""
    if file.count == 0:
        hint = (
            f"; it contains {len(file.subdatasets)} subdatasets, open one: {file.subdatasets[0]}"
            if file.subdatasets
            else ""
        )
        msg = f"{path}: the file has no raster band{hint}"
        raise SceneError(msg)
    for kind, numbers in (("scale", file.scales), ("offset", file.offsets)):
        if not np.isfinite(numbers).all():
            stated = ", ".join(map(str, numbers))
            msg = f"{path}: a band's {kind} is not a finite number: {stated}; correct the file's metadata"
            raise SceneError(msg)


def _describe_bands(path: str, file: rasterio.DatasetReader) -> list[FileBand]:
    _check_numbers(path, file)
    grid = Grid(shape=file.shape, transform=file.transform, crs=file.crs.to_wkt() if file.crs else None)
    own = stored_bands(path, file)
    stored = virtual_bands(path, file, own)
    files, compressed = tuple(file.files), _is_compressed(file)
    # with the block size of the virtual file itself, whose windows are read
    masks, data = sort_alphas(path, file, own[0].block_bytes, one_strip=own[0].strip_bytes > 0)
    if len(masks) == file.count:
        msg = f"{path}: the file has an alpha band and no other, so there is nothing to cluster"
        raise SceneError(msg)
    facts = []
    # rasterio builds these lists at each access, so access them once for all bands
    stated = zip(file.indexes, file.descriptions, file.dtypes, file.nodatavals, file.scales, file.offsets, strict=True)
    colours, notes, acquired = file.colorinterp, control_points_note(path, file), file_acquisition(path, file)
    for (index, name, dtype, nodata, scale, offset), flags in zip(stated, file.mask_flag_enums, strict=True):
        by_value = flags == [MaskFlags.nodata] and nodata is not None
        by_mask = not by_value and flags != [MaskFlags.all_valid] and MaskFlags.alpha not in flags
        colour = colours[index - 1].name
        facts.append(
            FileBand(
                path=path,
                files=files,
                index=index,
                name=" ".join((name or "").split()),
                grid=grid,
                dtype=dtype,
                nodata=nodata,
                scale=scale,
                offset=offset,
                quantity="numbers" if (scale, offset) == (1, 0) else "scaled",
                block_shape=stored[index - 1].block_shape,
                alpha=masks[0] if masks else None,
                is_alpha=index in masks,
                tagged_alpha=index in data,
                mask=(1 if MaskFlags.per_dataset in flags else index) if by_mask else None,
                own_mask=by_mask and not flags,
                driver=file.driver,
                block_bytes=stored[index - 1].block_bytes,
                interleaved=file.driver in VIRTUAL_DRIVERS and stored[index - 1].interleaved,
                straddles=stored[index - 1].straddles,
                expensive=stored[index - 1].expensive,
                remote=stored[index - 1].remote,
                open_files=stored[index - 1].open_files,
                compressed=compressed,
                strip_bytes=stored[index - 1].strip_bytes,
                has_palette=colour == "palette",
                notes=(*notes, palette_note(path, index)) if colour == "palette" else notes,
                has_control_points=bool(notes),
                common=colour if colour in _COLOURS else None,
                acquired=acquired,
            )
        )
    return facts


def _name_bands(files: Sequence[Sequence[FileBand]]) -> list[FileBand]:
    """Name bands by their descriptions, else by the name of a one-band file, else band1, band2, ..."""
    lone_descriptions = [file[0].name for file in files if len(file) == 1]
    lone = [
        file[0].path
        for file in files
        if len(file) == 1 and (not file[0].name or lone_descriptions.count(file[0].name) > 1)
    ]
    lone_names = dict(zip(lone, names_of_band_files(lone), strict=True))
    named: list[FileBand] = []
    for file in files:
        stem = f"{os.path.splitext(os.path.basename(file[0].path))[0]}_" if len(files) > 1 else ""  # noqa: PTH119, PTH122 (may be /vsi...)
        named += [
            replace(band, name=lone_names.get(band.path) or band.name or f"{stem}band{band.index}") for band in file
        ]
    return named


def _name_alphas(alphas: Sequence[FileBand], taken: set[str]) -> list[FileBand]:
    """Name alpha bands like other bands, but different from all names in use."""
    named = []
    for band in alphas:
        stem = os.path.splitext(os.path.basename(band.path))[0]  # noqa: PTH119, PTH122 (may be /vsi...)
        preferred = band.name or f"band{band.index}"
        names = chain([preferred], (f"{stem}_{preferred}{'_alpha' * n}" for n in count()))
        name = next(name for name in names if name not in taken)
        taken = taken | {name}
        named.append(replace(band, name=name))
    return named


def list_bands(files: Sequence[str]) -> list[FileBand]:
    """Describe and name all bands of a scene's files; alpha bands come last, so that they don't shift band numbers.

    Raises
    ------
    SceneError
        If a file can't be opened, or two bands have the same name.
    """
    described = [_describe_file(file) for file in files]
    bands = _name_bands([[band for band in file if not band.is_alpha] for file in described])
    check_names_differ([band.name for band in bands], [display_path(band.path) for band in bands])
    alphas = [band for file in described for band in file if band.is_alpha]
    return bands + _name_alphas(alphas, {band.name for band in bands})
