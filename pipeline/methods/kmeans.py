"""K-means (`fit.method: kmeans`): on the sample, then by exact passes over all pixels if asked."""

from typing import Final, Literal

from pydantic import Field

from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.exact import refine
from pipeline.methods.initial_centroids import InitSettings, check_init, initial_centres
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import CentroidSettings, k_classes
from pipeline.methods.starts import fit_sample, points_bytes, starts_needs, warn_of_max_iter
from pipeline.pixels.needs import LABEL_AND_BOUND

_ACCOUNT_BYTES: Final = 2_000
"""Bytes that passes hold per block besides its counts and sums: their objects, and keys."""


class KMeansSettings(InitSettings):
    """Section `fit` with k-means."""

    method: Literal["kmeans"] = Field("kmeans", description="'kmeans'")


def kmeans_needs(info: SceneInfo, settings: CentroidSettings, work: Work) -> Needs:
    """Needs of starts on the sample, and of passes over all pixels that cache the label of each."""
    needs = starts_needs(info, settings, work)
    if settings.pixels != "all":
        return needs
    account = 8 * (settings.k + 1) * (1 + 2 * len(info.bands)) + _ACCOUNT_BYTES
    held = points_bytes(info, settings) + work.blocks * account
    return needs.then(Needs(fixed=held, passes=settings.max_iter + 1, state=LABEL_AND_BOUND, cache="speed"))


def fit_kmeans(given: FitInput[KMeansSettings]) -> FitResult:
    """Cluster the sample, and move the centroids to the means of all pixels if they are used."""
    settings = given.settings
    initial = initial_centres(given)
    with given.progress.stage("fit", settings.runs) as step:
        start = fit_sample(given.points, settings, given.executor.threads, step, given.stretch, initial=initial)
    if given.pixels is None:
        warn_of_max_iter(start.iterations, settings)
        return given.result_of_sample(start.centres, start.iterations, start.log_of_starts(given.preparation.unit))
    with given.progress.stage("refine", None) as step:
        return refine(given, given.pixels, given.in_order(start.centres), step)


KMEANS: Final = Method(
    name="kmeans",
    description="k-means, exact",
    settings=KMeansSettings,
    same_bits=True,
    classes=k_classes,
    check_bands=check_init,
    check="pipeline.methods.initial_centroids:check_init_alone",
    needs=kmeans_needs,
    function="pipeline.methods.kmeans:fit_kmeans",
)
