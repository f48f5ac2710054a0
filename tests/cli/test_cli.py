"""The command line as a process: its output, exit statuses and signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from commands import terrazzo
from conftest import ROOT, WriteRaster, patches

from pipeline.cli.main import cli
from pipeline.cli.text import _filled


@pytest.fixture
def job(write_raster: WriteRaster, tmp_path: Path) -> Path:
    """A config next to a small scene."""
    pixels = patches(4, (300, 300))
    pixels[:, :20] = 0
    write_raster("scene.tif", pixels, nodata=0, bands=["B02", "B03", "B04", "B08"])
    path = tmp_path / "job.yaml"
    path.write_text("version: 1\nscene: {source: scene.tif}\nfit: {k: 4}\noutput: {labels: out.tif}\n")
    return path


def assert_one_sentence(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("terrazzo: ")
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[-1]


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line inside of other code, which calls `main` with these words."""
    start = f"import sys; sys.argv = {['terrazzo', *map(str, words)]}\nfrom pipeline.cli.main import main\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)


AFTERWARDS = """
try: main()
except SystemExit: pass
heavy = {'numpy', 'rasterio', 'xarray', 'dask', 'sklearn', 'numba', 'pydantic', 'yaml'} & set(sys.modules)
print('heavy:', sorted(heavy))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["--version"],
        ["frobnicate"],
        ["inspect", "--frobnicate"],
        ["rnu", "my.yaml"],
        ["--frobnicate"],
        [],
    ],
)
def test_nothing_heavy_is_imported_before_a_command_is_used(words: list[str]) -> None:
    done = python(AFTERWARDS, *words)
    assert done.stdout.endswith("heavy: []\n"), done.stderr


def test_help_lists_all_commands_and_fits_a_terminal() -> None:
    done = terrazzo("--help")
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == sorted(cli.commands)
    for words in ([], *([name] for name in cli.commands)):
        assert max(map(len, terrazzo(*words, "--help").stdout.splitlines())) <= 80, words


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    done = terrazzo("valdate", "my.yaml")
    assert done.returncode == 2
    assert done.stderr.endswith("Error: No such command 'valdate'. Did you mean 'validate'?\n")


def test_no_command_at_all_shows_the_help_on_standard_error() -> None:
    done = terrazzo()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == terrazzo("--help").stdout


@pytest.mark.lowest
def test_run_prints_results_to_stdout_and_progress_to_stderr(job: Path, tmp_path: Path) -> None:
    done = terrazzo("run", job)
    assert done.returncode == 0, done.stderr
    for name in (
        "out.tif",
        "out.tif.aux.xml",
        "out.qml",
        "out.csv",
        "out_quicklook.png",
        "out.model.json",
        "out.run.json",
    ):
        assert str(tmp_path / name) in done.stdout
        assert (tmp_path / name).exists()
    for stage in ("sample", "fit", "label", "write"):
        assert f"{stage}: " in done.stderr
        assert f"{stage}: " not in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80


def test_quiet_is_silent_and_json_is_the_report(job: Path, tmp_path: Path) -> None:
    done = terrazzo("run", job, "-q", "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout) == json.loads((tmp_path / "out.run.json").read_text())


def test_set_overrides_any_key(job: Path, tmp_path: Path) -> None:
    settings = ["fit.k=3", "scene.bands=[B08, 1]", "output.palette=tab10", "run.workers=1", "fit.tol=1e-3"]
    flags = [word for setting in settings for word in ("--set", setting)]
    done = terrazzo("run", job, "-q", "--json", *flags, "--set", "output.labels=elsewhere.tif", cwd=tmp_path)
    report = json.loads(done.stdout)
    assert report["model"]["k"] == 3
    assert report["scene"]["bands"] == ["B08", "B02"]
    assert report["config"]["fit"]["tol"] == 1e-3
    assert (tmp_path / "elsewhere.tif").exists()


@pytest.mark.lowest
def test_commands_work_one_after_another(job: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scene.tif"
    assert "300 x 300" in terrazzo("inspect", scene).stdout
    assert json.loads(terrazzo("inspect", scene, "--json").stdout)["bands"][0]["name"] == "B02"
    made = terrazzo("init", scene)
    (tmp_path / "made.yaml").write_text(made.stdout)
    assert yaml.safe_load(made.stdout)["scene"]["source"] == str(scene)
    assert not [line for line in made.stdout.splitlines() if len(line) > 80 and str(tmp_path) not in line]
    assert terrazzo("validate", tmp_path / "made.yaml").stdout.endswith(": valid\n")
    plan = json.loads(terrazzo("plan", job, "--json").stdout)
    assert plan["passes"] == 2
    assert "at most" in terrazzo("plan", job).stdout
    planned = terrazzo("plan", job, "--set", "fit.pixels=all").stdout
    assert "passes   1 over the source, then over the cache until fit.tol is met\n" in planned
    assert not (tmp_path / "out.tif").exists(), "plan runs nothing"
    assert terrazzo("fit", job, "-o", tmp_path / "m.json").returncode == 0
    assert not (tmp_path / "out.tif").exists(), "fit makes no map"
    done = terrazzo("predict", scene, "--model", tmp_path / "m.json", "-o", tmp_path / "p.tif")
    assert done.returncode == 0, done.stderr
    terrazzo("run", job)
    with rasterio.open(tmp_path / "p.tif") as one, rasterio.open(tmp_path / "out.tif") as two:
        assert (one.read() == two.read()).all()


@pytest.mark.parametrize("fit", ["{k: 4}", "{k: 4, pixels: all}"])
def test_plan_says_how_a_run_is_spread_over_processes(job: Path, fit: str) -> None:
    words = ("plan", job, "--cluster", "processes", "--set", "run.workers=3", "--set", f"fit={fit}")
    lines = terrazzo(*words).stdout.splitlines()
    plan = json.loads(terrazzo(*words, "--json").stdout)
    said = {line[:8].strip(): line[9:] for line in lines}
    assert said["cluster"] == "3 processes of 1 thread, and this one, the client"
    assert said["tasks"] == "1 in a pass, 1 for labels: 1 shard of at most 1 block"
    assert said["memory"].endswith(" at most in each process, of 2.00 GB allowed:")
    assert said["sent"].startswith("to the client, at most: ")
    assert said["sent"].endswith(", 90 kB labels")
    assert ("each pass" in said["sent"]) is ("all" in fit) is ("share" in said)
    assert max(len(line) for line in lines if "/" not in line) <= 80
    assert plan["cluster"]["processes"] == 3
    assert plan["cluster"]["label_bytes"] == 300 * 300
    assert json.loads(terrazzo("plan", job, "--json").stdout)["cluster"] is None


def test_plan_warns_that_the_output_folder_does_not_exist(job: Path) -> None:
    done = terrazzo("plan", job, "--set", "output.labels=nowhere/out.tif", cwd=job.parent)
    assert done.returncode == 0
    assert "nowhere does not exist" in done.stderr
    assert terrazzo("plan", job).stderr == ""


def test_predict_accepts_keys_of_scene_and_run_but_not_those_of_the_model(job: Path) -> None:
    model = job.parent / "m.json"
    terrazzo("fit", job, "-o", model)
    words = ["predict", job.parent / "scene.tif", "--model", model, "-o", job.parent / "p.tif"]
    assert_one_sentence(terrazzo(*words, "--set", "scene.bands=[B02]"), 2, "scene.bands", "by the model")
    assert_one_sentence(terrazzo(*words, "--set", "fit.k=3"), 2, "fit.k", "scene, output and run", "by the model")
    assert_one_sentence(terrazzo(*words, "--set", "scene.source=x.tif"), 2, "scene.source", "the argument SOURCE")
    assert_one_sentence(terrazzo(*words, "--set", "output={labels: x.tif}"), 2, "that of --output")
    assert_one_sentence(terrazzo(*words, "--set", "output.model=none"), 2, "the model is not written here")
    assert_one_sentence(terrazzo(*words, "--set", f"output.table={model}"), 2, "output.table", "(the model)")
    assert_one_sentence(terrazzo(*words, "--set", "run.chunk=big"), 2, "run.chunk", "'big'")
    words += ["--set", "output.table=none", "--set", f"output.picture={job.parent / 'look.png'}"]
    done = terrazzo(*words, "--json", "--set", "run.chunk=64", "--set", "run.memory=3GB", "--workers", "1")
    assert done.returncode == 0, done.stderr
    plan, outputs = json.loads(done.stdout)["plan"], json.loads(done.stdout)["outputs"]
    assert set(outputs) == {"labels", "sidecar", "qml", "picture", "report", "run"}
    assert {path.name for path in job.parent.iterdir()} == {
        "job.yaml", "scene.tif", "m.json", "p.tif", "p.tif.aux.xml", "p.qml", "look.png", "p.html", "p.run.json"
    }  # fmt: skip
    assert (plan["chunk"], plan["workers"]) == ([66, 300], 1), "whole strips of the file"


def test_an_existing_output_needs_overwrite(job: Path) -> None:
    assert terrazzo("run", job, "-q").returncode == 0
    assert_one_sentence(terrazzo("run", job, "-q"), 1, "out.tif", "--overwrite")
    assert terrazzo("run", job, "-q", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["--set", "fit.k=0"], 2, ["fit.k", "2 to 254"]),
        (["--set", "fit.k=1"], 2, ["fit.k", "2 to 254"]),
        (["--set", "fit.k=255"], 2, ["fit.k", "2 to 254"]),
        (["--set", "fit.k=1000000"], 2, ["fit.k", "2 to 254"]),
        (["--set", "fit.kk=3"], 2, ["fit.kk", "did you mean fit.k?"]),
        (["--set", "nonsense"], 2, ["key.path=value"]),
        (["--set", "scene.bands=[B99]"], 2, ["B99", "B02, B03, B04, B08"]),
        (["--set", "scene.bands=[]"], 2, ["scene.bands"]),
        (["--set", "scene.source=missing.tif"], 1, ["missing.tif", "no such file"]),
        (["--set", "scene.source=job.yaml"], 1, ["job.yaml", "can't open this file as a raster"]),
        (["--set", "output.labels=nowhere/out.tif"], 1, ["nowhere", "does not exist"]),
        (["--set", "output.labels=out.jpg"], 2, ["out.jpg", ".tif"]),
        (["--set", "output.picture=look.gif"], 2, ["look.gif", ".png"]),
        (["--set", "fit.pixels=3"], 2, ["3 sampled pixels", "4 classes", "raise fit.pixels"]),
        (["--set", "output.palette=rainbowish"], 2, ["rainbowish", "rainbow"]),
        (["--set", "run.memory=10MB"], 1, ["run.memory allows 10 MB"]),
        (["--set", "scene.nodata=1.5"], 2, ["scene.nodata", "uint16"]),
    ],
)
def test_wrong_settings_are_one_sentence(job: Path, words: list[str], status: int, expected: list[str]) -> None:
    assert_one_sentence(terrazzo("run", job, "-q", *words, cwd=job.parent), status, *expected)
    assert sorted(path.name for path in job.parent.iterdir()) == ["job.yaml", "scene.tif"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a list\n", "a list"),
        ("", "nothing"),
        ("version: 1\nscene: !!python/object/apply:os.system [echo]\n", "python"),
        ("version: [1\n", "not plain YAML"),
        ("version: 1\nscne: {}\n", "did you mean scene?"),
    ],
)
def test_wrong_configs_are_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    for command in ("validate", "run", "plan"):
        assert_one_sentence(terrazzo(command, path), 2, "bad.yaml", expected)


@pytest.mark.parametrize("command", ["run", "validate", "plan", "fit"])
def test_a_scene_given_as_config_is_refused_with_the_command_that_makes_a_config(job: Path, command: str) -> None:
    scene = job.with_name("scene.tif")
    done = terrazzo(command, scene, *(["-o", "m.json"] if command == "fit" else []))
    assert_one_sentence(done, 2, f"{scene}: this is a raster (TIFF), not a config", f"terrazzo init {scene} > my.yaml")


def test_a_config_given_as_scene_is_refused_with_the_right_command(job: Path) -> None:
    assert_one_sentence(terrazzo("inspect", job), 1, "to run a config, use: terrazzo run")


def test_inspect_and_init_abbreviate_metres(job: Path) -> None:
    scene = job.with_name("scene.tif")
    assert "\npixel    10 m\n" in terrazzo("inspect", scene).stdout
    assert ": B03, green, 10 m\n" in terrazzo("init", scene).stdout


def test_wrapping_does_not_break_paths() -> None:
    path = "/data/a-folder-with-hyphens" * 4
    assert _filled(f"note: {path}: something is odd about it").splitlines()[:2] == ["note:", f"      {path}:"]


def test_a_truncated_scene_leaves_nothing(job: Path, write_raster: WriteRaster) -> None:
    scene = write_raster("scene.tif", patches(4, (300, 300)))
    scene.write_bytes(scene.read_bytes()[:-300_000])
    assert_one_sentence(terrazzo("run", job, "-q"), 1, "scene.tif", "rows", "cut short")
    assert sorted(path.name for path in job.parent.iterdir()) == ["job.yaml", "scene.tif"]


@pytest.mark.usefixtures("job")
def test_wrong_models_are_one_sentence(tmp_path: Path) -> None:
    scene, output = tmp_path / "scene.tif", tmp_path / "p.tif"
    (tmp_path / "other.json").write_text('{"type": "FeatureCollection"}')
    for model, expected in (
        ("other.json", "not a Terrazzo model"),
        ("scene.tif", "not text"),
        ("none.json", "No such file"),
    ):
        done = terrazzo("predict", scene, "--model", tmp_path / model, "-o", output, "-q")
        assert_one_sentence(done, 1, model, expected)


def test_neither_config_nor_model_is_replaced(job: Path) -> None:
    done = terrazzo("run", job, "-q", "--overwrite", "--set", "output.run=job.yaml", cwd=job.parent)
    assert_one_sentence(done, 2, "output.run", "job.yaml", "(the config), which is never replaced")
    for command in ("validate", "plan"):
        done = terrazzo(command, job, "--set", "output.run=job.yaml", cwd=job.parent)
        assert_one_sentence(done, 2, "output.run", "job.yaml", "(the config), which is never replaced")
    done = terrazzo("fit", job, "-q", "-o", job, "--overwrite")
    assert_one_sentence(done, 2, "--output", "(the config), which is never replaced")
    done = terrazzo("fit", job, "-q", "-o", job.with_name("scene.tif"), "--overwrite")
    assert_one_sentence(done, 2, "--output", "(scene.source), which is never replaced")
    assert job.read_text().startswith("version: 1")


def test_debug_shows_the_traceback(job: Path) -> None:
    done = terrazzo("--debug", "run", job, "--set", "scene.source=missing.tif")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.lowest
@pytest.mark.parametrize("words", [[], ["frobnicate"], ["run"], ["run", "--frobnicate"]])
def test_exit_status_of_wrong_usage_is_2(words: list[str]) -> None:
    assert terrazzo(*words).returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_no_file(jpeg2000: list[str], tmp_path: Path, number: int) -> None:
    """It is stopped while it fits from 1000 starts, which it can't have finished; its cache folder exists then."""
    path = tmp_path / "job.yaml"
    settings = {"scene": {"source": jpeg2000}, "output": {"labels": "out.tif"}, "fit": {"starts": 1000}}
    path.write_text(yaml.safe_dump({"version": 1, **settings}))
    command = [sys.executable, "-m", "pipeline", "run", str(path)]
    process = subprocess.Popen(  # in the background of a shell, the tests would ignore Ctrl-C
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stderr is not None
    assert any(line.startswith("sample: ") for line in process.stderr)
    assert list(tmp_path.glob(".terrazzo-scratch-*"))
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "terrazzo: stopping after the work in progress" in err
    assert [entry.name for entry in tmp_path.iterdir()] == ["job.yaml"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_nohup_keeps_a_run_going_after_a_hangup() -> None:
    handled = "import signal; from pipeline.engine.signals import handle_signals; handle_signals()"
    code = f"{handled}; signal.raise_signal(signal.SIGHUP); print('goes on')"
    for handling, expected in ((signal.SIG_IGN, "goes on\n"), (signal.SIG_DFL, "")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda to=handling: signal.signal(signal.SIGHUP, to),
        )
        assert done.stdout == expected, done.stderr
    assert done.returncode == 128 + signal.SIGHUP


WHILE_IMPORTING = """
import importlib.abc, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == 'rasterio':
            signal.raise_signal(signal.{name})
sys.meta_path.insert(0, Hook())
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "inspect"])
def test_a_signal_while_a_command_is_imported_ends_it_in_order(job: Path, number: signal.Signals, command: str) -> None:
    done = python(WHILE_IMPORTING.format(name=number.name), command, job)
    assert (done.returncode, done.stdout) == (128 + number, ""), done.stderr
    first, *_, last = done.stderr.split("\n")[:-1]
    assert first.startswith("terrazzo: stopping")
    assert last == "terrazzo: stopped; no output was left half-written"
    assert "Traceback" not in done.stderr


SIGNAL_IN_EXEC = """
import builtins, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
run = exec
def interrupted(source, *scope):
    if "pipeline.config.schema" in sys.modules and isinstance(source, str):
        builtins.exec = run
        source = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\\n" + source
    return run(source, *scope)
builtins.exec = interrupted
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_while_a_module_is_made_by_exec_ends_with_the_same_status(tmp_path: Path) -> None:
    """As dataclasses are: Python would end by SIGINT, because it takes the interrupt for one that nothing handled."""
    (tmp_path / "sitecustomize.py").write_text(SIGNAL_IN_EXEC)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "pipeline", "inspect", "x.tif"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


SWALLOWED = """
import signal, sys
from contextlib import suppress
from pipeline.engine.signals import handle_signals
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.work_folder import temporary_folder
from pathlib import Path

handle_signals()
with temporary_folder(Path(sys.argv[1]), ""):
    with suppress(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    print("swallowed", flush=True)
    for _ in ThreadExecutor(1).map(str, range(3)):
        print("worked on", flush=True)
"""

SIGNAL_IN = """
import signal, sys
from pathlib import Path
from pipeline.engine import work_folder
from pipeline.engine.signals import handle_signals

handle_signals()
work = work_folder.{name}
work_folder.{name} = lambda what: (signal.raise_signal(signal.SIGTERM), work(what))[1]
with work_folder.temporary_folder(Path(sys.argv[1]), ""):
    print("worked on", flush=True)
"""
CREATING, REMOVING = (SIGNAL_IN.format(name=name) for name in ("write_mark", "remove_folder"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize(("code", "expected"), [(SWALLOWED, "swallowed\n"), (CREATING, ""), (REMOVING, "worked on\n")])
def test_a_swallowed_signal_ends_the_process_and_leaves_no_folder(tmp_path: Path, code: str, expected: str) -> None:
    """It comes while a library swallows exceptions, or while the temporary folder is created or removed."""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (expected, 128 + signal.SIGTERM), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are POSIX's")
def test_a_closed_pipe_does_not_fail_a_run_that_is_done(job: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(job), "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert len(errors.splitlines()) == 1
    assert "all outputs are written" in errors
    assert process.returncode == 0
    assert (job.parent / "out.tif").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_the_next_run_removes_temporary_files_of_a_killed_one(job: Path, jpeg2000: list[str]) -> None:
    before = sorted(path.name for path in job.parent.iterdir())
    hang = ["--set", f"scene.source={json.dumps(jpeg2000)}", "--set", "fit.starts=1000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(job), *hang], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert any(line.startswith("sample: ") for line in process.stderr)
    process.kill()
    process.communicate(timeout=60)
    assert len(list(job.parent.glob(".terrazzo-scratch-*"))) == 2, "one of its outputs, and one of its cache"
    assert terrazzo("fit", job, "-q", "-o", job.parent / "m.json").returncode == 0
    assert sorted(path.name for path in job.parent.iterdir()) == sorted([*before, "m.json"])


def test_a_disk_that_fills_up_leaves_no_file(job: Path) -> None:
    """A limit on file sizes imitates a full disk: writes beyond it fail in the same way."""
    if sys.platform == "win32":
        pytest.skip("no such limit on Windows")
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"sys.argv = ['terrazzo', 'run', {str(job)!r}, '-q']\n"
        "from pipeline.cli.main import main\nmain()"
    )
    before = terrazzo("run", job, "-q")  # compiled code is cached on disk, too; it must exist already
    assert before.returncode == 0, before.stderr
    for path in set(job.parent.iterdir()) - {job, job.parent / "scene.tif"}:
        path.unlink()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "can't be written" in done.stderr.splitlines()[-1]
    assert "make room" not in done.stderr, "the disk itself has room"
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in job.parent.iterdir()) == ["job.yaml", "scene.tif"]


def test_json_is_valid_whatever_the_metadata(write_raster: WriteRaster) -> None:
    path = write_raster("endless.tif", patches(1, dtype="float32"), nodata=-np.inf)
    done = terrazzo("inspect", path, "--json")

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    assert json.loads(done.stdout, parse_constant=refuse)["bands"][0]["nodata"] == "-inf"
