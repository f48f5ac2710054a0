"""What the metadata file of a Landsat product (`..._MTL.txt` or `.json`) says of its bands.

Sources: Landsat 8-9 Collection 2 Level 1 and Level 2 Data Format Control Books (LSDS-1822, LSDS-1619), Landsat 8 Data
Users Handbook, section 5 (reflectance at the top of the atmosphere, corrected for the sun's elevation).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from pipeline.core.errors import SceneError
from pipeline.core.numbers import number_in_text
from pipeline.core.strict_json import parse_json
from pipeline.core.units import Quantity
from pipeline.formats.catalogue import Product
from pipeline.formats.file_trees import read_small

_PRODUCT: Final = re.compile(r"(?i)(?P<product>L[COTEM]0?\d.+?)_(SR_|ST_|QA_|BQA|B\d|[SV][AZ]A).*\.(tif|tiff)")
_LINE: Final = re.compile(r"\s*(\w+)\s*=\s*\"?(.*?)\"?\s*")
_LARGEST: Final = 2**20
"""Bytes; real ones have some 20,000."""

_BAND_FILE: Final = re.compile(r"FILE_NAME_BAND_(\w+)")
_SURFACE: Final = ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS")
_RESCALING: Final = ("RADIOMETRIC_RESCALING", "LEVEL1_RADIOMETRIC_RESCALING")

_QUANTITIES: Final[tuple[Quantity, ...]] = ("reflectance", "temperature", "radiance")
"""What a band may be scaled to, the best first."""

Groups = Mapping[str, Mapping[str, str]]
Scaling = tuple[float, float, Quantity]
"""Factor, what is added after it, and the quantity that comes of them."""


@dataclass(frozen=True, kw_only=True)
class LandsatMetadata:
    """What a product says of itself."""

    path: str
    """Of the metadata file."""
    product: Product
    scalings: Mapping[str, Scaling]
    """Of each band, by its file's name in upper case."""

    def scaling(self, file: str) -> Scaling | None:
        """Scaling of the band in a file."""
        return self.scalings.get(PurePath(file).name.upper())


def find_metadata(files: Sequence[str], read: Callable[[str], bytes | None] | None = None) -> LandsatMetadata | None:
    """Read the metadata file that lies with the bands of one Landsat product; None where there is none.

    Parameters
    ----------
    files : sequence of str
        Paths of the bands' files.
    read : callable, optional
        Gives the content of a file by its path, None where there is no such file; by default from disk.

    Raises
    ------
    SceneError
        When the file is there, but is none of Landsat's, or a number in it is none.
    """
    products = {(str(PurePath(file).parent), match["product"]) for file in files if (match := _product(file))}
    if len(products) != 1:
        return None
    folder, product = products.pop()
    for ending in ("_MTL.txt", "_MTL.json"):
        path = f"{folder}/{product}{ending}"
        content = (read or _content)(path)
        if content is not None:
            return parse_metadata(content, path)
    return None


def _product(file: str) -> re.Match[str] | None:
    return _PRODUCT.fullmatch(PurePath(file).name)


def _content(path: str) -> bytes | None:
    """Content of a file, if there is one."""
    return read_small(Path(path)) if Path(path).is_file() else None


def parse_metadata(content: bytes, path: str) -> LandsatMetadata:
    """Read a metadata file's text, in either of its forms.

    Raises
    ------
    SceneError
        When it is no metadata of Landsat's, or a number in it is none.
    """
    text = content[:_LARGEST].decode("utf-8", "replace")
    groups = _json_groups(text, path) if path.endswith(".json") else _text_groups(text, path)
    said = {key: value for group in reversed(groups.values()) for key, value in group.items()}
    if "SPACECRAFT_ID" not in said:
        msg = f"{path}: this is no metadata of a Landsat product: SPACECRAFT_ID is missing; download it again"
        raise SceneError(msg)
    scalings = dict(_scalings(groups, said, path))
    level = said.get("PROCESSING_LEVEL") or said.get("DATA_TYPE", "")
    product = Product(
        name=PurePath(path).stem.removesuffix("_MTL"),
        format=f"{said['SPACECRAFT_ID'].replace('_', ' ').title()} {said.get('SENSOR_ID', '')}".strip(),
        level=level,
        date=said.get("DATE_ACQUIRED", ""),
        tile=f"{said.get('WRS_PATH', '').zfill(3)}/{said.get('WRS_ROW', '').zfill(3)}",
        baseline=f"collection {said['COLLECTION_NUMBER']}" if "COLLECTION_NUMBER" in said else "",
        radiometry="; ".join(dict.fromkeys(map(_words, scalings.values()))) or "as stored, no scale is stated",
    )
    return LandsatMetadata(path=path, product=product, scalings=scalings)


def _words(scaling: Scaling) -> str:
    scale, offset, quantity = scaling
    return f"{quantity} = {scale:.6g} x DN{f' {offset:+.6g}' if offset else ''}"


def _text_groups(text: str, path: str) -> dict[str, dict[str, str]]:
    """Keys and values of each group of the text form: lines `GROUP = NAME`, `KEY = VALUE`, `END_GROUP = NAME`."""
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
    try:
        content: Any = parse_json(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: this can't be read as JSON ({f'{error}'.splitlines()[0]}); download the product again"
        raise SceneError(msg) from error
    inside = next(iter(content.values()), None) if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(inside, dict):
        return {}
    return {name: dict(zip(group, map(str, group.values()), strict=True)) for name, group in inside.items()
            if isinstance(group, dict)}  # fmt: skip


def _scalings(groups: Groups, said: Mapping[str, str], path: str) -> Iterator[tuple[str, Scaling]]:
    """Names of the files of bands, in upper case, each with the scaling of the band."""
    files = next((group for group in groups.values() if any(map(_BAND_FILE.fullmatch, group))), {})
    surface = any(name in groups for name in _SURFACE)
    stated: dict[str, str] = {}
    for name in _SURFACE if surface else _RESCALING:
        stated |= groups.get(name, {})
    if not any(key.startswith("REFLECTANCE_MULT_") for key in stated):  # radiance alone weighs bands by the sun's light
        return
    divisor = 1.0 if surface else _sine_of_the_sun(said, path)
    for key, file in files.items():
        match = _BAND_FILE.fullmatch(key)
        quantity = next((q for q in _QUANTITIES if match and f"{q.upper()}_MULT_BAND_{match[1]}" in stated), None)
        if match and quantity:
            names = (f"{quantity.upper()}_{what}_BAND_{match[1]}" for what in ("MULT", "ADD"))
            scale, offset = (number_in_text(stated.get(name, "0"), name, path) for name in names)
            by = divisor if quantity == "reflectance" else 1.0
            yield file.upper(), (scale / by, offset / by, quantity)


def _sine_of_the_sun(said: Mapping[str, str], path: str) -> float:
    """Sine of the sun's elevation, by which reflectance at the top of the atmosphere is divided."""
    elevation = number_in_text(said.get("SUN_ELEVATION", ""), "SUN_ELEVATION", path)
    if not 0 < elevation <= 90:  # noqa: PLR2004 (degrees)
        msg = f"{path}: SUN_ELEVATION is {elevation:g}; reflectance needs the sun above the horizon"
        raise SceneError(msg)
    return math.sin(math.radians(elevation))
