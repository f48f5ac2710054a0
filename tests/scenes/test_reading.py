"""What reading costs: of a scene, of its masks, and of a mosaic."""

from pathlib import Path

import numpy as np
from conftest import WriteRaster, patches
from fakes import MemorySource
from hypothesis import given
from hypothesis import strategies as st
from sources import described, layers, product

from pipeline.raster.stored_blocks import OpenFiles
from pipeline.scenes.reading import Reading


def test_the_cost_of_a_scene_is_that_of_its_file(write_raster: WriteRaster) -> None:
    pixels = patches(3)
    reading = described(write_raster("s.tif", pixels, tiled=True, blockxsize=64, blockysize=128)).reading
    assert reading.file_block_bytes == 64 * 128 * 2 * 3  # GDAL interleaves bands by default
    assert reading.decoded_bytes == pixels.nbytes
    assert reading == Reading(file_block_bytes=reading.file_block_bytes, decoded_bytes=pixels.nbytes)


def test_masks_add_to_the_cost_of_a_scene(tmp_path: Path) -> None:
    path = product(tmp_path, "one", layers())
    plain, masked = described(path).reading, described(path, mask={"layer": "scl", "dilate": 60}).reading
    assert masked.decoded_bytes == plain.decoded_bytes + 180 * 180
    assert [margin for margin, _ in masked.mask_margins] == [6]
    assert (plain.read_by_file_block, masked.read_by_file_block) == (False, True)


sizes, flags = st.integers(0, 10**9), st.booleans()
readings = st.builds(
    Reading,
    file_block_bytes=sizes,
    blocks_at_once=sizes,
    open_files=st.builds(OpenFiles, sizes, sizes),
    strip_bytes=sizes,
    expensive=flags,
    compressed=flags,
    read_by_file_block=flags,
    decoded_bytes=sizes,
    library_bytes=sizes,
    extra_bytes_per_pixel=st.integers(0, 99),
    mask_margins=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=3).map(tuple),
    warp_bytes=sizes,
)


@given(each=st.lists(readings, min_size=1, max_size=4))
def test_a_mosaic_holds_all_files_and_reads_one_scene_at_a_time(each: list[Reading]) -> None:
    info = MemorySource(np.zeros((3, 9, 9), np.uint16)).info
    both = Reading.combined([(info, reading) for reading in each])
    for name in ("decoded_bytes", "strip_bytes"):
        assert getattr(both, name) == sum(getattr(reading, name) for reading in each)
    for name in ("file_block_bytes", "blocks_at_once", "library_bytes", "warp_bytes", "expensive", "compressed"):
        assert getattr(both, name) == max(getattr(reading, name) for reading in each)
    assert both.open_files.count == sum(reading.open_files.count for reading in each)
    assert both.open_files.held_bytes == max(reading.open_files.held_bytes for reading in each)
    assert both.extra_bytes_per_pixel == max(reading.extra_bytes_per_pixel for reading in each) + 3 * 2 + 1
    sizes = [sum(margin * width for margin, width in reading.mask_margins) for reading in each]
    assert sum(margin * width for margin, width in both.mask_margins) == max(sizes)
    assert both.read_by_file_block
