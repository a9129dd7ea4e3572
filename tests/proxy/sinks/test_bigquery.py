"""Rows arrive at BigQuery once, through Google's own library and a real socket."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config_types import BigQuerySection, FirestoreSection, SinksSection
from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.sinks import sinks_of
from proxy.sinks.bigquery import BigQuerySink
from proxy.sinks.shipper import Shipper
from proxy.storage.schema import leases
from tests.fakes.google import BigQuery, cut, status
from tests.proxy.sinks.rows import told, waiting, write

PATH = "/bigquery/v2/projects/project/datasets/llm/tables/usage/insertAll"


@pytest.fixture
async def bigquery() -> AsyncIterator[BigQuery]:
    async with BigQuery() as fake:
        yield fake


def section(fake: BigQuery, **over: Any) -> BigQuerySection:
    given = {"project": "project", "dataset": "llm", "table": "usage", "endpoint": fake.endpoint}
    return BigQuerySection(**(given | over))


@pytest.fixture
async def shipper(engine: AsyncEngine, bigquery: BigQuery) -> AsyncIterator[Shipper]:
    made = Shipper(engine, BigQuerySink(section(bigquery)))
    yield made
    await made.close()


async def test_what_arrives(engine: AsyncEngine, bigquery: BigQuery, shipper: Shipper) -> None:
    one, dark = told(), told(cost_nanousd=None, metadata={}, user=None)
    rows = [request_row(one), request_row(dark)]
    await Books(engine, ["bigquery"]).write(rows, [])
    await shipper.ship()
    assert bigquery.calls == [(PATH, [one.id, dark.id])]
    assert "Authorization" not in bigquery.headers[0]  # an emulator gets no credential
    assert bigquery.table[one.id] == {
        "requestId": one.id,
        "createdAt": "2026-01-01T00:00:00.125000+00:00",
        "userId": "u1",
        "jobId": "job_1",
        "taskType": "suggest",
        "service": "web",
        "usageType": "text",
        "provider": "up",
        "model": "m",
        "inputTokens": 10,
        "outputTokens": 4,
        "thoughtsTokens": 3,
        "billedOutputTokens": 7,
        "totalTokens": 17,
        "costUsd": "0.001234567",
        "status": 200,
        "durationMs": 1500,
        "cached": False,
        "metadata": '{"team":"a"}',
    }
    unknown = bigquery.table[dark.id]
    assert (unknown["costUsd"], unknown["metadata"], unknown["userId"]) == (None, None, None)
    assert (shipper.delivered, shipper.failed) == (2, 0)


async def test_a_bad_row_is_set_aside(
    engine: AsyncEngine, bigquery: BigQuery, shipper: Shipper, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await write(engine, 5, "bigquery")
    bigquery.bad, bigquery.slow = {ids[1]}, {ids[3]}
    await shipper.ship()
    assert await waiting(engine, "bigquery") == [ids[3]]
    assert await waiting(engine, "bigquery-aside") == [ids[1]]
    assert (shipper.delivered, shipper.failed) == (3, 1)
    assert f"{ids[1]}: invalid: status" in caplog.text
    assert "secret words" not in caplog.text
    bigquery.slow = set()
    await shipper.ship()
    assert sorted(bigquery.table) == [ids[0], *ids[2:]]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (status(503), "ServiceUnavailable"),
        (status(500), "InternalServerError"),
        (status(403, "accessDenied"), "Forbidden"),
        (status(404, "notFound"), "NotFound"),
        (status(429, "rateLimitExceeded"), "TooManyRequests"),
        (cut, "ConnectionError"),
    ],
)
async def test_a_fault_loses_nothing(
    engine: AsyncEngine, bigquery: BigQuery, shipper: Shipper, reply: Any, error: str
) -> None:
    ids = await write(engine, 2, "bigquery")
    bigquery.script(reply)
    await shipper.ship()
    assert await waiting(engine, "bigquery") == ids
    assert (shipper.error, len(bigquery.calls)) == (error, 1)  # the library does not try again
    await shipper.ship()
    assert sorted(bigquery.table) == ids
    assert (shipper.error, shipper.delivered, shipper.failed) == (None, 2, 0)


async def test_a_delivery_that_is_too_large_goes_in_parts(
    engine: AsyncEngine, bigquery: BigQuery, shipper: Shipper
) -> None:
    ids = await write(engine, 7, "bigquery")
    bigquery.most = 2
    await shipper.ship()
    assert sorted(bigquery.table) == ids
    assert (await waiting(engine, "bigquery"), shipper.failed) == ([], 0)


async def test_nobody_there(engine: AsyncEngine) -> None:
    ids = await write(engine, 1, "bigquery")
    fake = BigQuery()
    async with fake:
        there = section(fake)
    shipper = Shipper(engine, BigQuerySink(there))
    await shipper.ship()
    assert await waiting(engine, "bigquery") == ids
    assert shipper.error == "ConnectionError"
    await shipper.close()


async def test_credentials_that_are_not_there(engine: AsyncEngine, tmp_path: Path) -> None:
    """The rows wait, and the path is in no log."""
    ids = await write(engine, 1, "bigquery")
    missing = str(tmp_path / "missing.json")
    shipper = Shipper(
        engine,
        BigQuerySink(
            BigQuerySection(
                project="project", dataset="llm", table="usage", credentials_file=missing
            )
        ),
    )
    await shipper.ship()
    assert (shipper.error, await waiting(engine, "bigquery")) == ("FileNotFoundError", ids)
    await shipper.close()


async def test_killed_between_delivery_and_note(
    database: str, engine: AsyncEngine, bigquery: BigQuery, shipper: Shipper, tmp_path: Path
) -> None:
    """What arrived is sent again under the same ids, and nothing is lost."""
    ids = await write(engine, 30, "bigquery")
    command = [sys.executable, "-m", "tests.proxy.sinks.crashing"]
    process = await asyncio.create_subprocess_exec(
        *command, database, str(tmp_path), bigquery.endpoint
    )
    assert await process.wait() == -signal.SIGKILL
    assert bigquery.calls == [(PATH, ids)]
    assert await waiting(engine, "bigquery") == ids
    assert not await shipper._look()  # the dead one's lease
    assert len(bigquery.calls) == 1
    async with engine.begin() as connection:
        await connection.execute(update(leases).values(expires_at=1))
    more = await write(engine, 2, "bigquery")
    await shipper._look()
    assert bigquery.calls == [(PATH, ids), (PATH, [*ids, *more])]
    assert sorted(bigquery.table) == [*ids, *more]
    assert await waiting(engine, "bigquery") == []


def test_nothing_configured_is_no_sink() -> None:
    assert sinks_of(SinksSection()) == []
    both = SinksSection(
        bigquery=BigQuerySection(project="project", dataset="d", table="t"),
        firestore=FirestoreSection(project="project"),
    )
    assert [sink.name for sink in sinks_of(both)] == ["bigquery", "firestore"]


async def test_google_is_loaded_when_there_are_rows() -> None:
    """Without them a gateway needs neither the third of a second nor the package."""
    code = "import sys, proxy.sinks as s; print({'google', 'grpc', 'requests'} & set(sys.modules))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0] == b"set()\n"
