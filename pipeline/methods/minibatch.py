"""Mini-batch k-means (`fit.method: minibatch`), by scikit-learn on the sample."""

from typing import Final, Literal

from pydantic import Field

from pipeline.core.needs import Library, Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.kernels.assign import working_dtype
from pipeline.methods.method import Method
from pipeline.methods.settings import CentroidSettings, k_classes
from pipeline.methods.starts import starts_needs

SCIKIT_LEARN: Final = Library("scikit-learn", 197 * 10**6)
"""Measured as that of the program itself (decision 18)."""


class MiniBatchSettings(CentroidSettings):
    """Section `fit` with mini-batches."""

    method: Literal["minibatch"] = Field(description="'minibatch'")


def minibatch_needs(info: SceneInfo, settings: CentroidSettings, work: Work) -> Needs:
    """Needs of starts on the sample, as scaled floats, and of one pass over windows of all pixels."""
    rows = settings.sampled_of(info) * working_dtype(info.dtype).itemsize * len(info.bands)
    needs = starts_needs(info, settings, work).beside(Needs(fixed=rows, libraries=frozenset([SCIKIT_LEARN])))
    return needs.then(Needs(passes=1, cache="must")) if settings.pixels == "all" else needs


MINIBATCH: Final = Method(
    name="minibatch",
    description="k-means by mini-batches, approximate",
    settings=MiniBatchSettings,
    same_bits=True,
    classes=k_classes,
    needs=minibatch_needs,
    function="pipeline.methods.sklearn_minibatch:fit_minibatch",
)
