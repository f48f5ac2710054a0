"""What a source offers before its pixels are read: SAFE, STAC, EOPF, Landsat, raster files, Zarr and NetCDF stores."""
