"""Read the record of a finished run (`output.run`): its map, its scene and its model."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from os.path import basename, splitext
from pathlib import Path
from typing import Final, TypeGuard

from pipeline.config.record import parse_record
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.core.regular_files import read_regular
from pipeline.core.strict_json import parse_json
from pipeline.core.text import shown
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.store_folders import output_digest
from pipeline.stores.locate import is_zarr_group

_MOST_BYTES: Final = 64 * 2**20
"""Largest size of a record, bytes."""


@dataclass(frozen=True)
class RunRecord:
    """What the record of a run says of its files."""

    path: Path
    """Path of the record."""
    labels: Path
    """Path of the map."""
    outputs: tuple[Path, ...]
    """Paths of all outputs: as they are written in the record, and of files with their names beside it."""
    scene: SceneConfig
    """The scene: its source, names, time and nodata value."""
    sources: tuple[str, ...]
    """Paths of the files that hold the bands."""
    bands: tuple[str, ...]
    """Names of the bands that were mapped."""
    rgb: tuple[str, ...]
    """Setting `output.rgb`; empty if there is none."""
    model: str
    """SHA-256 of what decides the labels."""
    k: int
    """Number of classes."""

    @property
    def name(self) -> str:
        """Name of the scene: that of its product or file, or of the folder of its files."""
        first = self.scene.source[0].rstrip("/")
        if len(self.scene.source) > 1 or any(sign in basename(first) for sign in "*?["):  # noqa: PTH119
            first = str(Path(first).parent)
        stem = basename(first)  # noqa: PTH119 (may be an address)
        for _ in range(2):  # .SAFE.zip
            found, ending = splitext(stem)  # noqa: PTH122
            stem = found if ending.lower() in _ENDINGS else stem
        return stem


_ENDINGS: Final = frozenset({".safe", ".zip", ".tar", ".gz", ".tif", ".tiff", ".jp2", ".vrt", ".zarr", ".nc", ".json"})
"""Endings that are no part of the name of a scene."""


def read_run_record(path: Path) -> RunRecord:
    """Read the record of a run.

    Raises
    ------
    ConfigError
        If the file can't be read or is no such record, or the map is neither where it says nor beside it.
    """
    try:
        content = parse_json(read_regular(path, _MOST_BYTES))
        scene, output = content["config"]["scene"], content["config"].get("output") or {}
        scene = scene | {"source": [_find_source(path, item) for item in scene["source"]]}
        settings = {key: scene.get(key) for key in ("source", "names", "time", "nodata") if scene.get(key) is not None}
        digest = content.get("sha256", {}).get("labels")
        found = RunRecord(
            path=path,
            labels=_find_map(path, content["outputs"]["labels"], digest),
            outputs=tuple(_places_of_outputs(path, content["outputs"].values())),
            scene=parse_record(SceneConfig, settings, str(path)),
            sources=tuple(map(str, content["scene"]["sources"])),
            bands=tuple(map(str, content["scene"]["bands"])),
            rgb=_shown_bands(output.get("rgb")),
            model=str(content["model"]["sha256"]),
            k=_number_of_classes(content["model"]["k"]),
        )
    except OSError as error:
        msg = f"{path}: the record of a run can't be read ({error.strerror})"
        raise ConfigError(msg) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        field = f" ({error})" if isinstance(error, _FieldError) else ""
        fix = "name a .run.json of this version"
        msg = f"{path}: this is not the record of a run that says what its scene is{field}: {fix}"
        raise ConfigError(msg) from error
    return found


class _FieldError(ValueError):
    """A field of a record has a value that no run writes; the message names both."""


def _number_of_classes(value: object) -> int:
    if type(value) is int and 1 <= value < UNCLASSIFIED:  # a boolean is an int, too
        return value
    msg = f"model.k is {shown(value)}"
    raise _FieldError(msg)


def _shown_bands(value: object) -> tuple[str, ...]:
    """Return the names of one band or three, or none for null."""
    if value is None:
        return ()
    if isinstance(value, list) and len(value) in (1, 3) and all(name and isinstance(name, str) for name in value):
        return tuple(value)
    msg = f"config.output.rgb is {shown(value)}"
    raise _FieldError(msg)


def _places_of_outputs(record: Path, written: Iterable[object]) -> Iterable[Path]:
    """Yield where the outputs of a run are: as they are written in its record, and those beside it, if it was moved."""
    for path in filter(_names_a_file, written):
        yield Path(path)
        beside = record.parent / basename(path)  # noqa: PTH119 (of any system)
        if beside.exists():
            yield beside


def _names_a_file(written: object) -> TypeGuard[str]:
    """Whether a value of a record is a path with a file name."""
    return isinstance(written, str) and "\0" not in written and basename(written) not in {"", ".", ".."}  # noqa: PTH119


def _find_source(record: Path, written: str) -> str:
    """Return a source of a scene: as it is written in a record, or from the folder of the record on."""
    from_record = record.parent / written
    return str(from_record) if not Path(written).exists() and from_record.exists() else written


def _find_map(record: Path, written: object, digest: object) -> Path:
    """Return the path of a map: as it is written in a record, or a file with this name beside the record.

    Of two, the one with the digest of the record: a record that was moved with its map may leave another one behind.
    """
    if not _names_a_file(written):
        msg = f"outputs.labels is {shown(written)}"
        raise _FieldError(msg)
    beside = record.parent / basename(written)  # noqa: PTH119 (of any system)
    places = (Path(written), beside) if Path(written).is_absolute() else (beside, Path(written))
    found = [place for place in dict.fromkeys(places) if place.exists()]
    maps = [place for place in found if not place.is_dir() or is_zarr_group(place)]
    if found and not maps:
        msg = f"outputs.labels: {found[0]} is a folder, and no Zarr store"
        raise _FieldError(msg)
    if maps:
        same = (place for place in maps if len(maps) > 1 and _has_digest(place, digest))
        return next(same, maps[0])
    where = " and ".join(dict.fromkeys(map(str, places)))
    msg = f"{record}: its map is not there any more ({where}); was it moved? Put it beside this file"
    raise ConfigError(msg)


def _has_digest(place: Path, digest: object) -> bool:
    """Whether a map has a digest; False if it can't be read."""
    with suppress(OSError):
        return (place.is_file() or place.is_dir()) and output_digest(place) == digest
    return False
