"""Times of Zarr and NetCDF stores: values and labels of a time dimension, and the choice of one of them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import xarray as xr

from pipeline.core.acquisition import Acquisition, acquired_by_name
from pipeline.core.errors import ConfigError, SceneError
from pipeline.stores.dimensions import is_time_variable, time_coordinate

_LISTED: Final = 10
"""Most times listed in a message."""

_NUMBER: Final = re.compile(r"\d{1,3}")
"""A time chosen by number; four digits are a year."""


def stated_time(dataset: xr.Dataset) -> str | None:
    """Name of a scalar variable with the time of a store without a time dimension; None if there is none."""
    scalars = (name for name, variable in dataset.variables.items() if variable.ndim == 0)
    return next((str(name) for name in scalars if is_time_variable(dataset.variables[name])), None)


def time_values(dataset: xr.Dataset, dim: str) -> tuple[Any, list[str]]:
    """Sortable values of a time dimension, shape (time,), and their labels: ISO dates, else values or numbers."""
    name = time_coordinate(dataset.variables, dim)
    if name is None:
        count = dataset.sizes[dim]
        return np.arange(count), [f"number {number}" for number in range(1, count + 1)]
    variable = dataset.variables[name]
    try:
        values = xr.conventions.decode_cf_variable(dim, variable.copy(), decode_timedelta=False).values
        values = np.atleast_1d(values)
    except (ValueError, TypeError, OverflowError, ImportError):  # unknown calendar or units
        values = np.atleast_1d(variable.values)
    if values.dtype.kind == "M":
        return values, [_iso(value) for value in values.astype("datetime64[s]")]
    if values.dtype.kind == "S":
        values = np.char.decode(values)
    labels = [value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values.tolist()]
    return values, labels


def store_acquisition(path: str, dataset: xr.Dataset, at: Iterable[tuple[str, int]]) -> Acquisition | None:
    """Acquisition of a variable at positions `at` along its time dimensions, (name, index); None if unknown.

    Without such a dimension it is the single time that the store states, the coverage in its attributes (ACDD), or the
    date in its name.
    """
    if chosen := [(dim, index) for dim, index in at if time_coordinate(dataset.variables, dim)]:
        return Acquisition.spanning(Acquisition.parse(time_values(dataset, dim)[1][index]) for dim, index in chosen)
    if scalar := stated_time(dataset):
        return Acquisition.parse(time_values(dataset, scalar)[1][0])
    coverage = (str(dataset.attrs.get(f"time_coverage_{end}", "")) for end in ("start", "end"))
    return Acquisition.parse(*coverage) or acquired_by_name(PurePath(path).name)


def _iso(time: np.datetime64) -> str:
    """ISO text of a time, without the time of day at midnight: 2018-05-01, or 2018-05-01T10:30:00."""
    text = str(np.datetime_as_string(time, unit="s"))
    return text.removesuffix("T00:00:00")


def choose_time(dataset: xr.Dataset, dim: str, requested: int | str | None, where: str) -> int:
    """Return the position of the requested time along a time dimension of an undecoded group.

    Parameters
    ----------
    requested : int, str or None
        A number from 1, 'first' (the earliest), 'last' (the latest), or an ISO date or the beginning of one.
    where : str
        Store and variable, for messages.

    Raises
    ------
    SceneError
        When there are several times and none is requested.
    ConfigError
        When no time, or more than one, matches.
    """
    values, labels = time_values(dataset, dim)
    if requested is None:
        if len(labels) == 1:
            return 0
        msg = (
            f"{where} holds {len(labels)} times: {listed(labels)}; choose one with scene.time: a date, a number from "
            f"1 to {len(labels)}, first or last"
        )
        raise SceneError(msg)
    if requested in {"first", "last"}:
        order = values.tolist()
        return (min if requested == "first" else max)(range(len(order)), key=order.__getitem__)
    if isinstance(requested, int) or _NUMBER.fullmatch(requested):
        if 1 <= int(requested) <= len(labels):
            return int(requested) - 1
        msg = f"scene.time: {requested} is not a number from 1 to {len(labels)}; {where} holds {listed(labels)}"
        raise ConfigError(msg)
    matching = _matching(requested, labels)
    if len(matching) == 1:
        return matching[0]
    if matching:
        matches = listed([labels[i] for i in matching])
        numbers = " or ".join(str(i + 1) for i in matching[:2])
        msg = (
            f"scene.time: {requested} matches {len(matching)} times of {where}: {matches}; state one in full, or "
            f"number {numbers}"
        )
        raise ConfigError(msg)
    msg = f"scene.time: {where} has no time {requested!r}; it holds {listed(labels)}"
    raise ConfigError(msg)


def _matching(requested: str, labels: Sequence[str]) -> list[int]:
    """Positions of the times that begin with the requested date or time."""
    prefix = re.sub(r"(\.\d+)?(Z|\+00:00)?$", "", requested.strip().replace(" ", "T", 1))
    full = [label if "T" in label else f"{label}T00:00:00" for label in labels]
    return [
        i
        for i, (label, text) in enumerate(zip(labels, full, strict=True))
        if label == requested or (text.startswith(prefix) and not text[len(prefix) : len(prefix) + 1].isdigit())
    ]


def listed(labels: Sequence[str]) -> str:
    """Labels of times as a list for messages, shortened if there are many."""
    more = f", ... ({len(labels)} in all)" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more
