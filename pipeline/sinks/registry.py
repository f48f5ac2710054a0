"""What writes the files of a run that few stages need, imported when it is used: Pillow draws the picture."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipeline.sinks.picture import draw_picture, save_picture

__all__ = ["draw_picture", "save_picture"]

_MODULES: Final = {
    "draw_picture": "pipeline.sinks.picture",
    "save_picture": "pipeline.sinks.picture",
}
"""Module that defines each name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_MODULES[name]), name)
