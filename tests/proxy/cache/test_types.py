"""Names of entries, and what is read from them."""

import pytest

from proxy.cache.types import Directives, Key, Purge, Tier
from tests.proxy.cache.entries import entry


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (None, "llm:cache:-:00ff"),
        ("sum", "llm:cache:sum:00ff"),
        ("a:b", "llm:cache:a:b:00ff"),
    ],
)
def test_an_id_names_the_task_and_the_digest(task: str | None, expected: str) -> None:
    key = Key("00ff", task)
    assert key.id == expected
    assert entry(id=key.id).task == task


def test_tiers_are_the_words_of_the_header() -> None:
    assert [tier.value for tier in Tier] == ["exact", "semantic"]


def test_who_says_nothing_reads_and_writes() -> None:
    assert Directives() == (True, True, False, None, None, "", ())


def test_a_purge_of_nothing_in_particular_is_one_of_all() -> None:
    assert Purge() == (None,) * 6
