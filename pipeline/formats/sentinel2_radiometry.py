"""How the numbers of Sentinel-2 items become reflectance, where the item says so and where it does not.

Source: Sentinel-2 Products Specification Document, issue 15, on baseline 04.00: from it on 1000 is added to the numbers
of every product, which `RADIO_ADD_OFFSET` and `BOA_ADD_OFFSET` state.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.errors import SceneError

_FIRST_WITH_OFFSET: Final = (4, 0)
_QUANTIFICATION: Final = 10_000
_OFFSET: Final = -1000
_BASELINE: Final = re.compile(r"N?(\d{1,2})\.?(\d\d?)?")
_BASELINE_IN_NAME: Final = re.compile(r"(?<![A-Z0-9])N(\d\d)\.?(\d\d)(?![A-Z0-9])")
_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})


def properties_named(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Properties of a name, whatever their prefix: `s2:`, `sentinel:` (Earth Search v0), `earthsearch:`."""
    return {key: value for key, value in said.items() if key.rpartition(":")[2] == name and value is not None}


@dataclass(frozen=True, kw_only=True)
class Radiometry:
    """How a Sentinel-2 item's numbers become reflectance."""

    baseline: str
    """Processing baseline, such as 05.09; empty where it is unknown."""
    harmonised: bool | None
    """Whether the item says that the offset is off the numbers already: those of its copies, not of ESA's files."""

    @classmethod
    def of(cls, item: Any, source: str = "") -> "Radiometry":
        """What an item states.

        Raises
        ------
        SceneError
            When two of its properties contradict each other.
        """
        said = item.properties
        applied = {
            key: _yes_or_no(key, value, source) for key, value in properties_named(said, "boa_offset_applied").items()
        }
        if len(set(applied.values())) > 1:
            listed = ", ".join(f"{key} is {said[key]!r}" for key in applied)
            msg = f"{source}: the item says two things of its offset: {listed}; mend the item"
            raise SceneError(msg)
        return cls(baseline=_baseline(item, source), harmonised=next(iter(applied.values()), None))

    @property
    def baseline_offset(self) -> float:
        """The offset in stored numbers that goes with the baseline."""
        if not self.baseline:
            return 0.0
        major, minor = (int(part) for part in self.baseline.split("."))
        return float(_OFFSET) if (major, minor) >= _FIRST_WITH_OFFSET else 0.0

    def scale_and_offset(self, scale: float | None, offset: float | None, *, original: bool) -> tuple[float, float]:
        """What the item states of a band; else what goes with the baseline; no offset where it is off already.

        A scale without an offset means that there is none, unless the item says that it is still in the numbers.
        """
        factor = 1 / _QUANTIFICATION if scale is None else scale
        if self.harmonised and not original:
            return factor, 0.0
        if offset is not None or (scale is not None and self.harmonised is not False):
            return factor, offset or 0.0
        return factor, self.baseline_offset / _QUANTIFICATION

    def notes(self, source: str, layers: Iterable[tuple[float | None, float | None]]) -> tuple[str, ...]:
        """What was taken for granted of bands whose item states these scales and offsets."""
        pairs = list(layers)
        stated = any(pair != (None, None) for pair in pairs)
        if self.harmonised:
            told = f"the item says that the offset of baseline {self.baseline or 'unknown'} is off its numbers already"
            return (f"{source}: {told}: no other is taken off",)
        if stated and (self.harmonised is not False or not self.baseline_offset or any(offset is not None for _, offset in pairs)):
            return ()
        if stated:
            told = f"the item says that the offset of baseline {self.baseline} is not off its numbers, and states none:"
            return (f"{source}: {told} reflectance is taken for (DN {self.baseline_offset:+g}) / {_QUANTIFICATION}",)
        if not self.baseline:
            told = f"the item states no scale, offset or baseline: reflectance is taken for DN / {_QUANTIFICATION}"
            return (f"{source}: {told}, which is 0.1 too high if these are ESA's numbers of baseline 04.00 or later",)
        added = f"{self.baseline_offset:+g}" if self.baseline_offset else "no offset"
        told = f"the item states no scale or offset; by its baseline, {self.baseline},"
        return (f"{source}: {told} reflectance is taken for (DN {added}) / {_QUANTIFICATION}",)


def _yes_or_no(key: str, value: Any, source: str) -> bool:
    """A yes or no, which some items have as text or number."""
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        msg = f"{source}: {key} is {str(value)[:40]!r}; expected true or false"
        raise SceneError(msg)
    return word in _YES


def _baseline(item: Any, source: str) -> str:
    """The processing baseline as an item states it, such as 05.09; else as the product's name does; else empty.

    Raises
    ------
    SceneError
        When two properties state two.
    """
    said = item.properties
    found = {
        key: _plain(value) for key, value in properties_named(said, "processing_baseline").items() if _plain(value)
    }
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{key} is {said[key]!r}" for key in found)
        msg = f"{source}: the item states two baselines: {listed}; mend the item"
        raise SceneError(msg)
    if found:
        return next(iter(found.values()))
    names = [
        said.get("processing:version"),
        *properties_named(said, "product_uri").values(),
        *properties_named(said, "product_id").values(),
    ]
    for name in (*names, item.id):
        match = _BASELINE_IN_NAME.search(str(name or "").upper())
        baseline = f"{match[1]}.{match[2]}" if match else _plain(name) if name is names[0] else ""
        if baseline:
            return baseline
    return ""


def _plain(value: Any) -> str:
    """A baseline as two digits, a dot and two digits, out of 04.00, 4.0, N0400 or 5.1, which JSON makes of 05.10."""
    match = _BASELINE.fullmatch(str(value).strip().upper())
    if not match:
        return ""
    minor = (match[2] or "0").ljust(2, "0")
    return f"{int(match[1]):02d}.{minor}"
