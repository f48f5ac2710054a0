"""Product formats: the bands and masks of SAFE, STAC, EOPF and Landsat products, raster files, Zarr and NetCDF stores.

Each format is read into a `Catalogue` (see `catalogue.py`) from its metadata, before any pixel is read.
"""
