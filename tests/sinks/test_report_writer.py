"""The page of a run: its numbers are those of the run's JSON, its pictures those of the map, and all is inside it."""

import base64
import json
import re
import tracemalloc
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from blocks import holes, scene
from conftest import WriteRaster, patches, raster_file
from fakes import MemorySource
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages import Node, ranges_of, read_page, table_of, write_page
from PIL import Image
from runs import RECORD, config, read
from sources import model_of

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.core.grid import Grid
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.jobs.predict import predict
from pipeline.jobs.run import check_outputs, run_config
from pipeline.labels.classify import ClassStatistics
from pipeline.models.base import ClusterModel
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.natural_colours import NO_DATA
from pipeline.sinks.palette import class_colours
from pipeline.sinks.registry import OutputConfig
from pipeline.sinks.report import MOST_BANDS, MOST_CLASSES, ReportPixels, report_needs
from pipeline.sinks.report_writer import ReportWriter

HOSTILE = "<script>alert('x')</script>&\"'>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of a scene with nodata."""
    folder = tmp_path_factory.mktemp("page")
    pixels = patches(3, (300, 420))
    pixels[:, :40, :50] = 0
    path = raster_file(folder / "scene.tif", pixels, bands=("B02", "B04", "B08"), nodata=0)
    run_config(config(path, folder / "c.tif", fit={"k": 4}, scene={"date": "2025-07-14"}))
    return folder


def test_its_numbers_are_those_of_the_json(run: Path) -> None:
    page, record = read_page((run / "c.html").read_text()), json.loads((run / "c.run.json").read_text())
    head, *rows = table_of(page, "Classes of the map")
    assert head == ["Class", "Pixels", "Share", "Area (ha)"]
    assert rows[:-1] == [
        [f"class {each['class']}", f"{each['pixels']:,}", f"{each['share']:.1%}", f"{each['area_ha']:,.1f}"]
        for each in record["classes"]
    ]
    assert rows[-1] == ["0 no data", f"{record['nodata_pixels']:,}", "", ""]
    _, *spectra = table_of(page, "Mean, ± standard deviation")
    for row, each in zip(spectra, record["classes"], strict=True):
        for cell, numbers in zip(row[1:], each["bands"].values(), strict=True):
            found = [float(number) for number in re.findall(r"[-+.\de]+", cell)]
            assert found == pytest.approx([numbers[key] for key in ("mean", "std", "min", "max")], rel=6e-3)
    log = table_of(page, "Log of the fit")
    assert [float(row[1]) for row in log[1:]] == pytest.approx([each["inertia"] for each in record["log"]], rel=1e-5)
    facts = {pair.all("dt")[0].text: pair.all("dd")[0].text for pair in page.all("div") if pair.all("dt")}
    valid = sum(each["pixels"] for each in record["classes"])
    assert facts["Valid pixels"].startswith(f"{valid:,} of {300 * 420:,} ")
    assert facts["CRS"] == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert facts["Acquired"] == record["scene"]["acquired"] == "2025-07-14"
    assert facts["Pixel"] == "10 × 10 m"  # noqa: RUF001
    assert {name: facts[name] for name in record["versions"]} == record["versions"]
    assert facts["SHA-256 of the model"] == record["model"]["sha256"]
    outputs = {row[0]: row[2] for row in table_of(page, "Files")[1:]}
    assert list(outputs) == list(record["outputs"])
    assert {key: digest for key, digest in outputs.items() if digest} == record["sha256"]
    (config_text,) = [pre.text for pre in page.all("pre")]
    assert "method: kmeans" in config_text
    assert page.all("h1")[0].text == "scene.tif"
    assert page.all("time")[0].attributes["datetime"] == record["started"]
    assert "Clusters are not land cover" in page.all("p", "caveat")[0].text


def test_its_pictures_are_the_map_and_the_scene(run: Path) -> None:
    page = read_page((run / "c.html").read_text())
    (scene_picture,) = page.all("img", "scene")
    (map_picture,) = page.all("img", "map")
    labels = read(run / "c.tif")
    colours = np.array([NO_DATA, *class_colours(4)], np.uint8)
    np.testing.assert_array_equal(picture_of(map_picture), colours[labels])
    shown = picture_of(scene_picture)
    assert shown.shape == (300, 420, 3)
    assert (shown[labels == 0] == NO_DATA).all()
    for picture in (scene_picture, map_picture):
        assert (picture.attributes["width"], picture.attributes["height"]) == ("420", "300")
        assert picture.attributes["alt"]


def picture_of(node: Node) -> np.ndarray:
    kind, _, code = node.attributes["src"].partition(";base64,")
    assert kind in {"data:image/png", "data:image/jpeg"}
    return np.asarray(Image.open(BytesIO(base64.b64decode(code, validate=True))).convert("RGB"))


def test_nothing_is_loaded_from_elsewhere(run: Path) -> None:
    text = (run / "c.html").read_text()
    page = read_page(text)
    addresses = [node.attributes[name] for node in page.all() for name in ("src", "href") if name in node.attributes]
    assert len(addresses) == 3
    assert all(address.startswith("data:") for address in addresses)
    style, script = (page.all(name)[0].text for name in ("style", "script"))
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"fetch|http|import", script)
    assert not [node for node in page.all() if any(name.startswith("on") for name in node.attributes)]


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    source = MemorySource(scene("u1", bands=3), chunk=(64, 64))
    source.info = replace(source.info, bands=(HOSTILE, "b", "c&amp;"), sources=(f"/x/{HOSTILE}/a.tif",))
    model = model_of([[40, 60, 90], [120, 110, 100], [200, 190, 210]], bands=source.info.bands)
    classes = [each.model_copy(update={"name": f"{HOSTILE}{each.id}"}) for each in model.classes]
    record = {**RECORD, "config": {"scene": {"source": [HOSTILE]}, "note": HOSTILE}, "outputs": {"labels": HOSTILE}}
    text, _ = write_page(tmp_path / "p.html", source, model.model_copy(update={"classes": tuple(classes)}), record)
    page = read_page(text)
    assert len(page.all("script")) == 1
    assert "<script>alert" not in text
    assert [row[0] for row in table_of(page, "Classes of the map")[1:]] == [f"{n} {HOSTILE}{n}" for n in (1, 2, 3)]
    assert table_of(page, "Mean, ±")[0] == ["Class", HOSTILE, "b", "c&amp;"]
    assert HOSTILE.split("/", maxsplit=1)[0] in page.all("pre")[0].text


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_addresses_have_neither_passwords_nor_queries(tmp_path: Path, prefix: str) -> None:
    addresses = [f"{prefix}http://me:SECRET@192.0.2.1/a{number}.tif?sig=SECRET/2" for number in (1, 2)]
    for count, name in ((1, "a1.tif"), (2, "192.0.2.1")):
        source = MemorySource(scene("u1", bands=3), chunk=(64, 64))
        source.info = replace(source.info, sources=tuple(addresses[:count]))
        model = model_of([[40, 60, 90], [120, 110, 100]], bands=source.info.bands)
        record = {**RECORD, "config": {"scene": {"source": addresses[:count], "mask": {"path": addresses[0]}}}}
        text, _ = write_page(tmp_path / "p.html", source, model, record)
        assert "SECRET" not in text
        page = read_page(text)
        assert page.all("h1")[0].text == name
        assert page.all("title")[0].text == f"{name}: 2 classes"
        assert f"{prefix}http://192.0.2.1/a1.tif" in page.all("pre")[0].text


def test_unclassified_pixels_have_a_row_and_a_colour(tmp_path: Path) -> None:
    source = MemorySource(scene("u1", bands=1), holes((120, 150)))
    text, statistics = write_page(tmp_path / "p.html", source, ranges_of(60, 100, 150))
    page = read_page(text)
    head, *cells = table_of(page, "Classes of the map")
    assert [row[1:3] for row in (head, *cells)] == [["From", "To"], ["60", "100"], ["100", "150"], ["", ""], ["", ""]]
    rows = {row[0]: row[3] for row in cells}
    assert rows["255 unclassified"] == f"{statistics.unclassified:,}"
    assert rows["0 no data"] == f"{statistics.counts[0]:,}"
    colours = {tuple(colour) for colour in picture_of(page.all("img", "map")[0]).reshape(-1, 3).tolist()}
    assert len(colours) == 4


def test_a_scene_without_valid_pixels_has_a_page(tmp_path: Path) -> None:
    source = MemorySource(scene("u2", bands=2), np.zeros((120, 150), np.bool_))
    text, _ = write_page(tmp_path / "p.html", source, model_of([[40, 60], [120, 110]], dtype="uint16"))
    assert "nan" not in re.sub('data:[^"]*', "", text).lower()
    heads = [head.text for head in read_page(text).all("h2")]
    assert "Histograms of the bands" not in heads
    assert "Distances between classes" in heads


def test_large_scenes_and_many_classes_and_bands_have_a_page_of_bounded_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shape, bands, k = (1500, 1400), MOST_BANDS + 4, MOST_CLASSES + 6
    data = np.broadcast_to(rng.integers(0, 4000, shape).astype("u2"), (bands, *shape))
    source = MemorySource(data, chunk=(512, 512))
    text, _ = write_page(tmp_path / "p.html", source, model_of(rng.integers(0, 4000, (k, bands)), dtype="uint16"))
    assert len(text.encode()) < 3_000_000
    page = read_page(text)
    assert len(table_of(page, "The nearest class")) == k + 1
    assert len(table_of(page, "Mean, ±")[0]) == 1 + MOST_BANDS
    assert "4 more bands" in page.text


@pytest.mark.parametrize(("dtype", "bands", "k"), [("u1", 3, 254), ("u2", 12, 8), ("f8", 60, 60)])
def test_no_more_memory_is_taken_than_it_needs(tmp_path: Path, dtype: str, bands: int, k: int) -> None:
    rng = np.random.default_rng(2)
    data = np.broadcast_to(rng.integers(0, 255, (1300, 1250)).astype(dtype), (bands, 1300, 1250))
    source = MemorySource(data, chunk=(512, 512))
    model = model_of(rng.integers(0, 255, (k, bands)), dtype=data.dtype.name)
    job = Job(info=source.info, model=model, colours=class_colours(k), workers=1)
    summary = Summary(ClassStatistics(model, source.info.units, PixelAreas(hectares=1.0)), RECORD)
    write_page(tmp_path / "first.html", source, model)  # so that modules and caches are not counted
    tracemalloc.start()
    try:
        with ReportWriter(tmp_path / "p.html", job) as writer:
            for block in source.blocks:
                labels = rng.integers(0, k + 1, block.shape).astype(np.uint8)
                writer.add(block, writer.part(block, source.read(block), labels))
            writer.prepare(summary)
            writer.finish(summary)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < report_needs(source.info, k).fixed + 10_000_000  # and small objects


def test_predict_writes_it_and_a_run_may_leave_it_out(run: Path, tmp_path: Path) -> None:
    model = ClusterModel.load(run / "c.model.json")
    report = predict(SceneConfig(source=(str(run / "scene.tif"),)), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    page = read_page((tmp_path / "p.html").read_text())
    assert report["outputs"]["report"] == str(tmp_path / "p.html")
    assert not [head for head in page.all("h2") if head.text == "Iterations of the fit"]
    assert table_of(page, "Classes of the map") == table_of(
        read_page((run / "c.html").read_text()), "Classes of the map"
    )


def test_the_json_of_a_run_is_no_page(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches())
    message = (
        r"^output\.report: out/r\.json: the report is an HTML page; use a name that ends in \.html "
        r"\(the JSON record of a run is output\.run now\)$"
    )
    with pytest.raises(ConfigError, match=message):
        check_outputs(config(path, tmp_path / "c.tif", output={"report": "out/r.json"}))
    check_outputs(config(path, tmp_path / "c.tif", output={"report": str(tmp_path / "r.HTM")}))


SCENE = MemorySource(np.zeros((1, 2, 2), np.uint8))
sides = st.integers(1, 300) | st.integers(1, 60_000)


@settings(max_examples=200, deadline=None)
@given(rows=sides, columns=sides)
@example(rows=1, columns=1_000_000)
@example(rows=200_000, columns=200_000)
def test_a_scene_of_any_size_is_shown_as_large_as_allowed(rows: int, columns: int) -> None:
    info = replace(SCENE.info, grid=Grid(shape=(rows, columns), transform=Affine.identity(), crs=None))
    taken = ReportPixels.of(info)
    for thinning, most in ((taken.picture, 2**20), (taken.histogram, 2**16)):
        shape = thinning.shape(info.grid)
        assert shape[0] * shape[1] <= most
        finer = -(-rows // (thinning.step - 1 or 1)), -(-columns // (thinning.step - 1 or 1))
        assert thinning.step == 1 or finer[0] * finer[1] > most or max(finer) > 2560
    assert max(taken.picture.shape(info.grid)) <= 2560
