"""State the facts about a scene: its grid, bands, units and files."""

from collections.abc import Sequence

import numpy as np

from pipeline.config.schema import SceneConfig
from pipeline.core.acquisition import Acquisition
from pipeline.core.scene_info import SceneInfo
from pipeline.formats.catalogue import Catalogue
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.cut import Cut, scene_block_shape
from pipeline.scenes.plan_parts import PlannedParts
from pipeline.scenes.scene_masks import SceneMasks


def scene_info(
    bands: Sequence[FileBand],
    cut: Cut,
    planned: PlannedParts,
    masks: SceneMasks,
    config: SceneConfig,
    *,
    catalogue: Catalogue | None,
) -> SceneInfo:
    """State the facts about a scene of bands that are read in parts onto a grid; `catalogue` is what offers them."""
    return SceneInfo(
        grid=cut.grid,
        origin=cut.origin,
        map_window=cut.map_window,
        bands=tuple(band.name for band in bands),
        dtype=np.result_type(*{band.dtype for band in bands}),
        nodata=planned.nodata,
        nodata_rule=config.nodata,
        scales=tuple(band.scale for band in bands),
        offsets=tuple(band.offset for band in bands),
        quantities=tuple(band.quantity for band in bands),
        common_names=tuple(band.common for band in bands),
        block_shape=scene_block_shape(bands, cut.grid),
        masked=bool(masks.masks or masks.fit_masks) or any(part.has_validity_mask for part in planned.parts),
        drivers=tuple(dict.fromkeys(band.driver for band in bands)),
        sources=tuple(dict.fromkeys(band.path for band in bands)),
        acquired=acquisition_of(bands, catalogue, config),
        files=tuple(dict.fromkeys([*(file for band in bands for file in (band.path, *band.files)), *masks.files])),
    )


def acquisition_of(bands: Sequence[FileBand], catalogue: Catalogue | None, config: SceneConfig) -> Acquisition | None:
    """When bands were acquired: by the config, else the product's metadata, else their files; None if unknown."""
    if config.date:
        return Acquisition.parse(config.date)
    return (catalogue.acquired if catalogue else None) or Acquisition.spanning(band.acquired for band in bands)
