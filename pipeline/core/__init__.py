"""Shared types that every other package may import: errors, grids, pixels, scene metadata, units, band names."""
