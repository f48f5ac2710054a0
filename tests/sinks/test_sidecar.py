"""The sidecar file: names, colours and a table of the classes, as GDAL reads them. Clients: `tests/test_clients.py`."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import WriteRaster
from maps import attribute_table, job_of, summary_of

from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import class_colours
from pipeline.sinks.sidecar import SidecarWriter


def write(folder: Path, job: Job, summary: Summary) -> Path:
    """Write the sidecar file of a map."""
    path = folder / "map.tif.aux.xml"
    SidecarWriter(path, job).finish(summary)
    return path


def names_in(path: Path) -> list[str]:
    """Category names, from 0."""
    names = ET.parse(path).getroot().findall("PAMRasterBand/CategoryNames/Category")  # noqa: S314 (our own)
    return [name.text or "" for name in names]


def test_the_table_has_a_row_per_class(tmp_path: Path) -> None:
    job = job_of("<water> & 'ice'", "wood")
    path = write(tmp_path, job, summary_of(job, 120, 0))
    (r, g, b), (r2, g2, b2) = class_colours(2)
    assert attribute_table(path) == [
        {"Value": "1", "Count": "120", "Class": "<water> & 'ice'", "Red": f"{r}", "Green": f"{g}", "Blue": f"{b}",
         "Hectares": "1.2000"},
        {"Value": "2", "Count": "0", "Class": "wood", "Red": f"{r2}", "Green": f"{g2}", "Blue": f"{b2}",
         "Hectares": "0.0000"},
    ]  # fmt: skip
    assert names_in(path) == ["no data", "<water> & 'ice'", "wood"]


def test_areas_that_are_unknown_are_left_out(tmp_path: Path) -> None:
    job = job_of("water", "wood")
    rows = attribute_table(write(tmp_path, job, summary_of(job, 1, 2, hectares=None)))
    assert [list(row) for row in rows] == [["Value", "Count", "Class", "Red", "Green", "Blue"]] * 2


def test_counts_beyond_the_integers_of_gdal_are_real_numbers(tmp_path: Path) -> None:
    """They are read as 32 bits; a map may have 2^40 pixels."""
    job, kinds = job_of("water", "wood"), []
    for count in (2**31 - 1, 2**31):
        path = write(tmp_path, job, summary_of(job, count, 2))
        field = ET.parse(path).getroot().find(".//FieldDefn[@index='1']")  # noqa: S314 (our own)
        assert field is not None
        kinds.append((field.findtext("Name"), field.findtext("Type")))
        assert attribute_table(path)[0]["Count"] == str(count)
    assert kinds == [("Count", "0"), ("Count", "1")]


@pytest.mark.parametrize("unclassified", [0, 4])
def test_gdal_takes_its_colours_instead_of_those_of_the_tiff(
    write_raster: WriteRaster, tmp_path: Path, unclassified: int
) -> None:
    path = write_raster("map.tif", np.ones((1, 2, 2), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (1, 2, 3)})
    job = job_of("water", "wood")
    sidecar = write(tmp_path, job, summary_of(job, 1, 2, unclassified=unclassified))
    expected = {0: (0, 0, 0, 0)} | {label: (*colour, 255) for label, colour in enumerate(class_colours(2), start=1)}
    if unclassified:  # else GDAL would give its pixels no colour at all
        expected |= dict.fromkeys(range(3, 255), (0, 0, 0, 0)) | {255: (75, 75, 75, 255)}
    with rasterio.open(path) as file:
        assert file.colormap(1) == expected
    assert len(names_in(sidecar)) == len(expected)
    assert [row["Value"] for row in attribute_table(sidecar)] == ["1", "2", *(["255"] if unclassified else [])]
    assert (
        attribute_table(sidecar)[-1]["Class"] == names_in(sidecar)[-1] == ("unclassified" if unclassified else "wood")
    )


def test_the_largest_map_has_an_entry_for_each_value(tmp_path: Path) -> None:
    job = job_of(*(f"class {number}" for number in range(1, 255)))
    path = write(tmp_path, job, summary_of(job, *range(254), unclassified=1))
    assert names_in(path) == ["no data", *(f"class {number}" for number in range(1, 255)), "unclassified"]
    assert [int(row["Count"]) for row in attribute_table(path)] == [*range(254), 1]
