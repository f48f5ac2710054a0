"""Variables of Zarr and NetCDF stores: dimensions, grids, times, nodata, scale and offset."""
