"""The cluster model: centroids, and what is needed to apply them to another scene. Stored as JSON, not pickled."""

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
from pipeline.features.standardize import Preparation

MODEL_FORMAT: Final = "terrazzo-model"
"""Value of `format` in a model file."""

_MAX_FILE_BYTES: Final = 64 * 2**20
"""Largest size of a model file, in bytes."""

_LARGEST_NUMBER: Final = 1e60
"""Largest absolute value of a centroid, stored or scaled: squared differences must not overflow."""


class Fitting(ModelRecord):
    """Settings of the fit, and its numbers of iterations and pixels."""

    method: str
    """Setting `fit.method`."""
    pixels: Literal["sampled", "all"] = "sampled"
    """Pixels used to compute the centroids: 'sampled', or 'all' valid ones."""
    seed: int
    """Setting `fit.seed`."""
    starts: int
    """Setting `fit.starts`."""
    max_iter: int
    """Setting `fit.max_iter`."""
    tol: float
    """Setting `fit.tol`."""
    iterations: int
    """Number of passes over all pixels if there were any, else iterations of the best start."""
    sampled_pixels: int
    """Number of sampled pixels."""
    valid_pixels: int
    """Number of valid pixels in the scene."""
    scene_pixels: int
    """Number of pixels of the scene, with nodata."""


class Provenance(ModelRecord):
    """Software and scene that a model was fitted with."""

    software: str
    """Name of the software."""
    version: str
    """Version of the software."""
    sources: tuple[str, ...]
    """Names of the files of the scene, without folders."""
    crs: str | None
    """Coordinate reference system of the scene as WKT, or None."""


class ClusterModel(ModelRecord):
    """Centroids of k classes with bands, units and provenance. Frozen; inconsistent parts are refused."""

    format: Literal["terrazzo-model"] = "terrazzo-model"
    """Identifies model files."""
    schema_version: Literal[1] = 1
    """Version of the file format."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    """Band names, shape (band,)."""
    units: Units
    """Units of the scene that the model was fitted on; `quantity` is that of the centroids."""
    preparation: Preparation = Preparation()
    """Standardization of the bands before distances are computed."""
    nodata: Literal["auto"] | int | float
    """Setting `scene.nodata` of the fit: 'auto' (as stated by the files), or a value."""
    class_order: Literal["brightness"] = "brightness"
    """Order of the classes: by the mean of the centroid over the bands, darkest first."""
    centroids: tuple[tuple[float, ...], ...]
    """Centroids in the quantity of `units`, shape (k, band). Row 0 is class 1."""
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    """Number of pixels per class, shape (k,): all valid ones after passes over all pixels, else the sampled ones."""
    inertia: Annotated[float, Field(ge=0)]
    """Sum of squared distances between the pixels of `counts` and their centroids, in squared standardized units."""
    fitting: Fitting
    """Settings and numbers of the fit."""
    provenance: Provenance
    """Software and scene of the fit."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        lengths = {len(row) for row in self.centroids}
        if lengths != {len(self.bands)}:
            msg = f"centroids have {sorted(lengths)} numbers each; expected {len(self.bands)}, one per band"
            raise ValueError(msg)
        if not 2 <= len(self.centroids) <= 254 or len(self.counts) != len(self.centroids):  # noqa: PLR2004
            msg = f"{len(self.centroids)} centroids and {len(self.counts)} counts; expected 2 to 254 of both"
            raise ValueError(msg)
        if self.preparation.standardize != "none" and len(self.preparation.spread) != len(self.bands):
            msg = "preparation: expected a centre and a spread per band"
            raise ValueError(msg)
        if len(set(self.bands)) != len(self.bands):
            msg = f"two bands have the same name: {', '.join(self.bands)}"
            raise ValueError(msg)
        if {len(self.units.scales), len(self.units.offsets)} != {len(self.bands)}:
            msg = "units: expected a scale and an offset per band"
            raise ValueError(msg)
        pairs = zip(self.units.quantities, self.units.scales, strict=True)
        if any(quantity != "numbers" and scale == 0 for quantity, scale in pairs):
            msg = "units: a scale is 0; expected scales other than 0"
            raise ValueError(msg)
        return self

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.centroids)

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Centroids as an array, shape (k, band), in the quantity of `units`."""
        return np.array(self.centroids, np.float64)

    def centres_in(self, units: Units) -> npt.NDArray[np.float64]:
        """Centroids as an array, shape (k, band), in stored numbers of a scene with these units."""
        return units.to_stored(self.centres)

    def stretch_in(self, units: Units) -> npt.NDArray[np.float64] | None:
        """Factor per band for differences of a scene's stored numbers, shape (band,); None if all are equal."""
        return relative_to_first(units.difference_factors / self.preparation.spreads)

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of all that determines the labels: models with the same digest give the same labels."""
        relevant = self.model_dump(mode="json", include={"bands", "units", "nodata", "centroids"})
        if self.preparation.standardize != "none":
            relevant["preparation"] = self.preparation.model_dump(mode="json")
        if isinstance(self.nodata, float) and self.nodata.is_integer():
            relevant["nodata"] = int(self.nodata)  # 0 and 0.0 are the same value
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Write the model as JSON text; `from_json` returns an equal model."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = "model") -> "ClusterModel":
        """Parse a model from JSON text.

        Parameters
        ----------
        text : str
            Text written by `to_json`.
        origin : str
            File named in messages.

        Raises
        ------
        ModelError
            If the text is not JSON, is not a model, or has inconsistent parts.
        """
        try:
            content: Any = parse_json(text)
        except RepeatedKeyError as error:
            msg = f"{origin}: {error}; the file was edited: correct it, or fit the model again"
            raise ModelError(msg) from error
        except (ValueError, RecursionError) as error:
            msg = f"{origin}: this is not a Terrazzo model: it is not JSON ({error})"
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
            msg = f"{origin}: {what}; the file was edited, or written by another version: fit the model again"
            raise ModelError(msg) from error

    @classmethod
    def load(cls, path: str | Path) -> "ClusterModel":
        """Read a model file.

        Raises
        ------
        ModelError
            If the file can't be read or is not a model.
        """
        path = Path(path)
        try:
            return cls.from_json(read_regular(path, _MAX_FILE_BYTES).decode(), str(path))
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
        """Raise ModelError unless the model can be applied to a scene with these bands and units.

        Parameters
        ----------
        bands : tuple of str
            Band names of the scene, in order.
        units : Units
            Units of the scene.
        source : str
            Scene named in messages.
        """
        if bands != self.bands:
            missing = [band for band in self.bands if band not in bands]
            why = f"{', '.join(missing)} missing" if missing else "another order or number"
            msg = f"{source}: the model needs bands {', '.join(self.bands)}; the scene has {', '.join(bands)} ({why})"
            raise ModelError(msg)
        self._check_numbers(units, source)
        unscaled = self.units.unscaled & units.unscaled
        context = f"{source}: the model is in {self.units.quantity_text}"
        for band, wanted, found, plain in zip(
            self.bands, self.units.quantities, units.quantities, unscaled, strict=True
        ):
            # earlier versions stored one quantity for all bands: 'scaled' also for a band without scale
            if not (plain and {wanted, found} == {"scaled", "numbers"}):
                _check_quantity(band, wanted, found, context, units.dtype)
        if "numbers" not in self.units.quantities:
            return
        if units.family != self.units.family:
            msg = (
                f"{source}: the model was fitted on {self.units.dtype} pixels ({self.units.family}), the scene has "
                f"{units.dtype} ({units.family}); their values are not comparable: convert the scene to the "
                "model's data type, or fit a new model"
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
        """Raise ModelError if distances between pixels of a scene and the centroids would overflow."""
        with np.errstate(all="ignore"):
            distances = [
                *(self.centres_in(units) * units.difference_factors / self.preparation.spreads),
                self.centres_in(units),
            ]
            usable = all((np.abs(row) < _LARGEST_NUMBER).all() for row in distances)  # NaN is not
        if not usable or min(self.preparation.spreads) < 1 / _LARGEST_NUMBER:
            msg = (
                f"{source}: the model's centroids are so large, or its spreads so small, that distances to them exceed "
                f"{_LARGEST_NUMBER:g}; the file was edited, or its scene had implausible values: fit a new model"
            )
            raise ModelError(msg)


def _check_quantity(band: str, wanted: Quantity, found: Quantity, context: str, dtype: str) -> None:
    """Raise ModelError if the quantity of a scene's band is known and differs from that of the model's band."""
    if wanted == "numbers" or found in {wanted, "scaled"}:
        return
    if found == "numbers":
        msg = (
            f"{context}, but band {band} of the scene ({dtype}) states no scale; add scale and offset tags to the "
            "files, or fit a new model"
        )
        raise ModelError(msg)
    if wanted != "scaled":
        msg = f"{context}, but band {band} of the scene is in {found}; choose another scene, or fit a new model"
        raise ModelError(msg)
