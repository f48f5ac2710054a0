"""The model: class centres and all that is needed to use them on another scene. JSON in and out, no pickle."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from pipeline.core.errors import ModelError
from pipeline.core.regular_files import TooLargeError, read_regular
from pipeline.core.strict_json import RepeatedKeyError, parse_json
from pipeline.core.units import ModelRecord, Quantity, Units, relative_to_first
from pipeline.features.scale import Preparation

MODEL_FORMAT: Final = "terrazzo-model"
_LARGEST_FILE: Final = 64 * 2**20
_LARGEST_NUMBER: Final = 1e60
"""Of a centroid in stored numbers: beyond it squares of differences, scaled, are no floats any more."""


class Fitting(ModelRecord):
    """How the model came about."""

    method: Literal["kmeans", "minibatch", "dask-ml"]
    pixels: Literal["sampled", "all"] = "sampled"
    """Which pixels the centroids rest on: those sampled, or all valid ones."""
    seed: int
    starts: int
    max_iter: int
    tol: float
    iterations: int
    """Of the start that was kept; passes over all pixels, where there were any."""
    sampled_pixels: int
    valid_pixels: int
    """In the scene the sample was drawn from."""
    scene_pixels: int


class Provenance(ModelRecord):
    """Where the model comes from."""

    software: str
    version: str
    sources: tuple[str, ...]
    """Names of the files it was fitted on, without their folders."""
    crs: str | None
    """Of the scene, as WKT."""


class ClusterModel(ModelRecord):
    """Classes of a clustering. Frozen, and can't be built with parts that don't fit each other."""

    format: Literal["terrazzo-model"] = "terrazzo-model"
    schema_version: Literal[1] = 1
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names, in the order of the centroids' numbers."""
    units: Units
    preparation: Preparation = Preparation()
    """What bands are divided by before distances are taken."""
    nodata: Literal["auto"] | int | float
    """The rule that was in force: what the files say, or a value from the config."""
    class_order: Literal["brightness"] = "brightness"
    """Classes are sorted by the mean of their centroid over the bands, the darkest first."""
    centroids: tuple[tuple[float, ...], ...]
    """k rows, a number for each band, in the quantity that `units` names. Row 0 is class 1."""
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    """Pixels in each class: all valid ones after passes over all of them, else (mini-batches too) the sampled ones."""
    inertia: Annotated[float, Field(ge=0)]
    """Sum of the squared distances between these pixels and their centroids, in the quantity, prepared, squared."""
    fitting: Fitting
    provenance: Provenance

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        lengths = {len(row) for row in self.centroids}
        if lengths != {len(self.bands)}:
            msg = f"centroids have {sorted(lengths)} numbers each, there are {len(self.bands)} bands"
            raise ValueError(msg)
        if not 2 <= len(self.centroids) <= 254 or len(self.counts) != len(self.centroids):  # noqa: PLR2004
            msg = f"{len(self.centroids)} centroids and {len(self.counts)} counts; expected 2 to 254 of both"
            raise ValueError(msg)
        if self.preparation.standardize != "none" and len(self.preparation.spread) != len(self.bands):
            msg = "preparation: expected a centre and a spread for each band"
            raise ValueError(msg)
        if len(set(self.bands)) != len(self.bands):
            msg = f"a band is named twice: {', '.join(self.bands)}"
            raise ValueError(msg)
        if {len(self.units.scales), len(self.units.offsets)} != {len(self.bands)}:
            msg = "units: expected a scale and an offset for each band"
            raise ValueError(msg)
        pairs = zip(self.units.quantities, self.units.scales, strict=True)
        if any(quantity != "numbers" and scale == 0 for quantity, scale in pairs):
            msg = "units: a scale is 0"
            raise ValueError(msg)
        return self

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.centroids)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Centroids as an array, shape (k, band), in the quantity that `units` names."""
        return np.array(self.centroids, np.float64)

    def centres_in(self, units: Units) -> npt.NDArray[np.float64]:
        """Centroids as an array, shape (k, band), in the stored numbers of a scene with these units."""
        return units.to_stored(self.centres)

    def stretch_in(self, units: Units) -> npt.NDArray[np.float64] | None:
        """What differences of a scene's stored numbers are multiplied by, shape (band,); None where all are alike."""
        return relative_to_first(units.difference_factors / self.preparation.spreads)

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a pixel's class, as hexadecimal digits: the same digest, the same labels."""
        deciding = self.model_dump(mode="json", include={"bands", "units", "nodata", "centroids"})
        if self.preparation.standardize != "none":
            deciding["preparation"] = self.preparation.model_dump(mode="json")
        if isinstance(self.nodata, float) and self.nodata.is_integer():
            deciding["nodata"] = int(self.nodata)  # 0.0 is 0
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Write the model as JSON text that `from_json` reads back exactly."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = "model") -> "ClusterModel":
        """Read a model from JSON text.

        Parameters
        ----------
        text : str
            What `to_json` wrote.
        origin : str
            Where it comes from, for messages.

        Raises
        ------
        ModelError
            When it is not JSON, is another kind of file, or has parts that don't fit each other.
        """
        try:
            content: Any = parse_json(text)
        except RepeatedKeyError as error:
            msg = f"{origin}: {error}; the model was changed: write it again with fit, or mend it"
            raise ModelError(msg) from error
        except (ValueError, RecursionError) as error:
            msg = f"{origin}: this is not a Terrazzo model, nor any JSON ({error})"
            raise ModelError(msg) from error
        if not isinstance(content, dict) or content.get("format") != MODEL_FORMAT:
            msg = f'{origin}: this is JSON, but not a Terrazzo model (expected "format": "{MODEL_FORMAT}")'
            raise ModelError(msg)
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            what = f"{where}: {first['msg']}" if where else first["msg"]
            msg = f"{origin}: {what}; the model was changed or is of another version"
            raise ModelError(msg) from error

    @classmethod
    def load(cls, path: str | Path) -> "ClusterModel":
        """Read a model file.

        Raises
        ------
        ModelError
            When it can't be read or is not a model.
        """
        path = Path(path)
        try:
            return cls.from_json(read_regular(path, _LARGEST_FILE).decode(), str(path))
        except TooLargeError as error:
            msg = f"{path}: this is not a Terrazzo model: {error}"
            raise ModelError(msg) from error
        except UnicodeDecodeError as error:
            msg = f"{path}: this is not a Terrazzo model: it is not text"
            raise ModelError(msg) from error
        except OSError as error:
            msg = f"{path}: the model can't be read: {error.strerror}"
            raise ModelError(msg) from error

    def check_fits(self, bands: tuple[str, ...], units: Units, source: str) -> None:
        """Raise ModelError unless pixels of these bands and units mean what the model's did.

        Parameters
        ----------
        bands : tuple of str
            Of the scene, in order.
        units : Units
            Of the scene.
        source : str
            The scene, for messages.
        """
        if bands != self.bands:
            missing = [band for band in self.bands if band not in bands]
            why = f"{', '.join(missing)} missing" if missing else "another order or number"
            msg = f"{source}: the model wants bands {', '.join(self.bands)}; the scene has {', '.join(bands)} ({why})"
            raise ModelError(msg)
        self._check_numbers(units, source)
        alike = self.units.unscaled & units.unscaled
        for band, ours, theirs, same in zip(self.bands, self.units.quantities, units.quantities, alike, strict=True):
            if not (same and {ours, theirs} == {"scaled", "numbers"}):  # earlier versions had one word for all bands
                _check_quantity(band, ours, theirs, f"{source}: the model is in {self.units.words}", units.dtype)
        if "numbers" not in self.units.quantities:
            return
        if units.family != self.units.family:
            msg = (
                f"{source}: the model was fitted on {self.units.dtype} pixels ({self.units.family}), the scene has "
                f"{units.dtype} ({units.family}); their numbers don't mean the same, so bring the scene to the "
                "model's units or fit a new model"
            )
            raise ModelError(msg)
        for band, quantity, *pairs in zip(
            self.bands,
            self.units.quantities,
            self.units.scales,
            units.scales,
            self.units.offsets,
            units.offsets,
            strict=True,
        ):
            if quantity == "numbers" and (pairs[0] != pairs[1] or pairs[2] != pairs[3]):
                msg = (
                    f"{source}: band {band} has scale {pairs[1]:g} and offset {pairs[3]:g}, the model was fitted "
                    f"with scale {pairs[0]:g} and offset {pairs[2]:g}; fit a new model on this scene"
                )
                raise ModelError(msg)

    def _check_numbers(self, units: Units, source: str) -> None:
        """Raise ModelError where distances between a scene's pixels and the centroids are no numbers."""
        with np.errstate(all="ignore"):
            distances = [
                *(self.centres_in(units) * units.difference_factors / self.preparation.spreads),
                self.centres_in(units),
            ]
            usable = all((np.abs(row) < _LARGEST_NUMBER).all() for row in distances)  # NaN is not
        if not usable or min(self.preparation.spreads) < 1 / _LARGEST_NUMBER:
            msg = (
                f"{source}: the model's centroids are so large, or its spreads so small, that distances to them exceed "
                f"{_LARGEST_NUMBER:g}; the model was changed, or its scene held no sensible numbers: fit a new one"
            )
            raise ModelError(msg)


def _check_quantity(band: str, ours: Quantity, theirs: Quantity, what: str, dtype: str) -> None:
    """Raise ModelError unless a band of a scene is in the quantity that a model's band is in, as far as it is known."""
    if ours == "numbers" or theirs in {ours, "scaled"}:
        return
    if theirs == "numbers":
        msg = (
            f"{what}, but the scene's {dtype} numbers state no scale that would make them so (band {band}); give the "
            "files scale and offset tags, or fit a new model"
        )
        raise ModelError(msg)
    if ours != "scaled":
        msg = f"{what}, but the scene's band {band} is in {theirs}; choose another scene, or fit a new model"
        raise ModelError(msg)
