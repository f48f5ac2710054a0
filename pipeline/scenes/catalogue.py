"""From what the user names to what it offers: plain files, or a product."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import SceneError
from pipeline.scenes.arrays import is_store
from pipeline.scenes.eopf import open_store
from pipeline.scenes.filebands import FileBand, list_bands
from pipeline.scenes.files import find_files, is_handed_on, rasters_in
from pipeline.scenes.offers import BandOffer, BandVersion, Catalogue
from pipeline.scenes.safe import open_product, product_root, products_in
from pipeline.scenes.stac import is_stac, open_items


def open_catalogue(source: str | Path | Sequence[str | Path], besides: Iterable[str | Path] = ()) -> Catalogue:
    """Find out what a source is and what it offers.

    Parameters
    ----------
    source : str, Path or sequence of them
        Raster files, folders, globs; or one product.
    besides : iterable of str or Path
        Files that no folder or glob stands for: a run's own outputs, left there by an earlier run.

    Raises
    ------
    SceneError
        When there is nothing to open, or more than one product.
    """
    items = [str(item) for item in ([source] if isinstance(source, str | Path) else source)]
    besides = list(besides)
    if len(items) == 1 and is_stac(items[0]):
        return open_items(items[0])
    if len(items) == 1 and is_store(items[0]):
        return open_store(items[0])
    product = _find_product(items, besides)
    if product:
        return open_product(*product)
    files = find_files(items, besides)
    return Catalogue(origin=files[0], bands=tuple(_offer(band) for band in list_bands(files)))


def _offer(band: FileBand) -> BandOffer:
    """A band whose file had to be opened to know it."""
    return BandOffer(name=band.name, versions=(BandVersion(path=band.path, index=band.index),), opened=band)


def _find_product(items: Sequence[str], besides: Sequence[str | Path]) -> tuple[Path, str] | None:
    """The product that a source stands for, if it does for one."""
    found = [(item, product) for item in items if (product := _product_at(item, besides))]
    if found and len(items) > 1:
        msg = f"scene.source: {found[0][0]} is a product, and {len(items) - 1} more are named beside it; name one"
        raise SceneError(msg)
    return found[0][1] if found else None


def _product_at(item: str, besides: Sequence[str | Path]) -> tuple[Path, str] | None:
    """The product at a path, or in a folder that holds one.

    Raises
    ------
    SceneError
        When a folder holds several, or images beside it.
    """
    if not item or is_handed_on(item):
        return None
    path = Path(item)
    try:
        root = product_root(path)
        if root or not path.is_dir():
            return root
        inside = products_in(path)
        if not inside:
            return None
        rasters = rasters_in(path, besides)
    except (OSError, ValueError):  # which the look at plain files puts into words
        return None
    if len(inside) == 1 and not rasters:
        return inside[0], ""
    others = [*inside[1:], *(Path(raster) for raster in rasters)]
    msg = f"{item}: the folder holds {inside[0].name} and {others[0].name}; name the one to take"
    raise SceneError(msg)
