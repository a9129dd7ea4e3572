"""What a way in has to say, and the adapter that it makes of any other."""

from collections.abc import Mapping
from typing import Protocol

from adapters.base import (
    Adapter,
    Ask,
    CostOf,
    Endpoint,
    Failure,
    Outgoing,
    Reply,
    StreamTranslator,
    Target,
    Usage,
)


class Bridge(Protocol):
    """One inbound shape. Stateless; the chat it makes has the endpoint CHAT, and in a stream
    wants usage."""

    def chat(self, ask: Ask) -> Ask:
        """The chat that says the same. Raises `UpstreamFailure` for what chat can't say."""
        ...

    def reply(self, ask: Ask, body: bytes) -> bytes:
        """A chat completion's body -> the answer's."""
        ...

    def stream(self, ask: Ask) -> "StreamShaper":
        """Turns the chat's stream into the shape's."""
        ...


class StreamShaper(Protocol):
    """OpenAI's chat events, as an adapter's translator writes them -> another shape's.

    `feed` gets whole or partial SSE bytes up to and with `[DONE]`.
    """

    def feed(self, data: bytes) -> bytes: ...


class Bridged:
    """An adapter of chat that answers in another shape."""

    endpoints = frozenset[Endpoint]()

    def __init__(self, inner: Adapter, bridge: Bridge) -> None:
        self._inner = inner
        self._bridge = bridge

    def request(self, ask: Ask, target: Target) -> Outgoing:
        return self._inner.request(self._bridge.chat(ask)._replace(headers=()), target)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        chat = self._inner.reply(self._bridge.chat(ask), body)
        return chat._replace(body=self._bridge.reply(ask, chat.body))

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return self._inner.failure(status, headers, body)

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        inner = self._inner.stream(self._bridge.chat(ask), cost)
        return BridgedStream(inner, self._bridge.stream(ask))


class BridgedStream:
    """A chat's stream, given another shape as it comes."""

    def __init__(self, inner: StreamTranslator, shaper: StreamShaper) -> None:
        self._inner = inner
        self._shaper = shaper

    def feed(self, data: bytes) -> bytes:
        return self._shaper.feed(self._inner.feed(data))

    def finish(self) -> bytes:
        return self._shaper.feed(self._inner.finish())

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @property
    def contents(self) -> int:
        return self._inner.contents

    @property
    def text_bytes(self) -> int:
        return self._inner.text_bytes

    @property
    def skipped(self) -> int:
        return self._inner.skipped

    @property
    def failure(self) -> Failure | None:
        return self._inner.failure

    @property
    def done(self) -> bool:
        return self._inner.done
