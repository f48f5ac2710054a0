"""Which layers of quality have values whose meaning is known, told by their names."""

import re
from typing import Final

from pipeline.areas import MASK_LAYERS, MaskKind

_OTHER_MEANING: Final = re.compile(r"(?i)oa_fmask|(^|_)ga_(ls|s2)")
"""Digital Earth Australia's Fmask holds classes, not the bits of HLS. (ESPA's `pixel_qa` isn't QA_PIXEL either.)"""


def mask_kind(name: str) -> MaskKind | None:
    """Tell which known layer of quality a file (its name without suffix) or an asset (its key) is, if any."""
    plain = name.lower().replace("-", "_")
    if _OTHER_MEANING.search(name):
        return None
    return next((kind for kind in MASK_LAYERS if re.search(rf"(^|[^a-z0-9]){kind}($|[^a-z0-9])", plain)), None)
