"""Tasks are pickled without what their parts remember; another process makes each part once."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from crews import Counter, Square
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.executor import PerProcess
from pipeline.engine.parcels import Packer, Parcel, unpack
from pipeline.engine.worker import no_part


class Remembering(PerProcess):
    """A part that remembers more than a process may be sent, and has a part itself."""

    def __init__(self, inner: Counter | None = None) -> None:
        self.inner = inner
        self.remembered = [lambda: None]  # can't be pickled

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"remembered": []}


@dataclass(frozen=True)
class Task:
    """A task with parts, some of them twice."""

    one: Remembering
    other: Any = None
    number: int = 0


class Process:
    """What a worker keeps: one copy of each part."""

    def __init__(self) -> None:
        self.parts: dict[str, PerProcess] = {}
        self.made = 0

    def unpack(self, packer: Packer, parcel: Parcel) -> Any:
        contents = {name: own.content for name, own in packer.parcels(parcel).items()}
        return unpack(parcel.content, lambda name: self._part(name, contents))

    def _part(self, name: str, contents: dict[str, bytes]) -> PerProcess:
        if name not in self.parts:
            self.parts[name] = unpack(contents[name], lambda other: self._part(other, contents))
            self.made += 1
        return self.parts[name]


def unpack_there(content: bytes) -> Any:
    """Unpack a parcel without parts in another process; return its content pickled."""
    return pickle.dumps(unpack(content, no_part))


content = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@given(content)
def test_what_has_no_parts_comes_back_as_it_was(sent: Any) -> None:
    parcel = Packer().pack(sent)
    assert parcel.parts == ()
    assert unpack(parcel.content, no_part) == sent


def test_arrays_come_back_as_they_were_in_another_process(elsewhere: ProcessPoolExecutor) -> None:
    sent = {"labels": np.arange(10_000, dtype=np.uint8).reshape(100, 100), "none": np.empty((0, 3))}
    parcel = Packer().pack(sent)
    found = pickle.loads(elsewhere.submit(unpack_there, parcel.content).result())  # noqa: S301
    for name, array in sent.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_labels_are_compressed() -> None:
    labels = np.repeat(np.arange(250, dtype=np.uint8), 1000)
    assert len(Packer().pack(labels).content) < labels.nbytes / 10


def test_a_part_is_one_and_the_same_in_all_tasks_of_a_process_and_another_in_the_next() -> None:
    packer, part = Packer(), Remembering(Counter())
    tasks = [Task(part, number=number) for number in range(3)]
    one, other = Process(), Process()
    found = [[process.unpack(packer, packer.pack(task)) for task in tasks] for process in (one, other)]
    assert [task.number for task in found[0]] == [0, 1, 2]
    for copies in found:
        assert len({id(task.one) for task in copies}) == len({id(task.one.inner) for task in copies}) == 1
    assert found[0][0].one is not found[1][0].one
    assert found[0][0].one is not part
    assert (one.made, other.made) == (2, 2)


def test_what_a_part_remembers_is_not_sent_but_counted_anew() -> None:
    packer, task = Packer(), Square()
    task.counter.count = 7
    copy = Process().unpack(packer, packer.pack(task))
    assert (copy(5), copy.counter.tally(), task.counter.tally()) == (25, 1, 7)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        pickle.dumps(Remembering().remembered)


def test_a_part_that_is_met_alone_and_inside_of_another_is_one() -> None:
    packer, counter = Packer(), Counter()
    copy = Process().unpack(packer, packer.pack(Task(Remembering(counter), other=[counter, counter])))
    assert copy.other[0] is copy.other[1] is copy.one.inner


def test_parcels_of_parts_follow_those_that_they_need() -> None:
    packer, counter = Packer(), Counter()
    outer = Remembering(counter)
    parcels = packer.parcels(packer.pack(Task(outer)))
    assert list(parcels) == [packer.name(counter), packer.name(outer)]
    assert packer.name(Counter()) is None, "no task had it"


def test_a_part_is_pickled_once() -> None:
    pickled = []

    class Noting(PerProcess):
        def __reduce__(self) -> tuple[Any, ...]:
            pickled.append(self)
            return Counter, ()

    packer, part = Packer(), Noting()
    for number in range(5):
        assert packer.pack((part, number)).parts == (packer.name(part),)
    assert pickled == [part]


def test_parts_are_told_apart_although_one_ends_before_the_next_begins() -> None:
    packer = Packer()
    names = {packer.name(task.counter) for task in (Square() for _ in range(50)) if packer.pack(task)}
    assert len(names) == 50


def test_results_have_no_parts() -> None:
    parcel = Packer().pack(Square())
    with pytest.raises(LookupError, match=r"^part-0: this parcel has no parts$"):
        unpack(parcel.content, no_part)
