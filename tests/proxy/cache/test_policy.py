"""The configuration's word, then the task's, the key's and the request's."""

from typing import Any

import pytest

from proxy.cache.policy import NO_TASK, Meaning, Policy, of_task, resolve
from proxy.cache.types import Directives
from proxy.config_types import CacheSection, SemanticSection, TaskCache
from proxy.types import OwnCache

SAID_NOTHING = Directives()
MEANING = Meaning(
    max_wrong=0.01,
    floor=0.8,
    shadow=0.05,
    serves=True,
    temperature=0.3,
    allow=frozenset(),
)


def section(semantic: bool = False, **over: Any) -> CacheSection:
    said = {"max_wrong": 0.01, "floor": 0.8, "shadow": 0.05, "temperature": 0.3}
    return CacheSection(semantic=SemanticSection(enabled=semantic, **said), **over)


def test_what_holds_where_nobody_says_anything() -> None:
    assert resolve(CacheSection(), NO_TASK, None, SAID_NOTHING) == Policy(
        enabled=True, ttl=3600.0, temperature=1.0, epoch="", meaning=None
    )


def test_the_configurations_word() -> None:
    semantic = SemanticSection(
        enabled=True, serve=False, max_wrong=0.05, floor=0.7, shadow=0, temperature=0.5,
        allow=("volatile",),
    )  # fmt: skip
    given = CacheSection(ttl=5.0, temperature=0.2, epoch="v2", semantic=semantic)
    expected = Meaning(0.05, 0.7, 0.0, False, 0.5, frozenset({"volatile"}))
    assert of_task(given, NO_TASK) == Policy(True, 5.0, 0.2, "v2", expected)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({}, Policy(True, 3600.0, 1.0, "", None)),
        ({"enabled": False}, Policy(False, 3600.0, 1.0, "", None)),
        ({"ttl": 9.0}, Policy(True, 9.0, 1.0, "", None)),
        ({"semantic": True}, Policy(True, 3600.0, 1.0, "", MEANING)),
        ({"max_wrong": 0.2}, Policy(True, 3600.0, 1.0, "", None)),
    ],
)
def test_a_tasks_word_is_over_the_configurations(task: Any, expected: Policy) -> None:
    assert of_task(section(), TaskCache(**task)) == expected


def test_a_task_may_turn_meaning_off_or_be_stricter() -> None:
    assert of_task(section(semantic=True), TaskCache(semantic=False)).meaning is None
    strict = of_task(section(semantic=True), TaskCache(max_wrong=0.001)).meaning
    assert strict is not None
    assert strict.max_wrong == 0.001


def test_a_task_may_turn_the_cache_on() -> None:
    assert of_task(section(enabled=False), TaskCache(enabled=True)).enabled


@pytest.mark.parametrize(
    ("configured", "own", "expected"),
    [
        (True, None, True),
        (True, False, False),
        (True, True, True),
        (False, True, False),
        (False, None, False),
    ],
)
def test_a_key_may_turn_the_cache_off_and_not_on(
    configured: bool, own: bool | None, expected: bool
) -> None:
    found = resolve(section(enabled=configured), NO_TASK, OwnCache(enabled=own), SAID_NOTHING)
    assert found.enabled is expected


@pytest.mark.parametrize(
    ("configured", "own", "expected"),
    [
        (False, True, MEANING),
        (True, False, None),
        (True, None, MEANING),
        (False, None, None),
        (True, True, MEANING),
    ],
)
def test_a_key_may_turn_meaning_on_and_off(
    configured: bool, own: bool | None, expected: Meaning | None
) -> None:
    own_cache = OwnCache(semantic=own)
    assert resolve(section(configured), NO_TASK, own_cache, SAID_NOTHING).meaning == expected


def test_a_key_has_its_tasks_rate() -> None:
    found = resolve(section(), TaskCache(max_wrong=0.05), OwnCache(semantic=True), SAID_NOTHING)
    assert found.meaning is not None
    assert found.meaning.max_wrong == 0.05


def test_a_request_may_turn_meaning_off_and_not_on() -> None:
    exact, semantic = Directives(semantic=False), Directives(semantic=True)
    assert resolve(section(True), NO_TASK, None, exact).meaning is None
    assert resolve(section(False), NO_TASK, None, semantic).meaning is None
    off = OwnCache(semantic=False)
    assert resolve(section(True), NO_TASK, off, semantic).meaning is None


def test_a_request_that_asks_for_meaning_has_it_whatever_its_temperature() -> None:
    found = resolve(section(True), NO_TASK, None, Directives(semantic=True)).meaning
    assert found == Meaning(0.01, 0.8, 0.05, True, 2.0, frozenset())
