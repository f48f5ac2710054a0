"""Temporary folders of killed runs of this program and user are removed, and nothing else; links are not followed."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runs import killed_run

import pipeline.engine.owner_mark as marks_module
from pipeline.engine.leftovers import PREFIX, STORE, remove_leftovers
from pipeline.engine.owner_mark import MARK, Owner
from pipeline.engine.work_folder import temporary_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal, links need a right")


def user_folder(folder: Path) -> Path:
    """A folder of the user's own files."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    (folder / "below").mkdir()
    (folder / "below" / "data.txt").write_text("more")
    return folder


def test_a_link_with_the_prefix_is_not_followed(tmp_path: Path) -> None:
    """Regression: a run deleted all files in the target folder of the link."""
    files = user_folder(tmp_path / "mine")
    marked = user_folder(tmp_path / "marked")
    (marked / MARK).write_bytes(Owner.current(locks=True).text())
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{PREFIX}x").symlink_to(files)
    (out / f"{PREFIX}y").symlink_to(marked)
    remove_leftovers(out)
    with temporary_folder(out, ""):
        pass
    assert (files / "thesis.txt").read_text() == (marked / "thesis.txt").read_text() == "years of work"
    assert (out / f"{PREFIX}x").is_symlink()


def test_links_in_a_leftover_are_removed_but_not_their_targets(tmp_path: Path) -> None:
    files = user_folder(tmp_path / "mine")
    left = killed_run(tmp_path)
    (left / "link").symlink_to(files)
    (left / "file").symlink_to(files / "thesis.txt")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert (files / "thesis.txt").read_text() == "years of work"
    assert (files / "below" / "data.txt").exists()


def test_a_leftover_that_contains_a_folder_is_not_removed(tmp_path: Path) -> None:
    """No run creates folders there, so it may be the mount point of another disk."""
    left = killed_run(tmp_path)
    (left / "below").mkdir()
    (left / "below" / "thesis.txt").write_text("years of work")
    with temporary_folder(tmp_path, ""):
        pass
    assert (left / "below" / "thesis.txt").exists()
    assert (left / "pixels").exists()


def test_an_unfinished_output_that_is_a_folder_is_removed_without_following_links(tmp_path: Path) -> None:
    files = user_folder(tmp_path / "mine")
    left = killed_run(tmp_path)
    (left / f"{STORE}0.zarr" / "class").mkdir(parents=True)
    (left / f"{STORE}0.zarr" / "class" / "0.0").write_text("labels")
    (left / f"{STORE}0.zarr" / "class" / "link").symlink_to(files)
    (left / f"{STORE}link").symlink_to(files)
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert (files / "below" / "data.txt").read_text() == "more"


def test_folders_that_are_nested_deeper_than_an_output_are_not_removed(tmp_path: Path) -> None:
    left = killed_run(tmp_path)
    deepest = left.joinpath(f"{STORE}0.zarr", *"abcdefghij")
    deepest.mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert deepest.exists()


def test_a_copy_of_the_folder_of_a_living_run_is_not_removed(tmp_path: Path) -> None:
    import shutil

    with temporary_folder(tmp_path, "") as own:
        shutil.copytree(own, tmp_path / f"{PREFIX}copy")
        (tmp_path / f"{PREFIX}copy" / "precious").write_text("mine")
        remove_leftovers(tmp_path)
        assert (tmp_path / f"{PREFIX}copy" / "precious").read_text() == "mine"


@pytest.mark.parametrize("hard", [False, True])
def test_a_folder_whose_mark_is_a_link_is_not_removed(tmp_path: Path, *, hard: bool) -> None:
    folder = user_folder(tmp_path / f"{PREFIX}victim")
    elsewhere = tmp_path / "mark"
    elsewhere.write_bytes(Owner.current(locks=True).text())
    if hard:
        (folder / MARK).hardlink_to(elsewhere)
    else:
        (folder / MARK).symlink_to(elsewhere)
    remove_leftovers(tmp_path)
    assert (folder / "thesis.txt").exists()


def test_a_folder_whose_mark_is_a_pipe_or_folder_is_not_removed(tmp_path: Path) -> None:
    pipe, folder = user_folder(tmp_path / f"{PREFIX}pipe"), user_folder(tmp_path / f"{PREFIX}folder")
    os.mkfifo(pipe / MARK)
    (folder / MARK).mkdir()
    remove_leftovers(tmp_path)
    assert (pipe / "thesis.txt").exists()
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"anything",
        b"{}",
        b"[]",
        b'{"program": "another"}',
        json.dumps({"program": marks_module._PROGRAM}).encode(),
        Owner.current(locks=True).text().replace(b"true", b'"yes"'),
        b"[" * 3000,
    ],
)
def test_a_folder_whose_mark_has_other_content_is_not_removed(tmp_path: Path, content: bytes) -> None:
    folder = user_folder(tmp_path / f"{PREFIX}victim")
    (folder / MARK).write_bytes(content)
    remove_leftovers(tmp_path)
    assert (folder / "thesis.txt").exists()


@pytest.mark.parametrize("whose", ["folder", "mark"])
def test_folders_and_marks_of_another_user_are_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    left = killed_run(tmp_path)
    if os.geteuid() == 0:
        os.chown(left if whose == "folder" else left / MARK, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    remove_leftovers(tmp_path)
    assert (left / "pixels").exists()


def test_a_file_with_the_prefix_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}notes").write_text("mine")
    os.mkfifo(tmp_path / f"{PREFIX}pipe")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("other", [{"host": "another"}, {"session": "another"}, {"container": "another"}])
def test_locks_decide_for_other_containers_and_boots_of_this_machine(tmp_path: Path, other: dict[str, str]) -> None:
    left = killed_run(tmp_path)
    change_mark(left, **other)
    remove_leftovers(tmp_path)
    assert not left.exists()


FULL = """
import resource, sys
from pathlib import Path
from pipeline.core.errors import OutputError
from pipeline.engine.work_folder import temporary_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with temporary_folder(Path(sys.argv[1]), "make room"):
        pass
except OutputError as error:
    assert "can't create a temporary folder here" in str(error), error
    raise SystemExit(7)
"""


@pytest.mark.parametrize("room", [0, 20])
def test_on_a_full_disk_no_incomplete_folder_remains(tmp_path: Path, room: int) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(room)], capture_output=True, check=False)
    assert done.returncode == 7, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_run_killed_before_marking_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}empty").mkdir()
    (tmp_path / f"{PREFIX}marking").mkdir()
    (tmp_path / f"{PREFIX}marking" / MARK).touch()
    for length in (1, 30, 150):
        (tmp_path / f"{PREFIX}{length}").mkdir()
        (tmp_path / f"{PREFIX}{length}" / MARK).write_bytes(Owner.current(locks=True).text()[:length])
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_file_locks_the_process_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Regression: on such file systems leftovers were never removed."""

    def refuse(*_: Any) -> None:
        raise OSError(number, "locks")

    left = killed_run(tmp_path, number)
    with monkeypatch.context() as patch:
        patch.setattr(marks_module.fcntl, "flock", refuse)
        with temporary_folder(tmp_path, "") as own:
            assert not left.exists()
            remove_leftovers(tmp_path)
            assert own.exists(), "the folder of a living process"
    left = killed_run(tmp_path, number)
    remove_leftovers(tmp_path)  # locks are available now
    assert not left.exists()


def change_mark(folder: Path, **other: Any) -> None:
    """Change fields of the mark of a folder."""
    fields = json.loads((folder / MARK).read_bytes())
    (folder / MARK).write_text(json.dumps(fields | other))


def test_a_reused_process_number_does_not_protect_a_leftover(tmp_path: Path) -> None:
    left = killed_run(tmp_path, errno.ENOLCK)
    change_mark(left, process=os.getppid(), started="1")
    remove_leftovers(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("locks", "other"),
    [
        (False, {"host": "another"}),
        (False, {"session": "another"}),
        (False, {"container": "another"}),
        (True, {"host": "another", "session": "another"}),
    ],
)
def test_folders_of_another_machine_with_invisible_locks_are_removed_after_a_month(
    tmp_path: Path, other: dict[str, str], *, locks: bool
) -> None:
    left = killed_run(tmp_path, *([] if locks else [errno.ENOLCK]))
    change_mark(left, **other)
    remove_leftovers(tmp_path)
    assert left.exists()
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(left / MARK, (month_ago, month_ago))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_a_kill_while_folders_are_checked_leaves_only_what_the_next_run_removes(tmp_path: Path) -> None:
    """Regression: the plan checked folders by writing a file, which a kill left behind."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.sinks.staging import check_writable\n"
        "sys.addaudithook(lambda event, args: os.kill(os.getpid(), 9) if event == sys.argv[2] else None)\n"
        "check_writable([Path(sys.argv[1]) / 'map.tif'])"
    )
    for event in ("os.remove", "os.rmdir"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), event], check=False)
        assert list(tmp_path.iterdir())
        with temporary_folder(tmp_path, ""):
            pass
        assert list(tmp_path.iterdir()) == []
