"""The masks of a scene together: of its area of interest, of the config, and of nodata in a quality layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.formats.catalogue import Catalogue, MaskOffer
from pipeline.geo.area_of_interest import Area
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.cut import Cut
from pipeline.scenes.masks import LayerMask, Mask, make_mask


@dataclass(frozen=True, kw_only=True)
class SceneMasks:
    """Masks of a scene, and the files they come from."""

    masks: tuple[Mask, ...] = ()
    """Masks of pixels that are left out of the map and of the fit, that of the area of interest first."""
    fit_masks: tuple[Mask, ...] = ()
    """Masks of further pixels that are left out of the fit only."""
    files: tuple[str, ...] = ()
    """Paths of further files: of the catalogue, of masks, and of the area of interest."""
    reads_vectors: bool = False
    """Whether a vector file is read, which loads a library."""

    @property
    def layers(self) -> list[LayerMask]:
        """The masks that are layers, of values or bits."""
        return [mask for mask in (*self.masks, *self.fit_masks) if isinstance(mask, LayerMask)]


def open_masks(
    catalogue: Catalogue, bands: Sequence[FileBand], cut: Cut, config: SceneConfig, fit_mask: MaskRecord | None
) -> SceneMasks:
    """Open the masks that are configured, and the quality layer that marks nodata if a band has no nodata tag.

    Raises
    ------
    ConfigError
        If the source has no such layer, or the rule of a mask doesn't suit it.
    SceneError
        If a file can't be opened, or doesn't overlap the scene.
    """
    masks: list[Mask] = [make_mask(config.mask, catalogue, cut.grid, "scene.mask")] if config.mask else []
    untagged = any(band.opened and band.opened.nodata is None for band in catalogue.choose([b.name for b in bands]))
    if catalogue.fill and untagged and not _masks_fill(config.mask, catalogue.fill):
        fill = MaskRecord(layer=catalogue.fill.kind, bits=(0,))
        masks.append(make_mask(fill, catalogue, cut.grid, "scene.nodata"))
    for_fit = (make_mask(fit_mask, catalogue, cut.grid, "fit.mask"),) if fit_mask else ()
    vectors = any(isinstance(mask, Area) for mask in (*masks, *for_fit)) or bool(config.aoi and config.aoi.path)
    return SceneMasks(
        masks=(cut.area, *masks) if cut.area else tuple(masks),
        fit_masks=for_fit,
        files=(*catalogue.files, *(one.path for one in (config.mask, config.aoi, fit_mask) if one and one.path)),
        reads_vectors=vectors,
    )


def _masks_fill(mask: MaskRecord | None, fill: MaskOffer) -> bool:
    """Return True if the configured mask already leaves out the fill of the source's quality layer."""
    return mask is not None and mask.layer == fill.kind and mask.path is None and 0 in mask.rule[1]
