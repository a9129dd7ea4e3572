"""Alerts over HTTP: the admin's alone."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from adapters.base import Outgoing
from proxy.alerts import Alerts
from proxy.config_types import AlertsSection
from proxy.doors.alerts import AlertDoor
from proxy.doors.api import Api
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.storage.schema import alerts
from proxy.types import Principal, Role
from proxy.upstream import Fetched, Unreachable

FAR = 4_102_444_800_000  # the year 2100
ROW = {
    "scope": "key:k1",
    "begins": 1_790_812_800_000,
    "threshold": 80,
    "spent_nanousd": 8_500_000_000,
    "budget_nanousd": 10_000_000_000,
    "name": "ci",
    "per": "month",
    "created_at": 1_792_843_200_000,
    "delivered_at": None,
    "tries": 2,
    "next_try_at": 1_792_843_260_000,
    "expires_at": FAR,
}
SHOWN = {
    "id": "key:k1:1790812800000:80",
    "scope": "key:k1",
    "kind": "key",
    "name": "ci",
    "threshold_percent": 80,
    "spent_usd": 8.5,
    "budget_usd": 10.0,
    "per": "month",
    "period_begins": "2026-10-01T00:00:00.000Z",
    "at": "2026-10-24T12:00:00.000Z",
    "state": "waiting",
    "tries": 2,
    "delivered_at": None,
    "next_try_at": "2026-10-24T12:01:00.000Z",
}


class Fixed:
    """Everybody is who they say."""

    async def identify_at(self, method: str, headers: Any) -> Principal:
        return Principal(Role(headers[b"x-role"].decode()))


def client(engine: AsyncEngine, reply: int | str = 204) -> httpx.AsyncClient:
    async def fetch(outgoing: Outgoing, patience: float) -> Fetched:
        if isinstance(reply, str):
            raise Unreachable(reply)
        return Fetched(reply, {}, b"")

    settings = AlertsSection(webhook="https://hooks.example.com/very-secret")
    made = Alerts(engine, fetch, list, lambda: settings)
    live: Any = SimpleNamespace(current=SimpleNamespace(auth=Fixed()))
    routes = AlertDoor(Api(live), lambda: made).routes()
    transport = httpx.ASGITransport(RequestId(Errors(Starlette(routes=routes).router)))
    headers = {"x-role": "admin"}
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


async def test_what_is_shown(engine: AsyncEngine) -> None:
    delivered = {"threshold": 90, "delivered_at": 1_792_843_200_000, "created_at": 3}
    superseded = {"threshold": 50, "delivered_at": 2, "tries": 0, "created_at": 2}
    expired = {"threshold": 10, "expires_at": 5, "created_at": 1}
    rows = [ROW, ROW | delivered, ROW | superseded, ROW | expired]
    async with client(engine) as admin:
        assert (await admin.get("/api/v1/alerts")).json() == {"data": []}
        async with engine.begin() as connection:
            await connection.execute(insert(alerts), rows)
        shown = (await admin.get("/api/v1/alerts")).json()["data"]
    assert shown[0] == SHOWN
    told = [(one["state"], one["delivered_at"], one["next_try_at"]) for one in shown[1:]]
    assert told == [
        ("delivered", "2026-10-24T12:00:00.000Z", None),
        ("superseded", None, None),
        ("expired", None, None),
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (204, {"success": True, "error": None}),
        (500, {"success": False, "error": "it answered with status 500"}),
        ("connection refused", {"success": False, "error": "connection refused"}),
    ],
)
async def test_a_test(engine: AsyncEngine, reply: int | str, said: dict[str, Any]) -> None:
    async with client(engine, reply) as admin:
        answered = await admin.post("/api/v1/alerts/test")
    assert (answered.status_code, answered.json()) == (200, said)


@pytest.mark.parametrize("role", ["service", "user", "key", "anonymous"])
async def test_nobody_else_may(engine: AsyncEngine, role: str) -> None:
    async with client(engine) as admin:
        for method, path in (("GET", "/api/v1/alerts"), ("POST", "/api/v1/alerts/test")):
            refused = await admin.request(method, path, headers={"x-role": role})
            assert refused.status_code == 403
