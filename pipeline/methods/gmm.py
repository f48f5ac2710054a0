"""Gaussian mixture (`fit.method: gmm`): k-means on the sample, then a fixed number of steps of EM."""

from dataclasses import replace
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.kernels.assign import assign
from pipeline.kernels.nearest import TILE_POINTS
from pipeline.methods.em import ExpectationMaximization, fit_gaussians
from pipeline.methods.gaussian_classes import GAUSSIAN_KERNELS, result_of_gaussians
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import DEFAULT_SAMPLE, MOST_SAMPLED, Share, StartSettings, k_classes
from pipeline.methods.starts import fit_sample, points_bytes, starts_needs, warn_of_max_iter
from pipeline.models.gaussians import to_physical

_BYTES_PER_POINT: Final = 8 + 8 + 2
"""Bytes per point for its class, twice, and as the numbers that are summed per class at the end."""


class GaussianSettings(StartSettings):
    """Section `fit` with a Gaussian mixture."""

    method: Literal["gmm"] = Field(description="'gmm'")
    pixels: Annotated[int, Field(ge=1, le=MOST_SAMPLED)] | Share = Field(
        DEFAULT_SAMPLE,
        title="sample size",
        description=f"the number of valid pixels sampled for the fit, 1 to {MOST_SAMPLED}, or their share, such as 5% "
        "(not 'all': gmm fits the sample only, as each of its steps would be a pass over the scene; "
        f"{DEFAULT_SAMPLE} are the default)",
    )
    ridge: float = Field(
        0.01,
        ge=0,
        le=1e6,
        title="share of each band's variance that is added to that of each class",
        description="a number from 0 to 1000000: the share of each band's variance that is added to that of each class",
    )
    covariance: Literal["full", "diag"] = Field(
        "full",
        title="or diag: no covariances between bands",
        description="'full' (classes have covariances between bands) or 'diag' (only variances)",
    )
    steps: int = Field(
        50,
        ge=0,
        le=100_000,
        title="number of steps of expectation maximization",
        description="the number of steps of expectation maximization, 0 to 100000",
    )


def gmm_needs(info: SceneInfo, settings: GaussianSettings, work: Work) -> Needs:
    """Needs of k-means on the sample, and then of EM: the sums of each class, as many at once as there are workers."""
    bands = len(info.bands) + 3
    sums, buffers = settings.k * (bands + 1) ** 2 * 8, (settings.k + 3 * bands + 8) * TILE_POINTS * 8
    em = points_bytes(info, settings) + settings.sampled_of(info) * _BYTES_PER_POINT
    steps = Needs(
        fixed=em + (2 * work.workers + 3) * sums + work.workers * buffers, libraries=frozenset([GAUSSIAN_KERNELS])
    )
    return starts_needs(info, settings, work).then(steps)


def fit_gmm(given: FitInput[GaussianSettings]) -> FitResult:
    """Fit Gaussians to the sample, starting from the classes of k-means."""
    settings, workers = given.settings, given.executor.threads
    with given.progress.stage("fit", settings.starts) as step:
        start = fit_sample(given.points, settings, workers, step, given.stretch)
    warn_of_max_iter(start.iterations, settings)
    planes = given.points[:, np.newaxis]
    labels = assign(planes, np.ones(planes.shape[1:], np.bool_), start.centres, given.stretch)[0]
    with given.progress.stage("refine", settings.steps) as step:
        em = ExpectationMaximization(
            given.points, ridge=settings.ridge, diagonal=settings.covariance == "diag", workers=workers
        )
        found, log = fit_gaussians(em, labels, start.centres, settings.steps, step)
    physical = to_physical(found, given.units)
    return replace(result_of_gaussians(given, physical, settings.steps, "fit.k"), log=log)


GMM: Final = Method(
    name="gmm",
    description="Gaussian mixture: classes of any extent and direction",
    settings=GaussianSettings,
    same_bits=True,
    classes=k_classes,
    needs=gmm_needs,
    function="pipeline.methods.gmm:fit_gmm",
)
