"""Messages about files that can't be written: the reason of the system, and a fix that fits it."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.engine.work_folder import output_error


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "make room there, or set output.table to a path on another disk"),
        (errno.EDQUOT, "make room there, or set output.table to a path on another disk"),
        (errno.EIO, "is the disk failing? If so, set output.table to a path on another disk"),
        (errno.EFBIG, "set output.table to a path on another disk"),
        (errno.EROFS, "set output.table to a path on another disk"),
        (errno.EACCES, "set output.table to a path on another disk"),
    ],
)
def test_only_a_full_disk_is_met_by_making_room(tmp_path: Path, number: int, fix: str) -> None:
    reason = os.strerror(number)
    error = output_error(tmp_path / "c.csv", "the table", "output.table", OSError(number, reason))
    assert str(error) == f"{tmp_path}: the table can't be written ({reason}); {fix}"
