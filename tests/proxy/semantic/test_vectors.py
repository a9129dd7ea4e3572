"""What an index has to do: every one of ours does it, with the same names."""

import inspect

import pytest

from proxy.semantic.index import LocalVectors
from proxy.semantic.vectors import Neighbour, Vectors
from proxy.shared.questions import SharedQuestions

METHODS = ("add", "nearest", "drop", "size")


def test_a_neighbour_is_a_plain_value() -> None:
    near = Neighbour("id", "Where?", 0.5)
    assert near == ("id", "Where?", 0.5)
    assert near._fields == ("id", "question", "similarity")


@pytest.mark.parametrize("index", [LocalVectors, SharedQuestions])
@pytest.mark.parametrize("method", METHODS)
def test_an_index_keeps_to_the_protocol(index: type, method: str) -> None:
    wanted, found = getattr(Vectors, method), getattr(index, method)
    assert inspect.iscoroutinefunction(found)
    assert inspect.signature(found) == inspect.signature(wanted)
