"""Frames: what the spool's files are made of. Pure; files are the spool's business.

A frame is the payload's length and its CRC-32, four little-endian bytes each, and the payload: a
JSON list whose first entry names its kind.

    head     the columns of the rows that follow; first in each file
    intent   an attempt that is about to be sent (`Intent`)
    settle   a finished request: its row, and the rows of its attempts
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

import orjson
from sqlalchemy import Table

from adapters.base import Endpoint, Usage
from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS, Row, attempt_row, request_row
from proxy.storage.schema import attempts, requests
from proxy.types import Attempt, Outcome, Principal, Record, Role, UsageSource

LONGEST = 1 << 26  # bytes of a payload; a length above it is none

HEAD, INTENT, SETTLE = "head", "intent", "settle"

_LENGTH_AND_SUM = Struct("<II")
OVERHEAD = _LENGTH_AND_SUM.size
"""Bytes of a frame beside its payload."""

Rows = tuple[list[Row], list[Row]]
"""Request rows, and the rows of their attempts."""


def frame(payload: bytes) -> bytes:
    return _LENGTH_AND_SUM.pack(len(payload), crc32(payload)) + payload


class Scan(NamedTuple):
    """The whole frames of some bytes, as (payload, offset after it).

    `end` is the offset behind the last of them, and `needs` the bytes that a frame there takes at
    least: 0 when what is there can't be the beginning of one. `damaged` counts frames that were
    left out because their sum is wrong.
    """

    payloads: list[tuple[bytes, int]]
    end: int
    needs: int
    damaged: int


def scan(data: bytes, offset: int = 0) -> Scan:
    """Frames in `data`, which begins at `offset` of its file."""
    payloads: list[tuple[bytes, int]] = []
    at = damaged = 0
    needs = OVERHEAD
    while at + OVERHEAD <= len(data):
        length, checksum = _LENGTH_AND_SUM.unpack_from(data, at)
        if not 0 < length <= LONGEST:  # power loss leaves zeros, whose sum would be right
            needs = 0
            break
        end = at + OVERHEAD + length
        if end > len(data):
            needs = OVERHEAD + length
            break
        payload = data[at + OVERHEAD : end]
        if crc32(payload) == checksum:
            payloads.append((payload, offset + end))
        else:
            damaged += 1
        at = end
    return Scan(payloads, offset + at, needs, damaged)


class Intent(NamedTuple):
    """An attempt that is about to be sent. Times are epoch seconds; `usage` is an estimate."""

    request: str
    started_at: float
    user: str | None
    service: str | None
    job: str | None
    task: str | None
    key_id: str | None
    role: str | None
    name: str | None
    endpoint: str | None
    stream: bool
    metadata: dict[str, Any] | None
    number: int
    attempt: str
    attempt_started_at: float
    provider: str
    model: str
    credential: int
    cost_nanousd: int | None
    usage: Sequence[int] | None


def head_payload() -> bytes:
    return orjson.dumps((HEAD, REQUEST_COLUMNS, ATTEMPT_COLUMNS))


def intent_payload(record: Record, attempt: Attempt, usage: Usage | None) -> bytes:
    """The fields of `Intent` in their order. Raises `TypeError` on what JSON can't say."""
    principal = record.principal
    return orjson.dumps(
        (
            INTENT,
            record.id,
            record.started_at,
            record.user,
            record.service,
            record.job,
            record.task,
            principal.key_id if principal else None,
            principal.role if principal else None,
            record.name,
            record.endpoint,
            record.stream,
            dict(record.metadata) if record.metadata else None,
            attempt.number,
            attempt.id,
            attempt.started_at,
            attempt.provider,
            attempt.model,
            attempt.credential,
            attempt.cost_nanousd,
            tuple(usage) if usage else None,
        )
    )


def settle_payload(row: Row, tries: Sequence[Row]) -> bytes:
    """Raises `TypeError` on what JSON can't say."""
    return orjson.dumps((SETTLE, row, tries))


def unknown(intents: Sequence[Intent]) -> tuple[Row, list[Row]]:
    """The rows of a request of which only its attempts' intents are known, first one first.

    What was sent may have been billed: the prompts count as estimated, the answers as nothing.
    """
    first, last = intents[0], intents[-1]
    record = Record(first.request)
    record.started_at = first.started_at
    record.user, record.service, record.job = first.user, first.service, first.job
    record.task, record.name, record.stream = first.task, first.name, first.stream
    record.principal = Principal(Role(first.role), first.key_id) if first.role else None
    record.endpoint = Endpoint(first.endpoint) if first.endpoint else None
    record.metadata = first.metadata or {}
    record.provider, record.model = last.provider, last.model
    record.attempts = [_unknown_attempt(intent) for intent in intents]
    record.outcome, record.usage_source = Outcome.UNKNOWN, UsageSource.ESTIMATED
    usages = [attempt.usage for attempt in record.attempts if attempt.usage]
    record.usage = Usage(*map(sum, zip(*usages, strict=True)))
    costs = [a.cost_nanousd for a in record.attempts if a.cost_nanousd is not None]
    record.cost_nanousd = sum(costs) if costs else None
    return request_row(record), [attempt_row(record, attempt) for attempt in record.attempts]


def _unknown_attempt(intent: Intent) -> Attempt:
    attempt = Attempt(
        intent.attempt, intent.number, intent.provider, intent.model, intent.credential
    )
    attempt.started_at = intent.attempt_started_at
    attempt.outcome, attempt.usage_source = Outcome.UNKNOWN, UsageSource.ESTIMATED
    attempt.usage = Usage(*intent.usage) if intent.usage else Usage()
    attempt.cost_nanousd = intent.cost_nanousd
    return attempt


class Columns:
    """The columns that a file's rows have: those of the version of Turnout that wrote it."""

    def __init__(
        self,
        request: Sequence[str] = REQUEST_COLUMNS,
        attempt: Sequence[str] = ATTEMPT_COLUMNS,
    ) -> None:
        self._request = tuple(request)
        self._attempt = tuple(attempt)
        self._id = self._request.index("id")

    def settled(self, row: Sequence[Any], tries: Sequence[Sequence[Any]]) -> tuple[Row, list[Row]]:
        """The rows, with the columns of today."""
        return (
            _fit(row, self._request, REQUEST_COLUMNS, requests),
            [_fit(one, self._attempt, ATTEMPT_COLUMNS, attempts) for one in tries],
        )

    def id_of(self, row: Sequence[Any]) -> str:
        return str(row[self._id])


def _fit(row: Sequence[Any], had: tuple[str, ...], wanted: tuple[str, ...], table: Table) -> Row:
    if had == wanted and len(row) == len(had):
        return tuple(row)
    known = dict(zip(had, row, strict=True))
    return tuple(
        known[name] if name in known else None if table.c[name].nullable else 0 for name in wanted
    )
