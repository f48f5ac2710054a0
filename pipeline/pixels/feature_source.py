"""A scene's columns, computed from the blocks of its bands as they are read."""

from dataclasses import dataclass
from functools import cached_property

from pipeline.core.arrays import Validity
from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.features.base import BlockFeature


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
        return self._columns(self.source.read(block))

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read the columns of a block; return it, and which of its pixels take part in the fit."""
        pixels, fitting = self.source.read_for_fit(block)
        return self._columns(pixels), fitting

    def _columns(self, pixels: Pixels) -> Pixels:
        return Pixels(self.feature.apply(pixels.data, self.source.info), pixels.valid)
