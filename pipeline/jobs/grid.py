"""Draw the maps of several runs in one picture, above the scenes that they are of."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil, isfinite
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling

from pipeline.config.fields import parse_hex
from pipeline.config.schema import LONGEST_TITLE
from pipeline.core.band_names import find_rgb
from pipeline.core.errors import ConfigError, OutputError, SceneError
from pipeline.core.grid import Grid
from pipeline.engine.work_folder import output_error
from pipeline.formats.catalogue import Catalogue
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options, open_raster
from pipeline.jobs.run_records import RunRecord, read_run_record
from pipeline.models.classes import UNCLASSIFIED
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.choose_bands import catalogues_of, choose_bands, clusterable_bands
from pipeline.scenes.coarse import read_coarse
from pipeline.scenes.file_stamps import named_files
from pipeline.sinks.natural_colours import NO_DATA
from pipeline.sinks.palette import Colour
from pipeline.sinks.picture import bands_in_words, limits_of, save_picture, stretch_between
from pipeline.sinks.picture_grid import Column, GridLayout, draw_grid
from pipeline.sinks.picture_options import LARGEST_SIDE
from pipeline.sinks.quicklook import MARGIN, PICTURE
from pipeline.sinks.staging import Staging, keep_apart
from pipeline.sinks.zarr_layout import LABELS

logger = logging.getLogger(__name__)

_CACHE_BYTES: Final = 64 * 2**20
"""GDAL's cache of blocks while maps and scenes are read."""

_SMALLEST: Final = 400
"""Longest side of panels that small maps are enlarged to, in pixels, unless a scale is given."""

_NOTE: Final = "A picture of Terrazzo maps, not data: use the GeoTIFFs for any calculation."

_OTHER_MODELS: Final = "The maps are of different models: the same number is not the same class."


@dataclass(frozen=True)
class MapFile:
    """A map and its colours."""

    record: RunRecord
    """The run that it is of."""
    grid: Grid
    """Its grid."""
    colours: tuple[Colour, ...]
    """Colour of each value, 0 to 255."""

    @property
    def legend(self) -> tuple[tuple[Colour, str], ...]:
        """Colours and numbers of the classes."""
        return tuple((self.colours[label], str(label)) for label in range(1, self.record.k + 1))


@dataclass(frozen=True)
class Original:
    """A scene as it is shown."""

    shown: tuple[str, ...]
    """Names of the bands shown in red, green and blue, or of one shown in grey."""
    kind: tuple[str, ...]
    """Common name of each band with its quantity, or its type if that is unknown: those of one kind are comparable."""
    pixels: npt.NDArray[np.float64]
    """Values, shape (band, rows, columns)."""
    valid: npt.NDArray[np.bool_]
    """Where they are valid, shape (rows, columns)."""


def draw_runs(
    runs: Sequence[Path], output: Path, *, scale: float | None = None, title: str = "", overwrite: bool = False
) -> GridLayout:
    """Draw the maps of runs in the upper row, and the original scenes below, with one stretch for all of these.

    Maps and scenes are read with fewer pixels, from overviews where the files have them.

    Parameters
    ----------
    runs : sequence of Path
        Records of the runs (`output.run`).
    output : Path
        The picture, PNG or JPEG.
    scale : float, optional
        Pixels of the picture per pixel of the maps; by default the longer side of the picture is about 2048.
    title : str
        A line of text above.
    overwrite : bool
        Whether an existing picture may be replaced.

    Raises
    ------
    TerrazzoError
        One of its subclasses: if a record, its map or its scene can't be read, or the picture can't be written.
    """
    if output.suffix.lower() not in PICTURE.endings:
        msg = f"--output: {output}: the picture is {PICTURE.form}; use a name that ends in {PICTURE.endings[0]}"
        raise ConfigError(msg)
    _check_options(scale, title)
    records = [read_run_record(path) for path in runs]
    inputs: dict[str, str] = {}
    for record in records:
        inputs |= dict.fromkeys(map(str, record.outputs), "an output of a run that is drawn")
        inputs |= dict.fromkeys(record.sources, "a scene") | named_files(record.scene)
        inputs |= {str(record.path): "the record of a run", str(record.labels): "a map"}
    keep_apart({"--output": output}, inputs)
    with Staging([output], overwrite=overwrite) as staging, rasterio.Env(**gdal_options(GDAL_CACHEMAX=_CACHE_BYTES)):
        maps = [_open_map(record) for record in records]
        scale = scale or _scale_for(maps)
        shared = len({(each.record.model, each.legend) for each in maps}) == 1
        layout = _layout(maps, scale, title=bool(title), shared=shared)
        layout.check(scale)
        columns = _columns(maps, layout, output)
        note = _OTHER_MODELS if len({record.model for record in records}) > 1 else ""
        page = draw_grid(layout, columns, maps[0].legend if shared else (), note, title)
        try:
            save_picture(page, staging.path(output), _NOTE)
        except OSError as error:
            raise output_error(output, "the picture", "--output", error) from error
    return layout


def _check_options(scale: float | None, title: str) -> None:
    """Raise ConfigError for a scale that is no size, or a title that is too long."""
    if scale is not None and not (isfinite(scale) and scale > 0):
        msg = f"--scale {scale:g}: expected pixels of the picture per pixel of the maps, a number above 0, such as 0.1"
        raise ConfigError(msg)
    if len(title) > LONGEST_TITLE:
        msg = f"--title: a text of {len(title):,} characters; use one of at most {LONGEST_TITLE}"
        raise ConfigError(msg)


def _columns(maps: Sequence[MapFile], layout: GridLayout, output: Path) -> list[Column]:
    """Read maps and scenes as they are shown."""
    originals = [
        _read_original(each.record, _coarse(each.grid, size), output)
        for each, size in zip(maps, layout.sizes, strict=True)
    ]
    labels = [_read_labels(each, size) for each, size in zip(maps, layout.sizes, strict=True)]
    names = _names([each.record for each in maps])
    return [
        Column(
            name=name,
            classes=np.array(each.colours, np.uint8)[labelled],
            scene=scene,
            shown=bands_in_words(original.shown),
            legend=each.legend if layout.own_entries else (),
        )
        for name, each, labelled, original, scene in zip(
            names, maps, labels, originals, _stretched(originals, labels), strict=True
        )
    ]


def _open_map(record: RunRecord) -> MapFile:
    """Open the map of a run, a GeoTIFF or a Zarr store; raise OutputError if it can't be read, or is of another run."""
    try:
        with open_raster(_name_for_gdal(record.labels)) as file:
            tags = file.tags()
            table = _stated_colours(tags) or file.colormap(1)
            crs = file.crs.to_wkt() if file.crs else None
            grid = Grid(shape=file.shape, transform=file.transform, crs=crs)
    except (*GDAL_ERRORS, ValueError) as error:
        fix = "make it again"
        if (record.labels / "zarr.json").is_file():
            lacks = f"GDAL {rasterio.__gdal_version__} may lack what a Zarr store of format 3 needs (3.11)"
            fix = f"{lacks}: write the map with output.zarr_format: 2"
        msg = f"{record.labels}: the map of {record.path} can't be read ({error}); {fix}"
        raise OutputError(msg) from error
    if record.model not in (tags.get("TERRAZZO_MODEL_SHA256"), tags.get("model")):
        msg = f"{record.labels}: this is not the map of {record.path}: it is of another model; was it replaced since?"
        raise OutputError(msg)
    colours: list[Colour] = [NO_DATA]
    for label in range(1, UNCLASSIFIED + 1):
        red, green, blue, *_ = table.get(label, (0, 0, 0))
        colours.append((red, green, blue))
    return MapFile(record, grid, tuple(colours))


def _name_for_gdal(path: Path) -> str:
    """Return the name by which GDAL opens a map: the array of labels of a Zarr store."""
    if not path.is_dir():
        return str(path)
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'ZARR:"{escaped}":/{LABELS}'


def _stated_colours(tags: Mapping[str, str]) -> dict[int, Colour]:
    """Return the colours that the attributes of a Zarr map state, by label; none for a GeoTIFF."""
    labels = map(int, re.findall(r"\d+", tags.get("flag_values", "")))
    colours = (parse_hex(word) for word in tags.get("flag_colors", "").split())
    return {label: colour for label, colour in zip(labels, colours, strict=False) if colour}


def _scale_for(maps: Sequence[MapFile]) -> float:
    """Return a scale by which the picture of maps is about as large as that of a run."""
    wide = sum(each.grid.shape[1] for each in maps)
    high = max(each.grid.shape[0] for each in maps)
    fits = min((LARGEST_SIDE - (len(maps) + 1) * MARGIN) / wide, (LARGEST_SIDE / 2 - 100) / high)
    largest = max(max(each.grid.shape) for each in maps)
    return min(fits, max(1.0, float(ceil(_SMALLEST / largest))))


def _layout(maps: Sequence[MapFile], scale: float, *, title: bool, shared: bool) -> GridLayout:
    sizes = tuple(
        (max(1, round(each.grid.shape[1] * scale)), max(1, round(each.grid.shape[0] * scale))) for each in maps
    )
    if shared:
        return GridLayout(sizes, title, (), maps[0].record.k)
    return GridLayout(sizes, title, tuple(each.record.k for each in maps), 0)


def _coarse(grid: Grid, size: tuple[int, int]) -> Grid:
    """Return the grid of a panel, (width, height), that shows a whole grid."""
    rows, columns = grid.shape
    return Grid(
        shape=size[::-1], transform=grid.transform @ Affine.scale(columns / size[0], rows / size[1]), crs=grid.crs
    )


def _read_labels(map_file: MapFile, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a map with the size of its panel, from its overviews."""
    path = map_file.record.labels
    try:
        with open_raster(_name_for_gdal(path)) as file:
            labels: npt.NDArray[np.uint8] = file.read(1, out_shape=size[::-1], resampling=Resampling.nearest)
    except GDAL_ERRORS as error:
        msg = f"{path}: the map can't be read ({error}); make it again"
        raise OutputError(msg) from error
    return labels


def _read_original(record: RunRecord, grid: Grid, output: Path) -> Original:
    """Read the bands of a run's scene that are shown, on the grid of a panel; of several scenes, the first that is."""
    try:
        catalogues = catalogues_of(record.scene, [record.labels, output])
        first = catalogues[0]
        wanted = _shown_names(record, first)
        config = record.scene.model_copy(update={"bands": tuple(dict.fromkeys(wanted))})
        common = dict(zip(first.names, first.common_names, strict=True))
        read = [
            _original(clusterable_bands(bands, config), common, grid, config.nodata)
            for bands in choose_bands(catalogues, config)
        ]
    except (SceneError, ConfigError) as error:
        msg = f"{record.path}: the scene of this run can't be shown: {error}"
        raise SceneError(msg) from error
    return _in_order(reduce(_laid_under, read), wanted)


def _shown_names(record: RunRecord, scene: Catalogue) -> tuple[str, ...]:
    """Return the names of the bands to show, as in the quick-look: those of `output.rgb`, if the scene has them all.

    Indices and other features are not bands of the scene, so they can't be shown.
    """
    try:
        if record.rgb:
            return tuple(scene.choose([name])[0].name for name in record.rgb)
    except ConfigError:
        names = ", ".join(record.rgb)
        reason = f"the bands of output.rgb ({names}) are not all bands of the scene"
        logger.warning("%s: %s, which is shown in other bands", record.path, reason)
    if known := find_rgb(scene.names, scene.common_names):
        return tuple(scene.names[band] for band in known)
    return (next((name for name in record.bands if name in scene.names), scene.names[0]),)


def _in_order(original: Original, wanted: Sequence[str]) -> Original:
    """Put the bands of a scene in the order in which they are shown, a band twice if it is shown twice."""
    if original.shown == tuple(wanted):
        return original
    order = [original.shown.index(name) for name in wanted]
    kind = tuple(original.kind[band] for band in order)
    return replace(original, shown=tuple(wanted), kind=kind, pixels=original.pixels[order])


def _original(bands: Sequence[FileBand], common: Mapping[str, str | None], grid: Grid, nodata: float | str) -> Original:
    """Read bands with these common names onto a grid; a nodata value replaces those that the files state."""
    if not isinstance(nodata, str):
        bands = [replace(band, nodata=nodata) for band in bands]
    pixels, valid = read_coarse(bands, grid)
    kind = tuple(
        f"{common.get(band.name) or band.name} {band.dtype if band.quantity == 'numbers' else band.quantity}"
        for band in bands
    )
    return Original(tuple(band.name for band in bands), kind, pixels, valid)


def _laid_under(upper: Original, lower: Original) -> Original:
    """Fill the pixels of a scene that are not valid from another one."""
    pixels = np.where(upper.valid, upper.pixels, lower.pixels)
    return Original(upper.shown, upper.kind, pixels, upper.valid | lower.valid)


def _stretched(originals: Sequence[Original], labels: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Stretch the contrast of scenes between percentiles of all of them, as far as their values can be compared.

    Only pixels that have a class count, if there are any: masked clouds would leave the land black.
    """
    kinds = list(dict.fromkeys(each.kind for each in originals))
    if len(kinds) > 1:
        reason = "the scenes differ in the bands that are shown, their quantity or data type"
        logger.warning("%s: those that differ have a stretch of their own", reason)
    limits = {}
    for kind in kinds:
        alike = [
            (each, each.valid & (map_ > 0)) for each, map_ in zip(originals, labels, strict=True) if each.kind == kind
        ]
        if not any(counted.any() for _, counted in alike):
            alike = [(each, each.valid) for each, _ in alike]
        values = np.concatenate([each.pixels[:, counted] for each, counted in alike], axis=1)
        limits[kind] = limits_of(values, np.ones(values.shape[1], np.bool_))
    return [stretch_between(each.pixels, each.valid, limits[each.kind]) for each in originals]


def _names(records: Sequence[RunRecord]) -> list[str]:
    """Return the names of the scenes, or of the maps if two scenes have one name."""
    names = [record.name for record in records]
    return names if len(set(names)) == len(names) else [record.labels.stem for record in records]
