"""Detect what a source is (product, STAC item, store, raster files) and open its catalogues."""

import glob
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.core.band_names import band_order
from pipeline.core.errors import SceneError
from pipeline.formats import registry
from pipeline.formats.archives import is_archive, open_archive
from pipeline.formats.aws_tiles import is_tile_folder, open_tile
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.file_sets import files_catalogue
from pipeline.formats.paths import (
    RASTER_SUFFIXES,
    check_lookup,
    check_names,
    find_files,
    is_gdal_path,
    rasters_in,
    stores_in,
    without,
)
from pipeline.formats.safe import open_product, product_root, products_in
from pipeline.formats.stac import is_stac, open_items
from pipeline.geo.crs import check_proj
from pipeline.stores.locate import is_store

logger = logging.getLogger(__name__)


def open_catalogues(
    source: str | Path | Sequence[str | Path], excluded: Iterable[str | Path] = (), time: int | str | None = None
) -> list[Catalogue]:
    """Read one catalogue per product, STAC item or store of a source; one for all plain raster files together.

    Parameters
    ----------
    source : str, Path or sequence of them
        Raster files, folders, globs; or products, STAC items, stores.
    excluded : iterable of str or Path
        Files to ignore in folders and globs, such as outputs of an earlier run; files named themselves are read.
    time : int, str or None
        Time step to read from a store, as in the config's `scene.time`.

    Raises
    ------
    SceneError
        If there is nothing to open, or products are mixed with plain files.
    ConfigError
        If a store has no such time step.
    """
    named = [str(item) for item in ([source] if isinstance(source, str | Path) else source)]
    check_names(named)
    check_lookup(named)
    check_proj()
    excluded = list(excluded)
    items = [
        path
        for item in named
        for path in (_products_matching(item, excluded) or _stores_inside(item, excluded) or [item])
    ]
    if all(is_store(item) for item in items):
        return registry.open_stores(items, time)
    found = [_open_special(item, excluded, time) for item in items]
    if any(found):
        plain = [item for item, catalogues in zip(items, found, strict=True) if not catalogues]
        if plain:
            special = next(item for item, catalogues in zip(items, found, strict=True) if catalogues)
            msg = (
                f"scene.source: {special} is a product, {plain[0]} a file or folder of images; name only products or "
                "only images"
            )
            raise SceneError(msg)
        return [catalogue for catalogues in found for catalogue in catalogues]
    return [files_catalogue(find_files(items, excluded), origin=items[0] if len(items) == 1 else "")]


def _products_matching(item: str, excluded: Sequence[str | Path]) -> list[str]:
    """Products (folders or zips) and stores that match a glob pattern; empty if the pattern means plain files."""
    try:
        if not glob.has_magic(item) or is_gdal_path(item) or Path(item).exists():
            return []
        matches = without(sorted(glob.glob(item)), excluded)  # noqa: PTH207 (keeps absolute patterns)
        special = [match for match in matches if product_root(Path(match)) or is_store(match)]
        stores = [match for match in special if is_store(match)]
    except (OSError, ValueError):  # find_files raises it with a message
        return []
    if special == stores:  # images are returned too, so that mixing them with stores is refused, not ignored
        images = [match for match in matches if Path(match).suffix.lower() in RASTER_SUFFIXES] if stores else []
        return sorted(stores, key=band_order) + images
    return special


def _stores_inside(item: str, excluded: Sequence[str | Path]) -> list[str]:
    """Stores in a folder that is neither a store nor a product itself; empty if it also holds images."""
    try:
        folder = Path(item)
        if not item or is_gdal_path(item) or not folder.is_dir() or is_store(item) or product_root(folder):
            return []
        stores = [] if products_in(folder) else stores_in(folder, excluded)
        rasters = rasters_in(folder, excluded) if stores else []
    except (OSError, ValueError):  # find_files raises it with a message
        return []
    if rasters:
        names = ", ".join(Path(store).name for store in stores)
        logger.warning(
            "%s: the folder also holds image files, so these stores are left out: %s; name them to read them",
            item,
            names,
        )
        return []
    return stores


def _open_special(item: str, excluded: Sequence[str | Path], time: int | str | None) -> list[Catalogue]:
    """Catalogues of a STAC item, a store or a product; empty if the path is none of these."""
    if is_store(item):
        return registry.open_stores([item], time)
    if item.endswith(("_MTL.txt", "_MTL.json")) and Path(item).is_file():
        return [files_catalogue(find_files([str(Path(item).parent)], excluded), origin=item)]
    path = Path(item)
    if path.name == "tileInfo.json" and is_tile_folder(path.parent):
        path = path.parent
    if not is_gdal_path(item) and is_tile_folder(path):
        return [open_tile(path)]
    if not is_gdal_path(item) and is_archive(path):
        return [open_archive(path)]
    if is_stac(item):
        return open_items(item)
    product = _product_at(item, excluded)
    return [open_product(*product)] if product else []


def _product_at(item: str, excluded: Sequence[str | Path]) -> tuple[Path, str] | None:
    """Root and granule of the product at a path, or in a folder that holds one; None if there is none.

    Raises SceneError if a folder holds several products, or a product and images.
    """
    if not item or is_gdal_path(item):
        return None
    path = Path(item)
    try:
        root = product_root(path)
        if root or not path.is_dir():
            return root
        inside = products_in(path)
        if not inside:
            return None
        rasters = rasters_in(path, excluded)
    except (OSError, ValueError):  # find_files raises it with a message
        return None
    if len(inside) == 1 and not rasters:
        return inside[0], ""
    others = [*inside[1:], *(Path(raster) for raster in rasters)]
    msg = f"{item}: the folder holds {inside[0].name} and {others[0].name}; name the one to take"
    raise SceneError(msg)
