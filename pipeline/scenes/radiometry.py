"""How the numbers of Sentinel-2 items become reflectance, where the item says so and where it does not.

Source: Sentinel-2 Products Specification Document, issue 15, on baseline 04.00: from it on 1000 is added to the numbers
of every product, which `RADIO_ADD_OFFSET` and `BOA_ADD_OFFSET` state.
"""

from dataclasses import dataclass
from typing import Any, Final

_FIRST_WITH_OFFSET: Final = (4, 0)
_QUANTIFICATION: Final = 10_000
_OFFSET: Final = -1000


@dataclass(frozen=True, kw_only=True)
class Radiometry:
    """How a Sentinel-2 item's numbers become reflectance."""

    baseline: str
    harmonised: bool
    """Whether the item says that the offset is off the numbers already: those of its copies, not of ESA's files."""

    @classmethod
    def of(cls, item: Any) -> "Radiometry":
        """What an item states."""
        said = item.properties
        return cls(
            baseline=str(said.get("s2:processing_baseline") or said.get("processing:version") or ""),
            harmonised=said.get("earthsearch:boa_offset_applied") is True,
        )

    @property
    def rule(self) -> float:
        """The offset in stored numbers that goes with the baseline."""
        try:
            major, minor = (int(part) for part in self.baseline.split(".")[:2])
        except ValueError:
            return 0.0
        return float(_OFFSET) if (major, minor) >= _FIRST_WITH_OFFSET else 0.0

    def scale_and_offset(self, scale: float | None, offset: float | None, *, original: bool) -> tuple[float, float]:
        """What the item states of a band; else what goes with the baseline; no offset where it is off already."""
        factor = 1 / _QUANTIFICATION if scale is None else scale
        if self.harmonised and not original:
            return factor, 0.0
        if offset is not None or scale is not None:
            return factor, offset or 0.0
        return factor, self.rule / _QUANTIFICATION

    def notes(self, source: str, *, stated: bool) -> tuple[str, ...]:
        """What was taken for granted."""
        if self.harmonised:
            told = f"the item says that the offset of baseline {self.baseline} is off its numbers already"
            return (f"{source}: {told}: no other is taken off",)
        if not stated:
            added = f"{self.rule:+g}" if self.rule else "no offset"
            told = f"the item states no scale or offset; by its baseline, {self.baseline or 'unknown'},"
            return (f"{source}: {told} reflectance is taken for (DN {added}) / {_QUANTIFICATION}",)
        return ()
