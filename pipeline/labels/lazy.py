"""Labels a scene as a lazy xarray DataArray, or measures it: a number per pixel and class."""

from collections.abc import Callable
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
class _OfChunk:
    """Applies a labeller or a measure to the pixels of a chunk in a dask graph."""

    measure: Callable[..., Any]
    """Takes the columns of a block and its valid pixels, and gives an array (..., rows, columns)."""
    columns: Columns | None
    """What is computed from the bands; None if they are used as they are."""
    info: SceneInfo
    """The scene."""

    def __call__(self, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
        whole = slice(0, valid.shape[0]), slice(0, valid.shape[1])
        columns = self.columns.apply(Pixels(data, valid), self.info, whole) if self.columns else data
        measured: npt.NDArray[Any] = self.measure(columns, valid)
        return measured


@dataclass(frozen=True)
class _ClassesOf:
    """The classes that a labeller gives."""

    labeller: Labeller

    def __call__(self, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        return self.labeller(data, valid).classes


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
    source, info = _source_for(model, scene)
    labeller = model.labeller(model.columns.info(info) if model.columns else info)
    labels = _map_chunks(_OfChunk(_ClassesOf(labeller), model.columns, info), source)
    array = xr.DataArray(labels, dims=source.axes, coords=source.coords, attrs=_attrs(model, info), name="class")
    array = georeference(array, source.axes, info.grid, source.mapping, corners=source.corners)
    array.encoding["sources"] = source_files(scene)
    return array


def source_files(array: xr.DataArray | xr.Dataset) -> tuple[str, ...]:
    """Paths of the files that an array was opened from, or its scene, as far as it says so."""
    variables = array.data_vars.values() if isinstance(array, xr.Dataset) else (array,)
    found: list[str] = []
    for each in (array, *variables):
        for stated in (each.attrs.get("sources"), each.encoding.get("source"), each.encoding.get("sources")):
            found += [stated] if isinstance(stated, str) else list(map(str, np.ravel(stated))) if stated else []
    return tuple(dict.fromkeys(found))


def measure(
    scene: xr.DataArray | xr.Dataset, model: ClusterModel, measure_of: Callable[[ClusterModel, SceneInfo], Any]
) -> xr.DataArray:
    """Measure every pixel of a scene lazily, as `label` labels it.

    `measure_of` makes a `labels.measures.Measure` of the model, for the columns of a scene. Returns a DataArray
    (class, y, x) of float64, whose coordinate `class` has the labels 1 to k; NaN for nodata.
    """
    source, info = _source_for(model, scene)
    made = measure_of(model, model.columns.info(info) if model.columns else info)
    numbers = _map_chunks(_OfChunk(made, model.columns, info), source, layers=model.k)
    coords = {"class": np.arange(1, model.k + 1, dtype=np.uint8), **source.coords}
    array = xr.DataArray(numbers, dims=("class", *source.axes), coords=coords, name=made.name)
    return georeference(array, source.axes, info.grid, source.mapping, corners=source.corners)


def _source_for(model: ClusterModel, scene: xr.DataArray | xr.Dataset) -> tuple[ArraySource, SceneInfo]:
    """Open a scene for a model; return its bands, and facts about them in the model's quantity.

    Raises ModelError unless the scene fits the model.
    """
    source = ArraySource(scene, model.scene_bands)
    info = source.info
    if "numbers" in model.units.quantities:
        info = info.as_stored_numbers(model.units_of_bands(info.units))
    model.check_scene(info)
    return source, info


def _map_chunks(task: _OfChunk, source: ArraySource, layers: int = 0) -> da.Array:
    """Label each chunk, with the pixels of its neighbours that affect it, shape (rows, columns).

    With `layers`, the task gives an array of float64 with so many of them, shape (layer, rows, columns).
    """
    data, valid, chunks = source.data, source.valid, source.valid.chunks
    halo = task.columns.halo if task.columns else 0
    # a single chunk has no neighbours, and may be narrower than the margin
    margins = {axis: halo if len(parts) > 1 else 0 for axis, parts in enumerate(chunks)}
    if halo:
        data, valid = overlap(data, {0: 0, 1: margins[0], 2: margins[1]}, "none"), overlap(valid, margins, "none")
    kind, shape = (np.float64, ((layers,), *valid.chunks)) if layers else (np.uint8, valid.chunks)
    meta = np.empty((0,) * len(shape), kind)
    dropped = None if layers else 0
    made: da.Array = da.map_blocks(task, data, valid, drop_axis=dropped, chunks=shape, dtype=kind, meta=meta)
    if halo:
        first = len(shape) - 2
        trimmed = trim_internal(made, {first + axis: margin for axis, margin in margins.items()}, "none")
        made = trimmed.rechunk((*shape[:first], *chunks))
    return made


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
