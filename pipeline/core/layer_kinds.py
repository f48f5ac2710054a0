"""What the layers of a product are, told by their names: measured bands, or layers that only describe them.

Sources: the file names of Landsat Collections 1 and 2 (USGS), Sentinel-2 (ESA, THEIA's MAJA, Earth Engine), HLS and
MODIS (NASA), PlanetScope, GOES and Digital Earth Australia.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

LayerKind = Literal["measured", "quality layer", "angles", "picture", "atmosphere", "labels"]
"""A measured band, thermal ones among them, or what describes a scene and is no measurement of the ground."""

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
"""Words by which layers that are no measurements are named."""

_MAJA: Final = re.compile(r"(?i)_(?:(clm|edg|iao|mg2|sat|dfp)|(atb))_r[12]$")
"""Masks and the atmosphere of products of MAJA, whose short words mean other things elsewhere."""

_DESCRIPTIVE: Final = re.compile(r"(?i)(^|_)(state_\d+k?m|day_of_year)(_|$)")
"""Layers of MODIS that are known by several words: bits of quality, and dates."""

_DONE: Final = re.compile(r"(?i)[a-z]+[_\-. ]?(free|less|masked|filled|removed|corrected)(?![a-z])")
"""What was done away with in a measured band, such as cloud_masked or CloudFree."""

_TERRAIN: Final = frozenset({"dem", "dsm", "dtm", "srtm", "elevation", "altitude", "slope", "aspect", "hillshade"})
"""Words by which layers of the ground's shape are named."""

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""Words of a name, of which letters and digits, and capitals within, are parts of their own."""


def words_of(name: str) -> tuple[str, ...]:
    """Words of a name in lower case: `LC08_SR_QA_AEROSOL` and `SensorZenith` fall apart, numbers stand alone."""
    return tuple(word.lower() for word in _WORD.findall(name))


def is_terrain(name: str) -> bool:
    """Whether a layer of this name tells the shape of the ground: it measures no light."""
    return not _TERRAIN.isdisjoint(words_of(name))


def layer_kind(name: str, shared: frozenset[str] = frozenset()) -> LayerKind:
    """Tell what a layer is by its name: that of a file without suffix, of an asset, or of a variable.

    Parameters
    ----------
    name : str
        The name.
    shared : frozenset of str
        Words, in lower case, that say nothing, as the names of all layers have them.
    """
    maja = _MAJA.search(name)
    if maja:
        return "quality layer" if maja[1] else "atmosphere"
    if _DESCRIPTIVE.search(name):
        return "quality layer"
    words = frozenset(words_of(_DONE.sub("", name))) - shared
    if "coastal" in words:  # of which coastal_aerosol is a measured band
        words -= {"aerosol"}
    return next((kind for kind, known in _WORDS.items() if words & known), "measured")


def layer_kinds(names: Sequence[str]) -> list[LayerKind]:
    """Tell what each of several layers of one product is; words that all names share say nothing.

    All are measured where otherwise none would be: somebody wants a map of them.
    """
    shared = frozenset.intersection(*(frozenset(words_of(name)) for name in names)) if len(names) > 1 else frozenset()
    kinds = [layer_kind(name, shared) for name in names]
    return kinds if "measured" in kinds else ["measured"] * len(names)
