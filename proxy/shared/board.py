"""What processes tell each other at once: circuits that open and close, keys that are revoked.

All of it is best effort and none of it waits or fails: while Redis is away every process goes by
what it sees itself, and a revoked key is found by the look at the database each second.

Times are handed on as what is left of them, counted by Redis, so that clocks need not agree.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import orjson

from proxy.ids import uuid7
from proxy.shared.redis import Away, Field, Link, Script
from proxy.tasks import spawn

PREFIX = "turnout:{board}:"
CIRCUITS = PREFIX + "circuits"
CHANNEL = PREFIX + "news"
POLL = 1.0  # seconds between looks at all circuits, for news that was missed
AGAIN = (0.5, 1.5)  # seconds until a broken subscription is made again
KEPT = 60.0  # seconds that a closed circuit is still told, so that every look meets it
MOST = 1_000  # tellings under way at a time; what is over that is not told

PUBLISH = Script.load("publish")
LOOK = Script.load("look")
LEASE = Script.load("lease")


class News(NamedTuple):
    """What a process told; `stamp` in microseconds, `left` in seconds, 0.0 without an end."""

    stamp: int
    left: float
    by: str
    name: str
    state: str
    revoked: bool


Adopt = Callable[[str, str, float], None]
"""(circuit, state, epoch seconds until which it holds by this machine's clock; 0.0: no end)."""

log = logging.getLogger("turnout.board")


class Board:
    """One process's view of what all have told. `run` it as a task.

    `adopt` is called with each change of a circuit that another process told, `revoked` with the
    id of each key that another process revoked; both inside the event loop, and they must not
    raise.
    """

    def __init__(self, link: Link, adopt: Adopt, revoked: Callable[[str], None]) -> None:
        self._link = link
        self._adopt = adopt
        self._revoked = revoked
        self._me = uuid7()
        self._untold: dict[str, tuple[str, float]] = {}  # circuit -> its state, until when
        self._seen: dict[str, int] = {}  # circuit -> stamp of its last news
        self._telling: set[asyncio.Task[None]] = set()
        link.on_back(self._tell_again)

    def publish(self, name: str, state: str, until: float) -> None:
        """Tells that a circuit has changed here; `until` in epoch seconds, 0.0 without an end.

        While Redis is away it is kept, and told when that is back.
        """
        if len(self._untold) < MOST:
            self._untold[name] = state, until
        self._tell(self._publish(name, state, until))

    def publish_revocation(self, key_id: str) -> None:
        """Tells that a key was revoked here."""
        news = orjson.dumps({"by": self._me, "revoked": key_id})
        self._tell(self._link.ask("PUBLISH", CHANNEL, b"0 0 " + news))

    async def lease(self, name: str, holder: str, most: int, ttl: float) -> bool:
        """Whether `holder` may probe: one of at most `most` at a time, for `ttl` seconds.

        True where Redis is away: the circuit of this process has its own count.
        """
        fields: list[Field] = [holder, most, round(ttl * 1000)]
        try:
            return bool(await self._link.run(LEASE, [_lease(name)], fields))
        except Away:
            return True
        except asyncio.CancelledError:
            self.give_back(name, holder)  # it may have been given
            raise

    def give_back(self, name: str, holder: str) -> None:
        """A probe has ended, or was cancelled."""
        self._tell(self._link.ask("ZREM", _lease(name), holder))

    async def run(self) -> None:
        """Listens and looks, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._poll())

    async def close(self) -> None:
        """Waits for what is being told."""
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            if self._link.is_up:
                try:
                    await self._link.hear(CHANNEL, self._look_soon, self._hear)
                except Away as away:
                    log.info("news of other processes are late (%s)", away)
            await asyncio.sleep(random.uniform(*AGAIN))  # noqa: S311  (spreads load)

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(POLL)

    def _look_soon(self) -> None:
        self._tell(self._look())

    async def _look(self) -> None:
        try:
            told: list[bytes] = await self._link.run(LOOK, [CIRCUITS], [])
        except Away:
            return
        for message in told:
            self._hear(message)

    def _hear(self, message: bytes) -> None:
        news = _read(message)
        if news is None or news.by == self._me:
            return
        if news.revoked:
            self._revoked(news.name)
        elif self._seen.get(news.name, 0) < news.stamp:
            if len(self._seen) >= 10 * MOST:
                self._seen.clear()
            self._seen[news.name] = news.stamp
            self._adopt(news.name, news.state, time.time() + news.left if news.left else 0.0)

    async def _publish(self, name: str, state: str, until: float) -> None:
        left = round(max(0.001, until - time.time()) * 1000) if until else 0
        news = orjson.dumps({"by": self._me, "circuit": name, "state": state})
        fields: list[Field] = [CHANNEL, name, news, left, round(KEPT * 1000)]
        await self._link.run(PUBLISH, [CIRCUITS], fields)
        if self._untold.get(name) == (state, until):
            del self._untold[name]

    def _tell_again(self) -> None:
        for name, (state, until) in list(self._untold.items()):
            if until and until <= time.time():
                del self._untold[name]
            else:
                self._tell(self._publish(name, state, until))

    def _tell(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does it in the background, or not at all."""
        if not self._link.is_up or len(self._telling) >= MOST:
            work.close()
            return
        task = spawn(_quietly(work), "tell other processes")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _read(message: bytes) -> News | None:
    """`<stamp> <milliseconds left, 0 without an end> <JSON>`, as `publish.lua` writes it."""
    try:
        stamp, left, text = message.split(b" ", 2)
        news = orjson.loads(text)
        revoked = "revoked" in news
        name = news["revoked" if revoked else "circuit"]
        state = "" if revoked else news["state"]
        return News(int(stamp), int(left) / 1000, news["by"], name, state, revoked)
    except (ValueError, KeyError, TypeError):  # of another version, or none of ours
        log.warning("news that could not be read were passed over")
        return None


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Away as away:
        log.info("other processes were not told (%s)", away)


def _lease(name: str) -> str:
    return f"{PREFIX}lease:{name}"
