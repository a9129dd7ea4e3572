"""The accounting of members: each is said, refused by name, or listed as left out."""

import pytest

from adapters.base import FailureKind, Retry, UpstreamFailure
from adapters.fields import Fields, invalid, is_default
from tests.adapters.asks import ask, target


def test_what_is_taken_is_not_refused() -> None:
    fields = Fields(ask(seed=1, temperature=0.5), target())
    assert (fields.take("seed"), fields.peek("temperature"), fields.take("temperature")) == (
        1,
        0.5,
        0.5,
    )
    assert fields.take("seed") is None
    assert fields.close() == ()


def test_the_first_of_two_names_counts_and_both_are_said() -> None:
    fields = Fields(ask(max_tokens=5, max_completion_tokens=6), target())
    assert fields.first("max_completion_tokens", "max_tokens") == 6
    assert fields.close() == ()


def test_all_that_is_left_is_named_at_once() -> None:
    fields = Fields(ask(seed=1, n=2, store=True), target(dialect="tin-can"))
    with pytest.raises(UpstreamFailure) as refused:
        fields.close()
    failure = refused.value.failure
    assert (failure.kind, failure.retry) == (FailureKind.UNSUPPORTED, Retry.NEXT_TARGET)
    assert (failure.param, failure.code) == ("seed", "unsupported_parameter")
    assert "tin-can" in failure.message
    assert "seed, n, store" in failure.message


@pytest.mark.parametrize("by", ["ask", "target"])
def test_left_out_and_listed(by: str) -> None:
    asked = ask(seed=1, n=2)._replace(drop_params=by == "ask")
    assert Fields(asked, target(drop_params=by == "target")).close() == ("seed", "n")


def test_a_tasks_defaults_count_and_our_own_do_not() -> None:
    asked = ask(metadata={"a": 1}, user="u")._replace(
        defaults={"seed": 4}, drop=frozenset({"metadata"})
    )
    with pytest.raises(UpstreamFailure) as refused:
        Fields(asked, target()).close()
    assert refused.value.failure.param == "seed"
    assert "metadata" not in refused.value.failure.message


@pytest.mark.parametrize(
    ("name", "value", "says_nothing"),
    [
        ("n", 1, True),
        ("n", 2, False),
        ("logprobs", False, True),
        ("store", True, False),
        ("seed", None, True),
        ("seed", 0, False),
        ("service_tier", "flex", False),
    ],
)
def test_values_that_ask_for_nothing(name: str, value: object, says_nothing: bool) -> None:
    assert is_default(name, value) is says_nothing


def test_a_wrong_request_is_never_tried_elsewhere() -> None:
    failure = invalid("messages[0].role", "'x' is not one").failure
    assert (failure.retry, failure.status) == (Retry.NEVER, 400)
    assert failure.message == "messages[0].role 'x' is not one"
