"""What every shape of a kept answer has to say, and the pieces that several are made of."""

import re
from typing import Any, Protocol

import orjson

from adapters.base import Ask, JsonObject, Usage
from adapters.jsonedit import loads
from adapters.sse import Decoder

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a body or an event that is not of its endpoint's shape can raise."""

_PIECE = re.compile(r".{1,40}(?:(?<=\s)|\S{0,24}\s?)", re.DOTALL)


class NotWhole(ValueError):
    """A stream that has no end, or something in it that no body can say."""


class Shape(Protocol):
    """One endpoint's answer. Stateless; all but `replay` may raise `ODD` for what is none."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        """The payloads of a whole stream's events -> the body it would have had without."""
        ...

    def usage(self, answer: JsonObject) -> Usage | None: ...

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None: ...

    def text(self, answer: JsonObject) -> str: ...

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]: ...


def read_payloads(stream: bytes) -> list[bytes]:
    """The payloads of a stream. Raises `NotWhole` when it ends within an event."""
    events = Decoder()
    payloads = events.feed(stream)
    if not payloads or not events.is_between:
        raise NotWhole("the stream ends within an event")
    return payloads


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` for anything else."""
    parsed = loads(data)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed


def split(text: str) -> list[str]:
    """Text in pieces of about 40 characters, cut after spaces where there are any."""
    return _PIECE.findall(text)


def unbilled(answer: dict[str, Any]) -> None:
    """Says that the answer cost nothing, where it says what it cost."""
    usage = answer.get("usage")
    if isinstance(usage, dict) and "cost_usd" in usage:
        usage["cost_usd"] = 0


def named_event(payload: JsonObject) -> bytes:
    """An event as Anthropic's and the Responses API write it, with its type as its name."""
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), orjson.dumps(payload))


def objects(value: Any) -> list[dict[str, Any]]:
    """A list of JSON objects. Raises `TypeError` for anything else."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise TypeError("not a list of objects")
    return value
