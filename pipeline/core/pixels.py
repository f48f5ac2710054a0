"""Pixels of a block, and the protocols of sources that read them block by block."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.scene_info import SceneInfo


class Pixels(NamedTuple):
    """Pixel values and validity of one block."""

    data: npt.NDArray[Any]
    """Stored values, shape (band, rows, columns), in the dtype and units of the scene."""
    valid: npt.NDArray[np.bool_]
    """Valid pixels, shape (rows, columns): True where no band is nodata or masked."""


class BlockSource(Protocol):
    """A scene that is read block by block. `read` may be called from several threads at once."""

    @property
    def info(self) -> SceneInfo:
        """Metadata of the scene."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks that cover the scene, row by row."""

    def read(self, block: Block) -> Pixels:
        """Read one of `blocks`."""


class FitSource(BlockSource, Protocol):
    """A block source that can exclude valid pixels from the fit (`fit.mask`)."""

    @property
    def cheap_again(self) -> bool:
        """Whether reading a block again costs little, because it is cached."""

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read one of `blocks`; return its pixels, and which valid ones the fit uses, shape (rows, columns)."""
