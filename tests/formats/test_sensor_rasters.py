"""Real rasters of other sensors: pixels and masks compared with rasterio, and a complete run of each."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from runs import config, read
from sources import opened, whole

from pipeline.core.errors import FitError
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config


@dataclass(frozen=True)
class Sensor:
    """A source and its expected properties."""

    pattern: str
    """Glob pattern of its files."""
    bands: int
    """Number of bands per file, without alpha."""
    valid: float
    """Share of valid pixels by rasterio's masks, rounded to three digits."""
    warnings: tuple[str, ...] = ()
    """Parts of the warnings of a run, in order."""
    by_tag: bool = True
    """Whether rasterio's mask shows valid pixels; False if a measured band is wrongly tagged as alpha."""


SENSORS = {
    "neon": Sensor("neon_osbs_rgb_nodata255/OSBS_029.tif", 3, 0.987),
    "hls": Sensor("hls_terratorch_biomass_10band/*_input.tif", 10, 1.0, ("0.15% of the pixels are 0 in every band",)),
    "goes": Sensor(
        "goes_fulldisk_mask/goes.tif", 3, 0.783, ("of the pixels are 0 in every band, in addition to masked pixels",)
    ),
    "naip, near infrared tagged as alpha": Sensor(
        "naip_chips/m_3211605*.tif", 4, 1.0, ("band 4 is tagged as alpha",), by_tag=False
    ),
    "naip, four bands": Sensor("naip_chips/m_3008501*.tif", 4, 1.0),
    "naip, nodata 0": Sensor("naip_chips/m_3610332*.tif", 4, 1.0),
    "ortho, true alpha": Sensor("ortho_hro_alpha/*_alpha.tif", 3, 0.887),
    "ortho, no mask": Sensor("ortho_hro_alpha/*_CL_1.tif", 3, 1.0),
    "modis": Sensor("modis_mcd43a4_sinusoidal/*_B0[1-7].TIF", 1, 0.1),
    "micasense": Sensor("micasense_rededge_crop/IMG_0001_?.tif", 1, 1.0, ("no coordinate reference system",)),
}


def oracle(files: list[Path], sensor: Sensor) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Pixels and valid mask as rasterio reads them."""
    planes, valid = [], []
    for path in files:
        with rasterio.open(path) as file:
            planes += list(file.read(list(range(1, sensor.bands + 1))))
            if sensor.by_tag:
                valid += list(file.read_masks(list(range(1, sensor.bands + 1))) != 0)
    return np.stack(planes), np.logical_and.reduce(valid) if valid else np.ones(planes[0].shape, bool)


@pytest.mark.parametrize("name", SENSORS)
def test_pixels_and_mask_equal_rasterio_and_the_map_covers_valid_pixels(
    name: str, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sensor = SENSORS[name]
    files = sorted((data / "sensors").glob(sensor.pattern))
    assert files
    pixels, expected = oracle(files, sensor)
    found, valid = whole(opened(list(map(str, files))))
    np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(valid, expected)
    assert round(float(valid.mean()), 3) == sensor.valid
    inspected = inspect_scene(list(map(str, files)))
    assert inspected.valid_share == pytest.approx(valid.mean(), abs=0.02)  # a preview of every other pixel above 512
    caplog.clear()
    report = run_config(config(files, tmp_path / "c.tif", fit={"k": 4}))
    labels = read(tmp_path / "c.tif")
    np.testing.assert_array_equal(labels > 0, expected)
    assert set(np.unique(labels[expected])) == {1, 2, 3, 4}
    assert sum(entry["pixels"] for entry in report["classes"]) == expected.sum()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    of_scene = [line for line in warnings if line.startswith(("suspicious", str(data), "no coord"))]
    assert len(of_scene) == len(sensor.warnings), of_scene
    assert all(part in line for part, line in zip(sensor.warnings, of_scene, strict=True))


def test_suspicious_fill_is_warned_of_if_it_is_a_single_value(data: Path) -> None:
    """Pixels outside of alpha are suspicious in the copy without alpha only if they have a single value, not shades."""
    folder = data / "sensors" / "ortho_hro_alpha"
    with rasterio.open(next(folder.glob("*_alpha.tif"))) as file:
        alpha = file.read(4)
    with rasterio.open(next(folder.glob("*_CL_1.tif"))) as file:
        outside = file.read()[:, alpha == 0]
    one_value = bool((outside == outside[:, :1]).all())
    warnings = " ".join(inspect_scene([str(next(folder.glob("*_CL_1.tif")))]).warnings)
    assert ("suspicious" in warnings) is one_value


@pytest.mark.parametrize(
    ("pattern", "distinct"),
    [("c3s_landcover_constant/*lccs_class.tif", 1), ("c3s_landcover_constant/*observation_count.tif", 1),
     ("rgba_uint16/*.tif", 1)],
)  # fmt: skip
def test_constant_band_is_warned_of_and_refused_for_fitting(
    data: Path, tmp_path: Path, pattern: str, distinct: int
) -> None:
    (path,) = (data / "sensors").glob(pattern)
    with rasterio.open(path) as file:
        valid = file.dataset_mask() != 0
        value = file.read(1)[valid][0]
    found = inspect_scene([str(path)])
    assert found.valid_share == pytest.approx(valid.mean(), abs=0.01)
    assert f"band band1 is {value} in every pixel of its preview: leave it out of scene.bands" in found.warnings
    plain = {"standardize": "none"}
    with pytest.raises(
        FitError, match=f"2 classes need 2 distinct pixels, but the [0-9]+ sampled ones have {distinct};"
    ):
        run_config(config(path, tmp_path / "c.tif", features=plain, fit={"k": 2, "pixels": 10_000}))
    with pytest.raises(FitError, match="band band1 has no spread"):
        run_config(config(path, tmp_path / "c.tif", fit={"k": 2, "pixels": 10_000}))
    assert not list(tmp_path.iterdir())
