"""What the numbers of pixels mean, and what is done to them before distances are taken."""

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

PIXEL_TYPES: Final = (*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")), "float32", "float64")
"""numpy's names of the types of pixels that can be clustered."""


class ModelRecord(BaseModel):
    """A part of a model: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Units(ModelRecord):
    """What the numbers of the pixels mean, as far as the files say."""

    dtype: str
    """numpy's name of the pixels' type."""
    scales: tuple[float, ...]
    """Each band's factor from stored numbers to physical units."""
    offsets: tuple[float, ...]
    """What is added after the factor."""
    quantity: Literal["numbers", "scaled", "reflectance"] = "numbers"
    """What centroids and tables are in: the stored numbers as they are, or what scale and offset make of them."""

    @field_validator("dtype")
    @classmethod
    def _of_numbers(cls, dtype: str) -> str:
        if dtype not in PIXEL_TYPES:
            msg = f"{dtype} is no type of pixels; expected one of {', '.join(PIXEL_TYPES)}"
            raise ValueError(msg)
        return dtype

    @property
    def family(self) -> str:
        """The types whose numbers can mean the same: 8-bit, wider integers, floats."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return "floating-point"
        return "8-bit" if kind.itemsize == 1 else "16-bit or wider integer"

    def to_physical(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn stored numbers, shape (..., band), into this quantity."""
        return stored if self.quantity == "numbers" else stored * np.array(self.scales) + np.array(self.offsets)

    def to_stored(self, physical: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn numbers of this quantity, shape (..., band), into stored ones."""
        return physical if self.quantity == "numbers" else (physical - np.array(self.offsets)) / np.array(self.scales)

    @property
    def spreads(self) -> npt.NDArray[np.float64]:
        """What differences of stored numbers are multiplied by, shape (band,)."""
        return np.ones(len(self.scales)) if self.quantity == "numbers" else np.abs(self.scales)


class Preparation(ModelRecord):
    """What bands are divided by before distances are taken, so that each has the same say."""

    standardize: Literal["none", "zscore", "minmax", "robust"] = "none"
    """How centre and spread were found: mean and standard deviation, least and range, median and the range of the
    middle half."""
    centre: tuple[float, ...] = ()
    """Of each band, in the model's quantity: what stands at 0 once standardized. No distance depends on it."""
    spread: tuple[float, ...] = ()
    """Of each band, in the model's quantity: what stands at 1 above the centre."""

    @model_validator(mode="after")
    def _is_complete(self) -> "Preparation":
        if len(self.centre) != len(self.spread) or (self.standardize == "none") != (not self.spread):
            msg = "expected a centre and a spread for each band, or 'none'"
            raise ValueError(msg)
        if any(spread <= 0 for spread in self.spread):
            msg = "a spread is not positive"
            raise ValueError(msg)
        return self

    @property
    def spreads(self) -> npt.NDArray[np.float64]:
        """Spread of each band as an array, shape (band,), or (1,) where nothing is divided."""
        return np.array(self.spread or (1.0,))


def relative(spreads: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Factors of bands, shape (band,), relative to the first; None where all are alike."""
    return None if (spreads == spreads[0]).all() else spreads / spreads[0]
