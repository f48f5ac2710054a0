"""Mini-batch k-means (`fit.method: minibatch`): on the sample, then by one pass over all pixels if asked."""

from typing import Final, Literal

from pydantic import Field

from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.batches import count_batches, stream_batches
from pipeline.methods.initial_centroids import InitSettings, check_init, initial_centres
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.sample_batches import fit_sample_by_batches
from pipeline.methods.settings import CentroidSettings, k_classes
from pipeline.methods.starts import starts_needs, warn_of_max_iter


class MiniBatchSettings(InitSettings):
    """Section `fit` with mini-batches."""

    method: Literal["minibatch"] = Field(description="'minibatch'")


def minibatch_needs(info: SceneInfo, settings: CentroidSettings, work: Work) -> Needs:
    """Needs of starts on the sample, and of one pass over windows of all pixels."""
    needs = starts_needs(info, settings, work)
    return needs.then(Needs(passes=1, cache="must")) if settings.pixels == "all" else needs


def fit_minibatch(given: FitInput[MiniBatchSettings]) -> FitResult:
    """Cluster the sample, and move the centroids by one batch of all pixels after the other if they are used."""
    settings = given.settings
    initial = initial_centres(given)
    with given.progress.stage("fit", settings.runs) as step:
        best = fit_sample_by_batches(
            given.points, settings, given.executor.threads, step, given.stretch, initial=initial
        )
    warn_of_max_iter(best.iterations, settings)
    log = best.log_of_starts(given.preparation.unit)
    if given.pixels is None:
        return given.result_of_sample(best.centres, best.iterations, log)
    start = given.in_order(best.centres)
    with given.progress.stage("refine", count_batches(given.info.grid.shape)) as step:
        centres = stream_batches(given, given.pixels, start, given.count(start), step)
    return given.result_of_sample(centres, best.iterations, log)


MINIBATCH: Final = Method(
    name="minibatch",
    description="k-means by mini-batches, approximate",
    settings=MiniBatchSettings,
    same_bits=True,
    classes=k_classes,
    check_bands=check_init,
    streams=lambda settings: settings.pixels == "all",
    check="pipeline.methods.initial_centroids:check_init_alone",
    needs=minibatch_needs,
    function="pipeline.methods.minibatch:fit_minibatch",
)
