"""A small table held in memory, and kept up with what other processes change.

A request reads it and waits for nothing. Who writes through a mirror sees it at once, other
processes within `REFRESH` seconds. What is deleted stays in the table with `deleted_at`: a row
that is just gone nobody would hear of.

What is new is found by `updated_at`, which the writer's clock says. Clocks may be apart by
`OVERLAP`; what that leaves out of a small table is found when it is read whole.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Table, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.tasks import end, spawn

REFRESH = 1.0  # seconds after which what another process changed is known here
OVERLAP = 60_000  # milliseconds by which each refresh looks back, for clocks and slow commits
WHOLE_AFTER = 60.0  # seconds after which a small table is read whole
SMALL = 2_000  # live rows of a table that is

log = logging.getLogger("turnout.mirror")

V = TypeVar("V")

Key = tuple[str, ...]


class Taken(Exception):
    """There is a live row already that has what must be one row's alone."""


class Mirror(Generic[V]):
    """The live rows of a table, by primary key. `read` makes a value of a row."""

    def __init__(self, engine: AsyncEngine, table: Table, read: Callable[[Row[Any]], V]) -> None:
        self._engine = engine
        self._table = table
        self._read = read
        self._key = [column.name for column in table.primary_key.columns]
        self._rows: dict[Key, V] = {}
        self._seen = 0  # up to when changes are known; never later than now
        self._newest = 0  # the latest change in the table, by its writer's clock
        self._moved = 0.0  # when that was another here; this and the next by the monotonic clock
        self._whole = 0.0  # when the table was read whole
        self._unreadable: set[Key] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()  # what was read before may not be taken over after
        self.on_change: Callable[[], None] | None = None  # told when any row is another

    async def start(self) -> None:
        """Loads the table, and keeps up with other processes from then on."""
        await self.refresh()
        self._refreshing = spawn(self._keep_fresh(), f"refresh {self._table.name}")

    async def stop(self) -> None:
        if self._refreshing is not None:
            await end(self._refreshing)

    def get(self, *key: str) -> V | None:
        return self._rows.get(key)

    def values(self) -> list[V]:
        """Every live row, by key."""
        return [self._rows[key] for key in sorted(self._rows)]

    async def put(self, values: Mapping[str, Any], replace: bool = False) -> V:
        """Adds a row, with its times. `replace`: in the place of the one with its key, if there
        is one. Raises `Taken`."""
        key = tuple(str(values[name]) for name in self._key)
        now = _now()
        there = self._at(key)
        if not replace:
            there = and_(there, self._table.c.deleted_at.is_not(None))
        try:
            async with self._engine.begin() as connection:
                await connection.execute(delete(self._table).where(there))
                times = {"created_at": now, "updated_at": now, "deleted_at": None}
                await connection.execute(insert(self._table).values({**times, **values}))
        except IntegrityError:
            raise Taken(self._table.name) from None
        await self.take(self._at(key))
        return self._rows[key]

    async def change(self, key: Key, values: Mapping[str, Any]) -> V | None:
        """Changes a live row; None when there is none. Raises `Taken`."""
        changed = update(self._table).where(self._at(key), self._table.c.deleted_at.is_(None))
        try:
            async with self._engine.begin() as connection:
                await connection.execute(changed.values({**values, "updated_at": _now()}))
        except IntegrityError:
            raise Taken(self._table.name) from None
        await self.take(self._at(key))
        return self._rows.get(key)

    async def drop(self, key: Key) -> bool:
        """Deletes a row; whether it was there."""
        now = _now()
        changed = update(self._table).where(self._at(key), self._table.c.deleted_at.is_(None))
        async with self._engine.begin() as connection:
            done = await connection.execute(changed.values(deleted_at=now, updated_at=now))
        await self.take(self._at(key))
        return bool(done.rowcount)

    async def take(self, which: ColumnElement[bool]) -> None:
        """Takes over rows that were just written, whatever the clocks say."""
        async with self._reading, self._engine.connect() as connection:
            self._remember((await connection.execute(select(self._table).where(which))).all())

    async def refresh(self) -> None:
        """Takes over what has changed in the database since the last time."""
        changed = self._table.c.updated_at
        async with self._reading, self._engine.connect() as connection:
            if await self._read_whole(connection):
                return
            newest = (await connection.execute(select(func.max(changed)))).scalar() or 0
            now, ticks = _now(), time.monotonic()
            if newest != self._newest:
                self._newest, self._moved = newest, ticks
            is_quiet = newest < now - OVERLAP and self._moved < ticks - OVERLAP / 1000
            if self._whole and is_quiet:
                return
            recent = select(self._table).where(changed > self._seen - OVERLAP)
            self._remember((await connection.execute(recent)).all())
            self._seen = min(newest, now)
            self._whole = self._whole or ticks

    async def _read_whole(self, connection: AsyncConnection) -> bool:
        """Reads a small table whole when it is time to; whether it has."""
        now = time.monotonic()
        if not self._whole or now < self._whole + WHOLE_AFTER or len(self._rows) > SMALL:
            return False
        self._whole = now
        live = select(self._table).limit(SMALL + 1)
        if "deleted_at" in self._table.c:
            live = live.where(self._table.c.deleted_at.is_(None))
        rows = (await connection.execute(live)).all()
        if len(rows) > SMALL:
            return False
        self._remember(rows, is_all=True)
        return True

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001  (whatever it is, the next may succeed)
                name = self._table.name
                log.warning("%s could not be read again: %s", name, type(error).__name__)

    def _remember(self, rows: Sequence[Row[Any]], is_all: bool = False) -> None:
        """Takes rows over. `is_all`: whatever else is held is gone."""
        fresh = {self._key_of(row): row for row in rows}
        changed = False
        for key in self._rows.keys() - fresh.keys() if is_all else ():
            del self._rows[key]
            changed = True
        for key, row in fresh.items():
            value = self._value(key, row)
            changed = changed or self._rows.get(key) != value
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        if changed:
            self._tell()

    def _value(self, key: Key, row: Row[Any]) -> V | None:
        """None for a row that is deleted, or that can't be read."""
        if row._mapping.get("deleted_at") is not None:
            return None
        try:
            value = self._read(row)
        except Exception as error:  # noqa: BLE001  (a newer version's row; the others are read)
            if key not in self._unreadable:
                self._unreadable.add(key)
                what = self._table.name, "/".join(key), type(error).__name__
                log.error("%s %s can't be read (%s), and is treated as absent", *what)
            return None
        self._unreadable.discard(key)
        return value

    def _tell(self) -> None:
        if self.on_change is None:
            return
        try:
            self.on_change()
        except Exception as error:  # noqa: BLE001  (the rows are taken over all the same)
            name = self._table.name
            log.error("a change of %s could not be put to use: %s", name, type(error).__name__)

    def _key_of(self, row: Row[Any]) -> Key:
        return tuple(str(row._mapping[name]) for name in self._key)

    def _at(self, key: Key) -> ColumnElement[bool]:
        pairs = zip(self._key, key, strict=True)
        return and_(*(self._table.c[name] == value for name, value in pairs))


def _now() -> int:
    return int(time.time() * 1000)
