"""Model files: a model of any kind as JSON text, read strictly, written whole or not at all."""

import json
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic import ValidationError

from pipeline.core.errors import ConfigError, ModelError, OutputError
from pipeline.core.late_import import load
from pipeline.core.regular_files import TooLargeError, lookup_fault, read_regular, special_kind
from pipeline.core.strict_json import RepeatedKeyError, parse_json
from pipeline.core.text import json_text
from pipeline.engine.work_folder import temporary_folder, write_fix

if TYPE_CHECKING:
    from pipeline.models.base import ClusterModel

_KINDS: Final = {
    "prototypes": "pipeline.models.prototypes:Prototypes",
    "gaussians": "pipeline.models.gaussians:GaussianModel",
    "ranges": "pipeline.models.ranges:Ranges",
}
"""Class of each kind of model, imported when one is read: to add a kind, add its line."""

MODEL_FORMAT: Final = "terrazzo-model"
"""Value of `format` in a model file."""

SCHEMA_VERSION: Final = 2
"""Version of the file format that is written; version 1, which had centroids but no kind and no classes, is read."""

_LONGEST_MESSAGE: Final = 300
"""Largest number of characters of what is wrong with a model: values in it may be of any length."""

_MAX_FILE_BYTES: Final = 64 * 2**20
"""Largest size of a model file, in bytes."""


def model_text(model: "ClusterModel") -> str:
    """Write a model as JSON text; `parse_model` returns an equal model."""
    head = {"format": MODEL_FORMAT, "schema_version": SCHEMA_VERSION, "kind": model.kind}
    content = head | model.model_dump(mode="json") | {"counts": model.counts}
    return json_text(content, indent=2) + "\n"


def save_model(model: "ClusterModel", path: Path, *, overwrite: bool) -> None:
    """Write a model file; see `ClusterModel.save`."""
    _check_target(path, overwrite=overwrite)
    folder = Path(os.path.realpath(path.parent))
    with temporary_folder(folder, "choose another") as temporary:
        staged = temporary / "model.json"
        try:
            with staged.open("w", encoding="utf-8") as file:
                file.write(model_text(model))
                file.flush()
                os.fsync(file.fileno())
            if not overwrite:
                _check_target(path, overwrite=False)
            staged.replace(folder / path.name)
        except OSError as error:
            msg = f"{path}: the model can't be written ({error.strerror}); {write_fix(error, 'choose another disk')}"
            raise OutputError(msg) from error


def _check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a path can be that of a new model file.

    Raises
    ------
    ConfigError
        If it can't be that of a file, or has another ending.
    OutputError
        If the file exists and may not be replaced, or its folder does not exist.
    """
    if path.suffix.lower() != ".json":
        msg = f"{path}: a model is a JSON file; use a name that ends in .json"
        raise ConfigError(msg)
    if fault := lookup_fault(path) or ("this is a folder" if path.is_dir() else special_kind(path)):
        msg = f"{path}: the model can't have this path ({fault}); use another one"
        raise ConfigError(msg)
    if not overwrite and os.path.lexists(path):
        msg = f"{path}: the file exists already; allow overwriting (overwrite=True), or use another name"
        raise OutputError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: the folder {path.parent} does not exist; create it first"
        raise OutputError(msg)


def load_model(path: Path) -> "ClusterModel":
    """Read a model file of any kind and version; see `ClusterModel.load`."""
    try:
        return parse_model(read_regular(path, _MAX_FILE_BYTES).decode(), str(path))
    except TooLargeError as error:
        msg = f"{path}: this is not a Terrazzo model: {error}"
        raise ModelError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: this is not a Terrazzo model: it is not text"
        raise ModelError(msg) from error
    except OSError as error:
        msg = f"{path}: the model can't be read: {error.strerror}"
        raise ModelError(msg) from error


def parse_model(text: str, origin: str) -> "ClusterModel":
    """Parse a model of any kind and version from JSON text; see `ClusterModel.from_json`."""
    content = _parse(text, origin)
    kind, counts = _take_head(content, origin)
    try:
        model: ClusterModel = kind.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where, what = ".".join(map(str, first["loc"])), _words(first)
        _refuse(shorten(f"{where}: {what}" if where else what, _LONGEST_MESSAGE, placeholder=" ..."), origin, error)
    if counts != list(model.counts):
        _refuse(
            f"counts: {reprlib.repr(counts)} are not the pixels of the classes, {reprlib.repr(list(model.counts))}",
            origin,
        )
    return model


def _words(error: Mapping[str, Any]) -> str:
    """What is wrong with a part of a model, from an error of the validator."""
    known = {"missing": "this key is missing", "extra_forbidden": "there is no such key"}
    if error["type"] == "value_error" or error["type"] in known:
        return known.get(error["type"]) or str(error["ctx"]["error"])
    return f"{reprlib.repr(error['input'])} is not allowed; it {error['msg'].removeprefix('Input ')}"


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        content: Any = parse_json(text)
    except RepeatedKeyError as error:
        msg = f"{origin}: {error}; the file was edited: correct it, or fit the model again"
        raise ModelError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{origin}: this is not a Terrazzo model: it is not JSON ({error})"
        raise ModelError(msg) from error
    if not isinstance(content, dict) or content.pop("format", None) != MODEL_FORMAT:
        msg = f'{origin}: this is JSON, but not a Terrazzo model (expected "format": "{MODEL_FORMAT}")'
        raise ModelError(msg)
    return content


def _take_head(content: dict[str, Any], origin: str) -> tuple[Any, list[Any]]:
    """Take the version, kind and counts out of a model's content; return the class of its kind, and the counts."""
    version, counts = content.pop("schema_version", 1), content.pop("counts", None)
    if type(version) is not int or version not in {1, SCHEMA_VERSION}:
        _refuse(f"schema_version: {reprlib.repr(version)} is not known; expected 1 or {SCHEMA_VERSION}", origin)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        _refuse("counts: expected the number of pixels of each class, whole numbers from 0", origin)
    if version == 1:
        _check_classes_of_version_1(content, counts, origin)
        content["classes"] = [{"id": i, "name": f"class {i}", "pixels": n} for i, n in enumerate(counts, 1)]
    name = "prototypes" if version == 1 else content.pop("kind", None)
    if not isinstance(name, str) or name not in _KINDS:
        _refuse(f"kind: {reprlib.repr(name)} is not known; expected one of {', '.join(_KINDS)}", origin)
    return load(_KINDS[name]), counts


def _check_classes_of_version_1(content: dict[str, Any], counts: list[Any], origin: str) -> None:
    """Refuse what would be a fault of `classes`, a key of later versions that is made of the counts."""
    if "classes" in content:
        _refuse("classes: version 1 has no such key", origin)
    centroids = None if "classes_of_points" in content else content.get("centroids")
    if isinstance(centroids, list) and not 2 <= len(centroids) == len(counts) <= 254:  # noqa: PLR2004
        found = f"{len(centroids)} centroids and {len(counts)} counts"
        _refuse(f"centroids and counts: {found}; expected as many of both, 2 to 254", origin)


def _refuse(what: str, origin: str, cause: Exception | None = None) -> NoReturn:
    msg = f"{origin}: {what}; the file was edited, or written by another version: fit the model again"
    raise ModelError(msg) from cause
