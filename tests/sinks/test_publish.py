"""Outputs are written through to the disk, then renamed as a set: all of them, or none after an error."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import snapshot, stage

from pipeline.core.errors import OutputError
from pipeline.engine.leftovers import PREFIX
from pipeline.engine.work_folder import temporary_folder
from pipeline.sinks.publish import foreign_sidecars
from pipeline.sinks.staging import Staging

TARGETS = ("map.tif", "map.tif.aux.xml", "map.csv", "map.png", "map.model.json")
SIDECARS = ("map.tif.msk", "map.tif.ovr")


def old_set(folder: Path) -> dict[str, str]:
    """Write the outputs of an earlier run, and return the contents of the folder."""
    for name in (*TARGETS, *SIDECARS):
        (folder / name).write_text(f"old {name}")
    return snapshot(folder)


def new_set() -> dict[str, str]:
    return {name: name for name in TARGETS}


def hooked(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[..., None]) -> None:
    """Call `before` before each call of a function of `os`."""
    plain = getattr(os, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        before(*args)
        return plain(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


def failing(monkeypatch: pytest.MonkeyPatch, turn: int, names: tuple[str, ...] = ("replace", "link", "rename")) -> None:
    """Let one call of the functions that rename or link files fail."""
    calls = []

    def fail(*_: Any) -> None:
        calls.append(1)
        if len(calls) == turn:
            raise OSError(errno.EIO, "Input/output error")

    for name in names:
        hooked(monkeypatch, name, fail)


@pytest.mark.skipif(os.name == "nt", reason="folders can't be written through on Windows")
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_are_synced_before_they_are_renamed_and_their_folders_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, overwrite: bool
) -> None:
    """Otherwise a power cut right after a run leaves empty files under their final names."""
    if overwrite:
        old_set(tmp_path)
    (tmp_path / "other").mkdir()
    targets = [*(tmp_path / name for name in TARGETS), tmp_path / "other" / "report.json"]
    synced: list[int] = []
    renamed: dict[int, list[int]] = {}
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))

    def note(source: Any, target: Any) -> None:
        if Path(target) in targets:
            renamed[Path(source).stat().st_ino] = list(synced)

    hooked(monkeypatch, "replace", note)
    hooked(monkeypatch, "link", note)
    stage(targets, overwrite=overwrite)
    assert set(renamed) == {target.stat().st_ino for target in targets}
    for inode, before in renamed.items():
        assert inode in before
    assert {tmp_path.stat().st_ino, (tmp_path / "other").stat().st_ino} <= set(synced)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_while_files_are_synced_leaves_the_old_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some disks report only then that they are full."""
    before = old_set(tmp_path)

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"map\S*: the finished file can't be written to the disk \("):
        stage([tmp_path / name for name in TARGETS], overwrite=True)
    assert snapshot(tmp_path) == before


def test_a_file_system_without_fsync_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    stage([tmp_path / name for name in TARGETS])
    assert snapshot(tmp_path) == new_set()


def test_the_map_is_renamed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []
    hooked(monkeypatch, "link", lambda _, target: named.append(Path(target).name))
    stage([tmp_path / name for name in TARGETS])
    assert named[-1] == "map.tif"
    assert set(named) == set(TARGETS)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("turn", range(1, 16))
def test_an_error_during_the_renames_undoes_those_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int, *, overwrite: bool
) -> None:
    """Any of the calls may fail: the set is the old one or the new one. A failing link is replaced by a rename."""
    before = old_set(tmp_path) if overwrite else {}
    targets = [tmp_path / name for name in TARGETS]
    with monkeypatch.context() as patch:
        failing(patch, turn)
        failed = False
        try:
            stage(targets, overwrite=overwrite)
        except OutputError:
            failed = True
        assert snapshot(tmp_path) == (before if failed else new_set())
    stage(targets, overwrite=True)
    assert snapshot(tmp_path) == new_set()


@pytest.mark.parametrize("turn", [2, 5, 7])
def test_an_error_during_the_renames_on_a_disk_without_links_undoes_those_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    before = old_set(tmp_path)

    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        hooked(patch, "link", refuse)
        failing(patch, turn, ("replace", "rename"))
        with pytest.raises(OutputError, match="can't be renamed to this"):
            stage([tmp_path / name for name in TARGETS], overwrite=True)
        assert snapshot(tmp_path) == before
        stage([tmp_path / name for name in TARGETS], overwrite=True)
    assert snapshot(tmp_path) == new_set()


def test_on_a_disk_without_links_a_replaced_file_is_never_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither if it can't be renamed back, nor when the next run removes leftovers."""
    (tmp_path / "map.tif").write_text("old")

    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        hooked(patch, "link", refuse)
        hooked(patch, "replace", refuse)
        with pytest.raises(OutputError, match=r"map\.tif: the finished file can't be renamed to this"):
            stage([tmp_path / "map.tif"], overwrite=True)
    (only_copy,) = tmp_path.glob(f"{PREFIX}*/only-copy-*")
    assert only_copy.read_text() == "old"
    with temporary_folder(tmp_path, ""):
        assert only_copy.read_text() == "old"
    assert only_copy.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="permissions of folders are POSIX's")
def test_a_folder_that_may_not_be_listed_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.open

    def refuse(path: Any, flags: int, *args: Any, **how: Any) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return plain(path, flags, *args, **how)

    monkeypatch.setattr(os, "open", refuse)
    stage([tmp_path / name for name in TARGETS])
    assert snapshot(tmp_path) == new_set()


def test_files_whose_rename_can_not_be_undone_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_set(tmp_path)
    calls = []

    def fail_from_then_on(*_: Any) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.EROFS, "Read-only file system")

    hooked(monkeypatch, "replace", fail_from_then_on)
    with pytest.raises(
        OutputError,
        match=r"map\.csv: .*Read-only.*these files are already those .*: .*map\.png, .*\.json$",
    ):
        stage([tmp_path / name for name in TARGETS], overwrite=True)


def test_a_replaced_link_is_restored_as_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = old_set(tmp_path)
    (tmp_path / "map.model.json").rename(tmp_path / "behind.json")
    (tmp_path / "map.model.json").symlink_to("behind.json")
    failing(monkeypatch, 4, ("replace",))
    with pytest.raises(OutputError):
        stage([tmp_path / name for name in TARGETS], overwrite=True)
    assert (tmp_path / "map.model.json").readlink() == Path("behind.json")
    assert snapshot(tmp_path) == before | {"behind.json": before["map.model.json"]}


def test_a_file_of_another_run_is_not_removed_by_the_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run writes one of the files during the renames."""
    foreign = tmp_path / "map.model.json"

    def replace_it(_: Any, target: Any) -> None:
        if Path(target).name == "map.csv":
            foreign.unlink()
            foreign.write_text("foreign")
            raise OSError(errno.EEXIST, "File exists")

    hooked(monkeypatch, "link", replace_it)
    with pytest.raises(OutputError, match=r"map\.csv: another program wrote this file during the run"):
        stage([tmp_path / name for name in TARGETS])
    assert snapshot(tmp_path) == {"map.model.json": "foreign"}


def test_only_sidecar_files_of_a_map_are_removed_with_it(tmp_path: Path) -> None:
    """GDAL reads no sidecar files of a table or a report, so these may be the user's own files."""
    foreign = ["map.csv.ovr", "map.csv.msk", "map.model.json.aux.xml", "map.png.aux.xml"]
    before = old_set(tmp_path)
    for name in foreign:
        (tmp_path / name).write_text("mine")
    (tmp_path / "map.tif.msk").unlink()
    (tmp_path / "map.tif.msk").mkdir()
    stage([tmp_path / name for name in TARGETS], overwrite=True)
    assert set(before) == {*TARGETS, *SIDECARS}
    assert snapshot(tmp_path) == new_set() | dict.fromkeys(foreign, "mine")
    assert stat.S_ISDIR((tmp_path / "map.tif.msk").stat().st_mode)


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX's")
def test_files_that_appear_during_the_run_are_not_replaced(tmp_path: Path) -> None:
    before = old_set(tmp_path)
    (tmp_path / "map.csv").unlink()
    del before["map.csv"]
    with pytest.raises(OutputError, match=r"map\.csv: another program wrote this file during the run"):
        stage([tmp_path / name for name in TARGETS], overwrite=True, then=lambda: os.mkfifo(tmp_path / "map.csv"))
    assert snapshot(tmp_path) == before
    for name in TARGETS:
        (tmp_path / name).unlink(missing_ok=True)
    for name in SIDECARS:
        (tmp_path / name).unlink()
    with pytest.raises(OutputError, match=r"map\.tif\.ovr: another program wrote this file during the run"):
        stage([tmp_path / name for name in TARGETS], then=lambda: (tmp_path / "map.tif.ovr").write_text("foreign"))
    assert snapshot(tmp_path) == {"map.tif.ovr": "foreign"}


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_that_changes_during_the_run_does_not_move_the_outputs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")

    def move() -> None:
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("two")

    with Staging([tmp_path / "link" / "map.tif"], overwrite=True) as staging:
        move()
        staging.path(tmp_path / "link" / "map.tif").write_text("new")
    assert snapshot(tmp_path) == {"one/map.tif": "new"}
    assert not list(tmp_path.glob(f"*/{PREFIX}*"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_sidecar_file_of_a_run_is_not_removed_with_the_old_map(tmp_path: Path, *, overwrite: bool) -> None:
    if overwrite:
        old_set(tmp_path)
    stage([tmp_path / name for name in TARGETS], overwrite=overwrite)
    assert snapshot(tmp_path) == new_set()
    stage([tmp_path / name for name in TARGETS if name != "map.tif.aux.xml"], overwrite=True)
    assert snapshot(tmp_path) == {name: name for name in TARGETS if name != "map.tif.aux.xml"}, "it was the old map's"
    (tmp_path / "map.tif").unlink()
    (tmp_path / "map.tif.aux.xml").write_text("stale")
    with pytest.raises(OutputError, match=r"map\.tif\.aux\.xml: the file exists already"):
        stage([tmp_path / name for name in TARGETS[:2]])
    stage([tmp_path / name for name in TARGETS[:2]], overwrite=True)
    assert (tmp_path / "map.tif.aux.xml").read_text() == "map.tif.aux.xml"


def test_a_sidecar_file_is_the_runs_own_in_any_case_where_the_disk_ignores_case(tmp_path: Path) -> None:
    """There a path in capitals leads to the same file, as a hard link does here."""
    own, capitals = tmp_path / "map.tif.aux.xml", tmp_path / "map.tif.AUX.XML"
    own.write_text("own")
    capitals.hardlink_to(own)
    assert foreign_sidecars(tmp_path / "map.tif", [tmp_path / "map.tif", own]) == []
    capitals.unlink()
    capitals.write_text("of another program")
    assert foreign_sidecars(tmp_path / "map.tif", [tmp_path / "map.tif", own]) == [capitals]
    assert foreign_sidecars(tmp_path / "map.tif", [tmp_path / "map.tif"]) == [own, capitals]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_sidecar_file_without_its_map_is_refused_and_not_removed(tmp_path: Path, *, overwrite: bool) -> None:
    (tmp_path / "map.tif.ovr").write_text("mine")
    (tmp_path / "map.csv.ovr").write_text("mine")
    with pytest.raises(OutputError, match=r"map\.tif: GDAL would read \S*map\.tif\.ovr as part of this map"):
        stage([tmp_path / "map.tif", tmp_path / "map.csv"], overwrite=overwrite)
    stage([tmp_path / "map.csv"], overwrite=overwrite)
    assert snapshot(tmp_path) == {"map.tif.ovr": "mine", "map.csv.ovr": "mine", "map.csv": "map.csv"}
