"""Rename the bands of a catalogue: to the names in a config, or to those in a model."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pipeline.core.band_names import COMMON_NAMES, listed_names
from pipeline.core.errors import ConfigError
from pipeline.formats.catalogue import BandOffer, Catalogue

_PRODUCT_LEVEL: Final = re.compile(r"(?i)^(SR|ST)_(?=B\d)")
"""Prefix of band names in Landsat's STAC items, such as SR_ of `SR_B4`; the names of plain files lack it."""


def names_for(catalogue: Catalogue, bands: Sequence[str]) -> dict[str, str]:
    """Match a model's bands to differently named bands of a catalogue, such as `SR_B4` and `B4`.

    Returns the model's name by the catalogue's name, for bands whose names differ and match uniquely.
    """
    available = {name: _PRODUCT_LEVEL.sub("", name) for name in catalogue.names}
    missing = {band: _PRODUCT_LEVEL.sub("", band) for band in bands if band not in available}
    found = {band: [name for name in available if available[name] == plain] for band, plain in missing.items()}
    return {names[0]: band for band, names in found.items() if len(names) == 1 and names[0] not in bands}


def rename_bands(catalogue: Catalogue, names: Sequence[str] | Mapping[str, str] | None) -> Catalogue:
    """Rename bands of a catalogue as the config says (`scene.names`).

    Parameters
    ----------
    catalogue : Catalogue
        Returned unchanged without names, else as a copy.
    names : sequence of str, mapping or None
        A new name for each band of 'all', in their order; or new names by old names, numbers or common names.

    Raises
    ------
    ConfigError
        If the number of names differs from that of the bands, a band is unknown, or two bands get one name.
    """
    if not names:
        return catalogue
    new = _new_names(catalogue, names)
    bands = tuple(_renamed(band, new[band.name]) if band.name in new else band for band in catalogue.bands)
    if twice := next((name for name, count in Counter(band.name for band in bands).items() if count > 1), None):
        msg = f"scene.names: two bands would be called {twice!r}; give each band a different name"
        raise ConfigError(msg)
    default, all_names = (
        tuple(new.get(name, name) for name in listed) for listed in (catalogue.default, catalogue.all_names)
    )
    return replace(catalogue, bands=bands, default=default, all_names=all_names)


def _new_names(catalogue: Catalogue, names: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """New names of bands by their present names; parameters and errors as in `rename_bands`."""
    if not isinstance(names, Mapping):
        old_names = [band.name for band in catalogue.choose("all")]
        if len(old_names) != len(names):
            msg = (
                f"scene.names: {len(names)} names for {len(old_names)} bands: {listed_names(old_names)}; give one "
                "name for each band"
            )
            raise ConfigError(msg)
        return dict(zip(old_names, names, strict=True))
    new = {catalogue.choose([old])[0].name: name for old, name in names.items()}
    if len(new) == len(names):
        return new
    msg = f"scene.names: two of {listed_names(list(names))} are the same band; give each band one name"
    raise ConfigError(msg)


def _renamed(band: BandOffer, name: str) -> BandOffer:
    """Copy of a band with a new name; a common name of STAC, such as red, is set as its common name too."""
    common = name.lower() if name.lower() in COMMON_NAMES else band.common
    opened = replace(band.opened, name=name, common=common) if band.opened else None
    return replace(band, name=name, common=common, opened=opened)
