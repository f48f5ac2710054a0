"""Units of pixel values: data type, scale, offset and physical quantity per band."""

from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

PIXEL_TYPES: Final = (*(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")), "float32", "float64")
"""NumPy names of the data types that can be clustered."""

Quantity = Literal["numbers", "scaled", "reflectance", "temperature", "radiance", "angle", "elevation", "index"]
"""Physical quantity of a band: 'numbers' (stored numbers, unscaled), 'scaled' (scale and offset applied, quantity
unknown), or the name of the quantity."""


class ModelRecord(BaseModel):
    """Base of all parts of a model: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Units(ModelRecord):
    """Units of the pixels of a scene or model, as stated by the files."""

    dtype: str
    """NumPy name of the data type of the pixels."""
    scales: tuple[float, ...]
    """Scale per band, from stored numbers to physical units, shape (band,)."""
    offsets: tuple[float, ...]
    """Offset per band, added after scaling, shape (band,)."""
    quantity: Quantity | tuple[Quantity, ...] = "numbers"
    """Quantity of centroids and tables: one for all bands, or one per band, shape (band,)."""

    @field_validator("dtype")
    @classmethod
    def _is_numeric(cls, dtype: str) -> str:
        if dtype not in PIXEL_TYPES:
            msg = f"{dtype} is not a data type of pixels; expected one of {', '.join(PIXEL_TYPES)}"
            raise ValueError(msg)
        return dtype

    @field_validator("quantity")
    @classmethod
    def _one_if_all_bands_agree(cls, quantity: Quantity | tuple[Quantity, ...]) -> Quantity | tuple[Quantity, ...]:
        return quantity[0] if isinstance(quantity, tuple) and len(set(quantity)) == 1 else quantity

    @model_validator(mode="after")
    def _has_a_quantity_per_band(self) -> Self:
        if len(self.quantities) != len(self.scales):
            msg = f"there are {len(self.quantities)} quantities and {len(self.scales)} scales; expected one per band"
            raise ValueError(msg)
        return self

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantity per band, shape (band,)."""
        return self.quantity if isinstance(self.quantity, tuple) else (self.quantity,) * len(self.scales)

    @property
    def quantity_text(self) -> str:
        """The distinct quantities as text for messages."""
        return ", ".join("scaled numbers" if name == "scaled" else name for name in dict.fromkeys(self.quantities))

    @property
    def _factors(self) -> npt.NDArray[np.float64]:
        """Scale per band, shape (band,); 1 for bands whose quantity is 'numbers'."""
        return np.where(self._stored, 1.0, self.scales)

    @property
    def _terms(self) -> npt.NDArray[np.float64]:
        """Offset per band, shape (band,); 0 for bands whose quantity is 'numbers'."""
        return np.where(self._stored, 0.0, self.offsets)

    @property
    def signed_factors(self) -> npt.NDArray[np.float64]:
        """Factor per band from stored numbers to the quantity, before the offset is added, shape (band,)."""
        return self._factors

    @property
    def _stored(self) -> npt.NDArray[np.bool_]:
        """Whether the quantity of a band is 'numbers', shape (band,)."""
        return np.array([quantity == "numbers" for quantity in self.quantities])

    @property
    def unscaled(self) -> npt.NDArray[np.bool_]:
        """Whether scale is 1 and offset is 0, per band, shape (band,)."""
        return np.array([pair == (1, 0) for pair in zip(self.scales, self.offsets, strict=True)])

    @property
    def family(self) -> str:
        """Group of data types whose stored numbers are comparable: 8-bit, wider integers, floats."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return "floating-point"
        return "8-bit" if kind.itemsize == 1 else "16-bit or wider integer"

    def to_physical(self, stored: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert stored numbers to the quantity, shape (..., band)."""
        return stored if self.quantity == "numbers" else stored * self._factors + self._terms

    def band_to_physical(self, stored: npt.NDArray[np.float64], band: int) -> npt.NDArray[np.float64]:
        """Convert stored numbers of a band to its quantity, elementwise."""
        if self.quantities[band] == "numbers":
            return stored
        return stored * self.scales[band] + self.offsets[band]

    def to_stored(self, physical: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert values of the quantity to stored numbers, shape (..., band)."""
        return physical if self.quantity == "numbers" else (physical - self._terms) / self._factors

    @property
    def difference_factors(self) -> npt.NDArray[np.float64]:
        """Factor from differences of stored numbers to differences in the quantity, per band, shape (band,)."""
        return np.abs(self._factors)

    @property
    def product_factors(self) -> npt.NDArray[np.float64]:
        """Factor from products of differences of two bands to those in the quantity, shape (band, band)."""
        return np.outer(self._factors, self._factors)


def relative_to_first(factors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Factors relative to that of the first band, shape (band,); None if all are equal."""
    return None if (factors == factors[0]).all() else factors / factors[0]
