"""K-means of dask-ml (`fit.method: dask-ml`), for comparison with other work."""

from typing import Final, Literal

from pydantic import Field

from pipeline.core.needs import Library, Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.estimators import SCIKIT_LEARN
from pipeline.methods.method import Method
from pipeline.methods.settings import CentroidSettings, k_classes
from pipeline.methods.starts import points_bytes, starts_needs
from pipeline.pixels.needs import LABEL_AND_BOUND

_DASK_ML: Final = Library("dask-ml", 70 * 10**6)
"""Measured as that of the program itself (decision 18)."""

_ROW: Final = 3 * 4
"""Bytes that dask-ml needs per pixel and band."""

_LABELS: Final = 3 * 8
"""Bytes that dask-ml needs per pixel in addition."""


class DaskMlSettings(CentroidSettings):
    """Section `fit` with dask-ml."""

    method: Literal["dask-ml"] = Field(description="'dask-ml'")


def dask_ml_needs(info: SceneInfo, settings: CentroidSettings, work: Work) -> Needs:
    """Needs of starts on the sample, and then of dask-ml on rows of the sample, or of blocks from the cache."""
    row, libraries = len(info.bands) * _ROW + _LABELS, frozenset([SCIKIT_LEARN, _DASK_ML])
    rows = points_bytes(info, settings) + settings.sampled_of(info) * row
    needs = starts_needs(info, settings, work).then(Needs(fixed=rows, libraries=libraries))
    if settings.pixels != "all":
        return needs
    return needs.then(
        Needs(per_block=work.pixels * row, passes=settings.max_iter + 1, state=LABEL_AND_BOUND, cache="must")
    )


DASK_ML: Final = Method(
    name="dask-ml",
    description="k-means of dask-ml, for comparison with it",
    settings=DaskMlSettings,
    same_bits=False,
    classes=k_classes,
    needs=dask_ml_needs,
    function="pipeline.methods.dask_ml_passes:fit_dask_ml",
)
