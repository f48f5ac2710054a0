"""STAC items of every kind: bands by Sentinel-2's names, numbers as the item states them, files as they are."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from server import serving
from sources import described
from test_raster import opened, whole
from test_safe import SIDES, layers

from benchmarks.safe import write_safe
from pipeline.errors import ConfigError, SceneError
from pipeline.scenes.catalogue import open_catalogues
from pipeline.scenes.offers import Catalogue
from pipeline.scenes.stac import item_catalogue, read_items
from pipeline.scenes.stacassets import gdal_path

COGS = "29rkh_20200219_l2a_cog"
Edit = Callable[[dict[str, Any]], None]


def first_of(path: Path) -> Catalogue:
    return item_catalogue(read_items(str(path))[0], path.name)


@pytest.fixture
def item(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the item of the decimated granule beside links to its files, changed as told."""

    def write(edit: Edit = lambda _: None) -> Path:
        folder = data / "scenes" / COGS
        content = json.loads((folder / "S2A_29RKH_20200219_0_L2A.json").read_text())
        for asset in content["assets"].values():
            name = asset["href"].rsplit("/", 1)[-1]
            if name.endswith(".tif") and (folder / name).exists():
                asset["href"] = f"./{name}"
                if not (tmp_path / name).exists():
                    (tmp_path / name).symlink_to(folder / name)
        edit(content)
        path = tmp_path / "item.json"
        path.write_text(json.dumps(content))
        return path

    return write


def test_an_item_opens_with_the_pixels_of_its_files(
    item: Callable[..., Path], data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        source = opened(item(), 512)
    assert source.info.bands == ("B02", "B03", "B04", "B08")
    assert source.info.units.quantity == "reflectance"
    assert (source.info.scales, source.info.offsets, source.info.nodata) == ((1e-4,) * 4, (0,) * 4, (0,) * 4)
    pixels, _ = whole(source)
    for band, plane in zip(source.info.bands, pixels, strict=True):
        with rasterio.open(data / "scenes" / COGS / f"{band}.tif") as file:
            np.testing.assert_array_equal(plane, file.read(1))
    assert "10980 x 10980 pixels are stated, but the file has 1098 x 1098" in caplog.text


def test_all_bands_of_an_item_and_its_mask(item: Callable[..., Path]) -> None:
    source = opened(item(), bands="all", mask="scl")
    assert len(source.info.bands) == 12
    assert source.info.grid.shape == (1098, 1098)
    assert 0 < whole(source)[1].mean() < 1


@pytest.mark.parametrize("bands", [["red", "nir", "swir16"], ["B04", "B08", "B11"], [4, 8, 11]])
def test_bands_go_by_common_name_name_and_number(item: Callable[..., Path], bands: list[Any]) -> None:
    assert described(item(), bands=bands).info.bands == ("B04", "B08", "B11")


def test_bands_go_by_the_keys_of_assets(item: Callable[..., Path]) -> None:
    assert described(item(), bands=["rededge1", "nir08"]).info.bands == ("B05", "B8A")


def test_a_harmonised_item_is_not_shifted_twice(item: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"] |= {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = -0.1

    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert described(item(edit)).info.offsets == (0,) * 4
    assert "the offset of baseline 05.09 is off its numbers already" in caplog.text


@pytest.mark.parametrize(("stated", "offset"), [(-0.1, -0.1), (-0.09, -0.09), (0, 0)])
def test_an_offset_that_is_stated_counts(item: Callable[..., Path], stated: float, offset: float) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"]["s2:processing_baseline"] = "05.09"
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = stated

    assert described(item(edit)).info.offsets == (offset,) * 4


@pytest.mark.parametrize(("baseline", "offset"), [("05.10", -0.1), ("04.00", -0.1), ("03.01", 0), ("02.14", 0)])
def test_where_none_is_stated_the_baseline_tells_and_the_log_says_so(
    item: Callable[..., Path], baseline: str, offset: float, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"]["s2:processing_baseline"] = baseline
        for asset in content["assets"].values():
            asset.pop("raster:bands", None)

    with caplog.at_level(logging.WARNING, logger="pipeline"):
        info = described(item(edit)).info
    assert info.offsets == (offset,) * 4
    assert info.nodata == (0,) * 4
    assert f"the item states no scale or offset; by its baseline, {baseline}," in caplog.text


@pytest.mark.parametrize(
    ("name", "baseline", "offset", "masks"),
    [
        ("earthsearch_v1_S2A_29RKH_20200219_0_L2A.json", "02.14", 0, ["scl at 20 m"]),
        ("pc_sentinel-2-l2a_4items_N0510.json", "05.10", -0.1, ["scl at 20 m"]),
        ("cdse_featurecollection_S2B_T36NYH_20200322_N0500.json", "05.00", -0.1, ["scl at 20 m, 60 m"]),
        ("stactools_S2A_T01WCP_20230625_N0509_stac100.json", "05.09", -0.1, ["scl at 20 m, 60 m"]),
        ("stactools_S2B_T22HBD_20210122_N0214_stac110.json", "02.14", 0, ["scl at 20 m, 60 m"]),
    ],
)
def test_items_of_five_makers_are_read(data: Path, name: str, baseline: str, offset: float, masks: list[str]) -> None:
    found = first_of(data / "stac" / name)
    assert found.names == ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
    assert found.default == ("B02", "B03", "B04", "B08")
    assert found.product is not None
    assert (found.product.baseline, found.product.level) == (baseline, "L2A")
    assert {(band.scale, band.offset, band.nodata) for band in found.bands} == {(1e-4, offset, 0.0)}
    native = {band.name: band.native.resolution for band in found.bands}
    assert (native["B02"], native["B8A"], native["B01"]) == (10, 20, 60)
    assert [str(mask) for mask in found.masks] == masks


def test_four_bands_in_one_asset_are_four_bands(data: Path) -> None:
    found = first_of(data / "stac" / "pc_naip_4items.json")
    assert found.names == ["Red", "Green", "Blue", "NIR"]
    assert [band.native.index for band in found.bands] == [1, 2, 3, 4]
    assert [band.name for band in found.choose(["nir", "red"])] == ["NIR", "Red"]


def test_a_relative_item_of_a_real_product_opens_beside_it(data: Path, tmp_path: Path) -> None:
    item = json.loads((data / "stac" / "stactools_S2B_T22HBD_20210122_N0214_stac110.json").read_text())
    product = next((data / "s2-safe").glob("esa_S2B*"))
    for entry in product.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    ours, theirs = described(path, bands="all").info, described(product, bands="all").info
    assert (ours.bands, ours.scales, ours.offsets, ours.grid) == (
        theirs.bands, theirs.scales, theirs.offsets, theirs.grid,
    )  # fmt: skip


def test_an_item_on_a_server_is_read_with_its_files(tmp_path: Path) -> None:
    product = write_safe(tmp_path, {band: layers()[band] for band in ("B02", "B03", "B04", "B08")}, tile_sides=SIDES)
    assets = {
        path.stem.split("_")[-2]: {
            "href": f"./{path.relative_to(tmp_path)}",
            "type": "image/jp2",
            "roles": ["data", "reflectance"],
            "bands": [{"name": path.stem.split("_")[-2], "raster:scale": 1e-4, "raster:offset": -0.1}],
        }
        for path in product.rglob("*.jp2")
    }
    content = {
        "type": "Feature", "stac_version": "1.1.0", "id": "S2A_MSIL2A_x", "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-25T10:20:21Z", "constellation": "sentinel-2"}, "assets": assets,
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(content))
    with serving(tmp_path) as (address, moods):
        moods.unavailable = 1
        pixels, _ = whole(opened(f"{address}/item.json", 128))
        np.testing.assert_array_equal(pixels, [layers()[band] for band in ("B02", "B03", "B04", "B08")])
        with pytest.raises(SceneError, match=rf"{address}/none\.json: this can't be read: the server answers 404"):
            open_catalogues(f"{address}/none.json")


def test_an_address_that_answers_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.scenes.fetch._PAUSE", 0.01)
    with pytest.raises(SceneError, match=r"http://127\.0\.0\.1:1/item: this can't be read: .*after 4 tries"):
        open_catalogues("http://127.0.0.1:1/item")


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("https://host/a/B04.tif?sig=1", "/vsicurl/https://host/a/B04.tif?sig=1"),
        ("s3://bucket/key/B04.jp2", "/vsis3/bucket/key/B04.jp2"),
        ("gs://bucket/B04.tif", "/vsigs/bucket/B04.tif"),
        ("file:///data/a%20b/B04.tif", "/data/a b/B04.tif"),
        ("/data/B04.tif", "/data/B04.tif"),
    ],
)
def test_gdal_is_told_where_an_asset_lies(href: str, path: str) -> None:
    assert gdal_path(href) == path


def test_a_missing_asset_is_answered_with_those_there_are(item: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"no band 'B10'.* B01, B02, B03"):
        described(item(), bands=["B10"])


def test_an_asset_whose_file_is_missing_is_named(item: Callable[..., Path], tmp_path: Path) -> None:
    path = item()
    (tmp_path / "B03.tif").unlink()
    with pytest.raises(SceneError, match=rf"{tmp_path}/B03\.tif"):
        described(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "this is no JSON"),
        ("[]", "this holds no STAC item"),
        ('{"type": "FeatureCollection", "features": []}', "this holds no STAC item"),
        ('{"type": "Catalog", "stac_version": "1.0.0"}', "no STAC item .found 'Catalog'"),
        ('{"type": "Feature", "geometry": null}', "no STAC item .found 'Feature'"),
        ('{"type": "Feature", "stac_version": "1.0.0"}', "this STAC item can't be read"),
        ("[1]", "no STAC item .found 'int'"),
    ],
)
def test_what_is_no_item_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SceneError, match=rf"a\.json: .*{told}"):
        described(tmp_path / "a.json")


def test_an_item_without_rasters_is_told(item: Callable[..., Path]) -> None:
    with pytest.raises(SceneError, match="has no raster asset; it has thumbnail"):
        described(item(lambda content: content.update(assets={"thumbnail": content["assets"]["thumbnail"]})))


def test_numbers_that_are_none_are_told(item: Callable[..., Path]) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["assets"]["red"]["raster:bands"][0]["scale"] = "a lot"

    with pytest.raises(SceneError, match="asset red: 'a lot' stands where a number should"):
        described(item(edit))


def test_the_files_own_nodata_goes_before_sentinel2s(tmp_path: Path) -> None:
    from affine import Affine

    pixels = np.full((40, 50), 700, "int16")
    pixels[:10] = -9999
    assets = {}
    for band in ("B02", "B03"):
        path = tmp_path / f"HLS_{band}.tif"
        shape = {"count": 1, "height": 40, "width": 50, "dtype": "int16", "nodata": -9999, "crs": "EPSG:32633"}
        with rasterio.open(path, "w", driver="GTiff", transform=Affine(30, 0, 3e5, 0, -30, 5.9e6), **shape) as file:
            file.write(pixels, 1)
        assets[band] = {"href": str(path), "type": "image/tiff"}
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": "HLS", "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-25T10:20:21Z", "platform": "sentinel-2a"}, "assets": assets,
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(content))
    _, valid = whole(opened(tmp_path / "item.json"))
    np.testing.assert_array_equal(valid, pixels != -9999)


def test_a_picture_is_no_band_in_whatever_order_the_assets_come(data: Path, tmp_path: Path) -> None:
    content = json.loads((data / "stac" / "pc_sentinel-2-l2a_4items_N0510.json").read_text())[0]
    content["assets"] = {"visual": content["assets"]["visual"], **content["assets"]}
    (tmp_path / "item.json").write_text(json.dumps(content))
    found = first_of(tmp_path / "item.json")
    assert not any("TCI" in version.path for band in found.bands for version in band.versions)


def test_originals_of_a_harmonised_item_keep_their_offset(item: Callable[..., Path]) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"] |= {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = -0.1
        del content["assets"]["red"]

    offsets = {band.name: band.offset for band in first_of(item(edit)).bands}
    assert offsets["B04"] == -0.1, "ESA's own JPEG 2000"
    assert offsets["B03"] == 0


def test_layers_of_quality_are_no_bands_unless_named(tmp_path: Path) -> None:
    def asset(name: str, common: str | None = None, *roles: str) -> dict[str, Any]:
        bands = [{"name": name, **({"common_name": common} if common else {})}]
        return {"href": f"./{name}.tif", "type": "image/tiff", "roles": list(roles), "eo:bands": bands}

    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": "LC09", "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-25T10:20:21Z", "platform": "landsat-9"},
        "assets": {
            "red": asset("SR_B4", "red", "data", "reflectance"),
            "nir08": asset("SR_B5", "nir08", "data", "reflectance"),
            "atran": asset("ST_ATRAN", None, "data"),
            "qa_aerosol": asset("SR_QA_AEROSOL", None, "data", "data-mask", "water-mask"),
            "qa_radsat": asset("QA_RADSAT", None, "saturation"),
            "qa_pixel": asset("QA_PIXEL", None, "cloud", "cloud-shadow"),
        },
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(content))
    found = first_of(tmp_path / "item.json")
    assert [band.name for band in found.choose("auto")] == ["SR_B5", "SR_B4"]
    assert [band.name for band in found.choose("all")] == ["ST_ATRAN", "SR_B5", "SR_B4"]
    assert [band.name for band in found.choose(["red", "atran"])] == ["SR_B4", "ST_ATRAN"]
    assert [mask.kind for mask in found.masks] == ["qa_pixel"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("assets", "red", "eo:bands"), "x"),
        (("assets", "red", "eo:bands"), [None]),
        (("assets", "red", "raster:bands"), [5]),
        (("assets", "red", "type"), [5]),
        (("assets", "red", "href"), None),
        (("assets", "red", "href"), ""),
        (("assets",), None),
        (("stac_version",), None),
    ],
)
def test_fields_of_a_wrong_kind_are_one_sentence(item: Callable[..., Path], place: tuple[str, ...], value: Any) -> None:
    def edit(content: dict[str, Any]) -> None:
        inside = content
        for key in place[:-1]:
            inside = inside[key]
        inside[place[-1]] = value

    with pytest.raises(SceneError, match=r"item\.json"):
        described(item(edit))


@pytest.mark.parametrize("source", ["http://[::1", "http://"])
def test_what_is_no_address_is_one_sentence(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.scenes.fetch._PAUSE", 0.01)
    with pytest.raises(SceneError):
        described(source)


@pytest.mark.parametrize(("before", "key"), [('"offset": 0', "offset"), ('"properties"', "properties")])
def test_a_key_given_twice_anywhere_in_an_item_is_told(item: Callable[..., Path], before: str, key: str) -> None:
    path = item()
    text = path.read_text()
    start = text.index(before)
    path.write_text(f'{text[:start]}"{key}": -0.1, {text[start:]}')
    with pytest.raises(SceneError, match=rf"item\.json: the key '{key}' is given twice"):
        described(path)
