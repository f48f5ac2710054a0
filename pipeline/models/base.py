"""The protocol of models: a model of any kind, and the labeller that it makes for a scene."""

import hashlib
import json
from abc import abstractmethod
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.argument_messages import check_argument
from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import ModelError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import ModelRecord, Units
from pipeline.features.standardize import Standardization
from pipeline.kernels.assign import working_dtype
from pipeline.models.classes import ClassInfo, Count
from pipeline.models.inputs import Inputs
from pipeline.models.store import load_model, model_text, parse_model, save_model
from pipeline.models.summary import html_summary, text_summary

Layer = Literal["class", "confidence", "distance"]
"""What a labeller can give for each pixel."""

CLASSES_ONLY: Final[frozenset[Layer]] = frozenset({"class"})
"""The layer that every kind of model gives."""


class Layers(NamedTuple):
    """Layers of a block."""

    classes: npt.NDArray[np.uint8]
    """Labels, shape (rows, columns): 0 is nodata, 1 to k are classes, `UNCLASSIFIED` is none of them."""
    confidence: npt.NDArray[np.float32] | None = None
    """Posterior of the class, 0 to 1, and 0 where nodata, shape (rows, columns); None if it was not asked for."""


class Labeller(Protocol):
    """A model made ready for the pixels of a scene: a frozen record that can be pickled, and knows numpy only."""

    def __call__(self, data: Planes, valid: Validity) -> Layers:
        """Label the pixels of a block, shape (band, rows, columns), in stored numbers of the scene."""


_LATER: Final = {"init", "stratify"}
"""Settings of the fit that earlier versions did not have."""


class Fitting(ModelRecord):
    """Settings of the fit, and its numbers of iterations and pixels."""

    method: str
    """Setting `fit.method`."""
    pixels: Literal["sampled", "all"] = "sampled"
    """Pixels that the model was computed from: 'sampled', or 'all' valid ones."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Setting `fit.seed`."""
    starts: Annotated[int, Field(ge=1)] | None = None
    """Number of starts that were made; None if the method has none."""
    max_iter: Annotated[int, Field(ge=1)] | None = None
    """Setting `fit.max_iter`; None if the method has none."""
    tol: Annotated[float, Field(ge=0)] | None = None
    """Setting `fit.tol`; None if the method has none."""
    init: Annotated[str, Field(min_length=1)] | None = None
    """Setting `fit.init` where it is not its default: a word, the name of a file, 'centroids' if these
    were given as numbers, or 'model'."""
    stratify: Literal["blocks"] | None = None
    """Setting `fit.stratify`; None if every valid pixel was as likely to be sampled."""
    iterations: Annotated[int, Field(ge=0)]
    """Number of passes over all pixels if there were any, else iterations of the best start."""
    sampled_pixels: Count
    """Number of sampled pixels."""
    valid_pixels: Count
    """Number of valid pixels in the scene."""
    scene_pixels: Count
    """Number of pixels of the scene, with nodata."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out settings of later versions that have their default, so that other models stay as they are."""
        return {name: value for name, value in dump(self).items() if value is not None or name not in _LATER}

    @model_validator(mode="after")
    def _has_possible_numbers_of_pixels(self) -> Self:
        numbers = self.sampled_pixels, self.valid_pixels, self.scene_pixels
        if list(numbers) != sorted(numbers):
            msg = (
                f"{numbers[0]} sampled, {numbers[1]} valid and {numbers[2]} pixels of the scene; expected no fewer each"
            )
            raise ValueError(msg)
        return self


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


class ClusterModel(Inputs):
    """A model of any kind: its inputs, its classes, and in fields of the kind what decides the class of a pixel.

    Frozen; inconsistent parts are refused. To add a kind: a module with a subclass, and its line in `models.store`.
    """

    kind: ClassVar[str]
    """Name of the kind in model files."""
    layers: ClassVar[frozenset[Layer]] = CLASSES_ONLY
    """Layers that models of this kind give."""
    decisive: ClassVar[frozenset[str]]
    """Fields of the kind that determine labels, for the digest."""

    class_order: Literal["brightness", "edges"] = "brightness"
    """Order of the classes: by the mean of the class over the bands, darkest first; or by the edges of their ranges."""
    classes: Annotated[tuple[ClassInfo, ...], Field(min_length=1, max_length=254)]
    """The classes, shape (k,), with labels 1 to k."""
    inertia: Annotated[float, Field(ge=0)] | None
    """Sum of squared distances between the pixels of `counts` and the centres of their classes, in squared standardized
    units; None if the method has no distances."""
    fitting: Fitting
    """Settings and numbers of the fit."""
    provenance: Provenance
    """Software and scene of the fit."""

    @model_validator(mode="after")
    def _has_consistent_classes(self) -> Self:
        labels = [each.id for each in self.classes]
        if labels != list(range(1, len(labels) + 1)):
            msg = f"classes: the ids are {labels}; expected 1 to {len(labels)}, in this order"
            raise ValueError(msg)
        if any(len(each.mean) != len(self.bands) for each in self.classes if each.mean is not None):
            msg = f"classes: expected means of {len(self.bands)} numbers, one per band"
            raise ValueError(msg)
        return self

    @property
    def k(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def leaves_unclassified(self) -> bool:
        """Whether labels may be `UNCLASSIFIED`."""
        return False

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of pixels per class, shape (k,)."""
        return tuple(each.pixels for each in self.classes)

    @property
    @abstractmethod
    def centres(self) -> npt.NDArray[np.float64]:
        """A point among the pixels of each class, such as its centroid, in the quantity of `units`, shape (k, band)."""

    def centres_in(self, units: Units) -> npt.NDArray[np.float64]:
        """Centres in stored numbers of a scene with these units, shape (k, band)."""
        return units.to_stored(self.centres)

    @abstractmethod
    def labeller(self, info: SceneInfo, want: frozenset[Layer] = CLASSES_ONLY) -> Labeller:
        """Make the labeller of some layers for a scene that the model fits.

        Raises
        ------
        ModelError
            If models of this kind don't give one of the layers.
        """

    def check_size(self, field: str, numbers: object) -> None:
        """Raise ValueError if numbers of a field are too large for the type in which distances to pixels are taken."""
        kind = working_dtype(self.units.dtype)
        largest, limit = float(np.abs(np.array(numbers, np.float64)).max()), float(np.finfo(kind).max)
        if largest > limit:
            msg = f"{field}: {largest:g} is too large for {kind.name}; expected numbers up to {limit:.3g}"
            raise ValueError(msg)

    def check_gives(self, want: frozenset[Layer]) -> None:
        """Raise ModelError unless models of this kind give some layers."""
        if missing := want - self.layers:
            given = "only classes" if self.layers == CLASSES_ONLY else f"only {', '.join(sorted(self.layers))}"
            msg = f"a model of kind {self.kind} gives no {', '.join(sorted(missing))}, {given}"
            raise ModelError(msg)

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of all that determines the labels: models with the same digest give the same labels."""
        names = {"bands", "units", "nodata", *self.decisive}
        relevant = self.model_dump(mode="json", include=names, exclude_none=True)
        if self.indices:
            relevant["indices"] = [each.model_dump(mode="json") for each in self.indices]
        if self.textures:
            relevant["textures"] = [each.model_dump(mode="json") for each in self.textures]
        relevant |= {name: value for name in ("smooth", "unit_norm") if (value := getattr(self, name))}
        if self.preparation != Standardization():
            relevant["preparation"] = self.preparation.model_dump(mode="json")
        if isinstance(self.nodata, float) and self.nodata.is_integer():
            relevant["nodata"] = int(self.nodata)  # 0 and 0.0 are the same value
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Write the model as JSON text; `from_json` returns an equal model."""
        return model_text(self)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model as a JSON file, the same text as that of a run; `load` reads an equal model.

        Parameters
        ----------
        path : str or Path
            The file, with the ending .json. It appears under this name only when it is complete.
        overwrite : bool, default False
            Whether an existing file may be replaced.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        ConfigError
            If the path can't be that of a model file.
        OutputError
            If the file exists already, or can't be written.
        """
        check_argument(path, (str, PathLike), "save: path: expected the path of a file, such as 'm.model.json'")
        save_model(self, Path(path), overwrite=overwrite)
        return Path(path)

    def __repr__(self) -> str:
        return text_summary(self)

    def __str__(self) -> str:
        return text_summary(self)

    def _repr_html_(self) -> str:
        """Return a table of the classes, which notebooks show."""
        return html_summary(self)

    @staticmethod
    def from_json(text: str, origin: str = "model") -> "ClusterModel":
        """Parse a model of any kind from the text of its file; `origin` is named in messages.

        Raises
        ------
        ModelError
            If the text is not JSON, is not a model, or has inconsistent parts.
        """
        return parse_model(text, origin)

    @staticmethod
    def load(path: str | Path) -> "ClusterModel":
        """Read a model file of any kind.

        Raises
        ------
        ModelError
            If the file can't be read or is not a model.
        """
        return load_model(Path(path))
