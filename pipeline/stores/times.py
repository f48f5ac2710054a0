"""Times of Zarr and NetCDF stores: which dimension is time, what its steps are called, and which one is chosen."""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from pipeline.core.errors import ConfigError, SceneError
from pipeline.stores.dimensions import says_time, time_coordinate

_LISTED: Final = 10
_NUMBER: Final = re.compile(r"\d{1,3}")


def stated_time(dataset: xr.Dataset) -> str | None:
    """Name of a single time that a store without a time axis states; None where it states none."""
    return next(
        (str(name) for name, variable in dataset.variables.items() if variable.ndim == 0 and says_time(variable)),
        None,
    )


def time_values(dataset: xr.Dataset, dim: str) -> tuple[Any, list[str]]:
    """Values of a time axis that can be ordered, shape (time,), and what each is called: ISO dates, else numbers."""
    name = time_coordinate(dataset.variables, dim)
    if name is None:
        count = dataset.sizes[dim]
        return np.arange(count), [f"number {number}" for number in range(1, count + 1)]
    variable = dataset.variables[name]
    try:
        values = xr.conventions.decode_cf_variable(dim, variable.copy(), decode_timedelta=False).values
        values = np.atleast_1d(values)
    except (ValueError, TypeError, OverflowError, ImportError):  # a calendar, or units, that can't be decoded
        values = np.atleast_1d(variable.values)
    if values.dtype.kind == "M":
        return values, [_iso(value) for value in values.astype("datetime64[s]")]
    if values.dtype.kind == "S":
        values = np.char.decode(values)
    labels = [value.isoformat() if hasattr(value, "isoformat") else str(value) for value in values.tolist()]
    return values, labels


def _iso(time: np.datetime64) -> str:
    """A time without what is 0 in it: 2018-05-01, or 2018-05-01T10:30:00."""
    whole = str(np.datetime_as_string(time, unit="s"))
    return whole.removesuffix("T00:00:00")


def choose_time(dataset: xr.Dataset, dim: str, asked: int | str | None, where: str) -> int:
    """Position of the time asked for.

    Parameters
    ----------
    dataset : Dataset
        Undecoded.
    dim : str
        Its time axis.
    asked : int, str or None
        A number from 1, 'first', 'last' (the earliest, the latest), or an ISO date or its beginning.
    where : str
        The store, for messages.

    Raises
    ------
    SceneError
        When there are several times and none is asked for.
    ConfigError
        When none, or several, are as asked for.
    """
    values, labels = time_values(dataset, dim)
    if asked is None:
        if len(labels) == 1:
            return 0
        msg = (
            f"{where} holds {len(labels)} times: {listed(labels)}; choose one with scene.time: a date, a number from "
            f"1 to {len(labels)}, first or last"
        )
        raise SceneError(msg)
    if asked in {"first", "last"}:
        order = values.tolist()
        return (min if asked == "first" else max)(range(len(order)), key=order.__getitem__)
    if isinstance(asked, int) or _NUMBER.fullmatch(asked):
        if 1 <= int(asked) <= len(labels):
            return int(asked) - 1
        msg = f"scene.time: {asked} is no number from 1 to {len(labels)}; {where} holds {listed(labels)}"
        raise ConfigError(msg)
    fitting = _fitting(asked, labels)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        both = listed([labels[place] for place in fitting])
        numbers = " or ".join(str(place + 1) for place in fitting[:2])
        msg = f"scene.time: {asked} fits {len(fitting)} times of {where}: {both}; give one in full, or number {numbers}"
        raise ConfigError(msg)
    msg = f"scene.time: {where} has no time {asked!r}; it holds {listed(labels)}"
    raise ConfigError(msg)


def _fitting(asked: str, labels: Sequence[str]) -> list[int]:
    """Places of the times that begin as asked."""
    wanted = re.sub(r"(\.\d+)?(Z|\+00:00)?$", "", asked.strip().replace(" ", "T", 1))
    full = [label if "T" in label else f"{label}T00:00:00" for label in labels]
    return [
        place
        for place, (label, whole) in enumerate(zip(labels, full, strict=True))
        if label == asked or (whole.startswith(wanted) and not whole[len(wanted) : len(wanted) + 1].isdigit())
    ]


def listed(labels: Sequence[str]) -> str:
    """Times in words, the first of many."""
    more = f", ... ({len(labels)} in all)" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more
