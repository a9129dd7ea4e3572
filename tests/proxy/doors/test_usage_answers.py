"""Summaries in the words of the API."""

from dataclasses import replace

from proxy.doors import usage_answers
from proxy.doors.usage_answers import ByProvider, Daily
from proxy.ledger.analytics import NOTHING
from proxy.ledger.currency import USD, Currency

FOUND = replace(
    NOTHING, group="up", requests=8, errors=2, cached=4, input_tokens=30, output_tokens=12,
    cost_usd=0.5, saved_usd=0.25,
)  # fmt: skip


def test_shares() -> None:
    total = usage_answers.total(30, FOUND, USD)
    assert (total.error_rate, total.cache_hit_rate, total.total_tokens) == (0.25, 0.5, 42)
    nothing = usage_answers.total(30, NOTHING, USD)
    assert (nothing.error_rate, nothing.cache_hit_rate) == (0.0, 0.0)


def test_a_group_has_its_own_name() -> None:
    up = usage_answers.group(ByProvider, FOUND, USD)
    assert (up.provider_name, up.request_count, up.error_requests) == ("up", 8, 2)
    day = usage_answers.group(Daily, replace(FOUND, group="2026-04-21"), USD)
    assert day.date == "2026-04-21"


def test_what_is_not_set_is_left_out() -> None:
    plain = usage_answers.group(ByProvider, replace(FOUND, p50_ms=None), USD)
    shown = plain.model_dump(exclude_unset=True)
    assert {"currency", "total_cost", "saved", "p50_latency_ms"}.isdisjoint(shown)
    assert shown["provider_name"] == "up"


def test_another_currency() -> None:
    cad = usage_answers.total(1, FOUND, Currency("CAD", 1.4))
    assert (cad.currency, cad.total_cost, cad.saved) == ("CAD", 0.7, 0.35)
    assert (cad.total_cost_usd, cad.saved_usd) == (0.5, 0.25)
