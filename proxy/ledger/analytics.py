"""The books, summed."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, null, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.storage.schema import requests

GROUPS = {
    "provider": requests.c.provider_name,
    "model": requests.c.model,
    "service": requests.c.service_name,
    "user": requests.c.user_id,
    "task": requests.c.task_type,
    "key": requests.c.key_id,
}
"""What the books can be summed by."""

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Summary:
    """Requests of one group. Cost in USD, latency in milliseconds; `group` None is 'none given'."""

    group: str | None
    requests: int
    errors: int
    cached: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: float
    avg_latency_ms: float

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


async def summarise(engine: AsyncEngine, days: int, by: str | None = None) -> list[Summary]:
    """The requests of the last `days` days, by one of `GROUPS` or all together; dearest first."""
    table = requests.c
    group: Any = GROUPS[by] if by else null()
    since = earliest(time.time() - days * DAY)
    query = select(
        group.label("group"),
        func.count().label("requests"),
        func.sum(case((table.outcome == "failed", 1), else_=0)).label("errors"),
        func.sum(case((table.cached, 1), else_=0)).label("cached"),
        func.sum(table.input_tokens).label("input_tokens"),
        func.sum(table.cached_tokens).label("cached_tokens"),
        func.sum(table.output_tokens).label("output_tokens"),
        func.sum(table.reasoning_tokens).label("reasoning_tokens"),
        func.coalesce(func.sum(table.cost_nanousd), 0).label("cost"),
        func.avg(table.duration_ms).label("latency"),
    ).where(table.id >= since)
    if by:
        query = query.group_by(group)
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    found = [_summary(row) for row in rows if row.requests]
    return sorted(found, key=lambda s: (-s.cost_usd, -s.requests, s.group or ""))


def _summary(row: Any) -> Summary:
    return Summary(
        group=row.group,
        requests=row.requests,
        errors=row.errors,
        cached=row.cached,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        cost_usd=row.cost / 1e9,
        avg_latency_ms=round(row.latency, 1),
    )
