"""Runs on the workers of a cluster: the same bytes as on threads, each block decoded once, also after a worker died."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from conftest import patches, raster_file
from crews import MARKS, Cluster, end_at, forget, processes_in, wait_for
from runs import config, contents, without_report
from sources import dataset, layers, product

import pipeline.jobs.plan as plan_module
from pipeline.core.errors import ClusterError, OutputError
from pipeline.engine.leftovers import PREFIX
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

pytestmark = MARKS

CHUNK = 64


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks a shard, so that small scenes have some for each worker."""
    monkeypatch.setattr(plan_module, "SHARD_PIXELS", 2 * CHUNK**2)


def geotiff(folder: Path, dtype: str = "uint16", bands: int = 3, **profile: Any) -> list[Path]:
    """A scene of 25 blocks with a corner of nodata; NaN in floats."""
    pixels = patches(bands, (300, 310), dtype=dtype)
    pixels[:, :40, :90] = np.nan if dtype == "float32" else 0
    tiles = {"tiled": True, "blockxsize": CHUNK, "blockysize": CHUNK, "compress": "deflate"}
    names = ["red", "green", "nir"][:bands]
    nodata = np.nan if dtype == "float32" else 0
    return [raster_file(folder / "scene.tif", pixels, nodata=nodata, bands=names, **tiles, **profile)]


def resolutions(folder: Path) -> list[Path]:
    coarse = {"transform": Affine(20, 0, 300_000, 0, -20, 5_900_000)}
    return [
        raster_file(folder / "s_B02.tif", patches(1, (300, 310))),
        raster_file(folder / "s_B11.tif", patches(1, (150, 155), seed=1), **coarse),
    ]


def safe(folder: Path) -> list[Path]:
    return [product(folder, "one", layers())]


def mosaic(folder: Path) -> list[Path]:
    one, other = layers(), layers(seed=50)
    one["B02"][100:150, 200:260] = 0
    return [product(folder, "one", one), product(folder, "two", other, origin=(301_000, 5_899_640), tile="T33UVU")]


def zarr(folder: Path) -> list[Path]:
    made = dataset("bands")[0]
    path = folder / "s.zarr"
    made.isel(y=np.arange(240) % 80, x=np.arange(300) % 100).assign_coords(
        y=5_900_000 - 10 * (np.arange(240) + 0.5), x=300_000 + 10 * (np.arange(300) + 0.5)
    ).chunk({"y": CHUNK, "x": CHUNK}).to_zarr(path, zarr_format=2, consolidated=False)
    return [path]


ALL = {"k": 4, "pixels": "all", "starts": 2, "max_iter": 20}
MANY_PASSES = {**ALL, "k": 12, "tol": 0}
SAMPLED = {"k": 4, "pixels": 5000, "starts": 2}


@dataclass(frozen=True)
class Job:
    """A scene and how it is clustered."""

    name: str
    scene: Callable[[Path], list[Path]]
    fit: dict[str, Any]
    sections: dict[str, Any] = field(default_factory=dict)
    passes_more: float = 0.0
    """Passes more than threads take, at most: pixels around shards, and file blocks, that both workers decode."""


JOBS = [
    Job("uint16, all", geotiff, ALL),
    Job("uint16, sampled", geotiff, SAMPLED),
    Job("uint16, without a cache", geotiff, ALL, {"run": {"cache": "none"}}),
    Job("uint16, cache in memory", geotiff, ALL, {"run": {"cache": "memory"}}),
    Job("uint16, few pixels fitted", geotiff, SAMPLED, {"fit.mask": True}),
    Job("float32 with NaN", lambda folder: geotiff(folder, "float32"), ALL),
    Job("uint8, gmm", lambda folder: geotiff(folder, "uint8"), {**SAMPLED, "method": "gmm"}),
    Job("histogram", lambda folder: geotiff(folder, bands=1), {"method": "histogram", "bins": 7}),
    Job("ranges", lambda folder: geotiff(folder, bands=1), {"method": "ranges", "edges": [0, 60, 120, 200]}),
    Job("indices and smooth", geotiff, ALL, {"features": {"indices": ["ndvi"], "smooth": 3}}, 1.0),
    Job("components", geotiff, ALL, {"features": {"pca": 2, "standardize": "zscore"}}),
    Job("an area and the map of another extent", geotiff, ALL, {"scene": {"aoi": {
        "bounds": [300_330, 5_897_910, 302_870, 5_899_650], "crs": "EPSG:32633"}}}),
    Job("two resolutions", resolutions, ALL, {"scene": {"resampling": "bilinear"}}, 0.3),
    Job("JPEG 2000, masks", safe, {**ALL, "mask": {"layer": "scl", "drop": [3]}}, {"scene": {
        "bands": ["B02", "B05", "B01"], "mask": {"layer": "scl", "drop": [9], "dilate": 60}}}, 1.0),
    Job("mosaic", mosaic, ALL, {"scene": {"bands": ["B02", "B03"]}}, 1.0),
    Job("Zarr", zarr, ALL),
]  # fmt: skip


def run(job: Job, folder: Path, scene: list[Path], **resources: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Run a job; return its outputs but the report, and the report."""
    (folder / "out").mkdir()
    sections = {**job.sections}
    resources = {"chunk": CHUNK, "cluster": "none", **sections.pop("run", {}), **resources}
    if sections.pop("fit.mask", None):
        mask = raster_file(folder / "mask.tif", (patches(1, (300, 310)) > 40).astype("uint8"))
        sections["fit"] = {"mask": {"path": str(mask), "drop": [1]}}
    fit = {**job.fit, **sections.pop("fit", {})}
    report = run_config(config(scene, folder / "out" / "classes.tif", fit=fit, run=resources, **sections))
    outputs = without_report(contents(folder / "out"))
    for path in (folder / "out").iterdir():
        path.unlink()
    (folder / "out").rmdir()
    return outputs, report


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_outputs_and_passes_are_those_of_threads(cluster: Cluster, tmp_path: Path, job: Job) -> None:
    scene = job.scene(tmp_path)
    expected, on_threads = run(job, tmp_path, scene)
    found, report = run(job, tmp_path, scene, cluster=cluster.address)
    assert {"classes.tif", "classes.csv", "classes.model.json", "classes_quicklook.png"} <= set(found)
    assert found == expected
    more = report["source_passes"] - on_threads["source_passes"]
    assert 0 <= more <= job.passes_more + 1e-9, (report["source_passes"], on_threads["source_passes"])
    assert (processes_in(on_threads), processes_in(report)) == (0, 2)
    assert cluster.scratch() == []


def test_jpeg2000_of_a_satellite(cluster: Cluster, tmp_path: Path, jpeg2000: list[str]) -> None:
    job = Job("real", geotiff, ALL, {"run": {"chunk": 256}})
    expected, on_threads = run(job, tmp_path, [Path(path) for path in jpeg2000])
    found, report = run(job, tmp_path, [Path(path) for path in jpeg2000], cluster=cluster.address)
    assert found == expected
    assert report["source_passes"] == on_threads["source_passes"] == 1


@pytest.mark.lowest
def test_fit_and_predict_use_the_workers_too(cluster: Cluster, tmp_path: Path) -> None:
    (scene,) = geotiff(tmp_path)
    models = []
    for number, where in enumerate(("none", cluster.address)):
        job = config(scene, tmp_path / f"{number}.tif", fit=ALL, run={"chunk": CHUNK, "cluster": where})
        fit_config(job, tmp_path / f"{number}.model.json")
        models.append((tmp_path / f"{number}.model.json").read_bytes())
        model = ClusterModel.load(tmp_path / f"{number}.model.json")
        predict(job.scene, model, OutputConfig(labels=job.output.labels), resources=job.run)
    assert models[0] == models[1]
    assert (tmp_path / "0.tif").read_bytes() == (tmp_path / "1.tif").read_bytes()


@pytest.mark.parametrize(
    ("stage", "dtype"), [("sample", "uint16"), ("refine", "uint16"), ("refine", "float32"), ("label", "uint8")]
)
def test_a_worker_killed_in_any_stage_changes_no_byte(
    cluster: Cluster, tmp_path: Path, stage: str, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job("killed", lambda folder: geotiff(folder, dtype), MANY_PASSES)
    scene = job.scene(tmp_path)
    expected, _ = run(job, tmp_path, scene)
    marker = tmp_path / "marker"
    (tmp_path / "decoded").mkdir()
    cluster.client.run(note_decoded, str(tmp_path / "decoded"))
    cluster.client.run(end_at, stage, {"sample": 3, "refine": 30, "label": 4}[stage], str(marker))
    before = {process.pid for process in cluster.processes.values()}
    found, report = run(job, tmp_path, scene, cluster=cluster.address)
    assert marker.exists()
    (survivor,) = (cluster.processes[name].pid for name in cluster.running())
    assert any("has gone" in message for message in caplog.messages)
    assert found == expected
    decoded = {pid: (tmp_path / "decoded" / f"{pid}").read_text().splitlines() for pid in before}
    assert len(decoded[survivor]) == len(set(decoded[survivor])), "what it had itself was not decoded again"
    assert len(set().union(*decoded.values())) == 25
    assert 1 <= report["source_passes"] <= 2


def note_decoded(folder: str) -> None:
    """Let this process write the blocks that it decodes into a file of its own."""
    import os

    from pipeline.scenes.raster_source import RasterSource

    read = RasterSource.read

    def noted(self: Any, block: Any) -> Any:
        with (Path(folder) / f"{os.getpid()}").open("a") as file:
            file.write(f"{block}\n")
        return read(self, block)

    RasterSource.read = noted  # type: ignore[method-assign]


def test_all_workers_killed_and_a_newcomer_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    job = Job("killed", geotiff, MANY_PASSES)
    scene = job.scene(tmp_path)
    expected, _ = run(job, tmp_path, scene)
    for name, nth in (("one", 20), ("two", 30)):
        cluster.client.run(end_at, "refine", nth, str(tmp_path / name), workers=cluster.addresses(name))
    watched = [cluster.processes[name] for name in ("one", "two")]
    cluster.start_when(lambda: all(process.poll() is not None for process in watched), "three")
    found, report = run(job, tmp_path, scene, cluster=cluster.address)
    assert cluster.running() == ["three"]
    assert found == expected
    assert report["source_passes"] <= 3


def test_a_false_alarm_of_the_scheduler_changes_no_byte(cluster: Cluster, tmp_path: Path) -> None:
    job = Job("false alarm", geotiff, MANY_PASSES)
    scene = job.scene(tmp_path)
    expected, _ = run(job, tmp_path, scene)
    (address,) = cluster.addresses("one")
    marker = tmp_path / "marker"
    cluster.client.run(touch_at, "refine", 10, str(marker), workers=[address])
    alarm = cluster.call_when(marker.exists, cluster.client.run_on_scheduler, forget, address=address)
    found, report = run(job, tmp_path, scene, cluster=cluster.address)
    alarm.join()
    assert found == expected
    assert 1 <= report["source_passes"] <= 2
    assert wait_for(lambda: not cluster.scratch())


def touch_at(stage: str, nth: int, marker: str) -> None:
    """Make a file, and pause, when this process has begun the nth block of a stage."""
    import time

    from crews import STAGES, once

    from pipeline.core.late_import import load

    task, left = load(STAGES[stage]), [nth]
    work = task.__call__

    def touching(self: Any, item: Any) -> Any:
        left[0] -= 1
        if not left[0] and once(marker):
            time.sleep(3)
        return work(self, item)

    task.__call__ = touching


def test_blocks_that_end_each_worker_are_named(cluster: Cluster, tmp_path: Path) -> None:
    job = Job("deadly", geotiff, ALL)
    scene = job.scene(tmp_path)
    cluster.restore()  # also a worker that still runs, but is about to end after the false alarm of the test before
    cluster.restore("one", "two", "three", "four", "five")
    cluster.client.run(end_at_block, 128, 64)
    with pytest.raises(ClusterError, match=r"^4 workers ended while they worked on the same blocks \(rows 128-191, co"):
        run(job, tmp_path, scene, cluster=cluster.address)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [], "no output, no folder"
    assert len(cluster.running()) == 1


def end_at_block(top: int, left: int) -> None:
    """Let this process end whenever it begins to sample a block."""
    from crews import end_process

    from pipeline.methods.sample import DrawFromBlock

    work = DrawFromBlock.__call__

    def ending(self: Any, item: Any) -> Any:
        if (item[0].top, item[0].left) == (top, left):
            end_process()
        return work(self, item)

    DrawFromBlock.__call__ = ending  # type: ignore[method-assign]


def fill_disk(nth: int) -> None:
    """Limit the size of this process's files as a full disk does, from the nth block on."""
    import resource
    import signal

    from pipeline.engine.cache import DiskCache

    work, left = DiskCache.write, [nth]
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def filling(self: Any, entry: Any, array: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            work(self, entry, array)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    DiskCache.write = filling  # type: ignore[method-assign]


def test_a_full_disk_of_one_worker_is_a_sentence_with_its_name(cluster: Cluster, tmp_path: Path) -> None:
    scene = geotiff(tmp_path)
    cluster.restore()
    (address,) = cluster.start("small")
    cluster.client.run(fill_disk, 3, workers=[address])
    cluster.start("large")
    sentence = rf"the cache file (block|status)-\S+ can't be written .* \(on the worker {address}\)(\n|$)"
    with pytest.raises(OutputError, match=sentence):
        run(Job("full", geotiff, ALL, {"run": {"cache": "disk"}}), tmp_path, scene, cluster=cluster.address)
    assert cluster.scratch() == []
    cluster.restore()


def test_a_cache_that_need_not_be_is_left_out_where_the_disk_is_full(cluster: Cluster, tmp_path: Path) -> None:
    job = Job("full", geotiff, SAMPLED)
    scene = job.scene(tmp_path)
    expected, _ = run(job, tmp_path, scene)
    cluster.restore()
    (address,) = cluster.start("small")
    cluster.client.run(fill_disk, 3, workers=[address])
    cluster.start("large")
    found, report = run(job, tmp_path, scene, cluster=cluster.address)
    assert found == expected
    assert 1 < report["source_passes"] < 2, "what the other has is not decoded again"
    cluster.restore()


def test_the_cache_is_in_the_folder_that_the_config_names(cluster: Cluster, tmp_path: Path) -> None:
    scene = geotiff(tmp_path)
    (tmp_path / "fast").mkdir()
    seen: list[list[Path]] = []
    marker = tmp_path / "marker"
    (address,) = cluster.addresses("one")
    cluster.client.run(touch_at, "refine", 2, str(marker), workers=[address])
    look = cluster.call_when(marker.exists, lambda: seen.append(list((tmp_path / "fast").glob(f"{PREFIX}*"))))
    run(Job("", geotiff, ALL), tmp_path, scene, cluster=cluster.address, cache_dir=str(tmp_path / "fast"))
    look.join()
    assert len(seen[0]) == 2
    assert list((tmp_path / "fast").iterdir()) == []


def test_a_killed_workers_folder_goes_at_the_end_of_the_run(cluster: Cluster, tmp_path: Path) -> None:
    scene = geotiff(tmp_path)
    (tmp_path / "fast").mkdir()
    cluster.client.run(end_at, "refine", 10, str(tmp_path / "marker"))
    cluster.call_when(lambda: len(cluster.running()) == 1, lambda: None)  # else it is not gone, but a zombie
    run(Job("", geotiff, MANY_PASSES), tmp_path, scene, cluster=cluster.address, cache_dir=str(tmp_path / "fast"))
    assert (tmp_path / "marker").exists()
    assert list((tmp_path / "fast").iterdir()) == []
