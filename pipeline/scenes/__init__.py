"""Bands on one grid: described, masked, put together as mosaics, checked."""
