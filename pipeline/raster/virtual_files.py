"""Files behind virtual ones (VRT, tile indexes): what GDAL decodes to read them. Metadata only, no pixels.

A virtual file states blocks of its own, 128 x 128 as a rule. What is decoded are blocks of the files behind it.
"""

import logging
import os
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil
from typing import Final

import rasterio
from rasterio.errors import NotGeoreferencedWarning

from pipeline.core.errors import SceneError
from pipeline.core.scene_info import OpenFiles
from pipeline.core.strict_xml import parse_xml
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options, is_remote, open_raster
from pipeline.raster.stored_blocks import StoredBand, stored_bands

logger = logging.getLogger(__name__)

VIRTUAL_DRIVERS: Final = frozenset({"VRT", "GTI"})

_MOST_FILES: Final = 256
"""Files that are opened behind one virtual file, in a quarter of a second; others are taken to be like them."""

_MOST_REMOTE: Final = 8
"""Of them on other machines, where each takes a request or two."""

_DEEPEST: Final = 8
"""Virtual files within each other that are followed."""

_SPOTS: Final = 16
"""Places along each axis at which a tile index is asked for its file."""

_ENLARGED: Final = 4
"""Times that a block may have its own side in an enlarged file; beyond it less is decoded anew than is read."""

_SAME: Final = 1e-6
"""Pixels by which edges of blocks may miss each other through rounding."""

Span = tuple[float, float]
"""Start and length along one axis, in pixels."""


@dataclass(frozen=True)
class _Piece:
    """A rectangle of a virtual band, and where its pixels come from."""

    path: str
    band: int
    source: tuple[Span, Span] | None = None
    """Rows and columns of the file; None for all of it."""
    target: tuple[Span, Span] | None = None
    """Rows and columns of the virtual band; None for all of it."""
    placed: bool = True
    """Whether its blocks lie side by side with those of the virtual band: it is not warped."""
    scaled: bool = True
    """Whether file and rectangle may differ in size."""


def virtual_bands(path: str, file: rasterio.DatasetReader, own: Sequence[StoredBand]) -> Sequence[StoredBand]:
    """Describe what is decoded to read each band of an open file, which may be a virtual one.

    Where nothing behind it can be opened, it is described as any other file: reading tells what is wrong.

    Parameters
    ----------
    path : str
        The file.
    file : DatasetReader
        The same, open.
    own : sequence of StoredBand
        How the file itself says that it stores each band.
    """
    return _Explorer().explore(path, file, own)


class _Explorer:
    """Opens what is behind a virtual file, each file once, not too many and not endlessly."""

    def __init__(self) -> None:
        self._known: dict[str, list[StoredBand] | None] = {}
        self._within: list[str] = []
        self._left = {True: _MOST_REMOTE, False: _MOST_FILES}

    def explore(self, path: str, file: rasterio.DatasetReader, own: Sequence[StoredBand]) -> Sequence[StoredBand]:
        if file.driver not in VIRTUAL_DRIVERS or path in self._within or len(self._within) >= _DEEPEST:
            return own
        self._within.append(path)
        try:
            pieces = list(_pieces(path, file, len(own)))
            paths = list(dict.fromkeys(piece.path for band in pieces for piece in band))
            found = {name: bands for name in _some(paths) if (bands := self._open(name))}
        finally:
            self._within.pop()
        made = [_behind(band, of_band, found) for band, of_band in zip(own, pieces, strict=True)]
        behind = [band for bands in found.values() for band in bands]
        count = len(paths) - len(found) + sum(bands[0].open_files.count or 1 for bands in found.values())
        held = max((max(band.held_bytes, band.open_files.held_bytes) for band in behind), default=0)
        return [replace(band, open_files=OpenFiles(count, held)) for band in made]

    def _open(self, path: str) -> list[StoredBand] | None:
        """How a file behind a virtual one is stored; None where it can't be opened, or too many have been."""
        if path in self._known:
            return self._known[path]
        remote = is_remote(path)
        if path in self._within or not self._left[remote]:
            return None
        self._left[remote] -= 1
        try:
            with warnings.catch_warnings(), rasterio.Env(**gdal_options(path)):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_raster(path, sharing=False) as file:
                    self._known[path] = [
                        replace(band, overviews=tuple(file.overviews(index)))
                        for index, band in enumerate(self.explore(path, file, stored_bands(path, file)), start=1)
                    ]
        except (*GDAL_ERRORS, ValueError) as error:
            logger.debug("%s: can't be opened behind a virtual file (%s)", path, error)
            self._known[path] = None
            self._left[True] *= not remote  # each may take as long to fail
        return self._known[path]


def _some(paths: Sequence[str]) -> Sequence[str]:
    """As many files as may be opened, spread evenly over all."""
    most = _MOST_REMOTE if any(map(is_remote, paths)) else _MOST_FILES
    return paths if len(paths) <= most else [paths[place * len(paths) // most] for place in range(most)]


def _pieces(path: str, file: rasterio.DatasetReader, bands: int) -> Iterator[list[_Piece]]:
    """Pieces of each band of a virtual file."""
    if file.driver == "GTI":
        yield from [list(_pieces_of_index(file))] * bands
        return
    try:
        root = parse_xml(file.tags(ns="xml:VRT").get("xml:VRT", "<VRTDataset/>").encode(), path)
    except SceneError as error:  # larger than any that is meant
        logger.debug("%s", error)
        root = ET.Element("VRTDataset")
    folder = "" if path.lstrip().startswith("<") else os.path.dirname(path)  # noqa: PTH120 (may be /vsi...)
    others = (child.iter() for child in root if child.tag != "VRTRasterBand")  # of a warped file, of masks
    shared = [piece for element in chain.from_iterable(others) for piece in _named(element, folder)]
    shared = [replace(piece, placed=False) for piece in shared]
    own = {band.get("band"): band for band in root.findall("VRTRasterBand")}
    for index in range(1, bands + 1):
        yield [*(piece for source in own.get(str(index), ()) for piece in _named(source, folder)), *shared]


def _named(element: ET.Element, folder: str) -> Iterator[_Piece]:
    """What an element of a VRT names as its source, if it does."""
    for tag in ("SourceFilename", "SourceDataset"):
        name = element.find(tag)
        if name is None or not (name.text or "").strip():
            continue
        path = (name.text or "").strip()
        if name.get("relativeToVRT") == "1":
            path = os.path.join(folder, path)  # noqa: PTH118 (may be /vsi...)
        band = (element.findtext("SourceBand") or "1").rpartition(",")[2]
        yield _Piece(
            path,
            int(band) if band.isdigit() else 1,
            source := _rectangle(element.find("SrcRect")),
            _rectangle(element.find("DstRect")) if source else None,
        )


def _rectangle(element: ET.Element | None) -> tuple[Span, Span] | None:
    """Rows and columns of a rectangle; None where it is not stated in full."""
    if element is None:
        return None
    try:
        left, top, wide, high = (float(element.get(key, "")) for key in ("xOff", "yOff", "xSize", "ySize"))
    except ValueError:
        return None
    return ((top, high), (left, wide)) if high > 0 and wide > 0 else None


def _pieces_of_index(file: rasterio.DatasetReader) -> Iterator[_Piece]:
    """Files of a tile index, as GDAL tells them place by place; it does not tell where they lie."""
    names: dict[str, None] = {}
    for row in range(_SPOTS):
        for column in range(_SPOTS):
            pixel = (int((column + 0.5) * file.width / _SPOTS), int((row + 0.5) * file.height / _SPOTS))
            told = file.get_tag_item(f"Pixel_{pixel[0]}_{pixel[1]}", "LocationInfo", bidx=1)
            if told:
                names.update(
                    dict.fromkeys(name.text or "" for name in parse_xml(told.encode(), file.name).iter("File"))
                )
    for name in filter(None, names):
        yield _Piece(name, 1, placed=False, scaled=False)


def _behind(own: StoredBand, pieces: Sequence[_Piece], found: Mapping[str, Sequence[StoredBand]]) -> StoredBand:
    """A virtual band as it is stored behind it."""
    known = [
        (piece, found[piece.path][min(piece.band, len(found[piece.path])) - 1])
        for piece in pieces
        if piece.path in found
    ]
    remote = any(is_remote(piece.path) for piece in pieces)
    if not known:
        return replace(own, expensive=own.expensive or remote, remote=own.remote or remote)
    rows, columns = (_along([_lattice(piece, band, axis, own) for piece, band in known], own, axis) for axis in (0, 1))
    bands = [band for _, band in known]
    strips = {piece.path: band.strip_bytes for piece, band in known}
    return StoredBand(
        shape=own.shape,
        block_shape=(rows[0], columns[0]),
        block_bytes=max(own.block_bytes, *(band.block_bytes for band in bands)),
        interleaved=any(band.interleaved for band in bands) and not any(_is_scaled(*pair, own) for pair in known),
        strip_bytes=sum(strips.values()),
        expensive=remote or any(band.expensive for band in bands),
        remote=remote or any(band.remote for band in bands),
        straddles=not (rows[1] and columns[1]) or any(band.straddles for band in bands),
    )


def _spans(piece: _Piece, band: StoredBand, own: StoredBand, axis: int) -> tuple[Span, Span]:
    """Where a piece lies in its file, and in the virtual band, along one axis."""
    source = piece.source[axis] if piece.source else (0.0, float(band.shape[axis]))
    if piece.target:
        return source, piece.target[axis]
    return source, (0.0, float(own.shape[axis]) if piece.scaled else source[1])


def _is_scaled(piece: _Piece, band: StoredBand, own: StoredBand) -> bool:
    """Whether the pixels of a piece are others than those of its file: enlarged, reduced or warped."""
    spans = [_spans(piece, band, own, axis) for axis in (0, 1)]
    return not piece.placed or any(abs(theirs - ours) > _SAME for (_, theirs), (_, ours) in spans)


@dataclass(frozen=True)
class _Lattice:
    """Blocks of a file along one axis of a virtual band, in its pixels."""

    side: float
    first: float
    """Where one of them begins."""
    inside: Span | None
    """Where there are any; None where that is not known."""

    def is_cut_by(self, side: int) -> bool:
        """Whether blocks of another side, counted from 0, end within one of these."""
        if self.inside is None:
            return True
        start, stop = self.inside[0], sum(self.inside)
        cut = (int(start // side) + 1) * side
        cuts = [place for place in (cut, cut + side) if place < stop - _SAME and place > start + _SAME]
        return any(
            abs((place - self.first) / self.side - round((place - self.first) / self.side)) > _SAME for place in cuts
        )


def _lattice(piece: _Piece, band: StoredBand, axis: int, own: StoredBand) -> _Lattice:
    """Where the blocks of a piece lie."""
    if not piece.placed:  # where its blocks lie, and how large they are in its pixels, is not known
        return _Lattice(band.block_shape[axis], 0.0, None)
    (start, length), (to, size) = _spans(piece, band, own, axis)
    scale = length / size
    level = max((by for by in band.overviews if by <= scale * (1 + _SAME)), default=1)
    side = min(band.block_shape[axis] * level / scale, _ENLARGED * max(band.block_shape[axis], own.block_shape[axis]))
    first = to - start / scale
    if first <= to + _SAME and first + side >= to + size - _SAME:  # one block is all there is
        return _Lattice(size, to, (to, size))
    return _Lattice(side, first, (to, size))


def _along(lattices: Sequence[_Lattice], own: StoredBand, axis: int) -> tuple[int, bool]:
    """Side of the blocks of a virtual band along one axis, and whether none of its files' lies across them."""
    side = max(1, ceil(max(lattice.side for lattice in lattices) - _SAME))
    if any(lattice.inside is None for lattice in lattices):  # the virtual file decodes blocks of its own
        side = ceil(side / own.block_shape[axis]) * own.block_shape[axis]
    side = min(side, own.shape[axis])
    return side, not any(lattice.is_cut_by(side) for lattice in lattices)
