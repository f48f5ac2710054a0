"""Distances between the classes of a model, as the model takes distances."""

from math import isfinite

import numpy as np
import numpy.typing as npt

from pipeline.models.prototypes import Prototypes
from pipeline.sinks.report_content import ReportContent

Matrix = npt.NDArray[np.float64]


def class_distances(content: ReportContent) -> tuple[Matrix, str]:
    """Distances between the centres of classes, shape (k, k), and in which units; NaN where a centre is unknown.

    They are those that the model works with: between prepared bands or components.
    """
    model = content.model
    preparation = model.preparation.bind(model.units)
    centres, what = model.centres, "centres of the classes"
    if isinstance(model, Prototypes) and model.classes_of_points is not None:
        centres = np.stack([content.numbers[each.id][:, 0] for each in model.classes])
        what = "means of the classes in this map, as a class has several centres"
    prepared = preparation.apply(model.units.to_stored(centres).T).T * preparation.factors
    with np.errstate(all="ignore"):  # row by row, as all differences at once may take 100 MB
        distances = np.stack([np.sqrt(np.square(prepared - row).sum(axis=1)) for row in prepared])
    return distances.astype(np.float64), f"Euclidean distances between the {what}, {_units_words(content)}"


def _units_words(content: ReportContent) -> str:
    """Units of distances."""
    preparation, one = content.model.preparation, ""
    match preparation.standardize:
        case "none":
            one = f"in the unit of the bands ({content.model.units.quantity_text})"
        case "clip":
            one = "in standardized units: 1 is the range of a band between the percentiles it is clipped to"
        case "zscore":
            one = "in standardized units: 1 is a standard deviation of a band"
        case "minmax":
            one = "in standardized units: 1 is the range of a band"
        case "robust":
            one = "in standardized units: 1 is the interquartile range of a band"
    one += ", times the weight of the band" if preparation.weights else ""
    return one + (", of principal components" if preparation.components else "")


def nearest(distances: Matrix) -> list[tuple[int, float]]:
    """Nearest other class of each class, and its distance; class 0 where no distance is known."""
    found = []
    for own, row in enumerate(distances.tolist(), 1):
        others = [(far, label) for label, far in enumerate(row, 1) if label != own and isfinite(far)]
        distance, label = min(others, default=(float("nan"), 0))
        found.append((label, distance))
    return found
