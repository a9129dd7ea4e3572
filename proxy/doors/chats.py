"""What the doors of Turnout's own APIs ask the pipeline with, and get of it as values.

A call of one of them is a call like any other: its row is the request's own, and it ends when its
client leaves. One of many calls of a single request has a row of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from adapters.answers import gather
from adapters.base import Ask, Endpoint
from adapters.completion import DONE
from proxy.client import Client, Heard, RawHeaders, cache_of
from proxy.doors import body as bodies
from proxy.doors import controls as control
from proxy.errors import Internal, TurnoutError, Upstream
from proxy.middleware.usage import RECORD
from proxy.pipeline import Pipeline, Snapshot
from proxy.types import Call, Controls, Outcome, Principal, Record

NOTHING_ASKED = Controls()


class Wanted(NamedTuple):
    """One call. `body` is OpenAI's, without its model; `route` are targets, `provider/model`, that
    count instead of what `name` leads to, `label` the task that the books say then."""

    name: str
    body: Mapping[str, Any]
    controls: Controls = NOTHING_ASKED
    endpoint: Endpoint = Endpoint.CHAT
    route: tuple[str, ...] = ()
    label: str | None = None


class Answer(NamedTuple):
    """A whole answer in OpenAI's shape, and what the books have of it.

    `cache` is the value of `x-turnout-cache`. Tokens and money are in `record`, which counts all
    attempts.
    """

    body: Mapping[str, Any]
    record: Record
    cache: str

    @property
    def content(self) -> str:
        """The text of a chat's first choice; empty where it has none."""
        choices = self.body.get("choices") or [{}]
        return (choices[0].get("message") or {}).get("content") or ""

    @property
    def provider(self) -> str:
        return self.record.provider or ""

    @property
    def model(self) -> str:
        return self.record.model or ""

    @property
    def cost_usd(self) -> float:
        return (self.record.cost_nanousd or 0) / 1e9

    @property
    def attempts(self) -> int:
        return len(self.record.attempts)


Keep = Callable[[Answer], Awaitable[object]]
"""Keeps an answer."""

Judge = Callable[[Answer], None]
"""Raises a `TurnoutError` for an answer that is none."""


class Chats:
    """The pipeline, as doors ask it. `current` gives the configuration in force."""

    def __init__(self, current: Callable[[], Snapshot], pipeline: Pipeline) -> None:
        self.current = current
        self._pipeline = pipeline

    async def ask(self, scope: Scope, principal: Principal, wanted: Wanted) -> Answer:
        """The answer to the one call that an HTTP request is. Raises `TurnoutError`."""
        self.admit()
        snapshot = self.current()
        record: Record = scope[RECORD]
        call = _admitted(record, principal, wanted, stream=False)
        client = Captured(scope, snapshot.config.server.send_timeout)
        await self._pipeline.serve(snapshot, call, record, client)
        if record.outcome is Outcome.CLIENT_CLOSED:
            raise ClientDisconnect
        return _answer(client.body, client.cache, record)

    async def stream(self, scope: Scope, principal: Principal, wanted: Wanted, keep: Keep) -> None:
        """Streams the answer to the client, as OpenAI does. One that is whole is kept before the
        client has its end, so that who asks on at once is asked in the same conversation."""
        self.admit()
        snapshot = self.current()
        record: Record = scope[RECORD]
        call = _admitted(record, principal, wanted, stream=True)
        client = Tapped(scope, snapshot.config.server.send_timeout)
        try:
            await self._pipeline.serve(snapshot, call, record, client)
            if record.outcome is Outcome.OK:
                whole = gather(wanted.endpoint, b"".join(client.parts), record.usage)
                if whole is not None:
                    await keep(_answer(whole, client.cache, record))
        finally:
            await client.finish()

    def admit(self) -> None:
        """Raises `Overloaded` when another call would be one too many."""
        self._pipeline.admit(self.current().config.server)

    async def ask_one(
        self, principal: Principal, wanted: Wanted, client: Heard, judge: Judge | None = None
    ) -> Answer:
        """The answer to one of several calls: it has a row of its own. Raises `TurnoutError`.

        `client.leave()` cuts it. What `judge` raises of an answer makes it a failed one.
        """
        self.admit()
        snapshot = self.current()
        record = self._pipeline.own_record(wanted.endpoint, "")
        try:
            call = _admitted(record, principal, wanted, stream=False)
            await self._pipeline.serve(snapshot, call, record, client)
            answer = _answer(client.body, client.cache, record)
            if judge is not None:
                judge(answer)
        except TurnoutError as error:
            if record.outcome is not Outcome.CLIENT_CLOSED:
                record.outcome = Outcome.FAILED
            record.error_code, record.error_message = error.code, error.message
            self._pipeline.close_own(record, error.status)
            raise
        except BaseException:  # a fault of ours, or a cancel: the books are kept all the same
            self._pipeline.close_own(record, Internal.status)
            raise
        self._pipeline.close_own(record)
        return answer


def _admitted(record: Record, principal: Principal, wanted: Wanted, stream: bool) -> Call:
    """The call, and its record filled in. Raises `InvalidRequest`."""
    asked = wanted.controls
    record.admitted, record.endpoint, record.principal = True, wanted.endpoint, principal
    record.name, record.stream = wanted.name, stream
    record.user = control.user_of(principal, asked)
    record.service, record.job = asked.service, asked.job
    record.metadata = asked.metadata
    control.check_forwardable(wanted.name, "model")
    body = {"model": wanted.name, **wanted.body}
    if stream:
        body |= {"stream": True}
    bodies.check(wanted.endpoint, body)
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    ask = Ask(wanted.endpoint, orjson.dumps(body), body, stream=stream, wants_usage=wants_usage)
    return Call(principal, ask, wanted.name, asked, wanted.route, wanted.label)


def _answer(body: bytes, cache: str, record: Record) -> Answer:
    if record.outcome is not Outcome.OK:
        raise _unfinished(record)
    return Answer(orjson.loads(body), record, cache)


def _unfinished(record: Record) -> TurnoutError:
    """An answer that broke off after its head: nothing of it was given out here."""
    message = record.error_message or "the answer broke off"
    code = record.error_code or "upstream_error"
    return Upstream(message, status=502, type="upstream_error", code=code)


class Captured(Client):
    """A client that is answered in another shape: what the pipeline writes is kept."""

    __slots__ = ("body", "cache")

    def __init__(self, scope: Scope, send_timeout: float) -> None:
        super().__init__(scope, send_timeout)
        self.body = b""
        self.cache = ""

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started = True
        self.cache = cache_of(headers)

    async def write(self, data: bytes) -> None:
        self.body += data

    async def end(self, data: bytes) -> None:
        self.body += data
        self.unwatch()
        if self._lifeline is not None:
            self._lifeline.release()


class Tapped(Client):
    """A client that reads a stream, of which a copy is kept. Its end is held back."""

    __slots__ = ("_held", "cache", "is_over", "parts")

    def __init__(self, scope: Scope, send_timeout: float) -> None:
        super().__init__(scope, send_timeout)
        self.parts: list[bytes] = []
        self.cache = ""
        self.is_over = False
        self._held = b""

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.cache = cache_of(headers)
        await super().start(status, headers)

    async def write(self, data: bytes) -> None:
        self.parts.append(data)
        if data.endswith(DONE):
            data, self._held = data.removesuffix(DONE), DONE
        if data:
            await super().write(data)

    async def end(self, data: bytes) -> None:
        self.parts.append(data)
        self._held += data
        self.is_over = True
        self.unwatch()
        if self._lifeline is not None:
            self._lifeline.release()

    async def finish(self) -> None:
        """Writes the end, if the answer came to one. Who does not read it is left."""
        if not self.is_over:
            return
        try:
            async with asyncio.timeout(self._send_timeout):
                await self._body({"type": "http.response.body", "body": self._held})
        except TimeoutError:
            await self.abort()
