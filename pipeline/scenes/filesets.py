"""From raster files that belong together, such as one for each band, to what they offer."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Final

from pipeline.errors import SceneError
from pipeline.masklayers import MASK_LAYERS, mask_kind
from pipeline.scenes.bands import band_from_file_name, common_names, differing_parts, words_of_file
from pipeline.scenes.filebands import FileBand, list_bands
from pipeline.scenes.files import FoundFile
from pipeline.scenes.ground import covered, place
from pipeline.scenes.landsat import LandsatMetadata, find_metadata
from pipeline.scenes.layers import LayerKind, layer_kinds
from pipeline.scenes.offers import BandOffer, BandVersion, Catalogue, MaskOffer
from pipeline.scenes.sensors import Sensor, band_number, sensor_of

_FILLED: Final = ("qa_pixel", "bqa")
"""Layers whose lowest bit marks pixels without data."""

_VERSION_WORD: Final = re.compile(r"[A-Za-z]+|\d+m")
"""Words that tell versions of one band apart, such as SRE and FRE, or 10m and 20m: no dates, no numbers."""

_LEVEL: Final = re.compile(r"(?:^|_)([A-Z]{2})$")
"""What stands for the level of processing before the name of a band: SR in SR_B4."""

_SAME_GROUND: Final = 0.9
"""Share of each other's ground that files of the same bands cover, at least, to be taken for bands of one scene."""


def files_catalogue(
    found: Sequence[FoundFile],
    read: Callable[[str], bytes | None] | None = None,
    origin: str = "",
    files: tuple[str, ...] = (),
) -> Catalogue:
    """Read what raster files offer together: their bands, and masks among them.

    Parameters
    ----------
    found : sequence of FoundFile
        At least one.
    read : callable, optional
        Gives the content of a metadata file by its path, None where there is none; by default from disk.
    origin : str
        What the user named, for messages; by default the first file.
    files : tuple of str
        What holds them, and must not be written over: an archive.

    Raises
    ------
    SceneError
        When a file can't be opened, two hold the same band, or they show several images.
    """
    kinds = layer_kinds([file.stem for file in found])
    measured = [file for file, kind in zip(found, kinds, strict=True) if kind == "measured"]
    _check_versions(measured)
    bands = list_bands([file.path for file in measured])
    _check_one_image(bands)
    sensor = sensor_of([file.path for file in measured])
    metadata = find_metadata([file.path for file in measured], read)
    offers = [_offer(band, sensor, metadata) for band in _with_common_names(bands, sensor)]
    masks = tuple(_masks(found))
    reflective = [offer.name for offer in offers if not offer.is_alpha and not offer.measures_no_light]
    layers = _unopened(found, kinds, taken={offer.name for offer in offers})
    return Catalogue(
        origin=origin or found[0].path,
        bands=(*offers, *layers),
        default=tuple(reflective) if any(offer.measures_no_light for offer in offers) else (),
        masks=masks,
        notes=tuple(_notes(bands)),
        fill=next((mask for mask in masks if mask.kind in _FILLED), None),
        product=metadata.product if metadata else None,
        files=files or ((metadata.path,) if metadata else ()),
    )


def _check_versions(files: Sequence[FoundFile]) -> None:
    """Raise SceneError where two files that nobody named themselves are versions of one band."""
    by_band: dict[str, list[FoundFile]] = {}
    for file in files:
        band = band_from_file_name(file.path)
        if band and not file.named:
            by_band.setdefault(band, []).append(file)
    for band, (one, *others) in by_band.items():
        for other in others:
            differing = set(words_of_file(one.stem)) ^ set(words_of_file(other.stem))
            if differing and all(_VERSION_WORD.fullmatch(word) for word in differing):
                msg = (
                    f"scene.source: {one.path} and {other.path} are two versions of band {band}; name the files to "
                    "take, or a pattern that fits one version"
                )
                raise SceneError(msg)


def _images(bands: Sequence[FileBand]) -> list[tuple[int, FileBand]]:
    """Files of as many bands as the first that has several: how many these are, and the first of each file's."""
    firsts: dict[str, FileBand] = {}
    counts = Counter(band.path for band in bands)
    for band in bands:
        firsts.setdefault(band.path, band)
    several = [(counts[path], band) for path, band in firsts.items() if counts[path] > 1]
    return [(count, band) for count, band in several if (count, band.dtype) == (several[0][0], several[0][1].dtype)]


def _check_one_image(bands: Sequence[FileBand]) -> None:
    """Raise SceneError where files of the same many bands show different ground: several images, not bands of one."""
    (count, one), *others = _images(bands) or [(0, bands[0])]
    for _, other in others:
        if min(covered(one.grid, other.grid), covered(other.grid, one.grid)) < _SAME_GROUND:
            msg = (
                f"scene.source: {one.path} and {other.path} are two images of {count} bands each that show "
                f"different ground ({place(one.grid)}, and {place(other.grid)}), not bands of one scene; make a map "
                "of each, or join them first: gdalbuildvrt mosaic.vrt FILES"
            )
            raise SceneError(msg)


def _notes(bands: Sequence[FileBand]) -> Iterator[str]:
    """Say that several images become bands of one scene."""
    images = _images(bands)
    if len(images) > 1:
        yield (
            f"scene.source: {len(images)} images of the same ground, {images[0][1].path} and others, of {images[0][0]} "
            f"bands each, are taken together as one scene of {len(bands)} bands; name one file for a map of it alone"
        )


def _with_common_names(bands: Sequence[FileBand], sensor: Sensor | None) -> list[FileBand]:
    """Bands with their common names: the sensor's, else what names tell, else what the file calls their colours."""
    if sensor is None:
        by_name = common_names([band.name for band in bands])
        told = [common or band.common for common, band in zip(by_name, bands, strict=True)]
    elif len(bands) == len(sensor.multi_band):
        told = list(sensor.multi_band)
    else:
        told = [sensor.common_name(band.name) for band in bands]
    return [replace(band, common=common) for band, common in zip(bands, told, strict=True)]


def _offer(band: FileBand, sensor: Sensor | None, metadata: LandsatMetadata | None) -> BandOffer:
    """A band whose file had to be opened to know it, with what its sensor and its product say of it."""
    scaling = metadata.scaling(band.path) if metadata else None
    nodata = sensor.fill if sensor else None
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
    )


def _keys(band: FileBand) -> tuple[str, ...]:
    """Other names of a band: `SR_B4` of a file whose name ends so."""
    stem, own = PurePath(band.path).stem.upper(), f"_{band.name.upper()}"
    level = _LEVEL.search(stem.removesuffix(own)) if stem.endswith(own) else None
    return (f"{level[1]}{own}",) if level else ()


def _unopened(files: Sequence[FoundFile], kinds: Sequence[LayerKind], taken: set[str]) -> Iterator[BandOffer]:
    """Layers that are no bands unless they are named, each the first band of its file."""
    names = differing_parts([file.stem for file in files])
    for file, kind, name in zip(files, kinds, names, strict=True):
        if kind != "measured":
            unique = name if name and name not in taken and names.count(name) == 1 else file.stem
            yield BandOffer(name=unique, versions=(BandVersion(path=file.path),), kind=kind)


def _masks(files: Sequence[FoundFile]) -> Iterator[MaskOffer]:
    """Masks among files, told by their names."""
    for kind in MASK_LAYERS:
        mine = [file for file in files if mask_kind(file.stem) == kind]
        if mine:
            yield MaskOffer(kind=kind, versions=tuple(BandVersion(path=file.path) for file in mine))
