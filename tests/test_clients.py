"""A finished map as its clients open it: GDAL's tools, GRASS and QGIS, where they are installed.

On Debian: `apt-get install gdal-bin grass-core python3-qgis`.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import patches, raster_file
from maps import renamed
from PIL import Image
from runs import config, read

from pipeline.config.schema import SceneConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config
from pipeline.sinks.palette import class_colours

pytestmark = pytest.mark.slow

NAMES = ("Wasser & Eis", "<wood>", "wet 'meadow'", 'say "heath"', "crête, 森")
NAMED = dict(enumerate(zip(NAMES, class_colours(len(NAMES)), strict=True), start=1))
LEGENDS = {"named": NAMED, "left": NAMED | {255: ("unclassified", (75, 75, 75))}}
"""Name and colour of each label, by the name of the map."""
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


def said_by(*command: object) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def needs(*command: str) -> None:
    """Skip a test unless a command works."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command)} fails: {done.stderr[-200:]}")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two maps: `named.tif`, of named classes and nodata, and `left.tif`, with unclassified pixels.

    Its folder `zarr` has the same maps as Zarr stores.
    """
    folder = tmp_path_factory.mktemp("maps")
    pixels = patches(2, (600, 700))
    pixels[:, 100:250, 50:400] = 0
    scene = raster_file(folder / "scene.tif", pixels, bands=["B04", "B08"], nodata=0)
    clustered = {"k": 5, "starts": 2, "pixels": 10_000}
    ranged = {"method": "ranges", "edges": [60, 90.5, 120, 150, 180, 230]}
    for name, bands, fit in (("named", ["B04", "B08"], clustered), ("left", ["B08"], ranged)):
        job = config(scene, folder / f"{name}.tif", scene={"bands": bands}, fit=fit)
        model = renamed(fit_config(job, folder / f"{name}.model.json"), NAMES)
        predict(SceneConfig(source=(str(scene),)), model, job.output)
        (folder / "zarr").mkdir(exist_ok=True)
        store = {"labels": str(folder / "zarr" / f"{name}.zarr"), "zarr_overviews": True}
        predict(SceneConfig(source=(str(scene),)), model, job.output.model_copy(update=store))
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
        legend, sidecar, counts = LEGENDS[path.stem], path.with_suffix(".tif.aux.xml"), np.bincount(read(path).ravel())
        written, before = sidecar.read_bytes(), gdalinfo(path)
        assert sidecar.read_bytes() == written
        assert before["categories"] == ["no data", *(legend.get(n, [""])[0] for n in range(1, max(legend) + 1))]
        assert before["colorTable"]["entries"] == [
            [*legend[n][1], 255] if n in legend else [0, 0, 0, 0] for n in range(max(legend) + 1)
        ]
        assert [field["usage"] for field in before["rat"]["fieldDefn"]] == [5, 1, 2, 6, 7, 8, 0]
        assert [row["f"] for row in before["rat"]["row"]] == [
            [label, counts[label], name, *colour, counts[label] / 100] for label, (name, colour) in legend.items()
        ]

        after = gdalinfo(path, "-stats")
        assert "STATISTICS_MEAN" in after["metadata"][""]
        assert sidecar.read_bytes() != written, "it has written its statistics"
        for key in ("categories", "colorTable", "rat"):
            assert gdalinfo(path)[key] == after[key] == before[key]


def test_grass_imports_categories_and_colours(maps: Path, tmp_path: Path) -> None:
    needs("grass", "--version")
    script = tmp_path / "read.sh"
    script.write_text(
        'set -e; for name in named left; do r.in.gdal -o input="$1/$name.tif" output=$name --quiet\n'
        "r.category map=$name separator=tab; r.colors.out map=$name; echo ==; done\n"
    )
    paths = copied(maps, tmp_path / "maps", ".tif.aux.xml")
    grass = ("/usr/bin/env", f"HOME={tmp_path}", "grass")
    said_by(*grass, "-c", paths[0], "-e", tmp_path / "project")
    said = said_by(*grass, tmp_path / "project" / "PERMANENT", "--exec", "sh", script, tmp_path / "maps")
    for path, text in zip(paths, said.split("==\n")[:2], strict=True):
        legend, lines = LEGENDS[path.stem], text.splitlines()
        assert lines[: len(legend)] == [f"{label}\t{name}" for label, (name, _) in legend.items()]
        colours = [line for line in lines[len(legend) :] if line.split()[0] not in {"nv", "default"}]
        assert colours == ["{} {}:{}:{}".format(label, *colour) for label, (_, colour) in legend.items()]


def drawn(path: Path) -> npt.NDArray[np.uint8]:
    """The picture that QGIS has drawn of a map, shape (rows, columns, 3); its background is magenta."""
    with Image.open(f"{path}.png") as picture:
        return np.asarray(picture.convert("RGB"))


def painted(path: Path) -> npt.NDArray[np.uint8]:
    """What a picture of the map's labels must be."""
    table = np.full((256, 3), (255, 0, 255), np.uint8)
    for label, (_, colour) in LEGENDS[path.stem].items():
        table[label] = colour
    return table[read(path)]


def test_qgis_lists_and_draws_the_classes(maps: Path, tmp_path: Path) -> None:
    """With the style; without it, by the sidecar file; the map alone, which still has its colours; a Zarr store."""
    needs("/usr/bin/env", "QT_QPA_PLATFORM=offscreen", SYSTEM_PYTHON, "-c", "import qgis.core")
    (tmp_path / "open.py").write_text(QGIS)
    paths = [
        *copied(maps, tmp_path / "style", ".tif.aux.xml", ".qml"),
        *copied(maps, tmp_path / "sidecar", ".tif.aux.xml"),
        *copied(maps, tmp_path / "alone"),
        maps / "zarr" / "named.zarr",
        maps / "zarr" / "left.zarr",
    ]
    command = ["/usr/bin/env", "QT_QPA_PLATFORM=offscreen", f"XDG_RUNTIME_DIR={tmp_path}", SYSTEM_PYTHON]
    said = json.loads(said_by(*command, tmp_path / "open.py", *paths))
    for path, shown in zip(paths, said, strict=True):
        np.testing.assert_array_equal(drawn(path), painted(path))
        legend, kind = LEGENDS[path.stem], path.parent.name
        expected = [[n, name, "#{:02x}{:02x}{:02x}".format(*colour), 255] for n, (name, colour) in legend.items()]
        if kind in {"style", "zarr"}:
            assert shown["classes"] == expected
            assert shown["legend"] == [name for name, _ in legend.values()]
        elif (
            kind == "sidecar"
        ):  # colour tables have entries of nodata and, up to 255, of no class: they are transparent
            assert [entry for entry in shown["classes"] if entry[3]] == expected
        else:
            assert [entry[::2] for entry in shown["classes"] if entry[0] in legend] == [each[::2] for each in expected]
