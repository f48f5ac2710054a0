"""What killed runs of this program and user left is removed, and nothing else: no link is followed."""

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

import pipeline.engine.leftovers as leftovers_module
import pipeline.engine.owner_mark as marks_module
from pipeline.engine.leftovers import PREFIX, remove_leftovers
from pipeline.engine.owner_mark import MARK, Owner
from pipeline.engine.work_folder import temporary_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal, links need a right")


def foreign(folder: Path) -> Path:
    """Somebody's folder of files."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    (folder / "below").mkdir()
    (folder / "below" / "data.txt").write_text("more")
    return folder


def test_a_link_with_such_a_name_is_not_followed(tmp_path: Path) -> None:
    """It made a run delete every file of the folder it led to."""
    mine = foreign(tmp_path / "mine")
    marked = foreign(tmp_path / "marked")
    (marked / MARK).write_bytes(Owner.this(locks=True).text())
    out = tmp_path / "out"
    out.mkdir()
    (out / f"{PREFIX}x").symlink_to(mine)
    (out / f"{PREFIX}y").symlink_to(marked)
    remove_leftovers(out)
    with temporary_folder(out, ""):
        pass
    assert (mine / "thesis.txt").read_text() == (marked / "thesis.txt").read_text() == "years of work"
    assert (out / f"{PREFIX}x").is_symlink()


def test_links_within_a_leftover_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    mine = foreign(tmp_path / "mine")
    left = killed_run(tmp_path)
    (left / "link").symlink_to(mine)
    (left / "file").symlink_to(mine / "thesis.txt")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert (mine / "below" / "data.txt").exists()


def test_a_leftover_with_a_folder_in_it_is_not_touched(tmp_path: Path) -> None:
    """No run makes any, and another disk may be mounted there; nor does a very deep one end the next run."""
    left = killed_run(tmp_path)
    (left / "below").mkdir()
    (left / "below" / "thesis.txt").write_text("years of work")
    with temporary_folder(tmp_path, ""):
        pass
    assert (left / "below" / "thesis.txt").exists()
    assert (left / "pixels").exists()


def test_a_copy_of_a_living_runs_folder_stays(tmp_path: Path) -> None:
    import shutil

    with temporary_folder(tmp_path, "") as own:
        shutil.copytree(own, tmp_path / f"{PREFIX}copy")
        (tmp_path / f"{PREFIX}copy" / "precious").write_text("mine")
        remove_leftovers(tmp_path)
        assert (tmp_path / f"{PREFIX}copy" / "precious").read_text() == "mine"


@pytest.mark.parametrize("hard", [False, True])
def test_a_mark_that_is_a_link_marks_nothing(tmp_path: Path, *, hard: bool) -> None:
    victim = foreign(tmp_path / f"{PREFIX}victim")
    elsewhere = tmp_path / "mark"
    elsewhere.write_bytes(Owner.this(locks=True).text())
    if hard:
        (victim / MARK).hardlink_to(elsewhere)
    else:
        (victim / MARK).symlink_to(elsewhere)
    remove_leftovers(tmp_path)
    assert (victim / "thesis.txt").exists()


def test_a_pipe_or_a_folder_as_mark_marks_nothing_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe, folder = foreign(tmp_path / f"{PREFIX}pipe"), foreign(tmp_path / f"{PREFIX}folder")
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
        Owner.this(locks=True).text().replace(b"true", b'"yes"'),
        Owner.this(locks=True).text().replace(str(os.getpid()).encode(), b"1" * 30),
        b"[" * 3000,
    ],
)
def test_a_mark_with_another_content_marks_nothing(tmp_path: Path, content: bytes) -> None:
    victim = foreign(tmp_path / f"{PREFIX}victim")
    (victim / MARK).write_bytes(content)
    remove_leftovers(tmp_path)
    assert (victim / "thesis.txt").exists()


@pytest.mark.parametrize("whose", ["folder", "mark"])
def test_what_is_somebody_elses_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    left = killed_run(tmp_path)
    if os.geteuid() == 0:
        os.chown(left if whose == "folder" else left / MARK, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    remove_leftovers(tmp_path)
    assert (left / "pixels").exists()


def test_a_file_with_such_a_name_stays(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}notes").write_text("mine")
    os.mkfifo(tmp_path / f"{PREFIX}pipe")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("other", [{"host": "another"}, {"session": "another"}, {"container": "another"}])
def test_locks_tell_of_other_containers_and_starts_of_this_machine(tmp_path: Path, other: dict[str, str]) -> None:
    left = killed_run(tmp_path)
    mark_of(left, **other)
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
    assert "no folder for temporary files can be made here" in str(error), error
    raise SystemExit(7)
"""


@pytest.mark.parametrize("room", [0, 20])
def test_on_a_full_disk_no_folder_is_left_half_made(tmp_path: Path, room: int) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), str(room)], capture_output=True, check=False)
    assert done.returncode == 7, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_was_killed_before_it_was_marked_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}empty").mkdir()
    (tmp_path / f"{PREFIX}marking").mkdir()
    (tmp_path / f"{PREFIX}marking" / MARK).touch()
    for length in (1, 30, 150):
        (tmp_path / f"{PREFIX}{length}").mkdir()
        (tmp_path / f"{PREFIX}{length}" / MARK).write_bytes(Owner.this(locks=True).text()[:length])
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_files_can_not_be_locked_the_process_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nothing that was left there was ever removed."""

    def refuse(_: Any) -> None:
        raise OSError(number, "locks")

    left = killed_run(tmp_path, number)
    with monkeypatch.context() as patch:
        patch.setattr(marks_module, "take_lock", refuse)
        patch.setattr(leftovers_module, "take_lock", refuse)
        with temporary_folder(tmp_path, "") as own:
            assert not left.exists()
            remove_leftovers(tmp_path)
            assert own.exists(), "of a living process"
    left = killed_run(tmp_path, number)
    remove_leftovers(tmp_path)  # locks can be had now
    assert not left.exists()


def mark_of(folder: Path, **other: Any) -> None:
    """Change what the mark of a folder says of its maker."""
    said = json.loads((folder / MARK).read_bytes())
    (folder / MARK).write_text(json.dumps(said | other))


def test_a_process_that_took_the_number_of_a_killed_one_keeps_nothing(tmp_path: Path) -> None:
    left = killed_run(tmp_path, errno.ENOLCK)
    mark_of(left, process=os.getppid(), started="1")
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
def test_what_another_machine_keeps_stays_a_month_where_its_locks_may_not_be_seen(
    tmp_path: Path, other: dict[str, str], *, locks: bool
) -> None:
    left = killed_run(tmp_path, *([] if locks else [errno.ENOLCK]))
    mark_of(left, **other)
    remove_leftovers(tmp_path)
    assert left.exists()
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(left / MARK, (month_ago, month_ago))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_a_run_checks_its_folders_without_files_that_a_kill_leaves(tmp_path: Path) -> None:
    """The plan looked whether a folder can be written to with a file that stayed where it was killed in between."""
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
