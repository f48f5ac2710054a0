"""Peak memory stays below the plan: measured in fresh processes on scenes of growing size."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM
from rasterio.windows import Window

from pipeline.engine.memory import peak_rss

LARGEST = {"450MB": 4, "2GB": 2}
"""Side of the largest scene in tiles, by memory limit."""


def mirrored(chips: list[str], path: Path, side: int) -> Path:
    """Write a scene of `side` x `side` pixels, a real chip mirrored repeatedly, one row of tiles at a time."""
    chip = np.stack([rasterio.open(name).read(1) for name in chips])
    quad = np.concatenate([chip, chip[:, ::-1]], axis=1)
    quad = np.concatenate([quad, quad[:, :, ::-1]], axis=2)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": len(chip), "height": side, "width": side, **UTM}
    with rasterio.open(
        path, "w", tiled=True, blockxsize=512, blockysize=512, compress="deflate", zlevel=1, **profile
    ) as file:
        columns = np.arange(side) % quad.shape[2]
        for top in range(0, side, 512):
            rows = np.arange(top, min(top + 512, side)) % quad.shape[1]
            file.write(quad[:, rows][:, :, columns], window=Window(0, top, side, len(rows)))
    return path


def repeated(scene: Path, times: int, path: Path) -> Path:
    """Write a virtual file that repeats a scene `times` times in each direction."""
    with rasterio.open(scene) as file:
        side, bands = file.width, file.count
    corners = [(top, left) for top in range(0, times * side, side) for left in range(0, times * side, side)]
    source = (
        '<SimpleSource><SourceFilename relativeToVRT="0">{scene}</SourceFilename><SourceBand>{band}</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
        '<DstRect xOff="{left}" yOff="{top}" xSize="{side}" ySize="{side}"/></SimpleSource>'
    )
    layers = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}">'
        + "".join(source.format(scene=scene, band=band, side=side, top=top, left=left) for top, left in corners)
        + "</VRTRasterBand>"
        for band in range(1, bands + 1)
    )
    path.write_text(f'<VRTDataset rasterXSize="{times * side}" rasterYSize="{times * side}">{layers}</VRTDataset>')
    return path


def peak_of(
    scene: Path,
    folder: Path,
    cap: str,
    fit: str = "{}",
    cache: str = "auto",
    *,
    workers: int = 2,
    features: str = "{}",
) -> int:
    """Run a scene in a fresh process, assert that its peak memory is within the plan, and return it."""
    job = folder / "job.yaml"
    limits = f"run: {{memory: {cap}, workers: {workers}, cache: {cache}}}"
    limits += f"\nfeatures: {features}"
    job.write_text(f"version: 1\nscene: {{source: {scene}}}\nfit: {fit}\noutput: {{labels: out.tif}}\n{limits}\n")
    command = [sys.executable, "-m", "pipeline", "run", str(job), "--json", "-q", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["peak_rss"] <= report["plan"]["peak"] <= report["config"]["run"]["memory"]
    return int(report["peak_rss"])


@pytest.fixture(scope="module")
def scene(landscape: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of four bands and 7.5 million pixels."""
    return mirrored(landscape, tmp_path_factory.mktemp("scene") / "scene.tif", 2745)


@pytest.fixture(scope="module")
def code(landscape: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of machine code of the kernels, which a small run has compiled.

    Compiling takes memory, and parallel tests that write to the usual folder may cause it again.
    """
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(folder / "code"))
        peak_of(mirrored(landscape[:2], folder / "small.tif", 549), folder, "2GB")
    return str(folder / "code")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_below_the_plan_and_flat_up_to_four_tiles(
    landscape: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", code)
    tile = mirrored(landscape[:2], tmp_path / "quarter.tif", 5490)
    scenes = {times: repeated(tile, times, tmp_path / f"{times}.vrt") for times in (1, 2, 4)}
    for cap, times in LARGEST.items():
        # the peak of a single short run varies: huge pages alone make 20 to 28 MB
        small = median(peak_of(scenes[1], tmp_path, cap) for _ in range(3))
        large = peak_of(scenes[times], tmp_path, cap)
        assert max(small, large) <= 1.1 * min(small, large), (
            f"{cap}: {small}, and {large} of {times**2} times the pixels"
        )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("method", ["kmeans", "minibatch", "dask-ml"])
def test_peak_memory_of_a_fit_over_all_pixels_is_below_the_plan(
    landscape: list[str], scene: Path, tmp_path: Path, method: str
) -> None:
    fit = f"{{pixels: all, method: {method}, tol: 1.0e-5, max_iter: 8}}"
    on_disk = peak_of(scene, tmp_path, "1GB", fit)
    if method == "kmeans":
        larger = mirrored(landscape, tmp_path / "larger.tif", 4117)
        assert peak_of(larger, tmp_path, "1GB", fit) <= 1.1 * on_disk
        assert peak_of(larger, tmp_path, "2GB", fit, "memory") <= on_disk + 4117**2 * (4 * 2 + 3) * 1.1
        assert peak_of(scene, tmp_path, "450MB", fit) <= 450_000_000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("fit", ["{}", "{pixels: all, max_iter: 3}"])
def test_peak_memory_with_features_is_below_the_plan(scene: Path, tmp_path: Path, fit: str) -> None:
    for features in ("{smooth: 15, texture: {bands: [1, 2]}}", "{pca: 3, unit_norm: true}"):
        peak_of(scene, tmp_path, "1GB", fit, features=features)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("method", ["dask-ml", "gmm"])  # that of k-means is tested with the kinds of scenes below
def test_peak_memory_of_a_first_run_which_compiles_is_below_the_plan(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    profile = {"driver": "GTiff", "dtype": "int16", "width": 1500, "height": 1500, "count": 9, "crs": "EPSG:32633"}
    transform = rasterio.Affine(10, 0, 300_000, 0, -10, 5_900_000)
    with rasterio.open(tmp_path / "s.tif", "w", transform=transform, tiled=True, compress="deflate", **profile) as file:
        file.write(np.random.default_rng(0).gamma(3, 10, (9, 1500, 1500)).astype(np.int16))
    peak_of(tmp_path / "s.tif", tmp_path, "2GB", f"{{k: 3, pixels: 50, method: {method}}}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_of_a_gaussian_mixture_of_a_large_sample_is_below_the_plan(scene: Path, tmp_path: Path) -> None:
    peak_of(scene, tmp_path, "4GB", "{method: gmm, k: 30, pixels: 2000000, starts: 1, steps: 2, tol: 0.01}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    "estimator",
    [
        "cluster.AffinityPropagation",
        "cluster.AgglomerativeClustering",
        "cluster.Birch, options: {threshold: 0.035}",
        "cluster.DBSCAN, options: {eps: 0.1, min_samples: 2}",
        "cluster.SpectralClustering",
        "mixture.GaussianMixture, k: 100, options: {max_iter: 3}",
    ],
)
def test_peak_memory_of_a_clusterer_with_its_largest_sample_is_below_the_plan(
    landscape: list[str], tmp_path: Path, estimator: str
) -> None:
    scene = mirrored(landscape, tmp_path / "scene.tif", 549)
    peak_of(scene, tmp_path, "2GB", f"{{method: sklearn, estimator: {estimator}, pixels: 500000}}")


def sources(kind: str, folder: Path) -> dict[str, Any]:
    """Write a small scene of a kind, and return the config's section for it."""
    from sources import TRIANGLE, dataset, layers, write_safe, write_vector

    if kind == "netcdf":
        dataset("bands")[0].to_netcdf(folder / "s.nc", engine="h5netcdf")
        return {"source": str(folder / "s.nc")}
    if kind == "zarr":
        dataset("bands")[0].to_zarr(folder / "s.zarr", zarr_format=2, consolidated=False)
        return {"source": str(folder / "s.zarr")}
    product = str(write_safe(folder, layers()))
    area = write_vector(folder / "a.geojson", TRIANGLE)
    return {
        "product": {"source": product, "bands": "all", "mask": {"scl": [9], "dilate": 400}},
        "warped": {"source": product, "bands": "all", "resampling": "cubic", "resolution": 7},
        "vector": {"source": product, "aoi": area, "mask": area},
        "mosaic": {"source": [product, product.replace(folder.name, f"{folder.name}/../{folder.name}")]},
        "to zarr": {"source": product},
    }[kind]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["netcdf", "zarr", "product", "warped", "vector", "mosaic", "to zarr"])
def test_peak_memory_is_below_the_plan_for_every_kind_of_scene(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    first = kind in {"zarr", "warped", "to zarr"}  # a first run needs most memory, and these load the most
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code") if first else code)
    job = tmp_path / "job.yaml"
    output = {"labels": "out.zarr" if kind == "to zarr" else "out.tif", "zarr_overviews": True}
    content = {"version": 1, "scene": sources(kind, tmp_path), "output": output, "fit": {"k": 3}}
    job.write_text(json.dumps(content))
    command = [sys.executable, "-m", "pipeline", "run", str(job), "--json", "-q", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["peak_rss"] <= report["plan"]["peak"]


def large_blocks(folder: Path) -> dict[str, Path]:
    """Write virtual files, which state small blocks, over files with large blocks of all bands."""
    rng = np.random.default_rng(0)

    def stored(name: str, side: int, block: int) -> Path:
        profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "height": side, "width": side, **UTM}
        tiles = {"tiled": True, "blockxsize": block, "blockysize": block, "interleave": "pixel"}
        rows, columns = np.mgrid[:side, :side]
        waves = 1500 + 500 * (np.sin(columns / 37) + np.cos(rows / 53)) + rng.integers(0, 40, (4, side, side))
        with rasterio.open(folder / name, "w", compress="deflate", zlevel=1, **tiles, **profile) as file:
            file.write(waves.astype(np.uint16))
        return folder / name

    def virtual(name: str, *files: Path, side: int, kind: str = "SimpleSource") -> Path:
        across, total = round(len(files) ** 0.5), round(len(files) ** 0.5) * side
        tiles = [(file, side * (n % across), side * (n // across)) for n, file in enumerate(files)]
        layers = "".join(
            f'<VRTRasterBand dataType="UInt16" band="{band}">'
            + "".join(
                f'<{kind}><SourceFilename relativeToVRT="1">{file.name}</SourceFilename><SourceBand>{band}</SourceBand>'
                f'<SrcRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>'
                f'<DstRect xOff="{left}" yOff="{top}" xSize="{side}" ySize="{side}"/></{kind}>'
                for file, left, top in tiles
            )
            + "</VRTRasterBand>"
            for band in range(1, 5)
        )
        (folder / name).write_text(f'<VRTDataset rasterXSize="{total}" rasterYSize="{total}">{layers}</VRTDataset>')
        return folder / name

    one = virtual("one.vrt", stored("one.tif", 4200, 4096), side=4200)
    tile = stored("tile.tif", 1000, 1008)
    tiles = [Path(shutil.copy(tile, folder / f"tile{n}.tif")) for n in range(36)]
    return {
        "one": one,
        "nested": virtual("outer.vrt", virtual("inner.vrt", one, side=4200, kind="ComplexSource"), side=4200),
        "mosaic": virtual("mosaic.vrt", *tiles, side=1000, kind="ComplexSource"),
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_below_the_plan_for_virtual_files_over_large_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", code)
    scenes = large_blocks(tmp_path)
    peak_of(scenes["mosaic"], tmp_path, "2GB")
    peak_of(scenes["mosaic"], tmp_path, "2GB", "{pixels: all, max_iter: 3}", workers=1)
    peak_of(scenes["one"], tmp_path, "4GB")
    peak_of(scenes["nested"], tmp_path, "2GB", "{pixels: all, max_iter: 3}", workers=1)
    command = [sys.executable, "-m", "pipeline", "predict", str(scenes["nested"]), "--json", "-q"]
    command += ["--model", str(tmp_path / "out.model.json"), "-o", str(tmp_path / "predicted.tif")]
    command += ["--memory", "4GB", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["peak_rss"] <= report["plan"]["peak"]


def running_threads(process: int) -> int:
    """Number of threads of a process that run or are ready to run."""
    count = 0
    for thread in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):  # it ended meanwhile
            count += thread.read_text().rpartition(")")[2].split()[0] == "R"
    return count


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="states of threads are read from Linux's /proc")
@pytest.mark.parametrize("method", ["kmeans", "minibatch", "dask-ml"])
def test_one_worker_keeps_one_processor_busy(
    landscape: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """If BLAS, OpenMP or GDAL had threads of their own, more than one would be ready to run at a time."""
    monkeypatch.delenv("OMP_WAIT_POLICY")  # threads that wait count, too
    scene = mirrored(landscape, tmp_path / "scene.tif", 1400)
    job = tmp_path / "job.yaml"
    k, passes = (60, 100) if method == "kmeans" else (12, 10)  # so that they dominate the run time
    fit = f"fit: {{pixels: all, method: {method}, k: {k}, tol: 1.0e-9, max_iter: {passes}}}"
    job.write_text(f"version: 1\nscene: {{source: {scene}}}\n{fit}\noutput: {{labels: o.tif}}\nrun: {{workers: 1}}\n")
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", str(job), "-q"], stdout=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        seen.append(running_threads(process.pid))
        time.sleep(0.005)
    assert process.returncode == 0
    assert sum(seen) / len(seen) <= 1.2  # more than 1: labels are written in the background


@pytest.fixture
def workers(code: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of two processes of one thread, which have done nothing."""
    from dask.distributed import Client, LocalCluster

    monkeypatch.setenv("NUMBA_CACHE_DIR", code)
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    with LocalCluster(dashboard_address=None, **options) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*Port 8787")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("fit", "labels", "memory"),
    [("{}", "out.zarr", 800_000_000), ("{pixels: all, max_iter: 3}", "out.tif", 600_000_000)],
)
def test_peak_memory_of_each_worker_and_of_the_client_is_below_the_plan(
    landscape: list[str], tmp_path: Path, workers: Any, *, fit: str, labels: str, memory: int
) -> None:
    job = tmp_path / "job.yaml"
    scene = mirrored(landscape, tmp_path / "scene.tif", 5490)
    where = f"run: {{cluster: '{workers.scheduler.address}', memory: {memory}}}"
    job.write_text(f"version: 1\nscene: {{source: {scene}}}\nfit: {fit}\noutput: {{labels: {labels}}}\n{where}\n")
    command = [sys.executable, "-m", "pipeline", "run", str(job), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    planned = report["plan"]["peak"]
    assert report["peak_rss"] <= planned <= memory
    peaks = workers.run(peak_rss)
    assert len(peaks) == 2
    assert max(peaks.values()) <= planned, (peaks, planned)
    assert min(peaks.values()) >= planned / 3, "both worked on blocks"
