"""The sections as values."""

import pytest
from pydantic import ValidationError

from proxy.config_types import Provider, Route, ServerSection

OPENAI = {"dialect": "openai", "base_url": "http://u.test/v1/"}


def test_keys_of_both_fields_count() -> None:
    provider = Provider.model_validate(OPENAI | {"api_key": "a", "api_keys": ["b", "c"]})
    assert [key.get_secret_value() for key in provider.keys] == ["a", "b", "c"]
    assert provider.base_url == "http://u.test/v1"


@pytest.mark.parametrize(
    "given",
    ["p/m", ["p/m"], [{"target": "p/m"}], {"targets": ["p/m"]}, {"targets": [{"target": "p/m"}]}],
)
def test_a_route_may_be_short(given: object) -> None:
    assert [entry.target for entry in Route.model_validate(given).targets] == ["p/m"]


@pytest.mark.parametrize(
    ("word", "strategy"), [("round-robin", "round_robin"), ("least-latency", "latency")]
)
def test_strategies_have_other_spellings(word: str, strategy: str) -> None:
    assert Route.model_validate({"strategy": word, "targets": ["p/m"]}).strategy == strategy


@pytest.mark.parametrize(
    "change",
    [{"headers": {"x": "a\r\nb"}}, {"off": "x"}, {"api_key": "a\nb"}, {"timeout": {"idle": 0}}],
)
def test_what_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Provider.model_validate(OPENAI | change)


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError):
        ServerSection().port = 1  # type: ignore[misc]


def test_timeouts_are_the_adapters_value() -> None:
    provider = Provider.model_validate(OPENAI | {"timeout": {"idle": "5s"}})
    assert (provider.timeouts.idle, provider.timeouts.connect) == (5.0, 3.0)
