"""Write Sentinel-2 products in ESA's SAFE format from given pixels.

Measures nothing itself.  The tree, the names, the tile sizes of the images and
the fields of the metadata are those of genuine products; only what a reader of
images needs is written.  The tests use it at a small size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
TILE_SIDES = {10: 1024, 20: 640, 60: 192}
RESOLUTIONS = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12", "SCL"), 20),
    **dict.fromkeys(("B01", "B09", "B10"), 60),
}


@dataclass(frozen=True)
class SafeRecipe:
    """What a product says of itself."""

    level: str = "L2A"
    baseline: str = "05.09"
    offsets: Sequence[float] | None = (-1000,) * len(BAND_IDS)
    """In stored numbers, one for each band; None where the metadata state none."""
    quantification: float = 10_000
    tile: str = "T33UUU"
    sensing: str = "20230625T102021"
    crs: str = "EPSG:32633"
    origin: tuple[float, float] = (300_000, 5_900_040)

    @property
    def name(self) -> str:
        """Name of the product's folder."""
        number = self.baseline.replace(".", "")
        return f"S2A_MSI{self.level}_{self.sensing}_N{number}_R065_{self.tile}_{self.sensing}.SAFE"

    @property
    def granule(self) -> str:
        """Name of the tile's folder."""
        return f"{self.level}_{self.tile}_A000001_{self.sensing}"

    def image(self, layer: str, resolution: int) -> str:
        """Path of an image below the product's folder, without suffix."""
        stem = f"GRANULE/{self.granule}/IMG_DATA"
        if self.level == "L1C":
            return f"{stem}/{self.tile}_{self.sensing}_{layer}"
        return f"{stem}/R{resolution}m/{self.tile}_{self.sensing}_{layer}_{resolution}m"


def write_safe(
    folder: Path,
    layers: Mapping[str, NDArray[Any]],
    recipe: SafeRecipe | None = None,
    *,
    tile_sides: Mapping[int, int] | None = None,
) -> Path:
    """Write a product.

    Parameters
    ----------
    folder : Path
        Where the product's own folder goes.
    layers : mapping of str to ndarray
        Pixels of each layer: a band or SCL, at the resolution at which it is
        measured, or `name@resolution` for another.
    recipe : SafeRecipe, optional
        What the product says of itself.
    tile_sides : mapping of int to int, optional
        Side of the tiles of the images of each resolution.

    Returns
    -------
    Path
        The product's folder.

    """
    recipe = recipe or SafeRecipe()
    root = folder / recipe.name
    images = []
    for key in layers:
        layer, _, stated = key.partition("@")
        resolution = int(stated) if stated else RESOLUTIONS[layer]
        images.append(recipe.image(layer, resolution))
        path = root / f"{images[-1]}.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jp2(path, layers[key], resolution, recipe, (tile_sides or TILE_SIDES)[resolution])
    (root / f"MTD_MSI{recipe.level}.xml").write_text(metadata(recipe, images), encoding="utf-8")
    return root


def write_jp2(path: Path, pixels: NDArray[Any], resolution: int, recipe: SafeRecipe, side: int) -> None:
    """Write one layer as a lossless JPEG 2000."""
    left, top = recipe.origin
    rows, columns = pixels.shape
    profile = {
        "driver": "GTiff",
        "width": columns,
        "height": rows,
        "count": 1,
        "dtype": pixels.dtype,
        "crs": recipe.crs,
        "transform": Affine(resolution, 0, left, 0, -resolution, top),
    }
    # JP2 can only be made as a copy, so the pixels pass through a file in memory.
    with MemoryFile() as memory:
        with memory.open(**profile) as plain:
            plain.write(np.ascontiguousarray(pixels), 1)
        with memory.open() as plain:
            copy_as_jp2(plain, path, side)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


def copy_as_jp2(source: Any, path: Path, side: int) -> None:
    """Copy a raster as a lossless JPEG 2000 with square tiles."""
    rasterio.shutil.copy(
        source,
        path,
        driver="JP2OpenJPEG",
        quality="100",
        reversible="yes",
        blockxsize=str(side),
        blockysize=str(side),
    )


def metadata(recipe: SafeRecipe, images: Sequence[str]) -> str:
    """Write the text of a product's metadata."""
    kind, quantity = ("1C", "RADIO") if recipe.level == "L1C" else ("2A", "BOA")
    listed = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    value = f"{recipe.quantification:g}"
    if recipe.level == "L1C":
        divisor = f'<QUANTIFICATION_VALUE unit="none">{value}</QUANTIFICATION_VALUE>'
        around = "Radiometric_Offset_List"
    else:
        field = f'<BOA_QUANTIFICATION_VALUE unit="none">{value}</BOA_QUANTIFICATION_VALUE>'
        divisor = f"<QUANTIFICATION_VALUES_LIST>{field}</QUANTIFICATION_VALUES_LIST>"
        around = "BOA_ADD_OFFSET_VALUES_LIST"
    offsets = "".join(
        f'<{quantity}_ADD_OFFSET band_id="{band}">{offset:g}</{quantity}_ADD_OFFSET>'
        for band, offset in enumerate(recipe.offsets or ())
    )
    offsets = f"<{around}>{offsets}</{around}>" if recipe.offsets else ""
    sensed = recipe.sensing
    start = f"{sensed[:4]}-{sensed[4:6]}-{sensed[6:8]}T{sensed[9:11]}:{sensed[11:13]}:{sensed[13:15]}.024Z"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<n1:Level-{kind}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product.xsd">'
        "<n1:General_Info><Product_Info>"
        f"<PRODUCT_START_TIME>{start}</PRODUCT_START_TIME><PRODUCT_URI>{recipe.name}</PRODUCT_URI>"
        f"<PROCESSING_LEVEL>Level-{kind}</PROCESSING_LEVEL><PRODUCT_TYPE>S2MSI{kind}</PRODUCT_TYPE>"
        f"<PROCESSING_BASELINE>{recipe.baseline}</PROCESSING_BASELINE>"
        f"<Product_Organisation><Granule_List><Granule>{listed}</Granule></Granule_List></Product_Organisation>"
        "</Product_Info><Product_Image_Characteristics>"
        f"{divisor}{offsets}"
        "</Product_Image_Characteristics></n1:General_Info>"
        f"</n1:Level-{kind}_User_Product>\n"
    )
