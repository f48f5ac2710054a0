"""Coordinate systems, grid overlap and alignment, pixel areas on the ground, and GDAL settings."""
