"""From results to files. Each file is whole or absent."""
