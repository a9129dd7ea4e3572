"""The one client of Redis in a process: asked in 50 ms (`storage.redis_timeout`) or not at all.

All questions go over one connection, and its answers come in their order. A question whose asker
has left keeps its place, so that its answer is read and thrown away and never taken for another's
(redis-py's pooled client had that fault: its issues #2665 and #2673). At a timeout the connection
is given up with all that was asked on it.

After `FAILURES` in `WINDOW` seconds no request touches Redis any more, until a probe in the
background has had an answer.
"""

import asyncio
import hashlib
import logging
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import NoScriptError, RedisError, ResponseError

from proxy.tasks import spawn

BOUND = 0.05  # seconds that a request waits for Redis in all, connecting included
LAG = 0.01  # seconds more, where this process itself was late to look at the answer
CONNECT = 1.0  # seconds that a connection may take; it is made in the background
FAILURES = 3
WINDOW = 10.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds
SPREAD = (0.8, 1.2)  # jitter of a pause
QUIET = 10.0  # seconds without news after which a subscription is asked whether it lives
UNSENT = 10_000  # questions that wait for a connection at most

Field = str | bytes | int
Reply = Any
"""bytes, int, None, or a list of them."""

log = logging.getLogger("turnout.redis")


class Away(Exception):
    """Redis gave no answer in time. Its text names the kind of failure, nothing of the URL."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script; Redis runs it whole, with nothing in between."""

    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> "Script":
        """The file `lua/<name>.lua`."""
        text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Wire(Protocol):
    """What is used of a connection of redis-py, which leaves it untyped."""

    _writer: asyncio.StreamWriter | None

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    def pack_command(self, *fields: Field) -> list[bytes]: ...

    async def read_response(self, *, timeout: float) -> Reply: ...  # noqa: ASYNC109


Asked = asyncio.Future[Reply]
"""Its result is the answer, or the exception that the asker will raise: a future with an exception
that nobody fetches is logged as an error, and askers leave."""


class Question(NamedTuple):
    command: tuple[Field, ...]
    answer: Asked


class Line:
    """A connection, and the questions on it in the order of their answers."""

    def __init__(self, wire: Wire) -> None:
        assert wire._writer is not None, "the wire is not connected"
        self._wire = wire
        # Written to directly: redis-py's own way waits for the peer to read, and where the peer
        # hangs, closing waits for it too. What is unread is bounded, as the line ends at the bound.
        self._transport = wire._writer.transport
        self._due: deque[Asked] = deque()

    def ask(self, question: Question) -> None:
        packed = self._wire.pack_command(*question.command)  # raises for what no wire can carry
        self._due.append(question.answer)
        self._transport.writelines(packed)

    async def listen(self) -> Exception:
        """Hands out answers until the connection breaks; returns what broke it."""
        while True:
            answer: Reply
            try:
                answer = await self._wire.read_response(timeout=math.inf)
            except ResponseError as error:
                answer = error
            except (RedisError, OSError) as error:
                return error
            if not self._due:
                return RedisError("an answer to nothing")
            asked = self._due.popleft()
            if not asked.done():
                asked.set_result(answer)

    def end(self, away: Away) -> bool:
        """Closes at once and answers what is unanswered; whether there was any."""
        self._transport.abort()
        return answer_all(self._due, away)


def answer_all(due: deque[Asked], away: Away) -> bool:
    waiting = [asked for asked in due if not asked.done()]
    due.clear()
    for asked in waiting:
        asked.set_result(away)
    return bool(waiting)


class Gate:
    """When Redis is left alone, and for how long. Pure: times are seconds of any one clock."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._pause = FIRST_PAUSE
        self._opened = -math.inf
        self.is_open = True

    def failed(self, now: float) -> bool:
        """Whether this failure was one too many: the gate is shut from now on."""
        self._failures.append(now)
        if not self.is_open or len(self._failures) < FAILURES:
            return False
        if now - self._failures[0] > WINDOW:
            return False
        if now - self._opened > WINDOW:
            self._pause = FIRST_PAUSE
        self.is_open = False
        return True

    def pause(self) -> float:
        """Seconds until the next probe."""
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return min(pause * self._uniform(*SPREAD), LONGEST_PAUSE)

    def reopen(self, now: float) -> None:
        """A probe was answered. The next pause is longer still if it shuts again soon."""
        self._failures.clear()
        self._opened = now
        self.is_open = True


class Link:
    """Redis as this process sees it. Made anywhere, used inside one event loop.

    `bound` is in seconds. Raises ValueError where `url` is none of redis://, rediss://, unix://.
    """

    def __init__(self, url: str, bound: float = BOUND) -> None:
        self._make = _maker(url)
        self._bound = bound
        self._gate = Gate()
        self._line: Line | None = None
        self._unsent: deque[Question] = deque()
        self._on_back: list[Callable[[], None]] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def is_up(self) -> bool:
        """False while Redis is left alone: to ask it then raises `Away` at once."""
        return self._gate.is_open and not self._closed

    def on_back(self, call: Callable[[], None]) -> None:
        """`call` is called each time that Redis is back."""
        self._on_back.append(call)

    async def ask(self, *command: Field) -> Reply:
        """The answer to one command. Raises `Away`."""
        return await self._ask(command, asyncio.get_running_loop().time() + self._bound)

    async def run(self, script: Script, keys: list[str], fields: list[Field]) -> Reply:
        """The answer of a script. Raises `Away`. Both attempts together are bounded as one."""
        rest = (len(keys), *keys, *fields)
        until = asyncio.get_running_loop().time() + self._bound
        try:
            return await self._ask(("EVALSHA", script.sha, *rest), until)
        except NoScriptError:  # new to this Redis, or that was started again
            return await self._ask(("EVAL", script.text, *rest), until)

    async def _ask(self, command: tuple[Field, ...], until: float) -> Reply:
        if not self.is_up:
            raise Away("left alone")
        loop = asyncio.get_running_loop()
        asked: Asked = loop.create_future()
        self._send(Question(command, asked))
        timer = loop.call_at(until, self._late, asked, until)
        try:
            answer = await asked
        finally:
            timer.cancel()
        if isinstance(answer, Away | NoScriptError):
            raise answer
        if isinstance(answer, ResponseError):
            self._failed(answer)
            raise Away(_words(answer))
        return answer

    def _send(self, question: Question) -> None:
        if self._line is not None:
            self._line.ask(question)
            return
        while self._unsent and (self._unsent[0].answer.done() or len(self._unsent) >= UNSENT):
            answer_all(deque([self._unsent.popleft().answer]), Away("too many are waiting"))
        self._unsent.append(question)
        self._spawn("connect", self._connect)

    def _late(self, asked: Asked, due: float) -> None:
        """A question's time is up, unless it was this process that had no time to listen."""
        if asked.done():
            return
        loop = asked.get_loop()
        if loop.time() - due > LAG:
            loop.call_later(LAG, self._late, asked, math.inf)
            return
        away = Away("no answer in time")
        asked.set_result(away)
        self._drop(away)

    async def _connect(self) -> None:
        try:
            wire = await self.dial()
        except Away as away:
            self._drop(away)
            return
        line = self._line = Line(wire)
        self._spawn("listen", lambda: self._listen(line, wire))
        unsent, self._unsent = self._unsent, deque()
        for question in unsent:
            if not question.answer.done():
                line.ask(question)

    async def _listen(self, line: Line, wire: Wire) -> None:
        try:
            error = await line.listen()
            if self._line is line:
                self._line = None
                if line.end(Away(_words(error))):  # an idle connection may close
                    self._failed(error)
        finally:
            await wire.disconnect(nowait=True)

    async def dial(self) -> Wire:
        """A new connection, logged in; it is the caller's to disconnect. Raises `Away`."""
        wire: Wire = self._make()
        done = False
        try:
            async with asyncio.timeout(CONNECT):
                await wire.connect()
            done = True
        except (RedisError, OSError) as error:  # a timeout is an OSError
            raise Away(_words(error)) from None
        finally:
            if not done:
                await wire.disconnect(nowait=True)
        return wire

    def _drop(self, away: Away) -> None:
        """Gives the connection up with all that was asked: one failure, however many waited."""
        line, self._line = self._line, None
        if line is not None:
            line.end(away)
        answer_all(deque(question.answer for question in self._unsent), away)
        self._unsent.clear()
        self._failed(away)

    def _failed(self, error: Exception) -> None:
        if self._closed or not self._gate.failed(asyncio.get_running_loop().time()):
            return
        log.warning("redis is away (%s): this process goes on alone", _words(error))
        line, self._line = self._line, None
        if line is not None:
            line.end(Away("left alone"))
        self._spawn("reopen", self._reopen)

    async def _reopen(self) -> None:
        """One probe at a time, until one is answered."""
        while True:
            await asyncio.sleep(self._gate.pause())
            if await self._answers():
                break
        self._gate.reopen(asyncio.get_running_loop().time())
        log.info("redis is back")
        for call in self._on_back:
            call()

    async def _answers(self) -> bool:
        try:
            wire = await self.dial()
        except Away:
            return False
        asked: Asked = asyncio.get_running_loop().create_future()
        line = Line(wire)
        line.ask(Question(("PING",), asked))
        try:
            async with asyncio.timeout(self._bound):
                return bool(await wire.read_response(timeout=math.inf) == b"PONG")
        except (RedisError, OSError):
            return False
        finally:
            line.end(Away("over"))
            await wire.disconnect(nowait=True)

    async def hear(self, channel: str, subscribed: Callable[[], None], news: "News") -> None:
        """Calls `subscribed` once, then `news` with each message of a channel, on a connection of
        its own, until that breaks: raises `Away`."""
        wire = await self.dial()
        line = Line(wire)
        never: Asked = asyncio.get_running_loop().create_future()
        asked_alive = False
        try:
            line.ask(Question(("SUBSCRIBE", channel), never))
            while True:
                message = await wire.read_response(timeout=QUIET)
                if message is None:
                    if asked_alive:
                        raise Away("a subscription fell silent")
                    line.ask(Question(("PING",), never))
                elif message[0] == b"subscribe":
                    subscribed()
                elif message[0] == b"message":
                    news(message[2])
                asked_alive = message is None
        except (RedisError, OSError) as error:
            raise Away(_words(error)) from None
        finally:
            never.cancel()
            line.end(Away("over"))
            await wire.disconnect(nowait=True)

    def _spawn(self, name: str, work: Callable[[], Any]) -> None:
        """Starts a task of this link, unless it is under way; a new listener replaces the old."""
        before = self._tasks.get(name)
        if self._closed or (name != "listen" and before is not None and not before.done()):
            return
        task = self._tasks[name] = spawn(work(), f"redis: {name}")
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]

    async def close(self) -> None:
        """Ends it; what is asked from now on raises `Away`."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self._drop(Away("closed"))
        await asyncio.gather(*tasks, return_exceptions=True)


News = Callable[[bytes], None]


def _maker(url: str) -> Callable[[], Wire]:
    """Makes connections to `url`, which redis-py reads; they are in no pool of its own."""
    try:
        pool = ConnectionPool.from_url(url, protocol=2)
    except (ValueError, TypeError):  # their words may quote the URL
        raise ValueError("no URL of Redis: redis://…, rediss://… or unix://… are wanted") from None
    # What the URL may not ask for. Timeouts are kept here: redis-py's own would put each write
    # into a task, where its order is left to chance and Python 3.11 can lose a cancel.
    pool.connection_kwargs.update(
        socket_timeout=None,
        socket_connect_timeout=CONNECT,
        protocol=2,
        decode_responses=False,
        health_check_interval=0,
        driver_info=None,
    )
    return cast("Callable[[], Wire]", pool.make_connection)


def _words(error: Exception) -> str:
    """What went wrong. redis-py's own texts name the host, and some the user."""
    return str(error) if isinstance(error, Away) else type(error).__name__
