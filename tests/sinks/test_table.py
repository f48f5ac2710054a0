"""The table of classes agrees with numpy, and has hectares only where the area is known."""

import csv
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
from fakes import MemorySource
from sources import model_of

from pipeline.core.errors import OutputError
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics, LabelTask
from pipeline.models.base import ClusterModel
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import class_colours
from pipeline.sinks.raw_map import labels_of
from pipeline.sinks.table import TableWriter


def write_table(
    folder: Path, model: ClusterModel, statistics: ClassStatistics, bands: tuple[str, ...]
) -> list[dict[str, str]]:
    """Write a table and return its rows."""
    info = replace(MemorySource(np.zeros((1, 1, 1))).info, bands=bands)
    job = Job(info=info, model=model, colours=class_colours(model.k), workers=1)
    TableWriter(folder / "t.csv", job).finish(Summary(statistics))
    with (folder / "t.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("chunk", [(50, 60), (7, 9)])
@pytest.mark.parametrize("hectares", [0.01, None])
def test_the_table_agrees_with_numpy_for_each_class(
    tmp_path: Path, chunk: tuple[int, int], hectares: float | None
) -> None:
    rng = np.random.default_rng(8)
    data = rng.gamma(2, 500, (2, 50, 60)).astype(np.uint16)
    valid = rng.random((50, 60)) < 0.8
    model = model_of([[300, 300], [1000, 1000], [3000, 300], [60_000, 60_000]], ("B04", "B08"), "uint16")
    source, areas = MemorySource(data, valid, chunk), PixelAreas(hectares=hectares)
    statistics = ClassStatistics(model, model.units, areas)
    labels = np.zeros((50, 60), int)
    for block, labelled in ThreadExecutor(2).map(LabelTask.of(source, model, areas, (labels_of,)), source.blocks):
        statistics.add(labelled)
        (labels[block.slices],) = labelled.parts
    colours = class_colours(4)
    table = write_table(tmp_path, model, statistics, ("B04", "B08"))
    assert list(table[0]) == [
        "class",
        "colour",
        "pixels",
        "share",
        "area_ha",
        "mean_B04",
        "std_B04",
        "min_B04",
        "max_B04",
        "mean_B08",
        "std_B08",
        "min_B08",
        "max_B08",
    ]
    assert [row["class"] for row in table] == ["1", "2", "3", "4"]
    for label, (row, colour) in enumerate(zip(table, colours, strict=True), start=1):
        members = data[:, labels == label].astype(float)
        count = members.shape[1]
        assert int(row["pixels"]) == count
        assert float(row["share"]) == pytest.approx(count / valid.sum(), abs=1e-6)
        assert bytes.fromhex(row["colour"].removeprefix("#")) == bytes(colour)
        if hectares is None:
            assert row["area_ha"] == ""
        else:
            assert float(row["area_ha"]) == pytest.approx(count * hectares, abs=1e-4)
        for band, name in enumerate(("B04", "B08")):
            if count:
                assert float(row[f"mean_{name}"]) == pytest.approx(members[band].mean(), rel=1e-6)
                assert float(row[f"std_{name}"]) == pytest.approx(members[band].std(), rel=1e-6)
                assert float(row[f"min_{name}"]) == members[band].min()
                assert float(row[f"max_{name}"]) == members[band].max()
            else:
                assert {row[f"{each}_{name}"] for each in ("mean", "std", "min", "max")} == {""}
    assert int(table[3]["pixels"]) == 0  # class 4 is empty
    assert sum(float(row["share"]) for row in table) == pytest.approx(1, abs=1e-5)


def test_the_table_of_a_map_of_nodata_has_shares_of_0_and_no_means(tmp_path: Path) -> None:
    model = model_of([[1.0], [2.0]])
    statistics = ClassStatistics(model, model.units, PixelAreas(hectares=0.01))
    table = write_table(tmp_path, model, statistics, ("a, b",))
    assert [float(row["share"] or nan) for row in table] == [0, 0]
    assert [row["mean_a, b"] for row in table] == ["", ""]  # a comma in a band name does not split the column


def test_the_error_for_a_table_that_can_not_be_written_names_its_folder(tmp_path: Path) -> None:
    model = model_of([[1.0], [2.0]])
    statistics = ClassStatistics(model, model.units, PixelAreas())
    with pytest.raises(
        OutputError, match=rf"{tmp_path / 'none'}: the table of classes can't be written \(No such file"
    ):
        write_table(tmp_path / "none", model, statistics, ("a",))
