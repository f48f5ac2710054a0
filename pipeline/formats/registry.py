"""What reads Zarr and NetCDF stores, imported when a scene has one: xarray takes half a second to import."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.formats.store_catalogue import open_stores
    from pipeline.stores.preview import read_reduced
    from pipeline.stores.variables import ArrayReader, describe_variable, mask_invalid_numbers

__all__ = ["ArrayReader", "describe_variable", "mask_invalid_numbers", "open_stores", "read_reduced"]

_MODULES: Final = {
    "ArrayReader": "pipeline.stores.variables",
    "describe_variable": "pipeline.stores.variables",
    "mask_invalid_numbers": "pipeline.stores.variables",
    "open_stores": "pipeline.formats.store_catalogue",
    "read_reduced": "pipeline.stores.preview",
}
"""Module that defines each name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_MODULES[name]), name)
