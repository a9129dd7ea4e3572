"""Users' own keys of providers that are refused (FAULTS 22), and keys that can't be opened (44)."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.app import build_app
from proxy.config import load
from proxy.home import Home
from proxy.vault import WrongEncryptionKey
from tests.e2e import books
from tests.e2e.books import Mark
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.e2e.people import (
    MASTERLY,
    SERVICE_KEY,
    ask,
    bearer,
    code_of,
    join,
    make_key,
)
from tests.e2e.world import (
    CONFIG,
    ONE_A,
    ONE_B,
    PATIENT,
    SYSTEM,
    chat,
    save,
    whose,
    world,
)
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

# A user's own key that its provider refuses (FAULTS 22).


async def test_a_refused_own_key_is_its_users_matter_alone(tmp_path: Path) -> None:
    async with world(tmp_path, breaker="") as w:
        by_own: list[Script] = [fake.error_reply(401, "no such key")] * 10
        by_own += [fake.error_reply(429, "too fast", headers={"Retry-After": "30"})] * 20
        by_own += [fake.error_reply(500, "it broke")] * 10
        by_own += [[fake.Reset()]] * 10

        def answer(received: Received) -> Script | None:
            if whose(received) == "alice":
                return by_own.pop(0)
            return books.answering("one")(received)

        w.one.on(answer)
        seen: list[tuple[int, str | None]] = []
        direct = {"model": "one/m-1"}
        for number in range(50):
            body = chat(Mark(f"a{number}", 1, 1), **direct)
            got = await w.ask("POST", "/v1/chat/completions", w.alice.bearer, body)
            seen.append((got.status, code_of(got)))
            if got.status == 429:
                assert got.headers["retry-after"] == "30"
            if number % 5 == 4:  # meanwhile everybody else is served, by the same provider
                for headers in (MASTERLY, w.bob.bearer, bearer(w.plain_key[1])):
                    mine = chat(Mark(f"s{number}", 1, 1), **direct)
                    other = await w.ask("POST", "/v1/chat/completions", headers, mine)
                    assert other.status == 200, other.body
            if not by_own:
                break
        assert seen[:10] == [(401, "upstream_auth_failed")] * 10
        assert seen[10:30] == [(429, "rate_limit_exceeded")] * 20
        assert {status for status, _ in seen[30:]} == {502}
        circuits = await w.get("/api/v1/breakers", MASTERLY)
        states = orjson.dumps(circuits).decode()
        assert "OPEN" not in states
        shown = await w.get("/api/trpc/llmAnalytics.circuitBreakerStatus", MASTERLY)
        found = {n: (c["state"], c["failureCount"]) for n, c in shown["result"]["data"].items()}
        assert found == {"one": ("CLOSED", 0), "two": ("CLOSED", 0)}


# Keys that can't be opened (FAULTS 44).


RIGHT, WRONG = "a right encryption key of 32 and more", "a wrong encryption key of 32 and more"


def text_of(folder: Path, one: Upstream, two: Upstream) -> str:
    text = CONFIG.format(
        one=one.base_url, two=two.base_url, service=SERVICE_KEY, breaker=PATIENT
    ).replace("auth: {", 'auth: {encryption_key: "${TURNOUT_ENCRYPTION_KEY}", ')
    made = "server: {private_providers: true}\n"
    return made + text


def spoil(home: Path, statement: str, *values: Any) -> int:
    """Changes the database by hand; how many rows."""
    with closing(sqlite3.connect(home / "turnout.db")) as database, database:
        return database.execute(statement, values).rowcount


async def test_a_wrong_encryption_key_refuses_to_start_and_harms_nothing(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    text = text_of(tmp_path, up, other)
    up.on(books.answering("one"))
    right = {"TURNOUT_ENCRYPTION_KEY": RIGHT}
    async with running(tmp_path, text, right) as gateway:
        alice = await join(gateway, "alice@example.com")
        await save(gateway, alice, one=ONE_A)
        _, secret = await make_key(gateway, alice.bearer)
    before = (tmp_path / "home" / "turnout.db").read_bytes()
    wrong = {"TURNOUT_MASTER_KEY": MASTER, "TURNOUT_ENCRYPTION_KEY": WRONG}
    app = build_app(lambda: load(tmp_path / "config.yaml", wrong), Home(tmp_path / "home"))
    with pytest.raises(WrongEncryptionKey, match="encryption_key") as raised:
        async with app.router.lifespan_context(app):
            pytest.fail("it has started")
    assert WRONG not in str(raised.value)
    assert (tmp_path / "home" / "turnout.db").read_bytes() == before
    async with running(tmp_path, text, right) as gateway:
        body = chat(Mark("again", 1, 1))
        answer = await ask(gateway, "POST", "/v1/chat/completions", bearer(secret), body)
        assert answer.status == 200, answer.body
        assert up.log[-1].header("authorization") == f"Bearer {ONE_A}"


async def test_a_users_key_that_cant_be_opened_is_that_users_matter_alone(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    text, environ = text_of(tmp_path, up, other), {"TURNOUT_ENCRYPTION_KEY": RIGHT}
    up.on(books.answering("one"))
    other.on(books.answering("two"))
    async with running(tmp_path, text, environ) as gateway:
        alice = await join(gateway, "alice@example.com")
        bob = await join(gateway, "bob@example.com")
        await save(gateway, alice, one=ONE_A)
        await save(gateway, bob, one=ONE_B)
    taken = (  # bob's sealed key in alice's row: it is bound to him
        "UPDATE user_keys SET sealed = (SELECT sealed FROM user_keys WHERE user_id = ?)"
        " WHERE user_id = ?"
    )
    assert spoil(tmp_path / "home", taken, bob.id, alice.id) == 1
    async with running(tmp_path, text, environ) as gateway:
        got = await _ask_at(gateway, alice.bearer, "one/m-1")
        assert (got.status, code_of(got)) == (503, "credential_unavailable")
        assert up.log == other.log == []
        assert (await _ask_at(gateway, alice.bearer, "both")).status == 200  # by who is left
        assert up.log == []
        assert [entry.header("authorization") for entry in other.log] == [SYSTEM["two"]]
        assert (await _ask_at(gateway, alice.bearer, "two/m-2")).status == 200
        assert (await _ask_at(gateway, bob.bearer, "one/m-1")).status == 200
        assert (await _ask_at(gateway, MASTERLY, "one/m-1")).status == 200
        sent = [entry.header("authorization") for entry in up.log]
        assert sent == [f"Bearer {ONE_B}", SYSTEM["one"]]
        assert (await ask(gateway, "GET", "/health/ready")).status == 200
        await save(gateway, alice, one=ONE_A)  # as the error says
        assert (await _ask_at(gateway, alice.bearer, "one/m-1")).status == 200
        assert up.log[-1].header("authorization") == f"Bearer {ONE_A}"


async def _ask_at(gateway: Gateway, headers: dict[str, str], model: str) -> Answer:
    body = chat(Mark(f"at-{model.replace('/', '-')}-{len(headers)}", 1, 1), model=model)
    return await ask(gateway, "POST", "/v1/chat/completions", headers, body)


MADE = "sk-made-0123456789-0123456789"
KINDS = ["made here", "set for the system"]


@asynccontextmanager
async def spoilt(
    folder: Path, up: Upstream, other: Upstream, kind: str
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway of which one provider's key can't be opened any more, and that provider's name."""
    text, environ = text_of(folder, up, other), {"TURNOUT_ENCRYPTION_KEY": RIGHT}
    up.on(books.answering("one"))
    other.on(books.answering("two"))
    name, table = ("made", "providers") if kind == "made here" else ("one", "user_keys")
    body: dict[str, Any] = {"api_key": MADE}
    where = ("PUT", "/v2/admin/llm-keys/one")
    if kind == "made here":
        where = ("POST", "/api/v1/providers")
        place = {"base_url": up.base_url, "allow_private": True}
        body |= {"name": name, "display_name": "Made", "models": ["m-1"], **place}
    async with running(folder, text, environ) as gateway:
        answer = await ask(gateway, *where, MASTERLY, body)
        assert answer.status in (200, 201), answer.body
        assert (await _ask_at(gateway, MASTERLY, f"{name}/m-1")).status == 200
        assert up.log[-1].header("authorization") == f"Bearer {MADE}"
    assert spoil(folder / "home", f"UPDATE {table} SET sealed = zeroblob(64)") == 1
    up.log.clear()
    async with running(folder, text, environ) as gateway:
        yield gateway, name


@pytest.mark.parametrize("kind", KINDS)
async def test_a_providers_key_that_cant_be_opened_is_that_providers_matter_alone(
    tmp_path: Path, up: Upstream, other: Upstream, kind: str
) -> None:
    async with spoilt(tmp_path, up, other, kind) as (gateway, name):
        assert (await _ask_at(gateway, MASTERLY, f"{name}/m-1")).status in (404, 503)
        assert up.log == []  # neither with a wrong key nor without one
        assert (await _ask_at(gateway, MASTERLY, "both")).status == 200
        for path in ("/health/ready", "/api/v1/providers", "/v2/admin/llm-keys", "/v1/models"):
            assert (await ask(gateway, "GET", path, MASTERLY)).status == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_a_providers_key_that_cant_be_opened_is_told_as_such(
    tmp_path: Path, up: Upstream, other: Upstream, kind: str
) -> None:
    async with spoilt(tmp_path, up, other, kind) as (gateway, name):
        got = await _ask_at(gateway, MASTERLY, f"{name}/m-1")
        assert (got.status, code_of(got)) == (503, "credential_unavailable")
