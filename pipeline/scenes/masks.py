"""What is left out of a scene: classes or bits of a layer, areas outside of polygons; grown by a distance."""

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
from pipeline.core.scene_info import NO_OPEN_FILES, OpenFiles
from pipeline.formats.catalogue import BandVersion, Catalogue, MaskOffer, open_version
from pipeline.geo.align import Alignment
from pipeline.geo.area_of_interest import VECTOR_SUFFIXES, Area, read_area
from pipeline.geo.overlap import grid_words, overlap
from pipeline.raster.file_bands import FileBand, read_band
from pipeline.raster.file_parts import FilePart, make_parts
from pipeline.raster.readers import WindowReader
from pipeline.raster.regrid import read_part

logger = logging.getLogger(__name__)


_SCL_NODATA: Final = 0
_BYTES_OF_A_DISTANCE: Final = 26
"""A distance, and the place of the nearest pixel that is left out: measured."""


@dataclass(frozen=True, kw_only=True)
class LayerMask:
    """Pixels left out by what a layer holds."""

    part: FilePart
    values: tuple[int, ...] = ()
    """Left out where the layer has one of them, or, where `keeps`, none of them."""
    keeps: bool = False
    bits: int = 0
    """Left out where one of these bits is set."""
    together: tuple[int, ...] = ()
    """Left out where all bits of one of these numbers are set."""
    nodata: float | None = None
    """Of the layer: always left out, and not grown."""
    block_bytes: int = 0
    """Size of what is decoded at once to read the layer."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Behind the layer's file, where that is a virtual one."""
    radius: float = 0.0
    """Pixels of the layer by which what is left out grows."""

    @property
    def margin(self) -> int:
        """Pixels of the layer around a window that have a say in it."""
        return ceil(self.radius)

    @property
    def margin_and_bytes(self) -> tuple[int, float]:
        """Pixels of the scene around a block that have a say in it, and bytes for each: distances take most of them."""
        down, across = self.part.alignment.steps if self.part.alignment else (1.0, 1.0)
        layer = self.part.bytes_per_pixel + 3
        each = 3 + down * across * (layer + (_BYTES_OF_A_DISTANCE if self.radius else 0))
        return ceil(self.margin / min(down, across)), each

    def dropped(self, layer: npt.NDArray[Any]) -> Validity:
        """Which pixels of a layer are left out, before they grow."""
        if self.bits or self.together:
            kind = np.dtype(f"u{layer.dtype.itemsize}").type
            stored = layer.view(kind)
            bad = np.asarray(stored & kind(self.bits) != 0, np.bool_)
            for mask in self.together:
                bad |= stored & kind(mask) == kind(mask)
            return bad
        return np.asarray(np.isin(layer, self.values, invert=self.keeps), np.bool_)


Mask = LayerMask | Area


def make_mask(wanted: MaskRecord, catalogue: Catalogue, grid: Grid, key: str) -> Mask:
    """Find the layer of a mask and bring it onto a grid.

    Parameters
    ----------
    wanted : MaskRecord
        From the config.
    catalogue : Catalogue
        What the source offers: its own masks among it.
    grid : Grid
        Of the scene.
    key : str
        Of the config, for messages.

    Raises
    ------
    ConfigError
        When the source has no such layer, or its values can't be told apart so.
    SceneError
        When the file can't be opened, or shows another place.
    """
    if wanted.path and PurePath(wanted.path).suffix.lower() in VECTOR_SUFFIXES:
        _check_plain(wanted, key)
        return read_area(wanted.path, grid, key)
    if wanted.path and not is_address(wanted.path) and not Path(wanted.path).exists():
        layers = ", ".join(MASK_LAYERS)
        msg = f"{key}: {wanted.path}: no such file; a mask is {layers}, none, or a raster or vector file"
        raise ConfigError(msg)
    band = read_band(wanted.path, 1) if wanted.path else _open_layer(wanted, catalogue, grid, key)
    if not overlap(grid, band.grid):
        msg = (
            f"{key}: {band.path} shows another place than the scene: {grid_words(band.grid)}; the scene has "
            f"{grid_words(grid)}; "
            "give a mask that overlaps it"
        )
        raise SceneError(msg)
    if np.dtype(band.dtype).kind not in "iu" and (wanted.bits or wanted.layer):
        msg = f"{key}: {band.path} has {band.dtype} pixels, which have no classes or bits; expected whole numbers"
        raise ConfigError(msg)
    _warn_of_known_layer(wanted, key)
    rule = _rule(wanted)
    width = 8 * np.dtype(band.dtype).itemsize
    highest = max([rule.get("bits", 0), *rule.get("together", ())]).bit_length() - 1
    if highest >= width:
        msg = f"{key}: bit {highest} is asked for, but {band.path} has {band.dtype} pixels of {width} bits"
        raise ConfigError(msg)
    nodata = MASK_LAYERS[wanted.layer].nodata if wanted.layer and band.nodata is None else band.nodata
    if wanted.layer == "scl" and (_SCL_NODATA in rule["values"]) != rule.get("keeps", False):
        nodata = _SCL_NODATA
    (part,) = make_parts([band], grid, ["nearest"], [nodata])
    if part.warp and wanted.dilate:
        part = _with_margin(band, grid, ceil(_radius(wanted.dilate, grid, key)), nodata)
    logger.info("%s: %s", key, _words(band, wanted))
    return LayerMask(
        part=part,
        nodata=nodata,
        block_bytes=band.block_bytes,
        open_files=band.open_files,
        radius=_radius(wanted.dilate, part.grid, key),
        **rule,
    )


def _with_margin(band: FileBand, grid: Grid, margin: int, nodata: float | None) -> FilePart:
    """A layer warped onto a grid and so many pixels around it, which have a say in what grows into it."""
    rows, columns = grid.shape
    wide = Grid(
        shape=(rows + 2 * margin, columns + 2 * margin),
        transform=grid.transform @ Affine.translation(-margin, -margin),
        crs=grid.crs,
    )
    (part,) = make_parts([band], wide, ["nearest"], [nodata])
    return replace(part, alignment=Alignment.of(grid, wide))


def _check_plain(wanted: MaskRecord, key: str) -> None:
    if wanted.drop or wanted.keep or wanted.bits or wanted.dilate or wanted.layer:
        msg = f"{key}: {wanted.path} is a vector file, of which the inside is kept; it has no values to choose"
        raise ConfigError(msg)


def _warn_of_known_layer(wanted: MaskRecord, key: str) -> None:
    """Say so where a file without a rule is named as a layer whose zeros don't mean what those of a mask do."""
    plain = wanted.layer is None and wanted.drop is None and wanted.keep is None and wanted.bits is None
    kind = mask_kind(PurePath(wanted.path).stem) if wanted.path and plain else None
    if kind:
        logger.warning(
            "%s: %s is read as a plain mask (kept where not 0), though its name is that of %s; if it is one, write "
            "%s: {%s: default, path: ...}",
            *(key, wanted.path, kind, key, kind),
        )


def _open_layer(wanted: MaskRecord, catalogue: Catalogue, grid: Grid, key: str) -> FileBand:
    """Open the product's own mask, of the resolution that suits the grid."""
    offer = catalogue.mask(str(wanted.layer))
    if offer is None:
        there = ", ".join(mask.kind for mask in catalogue.masks) or "none"
        msg = (
            f"{key}: {catalogue.origin} has no layer {wanted.layer} (it has {there}); give the path of a mask: "
            f"{key}: {{path: mask.tif}}"
        )
        raise ConfigError(msg)
    return open_version(_version(offer, min(grid.resolution)))


def _version(offer: MaskOffer, resolution: float) -> BandVersion:
    same = [version for version in offer.versions if version.resolution == resolution]
    return (same or list(offer.versions))[0]


def _rule(wanted: MaskRecord) -> dict[str, Any]:
    """Which values are left out."""
    rule, numbers = wanted.rule
    if rule == "bits":
        together = tuple(sum(1 << bit for bit in set(one)) for one in numbers if isinstance(one, tuple))
        return {"bits": sum(1 << bit for bit in {one for one in numbers if isinstance(one, int)}), "together": together}
    return {"values": numbers, "keeps": rule == "keep"}


def _words(band: FileBand, wanted: MaskRecord) -> str:
    """What is left out, classes and bits by name."""
    rule, numbers = wanted.rule
    name = PurePath(band.path).name
    kind = wanted.layer or mask_kind(PurePath(band.path).stem)
    known = MASK_LAYERS[kind] if kind and MASK_LAYERS[kind].has_bits == (rule == "bits") else None
    named = [f"{_shown(one)} {known.name(one) if known else ''}".strip() for one in numbers]
    grown = f", grown by {wanted.dilate:g} m" if wanted.dilate else ""
    verb, what = "keeps" if rule == "keep" else "leaves out", "bits" if rule == "bits" else "values"
    return f"{name} {verb} {what} {', '.join(named)}{grown}"


def _shown(number: Bits) -> str:
    return "+".join(map(str, number)) if isinstance(number, tuple) else str(number)


def _radius(metres: float, grid: Grid, key: str) -> float:
    """A distance in pixels of a grid.

    Raises
    ------
    ConfigError
        When the CRS isn't in units of length.
    """
    if not metres:
        return 0.0
    crs = CRS.from_wkt(grid.crs) if grid.crs else None
    if crs is None or not crs.is_projected:
        msg = f"{key}.dilate: metres mean nothing on a grid in degrees or without a CRS; leave it out"
        raise ConfigError(msg)
    radius = float(metres / (min(grid.resolution) * crs.linear_units_factor[1]))
    if radius < 1:
        logger.warning("%s.dilate: %g m are less than one pixel of the layer, so nothing grows", key, metres)
    return radius


def apply_mask(mask: LayerMask, reader: WindowReader, block: Block, valid: Validity) -> None:
    """Strike out of `valid`, in place, what a layer leaves out of a block of the scene.

    Parameters
    ----------
    mask : LayerMask
        The layer and its rule.
    reader : WindowReader
        Reads the layer.
    block : Block
        Of the scene.
    valid : ndarray of bool, shape (rows, columns)
        Changed.
    """
    bad = np.empty((1, *block.shape), np.uint8)
    read_part(mask.part, _Grown(mask, reader), block, bad, valid)
    valid &= bad[0] == 0


class _Grown:
    """Windows of what a mask leaves out, grown: pixels depend on no window; a `WindowReader`."""

    def __init__(self, mask: LayerMask, reader: WindowReader) -> None:
        self._mask = mask
        self._reader = reader

    def read(self, window: Block, out: npt.NDArray[Any], valid: Validity) -> None:
        """Fill `out` with what is left out; what the layer knows nothing of is struck out of `valid`."""
        wide, inside = self._widen(window)
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

    def _widen(self, window: Block) -> tuple[Block, tuple[slice, slice]]:
        """A window with a margin as wide as the mask grows, and the window inside of it."""
        margin = self._mask.margin
        rows, columns = self._mask.part.grid.shape
        top, left = max(0, window.top - margin), max(0, window.left - margin)
        bottom = min(rows, window.top + window.height + margin)
        right = min(columns, window.left + window.width + margin)
        wide = Block(row=0, column=0, top=top, left=left, height=bottom - top, width=right - left)
        start = (window.top - top, window.left - left)
        return wide, (slice(start[0], start[0] + window.height), slice(start[1], start[1] + window.width))
