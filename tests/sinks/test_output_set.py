"""Outputs that are not from one run are found by the digests in the report."""

import hashlib
import json
import logging
import os
from pathlib import Path

import pytest
from conftest import WriteRaster, patches
from runs import MIXED, config

from pipeline.core.errors import OutputError
from pipeline.jobs.run import run_config
from pipeline.sinks.output_set import describe_mixed_set, digests_of


def write_set(folder: Path) -> dict[str, Path]:
    """Write a set of outputs and their report."""
    files = {"labels": folder / "c.tif", "table": folder / "c.csv"}
    for path in files.values():
        path.write_text(f"content of {path.name}")
    report = {"outputs": {key: str(path) for key, path in files.items()}, "sha256": digests_of(files)}
    (folder / "c.run.json").write_text(json.dumps(report))
    return files


def test_a_complete_set_gives_no_warning_even_after_its_folder_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    write_set(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "now")
    files = {"labels": tmp_path / "now" / "c.tif", "table": tmp_path / "now" / "c.csv"}
    assert describe_mixed_set(files.values(), tmp_path / "now" / "c.run.json") is None
    assert describe_mixed_set([tmp_path / "now" / "other.tif"], tmp_path / "now" / "c.run.json") is None


def test_missing_and_changed_files_are_named(tmp_path: Path) -> None:
    files = write_set(tmp_path)
    files["labels"].write_text("another map")
    files["table"].unlink()
    message = describe_mixed_set(files.values(), tmp_path / "c.run.json")
    assert message
    assert message.endswith(f"{files['labels']} differs from the report; {files['table']} is missing")


@pytest.mark.parametrize("report", ["", "[]", "{}", '{"sha256": 1}', '{"sha256": {"labels": 1}}', "[" * 5000])
def test_a_report_without_digests_is_ignored(tmp_path: Path, report: str) -> None:
    files = write_set(tmp_path)
    (tmp_path / "c.run.json").write_text(report)
    assert describe_mixed_set(files.values(), tmp_path / "c.run.json") is None


def test_a_run_warns_if_the_outputs_it_replaces_are_not_from_one_run(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = config(write_raster("scene.tif", patches()), tmp_path / "c.tif", fit={"k": 3})
    report = run_config(job)
    for key, path in report["outputs"].items():
        if key not in {"run", "report"}:
            assert report["sha256"][key] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    model = tmp_path / "c.model.json"
    model.write_text(model.read_text() + " ")
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        with pytest.raises(OutputError, match="exists already"):
            run_config(job)
        assert MIXED not in caplog.text
        run_config(job, overwrite=True)
        assert (
            f"the existing outputs are not all from one run (files are newer than the report: of a run without one, or "
            f"changed since): {model} differs from the report" in caplog.text
        )
        caplog.clear()
        run_config(job, overwrite=True)
        assert MIXED not in caplog.text


@pytest.mark.parametrize("missing", [False, True])
def test_a_run_is_said_to_be_killed_only_if_its_report_is_newer_than_other_files(
    tmp_path: Path, *, missing: bool
) -> None:
    files, report = write_set(tmp_path), tmp_path / "c.run.json"
    files["labels"].write_text("another map")
    now = report.stat().st_mtime_ns
    if missing:
        files["table"].unlink()
    for seconds, killed in ((-10, True), (10, missing)):
        os.utime(files["labels"], ns=(now, now + seconds * 10**9))
        message = describe_mixed_set(files.values(), report)
        assert message
        assert MIXED in message
        assert ("a run was killed" in message) is killed
        assert ("of a run without one" in message) is (not killed)


def test_the_run_after_one_without_a_report_is_not_told_of_a_killed_one(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster("scene.tif", patches())
    for k, output in ((3, {}), (4, {"run": "none"}), (4, {})):
        caplog.clear()
        run_config(config(path, tmp_path / "c.tif", fit={"k": k, "starts": 1}, output=output), overwrite=True)
    assert "of a run without one" in caplog.text
    assert "killed" not in caplog.text
