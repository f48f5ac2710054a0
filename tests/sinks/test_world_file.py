"""A picture with a world file lies where its scene lies, for GDAL, whatever its size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from fakes import MemorySource
from sources import model_of

from pipeline.core.grid import Grid
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics, LabelTask
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import class_colours
from pipeline.sinks.picture import PictureWriter
from pipeline.sinks.picture_options import PictureOptions
from pipeline.sinks.world_file import WorldFileWriter

NORTH_UP = Affine(10, 0, 362_612.5, 0, -10, 1_987_088.25)
ROTATED = Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(20, -20)


def write(folder: Path, shape: tuple[int, int], transform: Affine, options: PictureOptions, ending: str) -> Path:
    """Write the picture of a scene whose first column is class 2 and whose other pixels are class 1, and its file."""
    data = np.zeros((1, *shape), np.uint8)
    data[:, :, 0] = 100
    source = MemorySource(data)
    source.info = replace(source.info, grid=Grid(shape=shape, transform=transform, crs=None))
    model = model_of([[0], [100]])
    job = Job(info=source.info, model=model, colours=class_colours(2), workers=1, picture=options)
    statistics, path = ClassStatistics(model, source.info.units, PixelAreas()), folder / f"p{ending}"
    writers = PictureWriter(path, job), WorldFileWriter(folder / f"p{ending[:2]}{ending[-1]}w", job)
    task = LabelTask.of(source, model, PixelAreas(), (writers[0].part,))
    for block, labelled in ThreadExecutor(1).map(task, source.blocks):
        statistics.add(labelled)
        writers[0].add(block, labelled.parts[0])
    for writer in writers:
        writer.prepare(Summary(statistics))
        writer.finish(Summary(statistics))
    return path


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
@pytest.mark.parametrize(
    ("shape", "side"), [((600, 700), 1), ((1201, 3000), 3), ((30, 40), 1 / 10)], ids=["whole", "thinned", "enlarged"]
)
def test_gdal_reads_the_position_of_the_scene(
    tmp_path: Path, shape: tuple[int, int], side: float, transform: Affine, ending: str
) -> None:
    path = write(tmp_path, shape, transform, PictureOptions(size=1024, panels="classes", bare=True), ending)
    with rasterio.open(path) as file:
        expected = transform @ Affine.scale(side)
        np.testing.assert_allclose(file.transform, expected, rtol=1e-9, atol=1e-6)
        corner = file.transform @ (file.width, file.height)
        np.testing.assert_allclose(corner, transform @ (shape[1], shape[0]), atol=side * 20)  # a part of a pixel more
        first_column = file.read()[:, :, 0]
    np.testing.assert_allclose(first_column.T, [class_colours(2)[1]] * first_column.shape[1], atol=12)


def test_a_scene_without_georeference_has_no_world_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, (30, 40), Affine.identity(), PictureOptions(panels="classes", bare=True), ".png")
    assert list(tmp_path.iterdir()) == [path]
    assert "the scene has no georeference" in caplog.text
