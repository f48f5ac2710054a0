"""Whether outputs belong together, by the digests in the report."""

import hashlib
import json
import logging
from pathlib import Path

import pytest
from conftest import WriteRaster, patches
from runs import config

from pipeline.core.errors import OutputError
from pipeline.jobs.run import run_config
from pipeline.sinks.output_set import digests_of, mixed_words


def a_set(folder: Path) -> dict[str, Path]:
    """Write a set of files, and their report."""
    files = {"labels": folder / "c.tif", "table": folder / "c.csv"}
    for path in files.values():
        path.write_text(f"content of {path.name}")
    report = {"outputs": {what: str(path) for what, path in files.items()}, "sha256": digests_of(files)}
    (folder / "c.run.json").write_text(json.dumps(report))
    return files


def test_a_whole_set_is_no_reason_for_words_wherever_it_was_moved(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    a_set(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "now")
    files = {"labels": tmp_path / "now" / "c.tif", "table": tmp_path / "now" / "c.csv"}
    assert mixed_words(files, tmp_path / "now" / "c.run.json") is None
    assert mixed_words({"labels": tmp_path / "now" / "other.tif"}, tmp_path / "now" / "c.run.json") is None


def test_what_is_missing_or_another_is_named(tmp_path: Path) -> None:
    files = a_set(tmp_path)
    files["labels"].write_text("another map")
    files["table"].unlink()
    words = mixed_words(files, tmp_path / "c.run.json")
    assert words
    assert words.endswith(f"{files['labels']} is another; {files['table']} is missing")


@pytest.mark.parametrize("report", ["", "[]", "{}", '{"sha256": 1}', '{"sha256": {"labels": 1}}', "[" * 5000])
def test_a_report_that_tells_nothing_is_no_error(tmp_path: Path, report: str) -> None:
    files = a_set(tmp_path)
    (tmp_path / "c.run.json").write_text(report)
    assert mixed_words(files, tmp_path / "c.run.json") is None


def test_a_run_says_so_of_the_set_that_it_replaces(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = config(write_raster("scene.tif", patches()), tmp_path / "c.tif", fit={"k": 3})
    report = run_config(asked)
    for what, path in report["outputs"].items():
        if what != "report":
            assert report["sha256"][what] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    model = tmp_path / "c.model.json"
    model.write_text(model.read_text() + " ")
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        with pytest.raises(OutputError, match="exists already"):
            run_config(asked)
        assert "belong together" not in caplog.text
        run_config(asked, overwrite=True)
        assert (
            f"don't belong together, as if a run had been cut short while they got their names, or one had been "
            f"changed since: {model} is another" in caplog.text
        )
        caplog.clear()
        run_config(asked, overwrite=True)
        assert "belong together" not in caplog.text
