"""Methods that are imported when one is chosen: scikit-learn and dask-ml take seconds to import."""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    from pipeline.methods.dask_ml import refine_by_dask
    from pipeline.methods.minibatch import minibatch

__all__ = ["minibatch", "refine_by_dask"]

_HOMES: Final = {
    "minibatch": "pipeline.methods.minibatch:minibatch",
    "refine_by_dask": "pipeline.methods.dask_ml:refine_by_dask",
}
"""Where each name is defined."""

__getattr__ = late_import(__name__, _HOMES)
