"""What a model expects of the scenes it is applied to: bands, units, nodata, standardization."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.schema import WindowSize
from pipeline.core.errors import ModelError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Quantity, Units
from pipeline.features.columns import Columns, IndexColumn, TextureColumn
from pipeline.features.standardize import Standardization

_FEATURES: Final = ("indices", "textures", "smooth", "unit_norm")
"""Fields that say what is computed from the bands of a scene: left out of files if they say nothing."""


class Inputs(ModelRecord):
    """Bands and units of a model, and what is done with them before pixels are classed."""

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the bands, and of the indices and textures after them, shape (band,)."""
    indices: tuple[IndexColumn, ...] = ()
    """The indices: the last of `bands`, before textures."""
    textures: tuple[TextureColumn, ...] = ()
    """The textures: the last of `bands`."""
    smooth: WindowSize | None = None
    """Pixels per side of the square whose mean replaces each pixel of a band; None to use bands as they are."""
    unit_norm: bool = False
    """Whether the bands of each pixel, but no indices, are divided by their Euclidean norm."""
    units: Units
    """Units of the scene that the model was fitted on; `quantity` is that of the model's numbers."""
    preparation: Standardization = Standardization()
    """Standardization of the bands before distances are computed."""
    nodata: Literal["auto"] | int | float
    """Setting `scene.nodata` of the fit: 'auto' (as stated by the files), or a value."""

    @model_serializer(mode="wrap")
    def _without_unused_features(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out features that there are not, so that models without them stay as they are."""
        return {name: value for name, value in dump(self).items() if name not in _FEATURES or value}

    @model_validator(mode="after")
    def _agree_on_the_number_of_bands(self) -> Self:
        if self.preparation.standardize != "none" and len(self.preparation.spread) != len(self.bands):
            msg = "preparation: expected a centre and a spread per band"
            raise ValueError(msg)
        if len(self.preparation.weights) not in {0, len(self.bands)}:
            msg = "preparation: expected a weight per band"
            raise ValueError(msg)
        if self.preparation.components and len(self.preparation.components.centre) != len(self.bands):
            msg = "preparation.components: expected a centre per band"
            raise ValueError(msg)
        if self.bands[self._used :] != tuple(each.name for each in self._computed):
            msg = f"indices: {', '.join(each.name for each in self._computed)} are not the last of the bands"
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

    @property
    def _computed(self) -> tuple[IndexColumn | TextureColumn, ...]:
        """What is computed from bands, in the order of the columns after these."""
        return (*self.indices, *self.textures)

    @property
    def _used(self) -> int:
        """Number of bands of the scene among `bands`."""
        return len(self.bands) - len(self._computed)

    @property
    def dimensions(self) -> tuple[int, str]:
        """How many numbers prepared pixels have, and what each is: a band or a component."""
        components = self.preparation.components
        return (len(components.loadings), "component") if components else (len(self.bands), "band")

    @property
    def columns(self) -> Columns | None:
        """What is computed from the bands of a scene; None if they are used as they are."""
        if not (self._computed or self.smooth or self.unit_norm or self.preparation.components):
            return None
        return Columns(self.bands[: self._used], self.indices, self.smooth, self.unit_norm, self.textures)

    @property
    def scene_bands(self) -> tuple[str, ...]:
        """Names of the bands that are read from a scene."""
        used = (band for each in self._computed for band in each.bands)
        return tuple(dict.fromkeys((*self.bands[: self._used], *used)))

    def units_of_bands(self, units: Units) -> Units:
        """Units of the model for the bands of a scene: those of the columns, and the scene's own for other bands."""
        quantities = (*self.units.quantities[: self._used], *units.quantities[self._used :])
        return self.units if not self._computed else units.model_copy(update={"quantity": quantities})

    def check_scene(self, scene: SceneInfo) -> None:
        """Raise ModelError unless the model can be applied to a scene with `scene_bands` among its bands.

        Its columns are checked as `check_fits` does, and the bands that only indices use.
        """
        source = scene.sources[0]
        for each in self._computed:
            for band, wanted in zip(each.bands, each.quantities, strict=True):
                found = scene.units.quantities[scene.bands.index(band)]
                context = f"{source}: the model's column {each.name} is computed from {wanted}"
                _check_quantity(band, wanted, found, context, scene.dtype.name)
        columns = self.columns.info(scene) if self.columns else scene
        self.check_fits(columns.bands, columns.units, source)

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
