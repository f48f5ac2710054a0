"""A commented config, filled in from a scene."""

from collections.abc import Sequence
from glob import has_magic
from os.path import basename, dirname, splitext
from pathlib import Path

from pipeline.core.layer_kinds import layer_kind
from pipeline.core.text import printable, yaml_text
from pipeline.core.time_limits import DEFAULT_TIMEOUT
from pipeline.formats.paths import is_gdal_path
from pipeline.jobs.inspect import BandFacts, Inspection, inspect_scene, short_unit


def config_template(source: Sequence[str], timeout: float = DEFAULT_TIMEOUT) -> str:
    """Write a config for a scene, with a comment for every key.

    Parameters
    ----------
    source : sequence of str
        Files, folders or globs.
    timeout : float
        Seconds, as the config's `run.timeout`, which it becomes.

    Returns
    -------
    str
        YAML. Paths in it are absolute, for it is not known where it will be saved.

    Raises
    ------
    SceneError
        When the scene can't be opened.
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
  # names, numbers or common names (red, nir); all takes every band below
{_band_comments(found)}  bands: {_bands(found)}
  nodata: auto          # what files say, or a number for no data: 0
  resolution: auto      # side of the map's pixels; auto: the finest band's
{_time_line(found)}  resampling: nearest   # for bands of other grids: bilinear, average, ...
  mask: none            # {_mask_words(found)}
  # aoi: [west, south, east, north]   degrees, or a vector file; rest: nodata
  # crop: area          # the map: the area's box; blocks of the file; or none

features:
  scale: auto           # reflectance, where a scale is stated; none: as stored
  standardize: none     # zscore, minmax, robust: bands have the same say

fit:
  method: kmeans        # or minibatch: rough, varies with scikit-learn; dask-ml
  k: 8                  # number of classes, 2 to 254
  pixels: 500000        # sampled for the fit; or all: passes over every pixel
  seed: 0               # the same seed gives the same map
  starts: 5             # the best of so many starts is kept
  max_iter: 300         # the most passes of a start
  tol: 1.0e-4           # stop when centroids move less (share of variance)
  # mask: as in scene, for the fit alone

output:
  labels: {yaml_text(f"{stem}_classes.tif")}
  # model, table, picture and report stand beside the labels unless named here
  palette: auto         # safe for the colour-blind; or matplotlib's: viridis

run:
  workers: auto         # one for each core
  memory: 2GB           # the most the run may take
  chunk: auto           # side of a block in pixels; auto follows the file
  cache: auto         # where decoded pixels wait: disk, memory, none
  # cache_dir: /fast/disk   where they stand on disk, unless beside the labels
  timeout: {timeout:<12g} # seconds for a file on another machine: open, or block
"""


def _band_comments(found: Inspection) -> str:
    lines = []
    for band in found.bands:
        common = f", {band.common_name}" if band.common_name else ""
        no = f": left out, {why}" if (why := _why_not(band)) else ""
        facts = f"{band.number}: {band.name}{common}, {band.resolution:g} {short_unit(found.unit)}{no}"
        lines.append(f"  #   {printable(facts)}\n")
    return "".join(lines)


def _time_line(found: Inspection) -> str:
    """The choice of a time, where there are several."""
    if len(found.times) < 2:  # noqa: PLR2004
        return ""
    last = printable(found.times[-1])
    return f"  time: first           # of {len(found.times)}: a date ({last}), a number, first, last\n"


def _mask_words(found: Inspection) -> str:
    if found.masks:
        return f"{found.masks[0].split()[0]} leaves out clouds, shadows, defects; or a path"
    return "a raster (kept: not 0) or vector file (kept: inside)"


def _bands(found: Inspection) -> str:
    """All bands that hold measurements; of bands on different grids, those of the finest."""
    size = (found.columns, found.rows)
    chosen = [band.name for band in found.bands if not _why_not(band) and (band.columns, band.rows) == size]
    everything = found.complete and len(chosen) in {0, len(found.bands)}
    return "all" if everything else yaml_text(chosen or [band.name for band in found.bands])


def _why_not(band: BandFacts) -> str:
    """Why a band is hardly to be clustered; empty where it seems to hold measurements of light."""
    if layer_kind(band.name) != "measured":
        return "it looks like a mask"
    if not band.reflective:
        return "it measures no reflected light"
    if band.empty:
        return "it holds no data"
    return "it holds one value" if band.low is not None and band.low == band.high else ""
