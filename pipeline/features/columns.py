"""The columns that a method sees of a scene: its bands, and the indices computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.core.arrays import Planes
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Quantity
from pipeline.features.indices import Index, compute, index_dtype, parse_index, resolve

_KEY: Final = "features.indices"

_COMPUTED_AT_ONCE: Final = 14 * 2**15
"""Numbers held while an index is computed: intermediate results of a tile (`indices.compute`)."""


class IndexColumn(ModelRecord):
    """An index of a model, with the bands that it is computed from."""

    name: str
    """The index by name, or its expression: the column's name."""
    bands: Annotated[tuple[str, ...], Field(min_length=2)]
    """Name of the scene's band for each of `Index.bands`."""
    quantities: tuple[Quantity, ...]
    """Quantity of each of these bands; scale and offset are not applied to 'numbers'."""
    assumed: bool = False
    """Whether numbers are taken for reflectance (`features.assume`)."""

    @property
    def index(self) -> Index:
        """The index itself."""
        return parse_index(self.name)


@dataclass(frozen=True)
class Columns:
    """`BlockFeature`: some bands of a scene, as they are, and indices of its bands after them."""

    bands: tuple[str, ...]
    """Names of the bands that are columns."""
    indices: tuple[IndexColumn, ...]
    """The indices, in the order of their columns."""

    @classmethod
    def of(cls, indices: Sequence[str], scene: SceneInfo, bands: int, *, assume_reflectance: bool) -> "Columns":
        """Find the bands of indices in a scene.

        Parameters
        ----------
        indices : sequence of str
            Names of indices, or expressions of bands.
        scene : SceneInfo
            A scene with all their bands.
        bands : int
            Number of its first bands that are columns.
        assume_reflectance : bool
            Whether stored numbers without scale are taken for reflectance.

        Raises
        ------
        ConfigError
            If an index is unknown, lacks a band, needs reflectance that the scene does not state, or is given twice.
        """
        found = []
        for text in indices:
            index = parse_index(text, _KEY)
            chosen = resolve(index, scene.bands, scene.common_names, _KEY)
            if index.is_named and index.needs_reflectance and not assume_reflectance:
                _check_reflectance(index, [scene.units.quantities[column] for column in chosen])
            found.append(
                IndexColumn(
                    name=index.name,
                    bands=tuple(scene.bands[column] for column in chosen),
                    quantities=tuple(scene.units.quantities[column] for column in chosen),
                    assumed=assume_reflectance,
                )
            )
        columns = [*scene.bands[:bands], *(each.name for each in found)]
        twice = next((name for name in columns if columns.count(name) > 1), None)
        if twice:
            msg = f"{_KEY}: {twice} is given twice, or is the name of a band, too; leave one out"
            raise ConfigError(msg)
        return cls(scene.bands[:bands], tuple(found))

    def info(self, scene: SceneInfo) -> SceneInfo:
        """Describe the columns of a scene: bands in its stored numbers, as floats, and indices without unit."""
        kept = [scene.bands.index(band) for band in self.bands]
        dtype = index_dtype([scene.dtype])
        extra = len(self.indices)

        def of(values: Sequence[Any], value: Any) -> tuple[Any, ...]:
            return (*(values[band] for band in kept), *[value] * extra) if values else ()

        return replace(
            scene,
            bands=(*self.bands, *(each.name for each in self.indices)),
            dtype=dtype,
            nodata=of(scene.nodata, None),
            scales=of(scene.scales, 1.0),
            offsets=of(scene.offsets, 0.0),
            quantities=of(scene.units.quantities, "index"),
            common_names=of(scene.common_names, None),
        )

    def apply(self, data: Planes, scene: SceneInfo) -> Planes:
        """Return the columns of a block of a scene, shape (column, rows, columns), from its bands."""
        columns: npt.NDArray[Any] = np.empty(
            (len(self.bands) + len(self.indices), *data.shape[1:]), index_dtype([data.dtype])
        )
        for out, band in zip(columns, self.bands, strict=False):
            out[...] = data[scene.bands.index(band)]
        for out, each in zip(columns[len(self.bands) :], self.indices, strict=True):
            chosen = [scene.bands.index(band) for band in each.bands]
            scaling = [
                (1.0, 0.0) if quantity == "numbers" else (scene.scales[band], scene.offsets[band])
                for band, quantity in zip(chosen, each.quantities, strict=True)
            ]
            reflectance = [each.assumed or quantity == "reflectance" for quantity in each.quantities]
            out[...] = compute(each.index, [data[band] for band in chosen], scaling, reflectance)
        return columns

    def needs(self, scene: SceneInfo, work: Work) -> Needs:
        """Needs of computing the columns of a block: the bands of the block, a column, and intermediate results."""
        size = index_dtype([scene.dtype]).itemsize
        return Needs(per_block=work.pixels * (scene.bytes_per_pixel + size) + _COMPUTED_AT_ONCE * size)


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
