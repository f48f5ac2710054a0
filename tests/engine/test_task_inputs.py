"""Inputs of tasks: what a task is given by name, on its thread only, and which inputs its parts ask for."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest

from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import Inputs, NotGivenError, given_input, given_inputs


class Neighbours(PerProcess):
    """A part whose items need their neighbours."""

    def __init__(self, has_inputs: Literal["once", "always"] = "once") -> None:
        self.has_inputs = has_inputs

    def inputs(self, item: Any) -> Mapping[str, Callable[[], Any]]:
        return {f"item-{number}": lambda number=number: number * 10 for number in (item - 1, item, item + 1)}


def test_a_task_has_its_inputs_and_no_others() -> None:
    with given_inputs({"a": 1}):
        assert given_input("a") == 1
        with pytest.raises(NotGivenError, match="b: not given to this task"):
            given_input("b")
    with pytest.raises(NotGivenError, match="a: not given"):
        given_input("a")


def test_inputs_are_those_of_the_thread() -> None:
    with given_inputs({"a": 1}), ThreadPoolExecutor(1) as other:
        with pytest.raises(NotGivenError):
            other.submit(given_input, "a").result()
        assert given_input("a") == 1


def test_inputs_of_items_are_those_of_all_parts_each_once() -> None:
    inputs = Inputs([PerProcess(), Neighbours(), Neighbours()])
    assert inputs
    assert not inputs.always
    assert {name: make() for name, make in inputs.of([5, 6]).items()} == {f"item-{n}": n * 10 for n in (4, 5, 6, 7)}
    assert Inputs([Neighbours(), Neighbours("always")]).always


def test_most_parts_have_none() -> None:
    inputs = Inputs([PerProcess()])
    assert not inputs
    assert inputs.of([1, 2]) == {}
    assert PerProcess().inputs(1) == {}
