"""The doors of accounts, with what is behind them, in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from pydantic import SecretStr
from starlette.applications import Starlette

from proxy.auth import Authenticator
from proxy.counters_local import LocalCounters
from proxy.doors.api import Api
from proxy.doors.login import LoginDoor
from proxy.doors.users import UsersDoor
from proxy.keys import KeyStore
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.passwords import Attempts, Cost, Passwords
from proxy.storage.engine import open_database
from proxy.tokens import RevokedTokens, Tokens
from proxy.users import UserStore

MASTER = {"authorization": "Bearer sk-master-secret"}
PASSWORD = "correct horse battery"
SERVICE = {"x-service-key": "svc-one"}


@dataclass
class House:
    """A gateway's accounts; `ended` are the users whose keys were ended."""

    users: UserStore
    keys: KeyStore
    passwords: Passwords
    app: Any
    ended: list[str] = field(default_factory=list)

    def client(
        self, address: str = "192.0.2.1", base: str = "http://gate.test"
    ) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 5))
        return httpx.AsyncClient(transport=transport, base_url=base)

    async def token(self, email: str, password: str = PASSWORD) -> dict[str, str]:
        """Logs in: the header of who has."""
        async with self.client("192.0.2.200") as client:
            body = {"email": email, "password": password}
            came = await client.post("/api/v1/login", json=body)
            assert came.status_code == 200, came.text
            return {"authorization": f"Bearer {came.json()['access_token']}"}


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    engine = await open_database("sqlite:///t.db", folder)
    keys, users, revoked = KeyStore(engine, b"k" * 32), UserStore(engine), RevokedTokens(engine)
    passwords, counters = Passwords(Cost(64, 1, 1)), LocalCounters()
    auth = Authenticator(
        keys,
        SecretStr("sk-master-secret"),
        [SecretStr("svc-one")],
        users=users,
        tokens=Tokens(SecretStr("jwt-secret-of-forty-characters-012345678"), 600),
        revoked=revoked,
    )
    config = SimpleNamespace(auth=SimpleNamespace(jwt=SimpleNamespace(expires=600.0)))
    live: Any = SimpleNamespace(current=SimpleNamespace(auth=auth, config=config))
    api, attempts = Api(live), Attempts(lambda: counters)
    made = House(users, keys, passwords, None)

    async def end_keys(user_id: str) -> None:
        made.ended.append(user_id)

    login = LoginDoor(api, live, lambda: users, lambda: revoked, passwords, attempts)
    door = UsersDoor(api, lambda: users, passwords, attempts, end_keys)
    routes = [*login.routes(), *door.routes()]
    made.app = RequestId(Errors(Starlette(routes=routes).router))
    yield made
    passwords.close()
    await engine.dispose()
