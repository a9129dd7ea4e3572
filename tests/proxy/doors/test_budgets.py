"""Budgets over HTTP: whose, in which order, and until when."""

import time
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from proxy.alerts import Budgeted
from proxy.doors.api import Api
from proxy.doors.budgets import BudgetDoor
from proxy.keys import KeyStore
from proxy.ledger.books import Books
from proxy.live import Live
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.types import Budget, Period, Principal, Role
from tests.proxy.ledger.synthetic import request

NOW = 1_700_057_800  # 2023-11-15 14:16:40 UTC
DAY, MONTH = Period.DAY, Period.MONTH
CALLERS = {
    b"admin": Principal(Role.ADMIN),
    b"ann": Principal(Role.USER, user_id="user_ann"),
    b"service": Principal(Role.SERVICE),
    b"key": Principal(Role.KEY, "key_1", "user_ann"),
}


class Callers:
    async def identify_at(self, method: str, headers: Any) -> Principal:
        return CALLERS[headers[b"authorization"]]


@pytest.fixture
async def client(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    """Three keys, of which ann has one, and two users; what they have spent."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    keys = KeyStore(engine, b"d" * 32)
    hers = (await keys.create(user_id="user_ann")).id
    found = [
        Budgeted("key:a", "a", Budget(1_000, DAY)),
        Budgeted("key:b", "b", Budget(10_000)),
        Budgeted(f"key:{hers}", "hers", Budget(100, MONTH)),
        Budgeted("user:user_ann", "Ann", Budget(1_000_000_000, DAY)),
        Budgeted("user:user_bob", "Bob", Budget(0, DAY)),
    ]
    rows = []
    for number, (seconds, key, user, cost) in enumerate(
        (
            (60, "a", None, 400),
            (86_400, "a", None, 7),  # yesterday
            (86_400, "b", None, 9_000),
            (30 * 86_400, "b", None, 5),  # last month
            (60, hers, "user_ann", 25),
        )
    ):
        at = (NOW - seconds) * 1000
        over = {"key_id": key, "user_id": user, "cost_nanousd": cost}
        rows.append(request(f"{at << 80 | number:032x}", at, **over))
    await Books(engine).write(rows, [])
    live = cast("Live", SimpleNamespace(current=SimpleNamespace(auth=Callers())))
    door = BudgetDoor(Api(live), lambda: iter(found), lambda: keys, lambda: engine)
    app: Any = RequestId(Errors(Starlette(routes=door.routes()).router))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate.test")


async def data(client: httpx.AsyncClient, who: str) -> list[dict[str, Any]]:
    came = await client.get("/api/v1/budgets", headers={"authorization": who})
    assert came.status_code == 200, came.text
    found: list[dict[str, Any]] = came.json()["data"]
    return found


async def test_all_of_them_nearest_to_their_end_first(client: httpx.AsyncClient) -> None:
    found = await data(client, "admin")
    assert [(each["name"], each["spent_usd"], each["budget_usd"]) for each in found] == [
        ("Bob", 0.0, 0.0),
        ("b", 9e-6, 1e-5),
        ("a", 4e-7, 1e-6),
        ("hers", 2.5e-8, 1e-7),
        ("Ann", 2.5e-8, 1.0),
    ]
    assert found[2] == {
        "scope": "key:a",
        "kind": "key",
        "name": "a",
        "per": "day",
        "budget_usd": 1e-6,
        "spent_usd": 4e-7,
        "resets_at": "2023-11-16T00:00:00.000Z",
    }
    assert found[1]["resets_at"] == "2023-12-01T00:00:00.000Z"


async def test_a_users_own(client: httpx.AsyncClient) -> None:
    assert [each["name"] for each in await data(client, "ann")] == ["hers", "Ann"]


@pytest.mark.parametrize("who", ["service", "key"])
async def test_others_may_not(client: httpx.AsyncClient, who: str) -> None:
    came = await client.get("/api/v1/budgets", headers={"authorization": who})
    assert came.status_code == 403
