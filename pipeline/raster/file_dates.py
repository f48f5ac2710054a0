"""When the pixels of a raster file were acquired: by its tags, or its name."""

from collections.abc import Mapping
from os.path import basename
from typing import Final

import rasterio

from pipeline.core.acquisition import Acquisition, acquired_by_name

_MOMENTS: Final = ("ACQUISITIONDATETIME", "ACQUISITION_DATETIME", "ACQUISITION_DATE", "DATE_ACQUIRED", "SENSING_TIME")
"""Tags that state when a scene was acquired; the first is that of GDAL's domain IMAGERY."""


def file_acquisition(path: str, file: rasterio.DatasetReader) -> Acquisition | None:
    """Acquisition by the tags of an opened file, else by its name; None if neither states one.

    `TIFFTAG_DATETIME` is the time at which a file was made (TIFF 6.0). It counts only if the name states the same day,
    as for PlanetScope, and then adds the time of day.
    """
    tags = {key.upper(): value for key, value in {**file.tags(), **file.tags(ns="IMAGERY")}.items()}
    named = acquired_by_name(basename(path.partition("?")[0]))  # noqa: PTH119 (may be /vsi...)
    if stated := _stated(tags):
        return stated
    made = Acquisition.parse(tags.get("TIFFTAG_DATETIME", "").replace(":", "-", 2))
    return made if made and named and str(made).startswith(f"{named}T") else named


def _stated(tags: Mapping[str, str]) -> Acquisition | None:
    """Acquisition by tags that state one, by their keys in capitals."""
    moments = (Acquisition.parse(tags[key]) for key in _MOMENTS if key in tags)
    days = (
        f"{tags.get(f'RANGE{end}DATE', '')}T{tags.get(f'RANGE{end}TIME', '00:00:00')}"
        for end in ("BEGINNING", "ENDING")
    )
    return next(filter(None, moments), None) or Acquisition.parse(*days)
