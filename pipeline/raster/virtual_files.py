"""Source files of virtual ones (VRT, tile indexes): which blocks GDAL decodes to read them. Reads no pixels.

A virtual file states blocks of its own, mostly 128 x 128, but GDAL decodes the blocks of its source files.
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
from pipeline.core.strict_xml import parse_xml
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options, is_remote, open_raster
from pipeline.raster.stored_blocks import OpenFiles, StoredBand, stored_bands

logger = logging.getLogger(__name__)

VIRTUAL_DRIVERS: Final = frozenset({"VRT", "GTI"})
"""GDAL drivers of files that refer to other files for their pixels."""

_MOST_FILES: Final = 256
"""Source files opened per virtual file, which takes about 0.25 s; the others are assumed to be like these."""

_MOST_REMOTE: Final = 8
"""Remote source files opened per virtual file, at one or two requests each."""

_DEEPEST: Final = 8
"""Levels of nested virtual files that are followed."""

_PROBES: Final = 16
"""Positions along each axis at which a tile index is queried for its file."""

_ENLARGED: Final = 4
"""Largest factor by which a block's side grows in an enlarged file; beyond it, decoding again is cheaper."""

_TOLERANCE: Final = 1e-6
"""Tolerance for rounding of block edges, in pixels."""

Span = tuple[float, float]
"""Start and length along one axis, in pixels."""


@dataclass(frozen=True)
class _SourceWindow:
    """A rectangle of a virtual band, and the rectangle of the source file that its pixels come from."""

    path: str
    """Path of the source file."""
    band: int
    """Band number in the source file, counted from 1."""
    source: tuple[Span, Span] | None = None
    """Rows and columns of the source file; None for the whole file."""
    target: tuple[Span, Span] | None = None
    """Rows and columns of the virtual band; None for the whole band."""
    position_known: bool = True
    """Whether the position of its blocks in the virtual band is known: not if it is warped, or of a tile index."""
    may_be_scaled: bool = True
    """Whether the two rectangles may differ in size."""


def virtual_bands(path: str, file: rasterio.DatasetReader, own: Sequence[StoredBand]) -> Sequence[StoredBand]:
    """Describe what is decoded to read each band of an open file, which may be a virtual one.

    A virtual file of which no source can be opened is described like any other file: reading it raises the error.

    Parameters
    ----------
    path : str
        Path of the file.
    file : DatasetReader
        The open file.
    own : sequence of StoredBand
        Storage of each band as the file itself states it.

    Returns
    -------
    sequence of StoredBand
        Storage of each band in the source files; `own` if the file is not virtual.
    """
    return _Explorer().explore(path, file, own)


class _Explorer:
    """Opens the source files of a virtual file: each once, up to a limit of number and nesting."""

    def __init__(self) -> None:
        self._described: dict[str, list[StoredBand] | None] = {}
        self._open_chain: list[str] = []
        """Paths of the virtual files being followed, outermost first."""
        self._remaining = {True: _MOST_REMOTE, False: _MOST_FILES}
        """Number of files that may still be opened: remote (True) and local (False)."""

    def explore(self, path: str, file: rasterio.DatasetReader, own: Sequence[StoredBand]) -> Sequence[StoredBand]:
        """Describe the bands of an open file by its source files; `own` if it is not virtual or nested too deep."""
        if file.driver not in VIRTUAL_DRIVERS or path in self._open_chain or len(self._open_chain) >= _DEEPEST:
            return own
        self._open_chain.append(path)
        try:
            windows = list(_source_windows(path, file, len(own)))
            paths = list(dict.fromkeys(window.path for band in windows for window in band))
            found = {name: bands for name in _sample(paths) if (bands := self._open(name))}
        finally:
            self._open_chain.pop()
        combined = [_combined(*pair, found) for pair in zip(own, windows, strict=True)]
        sources = [band for bands in found.values() for band in bands]
        count = len(paths) - len(found) + sum(bands[0].open_files.count or 1 for bands in found.values())
        held = max((max(band.held_bytes, band.open_files.held_bytes) for band in sources), default=0)
        return [replace(band, open_files=OpenFiles(count, held)) for band in combined]

    def _open(self, path: str) -> list[StoredBand] | None:
        """Describe the bands of a source file; None if it can't be opened, or the limit of files is reached."""
        if path in self._described:
            return self._described[path]
        remote = is_remote(path)
        if path in self._open_chain or not self._remaining[remote]:
            return None
        self._remaining[remote] -= 1
        try:
            with warnings.catch_warnings(), rasterio.Env(**gdal_options(path)):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with open_raster(path, sharing=False) as file:
                    self._described[path] = [
                        replace(band, overviews=tuple(file.overviews(index)))
                        for index, band in enumerate(self.explore(path, file, stored_bands(path, file)), start=1)
                    ]
        except (*GDAL_ERRORS, ValueError) as error:
            logger.debug("%s: this source of a virtual file can't be opened (%s)", path, error)
            self._described[path] = None
            self._remaining[True] *= not remote  # open no further remote file, each may take as long to fail
        return self._described[path]


def _sample(paths: Sequence[str]) -> Sequence[str]:
    """Return as many files as may be opened, spread evenly over all."""
    most = _MOST_REMOTE if any(map(is_remote, paths)) else _MOST_FILES
    return paths if len(paths) <= most else [paths[i * len(paths) // most] for i in range(most)]


def _source_windows(path: str, file: rasterio.DatasetReader, bands: int) -> Iterator[list[_SourceWindow]]:
    """Yield the source windows of each band of a virtual file."""
    if file.driver == "GTI":
        yield from [list(_files_of_tile_index(file))] * bands
        return
    try:
        root = parse_xml(file.tags(ns="xml:VRT").get("xml:VRT", "<VRTDataset/>").encode(), path)
    except SceneError as error:  # XML too large or deep
        logger.debug("%s", error)
        root = ET.Element("VRTDataset")
    folder = "" if path.lstrip().startswith("<") else os.path.dirname(path)  # noqa: PTH120 (may be /vsi...)
    others = (child.iter() for child in root if child.tag != "VRTRasterBand")  # sources of a warped file, or of masks
    shared = [window for element in chain.from_iterable(others) for window in _sources_in(element, folder)]
    shared = [replace(window, position_known=False) for window in shared]
    own = {band.get("band"): band for band in root.findall("VRTRasterBand")}
    for index in range(1, bands + 1):
        yield [*(window for source in own.get(str(index), ()) for window in _sources_in(source, folder)), *shared]


def _sources_in(element: ET.Element, folder: str) -> Iterator[_SourceWindow]:
    """Yield the sources that an element of a VRT refers to."""
    for tag in ("SourceFilename", "SourceDataset"):
        name = element.find(tag)
        if name is None or not (name.text or "").strip():
            continue
        path = (name.text or "").strip()
        if name.get("relativeToVRT") == "1":
            path = os.path.join(folder, path)  # noqa: PTH118 (may be /vsi...)
        band = (element.findtext("SourceBand") or "1").rpartition(",")[2]
        yield _SourceWindow(
            path,
            int(band) if band.isdigit() else 1,
            source := _rectangle(element.find("SrcRect")),
            _rectangle(element.find("DstRect")) if source else None,
        )


def _rectangle(element: ET.Element | None) -> tuple[Span, Span] | None:
    """Parse rows and columns of a rectangle; None if it is missing or incomplete."""
    if element is None:
        return None
    try:
        left, top, wide, high = (float(element.get(key, "")) for key in ("xOff", "yOff", "xSize", "ySize"))
    except ValueError:
        return None
    return ((top, high), (left, wide)) if high > 0 and wide > 0 else None


def _files_of_tile_index(file: rasterio.DatasetReader) -> Iterator[_SourceWindow]:
    """Yield the files of a tile index, which GDAL reports per queried position, without their extent."""
    names: dict[str, None] = {}
    for row in range(_PROBES):
        for column in range(_PROBES):
            pixel = (int((column + 0.5) * file.width / _PROBES), int((row + 0.5) * file.height / _PROBES))
            answer = file.get_tag_item(f"Pixel_{pixel[0]}_{pixel[1]}", "LocationInfo", bidx=1)
            if answer:
                names.update(
                    dict.fromkeys(name.text or "" for name in parse_xml(answer.encode(), file.name).iter("File"))
                )
    for name in filter(None, names):
        yield _SourceWindow(name, 1, position_known=False, may_be_scaled=False)


def _combined(
    own: StoredBand, windows: Sequence[_SourceWindow], found: Mapping[str, Sequence[StoredBand]]
) -> StoredBand:
    """Describe how a virtual band is stored in its source files."""
    known = [
        (window, found[window.path][min(window.band, len(found[window.path])) - 1])
        for window in windows
        if window.path in found
    ]
    remote = any(is_remote(window.path) for window in windows)
    if not known:
        return replace(own, expensive=own.expensive or remote, remote=own.remote or remote)
    rows, columns = (
        _block_side([_lattice(window, band, axis, own) for window, band in known], own, axis) for axis in (0, 1)
    )
    bands = [band for _, band in known]
    strips = {window.path: band.strip_bytes for window, band in known}
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


def _spans(window: _SourceWindow, band: StoredBand, own: StoredBand, axis: int) -> tuple[Span, Span]:
    """Return the span of a window in its source file and in the virtual band, along one axis."""
    source = window.source[axis] if window.source else (0.0, float(band.shape[axis]))
    if window.target:
        return source, window.target[axis]
    return source, (0.0, float(own.shape[axis]) if window.may_be_scaled else source[1])


def _is_scaled(window: _SourceWindow, band: StoredBand, own: StoredBand) -> bool:
    """Whether the pixels of a window are resampled from its source file: enlarged, reduced or warped."""
    spans = [_spans(window, band, own, axis) for axis in (0, 1)]
    return not window.position_known or any(abs(source - target) > _TOLERANCE for (_, source), (_, target) in spans)


@dataclass(frozen=True)
class _Lattice:
    """Blocks of a source file along one axis of a virtual band, in pixels of that band."""

    side: float
    """Length of a block."""
    first: float
    """Start of one of the blocks."""
    inside: Span | None
    """Span covered by blocks; None if it is unknown."""

    def is_cut_by(self, side: int) -> bool:
        """Whether blocks of a given side, starting at 0, end inside one of these blocks."""
        if self.inside is None:
            return True
        start, stop = self.inside[0], sum(self.inside)
        cut = (int(start // side) + 1) * side
        cuts = [edge for edge in (cut, cut + side) if edge < stop - _TOLERANCE and edge > start + _TOLERANCE]
        return any(
            abs((edge - self.first) / self.side - round((edge - self.first) / self.side)) > _TOLERANCE for edge in cuts
        )


def _lattice(window: _SourceWindow, band: StoredBand, axis: int, own: StoredBand) -> _Lattice:
    """Return the blocks of a window's source file along one axis of the virtual band."""
    if not window.position_known:  # position and scale of its blocks are unknown
        return _Lattice(band.block_shape[axis], 0.0, None)
    (start, length), (to, size) = _spans(window, band, own, axis)
    scale = length / size
    level = max((by for by in band.overviews if by <= scale * (1 + _TOLERANCE)), default=1)
    side = min(band.block_shape[axis] * level / scale, _ENLARGED * max(band.block_shape[axis], own.block_shape[axis]))
    first = to - start / scale
    if first <= to + _TOLERANCE and first + side >= to + size - _TOLERANCE:  # a single block covers the window
        return _Lattice(size, to, (to, size))
    return _Lattice(side, first, (to, size))


def _block_side(lattices: Sequence[_Lattice], own: StoredBand, axis: int) -> tuple[int, bool]:
    """Return the side of a virtual band's blocks along one axis, and whether no source block straddles them."""
    side = max(1, ceil(max(lattice.side for lattice in lattices) - _TOLERANCE))
    if any(lattice.inside is None for lattice in lattices):  # the virtual file is read in its own blocks
        side = ceil(side / own.block_shape[axis]) * own.block_shape[axis]
    side = min(side, own.shape[axis])
    return side, not any(lattice.is_cut_by(side) for lattice in lattices)
