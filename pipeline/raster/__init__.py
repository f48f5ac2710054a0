"""Describe the bands of raster files, read windows of them, cache them, and resample them onto a grid."""
