"""Draws a map of classes with its legend by matplotlib, for notebooks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, radians
from types import NoneType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.config.argument_messages import check_argument, name_arguments_in_messages
from pipeline.config.fields import Colour
from pipeline.config.record import parse_record
from pipeline.config.schema import OutputSection
from pipeline.core import libraries
from pipeline.core.errors import ConfigError
from pipeline.core.grid import Block
from pipeline.core.text import kind_words, printable, shown
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.dimensions import Axes, to_planes
from pipeline.dataarrays.source import blocks_of, lazy_data
from pipeline.engine.executor import ThreadExecutor, count_workers
from pipeline.labels.flags import Flags
from pipeline.models.base import ClusterModel
from pipeline.models.classes import UNCLASSIFIED
from pipeline.models.colours import hex_colour
from pipeline.sinks.palette import Palette, class_colours, model_colours, unclassified_colour
from pipeline.stores.dimensions import has_latitudes

Labels = npt.NDArray[np.uint8]

_PER_COLUMN: Final = 20
"""Largest number of entries in a column of the legend."""

_UNCLASSIFIED_NAME: Final = "unclassified"


@dataclass(frozen=True)
class _Legend:
    """Names and colours of the classes."""

    names: Mapping[int, str]
    """Name by label."""
    colours: Mapping[int, Colour]
    """Colour by label."""


@name_arguments_in_messages("output")
def plot_classes(
    labels: xr.DataArray,
    model: ClusterModel | None = None,
    *,
    palette: str | Sequence[str | Sequence[int]] = "auto",
    size: int = 1000,
    legend: bool = True,
    axis: bool = False,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Any = None,
) -> Any:
    """Draw a map of classes with their names and colours, for a first look.

    Of a large map every n-th row and column is drawn, and a line below the map says so; no pixel is averaged. Of a
    lazy map each chunk is computed once, a few at a time, and only the pixels that are drawn are held: memory depends
    on chunks and `size`, not on the map. The scheduler is the one that `write` would use.

    Parameters
    ----------
    labels : DataArray (y, x)
        From `label`, or read back from a file: whole numbers from 0 to 255. 0, and NaN, is nodata and is transparent.
    model : ClusterModel, optional
        Its classes have the names and colours. Without it these are those of the attributes `flag_values`,
        `flag_meanings` and `flag_colors` of the labels, if there are any.
    palette : str or sequence, default 'auto'
        Colours instead of those of the classes, as for `write`: the name of a colour map, the path of a file of colours
        or a colour for each class; with a model 'natural', too.
    size : int, default 1000
        Largest number of rows and columns that are drawn.
    legend : bool, default True
        Whether to draw the legend, at the right of the map.
    axis : bool, default False
        Whether to draw axes with coordinates.
    title : str, optional
        Title above the map.
    figsize : (float, float), optional
        Width and height of a new figure in inches.
    ax : matplotlib Axes, optional
        Axes to draw in; by default those of a new figure.

    Returns
    -------
    matplotlib Axes
        The axes; `ax.figure.savefig("map.png")` saves them.

    Raises
    ------
    ConfigError
        If these are not labels, or an argument is not allowed.
    SceneError
        If a chunk of a scene of `open_scene` can't be read.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        msg = f"plot_classes: size: {shown(size)} is not allowed; expected a number of pixels, at least 1"
        raise ConfigError(msg)
    if ax is not None and figsize is not None:
        msg = "plot_classes: figsize is that of a new figure, but ax is given; leave one out"
        raise ConfigError(msg)
    check_argument(model, (ClusterModel, NoneType), "plot_classes: model: expected a ClusterModel, from fit()")
    if ax is not None:
        kind = libraries.plt.Axes  # type: ignore[attr-defined]
        check_argument(ax, kind, "plot_classes: ax: expected one Axes of matplotlib, from plt.subplots()")
    output = parse_record(OutputSection, {"labels": "map.tif", "palette": palette}, "plot_classes")
    array, axes = _planes_of(labels)
    step = max(1, ceil(max(array.shape) / size))
    picture = _thinned(array, step)
    found = [label for label in np.unique(picture).tolist() if label]
    classes = _legend_of(array.attrs, model, found, output.palette)
    if ax is None:
        _, ax = libraries.plt.subplots(figsize=figsize or _figsize(classes if legend else None), layout="compressed")
    _draw(ax, _coloured(picture, classes.colours), array, axes, step)
    height, width = array.shape
    note = f"1 of {step} x {step} pixels of {width} x {height}" if step > 1 else ""
    if axis:
        names = [_axis_name(array, dim) for dim in axes]
        ax.set(ylabel=names[0], xlabel=f"{names[1]}\n{note}" if note else names[1])
        ax.ticklabel_format(style="plain", useOffset=False)
    else:
        ax.set_axis_off()
        ax.annotate(note, (0, 0), (0, -3), "axes fraction", "offset points", va="top", fontsize="small", color="grey")
    if legend:
        _draw_legend(ax, classes)
    if title is not None:
        ax.set_title(title)
    return ax


def _planes_of(labels: Any) -> tuple[xr.DataArray, Axes]:
    """Return labels with dimensions in the order (rows, columns); raise ConfigError if they are something else."""
    if not isinstance(labels, xr.DataArray):
        msg = f"plot_classes: expected labels from label(), a DataArray (y, x), not {kind_words(labels)}"
        raise ConfigError(msg)
    planes, axes = to_planes(labels, "plot_classes: the argument labels")
    if planes.shape[0] != 1 or labels.dtype.kind not in "iuf":
        msg = f"plot_classes: expected labels from label(), uint8 (y, x), not {labels.dtype} {labels.dims}"
        raise ConfigError(msg)
    if not labels.size:
        rows, columns = planes.shape[1:]
        msg = f"plot_classes: the labels have no pixels, {rows} rows and {columns} columns; choose a larger part"
        raise ConfigError(msg)
    for dim in axes:
        if not np.isfinite(_ends(planes[0], dim)).all():
            msg = f"plot_classes: the coordinate {dim} of the labels is not finite at its ends; drop it, or set it anew"
            raise ConfigError(msg)
    return planes[0], axes


def _thinned(array: xr.DataArray, step: int) -> Labels:
    """Compute every `step`-th row and column, from the middle of the first `step`, chunk by chunk."""
    data, compute = lazy_data(array), Computer.in_force()
    first = [min(step // 2, count - 1) for count in array.shape]
    picture = np.zeros([len(range(start, count, step)) for start, count in zip(first, array.shape, strict=True)], "u1")

    def thinned(block: Block) -> tuple[tuple[slice, slice], Labels] | None:
        inside, target = [], []
        for (start, stop), offset in zip(block.window, first, strict=True):
            number = max(0, ceil((start - offset) / step))
            inside.append(slice(offset + number * step, stop, step))
            target.append(slice(number, number + len(range(offset + number * step, stop, step))))
        rows, columns = target
        if rows.start == rows.stop or columns.start == columns.stop:
            return None
        (part,) = compute(data[tuple(inside)])  # a view of the whole chunk, if that is in memory
        return (rows, columns), _as_labels(part, block)

    for _, part in ThreadExecutor(count_workers("auto")).map(thinned, blocks_of(data)):
        if part is not None:
            picture[part[0]] = part[1]
    return picture


def _as_labels(part: npt.NDArray[Any], block: Block) -> Labels:
    """Copy labels as uint8, with 0 for NaN; raise ConfigError unless they are whole numbers from 0 to 255."""
    numbers = np.nan_to_num(part, nan=0.0) if part.dtype.kind == "f" else part
    wrong = numbers[(numbers < 0) | (numbers > UNCLASSIFIED) | (numbers != np.floor(numbers))]
    if wrong.size:
        msg = f"plot_classes: the labels hold {wrong[0]} at {block}; expected whole numbers from 0 to {UNCLASSIFIED}"
        raise ConfigError(msg)
    return numbers.astype(np.uint8)


def _legend_of(attrs: Mapping[Any, Any], model: ClusterModel | None, found: Sequence[int], palette: Palette) -> _Legend:
    """Names and colours of the classes of a model, else of attributes, else of the labels that are found."""
    if model is not None:
        names = {each.id: each.name for each in model.classes}
        colours = dict(zip(names, model_colours(model, palette), strict=True))
    else:
        flags = Flags.of(attrs)
        names, stated = dict(flags.names), flags.colours
        k = max([0, *(label for label in (*names, *found) if label != UNCLASSIFIED)])
        names = {label: names.get(label, f"class {label}") for label in names or found if label != UNCLASSIFIED}
        colours = dict(enumerate(class_colours(k, palette), 1)) if k else {}
        colours |= stated if palette == "auto" else {}
    for label in found:  # a map of another model
        if label != UNCLASSIFIED and label not in names:
            msg = f"plot_classes: the labels hold {label}, but the classes are {', '.join(map(str, sorted(names)))}"
            raise ConfigError(msg + "; pass the model of these labels")
    if UNCLASSIFIED in found:
        names |= {UNCLASSIFIED: _UNCLASSIFIED_NAME}
        colours = {UNCLASSIFIED: unclassified_colour(list(colours.values()))} | colours
    return _Legend(names, colours)


def _coloured(picture: Labels, colours: Mapping[int, Colour]) -> npt.NDArray[np.uint8]:
    """Colours of a picture, shape (rows, columns, 4); nodata is transparent."""
    table = np.zeros((256, 4), np.uint8)
    for label, colour in colours.items():
        table[label] = (*colour, 255)
    coloured: npt.NDArray[np.uint8] = table[picture]
    return coloured


def _draw(ax: Any, picture: npt.NDArray[np.uint8], array: xr.DataArray, axes: Axes, step: int) -> None:
    """Draw a picture whose pixels are `step` pixels of the array wide and high."""
    (top, down), (left, right) = (_ends(array, dim) for dim in axes)
    height, width = array.shape
    rows, columns = (step * count for count in picture.shape[:2])
    extent = (left, left + (right - left) * columns / width, top + (down - top) * rows / height, top)
    ax.imshow(picture, extent=extent, interpolation="nearest", aspect="equal")
    north = top if _is_index(array, axes.rows) else max(top, down)
    ax.set(xlim=sorted((left, right)), ylim=(top + down - north, north))
    if has_latitudes(array.coords, axes.rows):
        ax.set_aspect(1 / max(0.1, cos(radians((top + down) / 2))))


def _ends(array: xr.DataArray, dim: Any) -> tuple[float, float]:
    """Outer edges of the first and of the last pixel along a dimension: by its coordinate, else in pixels."""
    count = array.sizes[dim]
    if _is_index(array, dim):
        return 0.0, float(count)
    first, last = (float(array.coords[dim].values[place]) for place in (0, -1))
    half = (last - first) / (count - 1) / 2
    return first - half, last + half


def _is_index(array: xr.DataArray, dim: Any) -> bool:
    """Whether pixels along a dimension are counted, from the top or from the left, as it has no coordinate."""
    if dim not in array.coords or array.sizes[dim] < 2:  # noqa: PLR2004
        return True
    stated = array.coords[dim]
    return stated.dtype.kind not in "iuf" or stated.attrs.get("units") == "pixel"


def _axis_name(array: xr.DataArray, dim: Any) -> str:
    units = "pixel" if _is_index(array, dim) else array.coords[dim].attrs.get("units")
    return f"{dim} ({units})" if units else str(dim)


def _figsize(legend: _Legend | None) -> tuple[float, float]:
    """Width and height of a new figure in inches: wider where the legend has more columns."""
    columns = ceil(len(legend.names) / _PER_COLUMN) if legend else 0
    return 5.0 + 1.6 * columns, 5.0


def _draw_legend(ax: Any, classes: _Legend) -> None:
    patch = libraries.patches.Patch
    handles = [
        patch(facecolor=hex_colour(classes.colours[label]), label=f"{label}  {printable(name)}")
        for label, name in sorted(classes.names.items())
    ]
    columns = ceil(len(handles) / _PER_COLUMN)
    if handles:
        font = "medium" if columns == 1 else "small"
        where = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderaxespad": 0}
        ax.legend(handles=handles, **where, frameon=False, ncols=columns, fontsize=font)
