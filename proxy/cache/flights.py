"""Single flight: of the same requests under way one asks the provider, and the others wait for it.

The leader's answer goes to all that wait. If the leader fails or leaves, the first that wakes
leads next. If its answer is whole but may not be kept, nobody waits any longer: each asks itself,
as no answer of another may be given to it.
"""

import asyncio
from enum import Enum
from typing import NamedTuple

from proxy.cache.types import Entry, Tier


class Landing(Enum):
    """How a flight ended that brought nothing to share."""

    FAILED = "failed"  # somebody else may try
    NOT_KEPT = "not_kept"  # an answer, but the leader's alone


class Shared(NamedTuple):
    """What a flight brought: an answer, and which tier the leader has it from."""

    entry: Entry
    tier: Tier = Tier.EXACT
    similarity: float = 1.0


Landed = Shared | Landing


class Flights:
    """The flights of one process, by what is asked."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Future[Landed]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def lead(self, asked: str) -> bool:
        """Whether the caller leads from now on; it has to `land` then, whatever happens."""
        if asked in self._flights:
            return False
        self._flights[asked] = asyncio.get_running_loop().create_future()
        return True

    async def wait(self, asked: str, seconds: float) -> Landed:
        """What the leader brings; NOT_KEPT after `seconds`. A waiter may leave: the flight goes
        on."""
        flight = self._flights.get(asked)
        if flight is None:
            return Landing.FAILED
        done, _ = await asyncio.wait([flight], timeout=seconds)
        return flight.result() if done else Landing.NOT_KEPT

    def land(self, asked: str, landed: Landed) -> None:
        """Ends the flight of a leader; once: more do nothing."""
        flight = self._flights.pop(asked, None)
        if flight is not None:
            flight.set_result(landed)
