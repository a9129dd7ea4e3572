"""What is PostgreSQL's own: its URL, its settings, its faults. And keys, which must not care."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.keys import KeyStore
from proxy.storage import postgres
from proxy.storage.engine import open_database
from tests.servers import new_url


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ("postgres://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://u:p%40@h:1/d", "postgresql+asyncpg://u:p%40@h:1/d"),
        ("postgresql+psycopg://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql:///d?host=/run/pg", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
    ],
)
def test_urls(given: str, resolved: str) -> None:
    url = postgres.resolved(make_url(given))
    assert url.render_as_string(hide_password=False) == resolved


def test_a_parameter_that_would_be_lost() -> None:
    with pytest.raises(ValueError, match="'options'") as caught:
        postgres.resolved(make_url("postgresql://u:secret@h/d?options=-c"))
    assert "secret" not in str(caught.value)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await open_database(await new_url("postgresql"), tmp_path)
    yield engine
    await engine.dispose()


async def test_settings(server: AsyncEngine) -> None:
    async with server.connect() as connection:
        for name, value in {
            "statement_timeout": "30s",
            "lock_timeout": "10s",
            "jit": "off",
        }.items():
            assert (await connection.execute(text(f"SHOW {name}"))).scalar() == value


async def test_the_pool_is_small(server: AsyncEngine) -> None:
    held = [await server.connect() for _ in range(8)]
    with pytest.raises((asyncio.TimeoutError, SQLAlchemyError)):
        await asyncio.wait_for(server.connect(), 0.2)
    for connection in held:
        await connection.close()


async def test_a_statement_that_takes_too_long(server: AsyncEngine) -> None:
    async with server.connect() as connection:
        await connection.execute(text("SET statement_timeout = 50"))
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.execute(text("SELECT pg_sleep(5)"))


async def test_a_server_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncpg's own timeout is an `OSError`; who waits for the database waits for another one."""
    monkeypatch.setattr(postgres, "SILENCE", 0.3)
    engine = await open_database(await new_url("postgresql"), tmp_path)
    async with engine.connect() as connection:
        with pytest.raises(OperationalError, match="TimeoutError"):
            await connection.execute(text("SELECT pg_sleep(5)"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    await engine.dispose()


async def test_a_connection_that_died_in_the_pool(server: AsyncEngine) -> None:
    async with server.connect() as connection:
        pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar()
        async with server.connect() as other:
            await other.execute(text(f"SELECT pg_terminate_backend({pid})"))
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT 1"))
    async with server.connect() as connection:
        await connection.execute(text("SELECT 1"))
    async with server.connect() as a, server.connect() as b:
        pids = [(await c.execute(text("SELECT pg_backend_pid()"))).scalar() for c in (a, b)]
    async with server.connect() as killer:
        mine = (await killer.execute(text("SELECT pg_backend_pid()"))).scalar()
        for pid in {*pids} - {mine}:
            await killer.execute(text(f"SELECT pg_terminate_backend({pid})"))
    await asyncio.sleep(0.1)
    async with server.connect() as a, server.connect() as b:
        for connection in (a, b):
            assert (await connection.execute(text("SELECT 1"))).scalar() == 1


async def test_no_parameter_is_in_a_message(server: AsyncEngine) -> None:
    async with server.connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": "private"})
    assert "private" not in str(caught.value)


async def test_keys_are_the_same_on_both(engine: AsyncEngine) -> None:
    here, there = KeyStore(engine, b"d" * 32), KeyStore(engine, b"d" * 32)
    await here.refresh()
    new = await there.create(name="n", models=("a", "b/*"), user_id="u", expires_at=10**15)
    assert here.find(new.secret) is None
    found = await here.lookup(new.secret)
    assert found is not None
    assert (found.id, found.models, found.user_id) == (new.id, ("a", "b/*"), "u")
    assert await there.revoke(new.id)
    assert not await there.revoke(new.id)
    await here.refresh()
    assert here.find(new.secret) is None
    assert [row.id for row in await here.list()] == [new.id]
