"""Windows of raster files, decoded and brought onto a grid."""
