"""A commented YAML config, filled in from a scene (`terrazzo init`)."""

from collections.abc import Sequence
from glob import has_magic
from inspect import get_annotations
from os.path import basename, dirname, splitext
from pathlib import Path

from pipeline.core.layer_kinds import layer_kind
from pipeline.core.text import printable, yaml_text
from pipeline.core.timeouts import DEFAULT_TIMEOUT
from pipeline.formats.paths import is_gdal_path
from pipeline.jobs.config import FIT
from pipeline.jobs.inspect import BandFacts, Inspection, inspect_scene, short_unit
from pipeline.methods.registry import METHODS


def config_template(source: Sequence[str], timeout: float = DEFAULT_TIMEOUT) -> str:
    """Write a config for a scene of files, folders or globs as YAML, with a comment for every key.

    Its paths are absolute, because it is not known where the config will be saved. The timeout in seconds is also
    written, as `run.timeout`. Raises SceneError when the scene can't be opened.
    """
    found = inspect_scene(source, timeout)
    named = [item if is_gdal_path(item) else str(Path(item).absolute()) for item in source]
    plain = named[0] if Path(named[0]).exists() else named[0].rstrip("/*")
    plain = dirname(plain) if has_magic(basename(plain)) and not Path(plain).exists() else plain  # noqa: PTH119, PTH120
    stem = splitext(basename(plain))[0] or "scene"  # noqa: PTH119, PTH122 (may be /vsi...)
    stem = stem.removesuffix(".SAFE")
    notes = "".join(f"# note: {printable(' '.join(warning.split()))}\n" for warning in found.warnings)
    return f"""\
# Terrazzo: which scene, which bands, how many classes. Run: terrazzo run FILE
# {found.driver}, {found.columns} x {found.rows} pixels, {printable(found.crs or "no CRS")}
{notes}version: 1

scene:
  source: {yaml_text(named[0] if len(named) == 1 else named)}
  # band names, numbers or common names (red, nir); all: every band listed below
{_band_comments(found)}  bands: {_bands(found)}
  nodata: auto          # as the files state it; or a number, such as 0
  resolution: auto      # pixel size of the map; auto: that of the finest band
{_time_line(found)}{_date_line(found)}  resampling: nearest   # for bands on other grids; or bilinear, average, ...
  mask: none            # {_mask_words(found)}
  # aoi: [west, south, east, north]   in degrees; or a vector file
  # crop: area          # map covers the aoi's bounding box; or blocks, none

features:
  scale: auto           # reflectance if the scale is known; none: as stored
  standardize: clip     # or none, zscore, minmax, robust
  # indices: [ndvi]     # with the bands; or '(nir - red) / (nir + red)'
  # smooth: 3           # mean of the valid pixels of 3 x 3; up to 15
  # texture: {{bands: [B08], of: std, size: 5}}   # or of: range
  # unit_norm: true     # by the shape of spectra, not by brightness
  # pca: 0.99           # principal components with this share of variance, or 4

fit:
{_method_lines()}
output:
  labels: {yaml_text(f"{stem}_classes.tif")}
  # table, picture, report, model, run, stac, qml, sidecar (legend for GDAL):
  # next to the labels; none leaves one out
  # clr: {yaml_text(f"{stem}_classes.clr")}   # colour map for ArcGIS
  palette: auto         # colour-blind safe; natural: as in the picture; or a
                        # colour map (viridis), a list, a .clr or .qml file
  # rgb: [nir, red, green]   # bands of the picture; default: red, green, blue

run:
  workers: auto         # number of threads; auto: one per core
  memory: 2GB           # most memory the run may use
  chunk: auto           # side of a block in pixels; auto: as the file
  cache: auto           # where decoded pixels are cached: disk, memory, none
  # cache_dir: /fast/disk   # folder of the cache; default: the map's
  timeout: {timeout:<12g} # seconds to open a remote file, or to read a block
"""


def _method_lines() -> str:
    """Section `fit` of the default method; keys without a value are commented out, at the end."""
    lines = [f"  # {method.name}: {method.description}" for method in METHODS.values()]
    default, without_value = FIT.default(), []
    fields = type(default).model_fields
    own_first = dict.fromkeys(key for record in type(default).mro() for key in get_annotations(record) if key in fields)
    for key in own_first:
        value, comment = getattr(default, key), f"# {fields[key].title}" if fields[key].title else ""
        if value is None:
            without_value.append(f"  {f'# {key}:':<21} {comment}")
        else:
            lines.append(f"  {f'{key}: {value}':<21} {comment}".rstrip())
    return "\n".join([*lines, *without_value]) + "\n"


def _band_comments(found: Inspection) -> str:
    lines = []
    for band in found.bands:
        common = f", {band.common_name}" if band.common_name else ""
        no = f": skipped, {why}" if (why := _why_not(band)) else ""
        facts = f"{band.number}: {band.name}{common}, {band.resolution:g} {short_unit(found.unit)}{no}"
        lines.append(f"  #   {printable(facts)}\n")
    return "".join(lines)


def _time_line(found: Inspection) -> str:
    """The line for `scene.time`; empty unless the scene has several times."""
    if len(found.times) < 2:  # noqa: PLR2004
        return ""
    last = printable(found.times[-1])
    return f"  time: first           # of {len(found.times)}: first, last, a number, a date ({last})\n"


def _date_line(found: Inspection) -> str:
    """The line for `scene.date`, commented out, with the date that is known."""
    if found.acquired:
        return f"  # date: {found.acquired:<13} # of acquisition, as the files state it\n"
    return "  # date: 2025-07-14    # of acquisition; the files state none\n"


def _mask_words(found: Inspection) -> str:
    if found.masks:
        return f"or {found.masks[0].split()[0]}: mask clouds, shadows, defects; or a path"
    return "or a raster (valid if not 0) or a vector file (inside)"


def _bands(found: Inspection) -> str:
    """Value of `scene.bands`: the measured bands on the finest grid, or `all`."""
    size = (found.columns, found.rows)
    chosen = [band.name for band in found.bands if not _why_not(band) and (band.columns, band.rows) == size]
    everything = found.complete and len(chosen) in {0, len(found.bands)}
    return "all" if everything else yaml_text(chosen or [band.name for band in found.bands])


def _why_not(band: BandFacts) -> str:
    """Reason not to cluster a band; empty if it seems to hold reflected light."""
    if layer_kind(band.name) != "measured":
        return "it looks like a mask"
    if not band.reflective:
        return "it measures no reflected light"
    if band.empty:
        return "it has no valid pixels"
    return "all its pixels have one value" if band.low is not None and band.low == band.high else ""
