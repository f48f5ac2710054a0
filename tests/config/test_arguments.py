"""Messages of the Python functions speak of their arguments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import WriteRaster, patches

from pipeline import fit, label, open_scene, run_config, write
from pipeline.config.arguments import in_arguments
from pipeline.config.schema import RunConfig
from pipeline.core.errors import TerrazzoError


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("scene.bands: there is no band 'x'", ("scene",), "bands: there is no band 'x'"),
        ("a.tif: if 0 means nodata, set scene.nodata: 0", ("scene",), "a.tif: if 0 means nodata, set nodata=0"),
        ("if it is, set scene.nodata: -9999.0", ("fit",), "if it is, set open_scene's nodata=-9999.0"),
        ("raise fit.pixels, or lower fit.k", ("fit",), "raise pixels, or lower k"),
        ("check scene.nodata and fit.mask", ("fit",), "check open_scene's nodata and the coordinate `valid`"),
        ("scene.aoi.crs: 'x' is none", ("scene",), "aoi.crs: 'x' is none"),
        ("see features.standardize", ("fit", "features"), "see standardize"),
        ("myscene.bands/scene.bands.tif and scene.rio", ("scene",), "myscene.bands/scene.bands.tif and scene.rio"),
    ],
)
def test_keys_of_the_config_become_arguments(text: str, own: tuple[str, ...], expected: str) -> None:
    assert in_arguments(text, own) == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: open_scene(path, bands=["B99"]), "^bands: there is no band 'B99'"),
        (lambda path: open_scene(path, bands=["B02", "1"]), "^bands: '1' asks for band B02 a second time"),
        (lambda path: open_scene(path, nodata=-1), "^nodata: "),
        (lambda path: open_scene(path, mask="scl"), "^mask: "),
        (lambda path: open_scene(path, aoi=[0, 0, 1, 1]), "^aoi"),
        (lambda path: open_scene(path, resolution=1e7), "^resolution: "),
        (lambda path: fit(open_scene(path), k=5, pixels=3), "raise pixels, or lower k"),
        (lambda path: fit(open_scene(path) * 0 + 7), "^k: 8 classes need 8 distinct pixels"),
        (lambda path: fit(open_scene(path, nodata=7) * 0 + 7), "check open_scene's nodata"),
        (lambda path: write(label(open_scene(path), fit(open_scene(path), k=3)), "x.tif", palette="no"), "^palette: "),
    ],
)
def test_errors_speak_of_arguments(write_raster: WriteRaster, call: Any, words: str) -> None:
    path = write_raster("s.tif", patches(3), bands=["B02", "B03", "B04"])
    with xr.set_options(keep_attrs=True), pytest.raises(TerrazzoError, match=words) as caught:  # the default of late
        call(path)
    for section in ("scene.", "fit.", "features.", "output.", "run."):
        assert section not in str(caught.value).replace("s.tif", "")


def test_what_is_said_speaks_of_arguments(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = patches(3)
    pixels[:, :50] = 0
    path = write_raster("s.tif", pixels)
    fit(open_scene(path), k=3)
    (said,) = [record.getMessage() for record in caplog.records if "no nodata value is set" in record.getMessage()]
    assert "set open_scene's nodata=0" in said
    caplog.clear()
    config = {
        "version": 1,
        "scene": {"source": str(path)},
        "fit": {"k": 3},
        "output": {"labels": str(tmp_path / "c.tif")},
    }
    run_config(RunConfig.model_validate(config))
    assert any("set scene.nodata: 0" in record.getMessage() for record in caplog.records)


def test_an_error_of_another_kind_is_left_alone(write_raster: WriteRaster) -> None:
    path = write_raster("s.tif", patches(3))
    with pytest.raises(TypeError, match="multiple values"):
        open_scene(path, source="s")  # type: ignore[misc]
    assert np.asarray(open_scene(path)).any()
