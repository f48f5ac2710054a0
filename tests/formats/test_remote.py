"""Remote files: read like local ones, requested again after temporary errors, never a hole in the map."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM
from rasterio.shutil import copy as gdal_copy
from server import Moods, serving
from sources import described, whole

from pipeline.core.errors import SceneError
from pipeline.geo.gdal import gdal_options
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
from pipeline.scenes.raster_source import RasterSource

BANDS = ("B02", "B03", "B04", "B08")


@pytest.fixture(scope="module")
def cogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Cloud-Optimized GeoTIFFs."""
    folder, plain = tmp_path_factory.mktemp("cogs"), tmp_path_factory.mktemp("plain") / "plain.tif"
    noise = np.random.default_rng(1).integers(1, 9000, (4, 600, 700)).astype("uint16")
    for band, pixels in zip(BANDS, noise, strict=True):
        shape = {"count": 1, "height": 600, "width": 700, "dtype": "uint16"}
        with rasterio.open(plain, "w", driver="GTiff", nodata=0, **shape, **UTM) as file:
            file.write(pixels, 1)
        gdal_copy(plain, folder / f"{band}.tif", driver="COG", blocksize=128, compress="deflate")
    return folder


@pytest.fixture(scope="module")
def local(cogs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The map of the files on disk."""
    path = tmp_path_factory.mktemp("map") / "local.tif"
    run([str(cogs / f"{band}.tif") for band in BANDS], path)
    return read(path)


@pytest.fixture
def site(cogs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Moods, Path]]:
    """HTTP server of the folder: its address, its faults, and the folder."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setattr("pipeline.raster.readers._PAUSE", 0.05)
    with serving(cogs) as (address, moods):
        yield address, moods, cogs


def urls(address: str) -> list[str]:
    """URLs of all bands."""
    return [f"{address}/{band}.tif" for band in BANDS]


def run(source: list[str], target: Path) -> dict[str, Any]:
    """Fit and label a scene, and return the report."""
    fit = {"k": 4, "pixels": 5000, "starts": 2}
    return run_config(
        RunConfig.model_validate(
            {"version": 1, "scene": {"source": source}, "fit": fit, "output": {"labels": str(target)}}
        )
    )


def read(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read(1)


def test_remote_scene_equals_local_scene_and_is_read_once(
    site: tuple[str, Moods, Path], tmp_path: Path, local: Any
) -> None:
    address, moods, _ = site
    report = run(urls(address), tmp_path / "remote.tif")
    np.testing.assert_array_equal(read(tmp_path / "remote.tif"), local)
    assert report["source_passes"] == 1
    requested = {name for name in moods.asked if not name.endswith(".vat.dbf")}  # GDAL 3.12 requests these anyway
    assert requested == {f"{band}.tif" for band in BANDS}, "no folder listing and no sidecar file is requested"


@pytest.mark.parametrize("skip", [0, 3, 6])
@pytest.mark.parametrize("mood", ["unavailable", "dropped"])
def test_failed_request_is_repeated(
    site: tuple[str, Moods, Path], tmp_path: Path, local: Any, mood: str, skip: int
) -> None:
    address, moods, _ = site
    moods.skip = skip
    setattr(moods, mood, 1)
    run(urls(address), tmp_path / "remote.tif")
    assert getattr(moods, mood) == 0, "the server did fail once"
    np.testing.assert_array_equal(read(tmp_path / "remote.tif"), local)


def test_slow_server_is_read_completely(site: tuple[str, Moods, Path]) -> None:
    address, moods, root = site
    moods.delay = 0.15
    data, valid = whole(RasterSource(described(urls(address)[:1]), (512, 512)))
    np.testing.assert_array_equal(data[0], read(root / "B02.tif"))
    assert valid.all()


@pytest.mark.parametrize("mood", ["unavailable", "dropped"])
def test_failing_server_is_an_error_with_the_url(
    site: tuple[str, Moods, Path], tmp_path: Path, mood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "1")
    address, moods, _ = site
    moods.skip = 6
    setattr(moods, mood, 10_000)
    with pytest.raises(SceneError, match=rf"{address}/B0\d\.tif: .*(can't be read|can't open)"):
        run(urls(address), tmp_path / "remote.tif")
    assert not list(tmp_path.glob("remote*")), "no map with a hole"


def test_missing_remote_file_is_an_error_with_the_url(site: tuple[str, Moods, Path]) -> None:
    address, moods, _ = site
    moods.missing = ("B04.tif",)
    with pytest.raises(SceneError, match=rf"^{address}/B04\.tif: GDAL can't open this file.*404"):
        described(urls(address))


def test_unreachable_server_is_an_error_with_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with pytest.raises(SceneError, match=r"^http://127\.0\.0\.1:1/a\.tif: GDAL can't open this file"):
        described("http://127.0.0.1:1/a.tif")


def test_gdal_options_of_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gdal_options("https://host/a.tif")["GDAL_DISABLE_READDIR_ON_OPEN"] == "EMPTY_DIR"
    assert "GDAL_DISABLE_READDIR_ON_OPEN" not in gdal_options("a.tif")
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "FALSE")
    assert "GDAL_DISABLE_READDIR_ON_OPEN" not in gdal_options("https://host/a.tif")


def test_s3_bucket_is_read_with_settings_of_the_environment(
    cogs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket").mkdir()
    shutil.copy(cogs / "B02.tif", tmp_path / "bucket")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for key, value in {"AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE", "AWS_NO_SIGN_REQUEST": "YES"}.items():
        monkeypatch.setenv(key, value)
    with serving(tmp_path) as (address, _):
        monkeypatch.setenv("AWS_S3_ENDPOINT", address.removeprefix("http://"))
        data, _ = whole(RasterSource(described("s3://bucket/B02.tif"), (512, 512)))
    np.testing.assert_array_equal(data[0], read(cogs / "B02.tif"))
