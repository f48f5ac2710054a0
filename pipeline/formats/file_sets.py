"""Catalogue of raster files that belong together, such as one file per band."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Final

import numpy as np

from pipeline.core.band_names import band_from_file_name, common_names, differing_parts, split_stem
from pipeline.core.errors import SceneError
from pipeline.core.layer_kinds import LayerKind, layer_kinds
from pipeline.core.mask_layers import MASK_LAYERS, mask_kind
from pipeline.core.units import PIXEL_TYPES
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer, reflective_names
from pipeline.formats.landsat_mtl import LandsatMetadata, find_metadata
from pipeline.formats.paths import FoundFile
from pipeline.formats.sensors import Sensor, band_number, sensor_of
from pipeline.geo.gdal import display_path
from pipeline.geo.overlap import coverage, grid_words
from pipeline.kernels.validity import representable
from pipeline.raster.file_bands import FileBand, list_bands

_FILL_LAYERS: Final = ("qa_pixel", "bqa")
"""Quality layers whose lowest bit marks nodata pixels."""

_VERSION_WORD: Final = re.compile(r"[A-Za-z]+|\d+m")
"""Words that distinguish versions of one band, such as SRE and FRE, or 10m and 20m, but not dates or numbers."""

_LEVELS: Final = frozenset({"sr", "toa", "nbar", "nbart", "lambertian"})
"""Words that distinguish versions of numbered bands in products of ESPA and Digital Earth Australia."""

_LEVEL_WORD: Final = re.compile(r"L[12][A-Z]{1,2}")
"""Words for processing levels: L1C and L2A, L1TP and L2SP."""

_SAME_EXTENT: Final = 0.9
"""Smallest share of each other's extent that files with the same bands must cover to be bands of one scene."""


def files_catalogue(
    found: Sequence[FoundFile],
    read: Callable[[str], bytes | None] | None = None,
    origin: str = "",
    files: tuple[str, ...] = (),
) -> Catalogue:
    """Read the catalogue of raster files that belong together: bands and masks of all files, as one scene.

    Parameters
    ----------
    found : sequence of FoundFile
        The files; at least one.
    read : callable, optional
        Returns the content of a metadata file by its path, None if there is no such file; by default from disk.
    origin : str
        Source as the user named it, for messages; by default the first file.
    files : tuple of str
        Paths that must not be overwritten, such as the archive that holds the files.

    Raises
    ------
    SceneError
        If a file can't be opened, two files hold the same band, or the files are images of different places.
    """
    kinds = layer_kinds([file.stem for file in found])
    measured = [file for file, kind in zip(found, kinds, strict=True) if kind == "measured"]
    _check_versions(measured)
    bands = list_bands([file.path for file in measured])
    _check_one_image(bands)
    metadata = find_metadata([file.path for file in measured], read)
    kinds_in_files = _kinds_in_files(bands)
    named = {file.path for file in found if file.named}
    offers = [_offer(band, metadata, _kind(band, kinds_in_files, named)) for band in _with_common_names(bands)]
    if not any(offer.kind == "measured" and not offer.is_alpha for offer in offers):
        offers = [replace(offer, kind="measured") for offer in offers]
    masks = tuple(_masks(found, bands))
    layers = _unopened(found, kinds, taken={offer.name for offer in offers})
    return Catalogue(
        origin=origin or found[0].path,
        bands=(*offers, *layers),
        default=reflective_names(offers),
        masks=masks,
        notes=tuple(_notes(measured, bands)),
        fill=next((mask for mask in masks if mask.kind in _FILL_LAYERS), None),
        product=metadata.product if metadata else None,
        files=files or ((metadata.path,) if metadata else ()),
        acquired=metadata.acquired if metadata else None,
    )


def _check_versions(files: Sequence[FoundFile]) -> None:
    """Raise SceneError if two files of a folder, archive or pattern are versions of one band."""
    by_band: dict[str, list[FoundFile]] = {}
    for file in files:
        band = _band_of(file)
        if band and not file.named:
            by_band.setdefault(band, []).append(file)
    for band, (one, *others) in by_band.items():
        for other in others:
            differing = set(split_stem(one.stem)) ^ set(split_stem(other.stem))
            levels = [word for word in differing if _LEVEL_WORD.fullmatch(word)]
            if differing and (len(levels) > 1 or all(_VERSION_WORD.fullmatch(word) for word in differing)):
                msg = (
                    f"scene.source: {display_path(one.path)} and {display_path(other.path)} are two versions "
                    f"of band {band}; name the files to use, or a pattern that matches one version"
                )
                raise SceneError(msg)


def _band_of(file: FoundFile) -> str | None:
    """Band of a file by its name, such as B02, or 2 for `sr_band2` and `toa_band2`; None if the name states none."""
    levels = _LEVELS.intersection(word.lower() for word in split_stem(file.stem))
    return band_from_file_name(file.path) or (band_number(file.stem) if levels else None)


def _images(bands: Sequence[FileBand]) -> list[tuple[int, FileBand]]:
    """(number of bands, first band) of each multi-band file with as many bands, of the same type, as the first one."""
    firsts: dict[str, FileBand] = {}
    counts = Counter(band.path for band in bands)
    for band in bands:
        firsts.setdefault(band.path, band)
    several = [(counts[path], band) for path, band in firsts.items() if counts[path] > 1]
    return [(count, band) for count, band in several if (count, band.dtype) == (several[0][0], several[0][1].dtype)]


def _check_one_image(bands: Sequence[FileBand]) -> None:
    """Raise SceneError if files with equally many bands have different extents: they are separate images."""
    (count, one), *others = _images(bands) or [(0, bands[0])]
    for _, other in others:
        if min(coverage(one.grid, other.grid), coverage(other.grid, one.grid)) < _SAME_EXTENT:
            msg = (
                f"scene.source: {one.path} and {other.path} are two images of {count} bands each with different "
                f"extents ({grid_words(one.grid)}, and {grid_words(other.grid)}), not bands of one scene; run them "
                "separately, or join them first: gdalbuildvrt mosaic.vrt FILES"
            )
            raise SceneError(msg)


def _notes(files: Sequence[FoundFile], bands: Sequence[FileBand]) -> Iterator[str]:
    """Warnings if several images, or several files of one band, are read as bands of one scene."""
    by_band: dict[str, list[FoundFile]] = {}
    for file in files:
        name = band_from_file_name(file.path)
        if name and not file.named:
            by_band.setdefault(name, []).append(file)
    band, same_band = max(by_band.items(), key=lambda item: len(item[1]), default=("", []))
    if len(same_band) > 1:
        yield (
            f"scene.source: {len(same_band)} files hold band {band}, such as {display_path(same_band[0].path)}; all "
            "are read as one scene; for a map of one date or product, name its files or a pattern that matches them"
        )
    images = _images(bands)
    if len(images) > 1:
        yield (
            f"scene.source: {len(images)} images of the same extent with {images[0][0]} bands each, such as "
            f"{images[0][1].path}, are read as one scene of {len(bands)} bands; name one file for a map of it alone"
        )


def _with_common_names(bands: Sequence[FileBand]) -> list[FileBand]:
    """Set common names of bands: by the sensor, else by the bands' names, else by the file's colour tags."""
    counts = Counter(band.path for band in bands if not band.is_alpha)
    by_name = common_names([band.name for band in bands])
    named = []
    for band, name in zip(bands, by_name, strict=True):
        sensor = sensor_of([band.path])
        if sensor is None:
            common = name or band.common
        elif counts[band.path] == len(sensor.multi_band) and not band.is_alpha:
            common = sensor.multi_band[band.index - 1]
        else:
            common = sensor.common_name(band.name)
        named.append(replace(band, common=common))
    return named


def _kinds_in_files(bands: Sequence[FileBand]) -> dict[tuple[str, int], LayerKind]:
    """Kinds of the bands of multi-band files, judged by the bands' names; keys are (path, band number)."""
    files: dict[str, list[FileBand]] = {}
    for band in bands:
        if not band.is_alpha:
            files.setdefault(band.path, []).append(band)
    return {
        (path, band.index): kind
        for path, in_file in files.items()
        if len(in_file) > 1
        for band, kind in zip(in_file, layer_kinds([band.name for band in in_file]), strict=True)
    }


def _kind(band: FileBand, kinds_in_files: Mapping[tuple[str, int], LayerKind], named: set[str]) -> LayerKind:
    """Kind of a band; a band with a palette is a class map unless the user named its file."""
    if band.has_palette and band.path not in named:
        return "labels"
    return kinds_in_files.get((band.path, band.index), "measured")


def _offer(band: FileBand, metadata: LandsatMetadata | None, kind: LayerKind) -> BandOffer:
    """A band of an opened file, completed with nodata, scale and offset of its sensor and product."""
    sensor = sensor_of([band.path])
    scaling = metadata.scaling(band.path) if metadata else None
    nodata = _fill(sensor, band)
    if scaling and band.quantity == "numbers":
        scale, offset, quantity = scaling
        band = replace(band, scale=scale, offset=offset, quantity=quantity)
    return BandOffer(
        name=band.name,
        versions=(BandVersion(path=band.path, index=band.index),),
        common=band.common,
        number=(band_number(band.name) or "").upper() if sensor and sensor.bands else "",
        keys=_keys(band),
        nodata=nodata,
        opened=band,
        kind=kind,
    )


def _fill(sensor: Sensor | None, band: FileBand) -> float | None:
    """Nodata value of the sensor's products if the band's integer type holds it; None for floats, which are derived."""
    if sensor is None or sensor.fill is None or band.dtype not in PIXEL_TYPES:
        return None
    dtype = np.dtype(band.dtype)
    return sensor.fill if dtype.kind in "iu" and representable(sensor.fill, dtype) else None


def _keys(band: FileBand) -> tuple[str, ...]:
    """Other names of a band: `SR_B4` if the file's name ends with it."""
    *_, before, last = ("", "", *PurePath(band.path).stem.upper().rsplit("_", 2))
    return (f"{before}_{last}",) if last == band.name.upper() and re.fullmatch("[A-Z]{2}", before) else ()


def _unopened(files: Sequence[FoundFile], kinds: Sequence[LayerKind], taken: set[str]) -> Iterator[BandOffer]:
    """Layers that are only read if they are named, such as quality layers; each is the first band of its file."""
    names = differing_parts([file.stem for file in files])
    for file, kind, name in zip(files, kinds, names, strict=True):
        if kind != "measured":
            unique = name if name and name not in taken and names.count(name) == 1 else file.stem
            yield BandOffer(name=unique, versions=(BandVersion(path=file.path),), kind=kind)


def _masks(files: Sequence[FoundFile], bands: Sequence[FileBand]) -> Iterator[MaskOffer]:
    """Masks by the names of files, or else by the names of integer bands in multi-band files."""
    counts = Counter(band.path for band in bands)
    integer = [band for band in bands if counts[band.path] > 1 and np.dtype(band.dtype).kind in "iu"]
    for kind in MASK_LAYERS:
        versions = [BandVersion(path=file.path) for file in files if mask_kind(file.stem) == kind] or [
            BandVersion(path=band.path, index=band.index) for band in integer if mask_kind(band.name) == kind
        ]
        if versions:
            yield MaskOffer(kind=kind, versions=tuple(versions))
