"""The labels of the cache by meaning: written off the request's path, followed among processes.

A label says how alike two questions were and whether the one's answer was right for the other.
Neither a question nor an answer is in it: of both there is the score, and of the scope a digest.

A row's `id` is given by the database, in the order of writing, nearly: PostgreSQL may commit a
lower one a little later. So a look goes back by `OVERLAP` rows and leaves out what it has seen.
"""

import asyncio
import hashlib
import logging
import math
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import Any, Literal, NamedTuple

from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.storage.schema import cache_labels as table
from proxy.tasks import end, spawn

NEWEST = 20_000  # labels that are loaded
KEPT = 100_000  # rows that stay in the table
QUEUE = 5_000  # labels that wait for the database at most
BATCH = 500  # rows of one transaction
GROUP = 1.0  # seconds in which labels are gathered into one
FOLLOW = 30.0  # seconds between two looks for those of other processes
PRUNE_AFTER = 20  # such looks between two that delete
OVERLAP = 1_000  # rows that a look goes back by
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between tries while the database is away
PAUSE = 0.05  # seconds between two transactions that delete, in which others write
LAST_TRY = 5.0  # seconds that the end waits for what is not written

AWAY = (SQLAlchemyError, OSError)

log = logging.getLogger("turnout.cache")


class StoredLabel(NamedTuple):
    """A label as it is stored: the fields of `proxy.semantic.calibration.Label`, in its order,
    and the id of the entry whose answer it was. `at` is epoch seconds."""

    score: float
    right: bool
    weight: float
    source: Literal["near_miss", "shadow", "repeat"]
    at: float
    scope: str = ""
    entry: str | None = None


Labels = Sequence[StoredLabel]


def digest_scope(scope: str) -> str:
    """What stands for a scope in a label: 32 hex digits, '' for ''."""
    if not scope:
        return ""
    return hashlib.blake2b(scope.encode(errors="replace"), digest_size=16).hexdigest()


class LabelBook:
    """The labels of one embedder, whose id says what its scores mean.

    `on_labels` is told the labels that other processes or earlier ones have made, oldest first,
    and `on_quarantine` the ids of entries that were served once and were wrong: here or elsewhere,
    with whatever embedder. `lost` counts labels that nobody will ever read.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        embedder: str,
        on_labels: Callable[[Labels], None] | None = None,
        on_quarantine: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._engine = engine
        self._embedder = _clean(embedder)
        self._on_labels = on_labels
        self._on_quarantine = on_quarantine
        self._writer = os.urandom(8).hex()
        self._count = 0
        self._queue: deque[dict[str, Any]] = deque()
        self._quarantine: OrderedDict[str, None] = OrderedDict()
        self._newest: int | None = None  # the highest id that was seen
        self._seen: set[int] = set()  # ids from there back by `OVERLAP`
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Labels that are not in the database yet."""
        return len(self._queue)

    @property
    def quarantined(self) -> int:
        """Entries that were served and wrong."""
        return len(self._quarantine)

    async def start(self) -> None:
        """Loads the newest labels, and keeps up from then on; a database that is away comes
        later."""
        with suppress(*AWAY):
            await self.follow()
        self._tasks.append(spawn(self._write_forever(), "write cache labels"))
        self._tasks.append(spawn(self._follow_forever(), "follow cache labels"))

    async def stop(self) -> None:
        """Writes what waits, if the database takes it soon, and ends."""
        for task in self._tasks:
            await end(task)
        self._tasks.clear()
        try:
            async with asyncio.timeout(LAST_TRY):
                await self.write()
        except AWAY:  # a timeout is an OSError
            self._lose(len(self._queue))
            self._queue.clear()

    def add(self, labels: Iterable[StoredLabel]) -> None:
        """Takes labels made here; never waits, never fails. The oldest go when too many wait."""
        bad = []
        for label in labels:
            row = self._row(label)
            if row is None:
                self._lose(1)
                continue
            self._queue.append(row)
            if label.entry is not None and _is_bad(label.source, label.right):
                bad.append(label.entry)
        if len(self._queue) > QUEUE:
            self._lose(len(self._queue) - QUEUE)
            while len(self._queue) > QUEUE:
                self._queue.popleft()
        self._wake.set()
        self._put_aside(bad)

    def is_quarantined(self, entry: str) -> bool:
        """Whether an entry's answer was once served and wrong."""
        return entry in self._quarantine

    async def write(self) -> None:
        """Writes what waits. Raises `SQLAlchemyError`; what is not written then waits on."""
        while self._queue:
            batch = list(islice(self._queue, BATCH))
            async with self._engine.begin() as connection:
                await connection.execute(_insert(connection), batch)
            written = {row["name"] for row in batch}
            while self._queue and self._queue[0]["name"] in written:
                self._queue.popleft()

    async def follow(self) -> None:
        """Takes over what others have written since the last time; the first time, the newest
        labels of all. Raises `SQLAlchemyError`."""
        newest = self._newest
        wanted = table.c.embedder == self._embedder
        if newest is not None:
            wanted = table.c.id > newest - OVERLAP
        query = select(table).where(wanted).order_by(table.c.id.desc()).limit(NEWEST)
        async with self._engine.connect() as connection:
            rows = list(await connection.execute(query))
            bad = _bad_of(rows) if newest is not None else await _bad_entries(connection)
        rows = [row for row in reversed(rows) if row.id not in self._seen]
        self._newest = max([row.id for row in rows], default=newest or 0)
        self._seen.update(row.id for row in rows)
        self._seen = {seen for seen in self._seen if seen > self._newest - OVERLAP}
        self._put_aside(bad)
        others = [_label(row) for row in rows if self._is_others(row)]
        if others and self._on_labels is not None:
            self._on_labels(others)

    async def prune(self) -> int:
        """Deletes all but the newest rows, a few at a time; how many. Raises `SQLAlchemyError`."""
        async with self._engine.connect() as connection:
            ids = select(table.c.id).order_by(table.c.id.desc())
            last = (await connection.execute(ids.offset(KEPT).limit(1))).scalar()
        gone = 0
        while last is not None:
            async with self._engine.begin() as connection:
                least = (await connection.execute(select(func.min(table.c.id)))).scalar()
                if least is None or least > last:
                    break
                old = table.c.id < min(last + 1, least + BATCH)
                gone += (await connection.execute(delete(table).where(old))).rowcount
            await asyncio.sleep(PAUSE)
        return gone

    def _row(self, label: StoredLabel) -> dict[str, Any] | None:
        """None for a label that no database takes."""
        if not all(map(math.isfinite, (label.score, label.weight, label.at))):
            return None
        self._count += 1
        return {
            "name": f"{self._writer}{self._count:012x}",
            "created_at": int(label.at * 1000),
            "score": float(label.score),
            "is_right": bool(label.right),
            "weight": float(label.weight),
            "source": label.source,
            "scope": _clean(label.scope)[:32],
            "embedder": self._embedder,
            "entry_id": None if label.entry is None else _clean(label.entry),
        }

    def _is_others(self, row: Row[Any]) -> bool:
        return row.embedder == self._embedder and not row.name.startswith(self._writer)

    def _put_aside(self, entries: Iterable[str]) -> None:
        new = [entry for entry in dict.fromkeys(entries) if entry not in self._quarantine]
        self._quarantine.update(dict.fromkeys(new))
        while len(self._quarantine) > KEPT:
            self._quarantine.popitem(last=False)
        if new and self._on_quarantine is not None:
            self._on_quarantine(new)

    def _lose(self, labels: int) -> None:
        before, self.lost = self.lost, self.lost + labels
        if labels and (not before or before // 1000 != self.lost // 1000):
            log.warning(
                "%d cache labels lost: the database is away, or does not take them", self.lost
            )

    async def _write_forever(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._wake.wait()
            await asyncio.sleep(GROUP)
            self._wake.clear()
            try:
                await self.write()
                pause = FIRST_PAUSE
            except AWAY as error:
                name = type(error).__name__
                log.warning("%d cache labels wait: the database failed with %s", self.waiting, name)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                self._wake.set()

    async def _follow_forever(self) -> None:
        for look in count(1):
            await asyncio.sleep(FOLLOW)
            try:
                await self.follow()
                if look % PRUNE_AFTER == 0:
                    await self.prune()
            except AWAY as error:
                log.warning("cache labels could not be read: %s", type(error).__name__)


def _insert(connection: AsyncConnection) -> Any:
    """A row that is there already is left alone: a commit may have gone through unheard."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()


def _is_bad(source: str, is_right: bool) -> bool:
    """Whether an answer was served and wrong: of a near miss only the pair was wrong."""
    return source == "shadow" and not is_right


def _bad_of(rows: Iterable[Row[Any]]) -> list[str]:
    return [row.entry_id for row in rows if row.entry_id and _is_bad(row.source, row.is_right)]


async def _bad_entries(connection: AsyncConnection) -> list[str]:
    bad = (table.c.source == "shadow", ~table.c.is_right, table.c.entry_id.is_not(None))
    query = select(table.c.entry_id).where(*bad).order_by(table.c.id)
    return list((await connection.execute(query)).scalars())


def _label(row: Row[Any]) -> StoredLabel:
    return StoredLabel(
        row.score,
        row.is_right,
        row.weight,
        row.source,
        row.created_at / 1000,
        row.scope,
        row.entry_id,
    )


def _clean(text: str) -> str:
    """Text that every database takes."""
    return text.encode(errors="replace").decode().replace("\0", "")
