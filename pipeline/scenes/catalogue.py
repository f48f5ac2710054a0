"""From what the user names to what it offers: plain files, or a product."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.scenes.filebands import FileBand, list_bands
from pipeline.scenes.files import find_files
from pipeline.scenes.offers import BandOffer, BandVersion, Catalogue


def open_catalogue(source: str | Path | Sequence[str | Path], besides: Iterable[str | Path] = ()) -> Catalogue:
    """Find out what a source is and what it offers.

    Parameters
    ----------
    source : str, Path or sequence of them
        Raster files, folders, globs.
    besides : iterable of str or Path
        Files that no folder or glob stands for: a run's own outputs, left there by an earlier run.

    Raises
    ------
    SceneError
        When there is nothing to open, or more than one thing.
    """
    files = find_files(source, besides)
    return Catalogue(origin=files[0], bands=tuple(_offer(band) for band in list_bands(files)))


def _offer(band: FileBand) -> BandOffer:
    """A band whose file had to be opened to know it."""
    return BandOffer(name=band.name, versions=(BandVersion(path=band.path, index=band.index),), opened=band)
