"""Callers of a gateway in tests: who they are, and how each says so."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.e2e.gateway import MASTER, Answer, Gateway

SERVICE_KEY = "svc-turnout-service-key-for-the-tests"
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Person:
    """A user with two sessions: a token, as the form's login gives it, and a browser's cookie."""

    id: str
    email: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    cookie: str = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        return bearer(self.token)

    @property
    def browser(self) -> dict[str, str]:
        return {"cookie": f"session={self.cookie}"}


MASTERLY = {"authorization": f"Bearer {MASTER}"}
SERVICE = {"x-service-key": SERVICE_KEY}


def bearer(secret: str) -> dict[str, str]:
    """The header that a secret is sent by."""
    return {"authorization": f"Bearer {secret}"}


async def ask(
    gateway: Gateway,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: Any = None,
    form: dict[str, str] | None = None,
) -> Answer:
    """One exchange with these headers alone; no cookie is kept. `body` is bytes or JSON."""
    content: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
    if form is not None:
        content = {"data": form}
    jar = aiohttp.DummyCookieJar()
    async with (
        aiohttp.ClientSession(cookie_jar=jar) as session,
        session.request(
            method, gateway.url + path, headers=headers, allow_redirects=False, **content
        ) as reply,
    ):
        return Answer(reply.status, dict(reply.headers), await reply.read())


async def join(
    gateway: Gateway, email: str, role: str = "user", password: str = PASSWORD
) -> Person:
    """A user made by the master key, and logged in through both routes."""
    body = {"email": email, "password": password, "role": role}
    made = await ask(gateway, "POST", "/api/v1/users", MASTERLY, body)
    assert made.status == 201, made.body
    form = {"username": email, "password": password}
    token = await ask(gateway, "POST", "/v2/login/access-token", form=form)
    assert token.status == 200, token.body
    login = {"email": email, "password": password}
    browser = await ask(gateway, "POST", "/api/v1/login", body=login)
    assert browser.status == 200, browser.body
    cookie = browser.headers["set-cookie"].split(";")[0].removeprefix("session=")
    return Person(made.json["id"], email, password, token.json["access_token"], cookie)


async def make_key(gateway: Gateway, by: dict[str, str], **body: Any) -> tuple[str, str]:
    """(id, secret) of a new virtual key."""
    made = await ask(gateway, "POST", "/api/v1/keys", by, body)
    assert made.status == 201, made.body
    return made.json["id"], made.json["key"]


def code_of(answer: Answer) -> str | None:
    """Turnout's own code of an error, in whichever shape the API says it."""
    error = answer.json.get("error") or {}
    if not isinstance(error, dict):
        return None
    found = error.get("code")
    inner = error.get("data") or {}
    return inner.get("turnoutCode") or (str(found) if found is not None else None)
