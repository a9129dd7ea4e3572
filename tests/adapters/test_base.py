"""The registry and the values: every adapter has the four methods, values don't change."""

import pytest

from adapters import ADAPTERS
from adapters.base import Usage
from tests.adapters.asks import ask, target


def test_every_adapter_has_the_four_functions() -> None:
    for adapter in ADAPTERS.values():
        for name in ("request", "reply", "failure", "stream"):
            assert callable(getattr(adapter, name))


def test_a_key_is_not_in_the_words_of_a_target() -> None:
    assert "sk-up" not in repr(target())


def test_a_target_is_known_by_provider_model_and_key() -> None:
    assert target("gpt", credential=2).id == "up/gpt#2"


def test_an_ask_does_not_change() -> None:
    with pytest.raises(AttributeError):
        ask().stream = True  # type: ignore[misc]


def test_totals() -> None:
    assert Usage(prompt=2, completion=3, cached=1, reasoning=1).total == 5
