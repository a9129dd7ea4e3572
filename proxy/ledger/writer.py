"""Writes usage records in the background, in batches.

A request only puts its record on a queue. While the database is away or locked the records wait,
and are written when it is back. (Room is left here for the spool that survives a crash: `submit`
is the one way in.)
"""

import asyncio
import logging
from collections import deque

from sqlalchemy.exc import SQLAlchemyError

from proxy.ledger.books import Books
from proxy.ledger.rows import attempt_row, request_row
from proxy.tasks import spawn
from proxy.types import Record

GROUP = 0.05  # seconds in which records are gathered into one transaction
BATCH = 200  # records of one transaction at most
LIMIT = 200_000  # records that wait at most; more are counted as lost
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between tries while the database is away

log = logging.getLogger("turnout.ledger")


class Writer:
    """One a process. `lost` counts records that could not even wait: it should stay 0."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._queue: deque[Record] = deque()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False
        self._writing: asyncio.Task[None] | None = None
        self.lost = 0

    @property
    def pending(self) -> int:
        """Records that are not in the database yet."""
        return len(self._queue)

    async def start(self) -> None:
        self._writing = spawn(self._write_forever(), "write the ledger")

    async def stop(self) -> None:
        """Writes what waits, then ends. A database that stays away is given up on with a count."""
        self._stopping = True
        self._wake.set()
        if self._writing is not None:
            await self._writing

    async def flush(self) -> None:
        """Returns when all that was submitted before is in the database."""
        await self._empty.wait()

    def submit(self, record: Record) -> None:
        """Takes a record; never waits, never fails."""
        if len(self._queue) >= LIMIT:
            self.lost += 1
            if self.lost == 1 or self.lost % 1000 == 0:
                log.critical("%d usage records lost: the database is away too long", self.lost)
            return
        self._queue.append(record)
        self._empty.clear()
        self._wake.set()

    async def _write_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._wake.wait()
            if not self._stopping:
                await asyncio.sleep(GROUP)
            self._wake.clear()
            try:
                await self._write_queue()
                pause = FIRST_PAUSE
            except SQLAlchemyError as error:
                waiting = len(self._queue)
                if self._stopping:
                    self.lost += waiting
                    log.critical("%d usage records lost: %s", waiting, type(error).__name__)
                    return
                log.error(
                    "%d usage records wait: the database failed with %s",
                    waiting,
                    type(error).__name__,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                self._wake.set()
            if self._stopping and not self._queue:
                return

    async def _write_queue(self) -> None:
        while self._queue:
            batch = [self._queue[i] for i in range(min(BATCH, len(self._queue)))]
            await self._write(batch)
            for _ in batch:  # off the queue only once they are committed
                self._queue.popleft()
        self._empty.set()

    async def _write(self, batch: list[Record]) -> None:
        rows = [request_row(record) for record in batch]
        tries = [attempt_row(record, attempt) for record in batch for attempt in record.attempts]
        await self._books.write(rows, tries)
