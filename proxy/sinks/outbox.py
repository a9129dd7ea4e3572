"""The rows that a sink has not taken yet, and whose turn it is to ship them.

The books note each new request here in the transaction that writes it. It leaves when the sink
has it, so a process that dies in between ships it again.
"""

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.sinks.base import UsageRow, usage_row
from proxy.storage.schema import leases, outbox, requests

ASIDE = "-aside"
"""What follows the sink's name in rows that it will never take."""


class Batch(NamedTuple):
    """The oldest rows that wait, and the ids of those that are no longer in the books."""

    rows: list[UsageRow]
    gone: list[str]


class Outbox:
    """One sink's part of the table. All methods raise `SQLAlchemyError` or `OSError`."""

    def __init__(
        self, engine: AsyncEngine, sink: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._sink = sink
        self._clock = clock

    async def batch(self, limit: int) -> Batch:
        """At most `limit` rows, oldest first."""
        due = (
            select(outbox.c.request_id)
            .where(outbox.c.sink == self._sink)
            .order_by(outbox.c.request_id)
            .limit(limit)
            .subquery()
        )
        joined = due.outerjoin(requests, requests.c.id == due.c.request_id)
        query = select(due.c.request_id, requests).select_from(joined).order_by(due.c.request_id)
        async with self._engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        rows = [usage_row(_plain(row)) for row in found if row["id"] is not None]
        return Batch(rows, [row["request_id"] for row in found if row["id"] is None])

    async def drop(self, ids: Collection[str]) -> None:
        """They have arrived."""
        gone = delete(outbox).where(outbox.c.sink == self._sink, outbox.c.request_id.in_(ids))
        async with self._engine.begin() as connection:
            await connection.execute(gone)

    async def set_aside(self, ids: Collection[str]) -> None:
        """They will never be taken: they stay, and are in nobody's way."""
        await self._rename(ids, self._sink, self._sink + ASIDE)

    async def put_back(self) -> int:
        """Those set aside are to be tried again; how many there are."""
        aside = select(outbox.c.request_id).where(outbox.c.sink == self._sink + ASIDE)
        async with self._engine.connect() as connection:
            ids = list((await connection.execute(aside)).scalars())
        for start in range(0, len(ids), 500):
            await self._rename(ids[start : start + 500], self._sink + ASIDE, self._sink)
        return len(ids)

    async def _rename(self, ids: Collection[str], before: str, after: str) -> None:
        """Another process may have done so already: then there is nothing left to move."""
        chosen = outbox.c.sink == before, outbox.c.request_id.in_(ids)
        async with self._engine.begin() as connection:
            await connection.execute(update(outbox).where(*chosen).values(sink=after))

    async def count(self) -> int:
        """Rows that wait."""
        waiting = select(func.count()).select_from(outbox).where(outbox.c.sink == self._sink)
        async with self._engine.connect() as connection:
            return int((await connection.execute(waiting)).scalar_one())

    # Whose turn it is.

    async def claim(self, holder: str, seconds: float) -> bool:
        """Whether `holder` alone may ship for so many seconds. Clocks that disagree, or a delivery
        that takes longer, let two ship the same rows: they arrive once all the same."""
        now = int(1000 * self._clock())
        until = now + int(1000 * seconds)
        name = leases.c.name == self._name
        mine = name & ((leases.c.holder == holder) | (leases.c.expires_at <= now))
        async with self._engine.connect() as connection:
            found = (await connection.execute(select(leases).where(name))).one_or_none()
        if found is None:
            return await self._first(holder, until)
        if found.holder != holder and found.expires_at > now:
            return False
        async with self._engine.begin() as connection:
            taken = update(leases).where(mine).values(holder=holder, expires_at=until)
            return bool((await connection.execute(taken)).rowcount)

    async def _first(self, holder: str, until: int) -> bool:
        row = {"name": self._name, "holder": holder, "expires_at": until}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(leases).values(row))
        except IntegrityError:
            return False
        return True

    async def resign(self, holder: str) -> None:
        """Lets another one ship at once."""
        mine = leases.c.name == self._name, leases.c.holder == holder
        async with self._engine.begin() as connection:
            await connection.execute(delete(leases).where(*mine))

    @property
    def _name(self) -> str:
        return f"sink:{self._sink}"


def _plain(row: Any) -> dict[str, Any]:
    return {column.name: row[column.name] for column in requests.c}
