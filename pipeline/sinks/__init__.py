"""Write the outputs of a run: map, overviews, table, picture. Each file is complete or absent."""
