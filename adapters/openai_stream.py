"""Streams of the OpenAI dialect: passed on as they came, and read for the books and the end."""

import re
from typing import Any

import orjson

from adapters.base import Ask, CostOf, Failure, UpstreamFailure, Usage, count_of
from adapters.completion import DONE, usage_object
from adapters.estimate import estimate, text_size
from adapters.failures import failure_inside, interrupted, too_large
from adapters.jsonedit import loads
from adapters.openai_shape import (
    complaint_of,
    error_of,
    flatten_content,
    normalise_finish,
    read_usage,
)
from adapters.sse import Decoder, event, event_type

PLAIN_TEXT = re.compile(rb"[ !#-\[\]-~]+")
"""Text that a JSON string holds as it is: ASCII without quotes, backslashes and controls."""


class OpenAIStream:
    """Passes events on as they were sent, and keeps what the books and the end need.

    The usage chunk and `[DONE]` are held to the end: the first may have to be left out or given
    its cost, the second must not follow a stream that is not whole.
    """

    def __init__(self, ask: Ask, cost: CostOf) -> None:
        self.usage: Usage | None = None
        self.contents = 0
        self.text_bytes = 0
        self.skipped = 0
        self.failure: Failure | None = None
        self.done = False
        self._ask = ask
        self._cost = cost
        self._events = Decoder()
        self._seen: set[int] = set()
        self._finished: set[int] = set()
        self._last: dict[str, Any] = {}
        self._usage_chunk: dict[str, Any] | None = None
        self._begins: bytes | None = None  # of a chunk that differs in its text alone
        self._ends = b""

    def feed(self, data: bytes) -> bytes:
        if self._is_whole(data) and self._is_like_the_last(data[6:-2]):
            return data
        return self._take_all(self._events.feed(data))

    def _is_whole(self, data: bytes) -> bool:
        """Whether `data` may be just one event, as Turnout would write it."""
        return self._events.is_between and data.startswith(b"data: ") and data.endswith(b"\n\n")

    def finish(self) -> bytes:
        out = self._take_all(self._events.finish())
        if self.done or self.failure:
            return out
        expected = self._ask.body.get("n")
        if len(self._finished) < (expected if isinstance(expected, int) else 1):
            raise UpstreamFailure(interrupted())
        if not self._whole():
            raise UpstreamFailure(interrupted())
        return out + self._end()

    def _take_all(self, payloads: list[bytes]) -> bytes:
        if self.done or self.failure:
            return b""
        out = b""
        for payload in payloads:
            out += event(payload) if self._is_like_the_last(payload) else self._take(payload)
            if self.done or self.failure:
                break
        if self._events.overflow and not self.failure:
            self.failure = too_large(self._events.limit)
        return out

    def _take(self, payload: bytes) -> bytes:
        """What one event becomes."""
        try:
            chunk = loads(payload)
            choices = chunk.get("choices")
        except (orjson.JSONDecodeError, AttributeError):
            return self._take_odd(payload)
        if chunk.get("error"):
            self.failure = error_of(chunk)
            return b""
        usage = chunk.get("usage")
        if usage:
            self.usage = read_usage(usage) or self.usage
            if not choices:
                self._usage_chunk = chunk if isinstance(usage, dict) else None
                return b""
        self._last = chunk
        if isinstance(choices, list) and self._read_choices(choices):
            payload = orjson.dumps(chunk)
        elif not usage:
            self._learn_shape(payload, choices)
        return event(payload)

    def _is_like_the_last(self, payload: bytes) -> bool:
        """Whether an event differs from one parsed before in its text alone, and in plain text.

        Most of a stream is: the same members around another word. To see that costs half a
        microsecond, to parse it three, and nothing in it is news but the text's length.
        """
        begins, ends = self._begins, self._ends
        if begins is None or not (payload.startswith(begins) and payload.endswith(ends)):
            return False
        text = payload[len(begins) : -len(ends)]
        if not PLAIN_TEXT.fullmatch(text):
            return False
        self.contents += 1
        self.text_bytes += len(text)
        return True

    def _learn_shape(self, payload: bytes, choices: Any) -> None:
        """Notes what stands around the text of a chunk that has nothing else to say."""
        self._begins = None
        match choices:
            case [{"delta": {"content": str(text), **others}, "finish_reason": None}] if not others:
                pass
            case _:
                return
        written = orjson.dumps(text)
        for member in (b'"content":' + written, b'"content": ' + written):
            if payload.count(member) == 1 and b"\n" not in payload:
                begin, end = payload.split(member)
                self._begins = begin + member[: -len(written)] + b'"'
                self._ends = b'"' + end

    def _take_odd(self, payload: bytes) -> bytes:
        """`[DONE]`, or what is no JSON object."""
        if payload.strip() != b"[DONE]":
            self.skipped += 1
        elif self._whole():
            return self._end()
        else:
            self.failure = interrupted("the upstream said [DONE] before every choice had finished")
        return b""

    def _read_choices(self, choices: list[Any]) -> bool:
        """Notes content and ends; True when a choice had to be changed."""
        changed = content = False
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index")
            if not isinstance(index, int):
                index = 0
            self._seen.add(index)
            if choice.get("finish_reason") is not None:
                changed |= normalise_finish(choice)
                self._finished.add(index)
                content = True
            delta = choice.get("delta")
            if isinstance(delta, dict) and flatten_content(delta):
                changed = True
            parts = delta if isinstance(delta, dict) else {"text": choice.get("text")}
            for name, value in parts.items():
                if value and name != "role":
                    self.text_bytes += text_size(value)
                    content = True
        self.contents += content
        return changed

    def _whole(self) -> bool:
        return bool(self._seen) and self._seen <= self._finished

    def _end(self) -> bytes:
        self.done = True
        if not self._ask.wants_usage:
            return DONE
        return event(orjson.dumps(self._with_cost())) + DONE

    def _with_cost(self) -> dict[str, Any]:
        """The chunk with the usage, the upstream's own where it sent one."""
        usage = self.usage or estimate(self._ask, self.text_bytes)
        chunk = self._usage_chunk or {
            "id": self._last.get("id"),
            "object": self._last.get("object"),
            "created": self._last.get("created"),
            "model": self._last.get("model"),
            "choices": [],
            "usage": usage_object(usage) | ({} if self.usage else {"estimated": True}),
        }
        cost = self._cost(usage)
        if cost is not None:
            chunk["usage"]["cost_usd"] = cost
        return chunk


ENDS = frozenset(
    {
        "response.completed",
        "response.incomplete",
        "response.failed",
        "image_generation.completed",
        "transcript.text.done",
        "speech.audio.done",
    }
)
"""Types of the last event of OpenAI's newer APIs, whose streams have no `[DONE]`."""

OPENINGS = frozenset({"response.created", "response.in_progress", "response.queued", "keepalive"})
"""Types of events that carry no content."""


class TypedStream:
    """A stream of typed events (Responses, images, audio), passed on as it came."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.contents = 0
        self.text_bytes = 0
        self.skipped = 0
        self.failure: Failure | None = None
        self.done = False
        self._events = Decoder()

    def feed(self, data: bytes) -> bytes:
        out = b"".join(map(self._take, self._events.feed(data)))
        if self._events.overflow and not self.failure:
            self.failure = too_large(self._events.limit)
        return out

    def finish(self) -> bytes:
        out = b"".join(map(self._take, self._events.finish()))
        if not self.done and not self.failure:
            raise UpstreamFailure(interrupted())
        return out

    def _take(self, payload: bytes) -> bytes:
        if self.done or self.failure or payload.strip() == b"[DONE]":
            return b""
        try:
            parsed = loads(payload)
            kind = event_type(parsed)
            self._read(kind, parsed)
        except (KeyError, TypeError, ValueError, AttributeError):  # no event of this kind
            self.skipped += 1
            return b""
        if self.failure:
            return b""
        return b"event: %b\n%b" % (kind.encode(), event(payload))

    def _read(self, kind: str, parsed: dict[str, Any]) -> None:
        response = parsed.get("response")
        response = response if isinstance(response, dict) else {}
        self.usage = read_typed_usage(response.get("usage") or parsed.get("usage")) or self.usage
        if kind == "image_generation.completed":
            self.usage = (self.usage or Usage())._replace(images=1)
        if kind == "error" or (kind == "response.failed" and not self.contents):
            error = parsed.get("error") or response.get("error") or parsed
            self.failure = failure_inside(complaint_of({"error": error}))
            return
        self.done = kind in ENDS
        self.contents += kind not in OPENINGS
        delta = parsed.get("delta")
        self.text_bytes += text_size(delta) if isinstance(delta, str) else 0


def read_typed_usage(usage: Any) -> Usage | None:
    """The usage of Responses, images and audio: `input_tokens` and `output_tokens`."""
    if not isinstance(usage, dict) or not isinstance(usage.get("input_tokens"), int):
        return None
    read = usage.get("input_tokens_details")
    made = usage.get("output_tokens_details")
    return Usage(
        prompt=count_of(usage["input_tokens"]),
        completion=count_of(usage.get("output_tokens")),
        cached=count_of(read.get("cached_tokens")) if isinstance(read, dict) else 0,
        cache_write=count_of(read.get("cache_write_tokens")) if isinstance(read, dict) else 0,
        reasoning=count_of(made.get("reasoning_tokens")) if isinstance(made, dict) else 0,
    )
