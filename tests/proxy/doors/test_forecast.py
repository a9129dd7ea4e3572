"""The forecast under `/api/v1/usage`: in which words, of whose money, with whose budget."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.types import ASGIApp

from proxy import routing
from proxy.auth import Authenticator
from proxy.config import load
from proxy.doors.forecast import ForecastDoor
from proxy.ids import earliest
from proxy.keys import KeyStore
from proxy.ledger import outlook
from proxy.ledger.analytics import Owner
from proxy.ledger.books import Books
from proxy.ledger.pricing import Prices
from proxy.live import Live
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.types import Budget, Period
from tests.proxy.ledger.synthetic import request

MASTER = "master-secret"
DAY = 86_400_000
NOON = 1_776_772_800_000  # 2026-04-21 12:00 UTC: April's 21st of 30 days
DOLLAR = 10**9

CONFIG = """
providers:
  up: {dialect: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}
models:
  cheap: [up/small]
pricing:
  currency: CAD
  rates: {CAD: 1.5}
  overrides: {"up/small": {input: 1, output: 2}}
"""


@dataclass
class Door:
    """The door over books of 20 days and today: two dollars a day by the key, one by others."""

    app: ASGIApp
    key: str
    key_id: str

    async def get(self, as_: str = MASTER, **query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {as_}"} if as_ else {}
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/api/v1/usage/forecast", headers=headers, params=query)

    async def json(self, as_: str = MASTER, **query: Any) -> Any:
        answer = await self.get(as_, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


def _row(day: int, number: int, **over: Any) -> tuple[Any, ...]:
    at = NOON - day * DAY
    tokens = {"input_tokens": 1_000_000, "output_tokens": 500_000}
    return request(earliest(at / 1000)[:-4] + f"{number:04x}", at, **tokens, **over)


@pytest.fixture
async def door(engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    monkeypatch.setattr(outlook.time, "time", lambda: NOON / 1000)
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load(tmp_path / "config.yaml", {})
    keys = KeyStore(engine, b"d" * 32)
    key = await keys.create(user_id="ann")
    prices = Prices(config.pricing.overrides)
    snapshot = SimpleNamespace(
        auth=Authenticator(keys, SecretStr(MASTER), [], anonymous=True),
        config=config,
        prices=prices,
        table=routing.build_table(config, prices.unit),
    )
    live = cast("Live", SimpleNamespace(current=snapshot))
    budgets = {
        Owner("key", key.id): Budget(50 * DOLLAR, Period.MONTH),
        Owner("user", "bob"): Budget(DOLLAR // 2, Period.DAY),
    }

    rows = []
    for day in range(21):
        rows.append(_row(day, 1, key_id=key.id, user_id="ann", cost_nanousd=2 * DOLLAR))
        rows.append(_row(day, 2, user_id="bob", cost_nanousd=DOLLAR))
    await Books(engine).write(rows, [])
    app = Starlette(routes=ForecastDoor(live, lambda: engine, budgets.get).routes())
    return Door(RequestId(Errors(app.router)), key.secret, key.id)


async def test_all(door: Door) -> None:
    found = await door.json(horizon_days=2)
    assert found == {
        "method": "weekly exponential smoothing (Holt-Winters, additive, damped trend)",
        "interval": 0.8,
        "history_days": 20,
        "horizon_days": 2,
        "today": "2026-04-21",
        "today_so_far_usd": 3.0,
        "usd": {
            "month_to_date": 63.0,
            "projected_month": {"expected": 90.0, "low": 90.0, "high": 90.0},
            "days": [
                {"date": "2026-04-22", "expected": 3.0, "low": 3.0, "high": 3.0},
                {"date": "2026-04-23", "expected": 3.0, "low": 3.0, "high": 3.0},
            ],
        },
        "currency": "CAD",
        "in_currency": {
            "month_to_date": 94.5,
            "projected_month": {"expected": 135.0, "low": 135.0, "high": 135.0},
            "days": [
                {"date": "2026-04-22", "expected": 4.5, "low": 4.5, "high": 4.5},
                {"date": "2026-04-23", "expected": 4.5, "low": 4.5, "high": 4.5},
            ],
        },
        "budget": None,
        "what_if": None,
    }
    assert len((await door.json())["usd"]["days"]) == 30


async def test_a_key_reads_its_own(door: Door) -> None:
    found = await door.json(door.key)
    assert found["usd"]["projected_month"]["expected"] == 60.0
    assert found["budget"] == {
        "amount_usd": 50.0,
        "per": "month",
        "spent_usd": 42.0,
        "exhausted_on": "2026-04-25",
        "earliest_on": "2026-04-25",
    }
    for query in ({"user_id": "bob"}, {"key_id": "key_other"}):
        refused = await door.get(door.key, **query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_an_admin_names_somebody(door: Door) -> None:
    found = await door.json(user_id="bob")
    assert found["usd"]["month_to_date"] == 21.0
    assert found["budget"] == {
        "amount_usd": 0.5,
        "per": "day",
        "spent_usd": 1.0,
        "exhausted_on": "2026-04-21",
        "earliest_on": "2026-04-21",
    }
    assert (await door.json(key_id=door.key_id))["budget"]["spent_usd"] == 42.0
    assert (await door.json(user_id="ann"))["budget"] is None
    assert (await door.json(user_id="nobody"))["usd"]["month_to_date"] == 0.0


@pytest.mark.parametrize("name", ["cheap", "up/small"])
async def test_another_model(door: Door, name: str) -> None:
    """A million in at one dollar, half a million out at two: two dollars a request."""
    found = await door.json(user_id="bob", what_if_model=name)
    assert found["what_if"] == {
        "model": name,
        "month_to_date_usd": 42.0,
        "projected_month_usd": {"expected": 60.0, "low": 60.0, "high": 60.0},
        "difference_usd": 30.0,
    }
    assert (await door.json(door.key, what_if_model=name))["what_if"]["difference_usd"] == 0.0


async def test_a_model_of_the_catalogue(door: Door) -> None:
    found = await door.json(user_id="bob", what_if_model="openai/gpt-4o-mini")
    each = 0.15 + 0.6 / 2  # its list price
    assert found["what_if"]["month_to_date_usd"] == pytest.approx(21 * each)


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"horizon_days": "0"}, 422, "horizon_days"),
        ({"horizon_days": "366"}, 422, "horizon_days"),
        ({"horizon_days": "1.5"}, 422, "horizon_days"),
        ({"what_if_model": ""}, 422, "what_if_model"),
        ({"what_if_model": "x" * 257}, 422, "what_if_model"),
        ({"what_if_model": "nothing"}, 404, "what_if_model"),
        ({"what_if_model": "up/unpriced"}, 422, "what_if_model"),
        ({"user_id": "a", "key_id": "b"}, 422, "key_id"),
    ],
)
async def test_values_that_can_not_be(
    door: Door, query: dict[str, str], status: int, field: str
) -> None:
    answer = await door.get(**query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)


async def test_who_may_ask(door: Door) -> None:
    assert (await door.get("")).status_code == 403
    assert (await door.get("sk-turnout-nobody")).status_code in (401, 403)
