"""An upstream's answer -> the client: the point of no return, and what may happen after it.

Until the first content an upstream's answer is held, and any failure is raised as
`UpstreamFailure`, so that another target can serve unseen. From then on the client has part of
an answer; the pipeline ends the stream with an error event.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.base import (
    Adapter,
    Ask,
    Endpoint,
    StreamTranslator,
    Target,
    UpstreamFailure,
    Usage,
)
from adapters.failures import invalid_reply
from proxy.accounting import count
from proxy.cache.visit import Visit
from proxy.client import Client
from proxy.errors import TurnoutError, anthropic_body, responses_body
from proxy.ledger.pricing import Prices
from proxy.lifeline import Cut, Lifeline
from proxy.types import Attempt, Outcome, Record
from proxy.upstream import BROKEN, ERROR_LIMIT, Exchange, broken

STREAM_TYPE = b"text/event-stream; charset=utf-8"
STREAMED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
HELD_LIMIT = 1024 * 1024  # bytes of events before the first content
DRAIN = 0.25  # seconds that a finished answer's end is waited for, to keep its connection


@dataclass(slots=True)
class Relay:
    """One attempt's way back: from an exchange to the client, and onto the record."""

    ask: Ask
    target: Target
    adapter: Adapter
    client: Client
    lifeline: Lifeline
    record: Record
    attempt: Attempt
    prices: Prices
    visit: Visit
    dropped: tuple[str, ...] = ()
    limits: Sequence[tuple[bytes, bytes]] = ()

    async def serve(self, exchange: Exchange) -> None:
        """The answer in the way that was asked for; returns when the client has its end."""
        if self.ask.stream:
            await self.stream(exchange)
        elif self.ask.endpoint is Endpoint.SPEECH:
            await self.sound(exchange)
        else:
            await self.answer(exchange)

    async def answer(self, exchange: Exchange) -> None:
        """A whole answer, read and checked before the client sees any of it."""
        reply = self.adapter.reply(self.ask, await exchange.read())
        self._note_first_token()
        self._count(reply.usage, reply.text_bytes)
        self.attempt.outcome = self.record.outcome = Outcome.OK
        headers = self._headers(reply.content_type.encode())
        headers.append((b"content-length", b"%d" % len(reply.body)))
        if self.attempt.cost_nanousd is not None:
            headers.append((b"x-turnout-cost-usd", _usd(self.attempt.cost_nanousd)))
        if self.visit.tape is not None:
            self.visit.tape.take(reply.body)
        await self.client.start(200, headers)
        await self.client.end(reply.body)

    async def sound(self, exchange: Exchange) -> None:
        """Audio, piece by piece as it is made: whoever listens wants its beginning first."""
        if not exchange.is_event_stream:  # HTML, JSON or plain text
            await self._refuse(exchange)
        try:
            piece = await exchange.read_some()
            if not piece:
                raise UpstreamFailure(invalid_reply("an answer without sound"))
            self._note_first_token()
            kind = exchange.headers.get("content-type", "audio/mpeg")
            await self.client.start(200, self._headers(kind.encode("latin-1")))
            self.lifeline.arm(Cut.IDLE, self.target.timeouts.idle)
            while piece:
                await self.client.write(piece)
                piece = await exchange.read_some()
                self.lifeline.touch()
        except BROKEN as error:
            raise UpstreamFailure(broken(error)) from None
        finally:
            if self.client.started:
                self._count(None, 0)
        self.attempt.outcome = self.record.outcome = Outcome.OK
        await self.client.end(b"")

    async def stream(self, exchange: Exchange) -> None:
        """A stream, event by event; returns when the client has its end."""
        if not exchange.is_event_stream:
            await self._refuse(exchange)
        translator = self.adapter.stream(self.ask, self._cost)
        try:
            held = await self._until_content(exchange, translator)
            await self._commit()
            await self._pass_on(held, exchange, translator)
        except BROKEN as error:
            raise UpstreamFailure(broken(error)) from None
        finally:
            # Whatever ended it, what was given out is on the books.
            if translator.contents or translator.usage:
                self._count(translator.usage, translator.text_bytes)
        await exchange.drain(DRAIN)

    async def _refuse(self, exchange: Exchange) -> None:
        """A 200 that is no stream: perhaps an error in JSON, or a page of HTML."""
        self.adapter.reply(self.ask, await exchange.read(ERROR_LIMIT))
        what = "sound" if self.ask.endpoint is Endpoint.SPEECH else "a stream"
        raise UpstreamFailure(
            invalid_reply(f"the upstream answered with text where {what} was due")
        )

    async def _until_content(self, exchange: Exchange, translator: StreamTranslator) -> bytes:
        """What the client is to get first. Any failure up to here may be made good elsewhere."""
        held = b""
        while data := await exchange.read_some():
            held += translator.feed(data)
            if translator.contents or translator.failure or len(held) > HELD_LIMIT:
                break
        else:
            held += translator.finish()
        if translator.contents:
            return held
        raise UpstreamFailure(translator.failure or invalid_reply("a stream without content"))

    async def _commit(self) -> None:
        """The point of no return: after this the answer is this target's, for better or worse."""
        self._note_first_token()
        headers = self._headers(STREAM_TYPE)
        headers += STREAMED
        await self.client.start(200, headers)
        self.lifeline.arm(Cut.IDLE, self.target.timeouts.idle)

    async def _pass_on(self, out: bytes, exchange: Exchange, translator: StreamTranslator) -> None:
        """The rest of the stream, `out` first. A chunk comes this way in a few microseconds."""
        read, feed, write = exchange.read_some, translator.feed, self.client.write
        contents, tape = translator.contents, self.visit.tape
        while not translator.done:
            if out:
                await write(out)
                if tape is not None:
                    tape.take(out)
            if translator.failure:
                raise UpstreamFailure(translator.failure)
            data = await read()
            out = feed(data) if data else translator.finish()
            if translator.contents != contents:  # pings are no content
                contents = translator.contents
                self.lifeline.touch()
        self.attempt.outcome = self.record.outcome = Outcome.OK
        if tape is not None:
            tape.take(out)
        await self.client.end(out)

    def _note_first_token(self) -> None:
        self.attempt.first_token = time.monotonic() - self.attempt.started

    def _count(self, usage: Usage | None, text_bytes: int) -> None:
        count(self.attempt, self.target, self.ask, usage, text_bytes, self.prices)

    def _cost(self, usage: Usage) -> float | None:
        target = self.target
        nano = self.prices.cost(target.provider, target.base_url, target.model, usage)
        return None if nano is None else nano / 1e9

    def _headers(self, content_type: bytes) -> list[tuple[bytes, bytes]]:
        record, attempt = self.record, self.attempt
        waited = record.upstream_wait + (attempt.first_token or 0.0)
        overhead = time.monotonic() - record.started - waited
        headers = [
            (b"content-type", content_type),
            (b"x-turnout-provider", self.target.provider.encode()),
            (b"x-turnout-model", self.target.model.encode()),
            (b"x-turnout-attempts", b"%d" % attempt.number),
            (b"x-turnout-cache", self.visit.header()),
            (b"x-turnout-overhead-ms", b"%.2f" % (1000 * overhead)),
        ]
        headers += self.limits
        if record.task:
            headers.append((b"x-turnout-task", record.task.encode()))
        if self.dropped:
            headers.append(
                (b"x-turnout-dropped", ", ".join(self.dropped).encode("latin-1", "replace"))
            )
        return headers


def hit_headers(record: Record, visit: Visit, stream: bool, size: int) -> list[tuple[bytes, bytes]]:
    """The head of an answer that was kept: it asked nobody, and cost nothing."""
    overhead = time.monotonic() - record.started
    headers = [
        (b"content-type", STREAM_TYPE if stream else b"application/json"),
        (b"x-turnout-provider", (record.provider or "").encode()),
        (b"x-turnout-model", (record.model or "").encode()),
        (b"x-turnout-attempts", b"0"),
        (b"x-turnout-cache", visit.header()),
        (b"x-turnout-overhead-ms", b"%.2f" % (1000 * overhead)),
    ]
    if record.task:
        headers.append((b"x-turnout-task", record.task.encode()))
    if stream:
        return headers + list(STREAMED)
    return [*headers, (b"content-length", b"%d" % size), (b"x-turnout-cost-usd", b"0.0")]


def _usd(nano: int) -> bytes:
    """Nano-dollars as a decimal number without trailing zeros."""
    text = f"{nano // 10**9}.{nano % 10**9:09d}".rstrip("0")
    return (text + "0" if text.endswith(".") else text).encode()


def error_event(error: TurnoutError, endpoint: Endpoint) -> bytes | None:
    """An error inside a stream that has begun, in its shape. SDKs raise on it; no end follows.

    None where the shape has no place for one: the connection has to be cut instead.
    """
    match endpoint:
        case Endpoint.MESSAGES:
            return b"event: error\ndata: " + anthropic_body(error) + b"\n\n"
        case Endpoint.RESPONSES:
            return b"event: error\ndata: " + responses_body(error) + b"\n\n"
        case Endpoint.SPEECH:
            return None
        case _:
            return b"data: " + error.body() + b"\n\n"
