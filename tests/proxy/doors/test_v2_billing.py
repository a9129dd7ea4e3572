"""Bills: tokens times prices, each caller's own, and all for the operator."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [m1, m2]}}
pricing: {{overrides: {{"up/m1": {{input: 3, output: 15}}}}}}
"""
MINE = "/v2/billing/usage/my-usage"
ALL = "/v2/billing/usage/all"
M1 = "9ed77472-abb1-5e9d-81cc-49668b687e8f"  # uuid5 of turnout:up/m1


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Upstream() as up, running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        up.on(lambda _: fake.chat_reply("Hi", usage=fake.count(1000, 500)))
        yield gateway


async def ask(gateway: Gateway, key: str, model: str = "up/m1", **headers: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    answer = await gateway.post(body, headers={"authorization": f"Bearer {key}"} | headers)
    assert answer.status == 200, answer.body


async def test_the_sums_of_a_key(gateway: Gateway) -> None:
    await ask(gateway, gateway.key)
    await ask(gateway, gateway.key)
    await ask(gateway, gateway.key, "up/m2")
    await ask(gateway, MASTER)
    await gateway.rows(4)
    answer = await gateway.call("GET", f"{MINE}?days=30", key=gateway.key)
    assert answer.status == 200, answer.body
    got = answer.json
    daily = got.pop("daily")
    assert got == {
        "user_id": None,
        "period_days": 30,
        "total_requests": 3,
        "total_tokens": 4500,
        "input_tokens": 3000,
        "output_tokens": 1500,
        "total_cost": pytest.approx(0.021),
        "currency": "USD",
        "by_model": [
            {
                "model_id": M1,
                "model": "m1",
                "provider": "up",
                "requests": 2,
                "input_tokens": 2000,
                "output_tokens": 1000,
                "cost": pytest.approx(2 * 0.0105),
                "input_price_per_million": 3.0,
                "output_price_per_million": 15.0,
            },
            {
                "model_id": got["by_model"][1]["model_id"],
                "model": "m2",
                "provider": "up",
                "requests": 1,
                "input_tokens": 1000,
                "output_tokens": 500,
                "cost": 0.0,
                "input_price_per_million": None,
                "output_price_per_million": None,
            },
        ],
    }
    assert len(daily) in (30, 31, 32)
    assert sum(day["requests"] for day in daily) == 3
    assert daily[-1]["cost"] == pytest.approx(0.021)
    assert [day["date"] for day in daily] == sorted(day["date"] for day in daily)


async def test_a_bill_adds_up(gateway: Gateway) -> None:
    """1000 tokens in at $3 and 500 out at $15 a million are $0.0105."""
    await ask(gateway, gateway.key)
    await gateway.rows()
    [model] = (await gateway.call("GET", MINE, key=gateway.key)).json["by_model"]
    inward = model["input_tokens"] * model["input_price_per_million"] / 1e6
    outward = model["output_tokens"] * model["output_price_per_million"] / 1e6
    assert (inward, outward) == (pytest.approx(0.003), pytest.approx(0.0075))
    assert model["cost"] == pytest.approx(0.0105) == pytest.approx(inward + outward)


async def requests_of(gateway: Gateway, path: str, headers: dict[str, str]) -> Any:
    async with gateway.session.get(gateway.url + path, headers=headers) as reply:
        assert reply.status == 200
        return (await reply.json())["total_requests"]


async def test_each_caller_has_the_own(gateway: Gateway) -> None:
    service = {"authorization": "", "x-service-key": "service-secret"}
    await ask(gateway, MASTER)
    await ask(gateway, MASTER)
    for user in ("ann", "ann", "ann", "bob"):
        async with gateway.session.post(
            gateway.url + "/v1/chat/completions",
            json={"model": "up/m1", "messages": [{"role": "user", "content": "x"}], "user": user},
            headers={"x-service-key": "service-secret"},
        ) as reply:
            assert reply.status == 200
    await gateway.rows(6)
    master = {"authorization": f"Bearer {MASTER}"}
    del service["authorization"]
    assert await requests_of(gateway, MINE, master) == 2
    assert await requests_of(gateway, MINE, service | {"x-turnout-user": "ann"}) == 3
    assert await requests_of(gateway, MINE, service | {"x-turnout-user": "eve"}) == 0
    assert await requests_of(gateway, MINE, service) == 0


async def test_everybodys(gateway: Gateway) -> None:
    await ask(gateway, MASTER)
    await ask(gateway, MASTER, **{"x-turnout-user": "usr_1"})
    await ask(gateway, MASTER, **{"x-turnout-user": "usr_1"})
    await gateway.rows(3)
    answer = await gateway.call("GET", f"{ALL}?days=7")
    assert answer.status == 200, answer.body
    got = answer.json
    assert (got["period_days"], got["total_requests"], got["total_tokens"]) == (7, 3, 4500)
    assert got["total_cost"] == pytest.approx(0.0315)
    assert (got["currency"], got["has_more"]) == ("USD", False)
    first, second = got["users"]
    assert (first["user_id"], first["requests"], first["tokens"]) == ("usr_1", 2, 3000)
    assert first["cost"] == pytest.approx(0.021)
    assert (second["user_id"], second["email"], second["requests"]) == (None, None, 1)


async def test_who_may_not(gateway: Gateway) -> None:
    answer = await gateway.call("GET", ALL, key=gateway.key)
    assert answer.error == (403, "permission_error", "forbidden")
    for query in ("days=0", "days=366", "days=x", "user=ann"):
        assert (await gateway.call("GET", f"{MINE}?{query}")).status == 422, query
    assert (await gateway.call("GET", MINE, key="sk-wrong")).status == 401
