"""What may end a request from outside: its client leaves, or a deadline passes.

One cancel of the request's own task for all of them, with the reason beside it, and one timer a
request that is moved by writing a number: a stream sets a deadline twice a chunk, and a timer of
its own each time would cost more than the chunk.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum, auto

Loop = asyncio.AbstractEventLoop


class Cut(Enum):
    """Why a request was cut."""

    CLIENT_GONE = auto()  # the client closed its connection
    CLIENT_SLOW = auto()  # one write to the client took longer than `server.send_timeout`
    FIRST_TOKEN = auto()  # no content from the upstream in time
    RESPONSE = auto()  # no whole answer in time
    IDLE = auto()  # no further content in time
    TOTAL = auto()  # the request as a whole took too long


class Severed(Exception):
    """A lifeline's cut, where the cancel it made comes out."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.name)
        self.cut = cut


class Lifeline:
    """Cancels the task that made it, at a deadline or when `cut` is called."""

    __slots__ = ("_due", "_fires", "_loop", "_reason", "_task", "_timer", "_total", "_waits_for")

    def __init__(self, total: float) -> None:
        self._loop: Loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._total = self._loop.time() + total
        self._reason: Cut | None = None
        self._waits_for = Cut.TOTAL
        self._due = self._fires = self._total
        self._timer = self._loop.call_at(self._fires, self._ring)

    def now(self) -> float:
        """The loop's clock, in seconds, that `arm` counts by."""
        return self._loop.time()

    def arm(self, cut: Cut, due: float) -> None:
        """From now on `cut` happens at `due`, or the total deadline if that is nearer."""
        if due < self._total:
            self._due, self._waits_for = due, cut
        else:
            self._due, self._waits_for = self._total, Cut.TOTAL
        if self._due < self._fires:
            self._timer.cancel()
            self._fires = self._due
            self._timer = self._loop.call_at(self._fires, self._ring)

    def cut(self, reason: Cut) -> None:
        """Cancels the task now; the first reason stands."""
        if self._reason is None:
            self._reason = reason
            self._task.cancel()

    def _taken(self) -> Cut | None:
        """The reason of a cancel of this lifeline's own, once; None when it came from elsewhere."""
        reason, self._reason = self._reason, None
        if reason is not None:
            self._task.uncancel()
        return reason

    def time_left(self) -> float:
        """Seconds to the total deadline."""
        return self._total - self._loop.time()

    def release(self) -> None:
        """The request is over: nothing is cut any more."""
        self._timer.cancel()

    def _ring(self) -> None:
        if self._loop.time() < self._due:
            self._fires = self._due
            self._timer = self._loop.call_at(self._fires, self._ring)
        else:
            self._fires = float("inf")  # the next `arm` needs a timer of its own
            self.cut(self._waits_for)

    async def guard(self, work: Awaitable[None]) -> None:
        """Awaits `work`; a cut of this lifeline is raised as `Severed`.

        Every await of a request stands inside a guard, so that a cut can strike nowhere else.
        """
        try:
            await work
        except asyncio.CancelledError:
            reason = self._taken()
            if reason is None:
                raise
            raise Severed(reason) from None
