"""A request's way through the cache, as its header tells it."""

import pytest

from proxy.cache.policy import Policy
from proxy.cache.types import Directives, Key, Tier
from proxy.cache.visit import TAPE_LIMIT, Tape, Visit
from tests.proxy.cache.entries import entry

POLICY = Policy(True, 60.0, 1.0, "", None)
KEY = Key("00ff")


@pytest.mark.parametrize(
    ("key", "reason", "expected"),
    [
        (KEY, "", b"miss"),
        (KEY, "no-cache", b"miss; reason=no-cache"),
        (KEY, "ineligible:tools", b"miss; reason=ineligible:tools"),
        (None, "disabled", b"bypass; reason=disabled"),
    ],
)
def test_without_an_answer(key: Key | None, reason: str, expected: bytes) -> None:
    assert Visit(POLICY, Directives(), key, reason).header() == expected


@pytest.mark.parametrize(
    ("tier", "similarity", "age", "expected"),
    [
        (Tier.EXACT, 1.0, 0, b"hit; tier=exact; sim=1.00; age=0"),
        (Tier.SEMANTIC, 0.9349, 61, b"hit; tier=semantic; sim=0.93; age=61"),
    ],
)
def test_with_one(tier: Tier, similarity: float, age: int, expected: bytes) -> None:
    visit = Visit(POLICY, Directives(), KEY, "", tier=tier, similarity=similarity, age=age)
    visit.entry = entry()
    assert visit.header() == expected


def test_a_tape_has_it_all() -> None:
    tape = Tape()
    assert tape.whole() == b""
    for piece in (b"data: 1\n\n", b"", b"data: 2\n\n"):
        tape.take(piece)
    assert tape.whole() == b"data: 1\n\ndata: 2\n\n"


def test_a_tape_holds_so_much_and_no_more() -> None:
    tape = Tape()
    tape.take(b"x" * TAPE_LIMIT)
    assert tape.whole() == b"x" * TAPE_LIMIT
    for _ in range(3):
        tape.take(b"y")
    assert tape.whole() is None
    assert sum(map(len, tape.pieces)) == TAPE_LIMIT
