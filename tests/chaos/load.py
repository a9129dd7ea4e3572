"""The load: numbered requests, an upstream that counts them, clients of which some leave.

A request's user message is `NUMBER WORD`. The word says what the upstream does with it, and the
number is also its `x-turnout-job`, so that the upstream's count, what the client saw and the
ledger can be laid side by side.
"""

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

import aiohttp
import orjson

from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream

BAD = ("reset", "half", "stall", "429", "500", "503", "cut", "html", "torn")
"""Words whose first try fails; with `!` behind it every try does."""

ODD = ("malformed", "slow")
"""Words that are strange, but served."""

PAUSE = 0.004  # seconds between two pieces of an answer
LONG = 1.5  # seconds of a long stream


class Told(IntEnum):
    """What a request's client saw in the end."""

    NOTHING = 0  # never sent: nobody listened
    DONE = 1  # a whole answer, or a stream with its [DONE]
    ERROR = 2  # an error, as an answer or inside the stream
    LEFT = 3  # it left by itself
    BROKEN = 4  # the connection broke
    SHED = 5  # turned away at the door: overloaded
    SILENT = 6  # a stream that ended properly, with neither [DONE] nor an error


class Tally:
    """By number, in a few bytes each: a soak counts them all, and its memory too."""

    def __init__(self) -> None:
        self.asked = bytearray()  # times that the upstream had all of it
        self.told = bytearray()  # `Told`
        self.millis = array("f")  # to the end, or until it left
        self.errors: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.told)

    def new(self) -> int:
        self.asked.append(0)
        self.told.append(Told.NOTHING)
        self.millis.append(0.0)
        return len(self.told) - 1

    def of(self, told: Told) -> list[int]:
        """The numbers whose clients saw this."""
        return [number for number, seen in enumerate(self.told) if seen == told]

    def counts(self) -> str:
        shown = [f"{len(self.of(t)):,} {t.name.lower()}" for t in Told if self.of(t)]
        shown += [f"{times:,} {code}" for code, times in self.errors.most_common(12)]
        return ", ".join(shown)


def usage_of(number: int) -> tuple[int, int]:
    """The tokens in and out that the upstream says a request took."""
    return 1000 + number % 1000, 1 + number % 97


def script(word: str, number: int, stream: bool, times: int) -> Script:
    """What the upstream does with a request that it is asked for the `times`-th time."""
    name = word.removesuffix("!")
    if name in BAD and (times == 1 or word != name):
        return _bad(name, number, stream)
    if name == "slow":
        return [fake.Sleep(0.15), *_answer(number, stream)]
    if name == "malformed" and stream:
        events = fake.chat_chunks(["Hello"] * 3, usage=fake.count(*usage_of(number)))
        return fake.sse(*events[:2], b"{this is no JSON", *events[2:], delay=PAUSE)
    if name == "long" and stream:
        events = fake.chat_chunks(["Hello"] * 30, usage=fake.count(*usage_of(number)))
        return fake.sse(*events, delay=LONG / len(events))
    if name == "endless" and stream:
        return [*fake.sse(*fake.chat_chunks(["Hello"])[:2], done=False)[:-1], fake.Stall()]
    return _answer(number, stream)


def _answer(number: int, stream: bool) -> Script:
    usage = fake.count(*usage_of(number))
    if stream:
        return fake.sse(*fake.chat_chunks(["Hello"] * 4, usage=usage), delay=PAUSE)
    body = fake.chat_completion("Hello there", usage=usage)
    return [fake.Sleep(PAUSE), *fake.json_reply(body)]


def _bad(name: str, number: int, stream: bool) -> Script:
    if name in ("429", "500", "503"):
        return fake.error_reply(int(name), f"it is {name}")
    if name == "html":
        return fake.html_reply()
    if name in ("half", "cut", "torn") and stream:
        begun = list(_answer(number, True))
        ends: dict[str, fake.Step] = {
            "half": fake.Reset(),
            "cut": fake.Close(),
            "torn": fake.Send(b"0\r\n\r\n"),
        }
        return [*begun[:5], ends[name]]
    if name in ("half", "cut"):
        return fake.cut_json_reply()
    if name == "torn":
        return fake.truncated_json_reply()
    return [fake.Stall() if name == "stall" else fake.Reset()]


@asynccontextmanager
async def counting(tally: Tally, many: int = 1) -> AsyncIterator[list[Upstream]]:
    """Upstreams that do what a request's word says and count it."""

    def match(up: Upstream) -> Callable[[Received], Script | None]:
        def chosen(received: Received) -> Script | None:
            up.log.clear()  # the tally is the log, and smaller
            body = received.json
            number, _, word = body["messages"][0]["content"].partition(" ")
            tally.asked[int(number)] += 1
            return script(word, int(number), bool(body.get("stream")), tally.asked[int(number)])

        return chosen

    ups = [Upstream() for _ in range(many)]
    for up in ups:
        await up.__aenter__()
        up.on(match(up))
    try:
        yield ups
    finally:
        for up in ups:
            await up.__aexit__()


class Clients:
    """Callers of one gateway. `leave` is the share of them that goes in the middle."""

    def __init__(
        self,
        tally: Tally,
        session: aiohttp.ClientSession,
        url: str,
        key: str,
        model: str = "up/m",
        leave: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.tally = tally
        self._session = session
        self._url = url + "/v1/chat/completions"
        self._key = key
        self._model = model
        self._leave = leave
        self._random = random.Random(seed)
        self._running: set[asyncio.Task[Told]] = set()

    async def one(self, word: str = "short", stream: bool | None = None) -> Told:
        """One request, to whatever end it comes."""
        tally, chance = self.tally, self._random
        number = tally.new()
        if stream is None:
            stream = chance.random() < 0.6
        stays = chance.uniform(0, 0.05) if chance.random() < self._leave else None
        began = time.perf_counter()
        try:
            async with asyncio.timeout(stays):
                told = await self._exchange(number, word, stream)
        except TimeoutError:
            told = Told.LEFT
        except aiohttp.ClientConnectorError:
            told = Told.NOTHING
        except (aiohttp.ClientError, OSError):
            told = Told.BROKEN
        tally.told[number] = told
        tally.millis[number] = 1000 * (time.perf_counter() - began)
        return told

    async def _exchange(self, number: int, word: str, stream: bool) -> Told:
        messages = [{"role": "user", "content": f"{number} {word}"}]
        body = orjson.dumps({"model": self._model, "messages": messages, "stream": stream})
        headers = {"authorization": f"Bearer {self._key}", "x-turnout-job": str(number)}
        async with self._session.post(self._url, data=body, headers=headers) as reply:
            raw = await reply.read()
            return self._seen(reply.status, raw, stream)

    def _seen(self, status: int, raw: bytes, stream: bool) -> Told:
        if status != 200:
            code = _error(raw).get("code")
            self.tally.errors[f"{status} {code}"] += 1
            return Told.SHED if code == "server_overloaded" else Told.ERROR
        if not stream or raw.endswith(b"data: [DONE]\n\n"):
            return Told.DONE
        last = raw.rstrip().rpartition(b"\n\n")[2].removeprefix(b"data: ")
        code = _error(last).get("code")
        if code is None:
            return Told.SILENT
        self.tally.errors[f"in-band {code}"] += 1
        return Told.ERROR

    async def keep(self, many: int, words: Callable[[], str], until: asyncio.Event) -> None:
        """So many at a time until the event; returns when the last ones have ended."""

        async def again() -> None:
            while not until.is_set():
                if await self.one(words()) in (Told.NOTHING, Told.BROKEN):
                    await asyncio.sleep(0.1)

        await asyncio.gather(*(again() for _ in range(many)))

    async def steady(
        self, rate: float, seconds: float, words: Callable[[], str] = lambda: "short"
    ) -> range:
        """So many a second, whether or not the last ones have ended; the numbers of those."""
        begins, first = time.perf_counter(), len(self.tally)
        for turn in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, begins + turn / rate - time.perf_counter()))
            task = asyncio.ensure_future(self.one(words()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        last = len(self.tally)
        await asyncio.sleep(0)
        return range(first, last)

    async def idle(self) -> None:
        """Returns when none is under way."""
        while self._running:
            await asyncio.gather(*list(self._running))


def _error(raw: bytes) -> dict[str, Any]:
    try:
        error: dict[str, Any] = orjson.loads(raw)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
