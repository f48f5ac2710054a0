"""Coordinate systems, overlap, alignment, areas on the ground, and GDAL's settings."""
