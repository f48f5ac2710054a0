"""Scale and offset to reflectance of Sentinel-2 bands in STAC items and tile folders, stated or by baseline.

Source: Sentinel-2 Products Specification Document, issue 15: from baseline 04.00 on, 1000 is added to the stored
numbers of every product, and `RADIO_ADD_OFFSET` and `BOA_ADD_OFFSET` state the -1000 that takes it off again.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.errors import SceneError
from pipeline.formats.sentinel2 import has_offset

_QUANTIFICATION: Final = 10_000
"""Quantification value of all baselines: reflectance is (stored number + offset) / quantification value."""
_OFFSET: Final = -1000
"""Offset in stored numbers of the baselines that have one."""
_BASELINE: Final = re.compile(r"N?(\d{1,2})\.?(\d\d?)?")
_BASELINE_IN_NAME: Final = re.compile(r"(?<![A-Z0-9])N(\d\d)\.?(\d\d)(?![A-Z0-9])")
_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})


def properties_named(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Properties of a name with any prefix: `s2:`, `sentinel:` (Earth Search v0), `earthsearch:`."""
    return {key: value for key, value in properties.items() if key.rpartition(":")[2] == name and value is not None}


@dataclass(frozen=True, kw_only=True)
class Radiometry:
    """What a STAC item or tile folder states about the conversion of its Sentinel-2 bands to reflectance."""

    baseline: str
    """Processing baseline, such as 05.09; empty if unknown."""
    harmonised: bool | None
    """Whether the offset is already subtracted in the item's copies of ESA's files; None if unstated."""

    @classmethod
    def of(cls, item: Any, source: str = "") -> "Radiometry":
        """Read what the properties of a STAC item state; raise SceneError if two of them contradict each other."""
        properties = item.properties
        applied = {
            key: _as_bool(key, value, source)
            for key, value in properties_named(properties, "boa_offset_applied").items()
        }
        if len(set(applied.values())) > 1:
            listed = ", ".join(f"{key} is {properties[key]!r}" for key in applied)
            msg = f"{source}: the item contradicts itself about its offset: {listed}; fix the item"
            raise SceneError(msg)
        return cls(baseline=_baseline(item, source), harmonised=next(iter(applied.values()), None))

    @property
    def baseline_offset(self) -> float:
        """Offset of the baseline, in stored numbers; 0 if the baseline has none or is unknown."""
        return float(_OFFSET) if has_offset(self.baseline) else 0.0

    def scale_and_offset(self, scale: float | None, offset: float | None, *, original: bool) -> tuple[float, float]:
        """Scale and offset of a band: reflectance is stored number x scale + offset.

        Parameters
        ----------
        scale, offset : float or None
            Scale and offset that the item states of the band.
        original : bool
            Whether the file is ESA's own, whose numbers are not harmonised.

        Returns
        -------
        float, float
            Stated values first, else those of the baseline. The offset is 0 if it is already subtracted. A scale
            without an offset means 0, too, unless the item states that the offset is not subtracted.
        """
        factor = 1 / _QUANTIFICATION if scale is None else scale
        if self.harmonised and not original:
            return factor, 0.0
        if offset is not None or (scale is not None and self.harmonised is not False):
            return factor, offset or 0.0
        return factor, self.baseline_offset / _QUANTIFICATION

    def notes(self, source: str, layers: Iterable[tuple[float | None, float | None]]) -> tuple[str, ...]:
        """Warnings, at most one, about assumed scales and offsets; `layers` are the stated ones per band."""
        pairs = list(layers)
        stated = any(pair != (None, None) for pair in pairs)
        if self.harmonised:
            reason = f"the offset of baseline {self.baseline or 'unknown'} is already subtracted from its numbers"
            return (f"{source}: the item states that {reason}; no other offset is applied",)
        if stated and (
            self.harmonised is not False or not self.baseline_offset or any(offset is not None for _, offset in pairs)
        ):
            return ()
        if stated:
            reason = f"the item states no offset, but that the one of baseline {self.baseline} is not yet subtracted"
            return (
                f"{source}: {reason}; reflectance is assumed to be (DN {self.baseline_offset:+g}) / {_QUANTIFICATION}",
            )
        if not self.baseline:
            reason = (
                f"the item states no scale, offset or baseline; reflectance is assumed to be DN / {_QUANTIFICATION}"
            )
            return (f"{source}: {reason}, which is 0.1 too high for ESA's numbers of baseline 04.00 or later",)
        reason = f"the item states no scale or offset; by its baseline, {self.baseline},"
        stored = f"(DN {self.baseline_offset:+g})" if self.baseline_offset else "DN"
        return (f"{source}: {reason} reflectance is assumed to be {stored} / {_QUANTIFICATION}",)


def _as_bool(key: str, value: Any, source: str) -> bool:
    """A boolean property, which some items state as text or number."""
    word = str(value).strip().lower()
    if word not in _YES | _NO:
        msg = f"{source}: {key} is {str(value)[:40]!r}; expected true or false; fix the item"
        raise SceneError(msg)
    return word in _YES


def _baseline(item: Any, source: str) -> str:
    """Processing baseline in an item's properties, such as 05.09; else in the product's name; else empty.

    Raises SceneError if two properties state different baselines.
    """
    properties = item.properties
    found = {
        key: baseline
        for key, value in properties_named(properties, "processing_baseline").items()
        if (baseline := _normalised(value))
    }
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{key} is {properties[key]!r}" for key in found)
        msg = f"{source}: the item states two baselines: {listed}; fix the item"
        raise SceneError(msg)
    if found:
        return next(iter(found.values()))
    names = [
        properties.get("processing:version"),
        *properties_named(properties, "product_uri").values(),
        *properties_named(properties, "product_id").values(),
    ]
    for name in (*names, item.id):
        match = _BASELINE_IN_NAME.search(str(name or "").upper())
        baseline = f"{match[1]}.{match[2]}" if match else _normalised(name) if name is names[0] else ""
        if baseline:
            return baseline
    return ""


def _normalised(value: Any) -> str:
    """Baseline as `04.00` from 04.00, 4.0, N0400 or 5.1 (05.10 as a JSON number); empty if it is none of these."""
    match = _BASELINE.fullmatch(str(value).strip().upper())
    if not match:
        return ""
    minor = (match[2] or "0").ljust(2, "0")
    return f"{int(match[1]):02d}.{minor}"
