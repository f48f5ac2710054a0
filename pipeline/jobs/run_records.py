"""Read the record of a finished run (`output.run`): its map, its scene and its model."""

from dataclasses import dataclass
from os.path import basename, splitext
from pathlib import Path
from typing import Final

from pipeline.config.record import parse_record
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.core.regular_files import read_regular
from pipeline.core.strict_json import parse_json

_MOST_BYTES: Final = 64 * 2**20
"""Largest size of a record, bytes."""


@dataclass(frozen=True)
class RunRecord:
    """What the record of a run says of its files."""

    path: Path
    """Path of the record."""
    labels: Path
    """Path of the map."""
    scene: SceneConfig
    """The scene: its source, names and time."""
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
        settings = {key: scene.get(key) for key in ("source", "names", "time") if scene.get(key) is not None}
        found = RunRecord(
            path=path,
            labels=_find_map(path, str(content["outputs"]["labels"])),
            scene=parse_record(SceneConfig, settings, str(path)),
            sources=tuple(map(str, content["scene"]["sources"])),
            bands=tuple(map(str, content["scene"]["bands"])),
            rgb=tuple(map(str, output.get("rgb") or ())),
            model=str(content["model"]["sha256"]),
            k=int(content["model"]["k"]),
        )
    except OSError as error:
        msg = f"{path}: the record of a run can't be read ({error.strerror})"
        raise ConfigError(msg) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path}: this is not the record of a run that says what its scene is: name a .run.json of this version"
        raise ConfigError(msg) from error
    return found


def _find_source(record: Path, written: str) -> str:
    """Return a source of a scene: as it is written in a record, or from the folder of the record on."""
    from_record = record.parent / written
    return str(from_record) if not Path(written).exists() and from_record.exists() else written


def _find_map(record: Path, written: str) -> Path:
    """Return the path of a map: as it is written in a record, or a file with this name beside the record."""
    beside = record.parent / basename(written)  # noqa: PTH119 (of any system)
    places = (Path(written), beside) if Path(written).is_absolute() else (beside, Path(written))
    for place in places:
        if place.exists():
            return place
    where = " and ".join(dict.fromkeys(map(str, places)))
    msg = f"{record}: its map is not there any more ({where}); was it moved? Put it beside this file"
    raise ConfigError(msg)
