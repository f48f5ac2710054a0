"""Stalled servers and signals end a run in time, with a message, and no temporary files remain."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from conftest import UTM, WriteRaster, patches
from rasterio.shutil import copy as gdal_copy
from server import Moods, serving
from sources import described

from pipeline.api import open_scene
from pipeline.core.errors import ConfigError, SceneError, StalledError
from pipeline.engine import time_limits
from pipeline.engine.time_limits import current_limit, time_limit, within_limit
from pipeline.formats.fetch import fetch
from pipeline.geo.gdal import gdal_options, is_remote, may_be_remote
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config
from pipeline.jobs.template import config_template

STALLS = ["silent", "drip", "hang"]
SIDE = 300
LATEST = 5.0
"""Seconds within which a signal ends a run."""
SLACK = 3.0
"""Seconds beyond the time limit that a busy machine may take."""
LOADING = 10.0
"""Further seconds that a busy machine may take to import or compile modules."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Moods, Path]]:
    """A server with a Cloud-Optimized GeoTIFF, also in a zip; tests add STAC items."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    root = tmp_path / "site"
    root.mkdir()
    pixels = np.random.default_rng(1).integers(1, 9000, (2, SIDE, SIDE)).astype("uint16")
    with rasterio.open(tmp_path / "plain.tif", "w", driver="GTiff", count=2, height=SIDE, width=SIDE, dtype="uint16",
                       nodata=0, **UTM) as file:  # fmt: skip
        file.write(pixels)
    gdal_copy(tmp_path / "plain.tif", root / "a.tif", driver="COG", blocksize=128, compress="deflate")
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.write(root / "a.tif", "a.tif")
    with serving(root) as (address, moods):
        yield address, moods, root
    for thread in list(time_limits._abandoned):  # threads that waited for the server
        thread.join(10)


def config_of(source: str, folder: Path, timeout: float = 120, **settings: Any) -> dict[str, Any]:
    labels = str(folder / "out.tif")
    run = {"timeout": timeout, "workers": 2, "chunk": 128}
    fit = {"k": 2, "pixels": 2000, "starts": 1}
    return {"version": 1, "scene": {"source": source}, "fit": fit, "run": run, "output": {"labels": labels}} | settings


def ends_in_time(started: float, limit: float) -> bool:
    return limit <= time.monotonic() - started < limit + SLACK


@pytest.mark.parametrize(
    ("stall", "form"),
    [
        *((stall, "{}/a.tif") for stall in STALLS),
        ("silent", "/vsizip/{{/vsicurl/{}/a.zip}}/a.tif"),
        ("silent", "vrt"),
    ],
)
def test_a_stalled_open_ends_at_the_limit(site: tuple[str, Moods, Path], tmp_path: Path, stall: str, form: str) -> None:
    address, moods, _ = site
    path = form.format(address)
    if form == "vrt":
        path = str(tmp_path / "a.vrt")
        band = (
            f'<SimpleSource><SourceFilename relativeToVRT="0">/vsicurl/{address}/a.tif</SourceFilename></SimpleSource>'
        )
        Path(path).write_text(
            f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="UInt16" band="1">{band}'
            '</VRTRasterBand><VRTRasterBand dataType="Byte" band="2"><ColorInterp>Alpha</ColorInterp>'
            f"{band}</VRTRasterBand></VRTDataset>"
        )
    moods.stall = stall
    started = time.monotonic()
    with time_limit(1.0), pytest.raises(StalledError, match=r"^.*a\.(tif|vrt).*: .* within 1 s, .*run\.timeout"):
        described(path)
    assert moods.stalled.is_set()
    assert ends_in_time(started, 1.0)


@pytest.mark.parametrize("stall", ["silent", "drip"])
def test_a_stalled_block_ends_the_run_at_the_limit_and_leaves_no_file(
    site: tuple[str, Moods, Path], tmp_path: Path, stall: str
) -> None:
    address, moods, _ = site
    before = sorted(tmp_path.iterdir())
    moods.skip, moods.stall = 4, stall
    started = time.monotonic()
    with pytest.raises(StalledError, match=rf"^{address}/a\.tif: rows \d+-\d+, columns .* within 1 s, .*run\.timeout"):
        run_config(RunConfig.model_validate(config_of(f"{address}/a.tif", tmp_path, 1.0)))
    assert moods.stalled.is_set()
    assert time.monotonic() - started < 2 + SLACK, "the work before the stall took less than the limit"
    assert sorted(tmp_path.iterdir()) == before


def test_all_requests_for_a_block_share_one_limit(site: tuple[str, Moods, Path]) -> None:
    address, moods, root = site
    for name in "bc":
        (root / f"{name}.tif").write_bytes((root / "a.tif").read_bytes())
    scene = open_scene([f"{address}/{name}.tif" for name in "abc"], timeout=1.0)
    moods.delay = 0.5  # the request for each file is answered in time, but not all three
    started = time.monotonic()
    with pytest.raises(StalledError, match=r"rows .* within 1 s"):
        scene.compute(scheduler="single-threaded")
    assert ends_in_time(started, 1.0)


@pytest.mark.parametrize("stall", STALLS)
def test_a_stalled_text_file_ends_at_the_limit(site: tuple[str, Moods, Path], stall: str) -> None:
    address, moods, root = site
    (root / "item.json").write_text(json.dumps({"type": "Feature", "stac_version": "1.0.0"}))
    moods.stall = stall
    started = time.monotonic()
    with pytest.raises(StalledError, match=rf"^{address}/item\.json: .* within 1 s, .*run\.timeout"):
        inspect_scene(f"{address}/item.json", 1.0)
    assert ends_in_time(started, 1.0)


@pytest.mark.parametrize("name", ["a.tif", "item.json"])
def test_circular_redirects_end_in_time(site: tuple[str, Moods, Path], name: str) -> None:
    address, moods, root = site
    (root / "item.json").write_text("{}")
    moods.stall = "redirect"
    started = time.monotonic()
    with pytest.raises(SceneError, match=f"^{address}/{name}: "):
        inspect_scene(f"{address}/{name}", 2.0)
    assert time.monotonic() - started < 2 + SLACK


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyogrio's, long after
@pytest.mark.parametrize("key", ["mask", "aoi"])
def test_a_stalled_mask_or_area_of_interest_ends_at_the_limit(
    site: tuple[str, Moods, Path], tmp_path: Path, key: str
) -> None:
    address, moods, root = site
    (root / "area.geojson").write_text("{}")
    name = {"mask": "a.tif", "aoi": "area.geojson"}[key]
    moods.stall = "silent"
    scene = {"source": str(tmp_path / "plain.tif"), key: f"{address}/{name}"}
    started = time.monotonic()
    with pytest.raises(StalledError, match=rf"{address}/{name}.* within 1 s"):
        run_config(RunConfig.model_validate(config_of("", tmp_path, 1.0, scene=scene)))
    assert ends_in_time(started, 1.0)


def test_the_files_of_an_item_share_one_limit(site: tuple[str, Moods, Path]) -> None:
    address, moods, root = site
    assets = {name: {"href": f"{address}/{name}.tif", "roles": ["data"], "type": "image/tiff"} for name in "abcd"}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "i", "geometry": None, "links": [], "assets": assets}
    item["properties"] = {"datetime": "2020-01-01T00:00:00Z"}
    (root / "item.json").write_text(json.dumps(item))
    for name in "bcd":
        (root / f"{name}.tif").write_bytes((root / "a.tif").read_bytes())
    moods.stall, moods.stalls = "silent", ".tif"
    started = time.monotonic()
    with pytest.raises(StalledError, match=r"\.tif: .* within 1 s"):
        inspect_scene(f"{address}/item.json", 1.0)
    assert time.monotonic() - started < 1 + SLACK


def test_lazy_arrays_use_the_limit_they_were_opened_with(site: tuple[str, Moods, Path]) -> None:
    address, moods, _ = site
    scene = open_scene(f"{address}/a.tif", chunk=128, timeout=1.0)
    moods.stall = "silent"
    started = time.monotonic()
    with pytest.raises(StalledError, match="within 1 s"):
        scene.compute(scheduler="threads")
    with pytest.raises(StalledError, match="within 1 s"):
        pickle.loads(pickle.dumps(scene)).compute(scheduler="single-threaded")  # noqa: S301 (our own)
    assert time.monotonic() - started < 2 + 2 * SLACK


def test_remote_and_local_files_give_the_same_labels(site: tuple[str, Moods, Path], tmp_path: Path) -> None:
    address, _, root = site
    for source, name in ((f"{address}/a.tif", "remote.tif"), (str(root / "a.tif"), "local.tif")):
        run_config(RunConfig.model_validate(config_of(source, tmp_path) | {"output": {"labels": str(tmp_path / name)}}))
    with rasterio.open(tmp_path / "remote.tif") as one, rasterio.open(tmp_path / "local.tif") as two:
        np.testing.assert_array_equal(one.read(), two.read())


def test_a_run_on_local_files_starts_no_worker_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Any
) -> None:
    monkeypatch.setattr(time_limits, "_worker", lambda: pytest.fail("a worker thread was started"))
    run_config(RunConfig.model_validate(config_of(str(site[2] / "a.tif"), tmp_path)))


@pytest.mark.parametrize(
    ("path", "remote", "may_be"),
    [
        ("https://host/a.tif", True, True), ("s3://bucket/a.tif", True, True), ("/vsicurl/http://h/a.tif", True, True),
        ("/vsizip//vsicurl/https://host/a.zip/a.tif", True, True), ("/vsizip/{/vsis3/b/a.zip}/a.tif", True, True),
        ("/vsizip/vsicurl/http://host/a.zip/a.tif", True, True), ("zip+https://host/a.zip!a.tif", True, True),
        ('NETCDF:"/vsicurl/http://host/a.nc":red', True, True), ("a.vrt", False, True), ("wms.xml", False, True),
        ("a.tif", False, False), ("/data/A.JP2", False, False), ("vsicurl.tif", False, False),
        ("/vsizip/{/data/https/a.zip}/a.tif", False, False), ("C:/a.tif", False, False),
    ],
)  # fmt: skip
def test_remote_files_are_recognised_by_their_path(path: str, remote: bool, may_be: bool) -> None:  # noqa: FBT001
    assert (is_remote(path), may_be_remote(path)) == (remote, may_be)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 86_401])
def test_an_invalid_timeout_raises_an_error(tmp_path: Path, timeout: float) -> None:
    for function in (inspect_scene, config_template):
        with pytest.raises(ConfigError, match=r"^--timeout: timeout: .* is not allowed; expected the time limit in"):
            function([str(tmp_path / "a.tif")], timeout)
    with pytest.raises(ConfigError, match=r"timeout: .* is not allowed; expected the time limit in seconds"):
        open_scene(tmp_path / "a.tif", timeout=timeout)


def test_the_http_timeout_of_gdal_is_a_second_beyond_the_limit() -> None:
    with time_limit(7.5):
        assert gdal_options("https://host/a.tif")["GDAL_HTTP_TIMEOUT"] == "8.5"
    assert gdal_options("a.vrt")["GDAL_HTTP_TIMEOUT"] == "121"
    assert "GDAL_HTTP_TIMEOUT" not in gdal_options("a.tif")


def test_gdal_settings_of_the_caller_apply_on_the_worker_thread(site: tuple[str, Moods, Path]) -> None:
    address, moods, _ = site

    def open_on_a_thread() -> None:
        with rasterio.Env(GDAL_HTTP_USERAGENT="mine"):
            described(f"{address}/a.tif")

    thread = threading.Thread(target=open_on_a_thread)
    thread.start()
    thread.join()
    assert moods.agents == {"mine"}


def test_work_within_the_limit_returns_its_result_or_raises_its_error() -> None:
    assert within_limit(current_limit, "what") == 120
    with time_limit(3), pytest.raises(KeyError):
        within_limit(lambda: {}["no"], "what")
    with time_limit(3):
        assert within_limit(lambda: within_limit(current_limit, "inner"), "outer") == 3


def test_the_number_of_abandoned_threads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "_abandoned", set())
    monkeypatch.setattr(time_limits, "_MAX_ABANDONED", 3)
    over = threading.Event()
    with time_limit(0.05):
        for _ in range(3):
            with pytest.raises(StalledError, match=r"what: no complete answer within 0\.05 s"):
                within_limit(over.wait, "what")
        assert time_limits.has_abandoned_threads()
        with pytest.raises(StalledError, match="what: not requested, because 3 earlier requests"):
            within_limit(over.wait, "what")
    over.set()
    for thread in list(time_limits._abandoned):
        thread.join(SLACK)
    assert not time_limits.has_abandoned_threads()
    assert within_limit(over.wait, "what") is True


def test_an_abandoned_fetch_ends(site: tuple[str, Moods, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a slow server would keep the abandoned thread busy for as many seconds as there are bytes."""
    monkeypatch.setattr(time_limits, "_abandoned", set())  # those of earlier tests may still be running
    address, moods, root = site
    (root / "long.json").write_text("{}" * 1000)
    moods.stall = "drip"
    with time_limit(1.0), pytest.raises(SceneError):
        fetch(f"{address}/long.json", 10**6)
    (abandoned,) = time_limits._abandoned
    abandoned.join(20 * SLACK)
    assert not time_limits.has_abandoned_threads()


FORKED = """
import multiprocessing, sys, time
from pipeline import open_scene

def timed_open(path):
    begin = time.monotonic()
    return open_scene(path, timeout=60).shape, time.monotonic() - begin

timed_open(sys.argv[1])
with multiprocessing.get_context("fork").Pool(1) as pool:
    (shape, seconds), = pool.map(timed_open, sys.argv[1:])
assert seconds < 30, seconds
"""


def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent(write_raster: WriteRaster, tmp_path: Path) -> None:
    gdal_copy(write_raster("scene.tif", patches()), tmp_path / "scene.vrt", driver="VRT")
    arguments = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "scene.vrt")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_signal_ends_a_run_whose_standard_error_is_a_full_pipe() -> None:
    code = (
        "import os, sys, time\nfrom pipeline.engine.signals import handle_signals\nhandle_signals()\n"
        "os.set_blocking(2, False)\n"
        "try:\n    while True: os.write(2, bytes(4096))\nexcept BlockingIOError: os.set_blocking(2, True)\n"
        "print('full', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"full\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(SLACK) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


# ---- the command, as a process


def reset_signals() -> None:
    """Undo that a shell makes background processes ignore these signals."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(config: dict[str, Any], path: Path, *arguments: str) -> subprocess.Popen[str]:
    path.write_text(yaml.safe_dump(config))
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(path), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GDAL_HTTP_RETRY_DELAY": "0.05", "no_proxy": "127.0.0.1"},
        preexec_fn=reset_signals,  # noqa: PLW1509
    )


def assert_ended(process: subprocess.Popen[str], status: int, folder: Path, remaining: set[str], within: float) -> str:
    started = time.monotonic()
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    took = time.monotonic() - started
    assert process.returncode == status, err
    assert took < within, err
    assert "Traceback" not in err
    assert "ignored" not in err
    assert "valid" in out or out == ""
    assert {entry.name for entry in folder.iterdir()} == remaining, err
    return err


@pytest.mark.parametrize("skip", [0, 4])
def test_a_command_whose_server_stalls_ends_with_a_message_of_one_line(
    site: tuple[str, Moods, Path], tmp_path: Path, skip: int
) -> None:
    address, moods, _ = site
    moods.stall, moods.skip = "silent", skip
    (tmp_path / "job").mkdir()
    process = start(config_of(f"{address}/a.tif", tmp_path / "job", 1.0), tmp_path / "job" / "job.yaml", "-q")
    assert moods.stalled.wait(60)
    err = assert_ended(process, 1, tmp_path / "job", {"job.yaml"}, 1 + LOADING)
    assert len(err.splitlines()) == 1
    assert f"{address}/a.tif" in err
    assert "run.timeout" in err


posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")


@posix
@pytest.mark.parametrize(("number", "skip"), [(signal.SIGINT, 0), (signal.SIGTERM, 4), (signal.SIGHUP, 4)])
def test_a_signal_ends_a_run_whose_server_stalls(
    site: tuple[str, Moods, Path], tmp_path: Path, number: signal.Signals, skip: int
) -> None:
    address, moods, _ = site
    moods.stall, moods.skip = "silent", skip
    (tmp_path / "job").mkdir()
    process = start(config_of(f"{address}/a.tif", tmp_path / "job"), tmp_path / "job" / "job.yaml")
    assert moods.stalled.wait(60)
    assert list((tmp_path / "job").glob(".terrazzo-*"))
    time.sleep(0.3)
    process.send_signal(number)
    err = assert_ended(process, 128 + number, tmp_path / "job", {"job.yaml"}, LATEST)
    assert "stopped; no output was left half-written" in err


IN_C = """
import ctypes, sys, threading, time
from pathlib import Path
from pipeline.engine.signals import handle_signals, defer_signals
from pipeline.engine.work_folder import temporary_folder

def write_on(own):
    time.sleep(0.3)
    print("there", flush=True)
    for number in range(10**9 * (not seconds)):  # as other threads of a run do
        try:
            (own / str(number % 50)).write_bytes(b"1")
        except OSError:
            pass

def wait_for_ever():  # for a lock in C, as inside a library: no Python signal handler runs
    mutex = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)

handle_signals()
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
with temporary_folder(folder, "") as own:
    threading.Thread(target=write_on, args=(own,), daemon=True).start()
    if seconds:
        with defer_signals():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.1)
            (folder / "whole").touch()
    wait_for_ever()
"""


def start_code(code: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=reset_signals,  # noqa: PLW1509
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_whose_main_thread_is_blocked(tmp_path: Path, number: signal.Signals) -> None:
    process = start_code(IN_C, tmp_path, 0)
    process.send_signal(number)
    assert_ended(process, 128 + number, tmp_path, set(), LATEST)


@posix
def test_a_second_ctrl_c_ends_at_once_and_leaves_no_file(tmp_path: Path) -> None:
    process = start_code(IN_C, tmp_path, 0)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert_ended(process, 130, tmp_path, set(), 2.5)


@posix
def test_deferred_signals_wait_for_the_end_of_the_operation(tmp_path: Path) -> None:
    process = start_code(IN_C, tmp_path, 3.5)  # more than the grace period
    process.send_signal(signal.SIGTERM)
    assert_ended(process, 128 + signal.SIGTERM, tmp_path, {"whole"}, 3.5 + LATEST)


AT_AN_IMPORT = """
import os, sys

def ask(event, what):
    global awaited
    if event == "import" and what[0] == awaited:
        awaited = None
        os.kill(os.getpid(), {number:d})

awaited = {module!r}
sys.addaudithook(ask)
sys.argv = ["terrazzo", "run", {config!r}, "-q"]
print("there", flush=True)
from pipeline.__main__ import main
main()
"""


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("click", signal.SIGINT),
        ("pydantic", signal.SIGTERM),
        ("numpy", signal.SIGINT),
        ("rasterio._io", signal.SIGINT),
        ("numba", signal.SIGTERM),
        ("PIL._version", signal.SIGINT),
    ],
)
def test_a_signal_during_an_import_ends_the_command(
    site: tuple[str, Moods, Path], tmp_path: Path, module: str, number: signal.Signals
) -> None:
    (tmp_path / "job").mkdir()
    config = tmp_path / "job" / "job.yaml"
    config.write_text(yaml.safe_dump(config_of(str(site[2] / "a.tif"), tmp_path / "job")))
    process = start_code(AT_AN_IMPORT.format(number=number, module=module, config=str(config)))
    assert_ended(process, 128 + number, tmp_path / "job", {"job.yaml"}, 60)


AT_THE_END = """
import atexit, os, sys

atexit.register(lambda: os.kill(os.getpid(), {number:d}))
sys.argv = ["terrazzo", "validate", {config!r}]
print("there", flush=True)
from pipeline.__main__ import main
main()
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_exits_prints_no_traceback(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(yaml.safe_dump(config_of("a.tif", tmp_path)))
    process = start_code(AT_THE_END.format(number=number, config=str(config)))
    assert_ended(process, 128 + number, tmp_path, {"job.yaml"}, 60)
