"""A state machine of runs, kills, full disks and foreign files in an output folder: foreign files stay untouched."""

import errno
import shutil
import tempfile
from pathlib import Path

import pytest
import rasterio
import yaml
from conftest import UTM, patches
from faults import Fault, Outcome, Runs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from runs import MIXED, OUTPUTS, REPORT, contents, is_new, without_report

from pipeline.engine.leftovers import PREFIX

pytest.importorskip("resource", reason="processes are forked and given limits")

CLASSES = (2, 3, 4)
SIDECAR = "classes.tif.ovr"
NAMES = st.sampled_from([*OUTPUTS, SIDECAR, "notes.txt", f"{PREFIX}notes"])


class OutputFolder(RuleBasedStateMachine):
    """A folder that runs write their outputs to; their configs differ in the number of classes."""

    runs: Runs
    new: dict[int, dict[str, bytes]]
    """Outputs of an undisturbed run, by number of classes; filled by the first example."""
    calls: dict[int, int]
    """Number of system calls of an undisturbed run, by number of classes."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="folder"))
        self.out, self.others = self.root / "out", self.root / "others"
        self.others.mkdir()
        (self.others / "thesis.txt").write_text("years of work")
        with rasterio.open(
            self.root / "scene.tif", "w", driver="GTiff", count=3, height=60, width=90, dtype="uint16", **UTM
        ) as file:
            file.write(patches(shape=(60, 90)))
        for k in CLASSES:
            output = {"labels": str(self.out / "classes.tif")}
            fit = {"k": k, "starts": 1, "max_iter": 3}
            text = {"version": 1, "scene": {"source": str(self.root / "scene.tif")}, "fit": fit, "output": output}
            (self.root / f"{k}.yaml").write_text(yaml.safe_dump(text))
        self.inputs = {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}
        for k in set(CLASSES) - set(self.new):
            self.out.mkdir()
            done = self.run(k, overwrite=False)
            assert done.status == 0, done.said
            self.new[k], self.calls[k] = without_report(contents(self.out)), done.calls
            shutil.rmtree(self.out)
        self.out.mkdir()
        self.foreign: set[str] = set()
        """Names of foreign files in the folder: a run may replace them only if they are outputs."""
        self.may_be_mixed = False

    def run(self, k: int, *, overwrite: bool, fault: Fault | None = None) -> Outcome:
        return self.runs.run(
            self.out, "run", self.root / f"{k}.yaml", "-q", *(["--overwrite"] if overwrite else []), fault=fault
        )

    def found(self) -> dict[str, bytes]:
        """Contents of the folder without temporary files of runs."""
        return {name: content for name, content in contents(self.out).items() if not name.startswith(PREFIX)}

    def must_be_refused(self, *, overwrite: bool) -> bool:
        """Whether a run must be refused because of existing files."""
        names = {path.name for path in self.out.iterdir()}
        return bool(not overwrite and names & set(OUTPUTS)) or ("classes.tif" not in names and SIDECAR in names)

    @rule(k=st.sampled_from(CLASSES), overwrite=st.booleans())
    def run_undisturbed(self, k: int, *, overwrite: bool) -> None:
        before, refused = self.found(), self.must_be_refused(overwrite=overwrite)
        done = self.run(k, overwrite=overwrite)
        if refused:
            assert done.status == 1, done
            assert self.found() == before
            return
        assert done.status == 0, done
        outputs = {name: content for name, content in self.found().items() if name in OUTPUTS}
        assert is_new(outputs, self.new[k])
        assert not [path for path in self.out.glob(f"{PREFIX}*") if path.name != f"{PREFIX}notes"]
        self.foreign -= {*OUTPUTS, SIDECAR} if "classes.tif" in before else set(OUTPUTS)
        assert self.may_be_mixed or MIXED not in done.said, done
        self.may_be_mixed = False

    @rule(
        k=st.sampled_from(CLASSES),
        overwrite=st.booleans(),
        late=st.booleans(),
        moment=st.floats(0, 1),
        kill=st.booleans(),
        number=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]),
    )
    def run_disturbed(self, k: int, *, overwrite: bool, late: bool, moment: float, kill: bool, number: int) -> None:
        calls = self.calls[k]
        at = 1 + int(moment * (calls - 1)) if not late else calls - int(moment * min(40, calls - 1))
        self.disturb(k, overwrite=overwrite, fault=Fault(at=at, kill=kill, number=number))

    @rule(k=st.sampled_from(CLASSES), overwrite=st.booleans(), quota=st.sampled_from([0.001, 0.2, 1, 5, 12]))
    def run_on_a_full_disk(self, k: int, *, overwrite: bool, quota: float) -> None:
        self.disturb(k, overwrite=overwrite, fault=Fault(quota=int(1000 * quota) + 1))

    def disturb(self, k: int, *, overwrite: bool, fault: Fault) -> None:
        before = self.found()
        done = self.run(k, overwrite=overwrite, fault=fault)
        assert "Traceback" not in done.said, (fault, done)
        outputs = {name: content for name, content in self.found().items() if name in OUTPUTS}
        if is_new(outputs, self.new[k]):
            self.foreign -= {*OUTPUTS, SIDECAR} if "classes.tif" in before else set(OUTPUTS)
            self.may_be_mixed = False
        elif done.status >= 0:
            assert done.status == 1, (fault, done)
            assert self.found() == before, (fault, done)
        elif self.found() != before:  # killed during the renames
            self.foreign -= {*OUTPUTS, SIDECAR}
            self.may_be_mixed = True

    @rule(name=NAMES, kind=st.sampled_from(["file", "link to a file", "link to a folder", "folder"]))
    def somebody_writes(self, name: str, kind: str) -> None:
        path = self.out / name
        if path.is_symlink() or path.exists() or (name in OUTPUTS and kind not in {"file", "link to a file"}):
            return
        if kind == "file":
            path.write_text("mine")
        elif kind == "folder":
            path.mkdir()
            (path / "lock").write_text("mine")
        else:
            path.symlink_to(self.others / "thesis.txt" if kind == "link to a file" else self.others)
        self.foreign.add(name)
        self.may_be_mixed |= name in OUTPUTS

    @precondition(lambda self: any(self.out.iterdir()))
    @rule(data=st.data())
    def somebody_removes(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.out.iterdir())))
        self.foreign.discard(path.name)
        self.may_be_mixed |= path.name in OUTPUTS
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    @invariant()
    def foreign_files_are_untouched(self) -> None:
        assert {path: path.read_bytes() for path in self.inputs} == self.inputs
        assert {path for path in self.root.rglob("*") if path.is_file() and self.out not in path.parents} == set(
            self.inputs
        )
        for name in self.foreign:
            path = self.out / name
            assert path.is_symlink() or path.exists(), name
            if path.is_dir() and not path.is_symlink():
                assert (path / "lock").read_text() == "mine"
            elif not path.is_symlink():
                assert path.read_text() == "mine"

    @invariant()
    def outputs_are_of_one_run_unless_a_warning_said_so(self) -> None:
        outputs = {name: content for name, content in self.found().items() if name in OUTPUTS}
        if not self.may_be_mixed and REPORT in outputs and not self.foreign & set(OUTPUTS):
            assert any(is_new(outputs, new) for new in self.new.values())

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


@pytest.mark.slow
def test_an_output_folder_under_faults_and_foreign_changes() -> None:
    with Runs() as runs:
        machine = type("Machine", (OutputFolder,), {"runs": runs, "new": {}, "calls": {}})
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            machine,
            settings=settings(
                max_examples=8,
                stateful_step_count=12,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
