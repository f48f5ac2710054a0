"""Runs that are killed, or whose system calls fail: outputs are whole, and the next run gives the right ones."""

import errno
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from conftest import UTM, patches
from faults import Fault, Runs
from runs import MIXED, contents, is_new, without_report
from sources import SIDES, layers

from benchmarks.safe import SafeRecipe, write_safe

resource = pytest.importorskip("resource", reason="processes are forked and given limits")


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with Runs() as started:
        yield started


def geotiff(folder: Path) -> Path:
    path = folder / "scene.tif"
    pixels = patches(shape=(700, 600))
    profile = {"driver": "GTiff", "count": 3, "height": 700, "width": 600, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=256, blockysize=256, **UTM) as file:
        file.write(pixels)
    return path


def netcdf(folder: Path) -> Path:
    transform: Affine = UTM["transform"]
    pixels = patches(dtype="float32")
    axes = {
        "y": transform.f - 10 * (xr.Variable("y", range(200)) + 0.5),
        "x": transform.c + 10.0 * xr.Variable("x", range(300)),
    }
    xr.Dataset({f"b{i}": (("y", "x"), plane) for i, plane in enumerate(pixels)}, coords=axes).to_netcdf(
        folder / "scene.nc", engine="h5netcdf"
    )
    return folder / "scene.nc"


def safe(folder: Path) -> Path:
    return write_safe(folder, layers(), SafeRecipe(), tile_sides=SIDES)


@dataclass(frozen=True)
class Kind:
    """A scene and a fit to run."""

    name: str
    scene: Callable[[Path], Path]
    fit: dict[str, Any]
    labels: str = "classes.tif"


KINDS = (
    Kind("sampled", geotiff, {"pixels": 5000}),
    Kind("all", geotiff, {"pixels": "all"}),
    Kind("mini-batch", geotiff, {"method": "minibatch", "pixels": "all"}),
    Kind("safe", safe, {"pixels": 5000}),
    Kind("netcdf", netcdf, {"pixels": 5000}),
    Kind("to zarr", geotiff, {"pixels": 5000}, "classes.zarr"),
)


@pytest.fixture
def job(tmp_path: Path) -> Callable[[Kind], tuple[Path, Path, Path]]:
    """Return a function that writes a scene and two configs with the same outputs: of an earlier run and of the run."""

    def write(kind: Kind) -> tuple[Path, Path, Path]:
        (tmp_path / "in").mkdir()
        out = tmp_path / "out"
        out.mkdir()
        scene = kind.scene(tmp_path / "in")
        for name, k in (("old", 3), ("new", 4)):
            output = {"labels": str(out / kind.labels), "zarr_overviews": True}
            fit = {"k": k, "starts": 1, "max_iter": 5, **kind.fit}
            text = {"version": 1, "scene": {"source": str(scene)}, "fit": fit, "output": output}
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**text, "run": {"workers": 2}}))
        return tmp_path / "old.yaml", tmp_path / "new.yaml", out

    return write


def faults_for(calls: int, seconds: float, rng: random.Random) -> list[Fault]:
    """Choose the faults of a run; most are near its end, where files are renamed."""
    late = range(max(1, calls - 25), calls + 1)
    return [
        *(Fault(at=at, kill=True) for at in (rng.randint(1, calls), *rng.sample(late, 3))),
        *(
            Fault(at=at, number=number)
            for at, number in zip(
                (rng.randint(1, calls), *rng.sample(late, 2)), (errno.ENOSPC, errno.EIO, errno.EACCES), strict=True
            )
        ),
        Fault(after=rng.uniform(0.05, seconds)),
        Fault(quota=rng.choice([2_000, 30_000, 400_000])),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "over_old"),
    [*((kind, True) for kind in KINDS), (KINDS[0], False), (KINDS[-1], False)],
    ids=[*(f"{kind.name} over old" for kind in KINDS), *(f"{kind.name} fresh" for kind in (KINDS[0], KINDS[-1]))],
)
def test_after_any_fault_outputs_are_whole_and_the_next_run_gives_the_right_ones(
    runs: Runs, job: Callable[[Kind], tuple[Path, Path, Path]], kind: Kind, *, over_old: bool
) -> None:
    old_config, config, out = job(kind)
    scene = contents(out.parent / "in")
    undisturbed = runs.run(out, "run", config, "-q")
    assert undisturbed.status == 0, undisturbed.said
    new = without_report(contents(out))
    rng = random.Random(f"{kind.name} {over_old}")  # noqa: S311 (no secrets)
    faults = faults_for(undisturbed.calls, undisturbed.seconds, rng)
    if over_old:
        assert runs.run(out, "run", old_config, "-q", "--overwrite").status == 0
    old = contents(out) if over_old else {}
    for fault in faults:
        shutil.rmtree(out)
        for name, content in old.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        out.mkdir(exist_ok=True)
        ended = runs.run(out, "run", config, "-q", "--overwrite", fault=fault)
        left = {name: content for name, content in contents(out).items() if not name.startswith(".terrazzo")}
        mixed = not (left == old or is_new(left, new))
        assert "Traceback" not in ended.said, (fault, ended)
        assert not mixed or ended.status < 0, (fault, ended, sorted(left))
        assert ended.status != 0 or is_new(left, new), (fault, ended)
        again = runs.run(out, "run", config, "-q", "--overwrite")
        assert again.status == 0, (fault, again)
        assert is_new(contents(out), new), (fault, sorted(contents(out)))
        assert mixed == (MIXED in again.said), (fault, ended, again, sorted(left))
        assert contents(out.parent / "in") == scene
    print(f"{kind.name}, {'over an old map' if over_old else 'fresh'}: {len(faults)} faults tried and survived")  # noqa: T201
