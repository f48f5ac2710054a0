"""Files of colours are read as the programs read them that they are made for, or refused with a sentence."""

from pathlib import Path

import pytest
from PIL import GimpPaletteFile

from pipeline.core.errors import ConfigError
from pipeline.sinks.palette import class_colours
from pipeline.sinks.palette_files import read_palette

COLOURS = ((0, 0, 139), (34, 139, 34), (255, 215, 0))

QML = """<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22.4-Białowieża" styleCategories="AllStyleCategories">
  <pipe>
    <rasterrenderer opacity="1" type="paletted" band="1" alphaBand="-1" nodataColor="">
      <rasterTransparency/>
      <colorPalette>
        <paletteEntry value="2" color="#228b22" alpha="255" label="forest"/>
        <paletteEntry value="1" color="#00008b" alpha="255" label="water"/>
        <paletteEntry value="255" color="#4b4b4b" alpha="255" label="unclassified"/>
        <paletteEntry value="3" color="#FFD700" alpha="255" label="crops"/>
      </colorPalette>
    </rasterrenderer>
  </pipe>
</qgis>
"""
GPL = "GIMP Palette\nName: Land cover\nColumns: 3\n#\n  0   0 139\tWater\n 34 139  34\tForest\n255 215   0\tUntitled\n"
CLR = "1 0 0 139\n2 34 139 34\n3 255 215 0\n"
GDAL = "# classes\nnv 0 0 0 0\n0 0 0 0 0\n2:34:139:34\n1,0,0,139,255\n3\t255 215 0 255\n"
QGIS = (
    "# QGIS Generated Color Map Export File\nINTERPOLATION:EXACT\n1,0,0,139,255,water\n2,34,139,34,255,forest, dense\n"
    "3,255,215,0,255,3\n255,9,9,9,255,other\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.clr", CLR), ("C.CLR", CLR), ("c.txt", GDAL), ("c.txt", QGIS), ("c.gpl", GPL), ("c.qml", QML)],
)
def test_each_format_gives_the_colours_of_its_classes(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig" if name == "C.CLR" else "utf-8", newline="\r\n")
    assert read_palette(str(path)) == class_colours(3, str(path)) == COLOURS


def test_names_of_colours_are_those_of_gdal(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("1 Red\n2 grey\n3 aqua 255\n")
    assert read_palette(str(tmp_path / "c.txt")) == ((255, 0, 0), (192, 192, 192), (0, 255, 255))


def test_a_gimp_palette_has_the_colours_that_pillow_reads(tmp_path: Path) -> None:
    path = tmp_path / "c.gpl"
    path.write_text(GPL)
    with path.open("rb") as file:
        read, _ = GimpPaletteFile.GimpPaletteFile(file).getpalette()
    assert b"".join(map(bytes, read_palette(str(path)))) == read[:9]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "c.clr",
            "1 0 0 139\n2 34 139\n",
            r"c\.clr, line 2: '2 34 139' is not allowed; expected a class from 1",
        ),
        ("c.clr", "1 0 0 256\n", "line 1"),
        ("c.clr", "1 0 0 -1\n", "line 1"),
        ("c.clr", "1 0 0 1e2\n", "line 1"),
        ("c.clr", "1.5 0 0 9\n", "line 1"),
        ("c.clr", "256 0 0 9\n", "line 1"),
        ("c.txt", "0% 0 0 9\n", "line 1"),
        ("c.txt", "1 crimson\n", "line 1"),
        ("c.clr", "1 0 0 139\n1 0 0 140\n", "line 2: class 1 has a second colour"),
        ("c.clr", "1 0 0 139\n3 0 0 140\n", "classes up to 3 have colours, but class 2 has none"),
        ("c.clr", "# nothing\n0 0 0 0\n", "there is no colour of a class"),
        ("c.clr", "\x00\x01", "line 1"),
        ("c.gpl", "1 2 3\n", "expected 'GIMP Palette'"),
        ("c.gpl", "", "expected 'GIMP Palette'"),
        ("c.gpl", "GIMP Palette\n1 2\n", "line 2"),
        ("c.gpl", "GIMP Palette\n" + "1 2 3\n" * 255, "more than 254 colours"),
        ("c.qml", "1 0 0 139\n", "can't be read as a style of QGIS"),
        ("c.qml", QML.replace('"paletted"', '"singlebandpseudocolor"'), "no entries of a paletted renderer"),
        ("c.qml", QML.replace("#228b22", "green"), "value '2' with colour 'green' is not allowed"),
        (
            "c.qml",
            QML.replace("'SYSTEM'>", "'SYSTEM' [<!ENTITY a 'aaaa'>]>").replace("water", "&a;"),
            "can't be read as a style of QGIS",
        ),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_refused_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^output.palette: .*{message}"):
        read_palette(str(path))


def test_a_file_that_is_missing_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.clr: the file can't be read \(No such file"):
        read_palette(str(tmp_path / "none.clr"))
    (tmp_path / "c.clr").write_bytes(b"1 2 3 4\n" * 2**18)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        read_palette(str(tmp_path / "c.clr"))
    (tmp_path / "c.clr").write_bytes(b"1 2 3 4 \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_palette(str(tmp_path / "c.clr"))
