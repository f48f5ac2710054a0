"""What decides the pixels of a map: its scene's files and the settings, for the map's metadata.

No folders, times or file dates are part of it, so a map has the same bytes wherever and whenever it is made.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from pipeline.config.record import Record
from pipeline.config.schema import FeaturesConfig, FitConfig, SceneConfig
from pipeline.core.scene_info import SceneInfo
from pipeline.geo.gdal import is_remote, public_address
from pipeline.scenes.file_stamps import local_file, named_inputs
from pipeline.stores.locate import is_zarr_group

_ENDS: Final = 2**16
"""Bytes at the beginning, and at the end, of a file that its fingerprint is computed from."""

_STORE_METADATA: Final = ("zarr.json", ".zmetadata", ".zattrs", ".zgroup")
"""Files of a Zarr store that stand for it, the first one that exists."""

_PREFIXES: Final = {"/vsicurl/": "", "/vsis3/": "s3://", "/vsigs/": "gs://", "/vsiaz/": "az://", "/vsioss/": "oss://"}
"""Beginning of an address by the prefix that GDAL has for it."""


@dataclass(frozen=True)
class InputFile:
    """A file that a scene was read from."""

    name: str
    """Name without folders; of an archive or store, that of the whole."""
    bytes: int | None = None
    """Size of the file; None if it is remote."""
    sha256_of_ends: str | None = None
    """SHA-256 digest of its first and last 64 KiB (of smaller files: of the whole); None if it is remote."""


@dataclass(frozen=True, kw_only=True)
class MapProvenance:
    """Files and settings that decide each pixel of a map, together with the model."""

    files: tuple[InputFile, ...] = ()
    """Files of the scene, of bands first, then of masks and metadata."""
    settings: tuple[tuple[str, str], ...] = ()
    """Names of sections of the config, each with its settings as JSON, paths without folders."""

    @classmethod
    def of(
        cls,
        info: SceneInfo,
        scene: SceneConfig,
        features: FeaturesConfig | None = None,
        fit: FitConfig | None = None,
    ) -> Self:
        """Record an opened scene and the sections of its config; without a fit, as a given model was used."""
        sections: dict[str, Record | None] = {"scene": scene, "features": features, "fit": fit}
        names = {path: plain_name(path) for path in named_inputs(scene, fit)}
        settings = [
            (name, _json(_renamed(section.model_dump(mode="json"), names)))
            for name, section in sections.items()
            if section
        ]
        return cls(files=tuple(_input_files(info)), settings=tuple(settings))

    @property
    def file_records(self) -> list[dict[str, Any]]:
        """The files as plain values."""
        return [{key: value for key, value in asdict(file).items() if value is not None} for file in self.files]

    def tags(self, info: SceneInfo) -> dict[str, str]:
        """Tags of the map of a scene: when it was acquired, bands, files and settings; texts are JSON but the first."""
        texts = {"ACQUIRED": str(info.acquired)} if info.acquired else {}
        texts["BANDS"] = _json(info.bands)
        if self.files:
            texts["FILES"] = _json(self.file_records)
        texts |= {section.upper(): text for section, text in self.settings}
        return {f"TERRAZZO_{name}": text for name, text in texts.items()}


def plain_name(path: str) -> str:
    """Name of a file without folders, and without the query of an address, which may hold a password."""
    path = public_address(path)
    return os.path.basename(path.rstrip("/")) or path  # noqa: PTH119 (may be /vsi... or an address)


def shareable(value: Any) -> Any:
    """Copy of plain values in which addresses have neither user and password nor query."""
    if isinstance(value, dict):
        return {key: shareable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shareable(each) for each in value]
    return public_address(value) if isinstance(value, str) else value


def _json(value: Any) -> str:
    """JSON of plain values in ASCII, without spaces."""
    return json.dumps(value, separators=(",", ":"))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Copy of plain values in which each text that is a key of `names` is replaced."""
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


def _input_files(info: SceneInfo) -> Iterator[InputFile]:
    """Files of a scene, archives and stores once; folders of which files are read are left out."""
    for path in dict.fromkeys(local_file(path) or _address(path) for path in info.files):
        if is_zarr_group(Path(path)):
            metadata = next((file for name in _STORE_METADATA if (file := Path(path, name)).is_file()), Path(path))
            yield _fingerprint(plain_name(path), metadata)
        elif not Path(path).is_dir():
            yield _fingerprint(plain_name(path), Path(path))


def _address(path: str) -> str:
    """Address of a remote file that GDAL may name by its own prefix; other paths as they are."""
    prefix = next(filter(path.startswith, _PREFIXES), "")
    return _PREFIXES.get(prefix, "") + path.removeprefix(prefix) if is_remote(path) else path


def _fingerprint(name: str, path: Path) -> InputFile:
    """Size of a file, and digest of its ends; only its name if it is not a local file that can be read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(file.read(_ENDS))
            file.seek(max(_ENDS, size - _ENDS))
            digest.update(file.read(_ENDS))
    except (OSError, ValueError):
        return InputFile(name)
    return InputFile(name, size, digest.hexdigest())
