"""Ranges of the values of one band with given edges (`fit.method: ranges`)."""

import logging
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.record import refuse_boolean
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.counts import CountLabels, count_all, count_labels
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import MAX_CLASSES, SampleSettings, sample_bytes
from pipeline.models.ranges import Outside, RangeLabeller, RangeRule, Ranges, quantity_of, range_names

logger = logging.getLogger(__name__)


class RangesSettings(SampleSettings):
    """Section `fit` with ranges."""

    method: Literal["ranges"] = Field(description="'ranges'")
    edges: tuple[Annotated[float, BeforeValidator(refuse_boolean)], ...] = Field(
        min_length=2,
        max_length=MAX_CLASSES + 1,
        title="edges of the classes, such as [0, 0.1, 0.3]",
        description=f"a list of 2 to {MAX_CLASSES + 1} finite numbers, each larger than the one before, such as "
        "[0, 0.1, 0.3]: class i goes from edge i to the next, in the scene's quantity (features.scale: none for stored "
        "numbers)",
    )
    outside: Outside = Field(
        "unclassified",
        title="or extend, nodata: values beyond the edges",
        description="'unclassified' (values beyond the edges get the label 255), 'extend' (the first or last class) or "
        "'nodata' (the label 0)",
    )

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        for number, (edge, following) in enumerate(pairwise(self.edges), 1):
            if edge >= following:
                msg = (
                    f"edges: edge {number + 1} is {following:g}, and the one before {edge:g}; list them in ascending "
                    "order, each once"
                )
                raise ValueError(msg)
        return self


def ranges_needs(info: SceneInfo, settings: RangesSettings, _work: Work) -> Needs:
    """Needs of the sample, and of a pass over all pixels if they are counted."""
    return Needs(fixed=2 * sample_bytes(info, settings), passes=int(settings.pixels == "all"))


def fit_ranges(given: FitInput[RangesSettings]) -> FitResult:
    """Count the pixels of each class."""
    edges, outside, units = given.settings.edges, given.settings.outside, given.info.units
    labeller = RangeLabeller.of(RangeRule(np.array(edges), outside), units)
    if given.pixels is None:
        counts = count_labels(labeller, given.stored[0])
    else:
        with given.progress.stage("fit", None):
            counts = count_all(CountLabels(given.pixels, labeller), given.executor)
    _warn_if_all_are_outside(given)
    content = {"edges": edges, "outside": outside}
    return FitResult(kind=Ranges, content=content, counts=counts[1 : len(edges)], names=range_names(edges))


def _warn_if_all_are_outside(given: FitInput[RangesSettings]) -> None:
    """Warn if no sampled pixel is between the first and the last edge: often the edges are in another quantity."""
    edges, units = given.settings.edges, given.info.units
    values = quantity_of(given.stored[0], units)
    if not ((values >= edges[0]) & (values <= edges[-1])).any():
        logger.warning(
            "fit.edges: no sampled pixel of %s is from %g to %g: they are from %g to %g (%s); give edges in that "
            "quantity, or set features.scale",
            given.first_column,
            edges[0],
            edges[-1],
            values.min(),
            values.max(),
            units.quantity_text,
        )


RANGES: Final = Method(
    name="ranges",
    description="ranges of the values of one band, with given edges",
    settings=RangesSettings,
    same_bits=True,
    classes=lambda settings: (len(settings.edges) - 1, len(settings.edges) - 1),
    needs=ranges_needs,
    function="pipeline.methods.ranges:fit_ranges",
    one_band=True,
    standardizes=False,
)
