"""The Esri colour map has a line of four numbers for each class."""

from pathlib import Path

from conftest import WriteRaster, patches
from maps import job_of, summary_of
from runs import config

from pipeline.jobs.run import run_config
from pipeline.sinks.clr import ClrWriter


def test_a_colour_map_has_a_line_per_class_and_one_of_unclassified_pixels(tmp_path: Path) -> None:
    job = job_of("water", "wood")
    for unclassified, more in ((0, ""), (1, "255 75 75 75\n")):
        ClrWriter(tmp_path / "map.clr", job).finish(summary_of(job, 1, 2, unclassified=unclassified))
        assert (tmp_path / "map.clr").read_text() == f"1 51 34 136\n2 136 204 238\n{more}"


def test_a_colour_map_is_written_on_request_only(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches())
    for name, output in (("a", {}), ("b", {"clr": str(tmp_path / "other.clr")}), ("c", {"clr": "none"})):
        report = run_config(config(path, tmp_path / f"{name}.tif", fit={"k": 3, "starts": 1}, output=output))
        assert ("clr" in report["outputs"]) is (name == "b")
    assert [file.name for file in tmp_path.glob("*.clr")] == ["other.clr"]
    assert len((tmp_path / "other.clr").read_text().splitlines()) == 3
