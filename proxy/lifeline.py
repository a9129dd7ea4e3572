"""What may end a request from outside: its client leaves, or a deadline passes.

One cancel of the request's own task for all of them, with the reason beside it. Deadlines are
numbers that one watch a process looks at, every 50 ms while there are any: a timer for each
would cost a stream more than its chunks do.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum, auto

TICK = 0.05  # seconds between looks; a deadline strikes so much late at most
LAG_WEIGHT = 0.2  # of the newest look in the smoothed lag: half a second until it is believed


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
        self.lag = 0.0  # seconds that the last looks came late, smoothed: the loop is that busy
        self._due = 0.0
        self._out: set[Lifeline] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of this process; to ask asyncio for it is a system call each time."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def add(self, lifeline: "Lifeline") -> None:
        self._out.add(lifeline)
        if self._ticking is None:
            self._tick(lifeline.loop)

    def drop(self, lifeline: "Lifeline") -> None:
        self._out.discard(lifeline)

    def _look(self) -> None:
        self._ticking = None
        loop = self.loop()
        now = loop.time()
        self.lag += LAG_WEIGHT * (now - self._due - self.lag)
        if not self._out:
            self.lag = 0.0
            return
        for lifeline in list(self._out):
            lifeline.check(now)
        self._tick(loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + TICK
        self._ticking = loop.call_later(TICK, self._look)


class Lifeline:
    """Cancels the task that made it, at a deadline or when `cut` is called.

    Every await of a request stands inside `guard`, so that a cut can strike nowhere else.
    """

    __slots__ = ("_reason", "_since", "_task", "_total", "_watch", "loop", "patience", "waits_for")

    def __init__(self, watch: Watch, total: float) -> None:
        loop = self.loop = watch.loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._watch = watch
        self._reason: Cut | None = None
        self._since = loop.time()
        self._total = self._since + total
        self.patience = float("inf")
        self.waits_for = Cut.TOTAL
        watch.add(self)

    def time_left(self) -> float:
        """Seconds to the total deadline."""
        return self._total - self.loop.time()

    def arm(self, cut: Cut, seconds: float) -> None:
        """From now on `cut` happens in `seconds`, unless `touch` begins them anew."""
        self.waits_for = cut
        self.patience = seconds
        self._since = self.loop.time()

    def touch(self) -> None:
        """What is waited for has come: the wait begins anew."""
        self._since = self.loop.time()

    def check(self, now: float) -> None:
        """Strikes, if it is time; `now` by the loop's clock."""
        if now >= self._total:
            self.cut(Cut.TOTAL)
        elif now >= self._since + self.patience:
            self.cut(self.waits_for)

    def cut(self, reason: Cut) -> None:
        """Cancels the task now; the first reason stands."""
        if self._reason is None:
            self._reason = reason
            self.patience = float("inf")  # until the next `arm`
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
