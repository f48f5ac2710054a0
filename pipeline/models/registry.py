"""Kinds of models by their name in model files, imported when a model of that kind is read."""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    from pipeline.models.prototypes import Prototypes as prototypes  # noqa: N813

__all__ = ["prototypes"]

_HOMES: Final = {"prototypes": "pipeline.models.prototypes:Prototypes"}
"""Where each kind is defined."""

__getattr__ = late_import(__name__, _HOMES)
