"""Outputs appear all together after a run without errors; otherwise none of them is left."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import EOPNOTSUPP
from pathlib import Path
from threading import Barrier

import pytest
from runs import snapshot, stage

from pipeline.core.errors import ConfigError, OutputError
from pipeline.sinks.staging import Staging, check_free_space, keep_apart

ROOT_WRITES_ANYWHERE = hasattr(os, "geteuid") and os.geteuid() == 0


def interrupt(error: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_files_appear_only_when_all_are_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    targets = [tmp_path / "map.tif", tmp_path / "map.csv", tmp_path / "folder" / "map.tif"]
    stage(targets, then=lambda: [pytest.fail(f"{target} exists too early") for target in targets if target.exists()])
    assert snapshot(tmp_path) == {"map.tif": "map.tif", "map.csv": "map.csv", "folder/map.tif": "map.tif"}


def test_an_old_file_is_unchanged_until_the_new_one_replaces_it(tmp_path: Path) -> None:
    old, new = tmp_path / "map.tif", tmp_path / "map.csv"
    old.write_text("old")
    seen = []
    stage([old, new], overwrite=True, then=lambda: seen.append(old.read_text()))
    assert seen == ["old"]
    assert snapshot(tmp_path) == {"map.tif": "map.tif", "map.csv": "map.csv"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OutputError])
def test_an_error_leaves_no_new_file_and_changes_no_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    targets = [tmp_path / "map.tif", tmp_path / "map.csv"]
    targets[0].write_text("old")
    before = snapshot(tmp_path)
    with pytest.raises(error):
        stage(targets, overwrite=True, then=interrupt(error))
    assert snapshot(tmp_path) == before


def leave_out(folder: Path, *, overwrite: bool, then: Callable[[], None] = lambda: None) -> None:
    """Write map.tif and leave out map.json."""
    with Staging([folder / "map.tif", folder / "map.json"], overwrite=overwrite) as staging:
        staging.path(folder / "map.tif").write_text("new")
        staging.leave_out(folder / "map.json")
        then()


def test_what_an_earlier_run_wrote_to_a_target_that_is_left_out_is_removed_with_the_set(tmp_path: Path) -> None:
    for name in ("map.tif", "map.json"):
        (tmp_path / name).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        leave_out(tmp_path, overwrite=True, then=interrupt(KeyboardInterrupt))
    assert snapshot(tmp_path) == {"map.tif": "old", "map.json": "old"}
    leave_out(tmp_path, overwrite=True)
    assert snapshot(tmp_path) == {"map.tif": "new"}
    leave_out(tmp_path, overwrite=True)
    assert snapshot(tmp_path) == {"map.tif": "new"}


def test_a_target_that_is_left_out_is_not_removed_if_it_may_not_be_replaced_or_a_rename_fails(tmp_path: Path) -> None:
    leave_out(tmp_path, overwrite=False, then=lambda: bool((tmp_path / "map.json").write_text("another's")) and None)
    assert snapshot(tmp_path) == {"map.tif": "new", "map.json": "another's"}
    (tmp_path / "map.tif").unlink()
    with pytest.raises(OutputError, match=r"map\.tif"):
        leave_out(tmp_path, overwrite=True, then=(tmp_path / "map.tif").mkdir)
    assert (tmp_path / "map.json").read_text() == "another's"


def test_an_output_that_is_not_written_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("old")
    with Staging([tmp_path / "map.tif", tmp_path / "map.csv"], overwrite=True) as staging:
        staging.path(tmp_path / "map.tif").write_text("new")
    assert snapshot(tmp_path) == {"map.tif": "new", "map.csv": "old"}


def test_a_file_that_another_program_writes_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    with pytest.raises(OutputError, match=r"map\.tif"):
        stage([target], then=lambda: target.write_text("foreign"))
    assert snapshot(tmp_path) == {"map.tif": "foreign"}


SIDECARS = ["map.tif.aux.xml", "map.tif.ovr", "map.tif.msk"]  # files that GDAL reads as part of map.tif


def test_sidecar_files_are_removed_with_a_map_only_when_it_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    for name in ["map.tif", *SIDECARS, "other.tif.ovr"]:
        (tmp_path / name).write_text("old")
    before = snapshot(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stage([target], overwrite=True, then=interrupt(KeyboardInterrupt))
    assert snapshot(tmp_path) == before
    stage([target], overwrite=True)
    assert snapshot(tmp_path) == {"map.tif": "map.tif", "other.tif.ovr": "old"}


def test_a_file_of_the_scene_is_never_replaced_by_any_path_to_it(tmp_path: Path) -> None:
    scene = tmp_path / "scene.tif"
    scene.write_text("scene")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "link.tif").symlink_to(scene)
    for target in (scene, tmp_path / "link" / "scene.tif", tmp_path / "link.tif"):
        targets, inputs = {"table": tmp_path / "map.csv", "map": target}, {"other.tif": "mask", str(scene): "scene"}
        with pytest.raises(ConfigError, match=rf"^map: {target}: this file is an input \(scene\), which is never"):
            keep_apart(targets, inputs)
    keep_apart({"map": tmp_path / "map.tif"}, {str(scene): "scene", "/vsizip/x.zip/map.tif": "scene"})
    assert snapshot(tmp_path)["scene.tif"] == "scene"


def test_two_runs_with_the_same_target_have_different_temporary_files(tmp_path: Path) -> None:
    target = tmp_path / "map.tif"
    with Staging([target], overwrite=False) as one, Staging([target], overwrite=False) as other:
        assert one.path(target) != other.path(target)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["old.tif"], r"old\.tif: the file exists already; allow overwriting"),
        (["new.tif", "old.tif"], r"old\.tif: the file exists already"),
        (["none/map.tif"], r"map\.tif: the folder .*none does not exist"),
        (["old.tif/map.tif"], r"map\.tif: the folder .*old\.tif does not exist"),
        (["folder"], r"folder: this is a folder; give the path of a file in it"),
        (["map.tif", "map.csv", "map.tif"], r"map\.tif: two outputs have this name"),
        (["map.tif", "folder/../map.tif"], r"map\.tif: two outputs have this name"),
        (["m" * 260 + ".tif"], r"m{260}\.tif: "),
    ],
)
def test_outputs_that_can_not_be_written_are_refused_before_any_work(
    tmp_path: Path, names: list[str], message: str
) -> None:
    (tmp_path / "old.tif").write_text("old")
    (tmp_path / "folder").mkdir()
    began = []
    with pytest.raises((OutputError, ConfigError), match=message):
        stage([tmp_path / name for name in names], then=lambda: began.append(1))
    assert not began
    assert snapshot(tmp_path) == {"old.tif": "old"}


def test_a_folder_is_refused_as_output_even_with_overwrite(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a folder"):
        stage([tmp_path], overwrite=True)


def test_a_relative_and_an_absolute_path_of_one_file_are_the_same_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="two outputs have this name"):
        stage([Path("map.tif"), tmp_path / "map.tif"])


@pytest.mark.skipif(ROOT_WRITES_ANYWHERE, reason="the superuser may write into any folder")
def test_a_read_only_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OutputError, match=r"map\.tif: the folder .* can't be written to"):
            stage([tmp_path / "map.tif"])
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("length", [200, 240, 245, 251])
def test_a_name_that_passes_the_check_can_be_written(tmp_path: Path, length: int) -> None:
    target = tmp_path / ("m" * (length - 4) + ".tif")
    target.write_text("old")  # the file system allows the name
    try:
        staging = Staging([target], overwrite=True).__enter__()
    except OutputError:
        return  # refused before any work, which is also correct
    staging.path(target).write_text("new")
    staging.__exit__(None, None, None)
    assert target.read_text() == "new"


def test_a_rename_that_fails_names_the_file_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.tif", "b.tif", "c.tif"))
    with pytest.raises(OutputError, match=r"b\.tif"):
        stage([first, second, third], then=second.mkdir)  # a folder of that name is made during the run
    assert set(snapshot(tmp_path)) <= {"a.tif"}  # complete, as it was renamed before; or none


def test_the_error_for_a_full_disk_names_the_numbers_and_the_fix(tmp_path: Path) -> None:
    check_free_space(tmp_path, 0, "make room")
    with pytest.raises(
        OutputError, match=r"needs 1,000,000,000,000\.00 MB of disk space, but [\d,]+\.\d\d MB are free; buy another$"
    ):
        check_free_space(tmp_path, 10**18, "buy another")


def test_only_one_of_several_runs_that_end_at_once_writes_its_output(tmp_path: Path) -> None:
    target, gate = tmp_path / "map.tif", Barrier(8)

    def run(_number: int) -> bool:
        try:
            stage([target], then=gate.wait)
        except OutputError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(run, range(8))) == 1
    assert snapshot(tmp_path) == {"map.tif": "map.tif"}


@pytest.mark.parametrize("exists", [False, True])
def test_a_file_system_without_links_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    target = tmp_path / "map.tif"
    if exists:
        with pytest.raises(OutputError, match="another program wrote this file"):
            stage([target], then=lambda: target.write_text("foreign"))
    else:
        stage([target])
    assert snapshot(tmp_path) == {"map.tif": "foreign" if exists else "map.tif"}


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("dangling", [False, True])
def test_an_output_that_is_a_link_is_refused_or_replaced_itself(tmp_path: Path, *, dangling: bool) -> None:
    target, behind = tmp_path / "map.tif", tmp_path / "behind.tif"
    if not dangling:
        behind.write_text("old")
    target.symlink_to(behind)
    with pytest.raises(OutputError, match="exists already"), Staging([target], overwrite=False):
        pytest.fail("the work began")
    stage([target], overwrite=True)
    assert target.read_text() == "map.tif"
    assert not list(tmp_path.glob(".terrazzo-*"))
