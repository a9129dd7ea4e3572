"""Rows become documents of Firestore's, through Google's own library and real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.config_types import FirestoreSection
from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.sinks.firestore import FirestoreSink
from proxy.sinks.shipper import Shipper
from tests.fakes.google import Firestore
from tests.proxy.sinks.rows import told, waiting, write

PREFIX = "projects/project/databases/(default)/documents/llm_usage/"


@pytest.fixture
def firestore() -> Iterator[Firestore]:
    with Firestore() as fake:
        yield fake


@pytest.fixture
async def shipper(engine: AsyncEngine, firestore: Firestore) -> AsyncIterator[Shipper]:
    section = FirestoreSection(project="project", emulator=firestore.address)
    made = Shipper(engine, FirestoreSink(section))
    yield made
    await made.close()


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The wire's values with their kinds."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        kind = type(value).pb(value).WhichOneof("value_type")
        told = getattr(value, kind)
        found[name] = (kind, told.isoformat() if kind == "timestamp_value" else told)
    return found


async def test_what_arrives(engine: AsyncEngine, firestore: Firestore, shipper: Shipper) -> None:
    one = told()
    await Books(engine, ["firestore"]).write([request_row(one)], [])
    await shipper.ship()
    assert list(firestore.documents) == [PREFIX + one.id]
    assert plain(firestore.documents[PREFIX + one.id]) == {
        "requestId": ("string_value", one.id),
        "createdAt": ("timestamp_value", "2026-01-01T00:00:00.125000+00:00"),
        "userId": ("string_value", "u1"),
        "jobId": ("string_value", "job_1"),
        "taskType": ("string_value", "suggest"),
        "service": ("string_value", "web"),
        "usageType": ("string_value", "text"),
        "provider": ("string_value", "up"),
        "model": ("string_value", "m"),
        "inputTokens": ("integer_value", 10),
        "outputTokens": ("integer_value", 4),
        "thoughtsTokens": ("integer_value", 3),
        "billedOutputTokens": ("integer_value", 7),
        "totalTokens": ("integer_value", 17),
        "costUsd": ("double_value", 0.001234567),
        "status": ("integer_value", 200),
        "durationMs": ("integer_value", 1500),
        "cached": ("boolean_value", False),
        "metadata": ("string_value", '{"team":"a"}'),
    }
    assert firestore.metadata[0]["authorization"] == "Bearer owner"
    assert (shipper.delivered, await waiting(engine, "firestore")) == (1, [])


async def test_what_is_not_known_is_null(
    engine: AsyncEngine, firestore: Firestore, shipper: Shipper
) -> None:
    dark = told(cost_nanousd=None, metadata={}, user=None)
    await Books(engine, ["firestore"]).write([request_row(dark)], [])
    await shipper.ship()
    found = plain(firestore.documents[PREFIX + dark.id])
    assert {found[name][0] for name in ("costUsd", "metadata", "userId")} == {"null_value"}


async def test_writes_fail_one_by_one(
    engine: AsyncEngine, firestore: Firestore, shipper: Shipper, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await write(engine, 4, "firestore")
    firestore.codes = {ids[0]: 3, ids[2]: 14}  # INVALID_ARGUMENT, UNAVAILABLE
    await shipper.ship()
    assert await waiting(engine, "firestore") == [ids[2]]
    assert await waiting(engine, "firestore-aside") == [ids[0]]
    assert (shipper.delivered, shipper.failed) == (2, 1)
    assert f"{ids[0]}: INVALID_ARGUMENT" in caplog.text
    firestore.codes = {}
    await shipper.ship()
    assert sorted(firestore.documents) == [PREFIX + one for one in ids[1:]]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, "ServiceUnavailable"),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted"),
        (grpc.StatusCode.NOT_FOUND, "NotFound"),
    ],
)
async def test_a_fault_loses_nothing(
    engine: AsyncEngine, firestore: Firestore, shipper: Shipper, code: Any, error: str
) -> None:
    ids = await write(engine, 2, "firestore")
    firestore.refusals.append(code)
    await shipper.ship()
    assert (await waiting(engine, "firestore"), shipper.error) == (ids, error)
    assert len(firestore.calls) == 1  # the library does not try again
    await shipper.ship()
    assert sorted(firestore.documents) == [PREFIX + one for one in ids]
    assert (shipper.error, shipper.delivered) == (None, 2)


async def test_a_call_that_is_rejected_goes_in_parts(
    engine: AsyncEngine, firestore: Firestore, shipper: Shipper
) -> None:
    ids = await write(engine, 7, "firestore")
    firestore.most = 2
    await shipper.ship()
    assert sorted(firestore.documents) == [PREFIX + one for one in ids]
    assert (await waiting(engine, "firestore"), shipper.failed) == ([], 0)


async def test_a_row_sent_twice_is_there_once(
    engine: AsyncEngine, firestore: Firestore, shipper: Shipper
) -> None:
    """Two processes that ship the same rows at once."""
    ids = await write(engine, 3, "firestore")
    section = FirestoreSection(project="project", emulator=firestore.address)
    other = Shipper(engine, FirestoreSink(section))
    await asyncio.gather(shipper.ship(), other.ship())
    await other.close()
    assert sorted(firestore.documents) == [PREFIX + one for one in ids]
    assert await waiting(engine, "firestore") == []


async def test_nobody_there(engine: AsyncEngine) -> None:
    ids = await write(engine, 1, "firestore")
    with Firestore() as fake:
        section = FirestoreSection(project="project", emulator=fake.address)
    shipper = Shipper(engine, FirestoreSink(section))
    await shipper.ship()
    assert await waiting(engine, "firestore") == ids
    assert shipper.error == "ServiceUnavailable"
    await shipper.close()


async def test_another_database_and_collection(firestore: Firestore, engine: AsyncEngine) -> None:
    section = FirestoreSection(
        project="project", database="eu-1", collection="calls", emulator=firestore.address
    )
    shipper = Shipper(engine, FirestoreSink(section))
    ids = await write(engine, 1, "firestore")
    await shipper.ship()
    await shipper.close()
    assert list(firestore.documents) == [
        f"projects/project/databases/eu-1/documents/calls/{ids[0]}"
    ]
