"""A scene of raster files or stores, as known before pixels are read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.raster.file_parts import FilePart
from pipeline.scenes.masks import LayerMask, Mask
from pipeline.scenes.reading import Reading


@dataclass(frozen=True)
class RasterScene:
    """A scene described by metadata: its bands, the files they are read from, and its masks; no pixels were read."""

    info: SceneInfo
    reading: Reading
    parts: tuple[FilePart, ...]
    """File parts to read, in band order."""
    masks: tuple[Mask, ...] = ()
    """Masks of pixels that are left out of the map and of the fit."""
    fit_masks: tuple[Mask, ...] = ()
    """Masks of further pixels that are left out of the fit only."""

    @property
    def is_remote(self) -> bool:
        """Whether any file of the scene is remote."""
        return any(part.remote for part in self._all_parts())

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scene and of its masks, over all bands."""
        return sum(len(part.indexes) * part.grid.shape[0] * part.grid.shape[1] for part in set(self._all_parts()))

    def _all_parts(self) -> Iterator[FilePart]:
        """Yield the file parts of the scene and of its masks; a layer may be used for several masks."""
        yield from self.parts
        yield from (mask.part for mask in (*self.masks, *self.fit_masks) if isinstance(mask, LayerMask))

    def as_stored_numbers(self, like: Units | None = None) -> "RasterScene":
        """Return the scene without scales and offsets: of all bands, or of those that have none in the units `like`."""
        return replace(self, info=self.info.as_stored_numbers(like))
