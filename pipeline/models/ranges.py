"""Models of ranges: each class is a range of the values of one band. Histograms and edges of the config make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import ModelError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.features.base import STRIP_PIXELS
from pipeline.models.base import CLASSES_ONLY, ClusterModel, Layer, Layers
from pipeline.models.classes import UNCLASSIFIED

Outside = Literal["unclassified", "extend", "nodata"]
"""Label of values outside of all ranges: 255, that of the first or last class, or 0."""

Numbers = npt.NDArray[np.float64]

_LARGEST_IN_TABLE: Final = 2
"""Most bytes of integers whose classes are looked up in a table of all numbers."""


@dataclass(frozen=True)
class RangeRule:
    """Edges of classes: class i is [edge i, edge i + 1), the last one with both edges."""

    edges: Numbers
    """Ascending edges in the quantity of a band, shape (k + 1,); two equal ones are those of an empty class."""
    outside: Outside
    """What values outside of all ranges become."""

    def classes(self, values: Numbers) -> npt.NDArray[np.uint8]:
        """Class of each value of the quantity, shape (value,)."""
        k = len(self.edges) - 1
        ends = {"unclassified": (UNCLASSIFIED, UNCLASSIFIED), "extend": (1, k), "nodata": (0, 0)}[self.outside]
        labels = np.array([ends[0], *range(1, k + 1), ends[1]], np.uint8)
        found = np.searchsorted(self.edges, values, side="right")
        found[values == self.edges[-1]] = k
        return labels[found]


@dataclass(frozen=True)
class RangeLabeller:
    """Labeller: the class of the range that a value is in, compared in the quantity, in float64."""

    rule: RangeRule
    """The ranges."""
    units: Units
    """Units of the scene."""
    table: npt.NDArray[np.uint8] | None
    """Class of each stored number, by its bits read as an unsigned integer; None for more than 16 bits."""

    @classmethod
    def of(cls, rule: RangeRule, units: Units) -> Self:
        """Make the labeller of a scene with these units."""
        kind = np.dtype(units.dtype)
        table = rule.classes(quantity_of(all_numbers(kind), units)) if has_table(kind) else None
        return cls(rule, units, table)

    def __call__(self, data: Planes, valid: Validity) -> Layers:
        """Label the pixels of a block, shape (1, rows, columns); see `Labeller`."""
        flat, known = np.ascontiguousarray(data[0]).reshape(-1), valid.reshape(-1)
        classes = np.zeros(known.shape, np.uint8)
        for start in range(0, flat.size, STRIP_PIXELS):
            strip = slice(start, start + STRIP_PIXELS)
            if known[strip].any():
                classes[strip] = self._classes(flat[strip]) * known[strip]
        return Layers(classes.reshape(valid.shape))

    def _classes(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Class of each stored number, shape (pixel,)."""
        if self.table is None:
            return self.rule.classes(quantity_of(stored, self.units))
        classes: npt.NDArray[np.uint8] = self.table[stored.view(f"u{stored.itemsize}")]
        return classes


def has_table(kind: np.dtype[Any]) -> bool:
    """Whether a table has room for all numbers of a type: integers of up to 16 bits."""
    return kind.kind != "f" and kind.itemsize <= _LARGEST_IN_TABLE


def all_numbers(kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """All integers of a type of up to 16 bits, in the order of their bits read as unsigned integers."""
    return np.arange(256**kind.itemsize).astype(f"u{kind.itemsize}").view(kind)


def quantity_of(stored: npt.NDArray[Any], units: Units) -> Numbers:
    """Values of the one band of a scene in its quantity, in float64, shape (pixel,)."""
    return units.to_physical(stored.astype(np.float64)[:, np.newaxis])[:, 0]


def range_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Name of each range, such as '0.2 to 0.4': of six digits, or as many as tell the edges apart."""
    for digits in range(6, 18):
        shown = [
            np.format_float_positional(edge, precision=digits, unique=False, fractional=False, trim="-")
            for edge in edges
        ]
        if len(set(shown)) == len(set(edges)):
            break
    return tuple(f"{low} to {high}" for low, high in pairwise(shown))


class Ranges(ClusterModel):
    """Ranges of the values of one band, in ascending order."""

    kind: ClassVar[str] = "ranges"
    decisive: ClassVar[frozenset[str]] = frozenset({"edges", "outside"})

    class_order: Literal["brightness", "edges"] = "edges"
    """Order of the classes: by their edges."""
    edges: tuple[float, ...]
    """Edges of the classes in the quantity of `units`, shape (k + 1,): see `RangeRule`."""
    outside: Outside
    """What values outside of all ranges become."""

    @model_validator(mode="after")
    def _has_consistent_edges(self) -> Self:
        if len(self.bands) != 1:
            msg = f"ranges are those of one band; there are {len(self.bands)} bands"
            raise ValueError(msg)
        if len(self.edges) != self.k + 1:
            msg = f"{len(self.edges)} edges and {self.k} classes; expected one edge more than classes"
            raise ValueError(msg)
        if sorted(self.edges) != list(self.edges) or self.edges[0] == self.edges[-1]:
            msg = f"edges: expected ascending numbers, from {self.edges[0]:g} to a larger one"
            raise ValueError(msg)
        return self

    @property
    def leaves_unclassified(self) -> bool:
        """Whether values outside of all ranges are `UNCLASSIFIED`."""
        return self.outside == "unclassified"

    @property
    def centres(self) -> Numbers:
        """The middle of each range in the quantity of `units`, shape (k, 1); of the outer ones no farther than inside.

        Outer edges may be as far away as the user likes, but pixels are summed as differences from centres.
        """
        edges = np.array(self.edges)
        middles = edges[:-1] / 2 + edges[1:] / 2
        if len(edges) > 3:  # noqa: PLR2004 (two inner edges)
            widths = np.diff(edges[1:-1])
            middles[0] = max(middles[0], edges[1] - widths.max())
            middles[-1] = min(middles[-1], edges[-2] + widths.max())
        return middles[:, np.newaxis]

    def labeller(self, info: SceneInfo, want: frozenset[Layer] = CLASSES_ONLY) -> RangeLabeller:
        """Make the labeller for a scene that the model fits; see `ClusterModel.labeller`."""
        if missing := want - self.layers:
            msg = f"a model of kind {self.kind} gives no {', '.join(sorted(missing))}, only classes"
            raise ModelError(msg)
        return RangeLabeller.of(RangeRule(np.array(self.edges), self.outside), info.units)
