"""What may end a request from outside: its client leaves, or a deadline passes.

One cancel of the request's own task for all of them, with the reason beside it. Deadlines are
numbers that one watch a process looks at, every 50 ms while there are any: a timer for each
would cost a stream more than its chunks do.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum, auto

TICK = 0.05  # seconds between looks; a deadline strikes so much late at most


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


class Watch:
    """Looks at the deadlines of the lifelines that are out."""

    def __init__(self) -> None:
        self._out: set[Lifeline] = set()
        self._ticking: asyncio.TimerHandle | None = None

    def add(self, lifeline: "Lifeline") -> None:
        self._out.add(lifeline)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._look)

    def drop(self, lifeline: "Lifeline") -> None:
        self._out.discard(lifeline)

    def _look(self) -> None:
        self._ticking = None
        if not self._out:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        for lifeline in [line for line in self._out if line.due <= now]:
            lifeline.cut(lifeline.waits_for)
        self._ticking = loop.call_later(TICK, self._look)


class Lifeline:
    """Cancels the task that made it, at a deadline or when `cut` is called.

    Every await of a request stands inside `guard`, so that a cut can strike nowhere else.
    """

    __slots__ = ("_loop", "_reason", "_task", "_total", "_watch", "due", "waits_for")

    def __init__(self, watch: Watch, total: float) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watch = watch
        self._reason: Cut | None = None
        self._total = self._loop.time() + total
        self.due = self._total
        self.waits_for = Cut.TOTAL
        watch.add(self)

    def now(self) -> float:
        """The loop's clock, in seconds, that `arm` counts by."""
        return self._loop.time()

    def time_left(self) -> float:
        """Seconds to the total deadline."""
        return self._total - self._loop.time()

    def arm(self, cut: Cut, due: float) -> None:
        """From now on `cut` happens at `due`, or the total deadline if that is nearer."""
        if due < self._total:
            self.due, self.waits_for = due, cut
        else:
            self.due, self.waits_for = self._total, Cut.TOTAL

    def cut(self, reason: Cut) -> None:
        """Cancels the task now; the first reason stands."""
        if self._reason is None:
            self._reason = reason
            self.due = float("inf")  # until the next `arm`
            self._task.cancel()

    def release(self) -> None:
        """The request is over: nothing is cut any more."""
        self._watch.drop(self)

    async def guard(self, work: Awaitable[None]) -> None:
        """Awaits `work`; a cut of this lifeline is raised as `Severed`."""
        try:
            await work
        except asyncio.CancelledError:
            reason, self._reason = self._reason, None
            if reason is None:
                raise  # a cancel from somewhere else, such as the server's own end
            self._task.uncancel()
            raise Severed(reason) from None
