"""A finished map as its clients open it: GDAL's tools, GRASS and QGIS, where they are installed.

On Debian: `apt-get install gdal-bin grass-core python3-qgis`.
"""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import patches, raster_file
from maps import attribute_table, renamed
from PIL import Image
from runs import config, read

from pipeline.config.schema import SceneConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.palette import class_colours

pytestmark = pytest.mark.slow

NAMES = ("Wasser & Eis", "<wood>", "wet 'meadow'", 'say "heath"', "crête, 森")
COLOURS = class_colours(len(NAMES))
HEX = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in COLOURS]
GREY = "#4b4b4b"
SYSTEM_PYTHON = "/usr/bin/python3"
"""The Python that Debian's packages are for."""

QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor
app = QgsApplication([], False)
app.initQgis()
shown = []
for path in sys.argv[1:]:
    layer = QgsRasterLayer(path, "map")
    classes = [[each.value, each.label, each.color.name(), each.color.alpha()] for each in layer.renderer().classes()]
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
    settings.setBackgroundColor(QColor(255, 0, 255))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path + ".png")
    shown.append({"classes": classes, "legend": [entry[0] for entry in layer.legendSymbologyItems()]})
    del layer
print(json.dumps(shown))
app.exitQgis()
"""
"""Opens maps in QGIS; prints classes and legends, and writes a picture of each, a pixel of it for each of the map."""


def said_by(*command: object, **how: Any) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def missing(*command: str) -> str:
    """Why a client can't be tested; empty if it can."""
    if not shutil.which(command[0]):
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return f"{' '.join(command)} fails: {done.stderr[-200:]}" if done.returncode else ""


def needs(*command: str) -> None:
    """Skip a test unless a command works."""
    if reason := missing(*command):
        pytest.skip(reason)


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two maps: `named.tif`, of named classes and nodata, and `left.tif`, with unclassified pixels."""
    folder = tmp_path_factory.mktemp("maps")
    pixels = patches(2, (600, 700))
    pixels[:, 100:250, 50:400] = 0
    scene = raster_file(folder / "scene.tif", pixels, bands=["B04", "B08"], nodata=0)
    sections: Any = (
        {"k": 5, "starts": 2, "pixels": 10_000},
        {"method": "ranges", "edges": [60, 90.5, 120, 150, 180, 230]},
    )
    for name, bands, fit in (("named", ["B04", "B08"], sections[0]), ("left", ["B08"], sections[1])):
        job = config(scene, folder / f"{name}.tif", scene={"bands": bands}, fit=fit)
        model = renamed(fit_config(job, folder / f"{name}.json"), NAMES)
        predict(SceneConfig(source=(str(scene),)), ClusterModel.from_json(model.to_json()), job.output)
    assert np.unique(read(folder / "named.tif")).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.unique(read(folder / "left.tif")).tolist() == [0, 1, 2, 3, 4, 5, 255]
    return folder


def copied(maps: Path, folder: Path, *endings: str) -> list[Path]:
    """Copy both maps, with the files of these endings only; return their paths."""
    folder.mkdir()
    for name in ("named", "left"):
        for ending in (".tif", *endings):
            shutil.copy(maps / f"{name}{ending}", folder)
    return [folder / "named.tif", folder / "left.tif"]


def gdalinfo(path: Path, *options: str) -> dict[str, Any]:
    """What GDAL's tool says of a map and its band."""
    found = json.loads(said_by("gdalinfo", "-json", *options, path))
    found["bands"][0].setdefault("rat", found.get("rat"))
    return dict(found["bands"][0])


def test_gdalinfo_reads_the_classes_also_after_it_has_added_statistics(maps: Path, tmp_path: Path) -> None:
    needs("gdalinfo", "--version")
    for path in copied(maps, tmp_path / "gdal", ".tif.aux.xml"):
        sidecar = path.with_suffix(".tif.aux.xml")
        written, rows, before = sidecar.read_bytes(), attribute_table(sidecar), gdalinfo(path)
        labels = [1, 2, 3, 4, 5, *([255] if path.stem == "left" else [])]
        assert sidecar.read_bytes() == written
        names = dict(zip(labels, [*NAMES, "unclassified"], strict=False))
        assert before["categories"] == [{0: "no data", **names}.get(label, "") for label in range(labels[-1] + 1)]
        colours = dict(zip(labels, [*COLOURS, (75, 75, 75)], strict=False))
        assert before["colorTable"]["entries"] == [
            [*colours[label], 255] if label in colours else [0, 0, 0, 0] for label in range(labels[-1] + 1)
        ]
        assert [field["usage"] for field in before["rat"]["fieldDefn"]] == [5, 1, 2, 6, 7, 8, 0]
        counts = np.bincount(read(path).ravel(), minlength=256)
        expected = [[label, counts[label], names[label], *colours[label], counts[label] / 100] for label in labels]
        assert [row["f"] for row in before["rat"]["row"]] == expected

        after = gdalinfo(path, "-stats")
        assert sidecar.read_bytes() != written, "it adds its statistics"
        assert "STATISTICS_MEAN" in after["metadata"][""]
        for key in ("categories", "colorTable", "rat"):
            assert gdalinfo(path)[key] == after[key] == before[key]
        assert [row["Class"] for row in attribute_table(sidecar)] == [row["Class"] for row in rows]


def test_grass_imports_categories_and_colours(maps: Path, tmp_path: Path) -> None:
    needs("grass", "--version")
    script = tmp_path / "read.sh"
    script.write_text(
        'set -e; for name in named left; do r.in.gdal -o input="$1/$name.tif" output=$name --quiet\n'
        "r.category map=$name separator=tab; r.colors.out map=$name; echo ==; done\n"
    )
    copied(maps, tmp_path / "maps", ".tif.aux.xml")
    grass = ("/usr/bin/env", f"HOME={tmp_path}", "grass")
    said_by(*grass, "-c", tmp_path / "maps" / "named.tif", "-e", tmp_path / "project")
    said = said_by(*grass, tmp_path / "project" / "PERMANENT", "--exec", "sh", script, tmp_path / "maps")
    for text, labels in zip(said.split("==\n")[:2], ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 255]), strict=True):
        lines = text.splitlines()
        assert lines[: len(labels)] == [
            f"{label}\t{name}" for label, name in zip(labels, [*NAMES, "unclassified"], strict=False)
        ]
        colours = dict(line.split() for line in lines[len(labels) :])
        expected = dict(zip(labels, [*COLOURS, (75, 75, 75)], strict=False))
        assert {label: colours[str(label)] for label in labels} == {
            label: ":".join(map(str, colour)) for label, colour in expected.items()
        }
        assert set(colours) - {"nv", "default"} == set(map(str, labels))


def drawn(path: Path) -> npt.NDArray[np.uint8]:
    """The picture that QGIS has drawn of a map, shape (rows, columns, 3); its background is magenta."""
    with Image.open(f"{path}.png") as picture:
        return np.asarray(picture.convert("RGB"))


def painted(path: Path) -> npt.NDArray[np.uint8]:
    """What a picture of the map's labels must be."""
    table = np.zeros((256, 3), np.uint8)
    table[[0, *range(1, 6), 255]] = (255, 0, 255), *COLOURS, (75, 75, 75)
    return table[read(path)]


def test_qgis_lists_and_draws_the_classes(maps: Path, tmp_path: Path) -> None:
    """With the style and without it, and the map alone, which still has its colours."""
    needs("/usr/bin/env", "QT_QPA_PLATFORM=offscreen", SYSTEM_PYTHON, "-c", "import qgis.core")
    (tmp_path / "open.py").write_text(QGIS)
    styled = copied(maps, tmp_path / "styled", ".tif.aux.xml", ".qml")
    sidecar = copied(maps, tmp_path / "sidecar", ".tif.aux.xml")
    alone = copied(maps, tmp_path / "alone")
    paths = [*styled, *sidecar, *alone]
    command = ["/usr/bin/env", "QT_QPA_PLATFORM=offscreen", f"XDG_RUNTIME_DIR={tmp_path}", SYSTEM_PYTHON]
    shown = dict(zip(paths, json.loads(said_by(*command, tmp_path / "open.py", *paths)), strict=True))
    for path in paths:
        np.testing.assert_array_equal(drawn(path), painted(path))

    named = [[label, name, colour, 255] for label, (name, colour) in enumerate(zip(NAMES, HEX, strict=True), start=1)]
    left = [*named, [255, "unclassified", GREY, 255]]
    for path, expected in zip(styled, (named, left), strict=True):
        assert shown[path]["classes"] == expected
        assert shown[path]["legend"] == [entry[1] for entry in expected]
    nodata = [0, "no data", "#000000", 0]
    assert shown[sidecar[0]]["classes"] == [nodata, *named]
    assert [entry for entry in shown[sidecar[1]]["classes"] if entry[3]] == left
    assert shown[alone[0]]["classes"][1:6] == [[entry[0], str(entry[0]), entry[2], 255] for entry in named]
