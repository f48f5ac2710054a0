"""Initial centroids that the config gives (`fit.init`): a line through the sample, numbers, a model, or a file."""

import csv
import logging
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from pipeline.config.fields import Name
from pipeline.config.record import refuse_boolean
from pipeline.config.schema import CLIPPED
from pipeline.config.yaml import INIT_WORDS
from pipeline.core.band_names import find_band, listed_names
from pipeline.core.errors import ConfigError, ModelError
from pipeline.core.regular_files import read_regular
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import shown
from pipeline.features.base import Preparation
from pipeline.methods.isodata import first_centres
from pipeline.methods.lloyd import Centres
from pipeline.methods.method import FitInput
from pipeline.methods.settings import MAX_CLASSES, CentroidSettings
from pipeline.models.base import ClusterModel
from pipeline.models.store import load_model

logger = logging.getLogger(__name__)

PLUS_PLUS, DIAGONAL = INIT_WORDS
"""Settings `fit.init`: centroids are drawn from the sample in each start, or spread evenly, from the mean
minus to the mean plus the deviation of each band."""

Finite = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(refuse_boolean)]

Init = str | tuple[tuple[float, ...], ...] | ClusterModel
"""Setting `fit.init`: one of these words, the path of a file, centroids, shape (k, band), or in Python a model."""

_MAX_FILE_BYTES: Final = 2**24
"""Largest size of a file of centroids: 254 signatures of 60 bands, with room."""

_FARTHEST: Final = 10
"""Largest distance of a centroid from the sampled pixels of a band, in multiples of their range."""

_LEAST_SPREAD: Final = 1e-3
"""Least range of the centroids of a band, as a share of that of most sampled pixels, without outliers."""


class _Table(NamedTuple):
    """Centroids of a file."""

    rows: Sequence[Sequence[str]]
    """Numbers per centroid, as text, shape (k, band)."""
    names: Sequence[str] | None = None
    """Names of the bands, shape (band,); None if they are those of the scene, in its order."""
    of_maps: bool = False
    """Whether the names are those of raster maps, which need not be those of bands."""


class InitSettings(CentroidSettings):
    """Settings of methods that may begin with given centroids."""

    init: (
        Annotated[
            tuple[Annotated[tuple[Finite, ...], Field(min_length=1)], ...], Field(min_length=2, max_length=MAX_CLASSES)
        ]
        | Name
        | SkipJsonSchema[InstanceOf[ClusterModel]]
    ) = Field(
        PLUS_PLUS,
        title="or diagonal, a model, a CSV: initial centroids",
        description="the initial centroids: 'k-means++' (drawn in each start), or those of a single start: 'diagonal' "
        "(from mean - deviation to mean + deviation of each band), the path of a model, a CSV with a column per band, "
        "a text file with a line per centroid or a GRASS signature file, or a list of centroids",
    )

    @property
    def paths(self) -> dict[str, str]:
        """Key of each file that the section names, by its path."""
        named = {self.init: "fit.init"} if isinstance(self.init, str) and self.init not in INIT_WORDS else {}
        return super().paths | named

    @property
    def in_model(self) -> dict[str, Any]:
        """Fields of `Fitting` that say how a model was fitted; of a file its name without folders."""
        init = Path(self.init).name if isinstance(self.init, str) else "centroids"
        if isinstance(self.init, ClusterModel):
            init = "model"
        return super().in_model | {"init": None if init == PLUS_PLUS else init}

    @property
    def runs(self) -> int:
        """Number of starts that are made: one if the initial centroids are given."""
        return self.starts if self.init == PLUS_PLUS else 1


def check_init_alone(settings: InitSettings) -> None:
    """Raise ConfigError if the initial centroids can't be read, or are not k ones, whatever the scene's bands are."""
    init = settings.init
    if init in INIT_WORDS:
        return
    model = _model_of(init)
    _check_count(init, model.k if model else len(_table_of(init).rows), settings.k)


def check_init(info: SceneInfo, settings: InitSettings) -> None:
    """Raise ConfigError unless the initial centroids, if they are given, are those of a scene's bands."""
    given_centroids(settings.init, settings.k, info)


def initial_centres(given: FitInput[Any]) -> Centres | None:
    """Initial centroids of the only start, among prepared points, shape (k, band); None if each start draws its own."""
    settings: InitSettings = given.settings
    if settings.runs < settings.starts and "starts" in settings.model_fields_set:
        logger.info("fit.starts: %d has no effect, as fit.init gives the initial centroids", settings.starts)
    if settings.init == DIAGONAL:
        return first_centres(given.points, settings.k)
    stored = given_centroids(settings.init, settings.k, given.info)
    return None if stored is None else prepared_centroids(stored, given.preparation, given.stored)


def given_centroids(init: Init, k: int, info: SceneInfo) -> Centres | None:
    """Read the centroids that `fit.init` gives, in stored numbers of a scene, shape (k, band); None if it is a word.

    Raises
    ------
    ConfigError
        If a file can't be read, or its centroids are not k ones of the scene's bands and quantity.
    """
    if init in INIT_WORDS:
        return None
    model = _model_of(init)
    origin = _origin(init)
    physical = _centres_for(model, info, origin) if model else _numbers(_table_of(init), info, origin)
    _check_count(init, len(physical), k)
    return info.units.to_stored(physical)


def _origin(init: Init) -> str:
    return f"fit.init: {init}" if isinstance(init, str) else "fit.init"


def _table_of(init: Any) -> _Table:
    """Return the centroids of a text file, or those that are given as numbers."""
    if isinstance(init, str):
        return _table(_read(init), _origin(init))
    return _Table([list(map(repr, row)) for row in init])


def _check_count(init: Init, count: int, k: int) -> None:
    if count != k:
        found = "is 1 centroid" if count == 1 else f"are {count} centroids"
        msg = f"{_origin(init)}: there {found}, but fit.k is {k}; give a centroid for each class, or change fit.k"
        raise ConfigError(msg)


def prepared_centroids(centres: Centres, preparation: Preparation, sampled: npt.NDArray[Any]) -> Centres:
    """Prepare centroids in stored numbers, shape (k, band), as the sampled pixels (band, point) are.

    Raises
    ------
    ConfigError
        If they are so far from the pixels, or so near to each other, that they must be in other units.
    """
    low, high = sampled.min(axis=1).astype(np.float64), sampled.max(axis=1).astype(np.float64)
    room = _FARTHEST * (high - low)
    far = ((centres < low - room) | (centres > high + room)).any(axis=0)
    most = np.ptp(np.percentile(sampled, CLIPPED, axis=1), axis=0)
    near = (np.ptp(centres, axis=0) < _LEAST_SPREAD * most).all()
    if far.any() or near:
        band = int(far.argmax())
        msg = (
            f"fit.init: centroids of band {band + 1} are {centres[:, band].min():g} to {centres[:, band].max():g} in "
            f"stored numbers, but the sampled pixels are {low[band]:g} to {high[band]:g}; give centroids in the "
            "scene's quantity, or set features.scale: none for stored numbers"
        )
        raise ConfigError(msg)
    prepared = np.ascontiguousarray(preparation.apply(np.ascontiguousarray(centres.T)).T, np.float64)
    if (distinct := len(np.unique(prepared, axis=0))) < len(prepared):
        logger.warning(
            "fit.init: only %d of the %d centroids are distinct after features.standardize; classes of the others "
            "restart at pixels far from all",
            distinct,
            len(prepared),
        )
    return prepared


def _model_of(init: Init) -> ClusterModel | None:
    """Return the model that is given, or is in the file that is named; None if there is none."""
    if isinstance(init, str) and init.lower().endswith(".json"):
        return _load(Path(init))
    return init if isinstance(init, ClusterModel) else None


def _centres_for(model: ClusterModel, info: SceneInfo, origin: str) -> Centres:
    """Centres of the classes of a model, in the quantity."""
    try:
        model.check_fits(info.bands, info.units, origin)
    except ModelError as error:
        raise ConfigError(str(error)) from error
    return model.centres


def _load(path: Path) -> ClusterModel:
    try:
        return load_model(path)
    except ModelError as error:
        msg = f"fit.init: {error}"
        raise ConfigError(msg) from error


def _read(path: str) -> str:
    try:
        return read_regular(path, _MAX_FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        msg = (
            f"fit.init: {path}: the centroids can't be read: {reason}; expected {PLUS_PLUS}, {DIAGONAL}, or the path "
            "of a model, a CSV or a text file"
        )
        raise ConfigError(msg) from error


def _table(text: str, origin: str) -> _Table:
    """Split the text of a file: GRASS signatures have lines that start with #, a CSV has a header, OTB's text none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        msg = f"{origin}: the file is empty; expected a line per centroid"
        raise ConfigError(msg)
    if any(line.lower().startswith("#class") for line in lines):
        return _signatures(lines, origin)
    lines = [line for line in lines if not line.startswith("#")] or [""]
    between = max(",;\t ", key=lines[0].count)
    try:
        first, *rows = csv.reader(lines, delimiter=between, skipinitialspace=True)
    except csv.Error as error:
        msg = f"{origin}: this is no table: {error}; expected a line of band names, and a line per centroid"
        raise ConfigError(msg) from error
    numbers = sum(map(_is_number, first))
    if between == " " and numbers:
        return _Table([line.split() for line in lines])
    if not rows or numbers == len(first):
        msg = f"{origin}: expected a line of band names, with commas between them, and then a line per centroid"
        raise ConfigError(msg)
    return _Table(rows, [name.strip() for name in first])


def _signatures(lines: Sequence[str], origin: str) -> _Table:
    """Class means of GRASS signatures: per class a title, one or two counts, the means, and a triangle of covariances.

    Before the classes there is a title of the file; newer versions have a line of band names after it.
    """
    titles = [number for number, line in enumerate(lines) if line.startswith("#")]
    head, *classes = [lines[start + 1 : stop] for start, stop in pairwise([*titles, len(lines)])]
    rows = []
    for number, block in enumerate(classes, 1):
        bands = len(block[-1].split()) if block else 0
        if len(block) < bands + 2 or len(means := block[-bands - 1].split()) != bands:
            msg = f"{origin}: class {number} is not a GRASS signature; expected its count, means and covariances"
            raise ConfigError(msg)
        rows.append(means)
    if not rows:
        msg = f"{origin}: there is no class in this GRASS signature file; write it again with i.cluster"
        raise ConfigError(msg)
    names = [name.partition("@")[0] for name in head[0].split()] if head else None
    return _Table(rows, names, of_maps=True)


def _numbers(table: _Table, info: SceneInfo, origin: str) -> Centres:
    """Check names and numbers, and return them in the order of the scene's bands, shape (k, band)."""
    order = _order_of_columns(table, info, origin)
    rows = []
    for number, row in enumerate(table.rows, 1):
        if len(row) != len(order):
            msg = (
                f"{origin}: centroid {number} has {len(row)} numbers; expected {len(order)}, one per band: "
                f"{listed_names(info.bands)}"
            )
            raise ConfigError(msg)
        wrong = next((text for text in row if not _is_number(text)), None)
        if wrong is not None:
            msg = f"{origin}: centroid {number} has {shown(wrong)}; expected finite numbers"
            raise ConfigError(msg)
        rows.append([float(row[position]) for position in order])
    return np.array(rows, np.float64).reshape(len(rows), len(order))


def _order_of_columns(table: _Table, info: SceneInfo, origin: str) -> list[int]:
    """Column of each band of the scene; raise ConfigError unless there is one per band."""
    bands = list(range(len(info.bands)))
    if table.names is None:
        return bands
    names = [shorten(name, 60, placeholder="...") for name in table.names]
    try:
        found = [find_band(name, info.bands, info.common_names or None, key=origin) for name in names]
    except ConfigError:
        if not table.of_maps or len(names) != len(bands):
            raise
        _log_maps(origin, listed_names(names), listed_names(info.bands))
        return bands
    if sorted(found) != bands:
        msg = f"{origin}: it has columns {listed_names(names)}; expected one per band: {listed_names(info.bands)}"
        raise ConfigError(msg)
    return [found.index(band) for band in bands]


@cache
def _log_maps(origin: str, maps: str, bands: str) -> None:
    """Log once which bands the columns of a file are, which is read more than once."""
    logger.info("%s: maps %s are taken as bands %s", origin, maps, bands)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
