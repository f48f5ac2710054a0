"""What writes the files of a run that few stages need, imported when it is used: Pillow draws the picture."""

from typing import TYPE_CHECKING, Final

from pipeline.core.late_import import late_import

if TYPE_CHECKING:
    from pipeline.sinks.picture import draw_picture, save_picture

__all__ = ["draw_picture", "save_picture"]

_HOMES: Final = {
    "draw_picture": "pipeline.sinks.picture:draw_picture",
    "save_picture": "pipeline.sinks.picture:save_picture",
}
"""Where each name is defined."""

__getattr__ = late_import(__name__, _HOMES)
