"""What a sink is given, and what it says of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import orjson

PATIENCE = 10.0  # seconds that a delivery may take

_EPOCH = datetime.fromtimestamp(0, UTC)
_NANO = Decimal(10) ** 9


class UsageRow(NamedTuple):
    """A request as it is reported. `output_tokens` were said and `thoughts_tokens` only thought;
    both are billed as output. The cost is in USD, None when nobody knows the price."""

    request_id: str
    created_at: datetime
    user_id: str | None
    job_id: str | None
    task_type: str | None
    service: str | None
    usage_type: str | None
    provider: str | None
    model: str | None
    input_tokens: int
    output_tokens: int
    thoughts_tokens: int
    billed_output_tokens: int
    total_tokens: int
    cost_usd: Decimal | None
    status: int
    duration_ms: int
    cached: bool
    metadata: str | None

    def named(self) -> dict[str, Any]:
        """The values under the names that they are reported by: `requestId`, `createdAt` …"""
        return dict(zip(NAMES, self, strict=True))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


NAMES = tuple(_camel(name) for name in UsageRow._fields)
"""The names of a row's values at a sink, in their order."""


class Rejected(Exception):
    """A sink takes no delivery with these rows in it: perhaps one of them is at fault, or they
    are too many. Of one row alone: it will never be taken."""


class Answer(NamedTuple):
    """What became of a delivery. A row that is in neither was taken."""

    refused: Mapping[str, str] = {}
    """Request id -> why that row will never be taken, without any of its values."""

    later: frozenset[str] = frozenset()
    """Request ids of rows that were not taken now."""


ALL_TAKEN = Answer()


class Sink(Protocol):
    """A place that takes usage rows; the same row twice is there once."""

    @property
    def name(self) -> str:
        """At most ten characters: it names the rows that wait in the outbox."""
        ...

    async def deliver(self, rows: Sequence[UsageRow]) -> Answer:
        """Raises `Rejected`; anything else that is raised means that the sink is away."""
        ...

    async def close(self) -> None: ...


def usage_row(row: Mapping[str, Any]) -> UsageRow:
    """A row of the table `requests`, whose `output_tokens` are all billed output."""
    billed, thoughts = row["output_tokens"], row["reasoning_tokens"]
    metadata, cost = row["metadata"], row["cost_nanousd"]
    return UsageRow(
        request_id=row["id"],
        created_at=_EPOCH + timedelta(milliseconds=row["created_at"]),
        user_id=row["user_id"],
        job_id=row["job_id"],
        task_type=row["task_type"],
        service=row["service_name"],
        usage_type=row["usage_type"],
        provider=row["provider_name"],
        model=row["model"],
        input_tokens=row["input_tokens"],
        output_tokens=max(0, billed - thoughts),
        thoughts_tokens=thoughts,
        billed_output_tokens=billed,
        total_tokens=row["input_tokens"] + billed,
        cost_usd=None if cost is None else Decimal(cost) / _NANO,
        status=row["status_code"],
        duration_ms=row["duration_ms"],
        cached=bool(row["cached"]),
        metadata=None if metadata is None else orjson.dumps(metadata).decode(),
    )
