"""Masks of a scene: classes or bits of a quality layer, or polygons; layers may be dilated by a distance."""

import logging
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS

from pipeline.config.masks import MaskRecord
from pipeline.config.yaml import is_address
from pipeline.core import libraries
from pipeline.core.arrays import Validity
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.mask_layers import MASK_LAYERS, Bits, mask_kind
from pipeline.core.regular_files import lookup_fault
from pipeline.formats.catalogue import BandVersion, Catalogue, MaskOffer, open_version
from pipeline.geo.align import Alignment
from pipeline.geo.area_of_interest import VECTOR_SUFFIXES, Area, read_area
from pipeline.geo.overlap import grid_words, overlap
from pipeline.raster.file_bands import FileBand, read_band
from pipeline.raster.file_parts import FilePart, make_parts
from pipeline.raster.readers import WindowReader
from pipeline.raster.regrid import read_part
from pipeline.raster.stored_blocks import NO_OPEN_FILES, OpenFiles

logger = logging.getLogger(__name__)

_SCL_NODATA: Final = 0
_DISTANCE_BYTES: Final = 26
"""Bytes per pixel of the distance transform, measured: the distance and the index of the nearest masked pixel."""


@dataclass(frozen=True, kw_only=True)
class LayerMask:
    """A mask that leaves out pixels by the values or bits of a layer."""

    part: FilePart
    """File part of the layer."""
    values: tuple[int, ...] = ()
    """Values that are masked out."""
    keeps: bool = False
    """If True, `values` are kept, and all others are masked out."""
    bits: int = 0
    """Bit mask: pixels with any of these bits set are masked out."""
    bit_groups: tuple[int, ...] = ()
    """Bit masks: pixels with all bits of one of them set are masked out."""
    nodata: float | None = None
    """Nodata value of the layer: masked out, but not dilated; None if there is none."""
    block_bytes: int = 0
    """Bytes decoded at once to read the layer."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Files behind the layer's file, if it is a virtual one."""
    radius: float = 0.0
    """Radius of the dilation, in pixels of the layer."""

    @property
    def margin(self) -> int:
        """Pixels of the layer around a window that affect its mask, because of the dilation."""
        return ceil(self.radius)

    @property
    def margin_and_bytes(self) -> tuple[int, float]:
        """Scene pixels around a block that affect its mask, and bytes per pixel read, mostly for distances."""
        down, across = self.part.alignment.steps if self.part.alignment else (1.0, 1.0)
        layer = self.part.bytes_per_pixel + 3
        each = 3 + down * across * (layer + (_DISTANCE_BYTES if self.radius else 0))
        return ceil(self.margin / min(down, across)), each

    def dropped(self, layer: npt.NDArray[Any]) -> Validity:
        """Mark the pixels of a layer that are masked out, before dilation."""
        if self.bits or self.bit_groups:
            kind = np.dtype(f"u{layer.dtype.itemsize}").type
            stored = layer.view(kind)
            bad = np.asarray(stored & kind(self.bits) != 0, np.bool_)
            for mask in self.bit_groups:
                bad |= stored & kind(mask) == kind(mask)
            return bad
        return np.asarray(np.isin(layer, self.values, invert=self.keeps), np.bool_)


Mask = LayerMask | Area


def make_mask(wanted: MaskRecord, catalogue: Catalogue, grid: Grid, key: str) -> Mask:
    """Open the layer or vector file of a mask, and align it to the grid of a scene.

    Parameters
    ----------
    wanted : MaskRecord
        The mask as configured.
    catalogue : Catalogue
        Catalogue of the source, with its own mask layers.
    grid : Grid
        Grid of the scene.
    key : str
        Config key, for messages.

    Raises
    ------
    ConfigError
        If the source has no such layer, or the mask's rule doesn't suit the layer's pixel type.
    SceneError
        If the file can't be opened, or doesn't overlap the scene.
    """
    if wanted.path and PurePath(wanted.path).suffix.lower() in VECTOR_SUFFIXES:
        _check_plain(wanted, key)
        return read_area(wanted.path, grid, key)
    if wanted.path and not is_address(wanted.path) and (fault := lookup_fault(wanted.path)):
        msg = f"{key}: {wanted.path}: this path can't be looked up ({fault})"
        raise ConfigError(msg)
    if wanted.path and not is_address(wanted.path) and not Path(wanted.path).exists():
        layers = ", ".join(MASK_LAYERS)
        msg = f"{key}: {wanted.path}: no such file; a mask is {layers}, none, or a raster or vector file"
        raise ConfigError(msg)
    band = read_band(wanted.path, 1) if wanted.path else _open_layer(wanted, catalogue, grid, key)
    if not overlap(grid, band.grid):
        msg = (
            f"{key}: {band.path} doesn't overlap the scene: it has {grid_words(band.grid)}, the scene has "
            f"{grid_words(grid)}; give a mask that overlaps the scene"
        )
        raise SceneError(msg)
    if np.dtype(band.dtype).kind not in "iu" and (wanted.bits or wanted.layer):
        msg = (
            f"{key}: {band.path} has {band.dtype} pixels, which have no classes or bits; give a layer of whole numbers"
        )
        raise ConfigError(msg)
    _warn_of_known_layer(wanted, key)
    rule = _rule(wanted)
    width = 8 * np.dtype(band.dtype).itemsize
    highest = max([rule.get("bits", 0), *rule.get("bit_groups", ())]).bit_length() - 1
    if highest >= width:
        msg = f"{key}: {band.path} has no bit {highest}: its {band.dtype} pixels have {width} bits; give lower bits"
        raise ConfigError(msg)
    nodata = MASK_LAYERS[wanted.layer].nodata if wanted.layer and band.nodata is None else band.nodata
    if wanted.layer == "scl" and (_SCL_NODATA in rule["values"]) != rule.get("keeps", False):
        nodata = _SCL_NODATA
    (part,) = make_parts([band], grid, ["nearest"], [nodata])
    if part.warp and wanted.dilate:
        part = _with_margin(band, grid, ceil(_radius(wanted.dilate, grid, key)), nodata)
    logger.info("%s: %s", key, _describe(band, wanted))
    return LayerMask(
        part=part,
        nodata=nodata,
        block_bytes=band.block_bytes,
        open_files=band.open_files,
        radius=_radius(wanted.dilate, part.grid, key),
        **rule,
    )


def _with_margin(band: FileBand, grid: Grid, margin: int, nodata: float | None) -> FilePart:
    """Warp a layer onto a grid extended by `margin` pixels, from which masked pixels may grow into it."""
    rows, columns = grid.shape
    extended = Grid(
        shape=(rows + 2 * margin, columns + 2 * margin),
        transform=grid.transform @ Affine.translation(-margin, -margin),
        crs=grid.crs,
    )
    (part,) = make_parts([band], extended, ["nearest"], [nodata])
    return replace(part, alignment=Alignment.of(grid, extended))


def _check_plain(wanted: MaskRecord, key: str) -> None:
    """Raise ConfigError if a vector file is given with options that only layers have."""
    if wanted.drop or wanted.keep or wanted.bits or wanted.dilate or wanted.layer:
        msg = f"{key}: {wanted.path} is a vector file, which keeps the pixels inside its polygons; give the path alone"
        raise ConfigError(msg)


def _warn_of_known_layer(wanted: MaskRecord, key: str) -> None:
    """Warn if a file without a rule has the name of a quality layer, whose values are not those of a plain mask."""
    plain = wanted.layer is None and wanted.drop is None and wanted.keep is None and wanted.bits is None
    kind = mask_kind(PurePath(wanted.path).stem) if wanted.path and plain else None
    if kind:
        logger.warning(
            "%s: %s is read as a plain mask (0 is masked out), but is named like a %s layer; if it is one, set "
            "%s: {%s: default, path: ...}",
            *(key, wanted.path, kind, key, kind),
        )


def _open_layer(wanted: MaskRecord, catalogue: Catalogue, grid: Grid, key: str) -> FileBand:
    """Open the product's own mask layer, in the grid's resolution if available."""
    offer = catalogue.mask(str(wanted.layer))
    if offer is None:
        there = ", ".join(mask.kind for mask in catalogue.masks) or "none"
        msg = (
            f"{key}: {catalogue.origin} has no layer {wanted.layer} (available: {there}); give the path of a mask: "
            f"{key}: {{path: mask.tif}}"
        )
        raise ConfigError(msg)
    return open_version(_version(offer, min(grid.resolution)))


def _version(offer: MaskOffer, resolution: float) -> BandVersion:
    same = [version for version in offer.versions if version.resolution == resolution]
    return (same or list(offer.versions))[0]


def _rule(wanted: MaskRecord) -> dict[str, Any]:
    """Arguments of `LayerMask` for the values or bits that are masked out."""
    rule, numbers = wanted.rule
    if rule == "bits":
        bit_groups = tuple(sum(1 << bit for bit in set(group)) for group in numbers if isinstance(group, tuple))
        single = {number for number in numbers if isinstance(number, int)}
        return {"bits": sum(1 << bit for bit in single), "bit_groups": bit_groups}
    return {"values": numbers, "keeps": rule == "keep"}


def _describe(band: FileBand, wanted: MaskRecord) -> str:
    """Describe what a mask leaves out, classes and bits by name."""
    rule, numbers = wanted.rule
    name = PurePath(band.path).name
    kind = wanted.layer or mask_kind(PurePath(band.path).stem)
    known = MASK_LAYERS[kind] if kind and MASK_LAYERS[kind].has_bits == (rule == "bits") else None
    named = [f"{_shown(number)} {known.name(number) if known else ''}".strip() for number in numbers]
    dilated = f"; dilate: {wanted.dilate:g} m" if wanted.dilate else ""
    verb, what = "keeps" if rule == "keep" else "leaves out", "bits" if rule == "bits" else "values"
    return f"{name} {verb} {what} {', '.join(named)}{dilated}"


def _shown(number: Bits) -> str:
    return "+".join(map(str, number)) if isinstance(number, tuple) else str(number)


def _radius(metres: float, grid: Grid, key: str) -> float:
    """Convert a distance in metres to pixels of a grid.

    Raises
    ------
    ConfigError
        If the grid has no projected CRS.
    """
    if not metres:
        return 0.0
    crs = CRS.from_wkt(grid.crs) if grid.crs else None
    if crs is None or not crs.is_projected:
        msg = f"{key}.dilate: metres need a projected CRS, but the mask is in degrees or has no CRS; leave it out"
        raise ConfigError(msg)
    radius = float(metres / (min(grid.resolution) * crs.linear_units_factor[1]))
    if radius < 1:
        logger.warning(
            "%s.dilate: %g m is less than one pixel of the layer (%g m), so the mask is not dilated; increase it",
            key,
            metres,
            metres / radius,
        )
    return radius


def apply_mask(mask: LayerMask, reader: WindowReader, block: Block, valid: Validity) -> None:
    """Clear the pixels of a block in `valid`, in place, that a layer masks out.

    Parameters
    ----------
    mask : LayerMask
        The mask.
    reader : WindowReader
        Reads the layer.
    block : Block
        Block of the scene.
    valid : ndarray of bool, shape (rows, columns)
        Valid pixels of the block; changed in place.
    """
    bad = np.empty((1, *block.shape), np.uint8)
    read_part(mask.part, _DilatedReader(mask, reader), block, bad, valid)
    valid &= bad[0] == 0


class _DilatedReader:
    """Read the masked-out pixels of a layer, dilated; results don't depend on the window; a `WindowReader`."""

    def __init__(self, mask: LayerMask, reader: WindowReader) -> None:
        self._mask = mask
        self._reader = reader

    def read(self, window: Block, out: npt.NDArray[Any], valid: Validity) -> None:
        """Set `out` to 1 where pixels are masked out, else 0; clear pixels in `valid` where the layer has no data."""
        wide = window.widened(self._mask.margin, self._mask.part.grid.shape)
        inside = window.within(wide)
        layer = np.empty((1, *wide.shape), self._mask.part.dtype)
        known = np.ones(wide.shape, np.bool_)
        self._reader.read(wide, layer, known)
        if self._mask.nodata is not None:
            known &= layer[0] != self._mask.nodata
        if layer.dtype.kind == "f":
            known &= np.isfinite(layer[0])
        bad = self._mask.dropped(layer[0]) & known
        if self._mask.radius and bad.any():
            bad = libraries.ndimage.distance_transform_edt(~bad) <= self._mask.radius
        out[0] = bad[inside]
        valid &= known[inside]
