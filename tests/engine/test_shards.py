"""Shards hold each item once, in order; owners get theirs first, and late workers no more than half of a fair share."""

import random
from collections import Counter
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.shards import Shard, ShardQueue

owners_of_items = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60)


def owned(owners: list[str | None], size: int, together: int = 1) -> ShardQueue:
    """Queue of the numbers of a list of owners."""
    shares = Counter(owner for owner in owners if owner)
    return ShardQueue(range(len(owners)), size, owners.__getitem__, shares, together)


def items_of(shards: list[Shard]) -> list[Any]:
    return [item for shard in shards for item in shard.items]


@settings(deadline=None)
@given(owners=owners_of_items, size=st.integers(1, 9), together=st.integers(1, 4), seed=st.integers())
def test_each_item_is_taken_once_whatever_workers_come_and_go(
    owners: list[str | None], size: int, together: int, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311
    queue, done, working = owned(owners, size, together), list[Any](), dict[str, list[Shard]]()
    alive = ["a", "b", "c"]
    while queue or working:
        name = rng.choice(alive)
        if rng.random() < 0.1 and len(alive) > 1:
            alive.remove(name)
            owners[:] = [None if owner == name else owner for owner in owners]
            queue.put_back(working.pop(name, []), name)
        elif name in working:
            done += items_of(working.pop(name))
        elif shards := queue.take(name, from_others=True):
            assert len(shards) <= together
            assert all(0 < len(shard.items) <= size for shard in shards)
            assert all(shard.items == list(range(shard.first, shard.first + len(shard.items))) for shard in shards)
            working[name] = shards
    assert sorted(done) == list(range(len(owners)))


@given(owners=owners_of_items, size=st.integers(1, 9))
def test_all_items_of_a_shard_have_its_owner(owners: list[str | None], size: int) -> None:
    for name in "abc":
        queue = owned(owners, size)
        own = [number for number, owner in enumerate(owners) if owner == name]
        found = list[Any]()
        while len(found) < len(own):
            found += items_of(queue.take(name))
        assert found == own


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []
    queue = ShardQueue((taken.append(number) or number for number in count()), 4, together=2)
    assert taken == []
    assert bool(queue)
    assert len(taken) == 4
    assert [shard.items for shard in queue.take("a")] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(taken) == 8
    assert queue.take("a", before=8) == []
    assert items_of(queue.take("a", before=9)) == [8, 9, 10, 11]
    assert len(taken) == 12


def test_with_owners_too_only_a_number_of_items_is_taken() -> None:
    taken = []
    items = (taken.append(number) or number for number in count())
    queue = ShardQueue(items, 4, lambda item: "ab"[item // 10 % 2], {"a": 10, "b": 10})
    assert items_of(queue.take("b", before=12)) == [10, 11, 12, 13]
    assert len(taken) <= 15
    assert items_of(queue.take("b", before=12)) == []


def test_a_shard_that_may_be_at_fault_is_first_and_alone_and_what_else_is_put_back_follows() -> None:
    queue = ShardQueue(range(10), 1, together=3)
    lost = queue.take("a")
    for shard in lost[:2]:
        shard.failures += 1
    queue.put_back(lost, "a")
    assert queue.take("b", is_idle=False) == [], "it works on something"
    assert [items_of(queue.take("b")) for _ in range(2)] == [[0], [1]]
    assert [items_of(queue.take("c", is_idle=False)) for _ in range(2)] == [[2, 3, 4], [5, 6, 7]]


def test_a_worker_with_shards_of_its_own_takes_those_of_none_afterwards_and_those_of_others_never() -> None:
    queue = owned(["a", None, "b", "a", None, "b"], 1)
    assert [items_of(queue.take("a")) for _ in range(5)] == [[0], [3], [1], [4], []]
    assert queue.take("a", from_others=True) == [], "it has its share"


def test_shards_with_inputs_are_taken_one_by_one_by_who_does_not_own_them() -> None:
    owners = ["a"] * 6 + [None] * 4
    queue = ShardQueue(range(10), 2, owners.__getitem__, {"a": 6}, together=3, apart=True)
    assert [items_of(queue.take("a")) for _ in range(3)] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_a_late_worker_takes_the_last_ones_of_others_up_to_half_of_a_fair_share() -> None:
    queue = owned(["a"] * 12 + ["b"] * 8, 1)  # ten each would be fair
    assert queue.take("c") == []
    assert [items_of(queue.take("c", from_others=True)) for _ in range(6)] == [[11], [10], [9], [8], [7], []]
    assert [items_of(queue.take("a")) for _ in range(2)] == [[0], [1]]


def test_the_only_shard_of_another_is_left_to_it() -> None:
    queue = owned(["a", "b"], 1)
    assert queue.take("c", from_others=True) == []


def test_shards_are_named_by_their_items() -> None:
    assert str(Shard(4, ["rows 0-9"])) == "rows 0-9"
    assert str(Shard(4, ["rows 0-9", "rows 10-19", "rows 20-29"])) == "rows 0-9 to rows 20-29"
    assert str(Shard(4, [("rows 0-9", 7), ("rows 10-19", 8)])) == "rows 0-9 to rows 10-19"


@pytest.mark.parametrize("size", [1, 3, 50])
def test_no_items_are_no_shards(size: int) -> None:
    queue = ShardQueue([], size)
    assert not queue
    assert queue.take("a") == []
