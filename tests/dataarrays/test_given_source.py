"""DataArrays on the workers of a client: the bits of threads, and pixels that never pass through the client."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from conftest import patches, raster_file
from dask.sizeof import sizeof

from pipeline import ClusterEstimator, ClusterModel, fit, label, open_scene, write
from pipeline.core.errors import SceneError
from pipeline.core.pixels import Pixels
from pipeline.dataarrays.given_source import GivenPlane, GivenSource
from pipeline.dataarrays.source import ArraySource, blocks_of
from pipeline.engine.cluster import ClusterExecutor
from pipeline.jobs import plan
from pipeline.jobs.cluster import open_array_executor
from pipeline.jobs.crew import Crew
from pipeline.methods import settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Port 8787 is already in use"
    ),
]

SHAPE, CHUNK = (330, 410), 64
BLOCKS = 6 * 7
PIXELS = patches(3, SHAPE)
PIXELS[:, :70, :50] = 0

FITS = {
    "sample": {"pixels": 4000},
    "by-cell": {"pixels": 4000, "stratify": "blocks"},
    "all": {"pixels": "all"},
    "smooth": {"pixels": "all", "smooth": 5},
    "texture": {"pixels": 4000, "texture": {"bands": ["band2"], "of": "std", "size": 3}},
    "gmm": {"method": "gmm", "pixels": 4000},
    "isodata": {"method": "isodata", "pixels": 4000, "k": None, "starts": None},
    "indices": {"pixels": "all", "indices": ["(band1 - band2) / (band1 + band2)"]},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = raster_file(tmp_path_factory.mktemp("scene") / "scene.tif", PIXELS, nodata=0, **tiles)
    return open_scene(path, chunk=CHUNK)


@pytest.fixture(scope="module")
def threads(scene: xr.DataArray) -> dict[str, ClusterModel]:
    """Models of the thread engine."""
    return {name: fit_of(scene, **settings) for name, settings in FITS.items()}


@pytest.fixture(scope="module")
def cluster(threads: Any) -> Iterator[Any]:
    """A client in force."""
    from dask.distributed import Client, LocalCluster

    del threads  # fitted before
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as workers,
        Client(workers) as client,
    ):
        yield client


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two blocks, so that there are many tasks."""
    monkeypatch.setattr(plan, "SHARD_PIXELS", 2 * CHUNK**2)


def fit_of(scene: xr.DataArray | xr.Dataset, **settings: Any) -> ClusterModel:
    given = {"k": 4, "starts": 2} | settings
    return fit(scene, **{name: value for name, value in given.items() if value is not None})


def received(client: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all results that reach a client."""
    sizes: list[int] = []
    gather = client._gather_remote

    async def counted(*args: Any, **how: Any) -> Any:
        response = await gather(*args, **how)
        sizes.extend(map(sizeof, response["data"].values()))
        return response

    monkeypatch.setattr(client, "_gather_remote", counted)
    return sizes


def counting(pixels: npt.NDArray[Any], folder: Path) -> xr.DataArray:
    """A lazy scene that leaves a file in a folder for each read of a chunk."""

    def read(block_info: Any = None) -> npt.NDArray[Any]:
        (_, rows, columns) = block_info[None]["array-location"]
        (folder / f"{rows[0]}-{columns[0]}-{uuid4().hex}").touch()
        return pixels[:, slice(*rows), slice(*columns)]

    chunks = da.core.normalize_chunks((-1, CHUNK, CHUNK), pixels.shape)
    lazy = da.map_blocks(read, chunks=chunks, dtype=pixels.dtype, meta=np.empty((0, 0, 0), pixels.dtype))
    rows, columns = (np.arange(side) * 10.0 for side in pixels.shape[1:])
    bands = [f"band{number}" for number in range(1, len(pixels) + 1)]
    array = xr.DataArray(lazy, dims=("band", "y", "x"), coords={"band": bands, "y": rows[::-1], "x": columns})
    return array.assign_attrs(_FillValue=pixels.dtype.type(0)).rio.write_crs(32633)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.usefixtures("cluster", "small_shards")
def test_fits_are_those_of_threads(scene: xr.DataArray, threads: dict[str, ClusterModel], name: str) -> None:
    persisted = scene.persist()
    variants = (scene, persisted, persisted.to_dataset("band"))
    for variant in variants if name in {"sample", "all", "smooth"} else variants[2:]:
        assert fit_of(variant, **FITS[name]) == threads[name]


@pytest.mark.usefixtures("small_shards")
def test_only_the_sample_reaches_the_client(scene: xr.DataArray, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "DEFAULT_SAMPLE", 1000)  # with "all", too
    with dask.config.set(scheduler="threads"):
        expected = [fit_of(scene, pixels=pixels) for pixels in (1000, "all")]
    sizes = received(cluster, monkeypatch)
    for variant in (scene, scene.persist()):
        for pixels, model in zip((1000, "all"), expected, strict=True):
            sizes.clear()
            assert fit_of(variant, pixels=pixels) == model
            # the sample is drawn as if only an eighth of the pixels were valid; a shard has 49 kB of pixels
            assert max(sizes) < 15_000
            assert sum(sizes) > 1000 * 6
            assert pixels == "all" or sum(sizes) < 150_000 < PIXELS.nbytes / 5


@pytest.mark.usefixtures("cluster", "small_shards")
def test_each_block_is_computed_once(tmp_path: Path) -> None:
    scene = counting(PIXELS, tmp_path)
    model = fit_of(scene, pixels="all")
    reads = [file.name.rsplit("-", 1)[0] for file in tmp_path.iterdir()]
    assert len(reads) == len(set(reads)) == BLOCKS
    with dask.config.set(scheduler="threads"):
        assert fit_of(scene, pixels="all") == model


@pytest.mark.usefixtures("cluster", "small_shards")
def test_a_histogram_computes_blocks_twice(tmp_path: Path) -> None:
    scene = counting(PIXELS[:1], tmp_path)
    model = fit(scene, method="histogram", bins=6)
    assert len(list(tmp_path.iterdir())) == 2 * BLOCKS
    with dask.config.set(scheduler="threads"):
        assert fit(scene, method="histogram", bins=6) == model


@pytest.mark.usefixtures("small_shards")
def test_a_graph_sent_to_the_cluster_has_the_blocks_of_a_shard(
    scene: xr.DataArray, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = cluster.compute

    def counted(collections: list[Any], **how: Any) -> Any:
        sizes.extend(len(each.dask) for each in collections)
        return compute(collections, **how)

    monkeypatch.setattr(cluster, "compute", counted)
    fit_of(scene.persist().to_dataset("band"), pixels=1000)
    assert len(sizes) == BLOCKS
    assert max(sizes) < 30  # a few per band, for three bands and validity


@pytest.mark.usefixtures("small_shards")
def test_a_worker_that_lost_its_inputs_is_given_them_again(cluster: Any) -> None:
    array = da.from_array(np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE), chunks=CHUNK)
    blocks = blocks_of(array)
    with open_array_executor(Crew(2, 1, cluster), blocks, "none", None) as executor:
        task = GivenPlane(array, blocks, has_inputs="once")  # which remembers nothing
        for _ in range(2):
            assert [block for block, _ in executor.map(task, blocks)] == list(blocks)
        parts = dict(executor.map(task, blocks, ordered=False))
    assert np.block([[parts[blocks.at(row, column)] for column in range(7)] for row in range(6)]).tolist() == (
        array.compute().tolist()
    )


@pytest.mark.usefixtures("cluster")
def test_an_error_in_a_block_ends_the_fit(scene: xr.DataArray) -> None:
    def failing(chunk: npt.NDArray[Any], block_info: Any = None) -> npt.NDArray[Any]:
        if block_info[0]["chunk-location"] == (0, 3, 2):
            msg = "scene.tif: rows 192-255 can't be read"
            raise SceneError(msg)
        return chunk

    broken = scene.copy(data=scene.data.map_blocks(failing, dtype=scene.dtype, meta=scene.data._meta))
    with pytest.raises(SceneError, match=r"^scene.tif: rows 192-255 can't be read$"):
        fit_of(broken, pixels="all")


@pytest.mark.usefixtures("small_shards")
def test_a_worker_that_is_killed_changes_no_bit(tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = counting(PIXELS, tmp_path)
    with dask.config.set(scheduler="threads"):
        expected = fit_of(scene, pixels="all")
    for file in tmp_path.iterdir():
        file.unlink()
    tasks, send = [0], ClusterExecutor._send

    def killing(self: Any, worker: Any, *args: Any) -> None:
        send(self, worker, *args)
        tasks[0] += 1
        if tasks[0] == BLOCKS // 2 + 3:  # after the sample, in a pass
            os.kill(cluster.run(os.getpid, workers=[worker.address])[worker.address], signal.SIGKILL)

    monkeypatch.setattr(ClusterExecutor, "_send", killing)
    assert fit_of(scene, pixels="all") == expected
    assert tasks[0] > BLOCKS // 2 + 3
    assert BLOCKS < len(list(tmp_path.iterdir())) < 2 * BLOCKS  # only those of the worker again
    cluster.wait_for_workers(2, timeout=60)


@pytest.mark.parametrize("variant", ["lazy", "persisted"])
@pytest.mark.usefixtures("cluster", "small_shards")
def test_dask_ml_agrees_with_threads(scene: xr.DataArray, variant: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"method": "dask-ml", "pixels": "all", "tol": 1e-6}
    with dask.config.set(scheduler="threads"):
        expected = fit_of(scene, **settings)
    with caplog.at_level(logging.WARNING):
        model = fit_of(scene if variant == "lazy" else scene.persist(), **settings)
    np.testing.assert_allclose(model.centres, expected.centres, rtol=1e-6)
    np.testing.assert_allclose(model.counts, expected.counts, rtol=1e-3)
    assert [record.message for record in caplog.records if "last digits" in record.message] == [
        "method: dask-ml: on a cluster the last digits of its centroids vary from run to run"
    ]


def test_labels_come_compressed(
    scene: xr.DataArray, threads: dict[str, ClusterModel], cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask.config.set(scheduler="threads"):
        expected = write(label(scene, threads["all"]), tmp_path / "c.tif").read_bytes()
    sizes = received(cluster, monkeypatch)
    for variant in (scene, scene.persist(), scene.persist().to_dataset("band")):
        sizes.clear()
        assert write(label(variant, threads["all"]), tmp_path / "c.tif", overwrite=True).read_bytes() == expected
        assert sum(sizes) < SHAPE[0] * SHAPE[1] / 2
    labels = label(scene, threads["smooth"]).persist()
    assert write(labels, tmp_path / "s.tif").read_bytes()
    np.testing.assert_array_equal(labels, label(scene, threads["smooth"]).compute(scheduler="threads"))


@pytest.mark.parametrize("how", ["memory", "threads"])
def test_pixels_that_are_here_are_not_sent(
    scene: xr.DataArray, threads: dict[str, ClusterModel], cluster: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    here = scene.compute(scheduler="threads") if how == "memory" else scene
    monkeypatch.setattr(cluster, "_send_to_scheduler", lambda message: pytest.fail(str(message)))
    with dask.config.set({"scheduler": "threads"} if how == "threads" else {}):
        assert fit_of(here, pixels=4000) == threads["sample"]


@pytest.mark.usefixtures("cluster")
def test_the_estimator_works_with_a_client(scene: xr.DataArray, threads: dict[str, ClusterModel]) -> None:
    estimator = ClusterEstimator(k=4, starts=2, pixels=4000).fit(scene)
    assert estimator.model_ == threads["sample"]
    with dask.config.set(scheduler="threads"):
        expected = estimator.score(scene)
    assert estimator.score(scene) == expected
    rows = PIXELS.reshape(3, -1).T[::50]
    assert ClusterEstimator(k=3).fit_predict(rows).shape == (len(rows),)


def test_a_pickle_of_given_blocks_has_no_graph(scene: xr.DataArray) -> None:
    from pipeline.engine.inputs import NotGivenError
    from pipeline.engine.parcels import Packer, unpack

    source = GivenSource(ArraySource(scene))
    chunks = source.inputs(source.blocks[8])
    (pixels,) = dask.compute(next(iter(chunks.values()))(), scheduler="synchronous")
    expected = ArraySource(scene).read(source.blocks[8])
    assert isinstance(pixels[0, 0], Pixels)
    np.testing.assert_array_equal(pixels[0, 0].data, expected.data)
    packer = Packer()
    parcel = packer.pack(source)
    (content,) = packer.parcels(parcel).values()
    assert len(content.content) < 2000
    copy = unpack(parcel.content, lambda _name: unpack(content.content, lambda _: source))
    assert copy.info == source.info
    with pytest.raises(NotGivenError, match="block-1-1: not given"):
        copy.read(source.blocks[8])


def test_inputs_of_a_block_are_those_of_its_margin(scene: xr.DataArray) -> None:
    source = GivenSource(ArraySource(scene), margin=2)
    of: Callable[[Any], set[str]] = lambda item: set(source.inputs(item))  # noqa: E731
    first, inner = source.blocks[0], source.blocks.at(2, 3)
    assert of(first) == {f"block-{row}-{column}" for row in (0, 1) for column in (0, 1)}
    assert of((inner, 17)) == {f"block-{row}-{column}" for row in (1, 2, 3) for column in (2, 3, 4)}
