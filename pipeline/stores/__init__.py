"""Variables of Zarr and NetCDF stores: axes, grids, times, and what their numbers mean."""
