"""Plan how the bands of a scene are read: nodata values and resampling per band, bands of a file in one call."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.config.fields import ResamplingMethod
from pipeline.config.schema import SceneConfig
from pipeline.core.band_names import find_band
from pipeline.core.errors import ConfigError
from pipeline.core.text import shown
from pipeline.formats.catalogue import Catalogue
from pipeline.kernels.validity import representable
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import FilePart, make_parts
from pipeline.scenes.band_checks import warn_of_resampled_bands, warn_of_slow_strips
from pipeline.scenes.cut import Cut

logger = logging.getLogger(__name__)


class NodataError(ConfigError):
    """The nodata value can't occur in any band."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Value and data type, for callers that took the value from elsewhere than the config."""


class PlannedParts(NamedTuple):
    """How the bands of a scene are read."""

    parts: tuple[FilePart, ...]
    """File parts to read, in band order."""
    nodata: tuple[int | float | None, ...]
    """Nodata value per band, None if it has none."""


def plan_parts(
    bands: Sequence[FileBand], cut: Cut, config: SceneConfig, catalogue: Catalogue | None = None
) -> PlannedParts:
    """Group the bands of a scene into parts, in band order, and choose the nodata value of each band.

    The catalogue that the bands are from, if given, says by which numbers and common names the config may call them.

    Raises
    ------
    SceneError
        If a band can't be resampled onto the grid.
    NodataError
        If the nodata value can't occur in any band.
    """
    nodata = _choose_nodata(bands, config.nodata)
    parts = tuple(make_parts(bands, cut.grid, _methods(bands, config.resampling, catalogue), nodata, cut.whole))
    warn_of_resampled_bands(parts, bands, cut.grid)
    warn_of_slow_strips({band.path: band.strip_bytes for band in bands if band.strip_bytes})
    return PlannedParts(parts, nodata)


def _choose_nodata(bands: Sequence[FileBand], setting: str | float) -> tuple[int | float | None, ...]:
    """Return each band's nodata value in the band's own type: from the config, else from the file's tag.

    A value is rounded in the band's own type, before bands of other types make that type wider.
    """
    if not isinstance(setting, str) and not any(representable(setting, np.dtype(band.dtype)) for band in bands):
        reason = f"{shown(setting)} can't occur in pixels of type {bands[0].dtype}"
        msg = f"scene.nodata: {reason}; give a value that can, or 'auto'"
        raise NodataError(msg, reason)
    values: list[int | float | None] = []
    for band in bands:
        value, dtype = band.nodata if isinstance(setting, str) else setting, np.dtype(band.dtype)
        if value is not None and not representable(value, dtype):
            logger.warning(
                "%s: the nodata value %s can't occur in %s pixels and is ignored%s",
                band.path,
                value,
                dtype,
                "; set scene.nodata" if isinstance(setting, str) else " for this band",
            )
            value = None
        values.append(None if value is None else dtype.type(value).item())
    return tuple(values)


def _methods(
    bands: Sequence[FileBand],
    setting: ResamplingMethod | Mapping[str, ResamplingMethod],
    catalogue: Catalogue | None,
) -> list[ResamplingMethod]:
    """Resampling method per band, used where the band's grid differs."""
    if isinstance(setting, str):
        return [setting] * len(bands)
    names = [band.name for band in bands]
    common, numbers = catalogue.called(names) if catalogue else (None, None)
    methods = [setting.get("default", "nearest")] * len(bands)
    for name, method in setting.items():
        if name != "default":
            methods[find_band(name, names, common, numbers, key="scene.resampling")] = method
    return methods
