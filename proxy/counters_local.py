"""Counts in this process: exact, and made without waiting.

Nothing is awaited between looking and taking, so two requests can't both have the last share.
Time is kept in whole microseconds and amounts in integers: the same sums come out every time.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from proxy.counters import Grant, Kind, Want

MICRO = 10**6
LEASE = 3600.0  # seconds after which a reservation that nobody settled is given up
GAUGE_WAIT = 1.0  # seconds worth waiting for a request under way to end
KEPT = 100_000  # counts, and reservations under way, that are held at most
FIRST_TIDY = 1_000  # counts before stale ones are looked for

Name = tuple[str, float]
"""A count's key and where its window begins, which tells one month from the next."""


class Count(Protocol):
    """One limit's count. `now` and waits are microseconds; a mark names what `take` took."""

    def used(self, now: int) -> int: ...

    def wait(self, now: int, most: int) -> int: ...

    def take(self, now: int, amount: int) -> int: ...

    def settle(self, mark: int, amount: int, used: int) -> None: ...

    def abandon(self, mark: int, amount: int) -> None: ...


class Window:
    """SLIDING: the current window whole, and of the one before the share that still overlaps,
    rounded down: of 5 requests in the last minute 4 count as soon as this one is under way."""

    def __init__(self, seconds: float) -> None:
        self._width = round(seconds * MICRO)
        self._index = 0  # since the epoch; also the mark of what is taken in it
        self._current = 0
        self._previous = 0

    def used(self, now: int) -> int:
        self._roll(now)
        return self._current + self._previous * self._left(now) // self._width

    def wait(self, now: int, most: int) -> int:
        """Until at most `most` is used; a whole window where that never comes."""
        self._roll(now)
        if most < 0:
            return self._width
        left = self._left(now)
        if self._current <= most:
            return left - self._overlap(self._previous, most - self._current, left)
        return left + self._width - self._overlap(self._current, most, self._width)

    def take(self, now: int, amount: int) -> int:
        self._roll(now)
        self._current += amount
        return self._index

    def settle(self, mark: int, amount: int, used: int) -> None:
        if mark == self._index:
            self._current += used - amount
        elif mark == self._index - 1:
            self._previous += used - amount

    def abandon(self, mark: int, amount: int) -> None:
        """It stays: its window ends by itself."""

    def correct(self, change: int) -> None:
        """Adds to what was used, where nobody knows in which window; takes off the newer first."""
        current = self._current + change
        self._current = max(0, current)
        self._previous = max(0, self._previous + min(0, current))

    def _roll(self, now: int) -> None:
        index = now // self._width
        if index <= self._index:
            return  # also a clock that was put back
        self._previous = self._current if index == self._index + 1 else 0
        self._current = 0
        self._index = index

    def _left(self, now: int) -> int:
        return min(self._width, (self._index + 1) * self._width - now)

    def _overlap(self, amount: int, most: int, left: int) -> int:
        """The longest overlap, up to `left`, of which `amount` counts at most `most`."""
        return min(left, ((most + 1) * self._width - 1) // amount) if amount else left


class Term:
    """FIXED: all that was taken until it ends."""

    def __init__(self, begins: float, seconds: float) -> None:
        self._ends = round((begins + seconds) * MICRO)
        self._used = 0

    def used(self, now: int) -> int:
        return self._used if now < self._ends else 0

    def wait(self, now: int, most: int) -> int:
        return 0 if self.used(now) <= most else max(0, self._ends - now)

    def take(self, now: int, amount: int) -> int:
        self._used += amount
        return 0

    def settle(self, mark: int, amount: int, used: int) -> None:
        self._used += used - amount

    def abandon(self, mark: int, amount: int) -> None:
        self._used -= amount


class Gauge:
    """GAUGE: what is held now. A holder that dies gives its share back after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._lifetime = round(seconds * MICRO)
        self._held: dict[int, tuple[int, int]] = {}  # mark -> (amount, end), oldest first
        self._sum = 0
        self._next = 0

    def used(self, now: int) -> int:
        while self._held:
            mark, (amount, end) = next(iter(self._held.items()))
            if now < end:
                break
            self.settle(mark, amount, 0)
        return self._sum

    def wait(self, now: int, most: int) -> int:
        return 0 if self.used(now) <= most else round(GAUGE_WAIT * MICRO)

    def take(self, now: int, amount: int) -> int:
        self._next += 1
        self._held[self._next] = (amount, now + self._lifetime)
        self._sum += amount
        return self._next

    def settle(self, mark: int, amount: int, used: int) -> None:
        if self._held.pop(mark, None) is not None:
            self._sum -= amount

    def abandon(self, mark: int, amount: int) -> None:
        """It ends by itself."""


class Lease(NamedTuple):
    """One share that a holder has taken."""

    name: Name
    into: Count
    mark: int
    amount: int


@dataclass(slots=True)
class Held:
    """The shares of one holder, until it settles; `since` in microseconds."""

    since: int
    leases: list[Lease]


class LocalCounters:
    """The counts of this process. A holder that never settles keeps what it took of SLIDING
    limits until their windows end, and gives back what it took of FIXED ones after `LEASE`.

    `clock` gives epoch seconds. When `kept` counts are held and none is stale, those that were
    used least recently are forgotten.
    """

    def __init__(self, clock: Callable[[], float] = time.time, kept: int = KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._counts: OrderedDict[Name, Count] = OrderedDict()  # used least recently first
        self._holders: dict[str, Held] = {}  # oldest first
        self._tidy_at = FIRST_TIDY

    async def reserve(self, holder: str, wants: Sequence[Want]) -> Grant:
        """Takes every share or none."""
        now = self._now()
        self._expire(now)
        self._tidy(now)
        counts = [self._count(want) for want in wants]
        pairs = list(zip(counts, wants, strict=True))
        lacking = [i for i, (count, want) in enumerate(pairs) if not _has_room(count, want, now)]
        if not lacking:
            leases = [
                Lease(_name(want), count, count.take(now, want.amount), want.amount)
                for count, want in pairs
            ]
            self._holders.setdefault(holder, Held(now, [])).leases.extend(leases)
        most = [w.limit - w.amount if i in lacking else 0 for i, w in enumerate(wants)]
        return Grant(
            lacking[0] if lacking else None,
            tuple(max(0, want.limit - count.used(now)) for count, want in pairs),
            tuple(c.wait(now, room) / MICRO for c, room in zip(counts, most, strict=True)),
        )

    async def settle(self, holder: str, wants: Sequence[Want], used: Sequence[int]) -> None:
        """Puts what was used in place of what was reserved, in the window where it was."""
        held = self._holders.get(holder)
        if held is None:
            return
        for want, amount in zip(wants, used, strict=True):
            name = _name(want)
            lease = next((lease for lease in held.leases if lease.name == name), None)
            if lease is not None:
                held.leases.remove(lease)
                lease.into.settle(lease.mark, lease.amount, amount)
        if not held.leases:
            del self._holders[holder]

    async def prime(self, want: Want, only_missing: bool = False) -> None:
        """Counts `amount` as used, less what is known here of it: a limit may be new where there
        were requests. What is reserved comes on top."""
        name, now = _name(want), self._now()
        count = self._count(want)
        leases = (lease for held in self._holders.values() for lease in held.leases)
        reserved = sum(lease.amount for lease in leases if lease.name == name)
        count.take(now, max(0, want.amount - (count.used(now) - reserved)))

    def _now(self) -> int:
        return int(self._clock() * MICRO)

    def _count(self, want: Want) -> Count:
        name = _name(want)
        count = self._counts.get(name)
        if count is None:
            count = self._counts[name] = _made(want)
        else:
            self._counts.move_to_end(name)
        return count

    def _expire(self, now: int) -> None:
        """Gives up the reservations that nobody will settle any more."""
        before = now - round(LEASE * MICRO)
        while self._holders:
            holder, held = next(iter(self._holders.items()))
            if held.since > before and len(self._holders) < self._kept:
                break
            del self._holders[holder]
            for lease in held.leases:
                lease.into.abandon(lease.mark, lease.amount)

    def _tidy(self, now: int) -> None:
        """Drops what counts nothing any more, each time the counts have doubled."""
        if len(self._counts) < self._tidy_at:
            return
        leased = {lease.name for held in self._holders.values() for lease in held.leases}
        for name, count in list(self._counts.items()):
            if not count.used(now) and name not in leased:
                del self._counts[name]
        if len(self._counts) >= self._kept:
            while len(self._counts) > self._kept * 9 // 10:
                self._counts.popitem(last=False)
        self._tidy_at = min(self._kept, FIRST_TIDY + 2 * len(self._counts))


def _has_room(count: Count, want: Want, now: int) -> bool:
    return count.used(now) + want.amount <= want.limit


def _name(want: Want) -> Name:
    return want.key, want.begins


def _made(want: Want) -> Count:
    match want.kind:
        case Kind.SLIDING:
            return Window(want.window)
        case Kind.FIXED:
            return Term(want.begins, want.window)
        case Kind.GAUGE:
            return Gauge(want.window)


class Portion:
    """One process's part of limits that hold for `shares` of them, where nothing is shared."""

    def __init__(self, counters: LocalCounters, shares: int) -> None:
        self._counters = counters
        self._shares = shares

    async def reserve(self, holder: str, wants: Sequence[Want]) -> Grant:
        """Takes every share or none, of limits divided by the number of processes."""
        return await self._counters.reserve(holder, [self._part(want) for want in wants])

    async def settle(self, holder: str, wants: Sequence[Want], used: Sequence[int]) -> None:
        await self._counters.settle(holder, wants, used)

    async def prime(self, want: Want, only_missing: bool = False) -> None:
        """Counts this process's part of what was used before."""
        await self._counters.prime(want._replace(amount=want.amount // self._shares))

    def _part(self, want: Want) -> Want:
        """1 at least: a limit of 1 would else close the door."""
        return want._replace(limit=max(want.limit // self._shares, min(want.limit, 1)))
