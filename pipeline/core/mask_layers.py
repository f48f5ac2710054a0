"""Known quality layers: meaning and names of their classes and bits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

MaskKind = Literal["scl", "qa_pixel", "bqa", "udm", "udm2", "fmask"]
"""Name of a known quality layer."""

Bits = int | tuple[int, ...]
"""Number of a bit, or numbers of several bits that must all be set."""


@dataclass(frozen=True, kw_only=True)
class MaskLayer:
    """Meaning of the values of a quality layer, and which pixels are masked out by default."""

    names: Mapping[str, Bits]
    """Number of the class or bit by name; the first name of a number is used in messages."""
    drop: tuple[int, ...] = ()
    """Classes masked out by default."""
    keep: tuple[int, ...] = ()
    """Classes that remain by default; all others are masked out."""
    bits: tuple[Bits, ...] = ()
    """Bits masked out by default."""
    nodata: int | None = None
    """Value of pixels outside the image, for files without a nodata tag."""

    @property
    def has_bits(self) -> bool:
        """Whether values are combinations of bits, not classes."""
        return bool(self.bits)

    def name(self, number: Bits) -> str:
        """Name of a class or bit, or an empty string."""
        return next((name for name, named in self.names.items() if named == number), "")


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
    # Landsat Collection 1, BQA: a confidence has two bits, both set if it is high
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
"""Known quality layers by name, from the handbooks of the products."""

_OTHER_MEANING: Final = re.compile(r"(?i)oa_fmask|(^|_)ga_(ls|s2)")
"""Digital Earth Australia's Fmask holds classes, not the bits of HLS. (ESPA's `pixel_qa` isn't QA_PIXEL either.)"""


def mask_kind(name: str) -> MaskKind | None:
    """Kind of quality layer named by a file stem or an asset key, or None."""
    normalised = name.lower().replace("-", "_")
    if _OTHER_MEANING.search(name):
        return None
    return next((kind for kind in MASK_LAYERS if re.search(rf"(^|[^a-z0-9]){kind}($|[^a-z0-9])", normalised)), None)
