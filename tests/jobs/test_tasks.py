"""Tasks of a run give the same result in another process, for scenes of every kind, with and without a cache."""

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from blocks import pieces_of
from conftest import WriteRaster
from scene_kinds import KINDS, Files, Scene
from sources import model_of

from pipeline.core.grid import Block
from pipeline.engine.cache import open_cache
from pipeline.geo.pixel_areas import pixel_areas
from pipeline.kernels.fixed import FixedPoint
from pipeline.kernels.hashing import LARGEST_KEY
from pipeline.kernels.mover import Mover
from pipeline.labels.classify import LabelTask
from pipeline.methods.passes import MoveBlock
from pipeline.methods.sample import DrawFromBlock
from pipeline.pixels.open import ScenePixels, open_pixels


def run_each(pickled: bytes) -> list[bytes]:
    """Run pickled (task, items), and return the results pickled."""
    work = pickle.loads(pickled)  # noqa: S301 (pickled by the test)
    return [pickle.dumps(plain(task(item))) for task, items in work for item in items]


def plain(result: Any) -> Any:
    """Arrays of a result, and what it holds beside them."""
    if isinstance(result, np.ndarray):
        return str(result.dtype), result.shape, result.tolist() if result.dtype.hasobject else result.tobytes()
    if isinstance(result, tuple | list):
        return [plain(each) for each in result]
    return {name: plain(each) for name, each in vars(result).items()} if hasattr(result, "__dict__") else result


def tasks_of(pixels: ScenePixels) -> list[tuple[Callable[[Any], Any], list[Any]]]:
    """Tasks of all stages, each with the items that it is run on."""
    info, pieces = pixels.source.info, pieces_of(pixels.for_fit)
    fitted = pieces.fitted
    low, high = fitted.low.astype(np.float64), fitted.high.astype(np.float64)
    centres = np.linspace(low, high, 4)
    fixed = FixedPoint.of(info.dtype, fitted.low, fitted.high)
    before = Mover(info.dtype, None, fixed.scaling, 1.0).to(centres)
    label = LabelTask.of(pixels.for_map, model_of(centres, info.bands, info.dtype.name), pixel_areas(info.map_grid))
    return [
        (DrawFromBlock(pixels.for_fit, 50, 0, limits=True), [(block, LARGEST_KEY) for block in pieces.blocks]),
        (MoveBlock(pieces, 4, fixed, before, before.to(centres + (high - low) / 20)), list(pieces.blocks)),
        (label, list(pixels.for_map.blocks)),
    ]


def opened(scene: Scene, folder: Path, *, files: bool, blocks: bool) -> Any:
    """Context of a cache on disk, and the pixels of a scene with blocks of files, or of the scene, in it."""
    cache = open_cache("disk", folder)
    flags = {"caches_files": files, "caches_blocks": blocks, "cache_required": True}
    return cache, lambda stored: open_pixels(scene, (90, 130), stored if files or blocks else None, **flags)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_tasks_give_the_same_results_in_another_process(
    kind: Callable[[Files], Scene],
    data: Path,
    tmp_path: Path,
    write_raster: WriteRaster,
    elsewhere: ProcessPoolExecutor,
) -> None:
    scene = kind(Files(data, tmp_path, write_raster))
    for files, blocks in ((False, False), (True, False), (False, True)):
        cache, open_with = opened(scene, tmp_path, files=files, blocks=blocks)
        with cache as stored:
            work = tasks_of(open_with(stored))
            pickled = [dumps(work) for dumps in (pickle.dumps, cloudpickle.dumps)]
            found = [elsewhere.submit(run_each, each).result() for each in pickled]
            here = run_each(pickle.dumps(work))
        assert found[0] == found[1] == here, (files, blocks)
        drawn = [pickle.loads(each) for each in here[: len(work[0][1])]]  # noqa: S301
        assert sum(each["valid"] for each in drawn) > 0
        assert isinstance(work[1][1][0], Block)
        sampled, moved, labelled = ({task.place(item) for item in items} for task, items in work)  # type: ignore[attr-defined]
        assert sampled == moved
        assert labelled - {None} <= sampled, "the process that has read a block for the fit is asked for it"
