"""Catalogues of Zarr and NetCDF stores: one per store, or one scene of several stores with different bands."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from pipeline.core.band_names import check_names_differ, names_of_band_files
from pipeline.core.layer_kinds import layer_kinds
from pipeline.core.mask_layers import mask_kind
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer, reflective_names
from pipeline.formats.eopf import is_eopf, open_eopf
from pipeline.geo.overlap import coverage
from pipeline.stores.groups import XARRAY_BYTES, close_stores
from pipeline.stores.values import quantity_of
from pipeline.stores.variables import survey

_SAME_EXTENT: Final = 0.99
"""Smallest share of each other's extent that two stores must cover to count as the same extent."""


def open_stores(paths: Sequence[str], time: int | str | None = None) -> list[Catalogue]:
    """Read the catalogues of Zarr and NetCDF stores, at the time of the config's `scene.time`.

    There is one per store if they are products or hold the same bands; else a single one with the bands of all.

    Raises
    ------
    SceneError
        If a store can't be opened or has no bands, or stores share some, but not all, of their band names.
    ConfigError
        If a store has no such time step.
    """
    close_stores()  # a store may have been rewritten since it was last opened
    catalogues = [_open_store(path, time) for path in paths]
    if len(catalogues) == 1 or any(catalogue.product for catalogue in catalogues):
        return catalogues
    measured = [_measured(catalogue) for catalogue in catalogues]
    if all(set(names) == set(measured[0]) for names in measured):
        same_extent = _have_same_extent(catalogues)
        if len(measured[0]) > 1 or not same_extent:
            return _as_mosaic(catalogues, same_extent=same_extent)
    return [_stacked(catalogues)]


def _open_store(path: str, time: int | str | None) -> Catalogue:
    """Read the catalogue of one store: an EOPF product, or variables with rows and columns."""
    if is_eopf(path):
        return open_eopf(path)
    found = survey(path, time)
    kinds = layer_kinds([band.ref.variable for band in found.bands])
    kinds = [band.kind or kind for band, kind in zip(found.bands, kinds, strict=True)]
    if "measured" not in kinds:  # a store of nothing else is meant to be read
        kinds = ["measured"] * len(kinds)
    bands = tuple(
        BandOffer(
            name=band.name,
            versions=(BandVersion(path=path, array=band.ref),),
            kind=kind,
            quantity=quantity_of(band.attrs),
        )
        for band, kind in zip(found.bands, kinds, strict=True)
    )
    unusable = (
        f"{path}: variables with more than one dimension in addition to rows, columns and time are left out: "
        f"{', '.join(found.unusable)}"
    )
    return Catalogue(
        origin=path,
        bands=bands,
        default=reflective_names(bands),
        files=(path,),
        library_bytes=XARRAY_BYTES,
        times=found.times,
        masks=tuple(_masks(bands)),
        notes=(unusable,) if found.unusable else (),
    )


def _masks(bands: Sequence[BandOffer]) -> Iterator[MaskOffer]:
    """Quality layers that are recognised by their names."""
    for band in bands:
        kind = mask_kind(band.name) if band.kind == "quality layer" else None
        if kind:
            yield MaskOffer(kind=kind, versions=band.versions)


def _measured(catalogue: Catalogue) -> tuple[str, ...]:
    """Names of the measured bands."""
    return tuple(band.name for band in catalogue.bands if band.kind == "measured")


def _have_same_extent(catalogues: Sequence[Catalogue]) -> bool:
    """Whether each store has the extent of the next one."""
    grids = [catalogue.bands[0].open(catalogue.bands[0].native).grid for catalogue in catalogues]
    return all(
        coverage(one, other) > _SAME_EXTENT and coverage(other, one) > _SAME_EXTENT for one, other in pairwise(grids)
    )


def _as_mosaic(catalogues: list[Catalogue], *, same_extent: bool) -> list[Catalogue]:
    """Catalogues of stores with the same bands, which become a mosaic; with a warning if the extents are the same."""
    if not same_extent:
        return catalogues
    first, second, *_ = catalogues
    note = (
        f"scene.source: {first.origin} and {second.origin} hold the same bands of the same extent: each pixel is taken "
        f"from the first of {len(catalogues)} stores that is valid there; to compare stores, run them separately"
    )
    return [replace(first, notes=(note, *first.notes)), *catalogues[1:]]


def _stacked(catalogues: Sequence[Catalogue]) -> Catalogue:
    """One catalogue with the bands of several stores, named by variable, or by file where variables share a name.

    Raises SceneError if two bands have the same name.
    """
    measured = [name for catalogue in catalogues for name in _measured(catalogue)]
    shared = {name for name in measured if measured.count(name) > 1}
    single = [c.origin for c in catalogues if len(_measured(c)) == 1 and _measured(c)[0] in shared]
    names_by_file = dict(zip(single, names_of_band_files(single), strict=True)) if single else {}
    all_names = [name for catalogue in catalogues for name in catalogue.names]
    bands: list[BandOffer] = []
    for catalogue in catalogues:
        for band in catalogue.bands:
            name = band.name
            if band.kind == "measured":
                name = names_by_file.get(catalogue.origin, name)
            elif all_names.count(name) > 1:
                name = f"{Path(catalogue.origin).stem}_{name}"
            bands.append(replace(band, name=name))
    check_names_differ([band.name for band in bands], [band.native.path for band in bands])
    return Catalogue(
        origin=catalogues[0].origin,
        bands=tuple(bands),
        default=reflective_names(bands),
        masks=tuple(mask for catalogue in catalogues for mask in catalogue.masks),
        files=tuple(file for catalogue in catalogues for file in catalogue.files),
        library_bytes=XARRAY_BYTES,
        times=tuple(dict.fromkeys(time for catalogue in catalogues for time in catalogue.times)),
        notes=tuple(note for catalogue in catalogues for note in catalogue.notes),
    )
