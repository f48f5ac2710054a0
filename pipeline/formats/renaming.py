"""Bands by other names: those that a config gives them, and those that a model knows them by."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipeline.core.band_names import COMMON_NAMES, listed_names
from pipeline.core.errors import ConfigError
from pipeline.formats.catalogue import BandOffer, Catalogue

_PRODUCT_LEVEL: Final = re.compile(r"(?i)^(SR|ST)_(?=B\d)")
"""What Landsat's STAC items put before the names of bands that its files' names end with."""


def names_for(catalogue: Catalogue, bands: Sequence[str]) -> dict[str, str]:
    """Names of a model's bands by the names that these bands have here, where they differ: `SR_B4` is `B4`."""
    here = {name: _PRODUCT_LEVEL.sub("", name) for name in catalogue.names}
    wanted = {band: _PRODUCT_LEVEL.sub("", band) for band in bands if band not in here}
    found = {band: [name for name in here if here[name] == plain] for band, plain in wanted.items()}
    return {names[0]: band for band, names in found.items() if len(names) == 1 and names[0] not in bands}


def rename_bands(catalogue: Catalogue, names: Sequence[str] | Mapping[str, str] | None) -> Catalogue:
    """The same catalogue, whose bands are called as the config says (`scene.names`).

    Parameters
    ----------
    catalogue : Catalogue
        What the source offers.
    names : sequence of str, mapping or None
        A name for each band that 'all' stands for, in their order; or new names by old ones, numbers or common
        names.

    Raises
    ------
    ConfigError
        When there are more or fewer names than bands, no such band, or a name is given twice.
    """
    if not names:
        return catalogue
    new = _new_names(catalogue, names)
    bands = tuple(_renamed(band, new[band.name]) if band.name in new else band for band in catalogue.bands)
    if twice := next((name for name, count in Counter(band.name for band in bands).items() if count > 1), None):
        msg = f"scene.names: two bands would be called {twice!r}; give names that differ"
        raise ConfigError(msg)
    default, whole = (tuple(new.get(name, name) for name in listed) for listed in (catalogue.default, catalogue.whole))
    return replace(catalogue, bands=bands, default=default, whole=whole)


def _new_names(catalogue: Catalogue, names: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """New names by the names that bands have; parameters and errors as in `rename_bands`."""
    if not isinstance(names, Mapping):
        whole = [band.name for band in catalogue.choose("all")]
        if len(whole) != len(names):
            msg = f"scene.names: {len(names)} names for {len(whole)} bands: {listed_names(whole)}; give one for each"
            raise ConfigError(msg)
        return dict(zip(whole, names, strict=True))
    new = {catalogue.choose([old])[0].name: name for old, name in names.items()}
    if len(new) == len(names):
        return new
    msg = f"scene.names: two of {listed_names(list(names))} are one band; give each band one name"
    raise ConfigError(msg)


def _renamed(band: BandOffer, name: str) -> BandOffer:
    """A band by another name, which is its common name where it is one."""
    common = name.lower() if name.lower() in COMMON_NAMES else band.common
    opened = replace(band.opened, name=name, common=common) if band.opened else None
    return replace(band, name=name, common=common, opened=opened)
