"""What raster files say of each of their bands: name, grid, type, nodata, mask. Metadata only, no pixels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import Final

import numpy as np
import rasterio
from rasterio.enums import MaskFlags

from pipeline.core.band_names import check_names_differ, names_of_band_files
from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.core.numbers import check_scaling
from pipeline.core.regular_files import read_start
from pipeline.core.scene_info import NO_OPEN_FILES, OpenFiles
from pipeline.core.units import Quantity
from pipeline.geo.coordinates import check_transform
from pipeline.geo.gdal import GDAL_ERRORS, display_path, gdal_options, may_be_remote, open_raster, run_within_limit
from pipeline.raster.alpha import sort_alphas
from pipeline.raster.file_notes import control_points, palette_note
from pipeline.raster.stored_blocks import stored_bands
from pipeline.raster.virtual_files import VIRTUAL_DRIVERS, virtual_bands


@dataclass(frozen=True, kw_only=True)
class ArrayRef:
    """A variable of a Zarr or NetCDF store, and how bands are read out of it."""

    path: str
    group: str
    variable: str
    index: int = 0
    """Position of the band along `bands`."""
    at: tuple[tuple[str, int], ...] = ()
    """Positions along the dimensions that are fixed, such as time."""
    rows: str = ""
    """Name of the dimension of rows; none until the variable was described."""
    columns: str = ""
    """Name of the dimension of columns."""
    bands: str | None = None
    """Name of the dimension along which bands lie; None where the variable is one band."""
    bands_per_chunk: int = 1
    """Bands that the store decodes as one."""
    flipped: bool = False
    """Whether rows are stored from south to north."""
    nodata: tuple[float, ...] = ()
    """Stored numbers that mean no data, beside the band's first such number."""
    lowest: float | None = None
    """Stored numbers below it mean no data; None where there is no such limit."""
    highest: float | None = None
    """Stored numbers above it mean no data."""

    @property
    def tells_validity(self) -> bool:
        """Whether more than one number means no data."""
        return bool(self.nodata) or self.lowest is not None or self.highest is not None


@dataclass(frozen=True, kw_only=True)
class FileBand:
    """One band of one file, and what the file says of it."""

    path: str
    files: tuple[str, ...]
    """The file and those it refers to: a VRT's sources, sidecars."""
    index: int
    """Counted from 1."""
    name: str
    grid: Grid
    dtype: str
    nodata: float | None
    scale: float
    offset: float
    quantity: Quantity
    """Physical quantity of the pixels once scale and offset are applied; 'numbers' where neither is stated."""
    block_shape: tuple[int, int]
    """(rows, columns) that are decoded as one: of a virtual file, in the files behind it."""
    alpha: int | None
    """The file's alpha band, if it has one: no data where it is 0."""
    is_alpha: bool
    """Whether this is one: a mask, unless it is asked for as a band."""
    tagged_alpha: bool = False
    """Whether the file tags this band as alpha, though it holds data: it is a band, and masks nothing."""
    mask: int | None
    """Band whose GDAL mask says where this one holds data; None where only nodata or alpha do."""
    own_mask: bool
    """Whether that mask is none of the whole file."""
    driver: str
    block_bytes: int
    """Size of what is decoded at once to read a block of this band."""
    interleaved: bool = False
    """Whether what is decoded at once, behind a virtual file, are pixels of several bands."""
    straddles: bool = False
    """Whether blocks behind a virtual file lie across its own, so that several are decoded for one."""
    expensive: bool = False
    """Whether decoding is dear, or the file, or one behind it, on another machine."""
    remote: bool = False
    """Whether the file, or one behind it, is on another machine."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Behind a virtual file."""
    compressed: bool = False
    """Whether pixels are unpacked as they are read."""
    strip_bytes: int = 0
    """Size of the one compressed strip that holds all rows, which GDAL keeps in memory; 0 where there are several."""
    has_palette: bool = False
    """Whether its numbers are indexes of colours or classes."""
    array: ArrayRef | None = None
    """Where it is no band of a raster file."""
    notes: tuple[str, ...] = ()
    """What the user should know of the file, a sentence each."""
    common: str | None = None
    """Common name, such as red, where the file, the sensor or the config tells it."""

    def __post_init__(self) -> None:
        """Refuse, whatever the format, what places or scales nothing."""
        check_transform(self.grid.transform, display_path(self.path))
        check_scaling(self.scale, self.offset, f"{display_path(self.path)}: band {self.name or self.index}")


_COLOURS: Final = frozenset({"red", "green", "blue", "nir"})
"""Colour interpretations of GDAL that are common names of bands."""


def _is_compressed(file: rasterio.DatasetReader) -> bool:
    """Whether pixels are unpacked as they are read. A virtual file does not tell: its sources mostly are."""
    return file.driver in VIRTUAL_DRIVERS or "COMPRESSION" in file.tags(ns="IMAGE_STRUCTURE")


def _read_facts(path: str) -> list[FileBand]:
    """Open a file for its metadata: one record for each band."""
    try:
        if may_be_remote(path):
            return run_within_limit(
                partial(_open_for_facts, path), f"{display_path(path)}: GDAL can't open this file as a raster"
            )
        return _open_for_facts(path)
    except (*GDAL_ERRORS, ValueError) as error:
        reason = f"{error}".splitlines()[0].removeprefix(f"'{path}' ").removeprefix(f"{path}: ")
        if _is_hdf4(path):
            reason = "it is HDF4, for which this GDAL has no driver; convert it where there is one: gdal_translate"
        hint = "; a config is run, not opened: terrazzo run" if path.endswith((".yaml", ".yml")) else ""
        msg = f"{display_path(path)}: GDAL can't open this file as a raster ({reason}){hint}"
        raise SceneError(msg) from error


def _open_for_facts(path: str) -> list[FileBand]:
    with rasterio.Env(**gdal_options(path)), open_raster(path) as file:
        return _band_facts(path, file)


_HDF4: Final = b"\x0e\x03\x13\x01"
"""First bytes of an HDF4 file."""


def _is_hdf4(path: str) -> bool:
    """Whether a file on this machine begins as HDF4 files do."""
    try:
        return read_start(path, len(_HDF4)) == _HDF4
    except (OSError, ValueError):
        return False


def read_band(path: str, index: int) -> FileBand:
    """Describe one band of a file.

    Raises
    ------
    SceneError
        When the file can't be opened, or has no such band.
    """
    bands = _read_facts(path)
    if index > len(bands):
        msg = f"{path}: band {index} is wanted, but the file has {len(bands)}"
        raise SceneError(msg)
    return bands[index - 1]


def _check_numbers(path: str, file: rasterio.DatasetReader) -> None:
    """Raise SceneError where a file has no bands, or its numbers place or scale nothing."""
    if file.count == 0:
        hint = (
            f"; it holds {len(file.subdatasets)} subdatasets, name one: {file.subdatasets[0]}"
            if file.subdatasets
            else ""
        )
        msg = f"{path}: the file has no raster band{hint}"
        raise SceneError(msg)
    for kind, numbers in (("scale", file.scales), ("offset", file.offsets)):
        if not np.isfinite(numbers).all():
            msg = (
                f"{path}: a band's {kind} is not a finite number: {', '.join(map(str, numbers))}; mend the file's tags"
            )
            raise SceneError(msg)


def _band_facts(path: str, file: rasterio.DatasetReader) -> list[FileBand]:
    _check_numbers(path, file)
    grid = Grid(shape=file.shape, transform=file.transform, crs=file.crs.to_wkt() if file.crs else None)
    own = stored_bands(path, file)
    stored = virtual_bands(path, file, own)
    files, compressed = tuple(file.files), _is_compressed(file)
    # windows of a virtual file's own blocks are looked at
    masks, data = sort_alphas(path, file, own[0].block_bytes, one_strip=own[0].strip_bytes > 0)
    if len(masks) == file.count:
        msg = f"{path}: the file has an alpha band and no other"
        raise SceneError(msg)
    facts = []
    # each of these lists is made anew whenever it is asked for: once for all bands
    told = zip(file.indexes, file.descriptions, file.dtypes, file.nodatavals, file.scales, file.offsets, strict=True)
    colours, notes = file.colorinterp, control_points(path, file)
    for (index, name, dtype, nodata, scale, offset), flags in zip(told, file.mask_flag_enums, strict=True):
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
                common=colour if colour in _COLOURS else None,
            )
        )
    return facts


def _name_bands(files: Sequence[Sequence[FileBand]]) -> list[FileBand]:
    """Name bands: a file's descriptions, else the name of a one-band file, else band1, band2, ..."""
    told = [file[0].name for file in files if len(file) == 1]
    lone = [file[0].path for file in files if len(file) == 1 and (not file[0].name or told.count(file[0].name) > 1)]
    lone_names = dict(zip(lone, names_of_band_files(lone), strict=True))
    named: list[FileBand] = []
    for file in files:
        stem = f"{os.path.splitext(os.path.basename(file[0].path))[0]}_" if len(files) > 1 else ""  # noqa: PTH119, PTH122 (may be /vsi...)
        named += [
            replace(band, name=lone_names.get(band.path) or band.name or f"{stem}band{band.index}") for band in file
        ]
    return named


def _name_alphas(alphas: Sequence[FileBand], taken: set[str]) -> list[FileBand]:
    """Name alpha bands as other bands are, but so that no name is taken."""
    named = []
    for band in alphas:
        stem = os.path.splitext(os.path.basename(band.path))[0]  # noqa: PTH119, PTH122 (may be /vsi...)
        wished = band.name or f"band{band.index}"
        names = chain([wished], (f"{stem}_{wished}{'_alpha' * n}" for n in count()))
        name = next(name for name in names if name not in taken)
        taken = taken | {name}
        named.append(replace(band, name=name))
    return named


def list_bands(files: Sequence[str]) -> list[FileBand]:
    """Describe every band of a scene's files, named: alpha bands come last, so that they shift no number.

    Raises
    ------
    SceneError
        When a file can't be opened, or two bands have one name.
    """
    described = [_read_facts(file) for file in files]
    bands = _name_bands([[band for band in file if not band.is_alpha] for file in described])
    check_names_differ([band.name for band in bands], [display_path(band.path) for band in bands])
    alphas = [band for file in described for band in file if band.is_alpha]
    return bands + _name_alphas(alphas, {band.name for band in bands})
