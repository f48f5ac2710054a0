"""What happens inside one block: numpy and numba only, no files, no dask, no xarray."""
