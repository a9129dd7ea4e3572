"""Tokens, cost and outcome of a record."""

from adapters.base import Failure, FailureKind, Retry, Usage
from proxy import accounting
from proxy.config_types import PriceOverride
from proxy.ledger.pricing import Prices
from proxy.types import Outcome, Record, UsageSource
from tests.adapters.asks import ask, target

PRICES = Prices({"up/*": PriceOverride(input=1, output=1)})


def test_a_counted_attempt() -> None:
    record = Record("r")
    attempt = accounting.begin(record, target())
    accounting.count(attempt, target(), ask(), Usage(10, 5), 0, PRICES)
    accounting.settle(record)
    assert (record.usage, record.usage_source) == (Usage(10, 5), UsageSource.PROVIDER)
    assert (record.cost_nanousd, record.provider, record.model) == (15_000, "up", "m")


def test_what_is_not_counted_is_estimated_and_says_so() -> None:
    record = Record("r")
    accounting.count(accounting.begin(record, target()), target(), ask(), None, 8, PRICES)
    accounting.settle(record)
    assert record.usage is not None
    assert record.usage.completion == 2
    assert record.usage_source is UsageSource.ESTIMATED


def test_attempts_add_up() -> None:
    record = Record("r")
    for usage in (Usage(10, 1, cached=3), Usage(10, 5, reasoning=2)):
        accounting.count(accounting.begin(record, target()), target(), ask(), usage, 0, PRICES)
    accounting.settle(record)
    assert record.usage == Usage(20, 6, cached=3, reasoning=2)
    assert [a.number for a in record.attempts] == [1, 2]


def test_a_failed_attempt() -> None:
    record = Record("r")
    attempt = accounting.begin(record, target())
    failure = Failure(FailureKind.AUTH, "bad key sk-up", Retry.NEXT_TARGET, status=401)
    accounting.fail(attempt, failure, target())
    accounting.settle(record)
    assert (attempt.outcome, attempt.status) == (Outcome.FAILED, 401)
    assert attempt.error_code == "upstream_auth_failed"
    assert "sk-up" not in (attempt.error_message or "")
    assert (record.usage, record.cost_nanousd) == (None, None)
