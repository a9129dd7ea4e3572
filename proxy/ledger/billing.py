"""What one caller has used, by day, provider and model, from the rows themselves.

The roll-ups know one thing of a row at a time; a bill needs the model with its provider.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import earliest
from proxy.ledger.analytics import SLACK, Period
from proxy.ledger.rollups import DAY
from proxy.storage.schema import requests


class Payer(NamedTuple):
    """Whose rows: all that are set must fit. `role` with neither of the others is who has no
    user and no key: the master key, a service that names nobody."""

    user_id: str | None = None
    key_id: str | None = None
    role: str | None = None


class Used(NamedTuple):
    """Sums of requests. `provider` and `model` are None of those that no provider was asked for;
    cost is in nano-dollars."""

    provider: str | None
    model: str | None
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nanousd: int


class DayUsed(NamedTuple):
    """The sums of a day, which began at `day` (UTC), in epoch milliseconds."""

    day: int
    used: Used


async def used_by(engine: AsyncEngine, payer: Payer, days: int) -> list[DayUsed]:
    """What was used in the last `days` days, which begin at a full hour; oldest first."""
    table = requests.c
    first = Period.last(days).first
    near = earliest(max(0, first / 1000 - SLACK))
    day = (table.created_at - table.created_at % DAY).label("day")
    rows = (
        select(requests, day)
        .where(*_of(payer), table.id >= near, table.created_at >= first)
        .subquery()
    )
    groups = (rows.c.day, rows.c.provider_name, rows.c.model)
    sums = [rows.c[name] for name in ("input_tokens", "output_tokens", "cost_nanousd")]
    query = select(*groups, func.count(), *(func.coalesce(func.sum(s), 0) for s in sums))
    async with engine.connect() as connection:
        found = (await connection.execute(query.group_by(*groups).order_by(rows.c.day))).all()
    return [DayUsed(int(row[0]), Used(row[1], row[2], *map(int, row[3:]))) for row in found]


def _of(payer: Payer) -> list[ColumnElement[bool]]:
    table = requests.c
    fits: list[ColumnElement[bool]] = []
    if payer.role is not None:
        fits.append(table.role == payer.role)
    if payer.user_id is not None:
        fits.append(table.user_id == payer.user_id)
    if payer.key_id is not None:
        fits.append(table.key_id == payer.key_id)
    if payer.user_id is None and payer.key_id is None:
        fits += [table.user_id.is_(None), table.key_id.is_(None)]
    return fits


def by_model(days: Iterable[DayUsed]) -> list[Used]:
    """The sums of each model of each provider, dearest first."""
    found: dict[Any, list[Used]] = {}
    for _, used in days:
        found.setdefault((used.provider, used.model), []).append(used)
    sums = [together(group)._replace(provider=p, model=m) for (p, m), group in found.items()]
    return sorted(sums, key=lambda used: (-used.cost_nanousd, -used.requests, used.model or ""))


def together(group: Iterable[Used]) -> Used:
    """All of them as one; of no provider and no model."""
    numbers = [used[2:] for used in group] or [(0, 0, 0, 0)]
    return Used(None, None, *map(sum, zip(*numbers, strict=True)))
