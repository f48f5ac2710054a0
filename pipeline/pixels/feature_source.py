"""A scene's columns, computed from the blocks of its bands as they are read."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.core.arrays import Validity
from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.features.base import BlockFeature, Inner


@dataclass(frozen=True)
class FeatureSource:
    """A source that wraps a source: its blocks with the columns of a block feature; a `PixelSource`."""

    source: PixelSource
    """The scene's bands."""
    feature: BlockFeature
    """What is computed from them."""

    store = None

    @cached_property
    def info(self) -> SceneInfo:
        """Facts about the scene, with those of the columns instead of the bands."""
        return self.feature.info(self.source.info)

    @property
    def blocks(self) -> Blocks:
        """Blocks of the scene."""
        return self.source.blocks

    @property
    def cheap_again(self) -> bool:
        """Whether reading a block again costs little."""
        return self.source.cheap_again

    def read(self, block: Block) -> Pixels:
        """Read the columns of a block."""
        wide = self._around(block)
        return self._columns(self.source.read(wide), block.within(wide))

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read the columns of a block; return it, and which of its pixels take part in the fit."""
        wide = self._around(block)
        pixels, fitting = self.source.read_for_fit(wide)
        inner = block.within(wide)
        return self._columns(pixels, inner), np.ascontiguousarray(fitting[inner])

    def _around(self, block: Block) -> Block:
        """A block with the pixels around it that affect it."""
        return block.widened(self.feature.halo, self.source.info.grid.shape)

    def _columns(self, pixels: Pixels, inner: Inner) -> Pixels:
        columns = self.feature.apply(pixels, self.source.info, inner)
        return Pixels(columns, np.ascontiguousarray(pixels.valid[inner]))
