"""Figures, the cache and the circuits: whose they are, in what money, and what a slip can't do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.breaker import BreakerStatus, Kind, State
from proxy.doors.trpc import Given
from proxy.doors.trpc_analytics import Horizon, Insights, WhichEntries, _decisive
from proxy.errors import DatabaseUnavailable
from proxy.ledger.forecast import Forecast, forecast
from proxy.types import Principal, Role
from tests.e2e.gateway import MASTER
from tests.e2e.router import (
    CONFIG,
    GEMINI,
    QUALIFY,
    Tiers,
    data,
    error,
    get,
    post,
    tiers_of,
)
from tests.fakes import upstream as fake


@pytest.fixture
async def tiers(tmp_path: Path) -> AsyncIterator[Tiers]:
    async with tiers_of(tmp_path, CONFIG) as found:
        yield found


async def test_without_a_rate_a_dollar_is_137_cents(tmp_path: Path) -> None:
    async with tiers_of(tmp_path, CONFIG.replace("rates: {{CAD: 1.4}}", "rates: {{}}")) as tiers:
        gateway = tiers.gateway
        tiers.openrouter.script(fake.chat_reply("A post", usage=fake.count(1000, 2000)))
        data(await post(gateway, "llm.complete", QUALIFY | {"taskType": "content_generation"}))
        await gateway.rows()
        found = data(await get(gateway, "llmAnalytics.summary"))
        assert found["totalCostCAD"] == pytest.approx(0.033 * 1.37)


async def test_a_key_sees_its_own_and_the_master_key_all(tiers: Tiers) -> None:
    gateway = tiers.gateway
    made = await gateway.call("POST", "/api/v1/keys", {"name": "other"})
    data(await post(gateway, "llm.complete", QUALIFY))
    data(await post(gateway, "llm.complete", QUALIFY, made.json["key"]))
    data(await post(gateway, "llm.complete", QUALIFY, made.json["key"]))
    await gateway.rows(3)
    seen = {}
    for name, key in (("first", gateway.key), ("other", made.json["key"]), ("all", MASTER)):
        found = data(await get(gateway, "llmAnalytics.summary", key))
        metrics = data(await get(gateway, "llmAnalytics.cacheMetrics", key))
        seen[name] = (
            found["totalCalls"],
            found["providers"]["openrouter"]["calls"],
            found["models"][GEMINI]["calls"],
            found["taskTypes"]["qualification"]["calls"],
            found["dailyUsage"][-1]["calls"],
            metrics["hits"],
        )
    assert seen == {
        "first": (1, 1, 1, 1, 1, 0),
        "other": (2, 2, 2, 2, 2, 1),
        "all": (3, 3, 3, 3, 3, 1),
    }


@pytest.mark.parametrize("query", ["days=0", "days=366", "days=x", 'input={"days":"7"}'])
async def test_days_that_there_are_not(tiers: Tiers, query: str) -> None:
    answer = await get(tiers.gateway, f"llmAnalytics.summary?{query}")
    assert error(answer) == (400, -32600, "BAD_REQUEST", "days")


@pytest.mark.parametrize("query", ["horizonDays=0", "horizonDays=366", "horizonDays=soon"])
async def test_a_horizon_that_there_is_not(tiers: Tiers, query: str) -> None:
    answer = await get(tiers.gateway, f"llmAnalytics.forecast?{query}")
    assert error(answer) == (400, -32600, "BAD_REQUEST", "horizonDays")


@pytest.mark.parametrize(
    ("body", "param"),
    [({"patern": "x"}, "patern"), ({"pattern": ""}, "pattern"), ({"pattern": None}, "pattern")],
)
async def test_a_slip_does_not_empty_the_cache(tiers: Tiers, body: Any, param: str) -> None:
    gateway = tiers.gateway
    data(await post(gateway, "llm.complete", QUALIFY))
    answer = await post(gateway, "llmAnalytics.cacheInvalidate", body, MASTER)
    assert error(answer) == (400, -32600, "BAD_REQUEST", param)
    assert data(await post(gateway, "llm.complete", QUALIFY))["metadata"]["cached"] is True


async def test_a_refused_key_opens_its_provider(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(fake.error_reply(401))
    assert data(await post(gateway, "llm.complete", QUALIFY))["provider"] == "huggingface"
    found = data(await get(gateway, "llmAnalytics.circuitBreakerStatus"))
    assert {name: status["state"] for name, status in found.items()} == {
        "openrouter": "OPEN",
        "huggingface": "CLOSED",
        "ollama": "CLOSED",
    }


async def test_half_open(tmp_path: Path) -> None:
    async with tiers_of(tmp_path, CONFIG.replace("open: 60s", "open: 200ms")) as tiers:
        tiers.openrouter.script(fake.error_reply(500))
        fresh = QUALIFY | {"options": {"bypassCache": True}}
        for _ in range(2):
            data(await post(tiers.gateway, "llm.complete", fresh))
        await asyncio.sleep(0.3)
        found = data(await get(tiers.gateway, "llmAnalytics.circuitBreakerStatus"))
        status = found["openrouter"]
        assert (status["state"], status["nextAttemptTime"]) == ("HALF_OPEN", None)


class Fake:
    """Figures of a test's own, a cache that can't finish, and a configuration."""

    def __init__(self, rates: dict[str, float]) -> None:
        config = SimpleNamespace(pricing=SimpleNamespace(rates=rates))
        self.current = SimpleNamespace(config=config)

    async def forecast(self, owner: Any, horizon: int) -> Forecast:
        assert owner is None
        return forecast([1.0] * 5, 0.5, date(2026, 3, 3), horizon)

    async def purge(self, purge: Any) -> int:
        raise Incomplete(7)


class Incomplete(Exception):
    def __init__(self, dropped: int) -> None:
        self.dropped = dropped


def given(input: Any) -> Given:
    departure: Any = None
    return Given(Principal(Role.ADMIN), departure, input, departure)


async def test_a_month_is_the_calendars_whatever_the_horizon() -> None:
    """A dollar a day until the 2nd of March, and half of one on the 3rd so far."""
    parts: Any = Fake({"CAD": 2.0})
    insights = Insights(parts, parts, parts, parts)
    for days in (1, 40):
        found = await insights.forecast(given(Horizon.model_validate({"horizonDays": days})))
        assert found.current_monthly_cad == 5.0
        assert found.projected_monthly_cad == 62.0
        assert [each.day for each in found.daily_forecast] == [*range(1, days + 1)]
        assert {each.estimated_cost_cad for each in found.daily_forecast} == {2.0}


async def test_without_a_rate_of_the_last_resort() -> None:
    parts: Any = Fake({"EUR": 0.9})
    found = await Insights(parts, parts, parts, parts).forecast(given(Horizon()))
    assert found.current_monthly_cad == 3.425


async def test_a_purge_that_was_not_finished() -> None:
    parts: Any = Fake({})
    incomplete: Any = (Incomplete,)
    insights = Insights(parts, parts, parts, parts, incomplete)
    with pytest.raises(DatabaseUnavailable, match="after 7 entries") as caught:
        await insights.invalidate(given(WhichEntries()))
    assert (caught.value.status, caught.value.code) == (503, "purge_incomplete")


def status(name: str, state: State, at: int | None = None) -> BreakerStatus:
    return BreakerStatus(name, Kind(name.partition("/")[0]), state, 1, at)


@pytest.mark.parametrize(
    ("provider", "first", "second", "expected"),
    [
        (State.CLOSED, State.CLOSED, State.CLOSED, "provider/up"),
        (State.OPEN, State.CLOSED, State.CLOSED, "provider/up"),
        (State.CLOSED, State.OPEN, State.CLOSED, "provider/up"),
        (State.CLOSED, State.OPEN, State.HALF_OPEN, "credential/up#1"),
        (State.OPEN, State.OPEN, State.OPEN, "provider/up"),
        (State.CLOSED, None, State.OPEN, "provider/up"),
    ],
)
def test_the_circuit_that_decides(
    provider: State, first: State | None, second: State, expected: str
) -> None:
    states = {"provider/up": provider, "credential/up#0": first, "credential/up#1": second}
    found = {name: status(name, state) for name, state in states.items() if state is not None}
    decided = _decisive(found, "up", keys=2)
    assert decided is not None
    assert decided.name == expected
    assert _decisive({}, "up", keys=2) is None
