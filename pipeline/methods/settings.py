"""Settings that methods share: of the sample that each fit starts from, and of methods with k centroids."""

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pipeline.config.fields import Band
from pipeline.config.record import refuse_boolean
from pipeline.config.schema import FitConfig
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.strata import CELL, Cells

MAX_CLASSES: Final = 254
"""Largest number of classes: labels are uint8, 0 is nodata, 255 is reserved for 'unclassified'."""

DEFAULT_SAMPLE: Final = 500_000
"""Default number of sampled pixels (`fit.pixels`)."""


Weight = Annotated[float, Field(ge=1e-3, le=1e3), BeforeValidator(refuse_boolean)]

MOST_SAMPLED: Final = 100_000_000
"""Largest number of sampled pixels."""


def _above_zero(share: str) -> str:
    if not Fraction(share.rstrip("% ")):
        msg = "expected a share above 0"
        raise ValueError(msg)
    return share


Share = Annotated[str, AfterValidator(_above_zero), Field(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,9})?) ?%$")]
"""Share in percent, such as 5% or 0.5 %."""

SmallestSize = Annotated[str, Field(pattern=r"^([0-9]{1,2}(\.[0-9]{1,9})? ?%|[0-9]{1,9}(\.[0-9]{1,9})? ?ha)$")]
"""Share in percent, or area in hectares."""


class SampleSettings(FitConfig):
    """Settings of the sample, with which every method starts."""

    pixels: Literal["all"] | Annotated[int, Field(ge=1, le=MOST_SAMPLED)] | Share = Field(
        DEFAULT_SAMPLE,
        title="sample size; all: fit to every valid pixel",
        description=f"the number of valid pixels sampled for the fit, 1 to {MOST_SAMPLED}, their share, such as 5%, "
        f"or 'all' (start from {DEFAULT_SAMPLE} sampled ones, then pass over every pixel)",
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**32 - 1,
        title="random seed: the same seed gives the same map",
        description="the random seed, a whole number from 0 to 4294967295",
    )

    @property
    def by_cell(self) -> bool:
        """Whether as many pixels are sampled from each cell of the scene as from any other."""
        return False

    @property
    def in_model(self) -> dict[str, Any]:
        """Fields of `Fitting` that say how a model was fitted."""
        pixels = "all" if self.pixels == "all" else "sampled"
        return {**self.model_dump(include={"method", "seed", "max_iter", "tol"}), "pixels": pixels}

    @classmethod
    def without_those_of_others(
        cls, given: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Return given settings without those that changes of others make wrong, and the change that does."""
        del changes
        return dict(given), ""

    def sampled_of(self, info: SceneInfo) -> int:
        """Largest number of pixels that can be sampled from a scene."""
        return min(self.sampled_among(info.pixels), info.pixels)

    def sampled_among(self, valid: int) -> int:
        """Number of pixels to sample from a scene with so many valid ones, or more if there are not as many."""
        if isinstance(self.pixels, int):
            return self.pixels
        if self.pixels == "all":
            return DEFAULT_SAMPLE
        return min(max(1, ceil(Fraction(self.pixels.rstrip("% ")) * valid / 100)), MOST_SAMPLED)


_RANKING: Final = 80
"""Bytes per candidate pixel while candidates are ranked in their cells: number of the cell, sort orders and ranks."""


def sampling_needs(info: SceneInfo, settings: SampleSettings, work: Work) -> Needs:
    """Needs of drawing the sample: the pixels so far and their keys, and the candidates of a block."""
    sampled = settings.sampled_of(info)
    candidates = min(2 * sampled, work.pixels) * (2 * info.bytes_per_pixel + 16)
    fixed = 3 * sample_bytes(info, settings)
    if settings.by_cell:  # a block in many cells may give all its pixels, which come on top of the sample
        candidates += work.pixels * (_RANKING + 16)
        fixed += Cells.of(info).count * 16 + min(3 * sampled, info.pixels) * _RANKING
    return Needs(fixed=fixed, per_block=max(work.pixels, candidates), passes=1)


def sample_bytes(info: SceneInfo, settings: SampleSettings) -> int:
    """Bytes of the sampled pixels with their keys."""
    return settings.sampled_of(info) * (info.bytes_per_pixel + 8)


class StratifiedSettings(SampleSettings):
    """Settings of methods whose classes depend on which pixels are sampled."""

    stratify: Literal["none", "blocks"] = Field(
        "none",
        title="blocks: as many pixels of each part of the scene",
        description=f"'none' (every valid pixel is as likely to be sampled), or 'blocks' (as many pixels from each "
        f"square of {CELL} x {CELL} pixels of the scene, as far as it has valid ones)",
    )

    @property
    def by_cell(self) -> bool:
        """Whether as many pixels are sampled from each cell of the scene as from any other."""
        return self.stratify == "blocks"

    @property
    def in_model(self) -> dict[str, Any]:
        """Fields of `Fitting` that say how a model was fitted."""
        return super().in_model | {"stratify": self.stratify if self.by_cell else None}


class DistanceSettings(StratifiedSettings):
    """Settings of methods that take distances between pixels."""

    weights: dict[Band, Weight] | None = Field(
        None,
        title="bands that count more or less, such as {nir: 2}",
        description="a mapping of bands to the factor, 0.001 to 1000, by which their differences count, such as "
        "{nir: 2, ndvi: 0.5}; 1 for other bands",
    )


class SampleOnlySettings(DistanceSettings):
    """Settings of methods that take distances in a sample, and can't go on to all pixels."""

    pixels: Annotated[int, Field(ge=1, le=MOST_SAMPLED)] | Share = Field(
        DEFAULT_SAMPLE,
        title="sample size",
        description=f"the number of valid pixels sampled for the fit, 1 to {MOST_SAMPLED}, or their share, such as 5% "
        "(not 'all': this method fits the sample only)",
    )


class StartSettings(StratifiedSettings):
    """Settings of methods that begin with k centroids, which move until they converge."""

    k: int = Field(
        8,
        ge=2,
        le=MAX_CLASSES,
        title=f"number of classes, 2 to {MAX_CLASSES}",
        description=f"the number of classes, a whole number from 2 to {MAX_CLASSES}",
    )
    starts: int = Field(
        10,
        ge=1,
        le=1000,
        title="number of starts; the best one is used",
        description="the number of starts, 1 to 1000; the best one is used",
    )
    max_iter: int = Field(
        300,
        ge=1,
        title="largest number of iterations per start",
        description="the largest number of iterations per start, at least 1",
    )
    tol: float = Field(
        1e-6,
        ge=0,
        title="stop when centroids move less (relative to variance)",
        description="a number from 0: stop when centroids move less than this, relative to the variance of the data",
    )

    @property
    def runs(self) -> int:
        """Number of starts that are made."""
        return self.starts

    @property
    def in_model(self) -> dict[str, Any]:
        """Fields of `Fitting` that say how a model was fitted."""
        return super().in_model | {"starts": self.runs}

    @model_validator(mode="after")
    def _enough_pixels(self) -> Self:
        """Refuse a sample with fewer pixels than classes."""
        if isinstance(self.pixels, int) and self.pixels < self.k:
            msg = f"{self.pixels} sampled pixels are too few for {self.k} classes; raise fit.pixels, or lower fit.k"
            raise ValueError(msg)
        return self


class CentroidSettings(DistanceSettings, StartSettings):
    """Settings of methods whose classes are k centroids."""

    min_size: Annotated[int, Field(ge=1)] | SmallestSize | None = Field(
        None,
        title="smaller classes are merged: pixels, 1%, 5 ha",
        description="the smallest size of a class, below which it is merged into the nearest: a number of pixels, "
        "their share, such as 1%, or an area, such as '5 ha'",
    )


def k_classes(settings: StartSettings) -> tuple[int, int]:
    """Least and largest number of classes: k."""
    return settings.k, settings.k
