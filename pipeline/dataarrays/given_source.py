"""Lazy arrays as sources of pixels in tasks of a cluster: workers compute the blocks, and give them to the tasks."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, Literal

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed
from dask.optimization import cull
from dask.utils import ensure_dict

from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Pixels
from pipeline.dataarrays.source import ArraySource
from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import given_input

HasInputs = Literal["once", "always"]


class _GivenChunks(PerProcess):
    """The chunks of a lazy array, each the input of the items that need its block.

    A pickle has facts only, and no graph: chunks are in the arguments of the tasks that need them.

    Parameters
    ----------
    array : dask Array
        With a chunk for each block.
    blocks : Blocks
        The blocks.
    margin : int
        Pixels around a block that are needed with it: the blocks that they belong to are inputs, too.
    has_inputs : 'once' or 'always'
        Whether processes remember blocks that they were given.
    """

    def __init__(self, array: da.Array, blocks: Blocks, *, margin: int = 0, has_inputs: HasInputs = "always") -> None:
        self._array = array
        self._margin = margin
        self.blocks = blocks
        self.has_inputs = has_inputs

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_array", "_graph"}}

    def inputs(self, item: Any) -> Mapping[str, Callable[[], Any]]:
        """Return the chunks that a task needs for a block, or for a tuple that begins with one."""
        block = item if isinstance(item, Block) else item[0]
        wide = block.widened(self._margin, (self.blocks.row_edges[-1], self.blocks.column_edges[-1]))
        return {_name(each): partial(self._chunk, each) for each in self.blocks.touching(wide)}

    @cached_property
    def _graph(self) -> dict[Any, Any]:
        """Tasks of all chunks: to take those of one from the array would take longer the more there are."""
        graph: dict[Any, Any] = ensure_dict(self._array.dask)
        return graph

    def _chunk(self, block: Block) -> Delayed:
        """Return the chunk of a block, lazily."""
        key = (self._array.name, block.row, block.column)
        return Delayed(key, cull(self._graph, [key])[0])


def _name(block: Block) -> str:
    """Name of the chunk of a block."""
    return f"block-{block.row}-{block.column}"


class GivenSource(_GivenChunks):
    """`PixelSource` of the bands of an xarray object, in tasks that are given its blocks.

    Parameters
    ----------
    source : ArraySource
        The bands.
    margin, has_inputs
        As of every source of given chunks: pixels around a block, and whether they are remembered.
    """

    cheap_again = False
    store = None

    def __init__(self, source: ArraySource, *, margin: int = 0, has_inputs: HasInputs = "always") -> None:
        ones = ((1,) * source.blocks.shape[0], (1,) * source.blocks.shape[1])
        meta = np.empty((0, 0), object)
        pixels = da.map_blocks(_as_one, source.data, source.valid, drop_axis=0, chunks=ones, dtype=object, meta=meta)
        super().__init__(pixels, source.blocks, margin=margin, has_inputs=has_inputs)
        self.info = source.info

    def read(self, block: Block) -> Pixels:
        """Return one of the blocks that the task was given."""
        pixels: Pixels = given_input(_name(block))[0, 0]
        return pixels

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Return one of the blocks that the task was given; all its valid pixels are used for the fit."""
        pixels = self.read(block)
        return pixels, pixels.valid


def _as_one(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Pixels of a block as the single element of an array, because dask's chunks are arrays."""
    chunk = np.empty((1, 1), object)
    chunk[0, 0] = Pixels(data, valid)
    return chunk


class GivenPlane(_GivenChunks):
    """Task: return the chunk of a lazy array (rows, columns), such as labels, that it was given for a block."""

    def __call__(self, block: Block) -> npt.NDArray[Any]:
        """Return the chunk of a block."""
        chunk: npt.NDArray[Any] = given_input(_name(block))
        return chunk
