"""The migrations lead where the tables say, and their newest is the one that is stamped."""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from proxy.ledger.books import Books
from proxy.ledger.inserts import insert_new
from proxy.ledger.rows import REQUEST_COLUMNS
from proxy.storage import postgres
from proxy.storage.engine import open_database
from proxy.storage.migrate import configuration, make_url, migrate
from proxy.storage.schema import HEAD, metadata, owner_rollups, requests, rollups
from tests.proxy.ledger.synthetic import many, request
from tests.servers import new_url

NOON = 1_700_049_600_000


def absolute(url: str, home: Path) -> str:
    return url.replace("sqlite:///", f"sqlite:///{home}/")


def shape(connection: Connection) -> dict[str, Any]:
    """Columns, keys and indexes of each table, and the stamp."""
    seen = inspect(connection)
    found: dict[str, Any] = {
        name: (
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"])
                for c in seen.get_columns(name)
            ],
            seen.get_pk_constraint(name)["constrained_columns"],
            sorted((str(i["name"]), tuple(i["column_names"])) for i in seen.get_indexes(name)),
            sorted(tuple(u["column_names"]) for u in seen.get_unique_constraints(name)),
        )
        for name in seen.get_table_names()
        if name != "alembic_version"
    }
    stamp = connection.execute(text("SELECT version_num FROM alembic_version"))
    return found | {"stamp": list(stamp.scalars())}


def without_rowid(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'"
        )
        names = {row[0] for row in found}
    connection.close()
    return names


def plain_engine(url: str) -> AsyncEngine:
    """An engine that neither makes nor changes a schema."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return create_async_engine(parsed.set(drivername="sqlite+aiosqlite"))
    return postgres.open_engine(postgres.resolved(parsed))


def test_the_newest_is_the_one_that_is_stamped() -> None:
    script = ScriptDirectory.from_config(configuration("sqlite://"))
    assert script.get_current_head() == HEAD


async def test_migrations_and_tables_are_the_same(database: str, tmp_path: Path) -> None:
    other = await new_url("sqlite" if database.startswith("sqlite") else "postgresql")
    (tmp_path / "other").mkdir()
    migrated = absolute(other, tmp_path / "other")
    await asyncio.to_thread(migrate, migrated)
    shapes = []
    for engine in (await open_database(database, tmp_path), plain_engine(migrated)):
        async with engine.connect() as connection:
            shapes.append(await connection.run_sync(shape))
        await engine.dispose()
    assert set(shapes[0]) == {*metadata.tables, "stamp"}
    assert shapes[0] == shapes[1]
    if database.startswith("sqlite"):
        made = without_rowid(tmp_path / "t.db")
        assert (
            made
            == without_rowid(tmp_path / "other" / "t.db")
            == {
                "requests",
                "attempts",
                "rollups",
                "owner_rollups",
            }
        )


async def test_an_older_one_is_upgraded_in_a_process_of_its_own(
    database: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(migrate, absolute(database, tmp_path), "0001")
    engine = await open_database(database, tmp_path)
    async with engine.connect() as connection:
        assert (await connection.run_sync(shape))["stamp"] == [HEAD]
    await engine.dispose()


async def test_roll_ups_are_made_of_the_rows_there_are(database: str, tmp_path: Path) -> None:
    """The migration's SQL and the code that keeps them up say the same."""
    rows = list(many(400, NOON - 50 * 3_600_000, NOON))
    edges = [0, 1, 2, 3, 4, 5, 6, 287_626, 287_627, 287_628, 2**31 - 1]
    rows += [
        request(f"{number:032x}", NOON, duration_ms=edge, user_id="é" * 300, cached=True, images=2)
        for number, edge in enumerate(edges)
    ]
    random.Random(5).shuffle(rows)
    at = absolute(database, tmp_path)
    await asyncio.to_thread(migrate, at, "0002")
    before = plain_engine(at)
    async with before.begin() as connection:
        await insert_new(connection, requests, REQUEST_COLUMNS, rows)
    await before.dispose()
    filled = await open_database(database, tmp_path)
    kept = await open_database("sqlite:///kept.db", tmp_path)
    await Books(kept).write(rows, [])
    found = []
    for engine in (filled, kept):
        async with engine.connect() as connection:
            found.append(
                [
                    sorted(tuple(row) for row in await connection.execute(select(table)))
                    for table in (rollups, owner_rollups)
                ]
            )
        await engine.dispose()
    assert [len(rows) > 2000 for rows in found[0]] == [True, True]
    assert found[0] == found[1]
