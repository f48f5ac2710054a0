"""What the numbers of pixels mean, and what is done to them before distances are taken."""

from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

PIXEL_TYPES: Final = (*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")), "float32", "float64")
"""numpy's names of the types of pixels that can be clustered."""


Quantity = Literal["numbers", "scaled", "reflectance", "temperature", "radiance", "angle", "elevation"]
"""Physical quantity of a band: stored numbers as they are ('numbers'), what scale and offset make of them ('scaled'),
or that quantity by its name."""


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
    quantity: Quantity | tuple[Quantity, ...] = "numbers"
    """Quantity of centroids and tables: one word where all bands agree, else one for each band."""

    @field_validator("dtype")
    @classmethod
    def _of_numbers(cls, dtype: str) -> str:
        if dtype not in PIXEL_TYPES:
            msg = f"{dtype} is no type of pixels; expected one of {', '.join(PIXEL_TYPES)}"
            raise ValueError(msg)
        return dtype

    @field_validator("quantity")
    @classmethod
    def _one_word_where_bands_agree(cls, quantity: Quantity | tuple[Quantity, ...]) -> Quantity | tuple[Quantity, ...]:
        return quantity[0] if isinstance(quantity, tuple) and len(set(quantity)) == 1 else quantity

    @model_validator(mode="after")
    def _has_a_word_for_each_band(self) -> Self:
        if len(self.quantities) != len(self.scales):
            msg = (
                f"there are {len(self.quantities)} quantities and {len(self.scales)} scales; expected one for each band"
            )
            raise ValueError(msg)
        return self

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantity of each band, shape (band,)."""
        return self.quantity if isinstance(self.quantity, tuple) else (self.quantity,) * len(self.scales)

    @property
    def words(self) -> str:
        """The quantities in words, for messages."""
        return ", ".join("scaled numbers" if word == "scaled" else word for word in dict.fromkeys(self.quantities))

    @property
    def _factors(self) -> npt.NDArray[np.float64]:
        """Scale of each band, shape (band,); 1 where stored numbers stay as they are."""
        return np.where(self._stored, 1.0, self.scales)

    @property
    def _terms(self) -> npt.NDArray[np.float64]:
        """Offset of each band, shape (band,); 0 where stored numbers stay as they are."""
        return np.where(self._stored, 0.0, self.offsets)

    @property
    def _stored(self) -> npt.NDArray[np.bool_]:
        return np.array([quantity == "numbers" for quantity in self.quantities])

    @property
    def unscaled(self) -> npt.NDArray[np.bool_]:
        """Of each band whether scale and offset change no number, shape (band,)."""
        return np.array([pair == (1, 0) for pair in zip(self.scales, self.offsets, strict=True)])

    @property
    def family(self) -> str:
        """The types whose numbers can mean the same: 8-bit, wider integers, floats."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return "floating-point"
        return "8-bit" if kind.itemsize == 1 else "16-bit or wider integer"

    def to_physical(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn stored numbers, shape (..., band), into this quantity."""
        return stored if self.quantity == "numbers" else stored * self._factors + self._terms

    def to_stored(self, physical: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn numbers of this quantity, shape (..., band), into stored ones."""
        return physical if self.quantity == "numbers" else (physical - self._terms) / self._factors

    @property
    def spreads(self) -> npt.NDArray[np.float64]:
        """What differences of stored numbers are multiplied by, shape (band,)."""
        return np.abs(self._factors)


def relative(spreads: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Factors of bands, shape (band,), relative to the first; None where all are alike."""
    return None if (spreads == spreads[0]).all() else spreads / spreads[0]
