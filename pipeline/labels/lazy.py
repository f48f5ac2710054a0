"""Labels a scene as a lazy xarray DataArray."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.array.overlap import overlap, trim_internal

from pipeline.core.errors import ConfigError
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import kind_words
from pipeline.dataarrays.georeference import georeference
from pipeline.dataarrays.source import ArraySource
from pipeline.features.columns import Columns
from pipeline.models.base import ClusterModel, Labeller
from pipeline.models.classes import UNCLASSIFIED


@dataclass(frozen=True)
class _Classes:
    """Labels the pixels of a chunk in a dask graph."""

    labeller: Labeller
    columns: Columns | None
    """What is computed from the bands; None if they are used as they are."""
    info: SceneInfo
    """The scene."""

    def __call__(self, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        whole = slice(0, valid.shape[0]), slice(0, valid.shape[1])
        columns = self.columns.apply(Pixels(data, valid), self.info, whole) if self.columns else data
        return self.labeller(columns, valid).classes


def label(scene: xr.DataArray | xr.Dataset, model: ClusterModel) -> xr.DataArray:
    """Label every pixel of a scene with a class of a model, lazily.

    Parameters
    ----------
    scene : DataArray (band, y, x), or Dataset of bands
        A scene as for `fit`, with the model's bands among its own, in any order.
    model : ClusterModel
        From `fit` or `ClusterModel.load`.

    Returns
    -------
    DataArray (y, x) of uint8
        0 for nodata, else 1 to k, or 255 where the model leaves a pixel unclassified; lazy, with the chunks of
        the scene. Rows and columns have the scene's names and coordinates. Georeferencing and attributes, including
        those that `write` stores in the map, are saved to NetCDF and Zarr files. The attribute `nodata` is 0; there is
        no `_FillValue`, because xarray would then read saved labels as floats.

    Raises
    ------
    ConfigError
        When the scene is not a DataArray or Dataset of bands on one grid, or the model is no model.
    ModelError
        When the scene's bands or units don't fit the model.

    Notes
    -----
    If the model smooths bands, a chunk is computed with the edges of its neighbours. These are computed again for each
    block that `write` takes; `scene.persist()` avoids that.
    """
    if not isinstance(model, ClusterModel):
        msg = f"label: expected a model from fit() or ClusterModel.load(), not {kind_words(model)}"
        raise ConfigError(msg)
    source = ArraySource(scene, model.scene_bands)
    info, columns = source.info, model.columns
    if "numbers" in model.units.quantities:
        info = info.as_stored_numbers(model.units_of_bands(info.units))
    model.check_scene(info)
    labeller = model.labeller(columns.info(info) if columns else info)
    labels = _map_chunks(_Classes(labeller, columns, info), source.data, source.valid, columns.halo if columns else 0)
    array = xr.DataArray(labels, dims=source.axes, coords=source.coords, attrs=_attrs(model, info), name="class")
    return georeference(array, source.axes, info.grid, source.mapping, corners=source.corners)


def _map_chunks(classes: _Classes, data: da.Array, valid: da.Array, halo: int) -> da.Array:
    """Label each chunk, with the pixels of its neighbours that affect it, shape (rows, columns)."""
    chunks = valid.chunks
    # a single chunk has no neighbours, and may be narrower than the margin
    margins = {axis: halo if len(parts) > 1 else 0 for axis, parts in enumerate(chunks)}
    if halo:
        data, valid = overlap(data, {0: 0, 1: margins[0], 2: margins[1]}, "none"), overlap(valid, margins, "none")
    labels: da.Array = da.map_blocks(classes, data, valid, drop_axis=0, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    if halo:
        labels = trim_internal(labels, margins, "none").rechunk(chunks)
    return labels


def _attrs(model: ClusterModel, info: SceneInfo) -> dict[str, Any]:
    """Attributes of labels: CF flags, the model's digest and number of classes, and when the scene was acquired."""
    meanings = {number: f"class_{number}" for number in range(1, model.k + 1)}
    if model.leaves_unclassified:
        meanings[UNCLASSIFIED] = "unclassified"
    return {
        "long_name": "class",
        "nodata": np.uint8(0),
        "flag_values": np.array(list(meanings), np.uint8),
        "flag_meanings": " ".join(meanings.values()),
        "k": model.k,
        "model": model.digest,
        **({"acquired": str(info.acquired)} if info.acquired else {}),
    }
