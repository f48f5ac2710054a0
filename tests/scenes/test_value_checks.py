"""Warnings about pixel values: the same from inspect, init, fit and run."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import yaml
from conftest import WriteRaster, patches
from runs import config

from pipeline.api import fit, open_scene
from pipeline.cli.text import inspection_words
from pipeline.core.errors import FitError
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import fit_config, run_config
from pipeline.jobs.template import config_template
from pipeline.scenes.value_checks import BandValues, check_values, find_fill_values, percent, variance_shares


def band_values(pixels: npt.NDArray[Any], quantities: str | tuple[str, ...] = "numbers", **facts: Any) -> BandValues:
    """Values of an array, shape (band, rows, columns), with default metadata."""
    count = len(pixels)
    defaults = {
        "names": tuple(f"b{i + 1}" for i in range(count)),
        "scales": (1.0,) * count,
        "offsets": (0.0,) * count,
        "nodata": (None,) * count,
        "masked": False,
    }
    each = (quantities,) * count if isinstance(quantities, str) else quantities
    return BandValues(stored=tuple(pixels.reshape(count, -1)), quantities=each, **{**defaults, **facts})


def warnings_of(pixels: npt.NDArray[Any], *quantities: Any, **facts: Any) -> str:
    return "\n".join(check_values(band_values(pixels, *quantities, **facts), standardized=False))


FILLS = [
    ("int16", -9999), ("int16", -10000), ("int16", -32767), ("int16", -1), ("uint16", 65535), ("uint8", 255),
    ("float32", -9999), ("float32", 1e20), ("float64", -1e30), ("float32", 9999), ("uint8", 0), ("float32", -0.5),
]  # fmt: skip


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("dtype", "fill"), FILLS)
def test_untagged_fill_is_found_with_its_share(bands: int, dtype: str, fill: float) -> None:
    pixels = np.clip(patches(bands, dtype="float64"), 1, 240).astype(dtype)
    pixels[:, :7] = fill
    ((value, share, _),) = find_fill_values(band_values(pixels))
    assert np.asarray(value, dtype) == np.asarray(fill, dtype)
    assert share == 7 / 200
    (line,) = [line for line in warnings_of(pixels).splitlines() if "of the pixels are" in line]
    assert line.startswith("suspicious: 3.5% of the pixels are ")
    advice = re.search(r"set scene\.nodata: (\S+)$", line)
    assert advice
    assert np.asarray(yaml.safe_load(advice[1]), dtype) == np.asarray(fill, dtype)


def test_values_in_some_bands_or_few_pixels_or_within_the_range_are_not_fill() -> None:
    pixels = patches(3, dtype="int16")
    pixels[:2, :7] = -9999
    assert not list(find_fill_values(band_values(pixels)))
    pixels = patches(3, dtype="int16")
    pixels[:, 0, :50] = -9999  # of 60,000
    assert not list(find_fill_values(band_values(pixels)))
    pixels[:, 0, :60] = -9999
    assert len(list(find_fill_values(band_values(pixels)))) == 1
    pixels[:, 10] = 100  # a value within the range
    assert [value for value, _, _ in find_fill_values(band_values(pixels))] == [-9999]


def test_scenes_without_fill_cause_no_warning(data: Path) -> None:
    """Histograms of scenes without fill have thin tails, of one band and of many."""
    for folder in ("t48que_20200223_l2a", "landsat7_olinda"):
        for path in sorted((data / "scenes" / folder).glob("*.tif")):
            with rasterio.open(path) as file:
                pixels = file.read()
            for band in pixels if folder.startswith("t48") else [pixels]:
                flat = band.reshape(-1, band.shape[-2] * band.shape[-1])
                found = [value for value, _, _ in find_fill_values(band_values(flat))]
                assert set(found) <= {band.min(), band.max()} & {0, 255, 65535}, path


def test_several_fills_are_all_reported_also_next_to_a_nodata_tag() -> None:
    pixels = patches(3, dtype="int16")
    pixels[:, :10], pixels[:, 20:22], pixels[:, 50] = -32767, -9999, 0
    found = {value: share for value, share, _ in find_fill_values(band_values(pixels))}
    assert found == {-32767: 0.05, -9999: 0.01, 0: 0.005}
    warning_text = warnings_of(pixels, nodata=(-32768,) * 3)
    assert warning_text.count("in addition to the nodata value -32768") == 3
    assert "give the files one value for both" in warning_text


def test_saturation_is_named() -> None:
    pixels = patches(3, dtype="uint8")
    pixels[:, :10] = 255
    assert "5.0% of the pixels are 255 in every band, the largest value (saturation or nodata)" in warnings_of(pixels)


def test_zeros_within_the_range_of_several_bands_are_reported(data: Path) -> None:
    path = data / "sensors" / "hls_terratorch_biomass_10band" / "regression_test_0_input.tif"
    with rasterio.open(path) as file:
        share = (file.read() == 0).all(axis=0).mean()
    assert share == 79 / 224**2
    warnings = " ".join(inspect_scene([str(path)]).warnings)
    assert f"{percent(share, 2)} of the pixels are 0 in every band, in addition to the nodata value -9999" in warnings


@pytest.mark.parametrize("fill", [-9999, 65535])
def test_all_commands_give_the_same_warnings(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture, fill: int
) -> None:
    pixels = patches(3, dtype="int32")
    pixels[:, :50] = fill
    path = write_raster("scene.tif", pixels)
    line = f"suspicious: 25.0% of the pixels are {fill} in every band"
    printed = [text for text in inspection_words(inspect_scene([str(path)])).splitlines() if str(fill) in text]
    assert any(text.startswith(line) for text in printed)
    assert f"# note: {line}" in config_template([str(path)])
    asked = config(path, tmp_path / "c.tif", fit={"k": 3})
    for command in (
        lambda: run_config(asked),
        lambda: fit_config(asked, tmp_path / "m.json"),
        lambda: fit(open_scene(path), 3),
    ):
        caplog.clear()
        command()
        assert [record.levelno for record in caplog.records if record.getMessage().startswith(line)] == [
            logging.WARNING
        ]
    caplog.clear()
    tagged = config(path, tmp_path / "d.tif", fit={"k": 3}, scene={"nodata": fill})
    run_config(tagged)
    assert "suspicious" not in caplog.text


def test_value_checks_of_a_run_read_no_further_pixels(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = patches(3, dtype="int16")
    pixels[:, :50] = -9999
    report = run_config(config(write_raster("s.tif", pixels), tmp_path / "c.tif", fit={"k": 3}))
    plain = run_config(config(write_raster("t.tif", patches(3, dtype="int16")), tmp_path / "d.tif", fit={"k": 3}))
    assert report["source_passes"] == plain["source_passes"]


def test_variance_shares_equal_numpy_in_each_bands_quantity() -> None:
    pixels = patches(3, dtype="float64").reshape(3, -1)
    scales = (1.0, 0.01, 3.0)
    found = variance_shares(band_values(pixels, ("numbers", "scaled", "temperature"), scales=scales))
    variances = (pixels * np.array([1, 0.01, 3])[:, None]).var(axis=1)
    np.testing.assert_allclose(found, variances / variances.sum())
    # a scale that is not applied has no effect
    np.testing.assert_allclose(
        variance_shares(band_values(pixels, scales=scales)), pixels.var(axis=1) / pixels.var(axis=1).sum()
    )


def test_a_band_with_nearly_all_variance_is_reported(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = patches(3, dtype="float32")
    pixels[1] = pixels[1] * 30 + 20_000
    share = float(pixels[1].var(dtype="float64") / pixels.var(axis=(1, 2), dtype="float64").sum())
    assert share > 0.99
    path = write_raster("s.tif", pixels, bands=["red", "texture", "nir"])
    line = f"band texture has {percent(share, 1)[:-2]}"  # without the last digit: a sample has another share
    assert line in " ".join(inspect_scene([str(path)]).warnings)
    run_config(config(path, tmp_path / "a.tif", fit={"k": 3}, features={"standardize": "none"}))
    assert line in caplog.text
    caplog.clear()
    run_config(config(path, tmp_path / "b.tif", fit={"k": 3}, features={"standardize": "zscore"}))
    run_config(config(path, tmp_path / "c.tif", fit={"k": 3}, scene={"bands": ["red", "nir"]}))
    assert "variance" not in caplog.text


def test_bands_of_different_quantities_are_reported_with_their_shares() -> None:
    pixels = patches(3, dtype="float64")
    pixels[2] = 250 + pixels[2] / 4
    kinds, scales = ("reflectance", "reflectance", "temperature"), (1e-4, 1e-4, 1.0)
    warning_text = warnings_of(pixels, kinds, scales=scales)
    assert "b3 (temperature) 99.9%, " in warning_text
    assert "(reflectance) 0.0%" in warning_text
    assert not list(check_values(band_values(pixels, kinds, scales=scales), standardized=True))


@pytest.mark.parametrize(
    ("quantity", "scale", "offset", "odd"),
    [
        ("scaled", 1e4, 0, True), ("scaled", 1e-4, 0, False), ("scaled", 1, -1000, False),
        ("reflectance", 1e-4, 0, False), ("reflectance", 1e4, 0, True), ("reflectance", 1e-4, -0.1, False),
        ("reflectance", 1, 0, True), ("numbers", 1e4, 0, False), ("temperature", 0.1, 0, False),
        ("temperature", 10, 0, True), ("temperature", 0.1, -546.3, True), ("angle", 0.01, 0, False),
        ("angle", 100, 0, True),
    ],
)  # fmt: skip
def test_implausible_values_are_reported(
    quantity: str,
    scale: float,
    offset: float,
    odd: bool,  # noqa: FBT001
) -> None:
    pixels = patches(2, dtype="int16") * 20
    if quantity == "temperature":
        pixels = np.clip(pixels // 20, 10, 240) + 2800
    warning_text = warnings_of(pixels, quantity, scales=(scale,) * 2, offsets=(offset,) * 2)
    assert (f"by its tag, scale {scale:.10g} and offset {offset:.10g}, band b1, b2 holds" in warning_text) is odd


def test_an_inverse_scale_tag_is_reported(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The scale of MODIS is 0.0001; tools that write 1 / scale make it 10000."""
    folder = data / "sensors" / "modis_mcd43a4_sinusoidal"
    files = sorted(folder.glob("*_B0[1-7].TIF"))
    assert len(files) == 7
    assert "suspicious" not in " ".join(inspect_scene(list(map(str, files))).warnings)
    turned = []
    for path in files:
        with rasterio.open(path) as file:
            pixels, profile, band = file.read(), file.profile, file.descriptions[0]
        turned.append(tmp_path / path.name)
        with rasterio.open(turned[-1], "w", **profile) as file:
            file.write(pixels)
            file.scales, file.descriptions = (10_000,), (band,)
    line = "suspicious: by its tag, scale 10000 and offset 0, band Nadir_Reflectance_Band1, "
    found = inspect_scene(list(map(str, turned)))
    assert any(warning.startswith(line) and "1 / 10000 would make it 0." in warning for warning in found.warnings)
    asked = config(turned, tmp_path / "c.tif", fit={"k": 3})
    run_config(asked)
    assert line in caplog.text
    caplog.clear()
    run_config(
        asked.model_copy(update={"features": asked.features.model_copy(update={"scale": "none"})}), overwrite=True
    )
    assert "by its tag" not in caplog.text


def test_a_constant_scene_is_refused_not_called_fill(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("flat.tif", np.full((2, 40, 40), 7, "uint8"))
    assert "suspicious" not in " ".join(inspect_scene([str(path)]).warnings)
    with pytest.raises(FitError, match="sampled ones have 1;"):
        run_config(config(path, tmp_path / "c.tif", fit={"k": 2}, features={"standardize": "none"}))
    with pytest.raises(FitError, match="band band1 has no spread"):
        run_config(config(path, tmp_path / "c.tif", fit={"k": 2}))
