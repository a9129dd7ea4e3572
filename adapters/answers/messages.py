"""Anthropic's messages: the body, and the events that say the same.

Source: Anthropic's API reference, version 2023-06-01, "Streaming messages".
"""

from collections.abc import Iterator
from typing import Any

import orjson

from adapters.answers.base import NotWhole, named_event, objects, read_object, split, unbilled
from adapters.answers.fitness import Said, form_of, judge
from adapters.anthropic import read_usage
from adapters.base import Ask, JsonObject, Usage
from adapters.completion import new_id
from adapters.jsonedit import loads

_WORDS = frozenset({"text", "thinking", "redacted_thinking"})
"""Types of blocks that are words or thought."""

_ENDS = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Members of a message that its end tells."""

_COUNTED_LAST = frozenset({"output_tokens_details", "cost_usd", "estimated"})
"""Members of a usage that are not known when a message begins."""


class Messages:
    """The shape; see `adapters.answers.base.Shape`."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        held = Gathering()
        for payload in payloads:
            held.take(read_object(payload))
        return held.whole()

    def usage(self, answer: JsonObject) -> Usage | None:
        return read_usage(answer.get("usage"))

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None:
        config = ask.body.get("output_config")
        wanted = config.get("format") if isinstance(config, dict) else None
        return judge([_said(answer)], form_of(wanted or ask.body.get("output_format")))

    def text(self, answer: JsonObject) -> str:
        return _said(answer).text

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
        answer = orjson.loads(body)
        answer["id"] = new_id("msg_")
        unbilled(answer)
        return tuple(map(named_event, _events(answer))) if ask.stream else (orjson.dumps(answer),)


class Gathering:
    """A message as far as its events have told it: `take` each, then `whole`.

    Raises `ODD` for an event that is not known, or not of its place.
    """

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._input: list[str] | None = None  # JSON of the open block's input; None: none is open
        self._done = False

    def take(self, event: JsonObject) -> None:
        kind = event["type"]
        if kind == "ping":
            return
        if self._done or (kind == "message_start") is bool(self._message):
            raise NotWhole(f"{kind} out of its place")
        match kind:
            case "message_start":
                self._message = dict(event["message"])
                if self._message.get("content"):
                    raise NotWhole("content before its events")
            case "content_block_start":
                self._start(event["index"], event["content_block"])
            case "content_block_delta":
                self._add(event["delta"], self._open(event["index"]))
            case "content_block_stop":
                self._stop(self._open(event["index"]))
            case "message_delta":
                self._tell(event)
            case "message_stop":
                self._done = True
            case _:
                raise NotWhole(f"{kind} is not known")

    def whole(self) -> dict[str, Any]:
        """The message's body."""
        if not self._done or self._input is not None or not self._message.get("stop_reason"):
            raise NotWhole("the message has no end")
        return self._message | {"content": self._blocks}

    def _start(self, index: Any, block: JsonObject) -> None:
        if index != len(self._blocks) or self._input is not None:
            raise NotWhole("a block out of its place")
        self._blocks.append(dict(block))
        self._input = []

    def _open(self, index: Any) -> dict[str, Any]:
        if index != len(self._blocks) - 1 or self._input is None:
            raise NotWhole("the block is not open")
        return self._blocks[-1]

    def _add(self, delta: JsonObject, block: dict[str, Any]) -> None:
        match delta["type"], block["type"]:
            case "text_delta", "text":
                block["text"] += delta["text"]
            case "thinking_delta", "thinking":
                block["thinking"] += delta["thinking"]
            case "signature_delta", "thinking":
                block["signature"] = (block.get("signature") or "") + delta["signature"]
            case "citations_delta", "text":
                block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
            case "input_json_delta", _ if "input" in block and self._input is not None:
                self._input.append(delta["partial_json"])
            case kind, _:
                raise NotWhole(f"{kind} is not known here")

    def _stop(self, block: dict[str, Any]) -> None:
        if given := "".join(self._input or ()):
            block["input"] = loads(given)
        self._input = None

    def _tell(self, event: JsonObject) -> None:
        """What the end tells; counts that it has not are the beginning's."""
        self._message |= event["delta"]
        usage = {
            name: value for name, value in (event.get("usage") or {}).items() if value is not None
        }
        self._message["usage"] = {**(self._message.get("usage") or {}), **usage}
        for name in event.keys() - {"type", "delta", "usage"}:
            self._message[name] = event[name]


def _said(answer: JsonObject) -> Said:
    blocks = objects(answer["content"])
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    called = any(block["type"] not in _WORDS for block in blocks)
    return Said(answer.get("stop_reason"), "".join(texts), called)


def _events(answer: JsonObject) -> Iterator[JsonObject]:
    usage = answer.get("usage") or {}
    begun = {name: v for name, v in usage.items() if name not in _COUNTED_LAST}
    told = {name: answer[name] for name in _ENDS if name in answer}
    frame = {**answer, **dict.fromkeys(told), "content": [], "usage": {**begun, "output_tokens": 0}}
    yield {"type": "message_start", "message": frame}
    for index, block in enumerate(answer["content"]):
        start, deltas = _begun(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": told, "usage": usage}
    yield {"type": "message_stop"}


def _begun(block: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """A block as it begins, and what it then becomes what it is by."""
    deltas: list[JsonObject]
    match block:
        case {"type": "text", "text": str(text)}:
            cited = block.get("citations") or []
            deltas = [{"type": "text_delta", "text": piece} for piece in split(text)]
            deltas += [{"type": "citations_delta", "citation": one} for one in cited]
            return {**block, "text": "", **({"citations": []} if cited else {})}, deltas
        case {"type": "thinking", "thinking": str(text)}:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in split(text)]
            if signature := block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": signature})
            return {**block, "thinking": "", "signature": ""}, deltas
        case {"type": str(kind), "input": dict(given)} if kind.endswith("tool_use") and given:
            written = orjson.dumps(given).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]
        case _:
            return block, []
