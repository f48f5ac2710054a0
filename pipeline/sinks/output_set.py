"""Check that output files are from the same run, by the SHA-256 digests in its report."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final

from pipeline.core.errors import OutputError
from pipeline.core.regular_files import read_regular
from pipeline.engine.work_folder import folder_of
from pipeline.sinks.store_folders import output_digest

_LARGEST_REPORT: Final = 64 * 2**20
"""Bytes of a report, at most."""


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 digests of finished files by their keys; raise OutputError if one can't be read back."""
    try:
        return {name: output_digest(path) for name, path in files.items()}
    except OSError as error:
        where = folder_of(Path(str(error.filename)))
        msg = f"{where}: a finished file can't be read back ({error.strerror}); was it removed? Run again"
        raise OutputError(msg) from error


def describe_mixed_set(files: Iterable[Path], report: Path) -> str | None:
    """Describe which outputs (except the report) of an earlier run are missing or differ from the report's digests.

    A run that is killed while it renames its files leaves a report that is newer than files of the run before; a file
    that is newer than the report is of a run without report, or was changed. None if all files are as reported, or
    there is no report.
    """
    expected = _expected(report)
    wrong, newer = [], 0
    for path in files:
        if path.name not in expected:
            continue
        if not os.path.lexists(path):
            wrong.append(f"{path} is missing")
        else:
            with suppress(OSError):  # a file that can't be read can still be replaced
                if output_digest(path) != expected[path.name]:
                    wrong.append(f"{path} differs from the report")
                    newer += path.stat().st_mtime_ns > report.stat().st_mtime_ns
    if not wrong:
        return None
    killed = "a run was killed while it renamed them, or a file was changed since"
    later = "files are newer than the report: of a run without one, or changed since"
    return (
        f"{report}: the existing outputs are not all from one run ({later if newer == len(wrong) else killed}): "
        f"{'; '.join(wrong)}"
    )


def _expected(report: Path) -> dict[str, str]:
    """Return the digests in a report by file name; empty if it has none or can't be read."""
    try:
        record = json.loads(read_regular(report, _LARGEST_REPORT))
        return {PurePath(record["outputs"][key]).name: str(digest) for key, digest in record["sha256"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
