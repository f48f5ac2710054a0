"""The columns that a method sees of a scene: its bands, as they are or smoothed, and indices computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.config.schema import FeaturesConfig, TextureConfig, WindowSize
from pipeline.core.arrays import Planes
from pipeline.core.band_names import find_band
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Needs, Work
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Quantity
from pipeline.features.base import Inner
from pipeline.features.indices import Index, compute, index_dtype, parse_index, resolve
from pipeline.features.moving_windows import window_bytes, window_deviations, window_means, window_ranges

_KEY: Final = "features.indices"
_TEXTURE: Final = "features.texture.bands"

_TEXTURES: Final = {"std": window_deviations, "range": window_ranges}
"""Functions of the square around each pixel, by `TextureColumn.of`."""

_COMPUTED_AT_ONCE: Final = 14 * 2**15
"""Numbers held while an index is computed: intermediate results of a tile (`indices.compute`)."""

_NORM_PIXELS: Final = 2**14
"""Pixels that are divided by their norm at once."""


class IndexColumn(ModelRecord):
    """An index of a model, with the bands that it is computed from."""

    name: str
    """The index by name, or its expression: the column's name."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Name of the scene's band for each of `Index.bands`."""
    quantities: tuple[Quantity, ...]
    """Quantity of each of these bands; scale and offset are not applied to 'numbers'."""
    assumed: bool = False
    """Whether numbers are taken for reflectance (`features.assume`)."""

    @model_validator(mode="after")
    def _has_its_bands(self) -> Self:
        try:
            wanted = len(self.index.bands)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if len(self.bands) != wanted or len(self.quantities) != wanted:
            msg = f"{self.name}: expected {wanted} bands, and as many quantities"
            raise ValueError(msg)
        return self

    @property
    def index(self) -> Index:
        """The index itself."""
        return parse_index(self.name)


class TextureColumn(ModelRecord):
    """A texture of a model: the spread of a band in the square around each pixel."""

    band: str
    """Name of the scene's band."""
    of: Literal["std", "range"]
    """'std' (standard deviation) or 'range' (largest minus smallest)."""
    size: WindowSize
    """Pixels per side of the square."""
    quantity: Quantity
    """Quantity of the band; its scale is not applied to 'numbers'."""

    @property
    def name(self) -> str:
        """Name of the column."""
        return f"{self.band}_{self.of}{self.size}"

    @property
    def bands(self) -> tuple[str, ...]:
        """The band."""
        return (self.band,)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Quantity of the band."""
        return (self.quantity,)


@dataclass(frozen=True)
class Columns:
    """`BlockFeature`: some bands of a scene, then indices of these, all smoothed if wanted, then textures of bands."""

    bands: tuple[str, ...]
    """Names of the bands that are columns."""
    indices: tuple[IndexColumn, ...]
    """The indices, in the order of their columns."""
    smooth: int | None = None
    """Pixels per side of the square whose mean replaces each pixel of a band; None to use bands as they are."""
    unit_norm: bool = False
    """Whether the bands of each pixel are divided by their Euclidean norm, in the quantity; indices are not."""
    textures: tuple[TextureColumn, ...] = ()
    """The textures, of bands that are not smoothed, in the order of their columns."""

    @classmethod
    def of(cls, config: FeaturesConfig, scene: SceneInfo, bands: int) -> "Columns | None":
        """Find the columns of a config in a scene.

        Parameters
        ----------
        config : FeaturesConfig
            Section `features`.
        scene : SceneInfo
            A scene with all bands of the indices.
        bands : int
            Number of its first bands that are columns.

        Returns
        -------
        Columns or None
            None if bands are used as they are, without others.

        Raises
        ------
        ConfigError
            If an index is unknown, lacks a band, needs reflectance that the scene does not state, or is given twice.
        """
        if not (config.indices or config.smooth or config.unit_norm or config.pca or config.texture):
            return None
        found, assumed = [], config.assume == "reflectance"
        for text in config.indices:
            index = parse_index(text, _KEY)
            chosen = resolve(index, scene.bands, scene.common_names, _KEY)
            if index.is_named and index.needs_reflectance and not assumed:
                _check_reflectance(index, [scene.units.quantities[column] for column in chosen])
            found.append(
                IndexColumn(
                    name=index.name,
                    bands=tuple(scene.bands[column] for column in chosen),
                    quantities=tuple(scene.units.quantities[column] for column in chosen),
                    assumed=assumed,
                )
            )
        textures = _textures(config.texture, scene)
        made = cls(scene.bands[:bands], tuple(found), config.smooth, config.unit_norm, textures)
        names = [name.lower() for name in made.names]
        twice = next((name for name, lower in zip(made.names, names, strict=True) if names.count(lower) > 1), None)
        if twice:
            key = _TEXTURE if twice in [each.name for each in textures] else _KEY
            msg = f"{key}: {twice} is given twice, or is the name of a band, too; leave one out"
            raise ConfigError(msg)
        most = len(names)
        if config.pca and config.pca > most:
            msg = f"features.pca: {config.pca} components of {most} bands and other features; use {most} at most"
            raise ConfigError(msg)
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self.bands, *(each.name for each in self.indices), *(each.name for each in self.textures))

    @property
    def in_model(self) -> dict[str, Any]:
        """Fields of a model that has these columns."""
        return {name: getattr(self, name) for name in ("indices", "smooth", "unit_norm", "textures")}

    @property
    def halo(self) -> int:
        """Rows and columns of pixels around a block that affect it."""
        return max(self.smooth or 0, *(each.size for each in self.textures), 0) // 2

    def info(self, scene: SceneInfo) -> SceneInfo:
        """Describe the columns of a scene: bands in its stored numbers, as floats, and indices without unit.

        Bands of unit norm have the scale 1, and the quantity that they had.
        """
        kept = [scene.bands.index(band) for band in self.bands]
        dtype = index_dtype([scene.dtype])
        extra = len(self.indices) + len(self.textures)

        scales, offsets = list(scene.scales), list(scene.offsets)
        if self.unit_norm:
            for band, quantity in enumerate(scene.quantities):
                if quantity != "numbers":
                    scales[band], offsets[band] = 1.0, 0.0

        steps = [
            1.0 if each.quantity == "numbers" else abs(scene.scales[scene.bands.index(each.band)])
            for each in self.textures
        ]

        def of(values: Sequence[Any], value: Any) -> tuple[Any, ...]:
            return (*(values[band] for band in kept), *[value] * extra) if values else ()

        return replace(
            scene,
            bands=self.names,
            dtype=dtype,
            nodata=of(scene.nodata, None),
            scales=(*of(scales, 1.0)[: len(self.bands) + len(self.indices)], *steps),
            offsets=of(offsets, 0.0),
            quantities=of(scene.units.quantities, "index"),
            common_names=of(scene.common_names, None),
        )

    def apply(self, pixels: Pixels, scene: SceneInfo, inner: Inner) -> Planes:
        """Return the columns of `inner`, shape (column, rows, columns), from bands; see `BlockFeature`."""
        data = self._smoothed(pixels, inner) if self.smooth else pixels.data[:, *inner]
        columns: npt.NDArray[Any] = np.empty(
            (len(self.bands) + len(self.indices) + len(self.textures), *data.shape[1:]), index_dtype([data.dtype])
        )
        for out, band in zip(columns, self.bands, strict=False):
            out[...] = data[scene.bands.index(band)]
        if self.unit_norm:
            self._divide_by_norm(columns[: len(self.bands)], scene)
        for out, texture in zip(columns[len(self.bands) + len(self.indices) :], self.textures, strict=True):
            plane = pixels.data[scene.bands.index(texture.band)]
            _TEXTURES[texture.of](plane, pixels.valid, texture.size, inner, out)
        for out, each in zip(columns[len(self.bands) :], self.indices, strict=False):
            chosen = [scene.bands.index(band) for band in each.bands]
            scaling = [
                (1.0, 0.0) if quantity == "numbers" else (scene.scales[band], scene.offsets[band])
                for band, quantity in zip(chosen, each.quantities, strict=True)
            ]
            reflectance = [each.assumed or quantity == "reflectance" for quantity in each.quantities]
            out[...] = compute(each.index, [data[band] for band in chosen], scaling, reflectance)
        return columns

    def _divide_by_norm(self, columns: Planes, scene: SceneInfo) -> None:
        """Divide the bands of each pixel by their norm, in place; those of a pixel of zeros stay 0."""
        if not self.bands:
            return
        used = [scene.bands.index(band) for band in self.bands]
        units = scene.units
        high = max(1, _NORM_PIXELS // max(1, columns.shape[2]))
        for row in range(0, columns.shape[1], high):
            strip = columns[:, row : row + high]
            values = [
                units.band_to_physical(plane.astype(np.float64), at) for plane, at in zip(strip, used, strict=True)
            ]
            norm = np.sqrt(reduce(np.add, (value * value for value in values)))
            norm[norm == 0] = 1
            for out, value in zip(strip, values, strict=True):
                np.divide(value, norm, out=out, casting="same_kind")

    def _smoothed(self, pixels: Pixels, inner: Inner) -> Planes:
        """Smoothed bands of a rectangle, shape (band, rows, columns)."""
        shape = (len(pixels.data), *(part.stop - part.start for part in inner))
        means = np.empty(shape, index_dtype([pixels.data.dtype]))
        window_means(*pixels, self.smooth or 1, inner, means)
        return means

    def needs(self, scene: SceneInfo, work: Work) -> Needs:
        """Needs of computing the columns of a block: the bands of the block, a column, and intermediate results."""
        wide = work.widened(self.halo)
        size = index_dtype([scene.dtype]).itemsize
        needs = Needs(per_block=wide.pixels * (scene.bytes_per_pixel + size) + _COMPUTED_AT_ONCE * size)
        if self.unit_norm:
            strip = max(_NORM_PIXELS, work.chunk[1])
            needs = needs.beside(Needs(per_block=(len(self.bands) + 3) * strip * 8))
        if not self.halo:
            return needs
        means = work.pixels * len(scene.bands) * size if self.smooth else 0
        windows = window_bytes(2 * self.halo + 1, work.chunk[1])
        return needs.beside(Needs(per_block=means + windows + wide.pixels, halo=self.halo))


def _textures(config: TextureConfig | None, scene: SceneInfo) -> tuple[TextureColumn, ...]:
    """Textures of a config in a scene."""
    if config is None:
        return ()
    found = [find_band(band, scene.bands, scene.common_names or None, key=_TEXTURE) for band in config.bands]
    return tuple(
        TextureColumn(band=scene.bands[band], of=config.of, size=config.size, quantity=scene.units.quantities[band])
        for band in found
    )


def _check_reflectance(index: Index, quantities: Sequence[str]) -> None:
    """Raise ConfigError unless all bands of an index are in reflectance."""
    if set(quantities) != {"reflectance"}:
        other = next(quantity for quantity in quantities if quantity != "reflectance")
        what = "stored numbers without a scale" if other == "numbers" else other
        msg = (
            f"{_KEY}: {index.name} has constants that are meant for reflectance, but the scene has {what}; use one "
            "without constants, or set features.assume: reflectance if its numbers are reflectance from 0 to 1"
        )
        raise ConfigError(msg)
