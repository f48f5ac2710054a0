"""xarray objects as scenes, and scenes as lazy xarray objects."""
