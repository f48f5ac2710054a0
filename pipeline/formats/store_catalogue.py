"""What Zarr and NetCDF stores offer: each by itself, and several that hold one band each as one scene."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pipeline.core.band_names import check_names_differ, names_of_band_files
from pipeline.core.layer_kinds import layer_kinds
from pipeline.core.mask_layers import mask_kind
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer
from pipeline.formats.eopf import XARRAY_BYTES, is_eopf, open_eopf
from pipeline.geo.overlap import coverage
from pipeline.stores.groups import close_stores
from pipeline.stores.values import quantity_of
from pipeline.stores.variables import survey

_ALL = 0.99
"""Share of the ground of one store that another covers where both show the same."""


def open_stores(paths: Sequence[str], time: int | str | None = None) -> list[Catalogue]:
    """Read what stores offer: one catalogue for each, or one for all where they hold different bands.

    Parameters
    ----------
    paths : sequence of str
        Zarr and NetCDF stores.
    time : int, str or None
        Which of several times is taken; as in the config's `scene.time`.

    Raises
    ------
    SceneError
        When one can't be opened or has no bands, or some, but not all, of the bands of two are called the same.
    ConfigError
        When one has no such time.
    """
    close_stores()  # a store may have been written anew since
    catalogues = [_open_store(path, time) for path in paths]
    if len(catalogues) == 1 or any(catalogue.product for catalogue in catalogues):
        return catalogues
    measured = [_measured(catalogue) for catalogue in catalogues]
    if all(set(names) == set(measured[0]) for names in measured):
        same = _show_same_ground(catalogues)
        if len(measured[0]) > 1 or not same:
            return _as_mosaic(catalogues, same=same)
    return [_stacked(catalogues)]


def _open_store(path: str, time: int | str | None) -> Catalogue:
    """Read what one store offers: an EOPF product, or any variables with rows and columns."""
    if is_eopf(path):
        return open_eopf(path)
    found = survey(path, time)
    kinds = layer_kinds([band.ref.variable for band in found.bands])
    kinds = [band.kind or kind for band, kind in zip(found.bands, kinds, strict=True)]
    if "measured" not in kinds:  # somebody wants a map of them
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
        f"{path}: left out, as a band has no more than one dimension beside rows, columns and time: "
        f"{', '.join(found.unusable)}"
    )
    return Catalogue(
        origin=path,
        bands=bands,
        default=_reflective(bands),
        files=(path,),
        libraries=XARRAY_BYTES,
        times=found.times,
        masks=tuple(_masks(bands)),
        notes=(unusable,) if found.unusable else (),
    )


def _masks(bands: Sequence[BandOffer]) -> Iterator[MaskOffer]:
    """Layers of quality whose values are known by their names."""
    for band in bands:
        kind = mask_kind(band.name) if band.kind == "quality layer" else None
        if kind:
            yield MaskOffer(kind=kind, versions=band.versions)


def _reflective(bands: Sequence[BandOffer]) -> tuple[str, ...]:
    """Names of the bands that 'auto' stands for, where some measure something else; none where it is all or nothing."""
    measured = [band for band in bands if band.kind == "measured"]
    reflective = tuple(band.name for band in measured if not band.measures_no_light)
    return reflective if len(reflective) < len(measured) else ()


def _measured(catalogue: Catalogue) -> tuple[str, ...]:
    return tuple(band.name for band in catalogue.bands if band.kind == "measured")


def _show_same_ground(catalogues: Sequence[Catalogue]) -> bool:
    """Whether all stores cover the ground of all others."""
    grids = [catalogue.bands[0].open(catalogue.bands[0].native).grid for catalogue in catalogues]
    return all(coverage(one, other) > _ALL and coverage(other, one) > _ALL for one, other in pairwise(grids))


def _as_mosaic(catalogues: list[Catalogue], *, same: bool) -> list[Catalogue]:
    """Stores of the same bands: of each pixel the first counts that holds data there."""
    if not same:
        return catalogues
    first, second, *_ = catalogues
    note = (
        f"scene.source: {first.origin} and {second.origin} hold the same bands of the same ground: each pixel is taken "
        f"from the first that holds data there, of {len(catalogues)}; to compare them, make a map of each"
    )
    return [replace(first, notes=(note, *first.notes)), *catalogues[1:]]


def _stacked(catalogues: Sequence[Catalogue]) -> Catalogue:
    """One scene of the bands of several stores, named after variables, or after files where these share a name.

    Raises
    ------
    SceneError
        When two bands are called the same.
    """
    measured = [name for catalogue in catalogues for name in _measured(catalogue)]
    shared = {name for name in measured if measured.count(name) > 1}
    lone = [c.origin for c in catalogues if len(_measured(c)) == 1 and _measured(c)[0] in shared]
    after_files = dict(zip(lone, names_of_band_files(lone), strict=True)) if lone else {}
    all_names = [name for catalogue in catalogues for name in catalogue.names]
    bands: list[BandOffer] = []
    for catalogue in catalogues:
        for band in catalogue.bands:
            name = band.name
            if band.kind == "measured":
                name = after_files.get(catalogue.origin, name)
            elif all_names.count(name) > 1:
                name = f"{Path(catalogue.origin).stem}_{name}"
            bands.append(replace(band, name=name))
    check_names_differ([band.name for band in bands], [band.native.path for band in bands])
    return Catalogue(
        origin=catalogues[0].origin,
        bands=tuple(bands),
        default=_reflective(bands),
        masks=tuple(mask for catalogue in catalogues for mask in catalogue.masks),
        files=tuple(file for catalogue in catalogues for file in catalogue.files),
        libraries=XARRAY_BYTES,
        times=tuple(dict.fromkeys(time for catalogue in catalogues for time in catalogue.times)),
        notes=tuple(note for catalogue in catalogues for note in catalogue.notes),
    )
