"""STAC items of sensors other than Sentinel-2, as their providers publish them: bands, scales and masks of each."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from sources import described, opened, whole

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.detect import open_catalogues
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config
from pipeline.models.base import ClusterModel
from pipeline.scenes.band_checks import left_out_note
from pipeline.scenes.mosaic_source import open_source
from pipeline.scenes.open import open_scene_config

PLANET = "planet_analyticms_20170831"
LANDSAT = "landsat_c2_l2sp_008059"
DATES = "openeo_three_dates"


@pytest.fixture
def sensors(data: Path) -> Path:
    """Folder of samples of other sensors."""
    folder = data / "sensors"
    if not folder.is_dir():
        pytest.skip(f"no samples of other sensors: {folder} is not there")
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry unreachable URLs without a pause."""
    monkeypatch.setattr("pipeline.formats.fetch._PAUSE", 0.001)


def only(source: Path) -> Catalogue:
    """The only catalogue of a source."""
    (found,) = open_catalogues(source)
    return found


def common(found: Catalogue) -> dict[str, str | None]:
    """Common names of all measured bands, by name."""
    return {band.name: band.common for band in found.choose("all")}


def test_all_bands_of_the_planet_analytic_asset_are_read(sensors: Path) -> None:
    folder = sensors / PLANET
    source = opened(folder / "20170831_172754_101c.json", 100)
    assert source.info.bands == ("band1", "band2", "band3", "band4")
    pixels, valid = whole(source)
    with rasterio.open(folder / "20170831_172754_101c_3B_AnalyticMS.tif") as file:
        np.testing.assert_array_equal(pixels, file.read())
        np.testing.assert_array_equal(valid, file.dataset_mask() > 0)


def test_planet_bands_have_common_names_and_udm_is_a_mask(sensors: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = sensors / PLANET
    item = folder / "20170831_172754_101c.json"
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert described(item, bands=["red", "nir"]).info.bands == ("band3", "band4")
        assert "left out" not in caplog.text, "bands are named"
        assert described(item, bands="all").info.bands == ("band1", "band2", "band3", "band4")
    assert "left out by default: quality layers: udm; pictures: visual" in caplog.text
    _, valid = whole(opened(item, 100, mask="udm"))
    with rasterio.open(folder / "20170831_172754_101c_3B_AnalyticMS_DN_udm.tif") as file:
        udm = file.read(1)
    with rasterio.open(folder / "20170831_172754_101c_3B_AnalyticMS.tif") as file:
        np.testing.assert_array_equal(valid, (file.dataset_mask() > 0) & (udm == 0))
    found = only(item)
    assert found.product is not None
    assert found.product.level == "", "101c is a satellite, no level"


def landsat_item(sensors: Path, folder: Path, which: str, *, without: str = "") -> Path:
    """Write a copy of an item next to links to its files, without the assets whose files are missing."""
    source = sensors / LANDSAT
    for file in source.iterdir():
        if not (without and without in file.name):
            (folder / file.name).symlink_to(file)
    content = json.loads(next(source.glob(f"*_{which}_stac.json")).read_text())
    for key, asset in list(content["assets"].items()):
        name = asset["href"].rsplit("/", 1)[-1]
        asset["href"] = f"./{name}"
        if key.endswith((".TIF", ".txt", ".xml", ".json")) and not (folder / name).exists():
            del content["assets"][key]
    path = folder / f"{which}.json"
    path.write_text(json.dumps(content))
    return path


def test_landsat_item_scale_and_offset_are_those_of_the_mtl_file(sensors: Path, tmp_path: Path) -> None:
    item = landsat_item(sensors, tmp_path, "SR")
    assert common(only(item)) == {
        "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "SR_B6": "swir16", "SR_B7": "swir22",
    }  # fmt: skip
    info = described(item).info
    assert info.bands == ("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")
    assert set(info.units.quantities) == {"reflectance"}
    mtl = json.loads(next(tmp_path.glob("*_MTL.json")).read_text())["LANDSAT_METADATA_FILE"]
    stated = mtl["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    for band, scale, offset in zip(info.bands, info.scales, info.offsets, strict=True):
        assert scale == float(stated[f"REFLECTANCE_MULT_BAND_{band[-1]}"])
        assert offset == float(stated[f"REFLECTANCE_ADD_BAND_{band[-1]}"])
    with rasterio.open(next(tmp_path.glob("*_QA_PIXEL.TIF"))) as file:
        quality = file.read(1)
    pixels, valid = whole(opened(item, mask="qa_pixel"))
    np.testing.assert_array_equal(valid, (pixels > 0).all(axis=0) & (quality & 0b11111 == 0))


def test_landsat_surface_temperature_item_is_in_kelvin(sensors: Path, tmp_path: Path) -> None:
    item = landsat_item(sensors, tmp_path, "ST")
    info = described(item).info
    assert (info.bands, info.scales, info.offsets) == (("ST_B10",), (0.00341802,), (149.0,))
    assert info.units.quantity == "temperature"
    (facts,) = inspect_scene(str(item)).bands
    assert (facts.common_name, facts.quantity) == ("lwir11", "temperature")


def test_temperature_is_no_default_band_next_to_reflectance(
    sensors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    item = landsat_item(sensors, tmp_path, "SR")
    content = json.loads(item.read_text())
    heat = json.loads(next((sensors / LANDSAT).glob("*_ST_stac.json")).read_text())
    content["properties"]["eo:bands"] += heat["properties"]["eo:bands"]
    for key in ("ST_B10.TIF", "ST_QA.TIF"):
        content["assets"][key] = heat["assets"][key] | {"href": f"./{heat['assets'][key]['href'].rsplit('/', 1)[-1]}"}
    item.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        info = described(item).info
    assert set(info.units.quantities) == {"reflectance"}
    assert "temperature: ST_B10" in caplog.text
    assert "ST_QA" in caplog.text.split("quality layers: ")[1]
    everything = described(item, bands="all").info
    assert everything.bands[-1] == "ST_B10"
    assert everything.units.quantities == (*("reflectance",) * 6, "temperature")


def test_landsat_item_without_mtl_file_is_used_as_stored_with_a_warning(
    sensors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    item = landsat_item(sensors, tmp_path, "SR", without="_MTL")
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        info = described(item).info
    assert (set(info.scales), set(info.offsets), info.units.quantity) == ({1.0}, {0.0}, "numbers")
    assert "no scale or offset for SR_B2, SR_B3, SR_B4, SR_B5, SR_B6, SR_B7" in caplog.text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "bands"),
    [
        (
            "LC08_L2SP_047027_20201204_20210313_02_T1_SR",
            {"SR_B1": "coastal", "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08",
             "SR_B6": "swir16", "SR_B7": "swir22"},
        ),
        (
            "LE07_L2SP_021030_20100109_20200911_02_T1_SR",
            {"SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir08", "SR_B5": "swir16",
             "SR_B7": "swir22"},
        ),
        (
            "LT05_L2SP_010067_19860424_20200918_02_T2_SR",
            {"B1": "blue", "B2": "green", "B3": "red", "B4": "nir08", "B5": "swir16", "B7": "swir22"},
        ),
        ("LM05_L1GS_001001_19850524_20210918_02_T2", {"B1": "green", "B2": "red", "B3": "nir08", "B4": "nir09"}),
        ("LC08_L2SP_047027_20201204_20210313_02_T1_ST", {"ST_B10": "lwir11"}),
        ("LE07_L2SP_021030_20100109_20200911_02_T1_ST", {"ST_B6": "lwir11"}),
        ("LT05_L2SP_010067_19860424_20200918_02_T2_ST", {"B6": "lwir"}),
    ],
)  # fmt: skip
def test_landsat_items_of_every_generation_name_their_bands(sensors: Path, name: str, bands: dict[str, str]) -> None:
    """The published items: their files are remote, and are not needed here."""
    found = only(sensors / "stac_more" / f"{name}_stac.json")
    assert common(found) == bands
    assert sorted(band.name for band in found.choose("auto")) == list(bands)
    assert [mask.kind for mask in found.masks] == ["qa_pixel"]
    assert found.product is not None
    assert found.product.level == name.split("_")[1]
    assert all(band.number == band.name.rpartition("B")[2] for band in found.choose("all"))
    assert any("no scale or offset for" in note for note in found.notes), "the metadata can't be reached"
    assert "qa" in left_out_note(found, "auto").lower()


@pytest.fixture
def three_dates(sensors: Path, tmp_path: Path) -> Path:
    """Collection with its items in the folders to which it links."""
    folder = tmp_path / "collection"
    (folder / "sub-folder").mkdir(parents=True)
    for file in (sensors / DATES).iterdir():
        below = folder / "sub-folder" if "2023-06-01" not in file.name and file.name != "collection.json" else folder
        (below / file.name).symlink_to(file)
    return folder


def test_collection_opens_the_items_it_links_to(three_dates: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = open_catalogues(three_dates / "collection.json")
    assert [one.product.date for one in found if one.product] == ["2023-06-01", "2023-06-04", "2023-06-06"]
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        mosaic = open_scene_config(SceneConfig(source=(str(three_dates / "collection.json"),)))
        pixels, valid = whole(open_source(mosaic, (30, 30)))
    with rasterio.open(three_dates / "openEO_2023-06-01Z.tif") as file:
        np.testing.assert_array_equal(pixels, file.read())
    assert valid.all()
    message = (
        "these scenes are within the extent of the scene of 2023-06-01 before them, and are used only where it has no"
    )
    assert message in caplog.text
    assert "(2023-06-04)" in caplog.text
    assert "(2023-06-06)" in caplog.text


def test_broken_link_of_a_collection_is_named_in_the_error(sensors: Path) -> None:
    with pytest.raises(SceneError, match=r"collection\.json: .*links to .*2023-06-04Z\.tif\.json, but there is no"):
        open_catalogues(sensors / DATES / "collection.json")


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([{"rel": "item", "href": "https://host/a.json"}], r"are remote \(https://host/a\.json\)"),
        ([{"rel": "child", "href": "./a/catalog.json"}], r"links to none \(it links to 1 others, such as \./a/catalog"),
        ([{"rel": "items", "href": "https://host/items"}], "links to none; name items"),
        ([5, None], "links to none"),
        ("x", "links to none"),
    ],
)
def test_collection_without_local_items_is_refused(tmp_path: Path, links: Any, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"type": "Collection", "stac_version": "1.0.0", "id": "c", "links": links}))
    with pytest.raises(SceneError, match=message):
        open_catalogues(path)


def test_each_of_three_dates_is_a_scene(sensors: Path, tmp_path: Path) -> None:
    first, second = (sensors / DATES / f"openEO_2023-06-{day}Z.tif.json" for day in ("01", "04"))
    labels = tmp_path / "labels.tif"
    config = {"version": 1, "scene": {"source": str(first)}, "fit": {"k": 3}, "output": {"labels": str(labels)}}
    report = run_config(RunConfig.model_validate(config))
    assert report["nodata_pixels"] == 0
    model = ClusterModel.load(tmp_path / "labels.model.json")
    assert model.bands == ("B04", "B03", "B02")
    model.check_fits(model.bands, described(second).info.units, "another date")
