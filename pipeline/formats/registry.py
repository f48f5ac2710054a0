"""What reads Zarr and NetCDF stores, imported when a scene has one: xarray takes half a second to import."""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    from pipeline.formats.store_catalogue import open_stores
    from pipeline.stores.preview import read_reduced
    from pipeline.stores.variables import ArrayReader, describe_variable, mask_invalid_numbers

_HOMES: Final = {
    "ArrayReader": "pipeline.stores.variables:ArrayReader",
    "describe_variable": "pipeline.stores.variables:describe_variable",
    "mask_invalid_numbers": "pipeline.stores.variables:mask_invalid_numbers",
    "open_stores": "pipeline.formats.store_catalogue:open_stores",
    "read_reduced": "pipeline.stores.preview:read_reduced",
}
"""Where each name is defined."""

__getattr__ = late_import(__name__, _HOMES)
