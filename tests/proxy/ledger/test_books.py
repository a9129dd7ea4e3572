"""Rows go in once, whatever is sent again, and are counted once."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ledger.books import Books
from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS, attempt_row, request_row
from proxy.storage.engine import open_database
from proxy.storage.schema import attempts, requests, rollups
from tests.proxy.ledger import contender
from tests.proxy.ledger.records import record
from tests.proxy.ledger.synthetic import request
from tests.servers import PASSWORD, postgres


async def counted(engine: AsyncEngine) -> tuple[int, int, int]:
    """Rows, attempts, and the requests that the roll-ups of all by day have."""
    days = select(func.coalesce(func.sum(rollups.c.requests), 0)).where(
        rollups.c.grain == "day", rollups.c.dimension == "all"
    )
    counts = [select(func.count()).select_from(table) for table in (requests, attempts)]
    async with engine.connect() as connection:
        found = [(await connection.execute(query)).scalar_one() for query in (*counts, days)]
    return int(found[0]), int(found[1]), int(found[2])


async def test_what_is_sent_twice_is_written_once(engine: AsyncEngine) -> None:
    made = [record() for _ in range(3)]
    rows = [request_row(one) for one in made]
    tries = [attempt_row(one, one.attempts[0]) for one in made]
    books = Books(engine)
    await books.write(rows[:2], tries[:2])
    assert await counted(engine) == (2, 2, 2)
    await books.write(rows, tries)
    await books.write([*rows, *rows], [*tries, *tries])
    assert await counted(engine) == (3, 3, 3)


async def test_a_batch_that_fails_leaves_nothing(engine: AsyncEngine) -> None:
    made = record()
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE rollups RENAME TO away"))
    with pytest.raises(Exception, match="rollups"):
        await Books(engine).write([request_row(made)], [attempt_row(made, made.attempts[0])])
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO rollups"))
    assert await counted(engine) == (0, 0, 0)


async def test_no_row_is_refused(engine: AsyncEngine) -> None:
    """What a stranger sends must not hold up the rows behind it."""
    odd: dict[str, Any] = {
        "user_id": "a\0b" * 400,
        "key_id": "k" * 5000,
        "model": "模型" * 2000,
        "name": "n" * 100_000,
        "error_message": "\0",
        "input_tokens": 10**30,
        "output_tokens": -(10**30),
        "cost_nanousd": 2**70,
        "duration_ms": 2**40,
        "metadata": '{"a":"\\u0000"}',
    }
    tried = record()
    attempt = dict(zip(ATTEMPT_COLUMNS, attempt_row(tried, tried.attempts[0]), strict=True))
    odd_try = tuple((attempt | {"model": "m\0", "input_tokens": 2**80}).values())
    await Books(engine).write([request("1" * 32, 1_700_000_000_000, **odd)], [odd_try])
    async with engine.connect() as connection:
        row = (await connection.execute(select(requests))).mappings().one()
    assert row["user_id"] == ("ab" * 400)[:256]
    assert (row["input_tokens"], row["output_tokens"]) == (10**13, -(10**13))
    assert (row["duration_ms"], len(row["name"])) == (2**31 - 1, 100_000)
    assert row["metadata"] == {"a": "\0"}
    assert await counted(engine) == (1, 1, 1)


async def test_no_key_of_a_roll_up_is_too_long(engine: AsyncEngine) -> None:
    """PostgreSQL's indexes take 2,700 bytes, and owners' sums have three names in a key."""
    rare = "".join(chr(0x1F300 + (7 * number * number) % 700) for number in range(256))
    names = {
        name: rare[at:] + rare[:at]
        for at, name in enumerate(("user_id", "key_id", "service_name", "task_type", "model"))
    }
    await Books(engine).write([request("1" * 32, 1_700_000_000_000, **names)], [])
    assert await counted(engine) == (1, 0, 1)
    async with engine.connect() as connection:
        by_user = rollups.c.dimension == "user", rollups.c.grain == "day"
        value = (await connection.execute(select(rollups.c.value).where(*by_user))).scalar_one()
    assert value == rare[:175]  # 700 bytes


async def test_an_ordinary_row_is_stored_as_it_is(engine: AsyncEngine) -> None:
    made = record(user="u", metadata={"team": "a"}, cost_nanousd=123, first_token=0.25)
    await Books(engine).write([request_row(made)], [])
    async with engine.connect() as connection:
        row = dict((await connection.execute(select(requests))).mappings().one())
    sent = dict(zip(REQUEST_COLUMNS, request_row(made), strict=True))
    assert row == sent | {"metadata": {"team": "a"}}


async def test_processes_that_write_the_same_sums(
    database: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    """No update is lost, nobody waits for ever, whoever comes first."""
    batches, processes = 25, 3
    command = [sys.executable, "-m", "tests.proxy.ledger.contender", database, str(tmp_path)]
    running = [
        await asyncio.create_subprocess_exec(
            *command, str(seed), str(batches), stderr=asyncio.subprocess.PIPE
        )
        for seed in range(processes)
    ]
    said = [await process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * processes, said
    total = processes * batches * contender.ROWS
    assert await counted(engine) == (total, 0, total)
    async with engine.connect() as connection:
        users = select(func.sum(rollups.c.requests), func.sum(rollups.c.input_tokens)).where(
            rollups.c.dimension == "user", rollups.c.grain == "hour"
        )
        assert tuple((await connection.execute(users)).one()) == (total, 7 * total)


async def test_a_database_that_comes_back(tmp_path: Path) -> None:
    """What fails while it is away is what the writer waits for."""
    server = postgres()
    engine = await open_database(await server.new_database(), tmp_path)
    books = Books(engine)
    await books.write([request("1" * 32, 1_700_000_000_000)], [])
    server.stop()
    try:
        for _ in range(3):
            with pytest.raises(SQLAlchemyError) as caught:
                await books.write([request("2" * 32, 1_700_000_000_000)], [])
            assert PASSWORD not in str(caught.value)
    finally:
        server.start()
    await books.write([request("2" * 32, 1_700_000_000_000)], [])
    assert await counted(engine) == (2, 0, 2)
    await engine.dispose()
