"""Needs of stages are added in the same passes, and the larger counts one after the other."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.needs import Library, Needs, Work

LIBRARIES = [Library("one", 10), Library("two", 200), Library("three", 3000)]
sizes = st.integers(0, 10**12)
needs = st.builds(
    Needs,
    fixed=sizes, per_block=sizes, state=st.integers(0, 9), disk=sizes, passes=st.integers(0, 300),
    halo=st.integers(0, 9),
    cache=st.sampled_from(["no", "speed", "must"]), libraries=st.frozensets(st.sampled_from(LIBRARIES)),
)  # fmt: skip

BYTES = ("fixed", "per_block", "state", "disk")


@given(one=needs, two=needs)
def test_bytes_add_up_in_the_same_passes_and_the_larger_counts_one_after_the_other(one: Needs, two: Needs) -> None:
    beside, then = one.beside(two), one.then(two)
    for name in BYTES:
        first, second = getattr(one, name), getattr(two, name)
        assert getattr(beside, name) == first + second
        assert getattr(then, name) == max(first, second)
    assert beside.passes == max(one.passes, two.passes)
    assert then.passes == one.passes + two.passes
    for both in (beside, then):
        assert both.halo == max(one.halo, two.halo)
        assert (both.cache == "must") is ("must" in {one.cache, two.cache})
        assert (both.cache == "no") is ({one.cache, two.cache} == {"no"})


@given(one=needs, two=needs, three=needs)
def test_the_order_and_grouping_of_stages_do_not_matter(one: Needs, two: Needs, three: Needs) -> None:
    for combine in (Needs.beside, Needs.then):
        assert combine(one, two) == combine(two, one)
        assert combine(combine(one, two), three) == combine(one, combine(two, three))
        assert combine(one, Needs()) == one


@given(one=needs, two=needs)
def test_each_library_is_counted_once(one: Needs, two: Needs) -> None:
    both = one.beside(two)
    assert both.memory == one.fixed + two.fixed + sum(each.memory for each in {*one.libraries, *two.libraries})
    assert one.beside(one).memory == one.memory + one.fixed


@given(one=needs)
def test_needs_travel_to_other_processes(one: Needs) -> None:
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301


def test_no_more_blocks_are_worked_on_than_there_are() -> None:
    work = Work(chunk=(3, 5), blocks=2, workers=8)
    assert (work.pixels, work.at_once) == (15, 2)
    assert Work(chunk=(3, 5), blocks=9, workers=8).at_once == 8
