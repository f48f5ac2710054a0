"""Pixels of a scene for the fit and the map: caches of blocks, pieces of blocks, and GDAL's memory."""
