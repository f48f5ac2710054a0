"""Whether the files of a run belong together, by the SHA-256 of each in the run's report."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Final

from pipeline.core.errors import OutputError
from pipeline.core.regular_files import read_regular
from pipeline.engine.work_folder import folder_of

_LARGEST_REPORT: Final = 64 * 2**20


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of finished files, by what each is.

    Raises
    ------
    OutputError
        When one can't be read back.
    """
    try:
        return {name: _digest(path) for name, path in files.items()}
    except OSError as error:
        where = folder_of(Path(str(error.filename)))
        msg = f"{where}: a finished file can't be read back ({error.strerror}); did something remove it? Run again"
        raise OutputError(msg) from error


def mixed_words(files: Mapping[str, Path], report: Path) -> str | None:
    """Say which files of an earlier run are missing or not those that its report tells of.

    Parameters
    ----------
    files : mapping of str to Path
        The outputs but the report, by what each is.
    report : Path
        The report that stands beside them.

    Returns
    -------
    str or None
        None where the set is whole, or no report tells.
    """
    expected = _expected(report)
    wrong = []
    for path in files.values():
        if path.name not in expected:
            continue
        if not os.path.lexists(path):
            wrong.append(f"{path} is missing")
        else:
            with suppress(OSError):  # what can't be read can be replaced all the same
                if _digest(path) != expected[path.name]:
                    wrong.append(f"{path} is another")
    if not wrong:
        return None
    return (
        f"{report}: the outputs that are there don't belong together, as if a run had been cut short while they got "
        f"their names, or one had been changed since: {'; '.join(wrong)}"
    )


def _expected(report: Path) -> dict[str, str]:
    """Digests of the files of the run that wrote a report, by their names; none where it tells none."""
    try:
        said = json.loads(read_regular(report, _LARGEST_REPORT))
        return {PurePath(said["outputs"][what]).name: str(digest) for what, digest in said["sha256"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
