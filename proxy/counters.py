"""What is counted against a limit: values, and the one thing a store of counts has to do.

All or nothing: a request that is let in has its share of every limit, and one that is turned away
has taken none. What it reserves is an estimate; `settle` puts what was really used in its place.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol


class Kind(StrEnum):
    """How a count forgets.

    SLIDING: over the last `window` seconds, from two fixed windows: the current one whole and of
    the one before the share that still overlaps. FIXED: since `begins`, until `begins + window`;
    a calendar day or month. GAUGE: what is under way now; a holder that dies gives its share back
    after `window` seconds.
    """

    SLIDING = "sliding"
    FIXED = "fixed"
    GAUGE = "gauge"


class Want(NamedTuple):
    """A share of one limit. `amount` and `limit` are requests, tokens, calls or nano-dollars."""

    key: str
    kind: Kind
    limit: int
    amount: int
    window: float
    begins: float = 0.0  # epoch seconds; of FIXED only


class Grant(NamedTuple):
    """The answer. `blocked` is the index of the first want without room, None when all have it.

    `remaining` and `resets` go with the wants, in their order: what is left of each limit after
    this one's share, and the seconds until it is whole again (SLIDING, FIXED) or may be free
    (the wait that is worth trying, for Retry-After).
    """

    blocked: int | None
    remaining: tuple[int, ...]
    resets: tuple[float, ...]


class Counters(Protocol):
    """A store of counts, in this process or shared."""

    async def reserve(self, holder: str, wants: Sequence[Want]) -> Grant:
        """Takes every share or none. `holder` names the reservation (a request's id)."""
        ...

    async def settle(self, holder: str, wants: Sequence[Want], used: Sequence[int]) -> None:
        """Puts what was really used in place of each reserved amount; a gauge is given back.

        To settle twice, or what was never reserved, does nothing.
        """
        ...
