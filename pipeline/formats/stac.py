"""Read STAC items from JSON: single items, lists of items, and the items that a local collection links to.

Sources: STAC specification 1.0.0 and 1.1.0; the extensions eo, raster, projection; items of Earth Search v1, Planetary
Computer, the Copernicus Data Space and stactools' sentinel2 package.
"""

from dataclasses import replace
from os.path import isfile
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pipeline.core import libraries
from pipeline.core.errors import SceneError
from pipeline.core.strict_json import RepeatedKeyError, parse_json
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.fetch import fetch
from pipeline.formats.paths import RASTER_SUFFIXES
from pipeline.formats.stac_items import item_catalogue

_LARGEST_JSON: Final = 64 * 2**20
"""Largest size of a JSON file, in bytes."""


def is_stac(source: str) -> bool:
    """Whether a source may be a STAC item: an existing JSON file, or a URL without the suffix of a raster or zip."""
    try:
        parts = urlsplit(source)
    except ValueError:  # not a valid URL
        return False
    if parts.scheme in {"http", "https"}:
        return PurePosixPath(parts.path).suffix.lower() not in RASTER_SUFFIXES | {".zip"}
    return source.lower().endswith((".json", ".geojson")) and Path(source).is_file()


def open_items(source: str) -> list[Catalogue]:
    """Read the catalogue of each STAC item in a JSON file or URL.

    It is an item, a list or feature collection of items, or a local STAC collection or catalogue that links to items.
    Raises SceneError if the source can't be read, is no STAC item, or an item has no raster asset.
    """
    items = [(item, item.get_self_href() or source) for item in read_items(source)]
    named = [
        (item, href, href if len(items) == 1 or href != source else f"{source} ({item.id})") for item, href in items
    ]
    try:
        return [replace(item_catalogue(item, name), files=_local_files(source, href)) for item, href, name in named]
    except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
        msg = f"{source}: an asset of this item does not follow the STAC specification ({_reason(error)}); fix the item"
        raise SceneError(msg) from error


def _reason(error: Exception) -> str:
    """Describe why an item can't be read: by the key that it lacks, or by the error."""
    return f"the key {error} is missing" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"


def _local_files(*sources: str) -> tuple[str, ...]:
    """Those of several paths and URLs that are local files, each once."""
    return tuple(dict.fromkeys(source for source in sources if "://" not in source))


def read_items(source: str) -> list[Any]:
    """Read STAC items with pystac, as for `open_items`; raise SceneError if the source can't be read or holds none."""
    content = _read_json(source)
    if isinstance(content, dict) and content.get("type") in ("Collection", "Catalog"):
        return [
            _item(entry, path) for path in _linked_items(content, source) for entry in _entries(_read_json(path), path)
        ]
    return [_item(entry, source) for entry in _entries(content, source)]


def _read_json(source: str) -> Any:
    """Parse a JSON file or URL."""
    try:
        return parse_json(fetch(source, _LARGEST_JSON))
    except RepeatedKeyError as error:
        msg = f"{source}: {error}, so this STAC item contradicts itself; fix the item"
        raise SceneError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{source}: this is not JSON ({f'{error}'.splitlines()[0]}); name a STAC item or raster files"
        raise SceneError(msg) from error


def _entries(content: Any, source: str) -> list[Any]:
    """Unparsed items of a list or a feature collection, or the single item."""
    found = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        found = content.get("features") or []
        if not isinstance(found, list):
            msg = f"{source}: 'features' is not a list; expected a feature collection of STAC items"
            raise SceneError(msg)
    if not found:
        msg = f"{source}: this file holds no STAC item; name an item or raster files"
        raise SceneError(msg)
    return found


def _item(entry: Any, source: str) -> Any:
    """Make a pystac item of parsed JSON; raise SceneError if it is no STAC item, or pystac can't read it."""
    pystac = libraries.pystac
    if not (isinstance(entry, dict) and entry.get("type") == "Feature" and "stac_version" in entry):
        found = entry.get("type") if isinstance(entry, dict) else type(entry).__name__
        msg = f"{source}: this is JSON, but no STAC item (found {found!r}); name an item or raster files"
        raise SceneError(msg)
    _check_assets(entry, source)
    try:
        return pystac.Item.from_dict(entry, href=source, preserve_dict=False)
    except (pystac.STACError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{source}: this STAC item can't be read ({_reason(error)}); fix the item"
        raise SceneError(msg) from error


def _linked_items(content: dict[str, Any], source: str) -> list[str]:
    """Paths of the items that a local collection or catalogue links to.

    Raises SceneError if it links to no item, to remote items, or to missing files.
    """
    kind = "collection" if content["type"] == "Collection" else "catalogue"
    links = content.get("links")
    listed = [link for link in (links if isinstance(links, list) else []) if isinstance(link, dict)]
    items, children = (
        [str(link.get("href")) for link in listed if link.get("rel") == rel] for rel in ("item", "child")
    )
    if not items:
        hint = f" (it links to {len(children)} others, such as {children[0]})" if children else ""
        msg = (
            f"{source}: this is JSON, but no STAC item (found {content['type']!r}), and it links to none{hint}; name "
            "items, or a file with the result of a search"
        )
        raise SceneError(msg)
    remote = next((href for href in (source, *items) if urlsplit(href).scheme not in {"", "file"}), None)
    if remote:
        msg = f"{source}: items of this STAC {kind} are remote ({remote}); name the items to use"
        raise SceneError(msg)
    paths = [str(Path(source).parent / unquote(urlsplit(href).path)) for href in items]
    missing = [path for path in paths if not isfile(path)]  # noqa: PTH113 (False for names that no file can have)
    if missing:
        msg = (
            f"{source}: this STAC {kind} links to {missing[0]}, but there is no such file; download it, or name the "
            "items to use"
        )
        raise SceneError(msg)
    return paths


def _check_assets(entry: dict[str, Any], source: str) -> None:
    """Raise SceneError unless an item has a STAC version, and its assets are mappings with an href."""
    assets = entry.get("assets", {})
    if not isinstance(assets, dict) or not isinstance(entry["stac_version"], str):
        msg = (
            f"{source}: 'assets' or 'stac_version' of the item {str(entry.get('id'))[:60]!r} does not follow the STAC "
            "specification; fix the item"
        )
        raise SceneError(msg)
    for key, asset in assets.items():
        if not (isinstance(asset, dict) and isinstance(asset.get("href"), str) and asset["href"]):
            msg = f"{source}: asset {key} has no href, so there is no file to open; fix the item"
            raise SceneError(msg)
