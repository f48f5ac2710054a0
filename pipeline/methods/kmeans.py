"""K-means (`fit.method: kmeans`): on the sample, then by exact passes over all pixels if asked."""

import logging
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from pipeline.config.fields import Name
from pipeline.config.record import refuse_boolean
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.exact import refine
from pipeline.methods.initial_centroids import DIAGONAL, PLUS_PLUS, given_centroids, prepared_centroids
from pipeline.methods.isodata import first_centres
from pipeline.methods.lloyd import Centres
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import MAX_CLASSES, CentroidSettings, k_classes
from pipeline.methods.starts import fit_sample, points_bytes, starts_needs, warn_of_max_iter
from pipeline.pixels.needs import LABEL_AND_BOUND

logger = logging.getLogger(__name__)

_ACCOUNT_BYTES: Final = 2_000
"""Bytes that passes hold per block besides its counts and sums: their objects, and keys."""


Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(refuse_boolean)]


class KMeansSettings(CentroidSettings):
    """Section `fit` with k-means."""

    method: Literal["kmeans"] = Field("kmeans", description="'kmeans'")
    init: (
        Annotated[
            tuple[Annotated[tuple[Finite, ...], Field(min_length=1)], ...], Field(min_length=2, max_length=MAX_CLASSES)
        ]
        | Name
    ) = Field(
        PLUS_PLUS,
        title="or diagonal, a model, a CSV: initial centroids",
        description="the initial centroids: 'k-means++' (drawn in each start), or those of a single start: 'diagonal' "
        "(from mean - deviation to mean + deviation of each band), the path of a model, a CSV with a column per band, "
        "a text file with a line per centroid or a GRASS signature file, or a list of centroids",
    )

    @property
    def runs(self) -> int:
        """Number of starts that are made: one if the initial centroids are given."""
        return self.starts if self.init == PLUS_PLUS else 1


def kmeans_needs(info: SceneInfo, settings: CentroidSettings, work: Work) -> Needs:
    """Needs of starts on the sample, and of passes over all pixels that cache the label of each."""
    needs = starts_needs(info, settings, work)
    if settings.pixels != "all":
        return needs
    account = 8 * (settings.k + 1) * (1 + 2 * len(info.bands)) + _ACCOUNT_BYTES
    held = points_bytes(info, settings) + work.blocks * account
    return needs.then(Needs(fixed=held, passes=settings.max_iter + 1, state=LABEL_AND_BOUND, cache="speed"))


def check_init(info: SceneInfo, settings: KMeansSettings) -> None:
    """Raise ConfigError unless the initial centroids, if they are given, are those of a scene's bands."""
    given_centroids(settings.init, settings.k, info)


def _initial_centres(given: FitInput[KMeansSettings]) -> Centres | None:
    """Initial centroids of the only start, among prepared points, shape (k, band); None if each start draws its own."""
    settings = given.settings
    if settings.init == DIAGONAL:
        return first_centres(given.points, settings.k)
    stored = given_centroids(settings.init, settings.k, given.info)
    return None if stored is None else prepared_centroids(stored, given.preparation, given.stored)


def fit_kmeans(given: FitInput[KMeansSettings]) -> FitResult:
    """Cluster the sample, and move the centroids to the means of all pixels if they are used."""
    settings = given.settings
    if settings.runs < settings.starts and "starts" in settings.model_fields_set:
        logger.info("fit.starts: %d has no effect, as fit.init gives the initial centroids", settings.starts)
    initial = _initial_centres(given)
    with given.progress.stage("fit", settings.runs) as step:
        start = fit_sample(given.points, settings, given.executor.workers, step, given.stretch, initial=initial)
    if given.pixels is None:
        warn_of_max_iter(start.iterations, settings)
        return given.result_of_sample(start.centres, start.iterations)
    with given.progress.stage("refine", None) as step:
        return refine(given, given.pixels, given.in_order(start.centres), step)


KMEANS: Final = Method(
    name="kmeans",
    description="k-means, exact",
    settings=KMeansSettings,
    same_bits=True,
    classes=k_classes,
    check_bands=check_init,
    needs=kmeans_needs,
    function="pipeline.methods.kmeans:fit_kmeans",
)
