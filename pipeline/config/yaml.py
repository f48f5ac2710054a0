"""The text of a config: YAML read safely, settings given on the command line, paths anchored. No records yet."""

import glob
import os
import re
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.core.errors import ConfigError
from pipeline.core.text import unreadable_name

_BROKEN_TAGS: Final = (ValueError, TypeError, LookupError, AttributeError)
"""What PyYAML lets through when a value does not fit the tag that was put before it (`!!int x`)."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader that also refuses a key given twice, which plain YAML settles in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Build a mapping whose keys are all different."""
        count = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = next((key for key, times in count.items() if times > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, origin: str) -> object:
    """Read YAML text, or raise ConfigError with the line and column that are wrong."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{origin}{place}: this is not plain YAML: {error.problem}"
        raise ConfigError(msg) from error
    except (yaml.YAMLError, RecursionError, *_BROKEN_TAGS) as error:
        msg = f"{origin}: this is not plain YAML: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise ConfigError(msg) from error


NO_PATHS: Final = ("none", "scl", "qa_pixel", "bqa", "udm", "udm2", "fmask")
"""Words that stand where a mask's path may stand."""

_ADDRESS: Final = re.compile(r"/vsi|[A-Za-z0-9_]+://|[A-Za-z0-9_]{2,}:")


def is_address(item: str) -> bool:
    """Whether GDAL, not the file system, knows what is meant: /vsi..., https://..., GTIFF_DIR:1:file.tif."""
    return bool(_ADDRESS.match(item))


def _anchor(path: object, base: Path) -> object:
    """Make a relative path start at `base`; '~' is the home folder unless a file is called so."""
    if not isinstance(path, str) or not path:
        return path
    if path.startswith("~") and not _exists(base / path):
        path = os.path.expanduser(path)  # noqa: PTH111 (leaves unknown users alone)
    return str(base / path)


def _anchor_source(path: object, base: Path) -> object:
    """Anchor a source: a path or a pattern. What GDAL alone knows stays as it is."""
    if not isinstance(path, str) or not path or _exists(base / path):
        return _anchor(path, base)
    if is_address(path):
        return path
    if glob.has_magic(path) and not Path(path).is_absolute():
        return str(Path(glob.escape(str(base))) / path)  # the pattern is a pattern, the folder is a name
    return _anchor(path, base)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name no file can have
        return False


def _anchor_sources(source: object, base: Path) -> object:
    return [_anchor_source(item, base) for item in source] if isinstance(source, list) else _anchor_source(source, base)


def _anchor_layer(layer: object, base: Path) -> object:
    """Anchor the path of a mask or an area, in its short form or in a mapping."""
    if isinstance(layer, dict) and "path" in layer:
        return {**layer, "path": _anchor_source(layer["path"], base)}
    return layer if str(layer).lower() in NO_PATHS else _anchor_source(layer, base)


_ANCHORED: Final = {"source": _anchor_sources, "mask": _anchor_layer, "aoi": _anchor_layer}


def anchor_paths(settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Anchor every path of a config, whatever else may be wrong with it."""
    anchored = dict(settings)
    for section in ("scene", "fit"):
        if isinstance(part := settings.get(section), dict):
            anchored[section] = {
                key: _ANCHORED[key](value, base) if key in _ANCHORED else value for key, value in part.items()
            }
    if isinstance(output := settings.get("output"), dict):
        anchored["output"] = {key: value if key == "palette" else _anchor(value, base) for key, value in output.items()}
    if isinstance(run := settings.get("run"), dict):
        anchored["run"] = {key: _anchor(value, base) if key == "cache_dir" else value for key, value in run.items()}
    return anchored


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings over others, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def override(setting: str) -> dict[str, Any]:
    """Turn `fit.k=12` into `{"fit": {"k": 12}}`, its path anchored in the current folder."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        msg = f"--set {setting}: expected key.path=value, for example fit.k=12"
        raise ConfigError(msg)
    if why := unreadable_name(text):
        msg = f"--set {key}: {why}"
        raise ConfigError(msg)
    value: Any = parse_yaml(text, f"--set {setting}")
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return anchor_paths(value, Path.cwd())
