"""Shards of a pass: neighbouring items that one worker works on, and the queue from which workers take them."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any


@dataclass(eq=False)
class Shard:
    """Neighbouring items."""

    first: int
    """Number of the first item."""
    items: list[Any]
    failures: int = 0
    """Number of times that its worker ended before it was done."""
    cancelled: int = 0
    """Number of times that others cancelled the work on it."""

    def __str__(self) -> str:
        ends = self.items[:1] + self.items[1:][-1:]  # items may be blocks with what is told a task about each
        return " to ".join(f"{item[0] if isinstance(item, tuple) else item}" for item in ends)


class ShardQueue:
    """The shards of a pass that no worker works on.

    Parameters
    ----------
    items : iterable
        All items of the pass. They are taken as they are needed.
    size : int
        Largest number of items of a shard. All items of a shard have the same owner.
    owner_of : callable
        Returns the address of the worker that owns an item, because its caches have the pixels; None without one.
    shares : mapping
        Number of items that each worker owns.
    together : int
        Number of shards taken at once.
    apart : bool
        Whether a worker takes shards that it does not own one by one, because they come with their inputs.
    """

    def __init__(
        self,
        items: Iterable[Any],
        size: int,
        owner_of: Callable[[Any], str | None] = lambda _item: None,
        shares: Mapping[str, int] | None = None,
        together: int = 1,
        *,
        apart: bool = False,
    ) -> None:
        self._items = iter(items)
        self._size = size
        self._owner_of = owner_of
        self._shares = Counter(shares)
        self._fair = self._shares.total() // max(1, len(self._shares))
        self._together = together
        self._apart = apart
        self._number = 0
        """Number of items of all shards that were made."""
        self._following: list[Any] = []
        """Item that begins the next shard, if it was taken already."""
        self._free: deque[Shard] = deque()
        self._owned: dict[str, deque[Shard]] = {}
        self._suspects: deque[Shard] = deque()
        """Shards that may have ended a worker."""

    def __bool__(self) -> bool:
        if not self._has_some:
            self._fill(self._number + 1)
        return self._has_some

    @property
    def _has_some(self) -> bool:
        return bool(self._suspects) or bool(self._free) or any(self._owned.values())

    def take(
        self, address: str, before: int | None = None, *, from_others: bool = False, is_idle: bool = True
    ) -> list[Shard]:
        """Return shards for a worker, those it owns first; none if there are none for it.

        Parameters
        ----------
        address : str
            Address of the worker.
        before : int, optional
            Number of items that may be taken for all workers together.
        from_others : bool
            Whether it may take what others own, up to half of a fair share: it came when all had owners.
        is_idle : bool
            Whether it works on nothing. Only then it is given a shard that may have ended another, and no second one;
            others wait until those are given away.
        """
        if self._suspects:
            return [self._suspects.popleft()] if is_idle else []
        self._fill(before, enough=None if self._shares else self._together)
        shards = self._owned.get(address) or self._free
        if not shards and from_others:
            return self._take_from_others(address)
        taken: list[Shard] = []
        while shards and len(taken) < self._together:
            taken.append(shards.popleft())
            if self._apart and shards is self._free:
                break
        return taken

    def put_back(self, shards: Iterable[Shard], owner: str = "") -> None:
        """Give back shards, and those that are left of an owner that has gone."""
        left = sorted([*self._free, *shards, *self._owned.pop(owner, ())], key=lambda each: each.first)
        self._free = deque(shard for shard in left if not shard.failures)
        self._suspects.extend(shard for shard in left if shard.failures)

    def _take_from_others(self, address: str) -> list[Shard]:
        """Return the last shard of the worker that has most left."""
        others = max(self._owned.values(), key=len, default=deque[Shard]())
        if len(others) < 2 or self._shares[address] >= self._fair // 2:  # noqa: PLR2004 (the owner needs the only one)
            return []
        shard = others.pop()
        self._shares[address] += len(shard.items)
        return [shard]

    def _fill(self, before: int | None, enough: int | None = None) -> None:
        """Make shards of the items before a number, or until there are enough that nobody owns."""
        while (before is None or self._number < before) and (enough is None or len(self._free) < enough):
            shard, owner = self._next()
            if not shard.items:
                return
            (self._owned.setdefault(owner, deque()) if owner else self._free).append(shard)

    def _next(self) -> tuple[Shard, str | None]:
        """Make the next shard of items with the same owner; return it and its owner. Without items at the end."""
        shard = Shard(self._number, self._following or list(islice(self._items, 1)))
        self._following = []
        owner = self._owner_of(shard.items[0]) if shard.items else None
        for item in self._rest(shard):
            if self._shares and self._owner_of(item) != owner:
                self._following = [item]
                break
            shard.items.append(item)
        self._number += len(shard.items)
        return shard, owner

    def _rest(self, shard: Shard) -> Iterator[Any]:
        """Yield the items that a shard may have besides its first."""
        return islice(self._items, self._size - 1 if shard.items else 0)
