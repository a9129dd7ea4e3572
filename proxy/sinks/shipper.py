"""Ships usage to a sink in the background: at least once, oldest first, one process at a time.

A row that the sink will never take is set aside, so that it does not hold up the others; what is
set aside is tried again when a process starts, as somebody may have mended the table meanwhile.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.ids import uuid7
from proxy.sinks.base import Answer, Rejected, Sink, UsageRow
from proxy.sinks.outbox import Outbox

BATCH = 500  # rows of a delivery; both of Google's services advise no more
POLL = 1.0  # seconds between two looks
LEASE = 60.0  # seconds after which another process takes over from one that has died
COUNT_EVERY = 15.0  # seconds between two counts of what waits
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds between deliveries while the sink is away
NAMED = 20  # refused rows of a delivery that the log names

AWAY = (SQLAlchemyError, OSError)

log = logging.getLogger("turnout.sinks")

Clock = Callable[[], float]


class Shipper:
    """One sink's, in each process. `delivered` and `failed` count what this process has done,
    `pending` is what waits in the database, as of some seconds ago; `error` says why the sink
    takes nothing, None when it does."""

    def __init__(self, engine: AsyncEngine, sink: Sink, clock: Clock = time.monotonic) -> None:
        self._sink = sink
        self._outbox = Outbox(engine, sink.name)
        self._clock = clock
        self._id = uuid7()
        self._leads_until = 0.0
        self._counted_at = float("-inf")
        self._not_before = 0.0
        self._failures = 0
        self._has_put_back = False
        self.pending = 0
        self.delivered = 0
        self.failed = 0
        self.error: str | None = None

    @property
    def name(self) -> str:
        """The sink's."""
        return self._sink.name

    async def run(self) -> None:
        """Ships until it is cancelled."""
        try:
            while True:
                if not await self._look():
                    await asyncio.sleep(POLL)
        finally:
            if self._leads_until:
                with suppress(*AWAY):
                    await self._outbox.resign(self._id)

    async def close(self) -> None:
        """To be called when `run` has ended."""
        await self._sink.close()

    async def _look(self) -> bool:
        """Whether there may be more to do at once."""
        try:
            await self._count()
            if self._clock() < self._not_before or not await self._leads():
                return False
            return await self.ship()
        except AWAY as error:
            self._stumble(f"the database failed with {type(error).__name__}")
            return False

    async def _count(self) -> None:
        if self._clock() - self._counted_at >= COUNT_EVERY:
            self.pending = await self._outbox.count()
            self._counted_at = self._clock()

    async def _leads(self) -> bool:
        """Whether it is this process's turn. The lease is made longer when half of it is over."""
        now = self._clock()
        if now < self._leads_until - LEASE / 2:
            return True
        leads = await self._outbox.claim(self._id, LEASE)
        self._leads_until = now + LEASE if leads else 0.0
        if leads and not self._has_put_back:
            if back := await self._outbox.put_back():
                log.info("%d rows that %s had refused are tried again", back, self.name)
            self._has_put_back = True
        return leads

    async def ship(self) -> bool:
        """Delivers the oldest rows; whether there may be more. Raises what the database does."""
        rows, gone = await self._outbox.batch(BATCH)
        if gone:
            log.warning("%d rows were deleted before %s had them", len(gone), self.name)
            await self._outbox.drop(gone)
            self.failed += len(gone)
        if not rows:
            return bool(gone)
        later = await self._ship(rows)
        if not later:
            self._failures, self._not_before, self.error = 0, 0.0, None
        return not later and len(rows) + len(gone) == BATCH

    async def _ship(self, rows: Sequence[UsageRow]) -> bool:
        """Delivers rows and writes down what became of them; whether any must wait. Rows that
        are rejected together go in halves, until it is known which one it is."""
        try:
            answer = await self._sink.deliver(rows)
        except Rejected as error:
            if len(rows) > 1:
                half = len(rows) // 2
                return await self._ship(rows[:half]) or await self._ship(rows[half:])
            answer = Answer({rows[0].request_id: str(error)})
        except Exception as error:  # noqa: BLE001  (a library's: whatever it is, the rows wait)
            self._stumble(type(error).__name__)
            return True
        await self._settle(rows, answer)
        if answer.later:
            self._stumble(f"{len(answer.later)} rows were not taken")
        return bool(answer.later)

    async def _settle(self, rows: Sequence[UsageRow], answer: Answer) -> None:
        taken = [
            row.request_id
            for row in rows
            if row.request_id not in answer.refused and row.request_id not in answer.later
        ]
        if taken:
            await self._outbox.drop(taken)
        if answer.refused:
            await self._outbox.set_aside(list(answer.refused))
            for request, why in list(answer.refused.items())[:NAMED]:
                log.error("%s refuses the row of request %s: %s", self.name, request, why)
            log.error("%d rows for %s were set aside", len(answer.refused), self.name)
        self.delivered += len(taken)
        self.failed += len(answer.refused)
        self.pending = max(0, self.pending - len(taken) - len(answer.refused))

    def _stumble(self, why: str) -> None:
        """Leaves the sink alone for a while: each time twice as long, by chance a little less."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 20))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  (no secret: it keeps processes apart)
        self._failures += 1
        self._not_before = self._clock() + pause
        self.error = why
        log.warning("usage for %s waits %.0f s: %s", self.name, pause, why)
