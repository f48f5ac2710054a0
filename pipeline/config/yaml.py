"""Read the YAML file of a config, merge overrides from the command line, and make relative paths absolute."""

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.config.fields import is_palette_file, says_none
from pipeline.config.mistaken_scene import scene_named_as_config
from pipeline.core.errors import ConfigError
from pipeline.core.mask_layers import MASK_LAYERS
from pipeline.core.regular_files import read_regular
from pipeline.core.text import unreadable_name

_TAG_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError)
"""Exceptions that PyYAML raises if a value does not fit its tag (`!!int x`), in addition to its own."""

_MAX_FILE_BYTES: Final = 2**20
"""Largest size of a config file, in bytes."""


_SHOWN: Final = 200
"""Largest number of characters that messages show of a setting of the command line."""

_MAX_DIGITS: Final = 1000
"""Largest number of characters of a whole number: Python refuses to write much longer ones, as in messages."""


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that refuses endless numbers, and repeated keys, of which PyYAML would use the last one."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Build a whole number; raise ConstructorError if it is too long."""
        if len(node.value) > _MAX_DIGITS:
            problem = f"a whole number of {len(node.value)} characters is too long"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Build a mapping; raise ConstructorError if a key is repeated."""
        count = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = next((key for key, times in count.items() if times > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str, origin: str) -> object:
    """Parse YAML text; raise ConfigError with line and column of the first mistake."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{origin}{position}: this is not plain YAML: {error.problem}"
        raise ConfigError(msg) from error
    except (yaml.YAMLError, RecursionError, *_TAG_ERRORS) as error:
        msg = f"{origin}: this is not plain YAML: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise ConfigError(msg) from error


INIT_WORDS: Final = ("k-means++", "diagonal")
"""Words of `fit.init`, which are not paths."""

_ADDRESS: Final = re.compile(r"/vsi|[A-Za-z0-9_]+://|[A-Za-z0-9_]{2,}:")


def is_address(item: str) -> bool:
    """Whether a name is not a path but opened by GDAL: /vsi..., https://..., GTIFF_DIR:1:file.tif."""
    return bool(_ADDRESS.match(item))


def _anchor(path: object, base: Path) -> object:
    """Join a relative path to `base`; '~' is the home folder unless a file with that name exists."""
    if not isinstance(path, str) or not path:
        return path
    if path.startswith("~") and not _exists(base / path):
        path = os.path.expanduser(path)  # noqa: PTH111 (leaves paths of unknown users unchanged)
    return str(base / path)


def _anchor_source(path: object, base: Path) -> object:
    """Join a source (path or glob) to `base`; names that only GDAL can open are returned unchanged."""
    if not isinstance(path, str) or not path or _exists(base / path):
        return _anchor(path, base)
    if is_address(path):
        return path
    if glob.has_magic(path) and not Path(path).is_absolute():
        return str(Path(glob.escape(str(base))) / path)  # only `path` is a glob
    return _anchor(path, base)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # not a valid file name
        return False


def _anchor_sources(source: object, base: Path) -> object:
    return [_anchor_source(item, base) for item in source] if isinstance(source, list) else _anchor_source(source, base)


def _anchor_layer(layer: object, base: Path) -> object:
    """Join the path of a mask or an area, in its short form or in a mapping, to `base`."""
    if isinstance(layer, dict) and "path" in layer:
        return {**layer, "path": _anchor_source(layer["path"], base)}
    return layer if says_none(layer) or str(layer).lower() in MASK_LAYERS else _anchor_source(layer, base)


def _anchor_init(init: object, base: Path) -> object:
    """Join the path of initial centroids to `base`; a word for how they are made is returned unchanged."""
    return init if init in INIT_WORDS else _anchor(init, base)


_ANCHORED: Final = {"init": _anchor_init, "source": _anchor_sources, "mask": _anchor_layer, "aoi": _anchor_layer}


_NO_PATHS: Final = ("title", "panels")
"""Keys of section `output` whose text is no path."""


def _anchor_output(key: str, value: object, base: Path) -> object:
    """Join a path of section `output` to `base`."""
    if key == "palette":
        return _anchor(value, base) if is_palette_file(value) else value
    return value if key in _NO_PATHS or says_none(value) else _anchor(value, base)


def anchor_paths(settings: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make every relative path of a config start at `base`; invalid settings are left for validation."""
    anchored = dict(settings)
    for section in ("scene", "fit"):
        if isinstance(part := settings.get(section), dict):
            anchored[section] = {
                key: _ANCHORED[key](value, base) if key in _ANCHORED else value for key, value in part.items()
            }
    if isinstance(output := settings.get("output"), dict):
        anchored["output"] = {key: _anchor_output(key, value, base) for key, value in output.items()}
    if isinstance(run := settings.get("run"), dict):
        anchored["run"] = {key: _anchor(value, base) if key == "cache_dir" else value for key, value in run.items()}
    return anchored


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings recursively: values of `over` replace those of `base`."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _short(setting: str) -> str:
    """Begin of a setting, for messages."""
    return setting if len(setting) <= _SHOWN else f"{setting[:_SHOWN]}..."


def override(setting: str) -> dict[str, Any]:
    """Parse `fit.k=12` into `{"fit": {"k": 12}}`; relative paths start at the current folder."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        msg = f"--set {_short(setting)}: expected key.path=value, for example fit.k=12"
        raise ConfigError(msg)
    if message := unreadable_name(text):
        msg = f"--set {key}: {message}"
        raise ConfigError(msg)
    value: Any = parse_yaml(text, f"--set {_short(setting)}")
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return anchor_paths(value, Path.cwd())


def _overridden(settings: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Replace settings of a file by an override; a section that is no mapping stays, so that its error is told."""
    faulty = {
        key for key, value in change.items() if isinstance(value, dict) and not isinstance(settings.get(key, {}), dict)
    }
    return merge(settings, {key: value for key, value in change.items() if key not in faulty})


def read_settings(
    path: str | Path,
    overrides: Iterable[str] = (),
    adapt: Callable[[dict[str, Any], Sequence[dict[str, Any]]], dict[str, Any]] = lambda settings, _: settings,
) -> object:
    """Read the settings of a config file and replace some by overrides, as `load_config` does before it validates.

    `adapt` changes the settings of the file, given the overrides, before these replace some.
    """
    path = Path(path)
    if message := scene_named_as_config(path):
        raise ConfigError(message)
    try:
        text = read_regular(path, _MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"{path}: the config can't be read: {reason}"
        raise ConfigError(msg) from error
    settings = parse_yaml(text, str(path))
    if isinstance(settings, dict):
        settings = anchor_paths(settings, path.absolute().parent)
        changes = [override(setting) for setting in overrides]
        settings = reduce(_overridden, changes, adapt(settings, changes))
    return settings
