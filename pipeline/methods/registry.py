"""Methods that are imported when one is chosen: scikit-learn and dask-ml take seconds to import."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.methods.dask_ml import refine_by_dask
    from pipeline.methods.minibatch import minibatch

__all__ = ["minibatch", "refine_by_dask"]

_MODULES: Final = {
    "minibatch": "pipeline.methods.minibatch",
    "refine_by_dask": "pipeline.methods.dask_ml",
}
"""Module that defines each name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_MODULES[name]), name)
