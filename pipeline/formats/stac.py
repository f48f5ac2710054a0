"""STAC items read from JSON: single ones, lists of them, and those that a collection on this machine links to.

Sources: STAC specification 1.0.0 and 1.1.0; the extensions eo, raster, projection; Earth Search v1, Planetary
Computer, the Copernicus Data Space and stactools' sentinel2 package, as their items are.
"""

from dataclasses import replace
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


def is_stac(source: str) -> bool:
    """Whether a source looks like a STAC item: a JSON file, or an address that is no raster's."""
    try:
        parts = urlsplit(source)
    except ValueError:  # no address at all
        return False
    if parts.scheme in {"http", "https"}:
        return PurePosixPath(parts.path).suffix.lower() not in RASTER_SUFFIXES | {".zip"}
    return source.lower().endswith((".json", ".geojson")) and Path(source).is_file()


def open_items(source: str) -> list[Catalogue]:
    """Read what STAC items offer.

    Parameters
    ----------
    source : str
        A JSON file or an address: an item, a list or collection of features that holds some, or a STAC collection on
        this machine that links to some.

    Raises
    ------
    SceneError
        When it can't be read, is no item, or has no raster asset.
    """
    items = [(item, item.get_self_href() or source) for item in read_items(source)]
    named = [(item, own, own if len(items) == 1 or own != source else f"{source} ({item.id})") for item, own in items]
    try:
        return [replace(item_catalogue(item, name), files=_files(source, own)) for item, own, name in named]
    except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
        msg = f"{source}: an asset of this item is not as STAC has it ({error}); mend the item"
        raise SceneError(msg) from error


def _files(*sources: str) -> tuple[str, ...]:
    """Those of some sources that are files on this machine."""
    return tuple(dict.fromkeys(source for source in sources if "://" not in source))


def read_items(source: str) -> list[Any]:
    """Read STAC items, with pystac.

    Raises
    ------
    SceneError
        When the text can't be read or holds no item.
    """
    content = _read_json(source)
    if isinstance(content, dict) and content.get("type") in ("Collection", "Catalog"):
        return [
            _item(entry, path) for path in _linked_items(content, source) for entry in _entries(_read_json(path), path)
        ]
    return [_item(entry, source) for entry in _entries(content, source)]


def _read_json(source: str) -> Any:
    try:
        return parse_json(fetch(source, _LARGEST_JSON))
    except RepeatedKeyError as error:
        msg = f"{source}: {error}, so this STAC item says two things; mend it"
        raise SceneError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{source}: this is no JSON ({f'{error}'.splitlines()[0]}), so no STAC item; name an item or raster files"
        raise SceneError(msg) from error


def _entries(content: Any, source: str) -> list[Any]:
    """Items of a list or a collection of features, or the one that there is."""
    found = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        found = content.get("features") or []
        if not isinstance(found, list):
            msg = f"{source}: 'features' is no list; expected a collection of STAC items"
            raise SceneError(msg)
    if not found:
        msg = f"{source}: this holds no STAC item"
        raise SceneError(msg)
    return found


def _item(entry: Any, source: str) -> Any:
    """An item out of JSON."""
    if not (isinstance(entry, dict) and entry.get("type") == "Feature" and "stac_version" in entry):
        what = entry.get("type") if isinstance(entry, dict) else type(entry).__name__
        msg = f"{source}: this is JSON, but no STAC item (found {what!r})"
        raise SceneError(msg)
    _check_assets(entry, source)
    try:
        return libraries.pystac.Item.from_dict(entry, href=source, preserve_dict=False)
    except (libraries.pystac.STACError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{source}: this STAC item can't be read ({type(error).__name__}: {error})"
        raise SceneError(msg) from error


def _linked_items(content: dict[str, Any], source: str) -> list[str]:
    """Files of the items that a collection or catalogue links to.

    Raises
    ------
    SceneError
        When it links to none, or to some on another machine.
    """
    kind = "collection" if content["type"] == "Collection" else "catalogue"
    links = content.get("links")
    listed = [link for link in (links if isinstance(links, list) else []) if isinstance(link, dict)]
    items, below = ([str(link.get("href")) for link in listed if link.get("rel") == rel] for rel in ("item", "child"))
    if not items:
        hint = f" (it links to {len(below)} others, such as {below[0]})" if below else ""
        msg = (
            f"{source}: this is JSON, but no STAC item (found {content['type']!r}), and it links to none{hint}; name "
            "items, or a file with the answer to a search"
        )
        raise SceneError(msg)
    remote = next((href for href in (source, *items) if urlsplit(href).scheme not in {"", "file"}), None)
    if remote:
        msg = f"{source}: items of this STAC {kind} lie on another machine ({remote}); name the items to take"
        raise SceneError(msg)
    paths = [str(Path(source).parent / unquote(urlsplit(href).path)) for href in items]
    missing = [path for path in paths if not _is_file(path)]
    if missing:
        msg = f"{source}: this STAC {kind} links to {missing[0]}, but there is no such file; mend it, or name items"
        raise SceneError(msg)
    return paths


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name no file can have
        return False


def _check_assets(entry: dict[str, Any], source: str) -> None:
    """Raise SceneError unless an item's assets are a mapping of mappings with addresses."""
    assets = entry.get("assets", {})
    if not isinstance(assets, dict) or not isinstance(entry["stac_version"], str):
        msg = f"{source}: the item {str(entry.get('id'))[:60]!r} has no assets, or no STAC version, as STAC has them"
        raise SceneError(msg)
    for key, asset in assets.items():
        if not (isinstance(asset, dict) and isinstance(asset.get("href"), str) and asset["href"]):
            msg = f"{source}: asset {key} has no href, so there is nothing to open"
            raise SceneError(msg)
