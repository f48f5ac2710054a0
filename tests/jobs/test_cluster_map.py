"""Maps of a cluster: the same bytes as those of threads, written by the workers where that is possible."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import patches, raster_file
from runs import config, contents, without_report

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block
from pipeline.jobs import plan
from pipeline.jobs.run import run_config
from pipeline.sinks.zarr_chunks import WrittenBlock
from pipeline.sinks.zarr_writer import ZarrWriter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Port:UserWarning"),
]

SHAPE = (2100, 2300)

RUNS = {
    "whole chunks": {},
    "parts of chunks": {"chunk": 512},
    "both": {"chunk": 1536},
}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of two processes."""
    from distributed import Client, LocalCluster

    size = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    with LocalCluster(dashboard_address=None, **size) as cluster, Client(cluster) as made:
        yield made


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each block be a shard, so that both processes have some."""
    monkeypatch.setattr(plan, "SHARD_PIXELS", 1024**2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("scenes"), {}
    for dtype, nodata in (("uint16", 0), ("float32", np.nan)):
        pixels = patches(3, SHAPE, dtype=dtype)
        pixels[:, :1100, :1300] = nodata  # a chunk of nodata
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
        found[dtype] = raster_file(folder / f"{dtype}.tif", pixels, nodata=nodata, **tiles)
    return found


def written(scene: Path, labels: Path, **run: Any) -> dict[str, bytes]:
    """Run a config in an empty folder; return all files but the report and its page."""
    labels.parent.mkdir()
    fit, output = {"k": 5, "starts": 1, "pixels": 5000}, {"zarr_overviews": True}
    run_config(config(scene, labels, fit=fit, run={"workers": 2, **run}, output=output))
    return without_report(contents(labels.parent))


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    """Blocks whose labels came to this process to be written."""
    found: list[Block] = []
    plain = ZarrWriter.add

    def noted(self: ZarrWriter, block: Block, part: WrittenBlock) -> None:
        if part.labels is not None:
            found.append(block)
        plain(self, block, part)

    monkeypatch.setattr(ZarrWriter, "add", noted)
    return found


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_zarr_map_is_the_same_bytes_and_no_label_passes_through_the_client(  # noqa: PLR0917
    client: Any, scenes: dict[str, Path], tmp_path: Path, collected: list[Block], dtype: str, kind: str
) -> None:
    expected = written(scenes[dtype], tmp_path / "threads" / "classes.zarr")
    collected.clear()
    where = client.scheduler.address
    assert written(scenes[dtype], tmp_path / "cluster" / "classes.zarr", cluster=where, **RUNS[kind]) == expected
    assert collected == []


@pytest.mark.lowest
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_geotiff_is_the_same_bytes(client: Any, scenes: dict[str, Path], tmp_path: Path, dtype: str) -> None:
    expected = written(scenes[dtype], tmp_path / "threads" / "classes.tif")
    assert {"classes.tif", "classes.csv", "classes_quicklook.png", "classes.model.json"} < set(expected)
    for chunk in ("auto", 512):
        found = written(
            scenes[dtype], tmp_path / f"cluster {chunk}" / "classes.tif", cluster=client.scheduler.address, chunk=chunk
        )
        assert found == expected


def hide_store(*, hidden: bool) -> None:
    """Let this process, a worker, see no store of a map, as on a machine with other disks."""
    from pipeline.sinks import zarr_chunks

    zarr_chunks.PARTS = "not mounted" if hidden else ".parts"


@pytest.mark.parametrize("count", [1, 2])
def test_workers_that_do_not_see_the_folder_send_their_labels(  # noqa: PLR0917
    client: Any,
    scenes: dict[str, Path],
    tmp_path: Path,
    collected: list[Block],
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    expected = written(scenes["uint16"], tmp_path / "threads" / "classes.zarr")
    hidden = list(client.nthreads())[:count]
    client.run(partial(hide_store, hidden=True), workers=hidden)
    try:
        with caplog.at_level(logging.WARNING):
            found = written(scenes["uint16"], tmp_path / "cluster" / "classes.zarr", cluster=client.scheduler.address)
    finally:
        client.run(partial(hide_store, hidden=False))
    assert found == expected
    assert collected
    assert [message for message in caplog.messages if "not every worker sees this folder" in message]
    pixels = sum(block.height * block.width for block in collected)
    assert (pixels == SHAPE[0] * SHAPE[1]) is (count == 2)


def end_while_writing(marker: Path) -> None:
    """Let this process, a worker, be killed while it writes its second file, if no other was."""
    import os
    import signal

    from pipeline.sinks.zarr_chunks import PARTS, SharedStore

    plain, files = SharedStore.put, []

    def put(self: SharedStore, path: Path, content: bytes) -> None:
        files.append(path)
        if len(files) == 2 and not marker.exists():
            marker.touch()
            (self.root / PARTS / "cut").write_bytes(content[:100])
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, path, content)

    SharedStore.put = put  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["whole chunks", "parts of chunks"])
def test_a_worker_that_is_killed_while_it_writes_a_chunk_leaves_no_trace(
    client: Any, scenes: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    expected, marker = written(scenes["uint16"], tmp_path / "threads" / "classes.zarr"), tmp_path / "marker"
    client.run(partial(end_while_writing, marker))
    where, run = client.scheduler.address, RUNS[kind]
    found = written(scenes["uint16"], tmp_path / "cluster" / "classes.zarr", cluster=where, **run)
    client.wait_for_workers(2, timeout=120)  # dask starts another
    assert found == expected
    assert marker.exists()


def fill_disk(*, full: bool) -> None:
    """Let this process, a worker, write no chunk, as on a full disk."""
    import errno

    from pipeline.sinks.zarr_chunks import SharedStore, StagedStore

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        SharedStore.plain_path_of = StagedStore._path_of  # type: ignore[attr-defined]
        StagedStore._path_of = refuse  # type: ignore[method-assign,assignment]
    else:
        StagedStore._path_of = SharedStore.plain_path_of  # type: ignore[attr-defined,method-assign]


def test_a_disk_that_is_full_on_a_worker_ends_the_run_with_the_name_of_the_worker(
    client: Any, scenes: dict[str, Path], tmp_path: Path
) -> None:
    client.run(partial(fill_disk, full=True))
    message = r"the map can't be written \(No space left on device\); .*\(on the worker tcp://127\.0\.0\.1:\d+\)(\n|$)"
    try:
        with pytest.raises(OutputError, match=message):
            written(scenes["uint16"], tmp_path / "cluster" / "classes.zarr", cluster=client.scheduler.address)
    finally:
        client.run(partial(fill_disk, full=False))
    assert list((tmp_path / "cluster").iterdir()) == []
