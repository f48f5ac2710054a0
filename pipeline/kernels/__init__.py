"""Computations on the pixels of one block: numpy and numba only, no files, no dask, no xarray."""
