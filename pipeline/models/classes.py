"""Classes of a model as records, and their order."""

from collections.abc import Sequence
from typing import Annotated, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.core.units import ModelRecord

UNCLASSIFIED: Final = 255
"""Label of a valid pixel that no class of a model takes; 0 is nodata."""

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Number of pixels."""
Component = Annotated[int, Field(ge=0, le=255)]


class ClassInfo(ModelRecord):
    """A class of a model: its name, and the pixels that it was found with."""

    id: Annotated[int, Field(ge=1, le=254)]
    """Label of the class in maps."""
    name: str
    """Name for people, such as 'class 1'."""
    colour: tuple[Component, Component, Component] | None = None
    """(red, green, blue), 0 to 255 each; None if no colour has been chosen, so that the palette decides."""
    pixels: Count
    """Number of pixels: all valid ones of the scene after passes over all pixels, else the sampled ones."""
    mean: tuple[float, ...] | None = None
    """Mean of the class's sampled pixels in the model's quantity, shape (band,); None if there are none."""
    std: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Population standard deviation of the class's sampled pixels in the model's quantity, shape (band,), or None."""

    @model_validator(mode="after")
    def _has_both_statistics(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            msg = f"class {self.id}: expected a mean and a standard deviation per band, or neither"
            raise ValueError(msg)
        return self


def brightness_order(means: npt.NDArray[np.float64], quantities: Sequence[str] = ()) -> npt.NDArray[np.intp]:
    """Return the order of classes with these means, shape (k, band), from the darkest to the brightest.

    Indices, which say nothing of brightness, are left out unless there is nothing else.
    Row indices, shape (k,), sorted by the mean of each row; rows of equal mean by their numbers, first band first.
    """
    bands = [number for number, quantity in enumerate(quantities) if quantity != "index"]
    means = means[:, bands] if bands else means
    return np.lexsort((*means.T[::-1], means.mean(axis=1)))
