"""OpenAI's chat completion, written by dialects that translate: a whole one, or chunk by chunk.

What OpenAI's shape lacks has these places, all of which a client gives back as it got them:
`reasoning_content` is what the model thought, as text; `thinking_blocks` the same with the
signatures that Anthropic and Bedrock want back in a tool loop (LiteLLM's name and shape);
`extra_content.google.thought_signature`, of a tool call or of a message, is Gemini's (the place
that Google's own OpenAI endpoint gives it).
"""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import orjson

from adapters.base import (
    Ask,
    CostOf,
    Failure,
    Reply,
    UpstreamFailure,
    Usage,
)
from adapters.conversation import Thinking
from adapters.estimate import estimate
from adapters.failures import interrupted, invalid_reply, too_large
from adapters.jsonedit import loads
from adapters.sse import event

DONE = b"data: [DONE]\n\n"

_ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading an event of a shape that its dialect does not have can raise."""


def new_id(prefix: str) -> str:
    """An id, where an upstream gives none."""
    return prefix + secrets.token_hex(12)


def usage_object(usage: Usage) -> dict[str, Any]:
    """A usage value in OpenAI's shape."""
    prompt = {"cached_tokens": usage.cached}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def thinking_object(block: Thinking) -> dict[str, Any]:
    """A block of thought as `thinking_blocks` has it."""
    if block.redacted is not None:
        return {"type": "redacted_thinking", "data": block.redacted}
    signature = {} if block.signature is None else {"signature": block.signature}
    return {"type": "thinking", "thinking": block.text, **signature}


def signature_object(signature: str) -> dict[str, Any]:
    """Gemini's thought signature as `extra_content` has it."""
    return {"google": {"thought_signature": signature}}


@dataclass(slots=True)
class Choice:
    """One choice of a whole answer, while it is read."""

    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    thinking: list[Thinking] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str = "stop"
    refusal: str | None = None
    signature: str | None = None
    logprobs: dict[str, Any] | None = None

    def call(self, id: str, name: str, arguments: Any, signature: str | None = None) -> None:
        """Adds a tool call; `arguments` is the parsed object or its JSON."""
        if not isinstance(arguments, str):
            arguments = orjson.dumps(arguments).decode()
        entry = {
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        if signature is not None:
            entry["extra_content"] = signature_object(signature)
        self.calls.append(entry)

    def message(self) -> dict[str, Any]:
        """The choice's message."""
        text = "".join(self.text)
        has_text = bool(text) or not (self.calls or self.refusal)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if has_text else None,
            "refusal": self.refusal,
        }
        thoughts = "".join(self.thoughts)
        if thoughts:
            message["reasoning_content"] = thoughts
        if self.thinking:
            message["thinking_blocks"] = [thinking_object(block) for block in self.thinking]
        if self.calls:
            message["tool_calls"] = self.calls
        if self.signature is not None:
            message["extra_content"] = signature_object(self.signature)
        return message


def completion(id: Any, model: str, choices: Iterable[Choice], usage: Usage) -> dict[str, Any]:
    """A chat completion."""
    return {
        "id": id if isinstance(id, str) and id else new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": index,
                "message": choice.message(),
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": usage_object(usage),
    }


def reply(id: Any, model: str, choices: list[Choice], usage: Usage | None, ask: Ask) -> Reply:
    """A whole answer. Where the upstream counted nothing its usage is an estimate, and says so."""
    size = 0
    for choice in choices:
        size += sum(len(piece.encode(errors="replace")) for piece in choice.text + choice.thoughts)
        size += sum(len(call["function"]["arguments"]) for call in choice.calls)
    body = completion(id, model, choices, usage or estimate(ask, size))
    if usage is None:
        body["usage"]["estimated"] = True
    return Reply(orjson.dumps(body), usage, size)


def parse_object(body: bytes) -> dict[str, Any]:
    """A whole answer's JSON object. Raises `UpstreamFailure` when it is none."""
    try:
        parsed = loads(body)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailure(invalid_reply(f"the answer is not JSON: {error}")) from None
    if not isinstance(parsed, dict):
        raise UpstreamFailure(invalid_reply("the answer is not a JSON object"))
    return parsed


E = TypeVar("E")


class Events(Protocol[E]):
    """Bytes to events, whatever way they are split; see `adapters.sse.Decoder`."""

    limit: int
    overflow: bool

    def feed(self, data: bytes) -> list[E]: ...

    def finish(self) -> list[E]: ...


class TranslatedStream(Generic[E]):
    """A stream of another dialect -> OpenAI's chunks. A dialect says what each event means in
    `_take`, in the words below: `_begin`, `_text`, `_reason`, `_think`, `_call`, `_arguments`,
    `_finish`, `_end`. Finish reasons are held to the end, as usage and `[DONE]` are: a stream that
    breaks after them has still not ended well.
    """

    def __init__(self, ask: Ask, cost: CostOf, events: Events[E]) -> None:
        self.usage: Usage | None = None
        self.contents = 0
        self.text_bytes = 0
        self.skipped = 0
        self.failure: Failure | None = None
        self.done = False
        self._ask = ask
        self._cost = cost
        self._events = events
        self._out: list[bytes] = []
        self._id = new_id("chatcmpl-")
        self._model = str(ask.body.get("model"))
        self._created = int(time.time())
        self._head = b""  # of every chunk, up to its choices
        self._spoken: set[int] = set()
        self._finishes: dict[int, str] = {}
        self._calls: dict[int, int] = {}  # of each choice, so far
        self._blocks: dict[int, int] = {}

    def feed(self, data: bytes) -> bytes:
        self._take_all(self._events.feed(data))
        if self._events.overflow and not self.failure:
            self.failure = too_large(self._events.limit)
        return self._given_out()

    def finish(self) -> bytes:
        self._take_all(self._events.finish())
        if not self.done and not self.failure:
            if not self._finishes:
                raise UpstreamFailure(interrupted())
            self._end()
        return self._given_out()

    def _given_out(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _take_all(self, events: list[E]) -> None:
        for entry in events:
            if self.done or self.failure:
                return
            before = (len(self._out), self.contents, self.text_bytes, self._spoken.copy())
            try:
                self._take(entry)
            except _ODD:  # of a shape that the dialect does not have: counted, not passed on
                written, self.contents, self.text_bytes, self._spoken = before
                del self._out[written:]
                self.skipped += 1

    def _take(self, entry: E) -> None:
        raise NotImplementedError

    # What a dialect says.

    def _begin(self, id: Any, model: Any) -> None:
        """The upstream's own id and model; only the first counts."""
        if self._head:
            return
        if isinstance(id, str) and id:
            self._id = id
        if isinstance(model, str) and model:
            self._model = model

    def _text(self, text: str, choice: int = 0) -> None:
        """Words of the answer."""
        if text:
            self._delta(choice, b'{"content":' + _dumps(text) + b"}", text)

    def _reason(self, text: str, choice: int = 0) -> None:
        """Words of thought."""
        if text:
            self._delta(choice, b'{"reasoning_content":' + _dumps(text) + b"}", text)

    def _think(self, block: Thinking, choice: int = 0) -> None:
        """A whole block of thought, whose words were said before."""
        index = self._blocks.get(choice, 0)
        self._blocks[choice] = index + 1
        entry = {"index": index, **thinking_object(block)}
        self._delta(choice, _dumps({"thinking_blocks": [entry]}))

    def _call(
        self, id: str, name: str, arguments: str, choice: int = 0, signature: str | None = None
    ) -> int:
        """Begins a tool call; its number, for more of its arguments."""
        index = self._calls.get(choice, 0)
        self._calls[choice] = index + 1
        entry = {
            "index": index,
            "id": id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        if signature is not None:
            entry["extra_content"] = signature_object(signature)
        self._delta(choice, _dumps({"tool_calls": [entry]}), name + arguments)
        return index

    def _arguments(self, index: int, piece: str, choice: int = 0) -> None:
        """More of a call's arguments."""
        if piece:
            entry = {"index": index, "function": {"arguments": piece}}
            self._delta(choice, _dumps({"tool_calls": [entry]}), piece)

    def _sign(self, signature: str, choice: int = 0) -> None:
        """Gemini's signature of a message that calls nothing."""
        self._delta(choice, _dumps({"extra_content": signature_object(signature)}))

    def _refuse(self, text: str, choice: int = 0) -> None:
        """Why the model will not answer."""
        self._delta(choice, b'{"refusal":' + _dumps(text) + b"}", text)

    def _finish(self, reason: str, choice: int = 0) -> None:
        """Why a choice ended."""
        self._finishes[choice] = reason

    def _end(self) -> None:
        """The stream is whole."""
        self.done = True
        for choice, reason in sorted(self._finishes.items()):
            self._speak(choice)
            self._chunk(choice, b"{}", _dumps(reason))
            self.contents += 1
        if self._ask.wants_usage:
            self._out.append(event(_dumps(self._usage_chunk())))
        self._out.append(DONE)

    # How it is written.

    def _speak(self, choice: int) -> None:
        if choice not in self._spoken:
            self._spoken.add(choice)
            self._chunk(choice, b'{"role":"assistant","content":""}')

    def _delta(self, choice: int, delta: bytes, text: str = "") -> None:
        self._speak(choice)
        self._chunk(choice, delta)
        self.contents += 1
        self.text_bytes += len(text) if text.isascii() else len(text.encode(errors="replace"))

    def _chunk(self, choice: int, delta: bytes, finish: bytes = b"null") -> None:
        if not self._head:
            shared = self._shared()
            self._head = b"data: " + _dumps(shared)[:-1] + b',"choices":[{"index":'
        self._out.append(
            b'%b%d,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
            % (self._head, choice, delta, finish)
        )

    def _shared(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _usage_chunk(self) -> dict[str, Any]:
        usage = self.usage or estimate(self._ask, self.text_bytes)
        counted = usage_object(usage) | ({} if self.usage else {"estimated": True})
        cost = self._cost(usage)
        if cost is not None:
            counted["cost_usd"] = cost
        return {**self._shared(), "choices": [], "usage": counted}


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value)
