"""STAC items: bands by Sentinel-2's names, scales and offsets as stated or by baseline, kinds and quantities."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM, patches
from server import serving
from sources import described, layers, opened, whole, write_safe

from benchmarks.safe import SafeRecipe
from pipeline.core.errors import ConfigError, SceneError
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.detect import open_catalogues
from pipeline.formats.stac import read_items
from pipeline.formats.stac_assets import gdal_path
from pipeline.formats.stac_items import item_catalogue
from pipeline.scenes.band_checks import left_out_note

pytestmark = pytest.mark.lowest

COGS = "29rkh_20200219_l2a_cog"
Edit = Callable[[dict[str, Any]], None]


def first_of(path: Path) -> Catalogue:
    """Catalogue of the first item of a file."""
    return item_catalogue(read_items(str(path))[0], path.name)


@pytest.fixture
def item(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Function that writes the item of the decimated granule, after an edit, next to links to its files."""

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


def test_item_has_the_pixels_of_its_files(
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


def test_item_offers_all_bands_and_its_mask(item: Callable[..., Path]) -> None:
    source = opened(item(), bands="all", mask="scl")
    assert len(source.info.bands) == 12
    assert source.info.grid.shape == (1098, 1098)
    assert 0 < whole(source)[1].mean() < 1


@pytest.mark.parametrize("bands", [["red", "nir", "swir16"], ["B04", "B08", "B11"], [4, 8, 11]])
def test_bands_are_chosen_by_common_name_name_and_number(item: Callable[..., Path], bands: list[Any]) -> None:
    assert described(item(), bands=bands).info.bands == ("B04", "B08", "B11")


def test_bands_are_chosen_by_asset_keys(item: Callable[..., Path]) -> None:
    assert described(item(), bands=["rededge1", "nir08"]).info.bands == ("B05", "B8A")


def test_offset_of_a_harmonised_item_is_not_applied_again(
    item: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"] |= {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = -0.1

    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert described(item(edit)).info.offsets == (0,) * 4
    assert "the offset of baseline 05.09 is already subtracted from its numbers" in caplog.text


@pytest.mark.parametrize(("stated", "offset"), [(-0.1, -0.1), (-0.09, -0.09), (0, 0)])
def test_stated_offset_is_used(item: Callable[..., Path], stated: float, offset: float) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"]["s2:processing_baseline"] = "05.09"
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = stated

    assert described(item(edit)).info.offsets == (offset,) * 4


@pytest.mark.parametrize(("baseline", "offset"), [("05.10", -0.1), ("04.00", -0.1), ("03.01", 0), ("02.14", 0)])
def test_unstated_offset_is_that_of_the_baseline_with_a_warning(
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
def test_items_of_five_providers_are_read(
    data: Path, name: str, baseline: str, offset: float, masks: list[str]
) -> None:
    found = first_of(data / "stac" / name)
    assert found.names == ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
    assert found.default == ("B02", "B03", "B04", "B08")
    assert found.product is not None
    assert (found.product.baseline, found.product.level) == (baseline, "L2A")
    assert {(band.scale, band.offset, band.nodata) for band in found.bands} == {(1e-4, offset, 0.0)}
    native = {band.name: band.native.resolution for band in found.bands}
    assert (native["B02"], native["B8A"], native["B01"]) == (10, 20, 60)
    assert [str(mask) for mask in found.masks] == masks


def test_asset_of_four_bands_offers_four_bands(data: Path) -> None:
    found = first_of(data / "stac" / "pc_naip_4items.json")
    assert found.names == ["Red", "Green", "Blue", "NIR"]
    assert [band.native.index for band in found.bands] == [1, 2, 3, 4]
    assert [band.name for band in found.choose(["nir", "red"])] == ["NIR", "Red"]


def test_item_with_relative_paths_equals_its_product(data: Path, tmp_path: Path) -> None:
    item = json.loads((data / "stac" / "stactools_S2B_T22HBD_20210122_N0214_stac110.json").read_text())
    product = next((data / "s2-safe").glob("esa_S2B*"))
    for entry in product.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    of_item, of_product = described(path, bands="all").info, described(product, bands="all").info
    assert (of_item.bands, of_item.scales, of_item.offsets, of_item.grid) == (
        of_product.bands, of_product.scales, of_product.offsets, of_product.grid,
    )  # fmt: skip


def test_remote_item_is_read_with_its_files(tmp_path: Path) -> None:
    product = write_safe(tmp_path, {band: layers()[band] for band in ("B02", "B03", "B04", "B08")})
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
        with pytest.raises(SceneError, match=rf"{address}/none\.json: this URL can't be read: the server answers 404"):
            open_catalogues(f"{address}/none.json")


def test_unreachable_item_is_an_error_with_url_and_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.fetch._PAUSE", 0.01)
    with pytest.raises(SceneError, match=r"http://127\.0\.0\.1:1/item: this URL can't be read: .*after 4 tries"):
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
def test_href_is_converted_to_gdal_path(href: str, path: str) -> None:
    assert gdal_path(href) == path


def test_missing_asset_is_an_error_that_lists_the_bands(item: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"no band 'B10'.* B01, B02, B03"):
        described(item(), bands=["B10"])


def test_missing_file_of_an_asset_is_named_in_the_error(item: Callable[..., Path], tmp_path: Path) -> None:
    path = item()
    (tmp_path / "B03.tif").unlink()
    with pytest.raises(SceneError, match=rf"{tmp_path}/B03\.tif"):
        described(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not JSON"),
        ("[]", "this file holds no STAC item"),
        ('{"type": "FeatureCollection", "features": []}', "this file holds no STAC item"),
        ('{"type": "Catalog", "stac_version": "1.0.0"}', "no STAC item .found 'Catalog'"),
        ('{"type": "Feature", "geometry": null}', "no STAC item .found 'Feature'"),
        (
            '{"type": "Feature", "stac_version": "1.0.0"}',
            "this STAC item can't be read .(the key 'properties' is missing|STACError: .*).; fix",
        ),
        ("[1]", "no STAC item .found 'int'"),
    ],
)
def test_file_without_a_stac_item_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(SceneError, match=rf"a\.json: .*{message}"):
        described(tmp_path / "a.json")


def test_item_without_raster_assets_is_refused(item: Callable[..., Path]) -> None:
    with pytest.raises(SceneError, match="has no raster asset; it has thumbnail"):
        described(item(lambda content: content.update(assets={"thumbnail": content["assets"]["thumbnail"]})))


def test_scale_that_is_no_number_is_refused(item: Callable[..., Path]) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["assets"]["red"]["raster:bands"][0]["scale"] = "a lot"

    with pytest.raises(SceneError, match="asset red: 'a lot' is not a number"):
        described(item(edit))


def test_nodata_tag_of_the_file_wins_over_that_of_sentinel2(tmp_path: Path) -> None:
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


def test_picture_is_no_band_in_any_order_of_assets(data: Path, tmp_path: Path) -> None:
    content = json.loads((data / "stac" / "pc_sentinel-2-l2a_4items_N0510.json").read_text())[0]
    content["assets"] = {"visual": content["assets"]["visual"], **content["assets"]}
    (tmp_path / "item.json").write_text(json.dumps(content))
    found = first_of(tmp_path / "item.json")
    assert not any("TCI" in version.path for band in found.bands for version in band.versions)


def test_jpeg_2000_originals_of_a_harmonised_item_have_the_offset(item: Callable[..., Path]) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"] |= {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = -0.1
        del content["assets"]["red"]

    offsets = {band.name: band.offset for band in first_of(item(edit)).bands}
    assert offsets["B04"] == -0.1, "ESA's own JPEG 2000"
    assert offsets["B03"] == 0


def test_quality_layers_are_left_out_unless_named(tmp_path: Path) -> None:
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
    assert [band.name for band in found.choose("all")] == ["SR_B5", "SR_B4"]
    assert [offer.native.path for offer in found.choose(["red", "atran"])] == [
        str(tmp_path / f"{name}.tif") for name in ("SR_B4", "ST_ATRAN")
    ]
    assert left_out_note(found, "auto") == left_out_note(found, "all")
    assert "quality layers: qa_aerosol, qa_pixel, qa_radsat" in left_out_note(found, "auto")
    assert "atmosphere layers: atran" in left_out_note(found, "auto")
    assert [mask.kind for mask in found.masks] == ["qa_pixel"]


@pytest.mark.parametrize(
    ("keys", "value"),
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
def test_field_of_a_wrong_type_is_an_error_with_the_file(
    item: Callable[..., Path], keys: tuple[str, ...], value: Any
) -> None:
    def edit(content: dict[str, Any]) -> None:
        parent = content
        for key in keys[:-1]:
            parent = parent[key]
        parent[keys[-1]] = value

    with pytest.raises(SceneError, match=r"item\.json"):
        described(item(edit))


@pytest.mark.parametrize("source", ["http://[::1", "http://"])
def test_invalid_url_is_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.fetch._PAUSE", 0.01)
    with pytest.raises(SceneError):
        described(source)


@pytest.mark.parametrize(("before", "key"), [('"offset": 0', "offset"), ('"properties"', "properties")])
def test_repeated_json_key_is_refused(item: Callable[..., Path], before: str, key: str) -> None:
    path = item()
    text = path.read_text()
    start = text.index(before)
    path.write_text(f'{text[:start]}"{key}": -0.1, {text[start:]}')
    with pytest.raises(SceneError, match=rf"item\.json: the key '{key}' is given twice"):
        described(path)


@pytest.mark.parametrize(
    "kind",
    [
        "image/tiff",
        "image/tif",
        "image/geotiff",
        "image/geo+tiff",
        "IMAGE/TIFF; application=geotiff",
        "image/x-geotiff",
        "image/vnd.stac.geotiff; cloud-optimized=true",
        "application/geotiff",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-unknown",
        "application/json",
        "",
        None,
    ],
)
@pytest.mark.parametrize("suffix", [".tif", ".TIF"])
def test_no_media_type_hides_a_band(
    item: Callable[..., Path], tmp_path: Path, kind: str | None, suffix: str
) -> None:  # fmt: skip
    def edit(content: dict[str, Any]) -> None:
        nir = content["assets"]["nir"]
        nir["type"] = kind
        nir["href"] = f"./{Path(nir['href']).stem}{suffix}"
        del content["assets"]["nir-jp2"]
        if kind is None:
            del nir["type"]

    path = item(edit)
    if suffix == ".TIF":
        (tmp_path / "B08.tif").rename(tmp_path / "B08.TIF")
    assert described(path).info.bands == ("B02", "B03", "B04", "B08")


@pytest.mark.parametrize("kind", ["image/geotiff", "application/octet-stream", "image/geo+tiff", "", "IMAGE/TIF"])
def test_no_media_type_hides_a_band_of_another_sensor(tmp_path: Path, kind: str) -> None:
    for more in ({}, {"roles": ["data"]}, {"eo:bands": [{"name": "b", "common_name": "nir"}]}):
        first = {"eo:bands": [{"name": "a", "common_name": "red"}]} if "eo:bands" in more else {}
        path = plain_item(tmp_path, {"a": first, "b": {"type": kind, **more}})
        assert described(path).info.bands == ("a", "b")


def test_non_spectral_band_is_no_default_band_next_to_spectral_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    red = {"eo:bands": [{"name": "red", "common_name": "red"}]}
    path = plain_item(tmp_path, {"red": red, "fraction": {"roles": ["data"]}})
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert described(path).info.bands == ("red",)
    assert "these are no default bands, as the item does not describe them as spectral: fraction" in caplog.text
    assert described(path, bands="all").info.bands == ("fraction", "red")


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("b.nc", {"type": "application/netcdf", "roles": ["data"]}, "its media type is application/netcdf and its"),
        ("b.zarr", {"type": "application/vnd+zarr", "eo:bands": [{"name": "b"}]}, "application/vnd+zarr"),
        ("b", {"roles": ["data"]}, "it has no media type"),
        ("b.xml", {"type": "image/tiff", "roles": ["data"]}, "which contradict each other"),
        ("b.tif", {"type": "text/html"}, "which contradict each other"),
    ],
)  # fmt: skip
def test_skipped_asset_that_may_hold_data_is_warned_of(
    tmp_path: Path, name: str, more: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = plain_item(tmp_path, {"a": {}, "b": {"href": f"./{name}", "type": None, **more}})
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert described(path).info.bands == ("a",)
    assert f"{path}: asset b is skipped: " in caplog.text
    assert message in caplog.text


def test_assets_without_data_are_skipped_without_warning(
    item: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        described(item())
    assert "is skipped" not in caplog.text


def plain_item(folder: Path, assets: dict[str, dict[str, Any]], bands: int = 1, **properties: Any) -> Path:
    """Write an item of no particular sensor, and a raster for each asset without an href of its own."""
    written: dict[str, Any] = {}
    for number, (key, more) in enumerate(assets.items()):
        written[key] = {"href": f"./{key}.tif", "type": "image/tiff; application=geotiff", **more}
        if written[key]["href"] == f"./{key}.tif":
            pixels = patches(bands, (40, 50), seed=number)
            shape = {"count": bands, "height": 40, "width": 50, "dtype": pixels.dtype}
            with rasterio.open(folder / f"{key}.tif", "w", driver="GTiff", **UTM, **shape) as file:
                file.write(pixels)
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": "x", "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-25T10:20:21Z", **properties}, "assets": written,
    }  # fmt: skip
    path = folder / "item.json"
    path.write_text(json.dumps(content))
    return path


def earth_search_v0(folder: Path, **properties: Any) -> Path:
    """Write an item like those of Earth Search v0, which state no scale or offset of bands."""
    names = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
    assets = {
        key: {"roles": ["data"], "eo:bands": [{"name": key, "common_name": common}]} for key, common in names.items()
    }
    common = {"platform": "sentinel-2b", "constellation": "sentinel-2", "sentinel:valid_cloud_cover": True}
    return plain_item(folder, assets, **common, **properties)


@pytest.mark.parametrize("prefix", ["sentinel:", "s2:", "earthsearch:", "sentinel2:"])
@pytest.mark.parametrize(
    ("applied", "baseline", "offset"),
    [
        (True, "04.00", 0.0),
        ("true", "04.00", 0.0),
        ("True", "05.09", 0.0),
        (1, "05.09", 0.0),
        (False, "04.00", -0.1),
        ("false", "05.10", -0.1),
        (None, "04.00", -0.1),
        (None, 4.0, -0.1),
        (None, 5.1, -0.1),
        (None, "N0400", -0.1),
        (None, "03.01", 0.0),
        (False, "02.14", 0.0),
        (True, "02.14", 0.0),
    ],
)
def test_baseline_and_offset_properties_are_read_with_any_prefix(
    tmp_path: Path, prefix: str, applied: Any, baseline: Any, offset: float
) -> None:  # fmt: skip
    properties = {f"{prefix}processing_baseline": baseline}
    if applied is not None:
        properties[f"{prefix}boa_offset_applied"] = applied
    info = described(earth_search_v0(tmp_path, **properties)).info
    assert (info.scales, info.offsets) == ((1e-4,) * 4, (offset,) * 4)


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"s2:processing_baseline": "04.00", "sentinel:processing_baseline": "04.00"}, -0.1),
        ({"s2:processing_baseline": None, "sentinel:processing_baseline": "05.09"}, -0.1),
        ({"sentinel:product_id": "S2B_MSIL2A_20230122T133229_N0509_R081_T22HBD_20230122T155500"}, -0.1),
        ({"s2:product_uri": "S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"}, 0.0),
        ({"processing:version": "05.00"}, -0.1),
        ({"processing:version": "v1.0"}, 0.0),
        ({}, 0.0),
    ],
)
def test_baseline_is_found_in_any_property(tmp_path: Path, properties: dict[str, Any], offset: float) -> None:
    assert described(earth_search_v0(tmp_path, **properties)).info.offsets == (offset,) * 4


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {"earthsearch:boa_offset_applied": True, "sentinel:boa_offset_applied": "false"},
            "earthsearch:boa_offset_applied is True, sentinel:boa_offset_applied is 'false'",
        ),
        ({"sentinel:boa_offset_applied": "perhaps"}, "is 'perhaps'; expected true or false"),
        (
            {"s2:processing_baseline": "02.14", "sentinel:processing_baseline": "05.09"},
            "states two baselines: s2:processing_baseline is '02.14', sentinel:processing_baseline is '05.09'",
        ),
    ],
)
def test_contradictory_properties_are_refused(tmp_path: Path, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(SceneError, match=message):
        described(earth_search_v0(tmp_path, **properties))


def test_unknown_baseline_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        described(earth_search_v0(tmp_path))
    assert "no scale, offset or baseline" in caplog.text
    assert "0.1 too high" in caplog.text


def test_offset_that_is_not_subtracted_is_applied_to_a_scale_without_offset(tmp_path: Path) -> None:
    path = earth_search_v0(tmp_path, **{"s2:processing_baseline": "05.09", "s2:boa_offset_applied": "false"})
    content = json.loads(path.read_text())
    for asset in content["assets"].values():
        asset["raster:bands"] = [{"scale": 1e-4}]
    path.write_text(json.dumps(content))
    assert described(path).info.offsets == (-0.1,) * 4


def test_originals_do_not_replace_harmonised_copies(item: Callable[..., Path]) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["properties"] |= {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
        for asset in content["assets"].values():
            for band in asset.get("raster:bands", []):
                band["offset"] = -0.1
        content["assets"]["red-jp2"]["proj:transform"] = [20, 0, 199980, 0, -20, 2800020]

    (red,) = (band for band in first_of(item(edit)).bands if band.name == "B04")
    assert red.offset == 0
    assert [version.path.endswith(".jp2") for version in red.versions] == [False]


@pytest.mark.parametrize(
    ("fields", "quantity"),
    [
        ({"raster:bands": [{"unit": "kelvin", "scale": 0.1}]}, "temperature"),
        ({"raster:bands": [{"unit": "K"}]}, "temperature"),
        ({"bands": [{"name": "b", "unit": "°C"}]}, "temperature"),
        ({"raster:bands": [{"unit": "degree_Celsius"}]}, "temperature"),
        ({"roles": ["data", "temperature"]}, "temperature"),
        ({"eo:bands": [{"name": "b", "common_name": "lwir11"}]}, "temperature"),
        ({"eo:bands": [{"name": "b", "common_name": "tir12"}]}, "temperature"),
        ({"raster:bands": [{"unit": "W/(m^2 sr um)", "scale": 0.01}]}, "radiance"),
        ({"raster:bands": [{"unit": "degree"}]}, "angle"),
        ({"raster:bands": [{"unit": "m"}]}, "elevation"),
        ({"raster:bands": [{"unit": "metre"}]}, "elevation"),
        ({"raster:bands": [{"scale": 1e-4}], "roles": ["data", "reflectance"]}, "reflectance"),
        ({"raster:bands": [{"scale": 1e-4}]}, "scaled"),
        ({"raster:bands": [{"unit": "1"}]}, "numbers"),
    ],
)
def test_quantity_follows_from_unit_roles_and_common_name(
    tmp_path: Path, fields: dict[str, Any], quantity: str, caplog: pytest.LogCaptureFixture
) -> None:
    red = {"eo:bands": [{"name": "red", "common_name": "red"}], "raster:bands": [{"scale": 1e-4, "offset": 0}]}
    path = plain_item(tmp_path, {"red": red | {"roles": ["data", "reflectance"]}, "b": fields})
    everything = described(path, bands="all").info
    assert dict(zip(everything.bands, everything.units.quantities, strict=True))["b"] == quantity
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        default = described(path).info.bands
    alike = quantity == "reflectance" or not fields.get("eo:bands")
    assert "red" in default
    if quantity in {"temperature", "radiance", "angle", "elevation"}:
        assert default == ("red",)
        assert f"{quantity}: b" in caplog.text
    assert alike or quantity == "temperature"


def test_item_of_elevation_only_offers_it_by_default(tmp_path: Path) -> None:
    path = plain_item(tmp_path, {"dem": {"raster:bands": [{"unit": "m"}]}})
    info = described(path).info
    assert (info.bands, info.units.quantity) == (("dem",), "elevation")


def test_angles_and_classes_are_left_out_and_fmask_is_a_mask(tmp_path: Path) -> None:
    keys = ("B02", "B03", "B04", "SZA", "SAA", "VZA", "VAA")
    classes = {"raster:bands": [{"classification:classes": [{"value": 1}]}]}
    bits = {"classification:bitfields": [{"offset": 0}]}
    path = plain_item(tmp_path, {key: {} for key in keys} | {"Fmask": {}, "landcover": classes, "state": bits})
    found = first_of(path)
    for wanted in ("auto", "all"):
        assert [band.name for band in found.choose(wanted)] == ["B02", "B03", "B04"]
    assert [mask.kind for mask in found.masks] == ["fmask"]
    assert [band.name for band in found.choose(["B04", "SZA", "landcover"])] == ["B04", "SZA", "landcover"]


def test_oa_fmask_is_no_fmask_of_hls(tmp_path: Path) -> None:
    found = first_of(plain_item(tmp_path, {"nbart_red": {}, "oa_fmask": {}}))
    assert [band.name for band in found.choose("all")] == ["nbart_red"]
    assert found.masks == ()


def test_coastal_aerosol_is_a_measured_band(tmp_path: Path) -> None:
    bands = {"nbart_coastal_aerosol": "coastal", "nbart_red": "red"}
    assets = {key: {"eo:bands": [{"name": key, "common_name": common}]} for key, common in bands.items()}
    found = first_of(plain_item(tmp_path, assets))
    assert [band.name for band in found.choose("auto")] == list(bands)


def test_mask_of_udm2_is_its_band_clear(tmp_path: Path) -> None:
    names = ("cloud", "snow", "clear")
    path = plain_item(tmp_path, {"ortho_udm2": {"bands": [{"name": name} for name in names]}}, bands=3)
    content = json.loads(path.read_text())
    path = plain_item(tmp_path, {"red": {}, "ortho_udm2": content["assets"]["ortho_udm2"]})
    planes = np.random.default_rng(1).integers(0, 2, (3, 40, 50)).astype("uint8")
    shape = {"count": 3, "height": 40, "width": 50, "dtype": "uint8"}
    with rasterio.open(tmp_path / "ortho_udm2.tif", "w", driver="GTiff", **UTM, **shape) as file:
        file.write(planes)
    np.testing.assert_array_equal(whole(opened(path, mask="udm2"))[1], planes[2] == 1)


def test_file_with_unlisted_bands_offers_all_its_bands(tmp_path: Path) -> None:
    path = plain_item(tmp_path, {"analytic": {}, "other": {"eo:bands": [{"name": "x"}]}}, bands=4)
    assert described(path, bands="all").info.bands == ("band1", "band2", "band3", "band4", "x")
    with rasterio.open(tmp_path / "analytic.tif") as file:
        pixels = file.read()
    path = plain_item(tmp_path, {"analytic": {}, "second": {}}, bands=4)
    source = opened(path, bands="all")
    assert source.info.bands[:5] == (*(f"analytic_band{n}" for n in (1, 2, 3, 4)), "second_band1")
    np.testing.assert_array_equal(whole(source)[0][:4], pixels)


def test_unreadable_file_is_an_error_only_if_its_band_is_chosen(tmp_path: Path) -> None:
    path = plain_item(tmp_path, {"a": {}, "b": {"href": "./none.tif"}})
    assert described(path, bands=["a"]).info.bands == ("a",)
    with pytest.raises(SceneError, match=r"none\.tif"):
        described(path)


def test_products_of_two_levels_are_refused_as_mosaic(tmp_path: Path, item: Callable[..., Path]) -> None:
    first = write_safe(tmp_path, {band: layers()[band] for band in ("B02", "B03", "B04", "B08")})
    recipe = SafeRecipe(level="L1C")
    bands = {band: layers()[band] for band in ("B02", "B03", "B04", "B08")}
    second = write_safe(tmp_path, bands, recipe)
    with pytest.raises(SceneError, match=rf"{first.name} is of level L2A, .*{second.name} of level L1C"):
        described([first, second])
    path = item()
    with pytest.raises(SceneError, match=rf"{second.name} is of level L1C, .*item\.json of level L2A"):
        described([second, path])


@pytest.mark.parametrize(
    ("name", "properties", "level"),
    [
        ("20170831_172754_101c", {}, ""),
        ("x", {"s2:product_type": "S2MSI2A"}, "L2A"),
        ("S2A_29RKH_20200219_0_L2A", {}, "L2A"),
        ("S2A_29RKH_20200219_0_L1C", {}, "L1C"),
        ("LC08_L2SP_008059_20191201_20200825_02_T1", {}, "L2SP"),
        ("x", {"landsat:correction": "L1GS"}, "L1GS"),
        ("x", {"processing:level": "L1C"}, "L1C"),
    ],
)
def test_processing_level_is_read_from_properties_and_names(
    tmp_path: Path, name: str, properties: dict[str, str], level: str
) -> None:
    path = plain_item(tmp_path, {"a": {}}, **properties)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id": name}))
    product = first_of(path).product
    assert product is not None
    assert product.level == level


def test_sentinel2_bands_in_one_file_are_found(tmp_path: Path) -> None:
    bands = [{"name": name} for name in ("B04", "B03", "B02")]
    path = plain_item(tmp_path, {"openEO.tif": {"href": "./a.tif", "eo:bands": bands}}, constellation="sentinel-2")
    pixels = patches(3, (40, 50))
    shape = {"count": 3, "height": 40, "width": 50, "dtype": pixels.dtype}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **UTM, **shape) as file:
        file.write(pixels)
    source = opened(path, bands=["B04", "B02"])
    np.testing.assert_array_equal(whole(source)[0], pixels[[0, 2]])


def test_two_versions_of_a_band_are_refused_with_both_assets(tmp_path: Path) -> None:
    stem = "SENTINEL2A_20200101-105853-456_L2A_T31TCJ_C_V2-2"
    assets = {f"{version}_{band}": {} for version in ("SRE", "FRE") for band in ("B4", "B8")}
    path = plain_item(tmp_path, assets, platform="sentinel-2a")
    content = json.loads(path.read_text())
    for key, asset in content["assets"].items():
        asset["href"] = f"./{stem}_{key}.tif"
        (tmp_path / f"{key}.tif").rename(tmp_path / f"{stem}_{key}.tif")
    path.write_text(json.dumps(content))
    with pytest.raises(SceneError, match=r"assets SRE_B4 and FRE_B4 are two versions of band B04"):
        described(path)
    content["assets"] = {key: asset for key, asset in content["assets"].items() if "FRE" in key}
    path.write_text(json.dumps(content))
    info = described(path, bands="all").info
    assert info.bands == ("B04", "B08")
    assert info.nodata == (None, None), "MAJA's -10000 can't occur in uint16"


def test_contradictory_scales_of_stac_1_0_and_1_1_are_refused(tmp_path: Path) -> None:
    both = {"raster:bands": [{"scale": 1e-4, "raster:scale": 1e-4}]}
    assert described(plain_item(tmp_path, {"a": both})).info.scales == (1e-4,)
    both["raster:bands"][0]["raster:scale"] = 1e-3
    with pytest.raises(SceneError, match=r"asset a: scale is given twice, as 0\.0001 and as 0\.001"):
        described(plain_item(tmp_path, {"a": both}))


def test_contradictory_values_in_landsat_metadata_are_refused() -> None:
    from pipeline.formats.landsat_mtl import parse_metadata

    text = b'GROUP = A\nSPACECRAFT_ID = "LANDSAT_8"\nX = 1\nX = 1\nEND_GROUP = A\nGROUP = B\nX = 2\nEND_GROUP = B\n'
    assert parse_metadata(text, "m_MTL.txt").product.format == "Landsat 8"
    with pytest.raises(SceneError, match=r"m_MTL\.txt: X is given twice, as 1 and as 3"):
        parse_metadata(text.replace(b"X = 1\nEND", b"X = 3\nEND"), "m_MTL.txt")
    with pytest.raises(SceneError, match=r"the key 'X' is given twice"):
        parse_metadata(b'{"L": {"A": {"X": 1, "X": 2}}}', "m_MTL.json")


def test_two_assets_with_the_same_bands_have_to_be_named(tmp_path: Path) -> None:
    bands = [{"name": name, "common_name": name} for name in ("red", "nir")]
    path = plain_item(tmp_path, {"analytic": {"eo:bands": bands}, "analytic_sr": {"eo:bands": bands}}, bands=2)
    for wanted in ("auto", "all"):
        message = "analytic and analytic_sr both hold a band red; .* such as analytic_red or analytic_sr_red"
        with pytest.raises(ConfigError, match=message):
            described(path, bands=wanted)
    source = opened(path, bands=["analytic_sr_red", "analytic_sr_nir"])
    with rasterio.open(tmp_path / "analytic_sr.tif") as file:
        np.testing.assert_array_equal(whole(source)[0], file.read())
    named = {"analytic_sr_red": "r", "analytic_sr_nir": "n"}
    assert opened(path, names=named, bands=["n", "r"]).info.bands == ("n", "r")
