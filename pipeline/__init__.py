"""Terrazzo: unsupervised land-cover maps of large satellite scenes.

    >>> from pipeline import open_scene, fit, label, write
    >>> scene = open_scene("scene.tif")
    >>> model = fit(scene, k=8)
    >>> write(label(scene, model), "classes.tif")

Public names are imported at first use, so that `terrazzo --help` does not import xarray.
"""

from __future__ import annotations

from pipeline.core.late_import import late_import
from pipeline.core.version import __version__

TYPE_CHECKING = False  # as in `typing`, which would take long to import before signals are handled
if TYPE_CHECKING:
    from pipeline.api import fit, open_scene, write
    from pipeline.core.errors import TerrazzoError
    from pipeline.estimator import ClusterEstimator
    from pipeline.jobs.config import load_config
    from pipeline.jobs.predict import predict
    from pipeline.jobs.run import run_config
    from pipeline.labels.lazy import label
    from pipeline.models.base import ClusterModel
    from pipeline.plot import plot_classes

__all__ = [
    "ClusterEstimator",
    "ClusterModel",
    "TerrazzoError",
    "__version__",
    "fit",
    "label",
    "load_config",
    "open_scene",
    "plot_classes",
    "predict",
    "run_config",
    "write",
]

_HOMES = {
    "ClusterEstimator": "pipeline.estimator:ClusterEstimator",
    "ClusterModel": "pipeline.models.base:ClusterModel",
    "TerrazzoError": "pipeline.core.errors:TerrazzoError",
    "fit": "pipeline.api:fit",
    "label": "pipeline.labels.lazy:label",
    "load_config": "pipeline.jobs.config:load_config",
    "open_scene": "pipeline.api:open_scene",
    "plot_classes": "pipeline.plot:plot_classes",
    "predict": "pipeline.jobs.predict:predict",
    "run_config": "pipeline.jobs.run:run_config",
    "write": "pipeline.api:write",
}

__getattr__ = late_import(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
