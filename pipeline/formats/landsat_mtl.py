"""Metadata files of Landsat products (`..._MTL.txt` or `.json`): product identifiers, scales and offsets of bands.

Sources: Landsat 8-9 Collection 2 Level 1 and Level 2 Data Format Control Books (LSDS-1822, LSDS-1619), Landsat 8 Data
Users Handbook, section 5 (reflectance at the top of the atmosphere, corrected for the sun's elevation).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import SceneError
from pipeline.core.numbers import number_in_text
from pipeline.core.strict_json import parse_json
from pipeline.core.units import Quantity
from pipeline.formats.catalogue import Product
from pipeline.formats.fetch import read_small_file

_PRODUCT: Final = re.compile(r"(?i)(?P<product>L[COTEM]0?\d.+?)_(SR_|ST_|QA_|BQA|B\d|[SV][AZ]A).*\.(tif|tiff)")
_LINE: Final = re.compile(r"\s*(\w+)\s*=\s*\"?(.*?)\"?\s*")
_LARGEST: Final = 2**20
"""Bytes read of a metadata file; real ones have about 20,000."""

_BAND_FILE: Final = re.compile(r"FILE_NAME_BAND_(\w+)")
_SURFACE: Final = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS")
_RESCALING: Final = ("RADIOMETRIC_RESCALING", "LEVEL1_RADIOMETRIC_RESCALING")

_QUANTITIES: Final[tuple[Quantity, ...]] = ("reflectance", "temperature", "radiance")
"""Quantities to which a band may be scaled, preferred ones first."""

Groups = Mapping[str, Mapping[str, str]]
"""Texts by key, for each group of a metadata file."""
Scaling = tuple[float, float, Quantity]
"""Scale, offset added after scaling, and quantity of the scaled values."""


@dataclass(frozen=True, kw_only=True)
class LandsatMetadata:
    """Content of a Landsat product's metadata file."""

    path: str
    """Path of the metadata file."""
    product: Product
    """Metadata of the product, for reports."""
    scalings: Mapping[str, Scaling]
    """Scaling per band, by the name of its file in upper case."""
    acquired: Acquisition | None
    """Time of the scene's centre, or the day if none is stated."""

    def scaling(self, file: str) -> Scaling | None:
        """Scaling of the band in a file; None if the metadata state none."""
        return self.scalings.get(PurePath(file).name.upper())


def find_metadata(files: Sequence[str], read: Callable[[str], bytes | None] | None = None) -> LandsatMetadata | None:
    """Find and read the metadata file in the folder of a Landsat product's band files.

    None if there is no such file, or if the bands are not of exactly one Landsat product. `read` returns the content of
    a file by its path, None if there is no such file; by default from disk. Raises SceneError as `parse_metadata` does.
    """
    paths = map(PurePath, files)
    products = {(str(path.parent), match["product"]) for path in paths if (match := _PRODUCT.fullmatch(path.name))}
    if len(products) != 1:
        return None
    folder, product = products.pop()
    for ending in ("_MTL.txt", "_MTL.json"):
        path = f"{folder}/{product}{ending}"
        content = (read or _content)(path)
        if content is not None:
            return parse_metadata(content, path)
    return None


def _content(path: str) -> bytes | None:
    """Content of a file; None if it does not exist."""
    return read_small_file(Path(path)) if Path(path).is_file() else None


def parse_metadata(content: bytes, path: str) -> LandsatMetadata:
    """Parse the content of a metadata file: JSON if its path ends with `.json`, else text.

    Raises SceneError if it is not a Landsat metadata file, or a value in it is not a number.
    """
    text = content[:_LARGEST].decode("utf-8", "replace")
    groups = _json_groups(text, path) if path.endswith(".json") else _text_groups(text, path)
    values = {key: value for group in reversed(groups.values()) for key, value in group.items()}
    if "SPACECRAFT_ID" not in values:
        msg = f"{path}: this is no Landsat metadata file: SPACECRAFT_ID is missing; download the product again"
        raise SceneError(msg)
    scalings = dict(_scalings(groups, values, path))
    level = values.get("PROCESSING_LEVEL") or values.get("DATA_TYPE", "")
    product = Product(
        name=PurePath(path).stem.removesuffix("_MTL"),
        format=f"{values['SPACECRAFT_ID'].replace('_', ' ').title()} {values.get('SENSOR_ID', '')}".strip(),
        level=level,
        date=values.get("DATE_ACQUIRED", ""),
        tile=f"{values.get('WRS_PATH', '').zfill(3)}/{values.get('WRS_ROW', '').zfill(3)}",
        baseline=f"collection {values['COLLECTION_NUMBER']}" if "COLLECTION_NUMBER" in values else "",
        radiometry="; ".join(dict.fromkeys(map(_formula, scalings.values()))) or "as stored, no scale is stated",
    )
    moment = f"{product.date}T{values.get('SCENE_CENTER_TIME') or values.get('SCENE_CENTER_SCAN_TIME', '')}"
    acquired = Acquisition.parse(moment) or Acquisition.parse(product.date)
    return LandsatMetadata(path=path, product=product, scalings=scalings, acquired=acquired)


def _formula(scaling: Scaling) -> str:
    """Formula of a scaling, such as `reflectance = 2e-05 x DN -0.1`."""
    scale, offset, quantity = scaling
    return f"{quantity} = {scale:.6g} x DN{f' {offset:+.6g}' if offset else ''}"


def _text_groups(text: str, path: str) -> dict[str, dict[str, str]]:
    """Parse the text form: lines `GROUP = NAME`, `KEY = VALUE` and `END_GROUP = NAME`."""
    groups: dict[str, dict[str, str]] = {}
    name = ""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match and match[1] in {"GROUP", "END_GROUP"}:
            name = match[2] if match[1] == "GROUP" else ""
        elif match and groups.setdefault(name, {}).setdefault(match[1], match[2]) != match[2]:
            first = groups[name][match[1]]
            msg = f"{path}: {match[1]} is given twice, as {first} and as {match[2]}; download the product again"
            raise SceneError(msg)
    return groups


def _json_groups(text: str, path: str) -> dict[str, dict[str, str]]:
    """Parse the JSON form: one object that holds an object per group."""
    try:
        content: Any = parse_json(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: this file can't be read as JSON ({f'{error}'.splitlines()[0]}); download the product again"
        raise SceneError(msg) from error
    inside = next(iter(content.values()), None) if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(inside, dict):
        return {}
    return {name: dict(zip(group, map(str, group.values()), strict=True)) for name, group in inside.items()
            if isinstance(group, dict)}  # fmt: skip


def _scalings(groups: Groups, values: Mapping[str, str], path: str) -> Iterator[tuple[str, Scaling]]:
    """(name of a band's file in upper case, scaling of the band) for each band with a stated scale."""
    files = next((group for group in groups.values() if any(map(_BAND_FILE.fullmatch, group))), {})
    surface = any(name in groups for name in _SURFACE)
    stated: dict[str, str] = {}
    for name in _SURFACE if surface else _RESCALING:
        stated |= groups.get(name, {})
    if not any(key.startswith("REFLECTANCE_MULT_") for key in stated):
        return  # radiance would weight bands by the solar spectrum
    divisor = 1.0 if surface else _sine_of_sun_elevation(values, path)
    for key, file in files.items():
        match = _BAND_FILE.fullmatch(key)
        quantity = next((q for q in _QUANTITIES if match and f"{q.upper()}_MULT_BAND_{match[1]}" in stated), None)
        if match and quantity:
            names = (f"{quantity.upper()}_{term}_BAND_{match[1]}" for term in ("MULT", "ADD"))
            scale, offset = (number_in_text(stated.get(name, "0"), name, path) for name in names)
            own_divisor = divisor if quantity == "reflectance" else 1.0
            yield file.upper(), (scale / own_divisor, offset / own_divisor, quantity)


def _sine_of_sun_elevation(values: Mapping[str, str], path: str) -> float:
    """Sine of the sun's elevation, by which top-of-atmosphere reflectance is divided."""
    elevation = number_in_text(values.get("SUN_ELEVATION", ""), "SUN_ELEVATION", path)
    if not 0 < elevation <= 90:  # noqa: PLR2004 (degrees)
        msg = f"{path}: SUN_ELEVATION is {elevation:g}; expected 0 to 90 degrees, as reflectance needs the sun"
        raise SceneError(msg)
    return math.sin(math.radians(elevation))
