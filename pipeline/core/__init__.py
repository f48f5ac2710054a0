"""What every other folder may import: errors, grids, pixels, facts about scenes, units, band names."""
