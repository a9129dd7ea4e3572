"""OpenAI's chat answers in Anthropic's words, and its stream as Anthropic's events.

What an Anthropic client does not give back goes into what it does: a tool call's `extra_content`
(Gemini's signature of the thought behind it) is a part of the id of its `tool_use`.
Source: Anthropic's API reference, version 2023-06-01, "Streaming messages".
"""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.base import JsonObject, UpstreamFailure, Usage
from adapters.completion import new_id
from adapters.failures import invalid_reply
from adapters.inbound.tidy import tidy_chunk
from adapters.jsonedit import loads
from adapters.openai_shape import read_usage
from adapters.sse import Decoder

STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's finish reasons; any other is `end_turn`, a stop sequence too: chat does not tell."""

EXTRA = "_extra_content_"
"""Stands between a call's id and its `extra_content`; all of Anthropic's alphabet of ids."""

OUR_OWN = ("cost_usd", "estimated")
"""Members of a usage that Turnout adds."""

_ODD = (KeyError, TypeError, ValueError, AttributeError)
"""What reading a chunk of an odd shape can raise."""


def message(id: Any, model: Any) -> dict[str, Any]:
    """The frame of an answer, without its content."""
    given = id if isinstance(id, str) and id else new_id("")
    return {
        "id": given if given.startswith("msg_") else "msg_" + given.removeprefix("chatcmpl-"),
        "type": "message",
        "role": "assistant",
        "model": str(model),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def stop_reason(finish: Any, called: bool) -> str:
    """Anthropic's word for a finish reason. OpenAI's `stop` may end a call: a forced one."""
    reason = STOP_REASONS.get(str(finish), "end_turn")
    if reason in ("end_turn", "tool_use"):
        return "tool_use" if called else "end_turn"
    return reason


def usage_object(usage: Any) -> dict[str, Any]:
    """OpenAI's usage in Anthropic's shape: what has to do with a cache is no `input_tokens`."""
    read = read_usage(usage) or Usage()
    said: dict[str, Any] = {
        "input_tokens": max(0, read.prompt - read.cached - read.cache_write),
        "cache_creation_input_tokens": read.cache_write,
        "cache_read_input_tokens": read.cached,
        "output_tokens": read.completion,
    }
    if read.reasoning:
        said["output_tokens_details"] = {"thinking_tokens": read.reasoning}
    if isinstance(usage, dict):
        said.update({name: usage[name] for name in OUR_OWN if name in usage})
    return said


def pack_id(id: Any, extra: Any) -> str:
    """The id of a `tool_use`: the call's, with its `extra_content` when it has one."""
    plain = str(id or new_id("toolu_"))
    if not isinstance(extra, dict) or not extra:
        return plain
    return plain + EXTRA + base64.urlsafe_b64encode(orjson.dumps(extra)).decode().rstrip("=")


def unpack_id(id: str) -> tuple[str, JsonObject | None]:
    """The call's id, and its `extra_content` if it had one."""
    plain, mark, packed = id.rpartition(EXTRA)
    if not mark:
        return id, None
    try:
        extra = orjson.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (binascii.Error, ValueError):
        return id, None
    return (plain, extra) if isinstance(extra, dict) else (id, None)


def content(said: JsonObject, cut: bool) -> list[dict[str, Any]]:
    """The blocks of a chat's message. Raises `UpstreamFailure` for a call whose arguments are no
    JSON object, if the answer was not `cut` short."""
    words = (said.get("content"), said.get("refusal"))
    texts = [{"type": "text", "text": text} for text in words if isinstance(text, str) and text]
    calls = [call for call in said.get("tool_calls") or () if isinstance(call, dict)]
    return _thoughts(said) + texts + [_tool_use(call, cut) for call in calls]


def _thoughts(said: JsonObject) -> list[dict[str, Any]]:
    """Blocks of thought; without a signature of its own thought has an empty one."""
    blocks = said.get("thinking_blocks")
    if isinstance(blocks, list) and blocks:
        return [
            block | {"signature": block.get("signature") or ""}
            if block.get("type") == "thinking"
            else block
            for block in blocks
            if isinstance(block, dict)
        ]
    words = said.get("reasoning_content") or said.get("reasoning")
    if not isinstance(words, str) or not words:
        return []
    return [{"type": "thinking", "thinking": words, "signature": ""}]


def _tool_use(call: JsonObject, cut: bool) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise UpstreamFailure(invalid_reply("a tool call has no function"))
    given = function.get("arguments") or {}
    try:
        given = loads(given) if isinstance(given, str) else given
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict) and not cut:
        raise UpstreamFailure(invalid_reply("a tool call's arguments are not a JSON object"))
    return {
        "type": "tool_use",
        "id": pack_id(call.get("id"), call.get("extra_content")),
        "name": str(function.get("name")),
        "input": given if isinstance(given, dict) else {},
    }


@dataclass(slots=True)
class _Block:
    """A content block on its way out: how it starts, and deltas that can't be said yet.

    `call` is the index of a tool call and `id` its id as it came; `ended` says that nothing more
    belongs to the block.
    """

    start: dict[str, Any]
    call: int | None = None
    id: Any = None
    waiting: list[dict[str, Any]] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    ended: bool = False

    def is_whole(self) -> bool:
        """Whether another block may follow: a call's arguments are then a JSON object."""
        if self.call is None:
            return True
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(orjson.loads("".join(self.arguments)), dict)
        except orjson.JSONDecodeError:
            return False


class MessagesStream:
    """Chat chunks -> Anthropic's events; see `adapters.inbound.base.StreamShaper`.

    Anthropic's blocks come one after another, OpenAI's calls may be mixed: the first block of
    `_queue` is open, the others wait until it is whole, calls in the order of their indexes.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._events = Decoder()
        self._out: list[bytes] = []
        self._begun = False
        self._done = False
        self._queue: list[_Block] = []
        self._next = 0  # the open block's number is one less
        self._calls: dict[int, _Block] = {}
        self._finish: Any = None
        self._usage: Any = None

    def feed(self, data: bytes) -> bytes:
        for payload in self._events.feed(data):
            if self._done:
                break
            if payload == b"[DONE]":
                self._end()
                continue
            chunk = tidy_chunk(payload)
            if chunk is not None:  # the adapter counts what is malformed
                self._take(chunk)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _take(self, chunk: JsonObject) -> None:
        choices = chunk["choices"]
        self._begin(chunk.get("id"), chunk.get("model"))
        self._usage = chunk.get("usage") or self._usage
        for choice in choices:
            if choice.get("index", 0) == 0:
                self._finish = choice.get("finish_reason") or self._finish
                self._delta(choice.get("delta") or {})

    def _delta(self, delta: dict[str, Any]) -> None:
        self._say("thinking", delta.get("reasoning_content") or delta.get("reasoning"))
        for block in delta.get("thinking_blocks") or ():
            self._thought(block)
        self._say("text", delta.get("content"))
        self._say("text", delta.get("refusal"))
        for piece in delta.get("tool_calls") or ():
            self._call(piece)

    # What a chunk says.

    def _say(self, kind: str, words: Any) -> None:
        if not isinstance(words, str) or not words:
            return
        block = self._last(kind) or self._words(kind)
        self._piece(block, {"type": f"{kind}_delta", kind: words})

    def _last(self, kind: str) -> _Block | None:
        """The last block, if it is of this kind and goes on."""
        block = self._queue[-1] if self._queue else None
        return block if block and block.start["type"] == kind and not block.ended else None

    def _words(self, kind: str) -> _Block:
        signature = {"signature": ""} if kind == "thinking" else {}
        return self._add(_Block({"type": kind, kind: "", **signature}))

    def _thought(self, given: dict[str, Any]) -> None:
        """A block of thought, whose words, where there were any, have been said. Its signature is
        its end; without one a whole block has its index, a piece (LiteLLM's) has not."""
        if given["type"] == "redacted_thinking":
            self._add(_Block({"type": "redacted_thinking", "data": given["data"]}, ended=True))
            return
        block = self._last("thinking")
        if block is None:
            block = self._words("thinking")
            if given.get("thinking"):
                self._piece(block, {"type": "thinking_delta", "thinking": given["thinking"]})
        if given.get("signature"):
            self._piece(block, {"type": "signature_delta", "signature": given["signature"]})
        block.ended = bool(given.get("signature")) or "index" in given
        self._advance()

    def _call(self, piece: dict[str, Any]) -> None:
        """A piece of a call. One index with another id is another call: some number all 0."""
        index, function, given = (
            piece.get("index") or 0,
            piece.get("function") or {},
            piece.get("id"),
        )
        block = self._calls.get(index)
        if block and given and block.id and given != block.id:
            block.ended = True
            block = None
        if block is None:
            start: dict[str, Any] = {
                "type": "tool_use",
                "id": pack_id(given, piece.get("extra_content")),
                "name": function.get("name") or "",
                "input": {},
            }
            block = self._calls[index] = self._add(_Block(start, index, given))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # whole, as Ollama's own shape has it
            arguments = orjson.dumps(arguments).decode()
        if arguments and not block.ended:
            block.arguments.append(arguments)
            self._piece(block, {"type": "input_json_delta", "partial_json": arguments})
            if len(self._queue) > 1:
                self._advance()

    # How it is written.

    def _add(self, block: _Block) -> _Block:
        at = len(self._queue)
        while block.call is not None and at > 1:
            before = self._queue[at - 1].call
            if before is None or before <= block.call:
                break
            at -= 1
        self._queue.insert(at, block)
        if len(self._queue) == 1:
            self._open(block)
        self._advance()
        return block

    def _advance(self) -> None:
        """Ends the open block when it is over, and goes on with those that waited."""
        while self._queue:
            block = self._queue[0]
            if not block.ended and not (len(self._queue) > 1 and block.is_whole()):
                return
            self._close()

    def _open(self, block: _Block) -> None:
        start = {"type": "content_block_start", "index": self._next, "content_block": block.start}
        self._event(start)
        self._next += 1
        for delta in block.waiting:
            self._piece(block, delta)

    def _close(self) -> None:
        self._queue.pop(0).ended = True
        self._event({"type": "content_block_stop", "index": self._next - 1})
        if self._queue:
            self._open(self._queue[0])

    def _piece(self, block: _Block, delta: dict[str, Any]) -> None:
        if block is not self._queue[0]:
            block.waiting.append(delta)
            return
        self._event({"type": "content_block_delta", "index": self._next - 1, "delta": delta})

    def _begin(self, id: Any, model: Any) -> None:
        """Counts are not known yet; they are in the end's `message_delta`."""
        if not self._begun:
            self._begun = True
            frame = message(id, model or self._model) | {"usage": usage_object(None)}
            self._event({"type": "message_start", "message": frame})

    def _end(self) -> None:
        self._done = True
        self._begin(None, None)
        while self._queue:
            self._close()
        reason = stop_reason(self._finish, bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = usage_object(self._usage)
        self._event({"type": "message_delta", "delta": delta, "usage": usage})
        self._event({"type": "message_stop"})

    def _event(self, event: dict[str, Any]) -> None:
        self._out.append(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)))
