"""What the stages of a run need: memory, disk space, passes over the scene, a cache; and how needs are added up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

Cache = Literal["no", "speed", "must"]
"""Whether decoded pixels must be cached: 'no', 'speed' (it saves time, so only the config leaves it out) or 'must'."""

_WEAKEST_FIRST: Final[tuple[Cache, ...]] = ("no", "speed", "must")


class Library(NamedTuple):
    """A library that only some runs load."""

    name: str
    """Name of its distribution."""
    memory: int
    """Memory that it takes, in bytes, with all that it loads in turn."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """How a scene is divided into blocks and how many are worked on at once."""

    chunk: tuple[int, int]
    """Shape of a block, (rows, columns)."""
    blocks: int
    """Number of blocks of the scene."""
    workers: int
    """Number of threads."""

    @property
    def pixels(self) -> int:
        """Number of pixels of a block."""
        return self.chunk[0] * self.chunk[1]

    def widened(self, margin: int) -> "Work":
        """The same work on blocks with a margin of pixels on each side."""
        rows, columns = self.chunk
        return replace(self, chunk=(rows + 2 * margin, columns + 2 * margin))

    @property
    def at_once(self) -> int:
        """Number of blocks processed at the same time, at most the number of workers."""
        return min(self.workers, self.blocks)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a stage of a run needs, for given `Work`."""

    fixed: int = 0
    """Memory that does not depend on the number of blocks worked on, in bytes."""
    per_block: int = 0
    """Memory for each block that is worked on, in bytes."""
    state: int = 0
    """Bytes that are cached per pixel of the scene from pass to pass, besides the pixel itself; 0 for no state."""
    disk: int = 0
    """Disk space without that of the cache, in bytes."""
    passes: int = 0
    """Largest number of passes over all pixels of the scene."""
    halo: int = 0
    """Pixels around a block that affect it."""
    cache: Cache = "no"
    """Whether decoded pixels must be cached."""
    libraries: frozenset[Library] = frozenset()
    """Libraries that are loaded for this stage."""

    @property
    def memory(self) -> int:
        """Memory without that of blocks: libraries, each counted once, and `fixed`; in bytes."""
        return self.fixed + sum(library.memory for library in self.libraries)

    def beside(self, other: "Needs") -> "Needs":
        """Needs of two stages in the same passes: bytes add up, passes and halo are the larger."""
        return self._with(other, int.__add__, max(self.passes, other.passes))

    def then(self, other: "Needs") -> "Needs":
        """Needs of two stages one after the other: bytes are the larger, passes add up."""
        return self._with(other, max, self.passes + other.passes)

    def _with(self, other: "Needs", combine: Callable[[int, int], int], passes: int) -> "Needs":
        """Needs of two stages whose bytes are combined by a function."""
        return Needs(
            fixed=combine(self.fixed, other.fixed),
            per_block=combine(self.per_block, other.per_block),
            state=combine(self.state, other.state),
            disk=combine(self.disk, other.disk),
            passes=passes,
            halo=max(self.halo, other.halo),
            cache=max(self.cache, other.cache, key=_WEAKEST_FIRST.index),
            libraries=self.libraries | other.libraries,
        )
