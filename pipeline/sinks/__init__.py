"""From labels to files: map, overviews, table, picture. Each file is whole or absent."""
