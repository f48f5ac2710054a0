"""Messages of the Python functions name their arguments instead of config keys."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import WriteRaster, patches

from pipeline import fit, label, open_scene, run_config, write
from pipeline.config.argument_messages import config_keys_to_arguments
from pipeline.core.errors import TerrazzoError
from pipeline.jobs.config import RunConfig


@pytest.mark.parametrize(
    ("text", "sections", "expected"),
    [
        ("scene.bands: there is no band 'x'", ("scene",), "bands: there is no band 'x'"),
        ("a.tif: if 0 means nodata, set scene.nodata: 0", ("scene",), "a.tif: if 0 means nodata, set nodata=0"),
        ("if it is, set scene.nodata: -9999.0", ("fit",), "if it is, set open_scene's nodata=-9999.0"),
        ("raise fit.pixels, or lower fit.k", ("fit",), "raise pixels, or lower k"),
        ("check scene.nodata and fit.mask", ("fit",), "check open_scene's nodata and the coordinate `valid`"),
        ("scene.aoi.crs: 'x' is unknown", ("scene",), "aoi.crs: 'x' is unknown"),
        ("see features.standardize", ("fit", "features"), "see standardize"),
        (
            "fit: ridge: a key of gmm; method: kmeans has mask, pixels, seed",
            ("fit",),
            "fit: ridge: an argument of gmm; method: kmeans has pixels, seed",
        ),
        ("myscene.bands/scene.bands.tif and scene.rio", ("scene",), "myscene.bands/scene.bands.tif and scene.rio"),
    ],
)
def test_config_keys_in_a_message_become_arguments(text: str, sections: tuple[str, ...], expected: str) -> None:
    assert config_keys_to_arguments(text, sections) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: open_scene(path, bands=["B99"]), "^bands: there is no band 'B99'"),
        (lambda path: open_scene(path, bands=["B02", "1"]), "^bands: '1' selects band B02 a second time"),
        (lambda path: open_scene(path, nodata=-1), "^nodata: "),
        (lambda path: open_scene(path, mask="scl"), "^mask: "),
        (lambda path: fit(open_scene(path), workers=0), "^fit: workers: 0 is not allowed; expected 'auto'"),
        (lambda path: open_scene(path, aoi=[0, 0, 1, 1]), "^aoi"),
        (lambda path: open_scene(path, resolution=1e7), "^resolution: "),
        (lambda path: fit(open_scene(path), k=5, pixels=3), "raise pixels, or lower k"),
        (lambda path: fit(open_scene(path) * 0 + 7, standardize="none"), "^k: 8 classes need 8 distinct pixels"),
        (lambda path: fit(open_scene(path, nodata=7) * 0 + 7), "check open_scene's nodata"),
        (lambda path: write(label(open_scene(path), fit(open_scene(path), k=3)), "x.tif", palette="no"), "^palette: "),
    ],
)
def test_errors_of_the_python_functions_name_arguments(write_raster: WriteRaster, call: Any, message: str) -> None:
    path = write_raster("s.tif", patches(3), bands=["B02", "B03", "B04"])
    # recent versions of xarray keep attributes by default, earlier ones do not
    with xr.set_options(keep_attrs=True), pytest.raises(TerrazzoError, match=message) as caught:
        call(path)
    for section in ("scene.", "fit.", "features.", "output.", "run."):
        assert section not in str(caught.value).replace("s.tif", "")


def test_warnings_name_arguments_in_functions_and_keys_in_runs(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = patches(3)
    pixels[:, :50] = 0
    path = write_raster("s.tif", pixels)
    fit(open_scene(path), k=3)
    (message,) = [record.getMessage() for record in caplog.records if "no nodata value is set" in record.getMessage()]
    assert "set open_scene's nodata=0" in message
    caplog.clear()
    config = {
        "version": 1,
        "scene": {"source": str(path)},
        "fit": {"k": 3},
        "output": {"labels": str(tmp_path / "c.tif")},
    }
    run_config(RunConfig.model_validate(config))
    assert any("set scene.nodata: 0" in record.getMessage() for record in caplog.records)


def test_other_exceptions_are_not_changed(write_raster: WriteRaster) -> None:
    path = write_raster("s.tif", patches(3))
    with pytest.raises(TypeError, match="multiple values"):
        open_scene(path, source="s")  # type: ignore[misc]
    assert np.asarray(open_scene(path)).any()


@pytest.mark.parametrize(("model", "found"), [(3, "an int"), (None, "None"), ("a.json", "a str")])
def test_a_model_of_another_type_is_an_error_that_says_what_is_expected(model: Any, found: str) -> None:
    with pytest.raises(TerrazzoError, match=rf"^label: expected a model from fit\(\) .*, not {found}$"):
        label(xr.DataArray(np.ones((1, 2, 2))), model)
