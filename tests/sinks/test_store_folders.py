"""Folders as outputs: which are replaced, how they are staged and renamed, and their digest."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import contents

from pipeline.core.errors import ConfigError, OutputError
from pipeline.engine.leftovers import ONLY_COPY, PREFIX
from pipeline.engine.work_folder import temporary_folder
from pipeline.sinks.staging import Staging
from pipeline.sinks.store_folders import STORE_MARK, output_digest, store_fault

MARK = json.dumps({STORE_MARK: "1.0"})
IN_FORMAT_3 = json.dumps({"zarr_format": 3, "attributes": {STORE_MARK: "1.0"}})

posix = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def make_store(path: Path, text: str) -> Path:
    """Make a folder that looks like a store of this program."""
    (path / "class").mkdir(parents=True)
    (path / ".zattrs").write_text(MARK)
    for name in ("0.0", "0.1"):
        (path / "class" / name).write_text(text)
    return path


def stage_map(folder: Path, *, overwrite: bool = False, then: Any = lambda: None) -> None:
    """Stage a store and a table, as a run would."""
    with Staging([folder / "map.zarr", folder / "map.csv"], overwrite=overwrite) as staging:
        make_store(staging.path(folder / "map.zarr"), "new")
        staging.path(folder / "map.csv").write_text("new")
        then()


def old_map(folder: Path) -> dict[str, bytes]:
    make_store(folder / "map.zarr", "old")
    (folder / "map.csv").write_text("old")
    return contents(folder)


NEW = {"map.csv": b"new", "map.zarr/.zattrs": MARK.encode(), "map.zarr/class/0.0": b"new", "map.zarr/class/0.1": b"new"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_store_appears_and_is_replaced_as_a_whole(tmp_path: Path, *, overwrite: bool) -> None:
    before = old_map(tmp_path) if overwrite else {}
    (tmp_path / "map.zarr" / "class" / "0.2").write_text("more") if overwrite else None
    seen: list[dict[str, bytes]] = []
    stage_map(tmp_path, overwrite=overwrite, then=lambda: seen.append(contents(tmp_path)))
    assert before.items() <= seen[0].items()
    assert contents(tmp_path) == NEW
    assert sorted(os.listdir(tmp_path)) == ["map.csv", "map.zarr"]  # noqa: PTH208 (hidden ones, too)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("turn", range(1, 7))
def test_an_error_during_the_renames_leaves_the_old_set_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: int, *, overwrite: bool
) -> None:
    before, calls = old_map(tmp_path) if overwrite else {}, []

    def failing(plain: Any) -> Any:
        def call(*args: Any, **how: Any) -> Any:
            calls.append(args)
            if len(calls) == turn:
                raise OSError(errno.EIO, "Input/output error")
            return plain(*args, **how)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "link"):
            patch.setattr(os, name, failing(getattr(os, name)))
        failed = False
        try:
            stage_map(tmp_path, overwrite=overwrite)
        except OutputError:
            failed = True
    found = contents(tmp_path)
    left = {name for name in found if name.startswith(PREFIX)}
    assert {name: found[name] for name in found.keys() - left} == (before if failed else NEW)
    assert not left or not failed, "only the removal of what was replaced may have failed"


def test_a_replaced_store_that_can_not_be_renamed_back_is_never_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_map(tmp_path)
    calls: list[object] = []
    plain = os.rename

    def fail_from_then_on(*args: Any, **how: Any) -> None:
        calls.append(args)
        if len(calls) > 1:
            raise OSError(errno.EROFS, "Read-only file system")
        plain(*args, **how)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail_from_then_on)
        patch.setattr(os, "replace", refuse)
        with pytest.raises(
            OutputError, match=r"these files are already those of the new run, unlike the others: .*zarr"
        ):
            stage_replacing(tmp_path)
    (only_copy,) = tmp_path.glob(f"{PREFIX}*/{ONLY_COPY}*")
    for _ in range(2):
        assert (only_copy / "class" / "0.0").read_text() == "old"
        with temporary_folder(tmp_path, ""):
            pass


def stage_replacing(folder: Path) -> None:
    with Staging([folder / "map.zarr"], overwrite=True) as staging:
        make_store(staging.path(folder / "map.zarr"), "new")


def test_all_files_and_folders_of_a_store_are_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    renamed: list[list[int]] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    plain = os.rename

    def rename(source: Any, target: Any, **how: Any) -> None:
        if Path(target) == tmp_path / "map.zarr":
            renamed.append(list(synced))
        plain(source, target, **how)

    monkeypatch.setattr(os, "rename", rename)
    stage_map(tmp_path)
    store = tmp_path / "map.zarr"
    files = {path.stat().st_ino for path in store.rglob("*") if path.is_file()}
    folders = {path.stat().st_ino for path in [store, store / "class"]}
    (before,) = renamed
    assert files <= set(before)
    assert os.name == "nt" or folders <= set(before)


def test_a_folder_that_appears_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    def somebody_writes() -> None:
        (tmp_path / "map.zarr").mkdir()
        (tmp_path / "map.zarr" / "thesis.txt").write_text("mine")

    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"map\.zarr: another program wrote this file during the run"):
            stage_map(tmp_path, overwrite=overwrite, then=somebody_writes)
        assert contents(tmp_path) == {"map.zarr/thesis.txt": b"mine"}
        shutil.rmtree(tmp_path / "map.zarr")


@posix
@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "pipe", "file", "folder"])
@pytest.mark.parametrize("name", ["class/0.2", "class/notes.txt", "x/my", "overview_2/class/c/0/mine"])
def test_a_store_with_anything_else_at_any_depth_is_not_replaced(tmp_path: Path, kind: str, name: str) -> None:
    old_map(tmp_path)
    mine, inside = tmp_path / "mine", tmp_path / "map.zarr" / name
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    inside.parent.mkdir(parents=True, exist_ok=True)
    make: dict[str, Callable[[], object]] = {
        "link to a folder": lambda: inside.symlink_to(mine),
        "link to a file": lambda: inside.symlink_to(mine / "thesis.txt"),
        "pipe": lambda: os.mkfifo(inside),
        "file": lambda: inside.write_text("mine"),
        "folder": inside.mkdir,
    }
    make[kind]()
    if (name, kind) == ("class/0.2", "file"):
        stage_map(tmp_path, overwrite=True)
        assert contents(tmp_path) == {**NEW, "mine/thesis.txt": b"years of work"}
        return
    with pytest.raises(ConfigError, match=f"this folder contains {name}, which Terrazzo did not write"):
        stage_map(tmp_path, overwrite=True)
    assert os.path.lexists(inside)
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["a.csv", "class/0.0", "inner.zarr"])
def test_no_output_is_written_into_a_store(tmp_path: Path, name: str) -> None:
    before = old_map(tmp_path)
    with pytest.raises(ConfigError, match=r"this is inside a Zarr store \(.*map\.zarr\), where only its own files"):
        Staging([tmp_path / "map.zarr" / name], overwrite=True).__enter__()
    assert contents(tmp_path) == before


FOREIGN: dict[str, tuple[dict[str, str], str]] = {
    "empty": ({}, "this folder is not a Zarr store that Terrazzo wrote, and is not replaced; use another name"),
    "other": ({".zattrs": "{}", ".zgroup": "{}"}, "this folder is not a Zarr store that Terrazzo wrote"),
    "broken": ({".zattrs": MARK[:-1]}, "this folder is not a Zarr store that Terrazzo wrote"),
    "nested": ({".zattrs": "[" * 100_000}, "this folder is not a Zarr store that Terrazzo wrote"),
    "list": ({".zattrs": "[]", "zarr.json": "{}"}, "this folder is not a Zarr store that Terrazzo wrote"),
    "number": ({".zattrs": json.dumps({STORE_MARK: 1})}, "this folder is not a Zarr store that Terrazzo wrote"),
    "large": ({".zattrs": MARK + " " * 17_000_000}, "this folder is not a Zarr store that Terrazzo wrote"),
    "inside": ({"class/.zattrs": MARK}, "this folder is not a Zarr store that Terrazzo wrote"),
    "more": ({".zattrs": MARK, "thesis.txt": "mine"}, "this folder contains thesis.txt, which Terrazzo did not write"),
    "array": ({".zattrs": MARK, "height/0.0": "mine"}, "this folder contains height, which Terrazzo did not write"),
    "ours": ({".zattrs": MARK, "class/0.0": "", "overview_2/class/0.0": "", "pam.aux.xml": ""}, ""),
    "ours3": ({"zarr.json": IN_FORMAT_3, "class/c/0/0": ""}, ""),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_this_program_did_not_write_is_refused_and_unchanged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "map.zarr"
    path.mkdir()
    files, message = FOREIGN[kind]
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    assert store_fault(path).startswith(message)
    if message:
        with pytest.raises(ConfigError, match=message):
            stage_map(tmp_path, overwrite=True)
        assert contents(path) == {name: text.encode() for name, text in files.items()}


@posix
def test_links_and_files_are_refused_where_a_store_should_be(tmp_path: Path) -> None:
    make_store(tmp_path / "behind.zarr", "old")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "behind.zarr")
    (tmp_path / "dangling.zarr").symlink_to(tmp_path / "none")
    (tmp_path / "file.zarr").write_text("mine")
    assert store_fault(tmp_path / "link.zarr") == store_fault(tmp_path / "dangling.zarr")
    assert store_fault(tmp_path / "link.zarr").startswith("this is a link, and is not replaced")
    assert store_fault(tmp_path / "file.zarr").startswith("this is no folder, and is not replaced")
    (tmp_path / "behind.zarr" / "x").symlink_to(tmp_path)
    assert store_fault(tmp_path / "behind.zarr").startswith("this folder contains x, which Terrazzo did not write")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipes.zarr").mkdir()
    (tmp_path / "pipe").rename(tmp_path / "pipes.zarr" / ".zattrs")
    assert store_fault(tmp_path / "pipes.zarr").startswith("this folder is not a Zarr store that Terrazzo wrote")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="the system has no sha256sum")
def test_the_digest_is_that_of_a_sorted_list_of_sha256sum(tmp_path: Path) -> None:
    store = make_store(tmp_path / "map.zarr", "labels")
    (store / "with space").write_text("x")
    listing = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    done = subprocess.run(["sh", "-c", listing], cwd=store, capture_output=True, text=True, check=True)  # noqa: S607
    assert output_digest(store) == done.stdout.split()[0]
    (store / "class" / "0.0").rename(store / "class" / "1.0")
    assert output_digest(store) != done.stdout.split()[0]
