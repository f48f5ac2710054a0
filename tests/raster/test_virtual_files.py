"""Source files of virtual ones: their blocks are found, even if the VRT states others, and decoded once."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM, WriteRaster, patches
from rasterio.shutil import copy as gdal_copy
from rasterio.vrt import WarpedVRT
from server import serving
from sources import described, opened, whole

from pipeline.core.errors import SceneError
from pipeline.geo.gdal import gdal_options
from pipeline.jobs.plan import chunk_shapes
from pipeline.pixels.gdal_memory import gdal_cache_bytes, most_open_files
from pipeline.raster import virtual_files
from pipeline.raster.file_bands import FileBand, list_bands
from pipeline.raster.stored_blocks import OpenFiles
from pipeline.scenes.raster_source import RasterSource

Rectangle = tuple[int, int, int, int]
"""xOff, yOff, xSize, ySize"""
Source = tuple[Path, Rectangle | None, Rectangle | None]
"""Source file, its rectangle, and the rectangle of the virtual file."""


def mosaic(path: Path, size: tuple[int, int], sources: Sequence[Source], bands: int = 1, kind: str = "Simple") -> Path:
    """Write a VRT of `size` (columns, rows) that states wrong properties of its sources."""
    properties = '<SourceProperties RasterXSize="7" RasterYSize="7" DataType="Byte" BlockXSize="3" BlockYSize="3"/>'

    def rectangle(tag: str, sides: Rectangle | None) -> str:
        numbers = zip(("xOff", "yOff", "xSize", "ySize"), sides or (), strict=False)
        written = " ".join(f'{key}="{side}"' for key, side in numbers)
        return f"<{tag} {written}/>" if sides else ""

    def source(band: int, stated: Source) -> str:
        file, src, dst = stated
        name = f'<SourceFilename relativeToVRT="1">{file.name}</SourceFilename><SourceBand>{band}</SourceBand>'
        return f"<{kind}Source>{name}{properties}{rectangle('SrcRect', src)}{rectangle('DstRect', dst)}</{kind}Source>"

    layers = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{band}">'
        + "".join(source(band, stated) for stated in sources)
        + "</VRTRasterBand>"
        for band in range(1, bands + 1)
    )
    tag = "<SRS>EPSG:32633</SRS><GeoTransform>300000,10,0,5900000,0,-10</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="{size[0]}" rasterYSize="{size[1]}">{tag}{layers}</VRTDataset>')
    return path


def tiled(block: int, **more: Any) -> dict[str, Any]:
    return {"tiled": True, "blockxsize": block, "blockysize": block, "compress": "deflate", **more}


def first_band(path: Path | str) -> FileBand:
    return list_bands([str(path)])[0]


def any_block_is_cut(sources: Sequence[Source], block: int, chunk: tuple[int, int]) -> bool:
    """Whether a block of a source file overlaps two of the scene's blocks, found pixel by pixel."""
    for _, src, dst in sources:
        assert src
        assert dst
        for axis in (0, 1):
            positions = src[axis] + (np.arange(dst[axis + 2]) + 0.5) * src[axis + 2] / dst[axis + 2]
            ids = positions.astype(int) // block
            chunks = (dst[axis] + np.arange(dst[axis + 2])) // chunk[1 - axis]
            if len(set(zip(ids, chunks, strict=True))) > len(set(ids)):
                return True
    return False


LAYOUTS: dict[str, tuple[list[tuple[Rectangle, Rectangle]], tuple[int, int]]] = {
    "whole": ([((0, 0, 200, 200), (0, 0, 200, 200))], (64, 64)),
    "part, starting at a block": ([((64, 128, 136, 72), (0, 0, 136, 72))], (64, 64)),
    "part, starting inside a block": ([((10, 20, 100, 100), (0, 0, 100, 100))], (64, 64)),
    "moved": ([((0, 0, 200, 200), (30, 40, 200, 200))], (64, 64)),
    "moved by blocks": ([((0, 0, 200, 200), (64, 128, 200, 200))], (64, 64)),
    "side by side": ([((0, 0, 200, 200), (200 * n, 0, 200, 200)) for n in (0, 1)], (64, 64)),
    "side by side, cut to blocks": ([((0, 0, 192, 192), (192 * n, 0, 192, 192)) for n in (0, 1)], (64, 64)),
    "one block of each": ([((0, 0, 50, 60), (50 * n, 0, 50, 60)) for n in (0, 1, 2)], (60, 50)),
    "reduced": ([((0, 0, 192, 192), (0, 0, 96, 48))], (16, 32)),
    "enlarged": ([((0, 0, 200, 200), (0, 0, 500, 400))], (128, 160)),
    "slightly enlarged": ([((0, 0, 200, 200), (0, 0, 230, 230))], (74, 74)),
    "two sizes": ([((0, 0, 192, 192), (0, 0, 384, 384)), ((0, 0, 192, 192), (384, 0, 192, 192))], (128, 128)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_are_those_of_the_sources_in_pixels_of_the_vrt(layout: str, write_raster: WriteRaster) -> None:
    rectangles, expected = LAYOUTS[layout]
    file = write_raster("s.tif", patches(1, (200, 200)), **tiled(64))
    sources = [(file, *both) for both in rectangles]
    size = max(to[0] + to[2] for _, to in rectangles), max(to[1] + to[3] for _, to in rectangles)
    band = first_band(mosaic(file.with_name("m.vrt"), size, sources))
    assert band.block_shape == expected
    own = min(size[1], 128) * min(size[0], 128)  # its own block, which a VRT may decode as well
    assert band.block_bytes == max(64 * 64, own) * 2
    assert band.straddles == any_block_is_cut(sources, 64, expected)


def test_source_properties_of_a_vrt_are_ignored_and_interleaved_bands_counted(
    write_raster: WriteRaster,
) -> None:
    file = write_raster("s.tif", patches(4, (300, 300)), **tiled(256, interleave="pixel"))
    band = first_band(mosaic(file.with_name("m.vrt"), (300, 300), [(file, None, None)], bands=4))
    assert (band.block_shape, band.block_bytes, band.interleaved) == ((256, 256), 256 * 256 * 4 * 2, True)
    assert band.open_files == OpenFiles(1, 2 * band.block_bytes)


def through_vrts(file: Path, depth: int) -> Path:
    with rasterio.open(file) as opened_file:
        (rows, columns), bands = opened_file.shape, opened_file.count
    for n in range(depth):
        file = mosaic(file.with_name(f"nested{n}.vrt"), (columns, rows), [(file, None, None)], bands)
    return file


def test_nested_vrts_and_archives_are_followed(write_raster: WriteRaster, tmp_path: Path) -> None:
    plain = first_band(file := write_raster("s.tif", patches(2, (300, 300)), **tiled(256)))
    nested = through_vrts(file, 5)
    folder = tmp_path / "zipped"
    folder.mkdir()
    for path in (file, *tmp_path.glob("*.vrt")):
        shutil.copy(path, folder)
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", folder)
    names = [str(nested), f"/vsizip/{archive}/{nested.name}", f"vrt://{file}?bands=2"]
    for name in names:
        band = first_band(name)
        assert (band.block_shape, band.block_bytes) == (plain.block_shape, plain.block_bytes), name
        assert band.open_files == OpenFiles(1, 2 * plain.block_bytes)


def test_vrt_that_refers_to_itself_ends(tmp_path: Path) -> None:
    sources = [(tmp_path / f"{n}.vrt", None, (0, 0, 300, 300)) for n in (0, 1, 2)]
    for n in (0, 1, 2):
        mosaic(tmp_path / f"{n}.vrt", (300, 300), sources)
    assert first_band(tmp_path / "0.vrt").block_shape == (128, 128)


def test_missing_source_raises_when_it_is_read(tmp_path: Path) -> None:
    vrt = mosaic(tmp_path / "m.vrt", (300, 300), [(tmp_path / "gone.tif", (0, 0, 9, 9), (0, 0, 300, 300))])
    assert first_band(vrt).block_shape == (128, 128)
    with pytest.raises(SceneError, match=r"m\.vrt: .* can't be read"):
        whole(opened(vrt))


def test_bands_with_different_sources_have_different_blocks(write_raster: WriteRaster) -> None:
    fine = write_raster("fine.tif", patches(1, (300, 300)), **tiled(128))
    coarse = write_raster("coarse.tif", patches(1, (150, 150)), **tiled(128))
    one, two = (
        mosaic(fine.with_name(f"{file.stem}.vrt"), (300, 300), [(file, None, None)]).read_text()
        for file in (fine, coarse)
    )
    band = two.partition("<VRTRasterBand")[2].partition("</VRTDataset>")[0].replace('band="1"', 'band="2"')
    both = fine.with_name("both.vrt")
    both.write_text(one.replace("</VRTDataset>", f"<VRTRasterBand{band}</VRTDataset>"))
    assert [band.block_shape for band in list_bands([str(both)])] == [(128, 128), (256, 256)]
    assert described(both).info.block_shape == (256, 256)


@pytest.mark.parametrize("scale", [1, 3])
def test_warped_vrt_has_multiples_of_its_own_blocks_as_large_as_the_source(
    scale: int, write_raster: WriteRaster
) -> None:
    file = write_raster("s.tif", patches(2, (1500, 1500)), **tiled(1024, interleave="pixel"))
    shape = {"width": 1500 // scale, "height": 1500 // scale}
    transform = UTM["transform"] * rasterio.Affine.scale(scale)
    with rasterio.open(file) as plain, WarpedVRT(plain, crs="EPSG:32633", transform=transform, **shape) as warped:
        gdal_copy(warped, warped_file := file.with_name("w.vrt"), driver="VRT")
        own = warped.block_shapes[0]
    band = first_band(warped_file)
    assert (band.block_bytes, band.straddles) == (1024 * 1024 * 2 * 2, True)
    for side, own_side, size in zip(band.block_shape, own, band.grid.shape, strict=True):
        assert side == size or side % own_side == 0
        assert side >= min(size, 1024 // scale)


def test_blocks_of_a_tile_index_are_those_of_its_files(write_raster: WriteRaster, tmp_path: Path) -> None:
    file = write_raster("s.tif", patches(4, (600, 600)), **tiled(512, interleave="pixel"))
    ring = [
        [300_000, 5_894_000],
        [306_000, 5_894_000],
        [306_000, 5_900_000],
        [300_000, 5_900_000],
        [300_000, 5_894_000],
    ]
    square = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"location": str(file)}, "geometry": square}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    (tmp_path / "i.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    band = first_band(f"GTI:{tmp_path / 'i.geojson'}")
    assert (band.driver, band.block_shape, band.block_bytes) == ("GTI", (512, 512), 512 * 512 * 4 * 2)
    assert band.open_files == OpenFiles(1, 2 * band.block_bytes)


def test_sample_of_many_sources_represents_the_rest(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_files, "_MOST_FILES", 16)
    small = write_raster("0.tif", patches(1, (64, 64)), **tiled(16))
    large = write_raster("large.tif", patches(1, (64, 64)), **tiled(64))
    files = [Path(shutil.copy(small if n < 36 else large, small.with_name(f"{n}.tif"))) for n in range(1, 41)]
    sources = [(file, (0, 0, 64, 64), (64 * n, 0, 64, 64)) for n, file in enumerate(files)]
    vrt = mosaic(small.with_name("m.vrt"), (64 * 40, 64), sources)
    opened_paths = []
    open_file = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda path, **how: opened_paths.append(str(path)) or open_file(path, **how))
    band = first_band(vrt)
    assert len(opened_paths) == 1 + 16
    assert (band.block_shape, band.open_files.count) == ((64, 64), 40)


def test_jpeg2000_source_of_a_vrt_is_expensive(jpeg2000: list[str], tmp_path: Path) -> None:
    file = Path(shutil.copy(jpeg2000[0], tmp_path / "s.jp2"))
    scene = described(through_vrts(file, 2))
    assert scene.reading.expensive
    assert scene.info.block_shape == (64, 64)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = tmp_path / "site"
    root.mkdir()
    with serving(root) as (address, _):
        yield address, root


def test_remote_source_of_a_vrt_is_remote_and_expensive(
    site: tuple[str, Path], write_raster: WriteRaster, tmp_path: Path
) -> None:
    address, root = site
    shutil.move(write_raster("s.tif", patches(1, (300, 300)), **tiled(256)), root)
    vrt = mosaic(tmp_path / "m.vrt", (300, 300), [(Path("s.tif"), None, None)])
    vrt.write_text(vrt.read_text().replace('relativeToVRT="1">', f'relativeToVRT="0">/vsicurl/{address}/'))
    scene = described(vrt)
    assert (scene.reading.expensive, scene.reading.read_by_file_block) == (True, True)
    assert scene.info.block_shape == (256, 256)
    assert scene.reading.library_bytes > 0


@pytest.mark.parametrize("chunk", [37, 256, 4096])
@pytest.mark.parametrize("kind", ["Simple", "Complex"])
def test_pixels_of_a_vrt_equal_those_of_its_source(chunk: int, kind: str, write_raster: WriteRaster) -> None:
    pixels = patches(3, (300, 400))
    file = write_raster("s.tif", pixels, **tiled(64, interleave="pixel"))
    part = (10, 20, 380, 270)
    vrt = mosaic(file.with_name("m.vrt"), (380, 270), [(file, part, (0, 0, 380, 270))], bands=3, kind=kind)
    np.testing.assert_array_equal(whole(opened(vrt, chunk))[0], pixels[:, 20:290, 10:390])


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="bytes read are counted by Linux's /proc")
@pytest.mark.parametrize(
    ("layout", "interleave", "most"),
    [("whole", "pixel", 1.1), ("nested", "pixel", 1.1), ("whole", "band", 1.1), ("enlarged", "pixel", 1.1),
     ("reduced", "band", 1.1), ("moved", "pixel", 4)],
)  # fmt: skip
def test_source_blocks_are_decoded_once_unless_they_straddle(
    layout: str, interleave: str, most: float, write_raster: WriteRaster
) -> None:
    side, block = 2400, 1536 if layout != "moved" else 768
    noise = np.random.default_rng(0).integers(0, 60_000, (4, side, side)).astype("uint16")
    file = write_raster("s.tif", noise, **tiled(block, interleave=interleave, zlevel=1))
    src = (0, 0, side, side) if layout != "moved" else (100, 50, 2000, 2000)
    size = {"enlarged": 2 * side, "reduced": side // 2, "moved": 2000}.get(layout, side)
    vrt = mosaic(file.with_name("m.vrt"), (size, size), [(file, src, (0, 0, size, size))], 4, "Complex")
    scene = described(through_vrts(vrt, 2) if layout == "nested" else vrt)
    source = RasterSource(scene, chunk_shapes(scene.info)[0])
    limits = {"GDAL_CACHEMAX": gdal_cache_bytes(scene.reading, 1), "GDAL_MAX_DATASET_POOL_SIZE": most_open_files(1)}
    before = bytes_read()
    with rasterio.Env(**gdal_options(**limits)):
        for window in source.blocks:
            source.read(window)
    assert (bytes_read() - before) / file.stat().st_size <= most


def test_blocks_of_a_strongly_enlarged_source_stay_small(tmp_path: Path) -> None:
    """They were blocks of 15,360 x 15,360 pixels, too large for any memory budget."""
    path = tmp_path / "small.tif"
    georeference = {"crs": "EPSG:32633", "transform": rasterio.Affine(600, 0, 300_000, 0, -600, 5_900_000)}
    profile = {"driver": "GTiff", "count": 2, "height": 512, "width": 512, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile, **georeference, tiled=True, blockxsize=256, blockysize=256) as file:
        file.write(np.ones((2, 512, 512), "uint16"))
    fine = rasterio.Affine(10, 0, 300_000, 0, -10, 5_900_000)
    with rasterio.open(path) as file, WarpedVRT(file, transform=fine, width=30_720, height=30_720) as view:
        gdal_copy(view, tmp_path / "warped.vrt", driver="VRT")
    (tmp_path / "enlarged.vrt").write_text(
        '<VRTDataset rasterXSize="30720" rasterYSize="30720"><GeoTransform>300000,10,0,5900000,0,-10</GeoTransform>'
        + "".join(
            f'<VRTRasterBand dataType="UInt16" band="{band}"><SimpleSource>'
            f'<SourceFilename relativeToVRT="1">small.tif</SourceFilename><SourceBand>{band}</SourceBand>'
            '<SrcRect xOff="0" yOff="0" xSize="512" ySize="512"/>'
            '<DstRect xOff="0" yOff="0" xSize="30720" ySize="30720"/>'
            "</SimpleSource></VRTRasterBand>"
            for band in (1, 2)
        )
        + "</VRTDataset>"
    )
    for name in ("warped.vrt", "enlarged.vrt"):
        bands = list_bands([str(tmp_path / name)])
        assert max(bands[0].block_shape) <= 1024, name
