"""Bands without any valid pixel: left out by default, refused if they are requested."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from conftest import WriteRaster, patches
from fakes import MemorySource
from runs import config, read
from sources import described, opened, whole

import pipeline.scenes.empty_bands as emptiness_module
from pipeline.api import open_scene
from pipeline.core.errors import SceneError
from pipeline.engine.executor import ThreadExecutor
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.jobs.template import config_template
from pipeline.methods.sample import draw_sample
from pipeline.models.base import ClusterModel
from pipeline.raster.file_bands import list_bands
from pipeline.scenes.empty_bands import find_empty_bands

EMPTY = (3, 7, 8)
"""Indices of the empty bands among 12."""


def hyperspectral_cube(nodata: float = -9999, dtype: str = "int16") -> npt.NDArray[Any]:
    """A small hyperspectral scene with three empty bands, as in the absorption bands of water."""
    pixels = patches(12, dtype=dtype)
    pixels[list(EMPTY)] = nodata
    pixels[:, :20] = nodata
    return pixels


def empty_names(path: Path | list[Path]) -> set[str]:
    return {
        band.name
        for band in find_empty_bands(list_bands([str(p) for p in (path if isinstance(path, list) else [path])]))
    }


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(("nodata", "dtype"), [(-9999, "int16"), (0, "uint8"), (np.nan, "float32"), (None, "float32")])
def test_auto_and_all_leave_out_empty_bands_with_a_warning(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture, interleave: str, nodata: float | None, dtype: str
) -> None:
    pixels = hyperspectral_cube(np.nan if nodata is None else nodata, dtype)
    path = write_raster("cube.tif", pixels, nodata=nodata, interleave=interleave)
    full = [i for i in range(12) if i not in EMPTY]
    for asked in ("auto", "all"):
        caplog.clear()
        data, valid = whole(opened(path, bands=asked))
        np.testing.assert_array_equal(data, pixels[full])
        assert valid[20:].all()
        assert not valid[:20].any()
        assert "3 of 12 bands hold no valid pixel: band4, band8, band9: left out" in caplog.text
    with pytest.raises(
        SceneError, match=r"cube\.tif: 1 of 2 bands hold no valid pixel: band4, so no pixel is valid in every band"
    ):
        opened(path, bands=["1", "band4"])
    np.testing.assert_array_equal(whole(opened(path, bands=["1", "12"]))[0], pixels[[0, 11]])


def test_all_commands_leave_out_the_same_bands(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("cube.tif", hyperspectral_cube(), nodata=-9999)
    names = [f"band{i + 1}" for i in range(12) if i not in EMPTY]
    found = inspect_scene([str(path)])
    assert "no pixel holds data in band4, band8, band9: left out of auto and all" in found.warnings
    assert [band.name for band in found.bands if band.empty] == ["band4", "band8", "band9"]
    assert found.valid_share == 0.9
    text = config_template([str(path)])
    assert all(f'"band{i + 1}"' not in text for i in EMPTY)
    assert open_scene(path).band.values.tolist() == names
    run_config(config(path, tmp_path / "c.tif", fit={"k": 4}))
    assert (read(tmp_path / "c.tif") > 0).mean() == 0.9
    model = ClusterModel.load(tmp_path / "c.model.json")
    assert model.bands == tuple(names)
    asked = config(path, tmp_path / "p.tif")
    predict(asked.scene, model, asked.output)
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), read(tmp_path / "c.tif"))


def test_nodata_of_the_config_is_used(write_raster: WriteRaster) -> None:
    path = write_raster("cube.tif", hyperspectral_cube())
    assert opened(path).info.bands[3] == "band4"
    assert "band4" not in opened(path, nodata=-9999).info.bands


@pytest.mark.parametrize("pixel", [(0, 0), (199, 299), (77, 130)])
@pytest.mark.parametrize("layout", ["tiles", "rows", "files"])
def test_a_band_with_a_single_valid_pixel_is_not_empty(
    write_raster: WriteRaster, pixel: tuple[int, int], layout: str
) -> None:
    pixels = hyperspectral_cube()[:5]
    pixels[3][pixel] = 5
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16} if layout == "tiles" else {"blockysize": 1}
    if layout == "files":
        path: Any = [write_raster(f"s_B0{i}.tif", plane[np.newaxis], nodata=-9999) for i, plane in enumerate(pixels)]
    else:
        path = write_raster("one.tif", pixels, nodata=-9999, **tiles)
    assert empty_names(path) == set()


def test_empty_bands_are_found_in_several_files_and_sparse_files(write_raster: WriteRaster) -> None:
    pixels = patches(3, dtype="int16")
    pixels[1] = -9999
    files = [write_raster(f"s_B0{i}.tif", plane[np.newaxis], nodata=-9999) for i, plane in enumerate(pixels)]
    assert empty_names(files) == {"B01"}
    sparse = write_raster("sparse.tif", pixels[:1], nodata=-9999, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(sparse) as file:
        profile = {**file.profile, "count": 2, "sparse_ok": True, "interleave": "band"}
    with rasterio.open(sparse, "w", **profile) as file:
        file.write(pixels[0], 1)
    assert empty_names(sparse) == {"band2"}


def test_no_band_is_left_out_if_all_are_empty(write_raster: WriteRaster, tmp_path: Path) -> None:
    """Such a scene has another fault, which the run reports."""
    path = write_raster("none.tif", np.full((3, 200, 300), -9999, "int16"), nodata=-9999)
    assert empty_names(path) == set()
    with pytest.raises(SceneError, match=r"all 60000 pixels are nodata \(-9999\) in every band"):
        run_config(config(path, tmp_path / "c.tif", fit={"k": 2}))


def test_integers_without_nodata_are_not_read_and_others_only_in_one_block(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_windows = []
    plain = emptiness_module._any_valid
    monkeypatch.setattr(
        emptiness_module, "_any_valid", lambda plane, nodata: read_windows.append(plane.shape) or plain(plane, nodata)
    )
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    pixels = patches(3, (1100, 1300))
    find_empty_bands(list_bands([str(write_raster("plain.tif", pixels, **tiles))]))
    assert not read_windows
    find_empty_bands(list_bands([str(write_raster("tagged.tif", pixels, nodata=0, **tiles))]))
    assert read_windows == [(256, 256)] * 3


def test_empty_bands_of_stores_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import xarray as xr

    pixels = patches(3, dtype="float32")
    pixels[1] = np.nan
    axes = {"y": 5_900_000 - 10 * (np.arange(200) + 0.5), "x": 300_000 + 10 * (np.arange(300) + 0.5)}
    hyperspectral_cube = xr.Dataset({f"b{i}": (("y", "x"), plane) for i, plane in enumerate(pixels)}, coords=axes)
    hyperspectral_cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    assert opened(tmp_path / "cube.nc").info.bands == ("b0", "b2")
    assert "1 of 3 bands hold no valid pixel: b1: left out" in caplog.text


def test_the_error_of_an_empty_sample_names_the_bands() -> None:
    """Also if a band is empty only because of a mask or an area of interest."""
    pixels = patches(3, dtype="float32")
    valid = np.zeros(pixels.shape[1:], bool)
    pixels[1] = np.nan
    source = MemorySource(pixels, valid)
    with pytest.raises(SceneError, match=r"nodata \(NaN, infinity\) in band band2, masked out"):
        draw_sample(source, wanted=100, seed=0, executor=ThreadExecutor(2))
    pixels[1] = 5
    pixels[0, :100], pixels[1, 100:] = np.nan, np.nan
    with pytest.raises(SceneError, match=r"in at least one band, .* though each band has valid pixels"):
        draw_sample(MemorySource(pixels, valid), wanted=100, seed=0, executor=ThreadExecutor(2))


def test_nodata_of_the_config_replaces_all_nodata_of_a_store(tmp_path: Path) -> None:
    import xarray as xr

    pixels = patches(3).astype("int16")
    pixels[1] = -5
    axes = {"y": 5_900_000 - 10 * (np.arange(200) + 0.5), "x": 300_000 + 10 * (np.arange(300) + 0.5)}
    said = {"_FillValue": np.int16(-9), "missing_value": np.int16(-5)}
    hyperspectral_cube = xr.Dataset({f"b{i}": (("y", "x"), plane, said) for i, plane in enumerate(pixels)}, coords=axes)
    hyperspectral_cube.to_zarr(tmp_path / "cube.zarr", zarr_format=2)
    assert opened(tmp_path / "cube.zarr").info.bands == ("b0", "b2")
    assert opened(tmp_path / "cube.zarr", nodata=-7).info.bands == ("b0", "b1", "b2")


def hyperspectral_item(write_raster: WriteRaster, name: str, pixels: npt.NDArray[Any], west: float = 300_000) -> Path:
    """A STAC item of an unknown sensor, with all bands in one file."""
    raster = write_raster(f"{name}.tif", pixels, nodata=-9999, transform=Affine(10, 0, west, 0, -10, 5_900_000))
    asset = {"href": f"./{raster.name}", "type": "image/tiff; application=geotiff", "roles": ["data"]}
    content = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": None,
        "bbox": None,
        "properties": {"datetime": "2025-06-01T10:00:00Z"},
        "links": [],
        "assets": {"cube": asset},
    }
    path = raster.with_suffix(".json")
    path.write_text(json.dumps(content))
    return path


def test_empty_bands_of_items_of_an_unknown_sensor_are_found(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    path = hyperspectral_item(write_raster, "cube", hyperspectral_cube())
    assert not {"band4", "band8", "band9"} & set(opened(path).info.bands)
    assert "3 of 12 bands hold no valid pixel: band4, band8, band9: left out" in caplog.text
    assert "no pixel holds data in band4, band8, band9: left out of auto and all" in inspect_scene([str(path)]).warnings
    with pytest.raises(
        SceneError, match=r"1 of 2 bands hold no valid pixel: band4, so no pixel is valid in every band"
    ):
        opened(path, bands=["band1", "band4"])


@pytest.mark.parametrize("filled", [None, 0, 1])
def test_a_band_of_a_mosaic_is_empty_if_it_is_empty_in_all_scenes(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture, filled: int | None
) -> None:
    """Two scenes, of which the first may be all nodata."""
    cubes = [hyperspectral_cube(), hyperspectral_cube()]
    if filled == 0:
        cubes[1][3, 150, 200] = 5
    if filled == 1:
        cubes[0][:] = -9999
    items = [hyperspectral_item(write_raster, f"s{i}", cubes[i], 300_000 + 3000 * i) for i in (0, 1)]
    bands = described(items).info.bands
    empty = ("band8", "band9") if filled == 0 else ("band4", "band8", "band9")
    assert set(bands) == {f"band{i + 1}" for i in range(12)} - set(empty)
    assert f"s0.tif and 1 more: {len(empty)} of 12 bands hold no valid pixel: {', '.join(empty)}: left" in caplog.text
    with pytest.raises(SceneError, match=r"1 of 2 bands hold no valid pixel: band9"):
        described(items, bands=["band1", "band9"])
