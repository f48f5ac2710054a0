"""What a model expects of the scenes it is applied to: bands, units, nodata, standardization."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.core.errors import ModelError
from pipeline.core.units import ModelRecord, Quantity, Units
from pipeline.features.standardize import Standardization


class Inputs(ModelRecord):
    """Bands and units of a model, and what is done with them before pixels are classed."""

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Band names, shape (band,)."""
    units: Units
    """Units of the scene that the model was fitted on; `quantity` is that of the model's numbers."""
    preparation: Standardization = Standardization()
    """Standardization of the bands before distances are computed."""
    nodata: Literal["auto"] | int | float
    """Setting `scene.nodata` of the fit: 'auto' (as stated by the files), or a value."""

    @model_validator(mode="after")
    def _agree_on_the_number_of_bands(self) -> Self:
        if self.preparation.standardize != "none" and len(self.preparation.spread) != len(self.bands):
            msg = "preparation: expected a centre and a spread per band"
            raise ValueError(msg)
        if len(set(self.bands)) != len(self.bands):
            msg = f"two bands have the same name: {', '.join(self.bands)}"
            raise ValueError(msg)
        if {len(self.units.scales), len(self.units.offsets)} != {len(self.bands)}:
            msg = "units: expected a scale and an offset per band"
            raise ValueError(msg)
        pairs = zip(self.units.quantities, self.units.scales, strict=True)
        if any(quantity != "numbers" and scale == 0 for quantity, scale in pairs):
            msg = "units: a scale is 0; expected scales other than 0"
            raise ValueError(msg)
        return self

    def check_fits(self, bands: tuple[str, ...], units: Units, source: str) -> None:
        """Raise ModelError unless the model can be applied to a scene with these bands, in order, and units."""
        if bands != self.bands:
            missing = [band for band in self.bands if band not in bands]
            why = f"{', '.join(missing)} missing" if missing else "another order or number"
            msg = f"{source}: the model needs bands {', '.join(self.bands)}; the scene has {', '.join(bands)} ({why})"
            raise ModelError(msg)
        unscaled = self.units.unscaled & units.unscaled
        context = f"{source}: the model is in {self.units.quantity_text}"
        pairs = zip(self.units.quantities, units.quantities, strict=True)
        for band, (wanted, found), plain in zip(self.bands, pairs, unscaled, strict=True):
            # earlier versions stored one quantity for all bands: 'scaled' also for a band without scale
            if not (plain and {wanted, found} == {"scaled", "numbers"}):
                _check_quantity(band, wanted, found, context, units.dtype)
        if "numbers" in self.units.quantities:
            self._check_stored_numbers(units, source)

    def _check_stored_numbers(self, units: Units, source: str) -> None:
        """Raise ModelError unless stored numbers, of the bands that are used as such, mean the same in a scene."""
        if units.family != self.units.family:
            msg = (
                f"{source}: the model was fitted on {self.units.dtype} pixels ({self.units.family}), the scene has "
                f"{units.dtype} ({units.family}); their values are not comparable: convert the scene to the "
                "model's data type, or fit a new model"
            )
            raise ModelError(msg)
        own, other = (zip(each.scales, each.offsets, strict=True) for each in (self.units, units))
        for band, quantity, wanted, found in zip(self.bands, self.units.quantities, own, other, strict=True):
            if quantity == "numbers" and wanted != found:
                msg = (
                    f"{source}: band {band} has scale {found[0]:g} and offset {found[1]:g}, the model was fitted "
                    f"with scale {wanted[0]:g} and offset {wanted[1]:g}; fit a new model on this scene"
                )
                raise ModelError(msg)


def _check_quantity(band: str, wanted: Quantity, found: Quantity, context: str, dtype: str) -> None:
    """Raise ModelError if the quantity of a scene's band is known and differs from that of the model's band."""
    if wanted == "numbers" or found in {wanted, "scaled"}:
        return
    if found == "numbers":
        msg = (
            f"{context}, but band {band} of the scene ({dtype}) states no scale; add scale and offset tags to the "
            "files, or fit a new model"
        )
        raise ModelError(msg)
    if wanted != "scaled":
        msg = f"{context}, but band {band} of the scene is in {found}; choose another scene, or fit a new model"
        raise ModelError(msg)
