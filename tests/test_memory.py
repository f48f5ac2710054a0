"""Memory is promised before a run, and kept: measured in fresh processes on scenes of growing size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM
from rasterio.windows import Window

CAPS = ["450MB", "2GB"]


def mirrored(chips: list[str], path: Path, side: int) -> Path:
    """A scene of `side` x `side` pixels: a real chip, mirrored again and again, written row of tiles by row."""
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_below_the_plan_and_does_not_grow(landscape: list[str], tmp_path: Path) -> None:
    peaks: dict[str, list[int]] = {cap: [] for cap in CAPS}
    for side in (2745, 5490):
        scene = mirrored(landscape, tmp_path / f"{side}.tif", side)
        for cap in CAPS:
            job = tmp_path / "job.yaml"
            limits = f"run: {{memory: {cap}, workers: 2}}"
            job.write_text(f"version: 1\nscene: {{source: {scene}}}\noutput: {{labels: out.tif}}\n{limits}\n")
            command = [sys.executable, "-m", "pipeline", "run", str(job), "--json", "-q", "--overwrite"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report = json.loads(done.stdout)
            assert report["peak_rss"] <= report["plan"]["peak"] <= report["config"]["run"]["memory"]
            peaks[cap].append(report["peak_rss"])
    for cap, (small, large) in peaks.items():
        assert large <= 1.25 * small, f"{cap}: {small} bytes, then {large} for four times the pixels"


def sources(kind: str, folder: Path) -> dict[str, Any]:
    """A small scene of a kind, as the config names it."""
    from test_arrays import dataset
    from test_places import TRIANGLE, write_vector
    from test_safe import SIDES, layers

    from benchmarks.safe import write_safe

    if kind == "netcdf":
        dataset("bands")[0].to_netcdf(folder / "s.nc", engine="h5netcdf")
        return {"source": str(folder / "s.nc")}
    product = str(write_safe(folder, layers(), tile_sides=SIDES))
    area = write_vector(folder / "a.geojson", TRIANGLE)
    return {
        "product": {"source": product, "bands": "all", "mask": {"scl": [9], "dilate": 400}},
        "warped": {"source": product, "bands": "all", "resampling": "cubic", "resolution": 7},
        "vector": {"source": product, "aoi": area, "mask": area},
        "mosaic": {"source": [product, product.replace(folder.name, f"{folder.name}/../{folder.name}")]},
    }[kind]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("kind", ["netcdf", "product", "warped", "vector", "mosaic"])
def test_peak_memory_is_below_the_plan_for_every_kind_of_scene(tmp_path: Path, kind: str) -> None:
    job = tmp_path / "job.yaml"
    content = {"version": 1, "scene": sources(kind, tmp_path), "output": {"labels": "out.tif"}, "fit": {"k": 3}}
    job.write_text(json.dumps(content))
    command = [sys.executable, "-m", "pipeline", "run", str(job), "--json", "-q", "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["peak_rss"] <= report["plan"]["peak"]
