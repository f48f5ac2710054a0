"""Labels as a lazy xarray DataArray."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.dataarrays.georeference import georeference
from pipeline.dataarrays.source import ArraySource
from pipeline.kernels.assign import assign
from pipeline.models.cluster_model import ClusterModel


@dataclass(frozen=True)
class _Assigned:
    """Assigns the pixels of a chunk to classes, in a dask graph."""

    centres: npt.NDArray[np.float64]
    """Shape (k, band), in stored numbers."""
    stretch: npt.NDArray[np.float64] | None
    """What differences of each band are multiplied by, shape (band,)."""

    def __call__(self, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        return assign(data, valid, self.centres, self.stretch)


def label(scene: xr.DataArray | xr.Dataset, model: ClusterModel) -> xr.DataArray:
    """Label every pixel of a scene with its nearest class, lazily.

    Parameters
    ----------
    scene : DataArray (band, y, x), or Dataset of bands
        With the model's bands among its own, in any order. What is said of `fit`'s holds here, too.
    model : ClusterModel
        From `fit` or `ClusterModel.load`.

    Returns
    -------
    DataArray (y, x) of uint8
        0 where there is no data, else 1 to k; chunked as the scene, nothing computed. Rows and columns have the
        scene's own names and coordinates. Its place and its attributes, among them what `write` puts into the map,
        go into NetCDF and Zarr files made of it. There is no `_FillValue`, as xarray would read floats back:
        the attribute `nodata` says that 0 is no class.

    Raises
    ------
    ConfigError
        When the scene is no such object.
    ModelError
        When the scene's bands or units don't fit the model.
    """
    source = ArraySource(scene, model.bands)
    info = source.info.as_stored_numbers(model.units) if "numbers" in model.units.quantities else source.info
    model.check_fits(info.bands, info.units, info.sources[0])
    labels = da.map_blocks(
        _Assigned(model.centres_in(info.units), model.stretch_in(info.units)),
        source.data,
        source.valid,
        drop_axis=0,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
    )
    array = xr.DataArray(labels, dims=source.axes, coords=source.coords, attrs=_attrs(model), name="class")
    return georeference(array, source.axes, info.grid, source.mapping, corners=source.corners)


def _attrs(model: ClusterModel) -> dict[str, Any]:
    """What labels say of themselves, as CF does of flags."""
    classes = range(1, model.k + 1)
    return {
        "long_name": "class",
        "nodata": np.uint8(0),
        "flag_values": np.array(classes, np.uint8),
        "flag_meanings": " ".join(f"class_{number}" for number in classes),
        "k": model.k,
        "model": model.digest,
    }
