"""Counts that all processes share, in Redis; in this process's share alone while that is away.

A request never fails for Redis. One that it does not answer in time is decided by the local
counts, with every limit divided by the number of processes, and FIXED limits moreover by what
Redis was last known to have left. What was used so is told to Redis when it is back.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from proxy.counters import Counters, Grant, Kind, Want
from proxy.ids import uuid7
from proxy.shared.backlog import MOST, Backlog, Debt, Owed
from proxy.shared.redis import Away, Field, Link, Script
from proxy.tasks import spawn

PREFIX = "turnout:{limits}:"  # the braces keep all of it in one slot of a cluster
LEASE = 3600.0  # seconds after which a reservation that nobody settled is given up
RETRY = 0.2  # seconds between attempts to tell Redis something
VOID = "void"  # Redis's word for a holder that has given up

RESERVE = Script.load("reserve")
SETTLE = Script.load("settle")
OWE = Script.load("owe")
PRIME = Script.load("prime")

log = logging.getLogger("turnout.limits")


class SharedCounters:
    """Counts in Redis, with `local` in its stead. `shares` is the number of processes."""

    def __init__(self, link: Link, local: Counters, shares: int) -> None:
        self._link = link
        self._local = local
        self._shares = max(1, shares)
        self._backlog = Backlog(self._shares)
        self._here: dict[str, list[Want]] = {}  # holder -> what it took here, oldest first
        self._batch: tuple[str, list[Owed]] | None = None  # sent, and not yet confirmed
        self._paying: asyncio.Task[None] | None = None
        link.on_back(self._catch_up)

    async def reserve(self, holder: str, wants: Sequence[Want]) -> Grant:
        """Takes every share or none. Redis adds at most its bound in time, and never an error."""
        if self._link.is_up:
            try:
                return await self._reserve_there(holder, wants)
            except (Away, asyncio.CancelledError) as error:
                self._give_up(holder, wants)
                if not isinstance(error, Away):
                    raise
        return await self._reserve_here(holder, wants)

    async def settle(self, holder: str, wants: Sequence[Want], used: Sequence[int]) -> None:
        """Settles each want where it was reserved."""
        there: list[tuple[Want, int]] = []
        for want, amount in zip(wants, used, strict=True):
            if not await self._settle_here(holder, want, max(0, amount)):
                there.append((want, max(0, amount)))
        if not there:
            return
        debt = Debt(holder, tuple(w for w, _ in there), tuple(amount for _, amount in there))
        try:
            await self._settle_there(debt)
        except (Away, asyncio.CancelledError) as error:
            self._backlog.defer(debt)
            self._catch_up()
            if not isinstance(error, Away):
                raise

    async def prime(self, want: Want, only_missing: bool = False) -> None:
        """Tells Redis what was used of a FIXED limit, which adds what it does not know: the limit
        is new. `only_missing`: if it has no count of it at all, as it was emptied. Processes that
        were without it have still to tell it themselves what it did not see."""
        kept = _ms(want.window + LEASE)
        try:
            if only_missing:
                await self._link.ask("SET", _name(want), want.amount, "NX", "PX", kept)
            else:
                await self._link.run(PRIME, [_name(want)], [want.amount, kept])
        except Away as away:
            log.info("redis does not know yet what was used (%s)", away)
            self._backlog.saw(want, max(0, want.limit - want.amount))

    async def close(self) -> None:
        """What Redis has not been told by now is lost to it."""
        if self._paying is not None:
            self._paying.cancel()
            await asyncio.gather(self._paying, return_exceptions=True)

    # In Redis.

    async def _reserve_there(self, holder: str, wants: Sequence[Want]) -> Grant:
        fields: list[Field] = [holder, _ms(LEASE)]
        for want in wants:
            fields += (want.kind[0], want.limit, want.amount, _ms(want.window), _ms(want.begins))
        answer = await self._link.run(RESERVE, _keys(holder, wants), fields)
        words = answer.decode().split(" ")
        if words[0] == VOID:
            raise Away("the holder has given up")
        blocked, numbers = int(words[0]), [int(word) for word in words[1:]]
        remaining = tuple(numbers[: len(wants)])
        for want, left in zip(wants, remaining, strict=True):
            if want.kind is Kind.FIXED:
                self._backlog.saw(want, left)
        resets = tuple(number / 1000 for number in numbers[len(wants) :])
        return Grant(None if blocked < 0 else blocked, remaining, resets)

    async def _settle_there(self, debt: Debt) -> None:
        fields: list[Field] = [debt.holder, _ms(LEASE) if debt.gives_up else 0]
        for want, used in zip(debt.wants, debt.used, strict=True):
            fields += (want.kind[0], used)
        await self._link.run(SETTLE, _keys(debt.holder, debt.wants), fields)

    def _give_up(self, holder: str, wants: Sequence[Want]) -> None:
        """Redis may have reserved, or may yet: it shall give that back, and not do it later."""
        self._backlog.defer(Debt(holder, tuple(wants), (0,) * len(wants), gives_up=True))
        self._catch_up()

    # In this process.

    async def _reserve_here(self, holder: str, wants: Sequence[Want]) -> Grant:
        rooms = [self._room(want) for want in wants]
        lacking = [
            i for i, (w, room) in enumerate(zip(wants, rooms, strict=True)) if w.amount > room
        ]
        if lacking:
            return _refusal(lacking[0], wants, rooms)
        self._lend(wants, 1)  # before anything is awaited, so that it is lent once
        shared = [want._replace(limit=self._share(want.limit)) for want in wants]
        grant = await self._local.reserve(holder, shared)
        if grant.blocked is not None:
            self._lend(wants, -1)
            return grant
        if holder not in self._here and len(self._here) >= MOST:
            self._lend(self._here.pop(next(iter(self._here))), -1)
        self._here.setdefault(holder, []).extend(wants)
        pairs = zip(grant.remaining, rooms, wants, strict=True)
        return grant._replace(
            remaining=tuple(min(left, room - w.amount) for left, room, w in pairs)
        )

    async def _settle_here(self, holder: str, want: Want, used: int) -> bool:
        """Whether it was reserved here."""
        held = self._here.get(holder, [])
        mine = next((w for w in held if (w.key, w.begins) == (want.key, want.begins)), None)
        if mine is None:
            return False
        held.remove(mine)
        if not held:
            del self._here[holder]
        if mine.kind is Kind.FIXED:
            self._backlog.lend(mine, used - mine.amount)
        self._backlog.owe(mine, used, time.monotonic())
        self._catch_up()
        await self._local.settle(holder, [mine], [used])
        return True

    def _room(self, want: Want) -> int:
        return self._backlog.room(want) if want.kind is Kind.FIXED else self._share(want.limit)

    def _share(self, limit: int) -> int:
        """This process's part of a limit: 1 at least, or a limit of 1 would close the door."""
        return max(limit // self._shares, min(limit, 1))

    def _lend(self, wants: Sequence[Want], sign: int) -> None:
        for want in wants:
            if want.kind is Kind.FIXED:
                self._backlog.lend(want, sign * want.amount)

    # From here to there.

    def _catch_up(self) -> None:
        """Begins to tell Redis what it has missed, if it is there and nobody is at it."""
        if self._link.is_up and (self._paying is None or self._paying.done()):
            self._paying = spawn(self._pay(), "tell redis what was used")

    async def _pay(self) -> None:
        while self._link.is_up and (self._backlog or self._batch):
            try:
                await self._pay_some()
            except Away:
                await asyncio.sleep(RETRY)
        if self._backlog.lost and self._link.is_up:
            log.warning("redis was not told of %d entries: too many waited", self._backlog.lost)
            self._backlog.lost = 0

    async def _pay_some(self) -> None:
        debts = self._backlog.debts
        if debts:
            debt = debts[0]
            await self._settle_there(debt)
            if debts and debts[0] is debt:  # it may have been dropped meanwhile
                debts.popleft()
            return
        now = time.monotonic()
        if self._batch is None:
            self._batch = uuid7(), self._backlog.take(now)
        name, owed = self._batch
        fields: list[Field] = [_ms(LEASE)]
        for want, used, at in owed:
            fields += (want.kind[0], used, _ms(want.window), _ms(now - at))
        keys = [f"{PREFIX}b:{name}", *(_name(entry.want) for entry in owed)]
        await self._link.run(OWE, keys, fields)
        self._backlog.paid(owed)
        self._batch = None


def _refusal(blocked: int, wants: Sequence[Want], rooms: Sequence[int]) -> Grant:
    now = time.time()
    resets = tuple(
        max(0.0, want.begins + want.window - now) if want.kind is Kind.FIXED else 0.0
        for want in wants
    )
    return Grant(blocked, tuple(rooms), resets)


def _keys(holder: str, wants: Sequence[Want]) -> list[str]:
    return [f"{PREFIX}r:{holder}", *map(_name, wants)]


def _name(want: Want) -> str:
    """The key of a count. What the window is belongs to it, so that a new limit counts anew."""
    match want.kind:
        case Kind.SLIDING:
            return f"{PREFIX}s:{_ms(want.window)}:{want.key}"
        case Kind.FIXED:
            return f"{PREFIX}f:{_ms(want.begins)}:{want.key}"
        case Kind.GAUGE:
            return f"{PREFIX}g:{want.key}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
