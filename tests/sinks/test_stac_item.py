"""The STAC item: validated by pystac, read by pystac, and compared with the map it describes."""

import json
import logging
import socket
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine
from conftest import WriteRaster, patches
from fakes import MemorySource
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from runs import config, read
from sources import model_of

from pipeline.config.schema import SceneConfig
from pipeline.core.acquisition import Acquisition
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.labels.classify import ClassStatistics
from pipeline.models.store import load_model
from pipeline.sinks.base import Job
from pipeline.sinks.palette import class_colours
from pipeline.sinks.registry import OutputConfig
from pipeline.sinks.stac import _relative, _times, stac_item

QUICK = {"k": 3, "starts": 1, "max_iter": 3}
SCHEMAS = Path(__file__).with_name("stac_schemas")
"""Schemas of the extensions; pystac has those of the specification."""


def validated(path: Path, monkeypatch: pytest.MonkeyPatch) -> pystac.Item:
    """Read an item with pystac and validate it, also against its extensions, without a network."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a schema is missing"))
    validator = JsonSchemaSTACValidator()
    for file in SCHEMAS.iterdir():
        schema = json.loads(file.read_text())
        validator.schema_cache[schema["$id"]] = schema
    item = pystac.Item.from_file(str(path))
    assert len(item.validate(validator=validator)) == 1 + len(item.stac_extensions)
    return item


def test_the_item_describes_the_map(write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = patches(3)
    pixels[:, :30, :40] = 0
    path = write_raster("s_20250714.tif", pixels, nodata=0)
    report = run_config(config(path, tmp_path / "my map.tif", fit=QUICK))
    item = validated(tmp_path / "my map.json", monkeypatch)
    assert item.id == "my map"
    assert item.datetime is None
    assert item.common_metadata.start_datetime == datetime(2025, 7, 14, tzinfo=UTC)
    assert item.common_metadata.end_datetime == datetime(2025, 7, 14, 23, 59, 59, tzinfo=UTC)
    assert set(item.assets) == set(report["outputs"]) - {"stac"}
    for key, asset in item.assets.items():
        assert asset.href.startswith("./")
        assert asset.get_absolute_href() == report["outputs"][key]
        assert asset.media_type
    labels = item.assets["labels"]
    assert (labels.roles, item.assets["table"].roles) == (["data"], ["metadata"])
    with rasterio.open(tmp_path / "my map.tif") as file:
        projection = ProjectionExtension.ext(item)
        assert (projection.code, projection.shape) == ("EPSG:32633", list(file.shape))
        assert Affine(*projection.transform) == file.transform
        assert projection.bbox == list(file.bounds)
        np.testing.assert_allclose(item.bbox, transform_bounds(file.crs, "EPSG:4326", *file.bounds), atol=1e-5)
        (band,) = RasterExtension.ext(labels).bands
        assert (band.data_type, band.nodata, band.spatial_resolution) == (file.dtypes[0], file.nodata, 10)
        colours = file.colormap(1)
    counts = np.bincount(read(tmp_path / "my map.tif").ravel())
    classes = ClassificationExtension.ext(labels).classes
    assert [each.value for each in classes] == list(range(len(counts)))
    assert [each.count for each in classes] == counts.tolist()
    assert [each.nodata for each in classes] == [True, None, None, None]
    for each in classes[1:]:
        assert tuple(bytes.fromhex(each.color_hint)) == colours[each.value][:3]
        assert each.percentage == pytest.approx(100 * counts[each.value] / counts[1:].sum(), abs=1e-4)
    assert item.properties["processing:software"].keys() == {"terrazzo"}
    assert load_model(tmp_path / "my map.model.json").digest in item.properties["processing:lineage"]


def test_outputs_may_lie_in_other_folders_or_be_left_out(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("maps", "maps/items", "tables"):
        (tmp_path / folder).mkdir()
    path = write_raster("s_20250714.tif", patches(3))
    output = {"stac": "maps/items/100%.json", "table": "tables/t.csv", "picture": "none"}
    output = {key: name if name == "none" else str(tmp_path / name) for key, name in output.items()}
    run_config(config(path, tmp_path / "maps" / "m.tif", fit=QUICK, output=output))
    item = validated(tmp_path / "maps/items/100%.json", monkeypatch)
    assert {key: asset.href for key, asset in item.assets.items()} == {
        "labels": "../m.tif",
        "sidecar": "../m.tif.aux.xml",
        "qml": "../m.qml",
        "table": "../../tables/t.csv",
        "model": "../m.model.json",
        "report": "../m.html",
        "run": "../m.run.json",
    }
    assert _relative(Path("a/50% #1?.tif"), Path("a")) == "./50%25 %231%3F.tif"


def test_the_map_may_be_a_zarr_store(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_config(config(write_raster("s_20250714.tif", patches(3)), tmp_path / "m.zarr", fit=QUICK))
    labels = validated(tmp_path / "m.json", monkeypatch).assets["labels"]
    assert (labels.href, labels.media_type) == ("./m.zarr", "application/vnd+zarr")
    with xr.open_zarr(labels.get_absolute_href()) as store:
        flags = [each.value for each in ClassificationExtension.ext(labels).classes if not each.nodata]
        assert store["class"].attrs["flag_values"] == flags


def test_times_are_moments_or_periods() -> None:
    moment, period = Acquisition.parse("2025-07-14T10:30:31.024Z"), Acquisition.parse("2025-06-01/2025-08-31")
    assert _times(moment) == {"datetime": "2025-07-14T10:30:31.024Z"}
    assert _times(period) == {
        "datetime": None,
        "start_datetime": "2025-06-01T00:00:00Z",
        "end_datetime": "2025-08-31T23:59:59Z",
    }


def test_no_item_without_a_date_or_a_place_and_no_old_one_stays(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An old item would describe the new map wrongly."""
    undated = write_raster("s.tif", patches(3))
    nowhere = write_raster("n_20250714.tif", patches(3), crs=None, transform=Affine.identity())
    labels, item = tmp_path / "m.tif", tmp_path / "m.json"
    run_config(config(undated, labels, fit=QUICK, scene={"date": "2025-07-14"}))
    old = item.read_text()
    for source, reason in (
        (undated, "it is unknown when the scene was acquired; set scene.date"),
        (nowhere, "the scene has no coordinate"),
    ):
        item.write_text(old)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            report = run_config(config(source, labels, fit=QUICK), overwrite=True)
        assert caplog.text.count(f"m.json: the STAC item is not written, as {reason}") == 1
        assert not item.exists()
        assert "stac" not in report["outputs"]
        assert json.loads((tmp_path / "m.run.json").read_text())["outputs"] == report["outputs"]


@pytest.mark.parametrize(
    "content",
    [
        '{"legend": "mine"}',
        '{"type": "Feature", "properties": {"processing:software": {"other": "1"}, "floor": "terrazzo"}}',
        '{"processing:software": {"terrazzo": "1"}}',
        '["terrazzo"]',
        '"terrazzo" {',
    ],
)
def test_a_file_of_somebody_else_with_the_name_of_the_item_stays_with_a_warning(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "m.json").write_text(content)
    report = run_config(config(write_raster("s.tif", patches(3)), tmp_path / "m.tif", fit=QUICK), overwrite=True)
    assert (tmp_path / "m.json").read_text() == content
    assert (
        "m.json: this file is left as it is and will not belong to the new map, as it is not written for this"
        in caplog.text
    )
    assert "stac" not in report["outputs"]


def test_unclassified_pixels_and_named_classes(
    tmp_path: Path, write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster("s_20250714.tif", patches(1))
    edges = {"method": "ranges", "edges": [60, 100, 150, 200], "pixels": "all"}
    run_config(config(path, tmp_path / "m.tif", fit=edges))
    labels = read(tmp_path / "m.tif")
    classes = ClassificationExtension.ext(validated(tmp_path / "m.json", monkeypatch).assets["labels"]).classes
    assert [each.value for each in classes] == sorted({0, *np.unique(labels).tolist()})
    assert (classes[-1].name, classes[-1].count) == ("unclassified", (labels == 255).sum())


def test_a_crs_without_a_code_is_written_as_text(
    tmp_path: Path, write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    crs = CRS.from_user_input("+proj=laea +lat_0=12 +lon_0=-37 +datum=WGS84 +units=us-ft")
    path = write_raster("s_20250714.tif", patches(1), crs=crs)
    run_config(config(path, tmp_path / "m.tif", fit=QUICK))
    item = validated(tmp_path / "m.json", monkeypatch)
    projection = ProjectionExtension.ext(item)
    assert projection.code is None
    assert CRS.from_wkt(projection.wkt2) == crs
    (band,) = RasterExtension.ext(item.assets["labels"]).bands
    assert band.spatial_resolution == pytest.approx(10 * 1200 / 3937)


def test_a_prediction_has_an_item_of_its_own_scene(
    tmp_path: Path, write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster("b_20250719.tif", patches(3, dtype="uint8"))
    model = model_of(np.array([[10.0, 20, 30], [100, 120, 130]]))
    colours = class_colours(2)
    predict(SceneConfig(source=(str(path),), names=model.bands), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    item = validated(tmp_path / "p.json", monkeypatch)
    assert item.common_metadata.start_datetime == datetime(2025, 7, 19, tzinfo=UTC)
    hints = [each.color_hint for each in ClassificationExtension.ext(item.assets["labels"]).classes[1:]]
    assert hints == ["{:02X}{:02X}{:02X}".format(*colour) for colour in colours]


def test_names_of_classes_are_plain_and_differ(tmp_path: Path) -> None:
    source = MemorySource(np.ones((1, 20, 30), np.uint8), np.ones((20, 30), np.bool_), (20, 30))
    titles = ["Forêt claire", "water", "water", "水", "nodata", "water-2"]
    model = model_of(np.arange(6.0)[:, np.newaxis])
    classes = tuple(each.model_copy(update={"name": title}) for each, title in zip(model.classes, titles, strict=True))
    job = Job(
        info=source.info, model=model.model_copy(update={"classes": classes}), colours=class_colours(6), workers=1
    )
    item = stac_item(job, ClassStatistics(model, source.info.units, PixelAreas(hectares=0.01)), {"labels": tmp_path})
    listed = item["assets"]["labels"]["classification:classes"]
    assert [each["title"] for each in listed[1:]] == titles
    names = ["Foret-claire", "water-2-2", "water-3", "class-4", "nodata-5", "water-2"]
    assert [each["name"] for each in listed[1:]] == names
