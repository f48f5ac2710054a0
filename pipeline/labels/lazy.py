"""Labels as a lazy xarray DataArray."""

import dask.array as da
import numpy as np
import xarray as xr

from pipeline.kernels.assign import assign
from pipeline.model import ClusterModel
from pipeline.scenes.lazy import ArraySource


def label(scene: xr.DataArray, model: ClusterModel) -> xr.DataArray:
    """Label every pixel of a scene with its nearest class, lazily.

    Parameters
    ----------
    scene : DataArray (band, y, x)
        With the model's bands among its own, in any order. Nodata is what its `valid` coordinate says, else
        rioxarray's nodata value, and NaN.
    model : ClusterModel
        From `fit` or `ClusterModel.load`.

    Returns
    -------
    DataArray (y, x) of uint8
        0 where there is no data, else 1 to k; chunked as the scene, nothing computed. Georeferenced as the
        scene; `attrs` hold what `write` puts into the map.

    Raises
    ------
    ModelError
        When the scene's bands or units don't fit the model.
    """
    source = ArraySource(scene)
    names = source.info.bands
    if set(model.bands) <= set(names) and names != model.bands:
        source = ArraySource(scene.isel(band=[names.index(band) for band in model.bands]))
    info = source.info.as_numbers(model.units) if "numbers" in model.units.quantities else source.info
    model.check_fits(info.bands, info.units, info.sources[0])
    centres, stretch = model.centres_in(info.units), model.stretch_in(info.units)
    labels = da.map_blocks(
        lambda data, ok: assign(data, ok, centres, stretch),
        source.data,
        source.valid,
        drop_axis=0,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )
    coords = {name: scene.coords[name] for name in ("y", "x", "spatial_ref") if name in scene.coords}
    attrs = {"_FillValue": np.uint8(0), "k": model.k, "model": model.digest, "long_name": "class"}
    return xr.DataArray(labels, dims=("y", "x"), coords=coords, attrs=attrs, name="class")
