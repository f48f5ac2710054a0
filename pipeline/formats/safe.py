"""Sentinel-2 products in ESA's SAFE format: a folder or a zip, Level-1C or 2A, with old or compact names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import SceneError
from pipeline.core.strict_xml import parse_xml
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer, Product
from pipeline.formats.product_files import FolderTree, Tree, ZipTree
from pipeline.formats.sentinel2 import (
    BAND_IDS,
    DEFAULT_BANDS,
    NATIVE_RESOLUTION,
    Sentinel2Metadata,
    has_offset,
    read_metadata,
    reflectance_band,
)

METADATA: Final = re.compile(r"(MTD_MSIL(1C|2A)|S2[A-D]_(OPER|USER)_MTD_SAFL(1C|2A)_\w+)\.xml")
"""Names of a product's main metadata file."""
_IMAGE: Final = re.compile(r".*_(?P<layer>B\d\d|B8A|SCL)(_[^/]*?)??(_(?P<resolution>10|20|60)m)?(\.jp2|\.tif)?")
_TILE: Final = re.compile(r"_T?(\d\d[A-Z]{3})(?=_|\b)")


def is_product_folder(folder: Path) -> bool:
    """Whether a folder is the root folder of a product."""
    return any(METADATA.fullmatch(file.name) for file in folder.glob("*.xml"))


def product_root(path: Path) -> tuple[Path, str] | None:
    """Find the root folder or zip of a product, and the granule's name if its folder was named; None for other paths.

    The path is the product's folder, its metadata or manifest file, the folder of one of its granules, or a zip.
    """
    if path.is_file():
        if METADATA.fullmatch(path.name) or path.name == "manifest.safe":
            return path.parent, ""
        return (path, "") if path.suffix.lower() == ".zip" else None
    if is_product_folder(path):
        return path, ""
    if path.parent.name == "GRANULE" and is_product_folder(path.parent.parent):
        return path.parent.parent, path.name
    return None


def products_in(folder: Path) -> list[Path]:
    """Products directly in a folder: product folders, and zips with the name of a product."""
    inside = sorted(folder.iterdir())
    return [
        path
        for path in inside
        if (path.is_dir() and is_product_folder(path)) or re.fullmatch(r"S2[A-D]_.*\.zip", path.name)
    ]


def open_product(path: Path, granule: str = "") -> Catalogue:
    """Read bands and the scene classification mask of one tile from metadata and file names, without opening images.

    Parameters
    ----------
    path : Path
        Root folder or zip of the product.
    granule : str
        Name of the granule's folder; needed for old products with several tiles.

    Raises
    ------
    SceneError
        If it is no product, its metadata lack a field, the zip is damaged, or a granule has to be named.
    """
    tree = ZipTree(path) if path.is_file() else FolderTree(path)
    found = [name for name in tree.names if METADATA.fullmatch(PurePosixPath(name).name)]
    if len(found) != 1:
        count = f"{len(found)} products: {', '.join(found[:3])}" if found else "no Sentinel-2 product"
        msg = f"{tree.origin}: this holds {count}; expected one MTD_MSIL1C.xml or MTD_MSIL2A.xml"
        raise SceneError(msg)
    metadata = read_metadata(parse_xml(tree.read(found[0]), tree.path(found[0])), tree.path(found[0]))
    root = PurePosixPath(found[0]).parent
    images = _images(tree, root, metadata, _one_granule(tree, root, granule))
    bands = tuple(
        reflectance_band(band, _versions(images, band), *metadata.scale_and_offset(band))
        for band in BAND_IDS
        if any(image.layer == band for image in images)
    )
    if not bands:
        msg = f"{tree.origin}: the product neither holds nor lists images; download it again"
        raise SceneError(msg)
    scl = tuple(version for version in _versions(images, "SCL") if version.present)
    return Catalogue(
        origin=tree.origin,
        bands=bands,
        default=_default(bands),
        all_names=_all_names(bands),
        masks=(MaskOffer(kind="scl", versions=scl),) if scl else (),
        product=_product(tree, metadata),
        files=(tree.origin, *(tree.path(name) for name in found)),
        notes=tuple(_notes(images, bands, metadata, tree.origin)),
        acquired=Acquisition.parse(metadata.sensing_start),
    )


@dataclass(frozen=True)
class _Image:
    """An image file that the product holds or lists."""

    layer: str
    """Name of the band, or SCL."""
    version: BandVersion
    """Path and nominal resolution of the file, and whether it is present."""


def _one_granule(tree: Tree, root: PurePosixPath, wanted: str) -> str:
    """Name of the granule's folder; empty if there is none; raise SceneError if several tiles and none is named."""
    below = PurePosixPath(root / "GRANULE").parts
    granules = sorted(
        {
            parts[len(below)]
            for name in tree.names
            if (parts := PurePosixPath(name).parts)[: len(below)] == below
            and len(parts) > len(below) + 1
            and not parts[len(below)].startswith(".")  # hidden files, such as .DS_Store
        }
    )
    if wanted or len(granules) <= 1:
        return wanted or (granules[0] if granules else "")
    msg = (
        f"{tree.origin}: the product holds {len(granules)} tiles; name the folder of one of them, such as "
        f"{tree.path(str(root / 'GRANULE' / granules[0]))}"
    )
    raise SceneError(msg)


def _images(tree: Tree, root: PurePosixPath, metadata: Sentinel2Metadata, granule: str) -> list[_Image]:
    """Image files of a tile: those present, and those that the metadata list but that are missing."""
    folder = root / "GRANULE" / granule
    present = {
        PurePosixPath(name).stem: name
        for name in tree.names
        if name.startswith(f"{folder}/IMG_DATA/") and name.lower().endswith((".jp2", ".tif"))
    }
    tile = _TILE.search(granule)
    listed = {PurePosixPath(image).name: image for image in metadata.images if not tile or tile[1] in image}
    images = []
    for stem, name in (listed | present).items():
        match = _IMAGE.fullmatch(stem)
        if match:
            layer = match["layer"]
            resolution = float(match["resolution"] or NATIVE_RESOLUTION.get(layer, 20.0))
            path = tree.path(present.get(stem) or str(root / f"{name}.jp2"))
            images.append(_Image(layer, BandVersion(path=path, resolution=resolution, present=stem in present)))
    return images


def _versions(images: Sequence[_Image], layer: str) -> tuple[BandVersion, ...]:
    """Files of a layer, finest resolution first."""
    versions = [image.version for image in images if image.layer == layer]
    return tuple(sorted(versions, key=lambda version: version.resolution))


def _default(bands: Sequence[BandOffer]) -> tuple[str, ...]:
    """Names of the default bands: the four 10 m bands; without 10 m images B8A instead of B08, as ESA provides it."""
    if any(band.native.present and band.native.resolution == NATIVE_RESOLUTION["B08"] for band in bands):
        return DEFAULT_BANDS
    present = {band.name for band in bands if any(version.present for version in band.versions)}
    return DEFAULT_BANDS if "B08" in present or "B8A" not in present else (*DEFAULT_BANDS[:-1], "B8A")


def _all_names(bands: Sequence[BandOffer]) -> tuple[str, ...]:
    """Names of all bands, except missing ones of a native resolution at which every image is missing."""
    resolutions = {band.native.resolution for band in bands if band.native.present}
    return tuple(
        band.name
        for band in bands
        if any(version.present for version in band.versions) or band.native.resolution in resolutions
    )


def _product(tree: Tree, metadata: Sentinel2Metadata) -> Product:
    """Metadata of the product, for reports."""
    name = metadata.uri.removesuffix(".SAFE") or PurePosixPath(tree.origin).stem
    tile = _TILE.search(name) or next((found for file in tree.names if (found := _TILE.search(file))), None)
    return Product(
        name=name,
        format="Sentinel-2 SAFE",
        level=metadata.level,
        date=metadata.sensing_start[:10],
        tile=tile[1] if tile else "",
        baseline=metadata.baseline,
        radiometry=metadata.radiometry,
    )


def _notes(
    images: Sequence[_Image], bands: Sequence[BandOffer], metadata: Sentinel2Metadata, origin: str
) -> Iterable[str]:
    """Warnings about missing images, and about an offset that the baseline has but the metadata lack."""
    missing = [image for image in images if not image.version.present]
    if missing:
        by_size = sorted({image.version.resolution for image in missing})
        listed = "; ".join(
            f"at {size:g} m {', '.join(sorted(i.layer for i in missing if i.version.resolution == size))}"
            for size in by_size
        )
        yield f"{origin}: {len(missing)} of {len(images)} images that the product lists are missing: {listed}"
    if has_offset(metadata.baseline) and not any(metadata.offsets) and bands:
        yield (
            f"{origin}: baseline {metadata.baseline} has an offset, but the metadata state none; it is assumed to be "
            "0, as in harmonised products"
        )
