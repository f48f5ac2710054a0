"""A plan stays within the memory allowed or says how much it needs, and its blocks match those of the files."""

import re
from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import ConfigError, MemoryBudgetError
from pipeline.core.grid import Block, Grid
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cluster import TASKS_PER_THREAD
from pipeline.engine.parcels import Packer
from pipeline.engine.worker import Answer
from pipeline.jobs.config import FIT
from pipeline.jobs.crew import Crew
from pipeline.jobs.plan import SENT_PIXELS, SHARD_PIXELS, WRITTEN_PIXELS, ClusterPlan, Plan, make_plan
from pipeline.kernels.fixed import ClassTotals, FixedPoint
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.minibatch import MiniBatchSettings
from pipeline.methods.passes import PassResult
from pipeline.methods.settings import CentroidSettings
from pipeline.pixels.gdal_memory import gdal_cache_bytes, most_open_files
from pipeline.raster.stored_blocks import OpenFiles
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.reading import Reading
from pipeline.sinks.registry import SINKS
from pipeline.sinks.zarr_map import CHUNK_SIDE, ZARR

GB = 10**9


ZARR_SINKS = [ZARR if sink.key == "labels" else sink for sink in SINKS]


def scene_of(
    shape: tuple[int, int] = (10_980, 10_980), bands: int = 4, dtype: str = "uint16",
    block: tuple[int, int] = (1024, 1024), driver: str = "GTiff", **costs: Any,
) -> RasterScene:  # fmt: skip
    info = SceneInfo(
        grid=Grid(shape=shape, transform=Affine.identity(), crs=None),
        bands=tuple(f"band{n}" for n in range(bands)),
        dtype=np.dtype(dtype),
        nodata=(None,) * bands,
        scales=(1.0,) * bands,
        offsets=(0.0,) * bands,
        block_shape=block,
        masked=False,
        drivers=(driver,),
        nodata_rule="auto",
        sources=("scene",),
        files=(),
    )
    known = {
        "file_block_bytes": block[0] * block[1] * np.dtype(dtype).itemsize,
        "expensive": driver != "GTiff",
        "decoded_bytes": shape[0] * shape[1] * bands * np.dtype(dtype).itemsize,
    }
    return RasterScene(info, Reading(**(known | costs)), parts=())


@st.composite
def scenes(draw: st.DrawFn) -> RasterScene:
    shape = draw(st.tuples(st.integers(1, 40_000), st.integers(1, 40_000)))
    tile = st.sampled_from([(256, 256), (512, 512), (1024, 1024), (128, 512), (4096, 4096)])
    strip = st.integers(1, 64).map(lambda rows: (rows, shape[1]))
    return scene_of(
        shape,
        draw(st.sampled_from([1, 3, 4, 13, 200])),
        draw(st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"])),
        draw(tile | strip),
        draw(st.sampled_from(["GTiff", "JP2OpenJPEG", "VRT"])),
    )


resources = st.builds(
    ResourceConfig,
    memory=st.integers(4 * 10**8, 64 * GB) | st.integers(4 * 10**8, GB),
    workers=st.integers(1, 64),
)
fits = st.none() | st.builds(KMeansSettings, k=st.just(2), pixels=st.integers(2, 2_000_000), starts=st.integers(1, 10))


def plan_or_none(
    scene: RasterScene, run: ResourceConfig, fit: CentroidSettings | None, *, labels: bool = True
) -> Plan | None:
    try:
        return make_plan(scene, run, fit, sinks=SINKS if labels else ())
    except MemoryBudgetError:
        return None


def least_memory(scene: RasterScene, plan: Plan, fit: CentroidSettings | None) -> int:
    """Lower bound of a run's memory: pixels, valid mask and labels of a block per worker, and the sample."""
    pixels = plan.chunk[0] * plan.chunk[1]
    blocks = plan.at_once * (pixels * scene.info.bytes_per_pixel + 2 * pixels)
    return blocks + (min(fit.pixels, scene.info.pixels) * scene.info.bytes_per_pixel if fit else 0)


@settings(max_examples=200, deadline=None)
@given(scene=scenes(), run=resources, fit=fits)
def test_a_plan_is_within_the_memory_allowed_and_counts_at_least_the_arrays_it_needs(
    scene: RasterScene, run: ResourceConfig, fit: CentroidSettings | None
) -> None:
    plan = plan_or_none(scene, run, fit)
    assume(plan is not None)
    assert plan is not None
    assert least_memory(scene, plan, fit) < plan.peak <= run.memory
    assert 1 <= plan.workers <= run.workers
    assert plan.blocks == ceil(scene.info.grid.shape[0] / plan.chunk[0]) * ceil(
        scene.info.grid.shape[1] / plan.chunk[1]
    )


@settings(max_examples=200, deadline=None)
@given(scene=scenes(), run=resources, fit=fits)
def test_a_block_consists_of_whole_file_blocks_or_covers_the_whole_side(
    scene: RasterScene, run: ResourceConfig, fit: CentroidSettings | None
) -> None:
    plan = plan_or_none(scene, run, fit)
    assume(plan is not None)
    assert plan is not None
    for side, file_side, whole in zip(plan.chunk, scene.info.block_shape, scene.info.grid.shape, strict=True):
        assert side == whole or (side < whole and side % file_side == 0)
    if scene.info.block_shape[1] >= scene.info.grid.shape[1]:
        assert plan.chunk[1] == scene.info.grid.shape[1]


@settings(max_examples=100, deadline=None)
@given(scene=scenes(), run=resources, fit=fits, more=st.integers(0, 20 * GB))
def test_a_plan_is_never_refused_for_more_memory(
    scene: RasterScene, run: ResourceConfig, fit: CentroidSettings | None, more: int
) -> None:
    if plan_or_none(scene, run, fit):
        assert plan_or_none(scene, run.model_copy(update={"memory": run.memory + more}), fit)
    else:
        fewer = run.model_copy(update={"memory": run.memory - min(more, run.memory - 1)})
        assert plan_or_none(scene, fewer, fit) is None


@settings(max_examples=200, deadline=None)
@given(scene=scenes(), fit=fits, workers=st.integers(1, 8))
def test_a_refusal_names_memory_that_is_enough_when_a_little_less_is_not(
    scene: RasterScene, fit: CentroidSettings | None, workers: int
) -> None:
    with pytest.raises(MemoryBudgetError, match=r"memory allows 100 MB") as caught:
        make_plan(scene, ResourceConfig(memory=10**8, workers=workers), fit)
    stated = re.search(r"the run needs at least (\d+(?:\.\d\d)?) (MB|GB):", str(caught.value))
    assert stated
    least = round(float(stated[1]) * (GB if stated[2] == "GB" else 10**6))
    assert plan_or_none(scene, ResourceConfig(memory=least - 2 * 10**7, workers=workers), fit) is None
    assert plan_or_none(scene, ResourceConfig(memory=least, workers=workers), fit)


@settings(max_examples=100, deadline=None)
@given(scene=scenes(), chunk=st.integers(16, 50_000), workers=st.integers(1, 8))
def test_a_requested_chunk_is_rounded_up_to_whole_file_blocks(scene: RasterScene, chunk: int, workers: int) -> None:
    plan = make_plan(scene, ResourceConfig(memory=10**16, workers=workers, chunk=chunk), None)
    for side, file_side, whole in zip(plan.chunk, scene.info.block_shape, scene.info.grid.shape, strict=True):
        assert side == whole or side % file_side == 0
        assert min(chunk, whole) <= side < chunk + file_side
    assert plan.workers == workers


@settings(max_examples=50, deadline=None)
@given(scene=scenes(), pixels=st.integers(2, 10**6), labels=st.booleans())
def test_each_sampled_pixel_adds_at_least_the_bytes_of_its_bands_and_key(
    scene: RasterScene, pixels: int, *, labels: bool
) -> None:
    run = ResourceConfig(memory=10**16, workers=1, chunk=16)
    few, many = (
        make_plan(scene, run, KMeansSettings(k=2, pixels=n), sinks=SINKS if labels else ()) for n in (2, pixels)
    )
    drawn = min(pixels, scene.info.pixels) - min(2, scene.info.pixels)
    alone = [make_plan(scene, run, KMeansSettings(k=2, pixels=n), sinks=()).peak for n in (2, pixels)]
    assert alone[1] - alone[0] >= drawn * (scene.info.bytes_per_pixel + 8)
    if labels:  # outputs are written when the sample is no longer needed: the larger of both counts
        assert many.peak >= max(few.peak, alone[1])


def test_a_requested_chunk_that_is_too_large_for_the_memory_is_refused() -> None:
    run = ResourceConfig(memory=GB, workers=1, chunk=10_980)
    assert plan_or_none(scene_of(), run.model_copy(update={"chunk": "auto"}), None)
    with pytest.raises(MemoryBudgetError, match=r"10980 x 10980 pixels.* or a smaller run.chunk than 10980"):
        make_plan(scene_of(), run, None)


def test_no_memory_is_planned_for_workers_without_a_block() -> None:
    one, many = (make_plan(scene_of((100, 100)), ResourceConfig(workers=n), None) for n in (1, 64))
    assert (many.blocks, many.at_once) == (1, 1)
    assert many.peak - one.peak == many.base - one.base


@pytest.mark.parametrize(
    ("driver", "fit", "labels", "passes", "cached"),
    [
        ("GTiff", KMeansSettings(), True, 2, False),
        ("JP2OpenJPEG", KMeansSettings(), True, 1, True),  # expensive to decode
        ("GTiff", KMeansSettings(pixels="all"), True, 1, True),
        ("JP2OpenJPEG", KMeansSettings(pixels="all"), False, 1, True),
        ("GTiff", MiniBatchSettings(pixels="all", method="minibatch"), True, 1, True),
        ("GTiff", None, True, 1, False),
        ("JP2OpenJPEG", None, True, 1, False),
        ("GTiff", KMeansSettings(), False, 1, False),
        ("JP2OpenJPEG", KMeansSettings(), False, 1, False),
    ],
)
def test_a_scene_is_cached_and_read_once_unless_it_is_cheap_to_read_twice(
    driver: str, fit: CentroidSettings | None, passes: int, *, labels: bool, cached: bool
) -> None:
    scene = scene_of(driver=driver)
    plan = make_plan(scene, ResourceConfig(memory=4 * GB, workers=2), fit, sinks=SINKS if labels else ())
    assert plan.passes == passes
    decoded, validity, all_pixels = 4 * 2, plan.caches_blocks, plan.caches_blocks and fit and fit.pixels == "all"
    assert plan.cache_bytes == (10_980 * 10_980 * (decoded + bool(validity) + 2 * bool(all_pixels)) if cached else 0)
    assert (plan.map_disk >= scene.info.pixels) is labels
    assert plan.disk == plan.cache_bytes + plan.map_disk


@pytest.mark.parametrize(
    "fit", [KMeansSettings(), KMeansSettings(pixels="all"), MiniBatchSettings(pixels="all", method="minibatch")]
)
@pytest.mark.parametrize("driver", ["GTiff", "JP2OpenJPEG"])
def test_the_cache_is_where_the_config_says(driver: str, fit: CentroidSettings) -> None:
    plans = {
        cache: make_plan(scene_of(driver=driver), ResourceConfig(memory=8 * GB, workers=2, cache=cache), fit)
        for cache in ("none", "disk", "memory")
        if (cache, fit.method) != ("none", "minibatch")
    }
    assert {cache: plan.cache for cache, plan in plans.items()} == {name: name for name in plans}
    if fit.method == "kmeans":
        assert plans["none"].cache_bytes == 0
        assert plans["none"].passes == (2 if fit.pixels != "all" else fit.max_iter + 3)
    assert plans["disk"].passes == plans["memory"].passes == 1
    assert plans["memory"].peak == plans["disk"].peak + plans["memory"].cache_bytes
    assert plans["memory"].cache_disk == 0 < plans["disk"].cache_disk == plans["memory"].cache_bytes


@pytest.mark.parametrize("method", ["dask-ml", "minibatch"])
def test_some_methods_over_all_pixels_need_a_cache(method: str) -> None:
    fit = FIT.parse({"pixels": "all", "method": method}, "test")
    with pytest.raises(ConfigError, match=rf"^run\.cache: none: {method} .* needs a cache; use disk or memory$"):
        make_plan(scene_of(), ResourceConfig(cache="none"), fit)


def test_a_cache_that_does_not_fit_into_memory_is_refused_with_its_size() -> None:
    with pytest.raises(MemoryBudgetError, match=r"and 1\.33 GB for the cache in memory \(run\.cache: disk avoids"):
        make_plan(scene_of(), ResourceConfig(memory=GB, cache="memory"), KMeansSettings(pixels="all"))


@pytest.mark.parametrize(
    ("fit", "split", "passes"), [(KMeansSettings(), False, 1), (KMeansSettings(), True, 2), (None, False, 1)]
)
def test_a_compressed_scene_is_cached_if_it_is_read_twice_and_no_file_block_is_split(
    fit: CentroidSettings | None, passes: int, *, split: bool
) -> None:
    scene = scene_of(compressed=True, read_by_file_block=split)
    plan = make_plan(scene, ResourceConfig(memory=4 * GB, workers=2), fit)
    assert (plan.passes, plan.caches_files) == (passes, False)
    cached = scene.info.pixels * (4 * 2 + 1) if fit and passes == 1 else 0
    assert (plan.cache, plan.cache_disk) == ("disk" if cached else "none", cached)


def test_split_file_blocks_that_are_expensive_to_decode_are_cached_even_for_one_pass() -> None:
    scene = scene_of(driver="JP2OpenJPEG", read_by_file_block=True)
    plan = make_plan(scene, ResourceConfig(memory=4 * GB, workers=2), None)
    assert (plan.passes, plan.cache_bytes > 0) == (1, True)


@pytest.mark.parametrize(("files", "workers", "held"), [(1, 4, 0), (3, 2, 4), (1000, 1, 7), (1000, 4, 28)])
def test_memory_of_open_files_behind_virtual_ones_is_counted_up_to_gdals_limit(
    files: int, workers: int, held: int
) -> None:
    """The file that each worker is decoding is counted with its block."""
    run, scene = ResourceConfig(memory=64 * GB, workers=workers), scene_of()
    virtual = scene_of(open_files=OpenFiles(files, 10**7))
    assert make_plan(virtual, run, None).peak - make_plan(scene, run, None).peak == held * 10**7
    assert most_open_files(workers) == 8 * workers


def test_gdals_cache_holds_all_file_blocks_of_one_block_of_the_scene() -> None:
    two, four = (Reading(file_block_bytes=10**8, blocks_at_once=n) for n in (2, 4))
    assert gdal_cache_bytes(four, 3) == 2 * gdal_cache_bytes(two, 3) == 12 * 10**8


def test_little_memory_gives_smaller_blocks_first_and_fewer_workers_then() -> None:
    plans = [
        plan_or_none(
            scene_of(block=(256, 256)), ResourceConfig(memory=size * 10**6, workers=4), KMeansSettings(pixels=10_000)
        )
        for size in range(300, 600)
    ]
    possible = [plan for plan in plans if plan]
    assert len({plan.chunk for plan in possible if plan.workers == 4}) > 1
    assert {plan.workers for plan in possible} == {1, 2, 4}
    assert [plan.workers for plan in possible] == sorted(plan.workers for plan in possible)


def on_cluster(plan: Plan) -> ClusterPlan:
    assert plan.cluster is not None
    return plan.cluster


@settings(max_examples=200, deadline=None)
@given(scene=scenes(), fit=fits, processes=st.integers(1, 200), threads=st.integers(1, 16))
def test_on_a_cluster_tasks_are_few_and_shards_depend_on_the_scene_alone(
    scene: RasterScene, fit: CentroidSettings | None, processes: int, threads: int
) -> None:
    run = ResourceConfig(memory=10**16)
    plan = make_plan(scene, run, fit, crew=Crew(processes, threads))
    cluster, alone = on_cluster(plan), on_cluster(make_plan(scene, run, fit, crew=Crew(1, 1)))
    assert (cluster.processes, plan.workers) == (processes, threads)
    assert (cluster.shards, cluster.shard_blocks) == (alone.shards, alone.shard_blocks)
    assert 1 <= cluster.tasks <= min(cluster.shards, TASKS_PER_THREAD * processes * threads)
    assert (cluster.shards - 1) * cluster.shard_blocks < plan.blocks <= cluster.shards * cluster.shard_blocks
    assert cluster.shard_blocks == 1 or cluster.shard_blocks * plan.chunk[0] * plan.chunk[1] <= SHARD_PIXELS
    assert 1 <= cluster.label_blocks <= max(cluster.shard_blocks, SENT_PIXELS // (plan.chunk[0] * plan.chunk[1]))
    assert ceil(cluster.shards * cluster.shard_blocks / cluster.label_blocks) >= cluster.tasks
    busy = min(processes, cluster.tasks)
    assert cluster.worker_cache * busy >= plan.cache_bytes > (cluster.worker_cache - 1) * busy - 1
    assert cluster.worker_cache * cluster.shards >= plan.cache_bytes  # who caches anything caches a shard or more
    drawn = min(fit.pixels, scene.info.pixels) if fit else 0
    assert (
        drawn * scene.info.bytes_per_pixel
        <= cluster.sample_bytes
        <= scene.info.pixels * (scene.info.bytes_per_pixel + 8)
    )


def test_what_is_sent_to_the_client_does_not_grow_with_the_scene_but_for_labels() -> None:
    one, many = (
        on_cluster(
            make_plan(
                scene_of((side, side), driver="JP2OpenJPEG"),
                ResourceConfig(),
                KMeansSettings(pixels="all"),
                crew=Crew(2, 1),
            )
        )
        for side in (10_980, 219_600)
    )
    assert one.sample_bytes == pytest.approx(many.sample_bytes, rel=0.01)
    assert one.pass_bytes == many.pass_bytes < 50_000
    assert (one.label_bytes, many.label_bytes) == (10_980**2, 219_600**2)
    assert one.tasks == many.tasks == 2 * TASKS_PER_THREAD


@pytest.mark.parametrize(
    ("side", "crew", "tasks"), [(10_980, Crew(2, 1), 8), (10_980, Crew(8, 4), 31), (109_800, Crew(100, 1), 400)]
)
def test_labels_are_few_tasks_too_as_long_as_their_answers_are_small(side: int, crew: Crew, tasks: int) -> None:
    scene = scene_of((side, side), block=(1024, 1024))
    for chosen, most in ((SINKS, SENT_PIXELS), (ZARR_SINKS, WRITTEN_PIXELS)):
        plan = make_plan(scene, ResourceConfig(memory=10**16), None, sinks=chosen, crew=crew)
        cluster = on_cluster(plan)
        assert cluster.label_tasks == ceil(plan.blocks / cluster.label_blocks)
        assert cluster.label_blocks * 1024**2 <= most
        assert cluster.label_tasks <= tasks or cluster.label_blocks * 1024**2 == most


def test_without_a_cluster_nothing_is_said_of_one_and_a_cluster_needs_its_library() -> None:
    alone, spread = (make_plan(scene_of(), ResourceConfig(workers=2), None, crew=crew) for crew in (None, Crew(1, 2)))
    assert alone.cluster is None
    assert 10**7 < spread.base - alone.base < 10**8
    assert spread.chunk == alone.chunk
    labels = on_cluster(spread).label_blocks * 1024**2
    assert spread.per_block - alone.per_block == 3 * labels, "labels of a task, on their way to the client"
    without = (
        make_plan(scene_of(), ResourceConfig(workers=2), None, sinks=(), crew=crew) for crew in (None, Crew(1, 2))
    )
    assert len({plan.per_block for plan in without}) == 1


@pytest.mark.parametrize(
    ("block", "dtype", "bands", "chunk"),
    [
        ((1024, 1024), "uint16", 4, (1024, 1024)),
        ((512, 512), "uint8", 1, (2048, 2048)),  # as a GeoTIFF: 2560
        ((512, 512), "uint16", 10, (1024, 1024)),  # as a GeoTIFF: 512
        ((256, 256), "float32", 13, (1024, 1024)),  # as a GeoTIFF: 256
        ((16, 10_980), "uint16", 4, (1024, 10_980)),  # strips
        ((10, 10_980), "uint16", 4, None),  # 5120 rows are too many
        ((600, 600), "uint16", 4, None),
    ],
)
def test_workers_write_a_zarr_map_in_blocks_that_are_whole_chunks_if_possible(
    block: tuple[int, int], dtype: str, bands: int, chunk: tuple[int, int] | None
) -> None:
    scene, run = scene_of(bands=bands, dtype=dtype, block=block), ResourceConfig(memory=4 * GB)
    plan = make_plan(scene, run, None, sinks=ZARR_SINKS, crew=Crew(2, 1))
    alone = make_plan(scene, run, None, sinks=ZARR_SINKS)
    assert plan.chunk == (chunk or alone.chunk)
    assert on_cluster(plan).label_bytes == 0
    for side, whole, stored in zip(plan.chunk, scene.info.grid.shape, block, strict=True):
        assert side == whole or side % stored == 0
        assert chunk is None or side == whole or side % CHUNK_SIDE == 0
    of_tif = make_plan(scene, run, None, crew=Crew(2, 1))
    assert (of_tif.chunk, on_cluster(of_tif).label_bytes) == (alone.chunk, scene.info.pixels)


def test_blocks_are_no_whole_chunks_where_that_takes_too_much_memory_or_the_map_is_cropped() -> None:
    scene, crew = scene_of(bands=13, dtype="float32", block=(256, 256)), Crew(1, 1)
    ample = make_plan(scene, ResourceConfig(memory=4 * GB), None, sinks=ZARR_SINKS, crew=crew)
    tight = make_plan(scene, ResourceConfig(memory=ample.peak - 1), None, sinks=ZARR_SINKS, crew=crew)
    assert (ample.chunk, tight.chunk) == ((1024, 1024), (256, 256))
    window = Block(row=0, column=0, top=100, left=0, height=3000, width=3000)
    cropped = replace(scene, info=replace(scene.info, map_window=window))
    assert make_plan(cropped, ResourceConfig(memory=4 * GB), None, sinks=ZARR_SINKS, crew=crew).chunk == (256, 256)


def test_the_plan_of_a_cluster_without_labels_or_passes_says_so() -> None:
    found = on_cluster(make_plan(scene_of(), ResourceConfig(), KMeansSettings(), sinks=(), crew=Crew(3, 2)))
    assert (found.pass_bytes, found.label_bytes) == (0, 0)
    assert on_cluster(make_plan(scene_of(), ResourceConfig(), None, crew=Crew(3, 2))).sample_bytes == 0


@pytest.mark.parametrize(("k", "bands"), [(2, 1), (10, 10), (60, 13), (254, 4)])
def test_accounts_of_a_pass_are_no_larger_than_planned(k: int, bands: int) -> None:
    fixed = FixedPoint.of(np.dtype("uint16"), np.zeros(bands, "uint16"), np.full(bands, 65_535, "uint16"))
    totals = ClassTotals(k, fixed)
    rng = np.random.default_rng(0)
    for sums in (totals.counts, totals.sums, totals.squares):
        sums[...] = rng.integers(2**40, 2**55, sums.shape).astype(object)  # of 10^12 pixels
    answer = Answer(PassResult(10**9, totals), {f"part-{n}": 10**9 for n in range(8)}, "0" * 32)
    scene = scene_of(bands=bands, driver="JP2OpenJPEG")
    plan = on_cluster(
        make_plan(scene, ResourceConfig(memory=8 * GB), KMeansSettings(k=k, pixels="all"), crew=Crew(2, 1))
    )
    assert len(Packer().pack(answer).content) <= plan.pass_bytes / plan.tasks
