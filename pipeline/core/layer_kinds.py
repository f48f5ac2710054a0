"""Classify the layers of a product by name: measured bands, or layers with quality flags, angles, previews.

Sources: the file names of Landsat Collections 1 and 2 (USGS), Sentinel-2 (ESA, THEIA's MAJA, Earth Engine), HLS and
MODIS (NASA), PlanetScope, GOES and Digital Earth Australia.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

LayerKind = Literal["measured", "quality layer", "angles", "picture", "atmosphere", "labels"]
"""Kind of a layer: 'measured' (optical and thermal bands), or a layer that describes the scene."""

_WORDS: Final[dict[LayerKind, frozenset[str]]] = {
    "quality layer": frozenset({
        "qa", "qc", "bqa", "quality", "dqf", "scl", "fmask", "cfmask", "udm", "mask", "masks", "msk", "cloud", "clouds",
        "cldprb", "snwprb", "cloudmask", "cloudprob", "shadow", "flag", "flags", "radsat", "saturation", "contiguity",
        "alpha", "probability", "count", "lineage", "oa", "datamask", "clm", "clp",
    }),
    "angles": frozenset({
        "saa", "sza", "vaa", "vza", "azimuth", "azimuthal", "zenith", "angle", "angles", "angl", "incidence", "szen",
        "vzen", "saz", "vaz", "raz",
    }),
    "picture": frozenset({
        "tci", "pvi", "visual", "preview", "overview", "thumbnail", "thumb", "quicklook", "qkl", "browse",
    }),
    "atmosphere": frozenset({
        "aot", "wvp", "aerosol", "vapor", "vapour", "ozone", "opacity", "atran", "drad", "trad", "urad", "emis", "emsd",
        "emissivity", "cdist",
    }),
    "labels": frozenset({"label", "labels", "classes", "landcover", "lulc"}),
}  # fmt: skip
"""Words in layer names by kind of layer."""

_MAJA: Final = re.compile(r"(?i)_(?:(clm|edg|iao|mg2|sat|dfp)|(atb))_r[12]$")
"""Names of mask and atmosphere layers in MAJA products; elsewhere these short words have other meanings."""

_DESCRIPTIVE: Final = re.compile(r"(?i)(^|_)(state_\d+k?m|day_of_year)(_|$)")
"""Names of MODIS layers that are recognised by several words: quality bits and dates."""

_CORRECTION: Final = re.compile(r"(?i)[a-z]+[_\-. ]?(free|less|masked|filled|removed|corrected)(?![a-z])")
"""Word pairs that name a correction applied to a measured band, such as cloud_masked or CloudFree."""

_TERRAIN: Final = frozenset({"dem", "dsm", "dtm", "srtm", "elevation", "altitude", "slope", "aspect", "hillshade"})
"""Words in the names of terrain layers."""

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""A word of a name; digits, and words that start with a capital, count as separate words."""


def split_words(name: str) -> tuple[str, ...]:
    """Split a name such as `LC08_SR_QA_AEROSOL` or `SensorZenith` into words in lower case; digits are separate."""
    return tuple(word.lower() for word in _WORD.findall(name))


def is_terrain(name: str) -> bool:
    """Whether a layer of this name holds terrain (elevation, slope, ...), not radiometric measurements."""
    return not _TERRAIN.isdisjoint(split_words(name))


def layer_kind(name: str, shared: frozenset[str] = frozenset()) -> LayerKind:
    """Classify a layer by the name of its file without suffix, its asset, or its variable.

    Words in `shared`, in lower case, are ignored, because the names of all layers contain them.
    """
    maja = _MAJA.search(name)
    if maja:
        return "quality layer" if maja[1] else "atmosphere"
    if _DESCRIPTIVE.search(name):
        return "quality layer"
    words = frozenset(split_words(_CORRECTION.sub("", name))) - shared
    if "coastal" in words:  # coastal_aerosol is a measured band
        words -= {"aerosol"}
    return next((kind for kind, known in _WORDS.items() if words & known), "measured")


def layer_kinds(names: Sequence[str]) -> list[LayerKind]:
    """Classify the layers of one product by name, ignoring words that all names share.

    If no layer would be measured, all are: the user passed these files to be classified.
    """
    words = [frozenset(split_words(name)) for name in names]
    shared = frozenset.intersection(*words) if len(names) > 1 else frozenset()
    kinds = [layer_kind(name, shared) for name in names]
    return kinds if "measured" in kinds else ["measured"] * len(names)
