"""What was counted in this process while Redis was away, and is to be told to it. Pure.

Every table is bounded: what is oldest is forgotten first, and counted in `lost`.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeVar

from proxy.counters import Kind, Want

MOST = 10_000  # entries of each table
BATCH = 100  # entries told at a time
SLOTS = 6  # to a sliding window: so finely is remembered when something was used

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Owed(NamedTuple):
    """What was used of one limit; `at` is monotonic seconds, the last time."""

    want: Want
    used: int
    at: float


class Debt(NamedTuple):
    """A settlement that Redis has not confirmed. `gives_up`: nobody knows whether it reserved."""

    holder: str
    wants: tuple[Want, ...]
    used: tuple[int, ...]
    gives_up: bool = False


Term = tuple[str, float]
"""A FIXED limit's key and where its window begins."""


class Backlog:
    """Owed amounts and debts, and what was last known of FIXED limits.

    `room` answers what a process may still give out alone: its share of what Redis had left, less
    what it has given out since and Redis does not know.
    """

    def __init__(self, shares: int) -> None:
        self._shares = shares
        self._left: dict[Term, int] = {}
        self._lent: dict[Term, int] = {}  # reserved or used here, unknown to Redis
        self._owed: dict[tuple[str, float, int], Owed] = {}
        self.debts: deque[Debt] = deque()
        self.lost = 0  # entries that Redis will not be told

    def __bool__(self) -> bool:
        return bool(self._owed or self.debts)

    def saw(self, want: Want, remaining: int) -> None:
        """Redis has answered what is left of a FIXED limit."""
        term = _term(want)
        self._left.pop(term, None)
        _put(self._left, term, remaining)

    def room(self, want: Want) -> int:
        """What this process may take of a FIXED limit without Redis."""
        term = _term(want)
        left = self._left.get(term)
        mine = want.limit if left is None else left
        return max(0, mine // self._shares - self._lent.get(term, 0))

    def lend(self, want: Want, amount: int) -> None:
        """A FIXED amount is given out here, or taken back where it is negative."""
        term = _term(want)
        lent = self._lent.pop(term, 0) + amount
        if lent > 0:
            _put(self._lent, term, lent)

    def owe(self, want: Want, used: int, now: float) -> None:
        """Something was used here; of a GAUGE nothing is left to tell."""
        if want.kind is Kind.GAUGE or used <= 0:
            return
        slot = 0 if want.kind is Kind.FIXED else int(now / want.window * SLOTS)
        name = (want.key, want.begins, slot)
        before = self._owed.pop(name, None)
        total = used + (before.used if before else 0)
        self.lost += _put(self._owed, name, Owed(want, total, now))

    def take(self, now: float) -> list[Owed]:
        """The oldest entries, which are then no longer here; those that no window remembers are
        left out. Say `paid` when Redis has them."""
        batch: list[Owed] = []
        while self._owed and len(batch) < BATCH:
            owed = self._owed.pop(next(iter(self._owed)))
            if owed.want.kind is Kind.FIXED or now - owed.at < 2 * owed.want.window:
                batch.append(owed)
        return batch

    def paid(self, batch: Sequence[Owed]) -> None:
        """Redis knows of these now."""
        for owed in batch:
            if owed.want.kind is Kind.FIXED:
                self.lend(owed.want, -owed.used)
                term = _term(owed.want)
                if term in self._left:
                    self._left[term] = max(0, self._left[term] - owed.used)

    def defer(self, debt: Debt) -> None:
        """A settlement that is to be made when Redis is back."""
        if len(self.debts) >= MOST:
            self.debts.popleft()
            self.lost += 1
        self.debts.append(debt)


def _term(want: Want) -> Term:
    return want.key, want.begins


def _put(table: dict[K, V], key: K, value: V) -> bool:
    """Whether the oldest entry had to make room."""
    full = len(table) >= MOST
    if full:
        del table[next(iter(table))]
    table[key] = value
    return full
