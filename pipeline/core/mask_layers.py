"""Layers of quality whose values are known: what their classes and bits mean, and by which names they go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

MaskKind = Literal["scl", "qa_pixel", "bqa", "udm", "udm2", "fmask"]
"""Layers of quality that are known by name."""

Bits = int | tuple[int, ...]
"""A bit by its number, or several that count only where all are set."""


@dataclass(frozen=True, kw_only=True)
class MaskLayer:
    """What the values of a layer of quality mean, and what is left out unless the config says otherwise."""

    names: Mapping[str, Bits]
    """Number of each class or bit; the first name of a number is the one that is shown."""
    drop: tuple[int, ...] = ()
    """Classes left out."""
    keep: tuple[int, ...] = ()
    """Classes kept, all others left out."""
    bits: tuple[Bits, ...] = ()
    """Bits left out."""
    nodata: int | None = None
    """Value outside of the image, where the file has no tag that says so."""

    @property
    def has_bits(self) -> bool:
        """Whether values are made of bits, not classes."""
        return bool(self.bits)

    def name(self, number: Bits) -> str:
        """Name of a class or bit; empty where it has none."""
        return next((name for name, own in self.names.items() if own == number), "")


MASK_LAYERS: Final[Mapping[MaskKind, MaskLayer]] = {
    # Sentinel-2's scene classification (Sen2Cor)
    "scl": MaskLayer(
        names={
            "nodata": 0, "saturated": 1, "dark": 2, "cloud_shadow": 3, "vegetation": 4, "bare": 5, "water": 6,
            "unclassified": 7, "cloud_medium": 8, "cloud_high": 9, "cirrus": 10, "snow": 11,
        },
        drop=(0, 1, 3, 8, 9, 10),
    ),
    # Landsat Collection 2, QA_PIXEL
    "qa_pixel": MaskLayer(
        names={
            "fill": 0, "dilated_cloud": 1, "cirrus": 2, "cloud": 3, "cloud_shadow": 4, "snow": 5, "clear": 6,
            "water": 7,
        },
        bits=(0, 1, 2, 3, 4),
    ),
    # Landsat Collection 1, BQA: confidences take two bits each, both set where it is high
    "bqa": MaskLayer(
        names={
            "fill": 0, "terrain_occlusion": 1, "cloud": 4, "cloud_confident": (5, 6), "cloud_shadow": (7, 8),
            "snow": (9, 10), "cirrus": (11, 12),
        },
        bits=(0, 4, (7, 8), (11, 12)),
    ),
    # Planet's first unusable data mask: 0 is usable
    "udm": MaskLayer(
        names={"blackfill": 0, "cloud": 1, "blue": 2, "green": 3, "red": 4, "rededge": 5, "nir": 6},
        bits=(0, 1, 2, 3, 4, 5, 6, 7),
    ),
    # Planet's second mask, band 'clear'
    "udm2": MaskLayer(names={"not_clear": 0, "clear": 1}, keep=(1,)),
    # Harmonized Landsat Sentinel-2
    "fmask": MaskLayer(
        names={
            "cirrus": 0, "cloud": 1, "adjacent": 2, "shadow": 3, "snow": 4, "water": 5, "aerosol_high": (6, 7),
            "cloud_shadow": 3,
        },
        bits=(0, 1, 2, 3),
        nodata=255,
    ),
}  # fmt: skip
"""Layers of quality by name. Sources: the products' own handbooks."""

_OTHER_MEANING: Final = re.compile(r"(?i)oa_fmask|(^|_)ga_(ls|s2)")
"""Digital Earth Australia's Fmask holds classes, not the bits of HLS. (ESPA's `pixel_qa` isn't QA_PIXEL either.)"""


def mask_kind(name: str) -> MaskKind | None:
    """Tell which known layer of quality a file (its name without suffix) or an asset (its key) is, if any."""
    plain = name.lower().replace("-", "_")
    if _OTHER_MEANING.search(name):
        return None
    return next((kind for kind in MASK_LAYERS if re.search(rf"(^|[^a-z0-9]){kind}($|[^a-z0-9])", plain)), None)
