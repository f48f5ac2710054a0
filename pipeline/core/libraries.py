"""Libraries that only some runs need and that take long to import: each is imported when it is first used.

>>> from pipeline.core import libraries
>>> libraries.pyproj.CRS.from_epsg(32633).name
'WGS 84 / UTM zone 33N'
"""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    import urllib.request as urllib_request
    from http import client as http_client

    import cmocean  # type: ignore[import-untyped]
    import distributed
    import h5netcdf  # type: ignore[import-untyped]
    import matplotlib  # noqa: ICN001 (its own name)
    import pyogrio
    import pyproj
    import pystac
    import shapely
    import tqdm
    import tqdm.auto as tqdm_auto
    from dask import config as dask_config
    from matplotlib import patches
    from matplotlib import pyplot as plt
    from PIL import Image as image  # noqa: N813 (as modules are named here)
    from PIL import ImageDraw as image_draw  # noqa: N813
    from PIL import ImageFont as image_font  # noqa: N813
    from PIL import PngImagePlugin as png  # noqa: N813
    from scipy import ndimage

_HOMES: Final = {
    "cmocean": "cmocean",  # further colour maps by name; an extra of its own
    "dask_config": "dask.config",  # clusters, and the next one
    "distributed": "distributed",
    "h5netcdf": "h5netcdf",  # NetCDF files
    "http_client": "http.client",  # addresses
    "image": "PIL.Image",  # the picture, and the next two
    "image_draw": "PIL.ImageDraw",
    "image_font": "PIL.ImageFont",
    "matplotlib": "matplotlib",  # colour maps by name
    "ndimage": "scipy.ndimage",  # masks that grow
    "patches": "matplotlib.patches",  # maps in a notebook, and the next one
    "plt": "matplotlib.pyplot",
    "png": "PIL.PngImagePlugin",  # the picture as a file
    "pyogrio": "pyogrio",  # vector files; it has a GDAL of its own
    "pyproj": "pyproj",  # areas on the ellipsoid, CRS that rasterio does not read
    "pystac": "pystac",  # STAC items
    "shapely": "shapely",  # areas of interest
    "tqdm": "tqdm",  # progress bars
    "tqdm_auto": "tqdm.auto",  # progress bars in a notebook
    "urllib_request": "urllib.request",  # addresses
}
"""Module by its name here, and what needs it."""

__getattr__ = late_import(__name__, _HOMES)
