"""Small parts of the pipeline; its life is in tests/e2e."""

import pytest

from adapters.base import FailureKind, Retry
from proxy.lifeline import Cut
from proxy.pipeline import _too_late, _with_defaults
from proxy.types import Plan
from tests.adapters.asks import ask, target


def plan(**defaults: object) -> Plan:
    return Plan("task/t", (target(),), "t", defaults)


def test_defaults_fill_in_what_is_left_out() -> None:
    filled = _with_defaults(ask(temperature=1), plan(temperature=0.3, top_p=0.5))
    assert filled.defaults == {"top_p": 0.5}


def test_two_names_of_one_limit_are_one() -> None:
    assert _with_defaults(ask(max_completion_tokens=5), plan(max_tokens=9)).defaults == {}


def test_without_defaults_the_ask_is_the_same() -> None:
    given = ask()
    assert _with_defaults(given, plan()) is given


@pytest.mark.parametrize(
    ("cut", "kind", "retry"),
    [
        (Cut.FIRST_TOKEN, FailureKind.TIMEOUT, Retry.NEXT_TARGET),
        (Cut.RESPONSE, FailureKind.TIMEOUT, Retry.NEXT_TARGET),
        (Cut.IDLE, FailureKind.IDLE, Retry.NEVER),
        (Cut.TOTAL, FailureKind.TIMEOUT, Retry.NEVER),
    ],
)
def test_deadlines_as_failures(cut: Cut, kind: FailureKind, retry: Retry) -> None:
    failure = _too_late(cut, target())
    assert (failure.kind, failure.retry) == (kind, retry)
