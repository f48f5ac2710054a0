"""Fixtures: real imagery if it is available, and small generated rasters."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from crews import Cluster, cluster_in
from rasterio.enums import ColorInterp

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TERRAZZO_TEST_DATA", ROOT.parent / "shared" / "data"))

UTM = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300_000, 0, -10, 5_900_000)}

WriteRaster = Callable[..., Path]

# Threads of OpenMP that wait for each other sleep instead of keeping the processors of parallel tests busy: k-means of
# scikit-learn, which many tests compare with, else takes three times the CPU. Read when OpenMP is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect garbage neither while tests are collected, nor ever again among the thousands of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, then those with most tests: a parallel run then ends with short files.

    Else a process may be left with a long file when the others have nothing more to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, item.path not in slow and -count[item.path], item.path))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real imagery."""
    if not (DATA / "scenes").is_dir():
        pytest.skip(f"no real imagery: {DATA}/scenes is not there (set TERRAZZO_TEST_DATA to a folder that has it)")
    return DATA


@pytest.fixture(scope="session")
def landscape(data: Path) -> list[str]:
    """The four 10 m bands of a real Sentinel-2 chip, one GeoTIFF each, 1068 x 1068."""
    return [str(data / "scenes" / "t48que_20200223_l2a" / f"{band}.tif") for band in ("B02", "B03", "B04", "B08")]


@pytest.fixture(scope="session")
def jpeg2000(data: Path) -> list[str]:
    """The four 10 m bands of a real Sentinel-2 cut-out, one JPEG 2000 each, 1536 x 768."""
    folder = data / "scenes" / "t33uuu_20170216_l1c"
    return [str(folder / f"T33UUU_20170216T102101_{band}.jp2") for band in ("B02", "B03", "B04", "B08")]


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """Write an array (band, rows, columns) as a raster file in the test's own folder."""

    return lambda name, pixels, **how: raster_file(tmp_path / name, pixels, **how)


def raster_file(
    path: Path, pixels: npt.NDArray[Any], *, bands: Sequence[str] = (), alpha: bool = False, **profile: Any
) -> Path:
    """Write an array (band, rows, columns) as a raster file; return its path."""
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **UTM, **shape, **profile}) as file:
        if alpha:
            file.colorinterp = [ColorInterp.gray] * (count - 1) + [ColorInterp.alpha]
        file.write(pixels)
        for index, band in enumerate(bands, start=1):
            file.set_band_description(index, band)
    return path


def patches(
    bands: int = 3, shape: tuple[int, int] = (200, 300), seed: int = 0, dtype: str = "uint16"
) -> npt.NDArray[Any]:
    """Generated pixels, shape (band, rows, columns): patches of five spectra with noise, never 0."""
    rng = np.random.default_rng(seed)
    spectra = rng.uniform(20, 230, (5, bands))
    coarse = rng.integers(0, 5, (-(-shape[0] // 16), -(-shape[1] // 16)))
    classes = np.kron(coarse, np.ones((16, 16), int))[: shape[0], : shape[1]]
    pixels = spectra[classes].transpose(2, 0, 1) + rng.normal(0, 6, (bands, *shape))
    return np.clip(pixels, 1, 255).astype(dtype)


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two overlapping products: the second is 100 pixels to the right and 40 down, and the first has a nodata hole."""
    from sources import LEFT, TOP, layers, product

    one, other = layers(), layers(seed=50)
    for band in ("B02", "B03", "B04", "B08"):
        one[band][100:150, 200:260] = 0
    return [
        product(tmp_path, "one", one),
        product(tmp_path, "two", other, origin=(LEFT + 1000, TOP - 400), tile="T33UVU"),
    ]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process that shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for all tests of a module, which may change it."""
    with cluster_in(tmp_path_factory.mktemp("workers")) as started:
        yield started


@pytest.fixture
def cluster(whole_cluster: Cluster, request: pytest.FixtureRequest) -> Cluster:
    """A cluster of workers of one thread: those that the module names in `WORKERS`, else 'one' and 'two'."""
    whole_cluster.restore(*getattr(request.module, "WORKERS", ("one", "two")))
    return whole_cluster
