"""Pixels of a scene, and what reads them block by block."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.scene_info import SceneInfo


class Pixels(NamedTuple):
    """The pixels of one block."""

    data: npt.NDArray[Any]
    """Shape (band, rows, columns), in the scene's own dtype and units."""
    valid: npt.NDArray[np.bool_]
    """Shape (rows, columns): True where every band holds data."""


class BlockSource(Protocol):
    """Pixels of a scene, block by block. `read` may be called from several threads at once."""

    @property
    def info(self) -> SceneInfo:
        """Facts about the scene."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks that cover the scene, row by row."""

    def read(self, block: Block) -> Pixels:
        """Read one of `blocks`."""


class FitSource(BlockSource, Protocol):
    """A scene of which a part may be left out of the fit alone."""

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read one of `blocks`, and tell which of its valid pixels take part in the fit."""
