"""Conversion of xarray objects to scenes, and of scenes to lazy xarray objects."""
