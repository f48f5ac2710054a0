"""A scene's pixels, decoded once and kept on disk for the passes that follow."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.errors import OutputError
from pipeline.grid import Block
from pipeline.scenes.source import BlockSource, Pixels, SceneInfo

logger = logging.getLogger(__name__)


def scratch_bytes(info: SceneInfo) -> int:
    """Size on disk of a whole scene: its pixels in their own dtype, and a byte each for their validity."""
    return info.pixels * (info.bytes_per_pixel + 1)


class ScratchSource:
    """Blocks of a scene as they were put; a `BlockSource`. The folder goes when the context ends.

    One file a block, plain numbers: written with one call and read with one, by any thread.
    """

    def __init__(self, source: BlockSource, folder: str | Path) -> None:
        self._source = source
        self._parent = Path(folder)
        self._folder = self._parent

    def __enter__(self) -> Self:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=".terrazzo-scratch-", dir=self._parent))
        except OSError as error:
            msg = f"{self._parent}: no scratch folder can be made here ({error.strerror})"
            raise OutputError(msg) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)  # what is left must not cost the user the map
        if self._folder.exists():
            logger.warning("%s: the scratch folder can't be removed; remove it by hand", self._folder)

    @property
    def info(self) -> SceneInfo:
        """Facts about the scene."""
        return self._source.info

    @property
    def blocks(self) -> Sequence[Block]:
        """The blocks that cover the scene, row by row."""
        return self._source.blocks

    def _path(self, block: Block) -> Path:
        return self._folder / f"{block.row}-{block.column}"

    def put(self, block: Block, pixels: Pixels) -> None:
        """Keep a block's pixels.

        Raises
        ------
        OutputError
            When the disk is full.
        """
        try:
            with self._path(block).open("wb") as file:
                pixels.data.tofile(file)
                pixels.valid.tofile(file)
        except OSError as error:
            msg = f"{self._folder}: the scratch copy of {block} can't be written ({error.strerror or error})"
            raise OutputError(msg) from error

    def read(self, block: Block) -> Pixels:
        """Read back a block that was put.

        Raises
        ------
        OutputError
            When it is gone or cut short.
        """
        shape = (len(self.info.bands), *block.shape)
        try:
            with self._path(block).open("rb") as file:
                data = np.fromfile(file, self.info.dtype, int(np.prod(shape))).reshape(shape)
                valid = np.fromfile(file, np.bool_, block.height * block.width).reshape(block.shape)
        except (OSError, ValueError) as error:
            msg = f"{self._folder}: the scratch copy of {block} can't be read back ({error})"
            raise OutputError(msg) from error
        return Pixels(data, valid)
