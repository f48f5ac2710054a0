"""What Zarr and NetCDF stores offer: each by itself, and several that hold one band each as one scene."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pipeline.scenes.arrays import Survey, survey
from pipeline.scenes.bands import check_names_differ, names_of_band_files
from pipeline.scenes.eopf import XARRAY_BYTES, is_eopf, open_eopf
from pipeline.scenes.ground import covered
from pipeline.scenes.offers import BandOffer, BandVersion, Catalogue
from pipeline.scenes.stores import forget

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
    forget()  # a store may have been written anew since
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
    bands = tuple(BandOffer(name=b.name, versions=(BandVersion(path=path, array=b.ref),)) for b in found.bands)
    measured = tuple(band.name for band in found.bands if band.measured)
    return Catalogue(
        origin=path,
        bands=bands,
        whole=measured,
        files=(path,),
        libraries=XARRAY_BYTES,
        times=found.times,
        left_out=_left_out(path, found),
    )


def _left_out(path: str, found: Survey) -> tuple[str, ...]:
    """Say which variables are no bands, or none unless they are named."""
    flags = [band.name for band in found.bands if not band.measured]
    told = []
    if flags and len(flags) < len(found.bands):
        told.append(f"{path}: {', '.join(flags)} hold{'s' * (len(flags) == 1)} flags or classes: left out of the bands")
    if found.unusable:
        told.append(f"{path}: left out, as a band has no more than one dimension beside rows, columns and time: "
                    f"{', '.join(found.unusable)}")  # fmt: skip
    return tuple(told)


def _measured(catalogue: Catalogue) -> tuple[str, ...]:
    return catalogue.whole or tuple(catalogue.names)


def _show_same_ground(catalogues: Sequence[Catalogue]) -> bool:
    """Whether all stores cover the ground of all others."""
    grids = [catalogue.bands[0].open(catalogue.bands[0].native).grid for catalogue in catalogues]
    return all(covered(one, other) > _ALL and covered(other, one) > _ALL for one, other in pairwise(grids))


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
    whole: list[str] = []
    for catalogue in catalogues:
        for band in catalogue.bands:
            name = band.name
            if name in _measured(catalogue):
                name = after_files.get(catalogue.origin, name)
                whole.append(name)
            elif all_names.count(name) > 1:
                name = f"{Path(catalogue.origin).stem}_{name}"
            bands.append(replace(band, name=name))
    check_names_differ([band.name for band in bands], [band.native.path for band in bands])
    return Catalogue(
        origin=catalogues[0].origin,
        bands=tuple(bands),
        whole=tuple(whole),
        files=tuple(file for catalogue in catalogues for file in catalogue.files),
        libraries=XARRAY_BYTES,
        times=tuple(dict.fromkeys(time for catalogue in catalogues for time in catalogue.times)),
        notes=tuple(note for catalogue in catalogues for note in catalogue.notes),
        left_out=tuple(line for catalogue in catalogues for line in catalogue.left_out),
    )
