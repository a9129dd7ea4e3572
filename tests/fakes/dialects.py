"""One small conversation in every dialect: what each provider would say to the same questions.

Asked with tools it calls `get_weather(city="Paris")`; given the result it says that it is sunny;
asked for JSON it answers `CITY`; else it greets. `speak(dialect)` is a match for
`tests.fakes.upstream.Upstream.on`. Written by hand from the vendors' documentation, and read by
their own SDKs in tests/fakes/test_dialects.py, so that no mistake of an adapter's can hide in it.
"""

import binascii
import struct
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from adapters.anthropic import JSON_TOOL
from tests.fakes.upstream import Match, Received, Script, http, json_reply

HELLO = "Hello from the model."
SUNNY = "It is sunny in Paris."
CITY = {"city": "Paris", "degrees": 21}
CALL = ("get_weather", {"city": "Paris"})
PROMPT, COMPLETION = 11, 7

Says = Callable[[Any, bool], Script]


class Step:
    """What is answered: a text, or a call of a tool."""

    def __init__(self, text: str = "", call: tuple[str, dict[str, Any]] | None = None) -> None:
        self.text = text
        self.call = call

    @property
    def pieces(self) -> list[str]:
        half = len(self.text) // 2
        return [self.text[:half], self.text[half:]]


def step(body: Any) -> Step:
    """The answer to a request, whatever its dialect: only words that all of them use are read."""
    text = orjson.dumps(body).decode()
    if "sunny, 21" in text:
        return Step(SUNNY)
    if JSON_TOOL in text:
        return Step(call=(JSON_TOOL, CITY))
    if '"degrees"' in text:
        return Step(orjson.dumps(CITY).decode())
    if "get_weather" in text:
        return Step(call=CALL)
    return Step(HELLO)


def speak(dialect: str) -> Match:
    """What an upstream of a dialect answers."""
    says, is_stream = _DIALECTS[dialect]

    def match(received: Received) -> Script | None:
        return says(received.json, is_stream(received))

    return match


def _in_body(received: Received) -> bool:
    return bool(received.json.get("stream"))


def _in_path(received: Received) -> bool:
    return "stream" in received.path.lower()


def _stream(kind: str, payload: bytes) -> Script:
    return http(200, payload, {"Content-Type": kind})


def _events(payloads: Iterable[Any], named: bool = False, end: bytes = b"") -> Script:
    raw = b""
    for payload in payloads:
        if named:
            raw += b"event: " + payload["type"].encode() + b"\n"
        raw += b"data: " + orjson.dumps(payload) + b"\n\n"
    return _stream("text/event-stream", raw + end)


# OpenAI.


def _openai(body: Any, stream: bool) -> Script:
    said = step(body)
    shared = {"id": "chatcmpl-9", "created": 1_700_000_000, "model": "m-1"}
    usage = {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
    }
    finish = "tool_calls" if said.call else "stop"
    call = None
    if said.call:
        function = {"name": said.call[0], "arguments": orjson.dumps(said.call[1]).decode()}
        call = {"id": "call_9", "type": "function", "function": function}
    if not stream:
        message = {"role": "assistant", "content": said.text or None, "refusal": None}
        choice = {
            "index": 0,
            "message": message | ({"tool_calls": [call]} if call else {}),
            "logprobs": None,
            "finish_reason": finish,
        }
        return json_reply(
            shared | {"object": "chat.completion", "choices": [choice], "usage": usage}
        )

    def chunk(delta: Any, reason: str | None = None) -> Any:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return shared | {"object": "chat.completion.chunk", "choices": [choice]}

    chunks = [chunk({"role": "assistant", "content": ""})]
    if call:
        chunks.append(chunk({"tool_calls": [{"index": 0, **call}]}))
    else:
        chunks += [chunk({"content": piece}) for piece in said.pieces]
    chunks.append(chunk({}, finish))
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append(shared | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
    return _events(chunks, end=b"data: [DONE]\n\n")


# Anthropic.


def _anthropic(body: Any, stream: bool) -> Script:
    said = step(body)
    if said.call:
        name, given = said.call
        block = {"type": "tool_use", "id": "toolu_9", "name": name, "input": given}
        reason = "tool_use"
    else:
        block, reason = {"type": "text", "text": said.text}, "end_turn"
    message = {
        "id": "msg_9",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [block],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": PROMPT, "output_tokens": COMPLETION},
    }
    if not stream:
        return json_reply(message)
    opened = message | {
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": PROMPT, "output_tokens": 1},
    }
    if said.call:
        start = block | {"input": {}}
        text = orjson.dumps(said.call[1]).decode()
        deltas = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in ("", text[:5], text[5:])
        ]
    else:
        start = block | {"text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in said.pieces]
    return _events(
        [
            {"type": "message_start", "message": opened},
            {"type": "content_block_start", "index": 0, "content_block": start},
            {"type": "ping"},
            *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": COMPLETION},
            },
            {"type": "message_stop"},
        ],
        named=True,
    )


# Gemini.


def _gemini(body: Any, stream: bool) -> Script:
    said = step(body)
    counts = {
        "promptTokenCount": PROMPT,
        "candidatesTokenCount": COMPLETION,
        "totalTokenCount": PROMPT + COMPLETION,
    }

    def chunk(parts: list[Any], reason: str | None = None) -> Any:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if reason:
            candidate["finishReason"] = reason
        return {
            "candidates": [candidate],
            "usageMetadata": counts,
            "modelVersion": "m-1",
            "responseId": "r9",
        }

    if said.call:
        part = {"functionCall": {"name": said.call[0], "args": said.call[1]}}
        chunks = [chunk([part | {"thoughtSignature": "c2ln"}], "STOP")]
    else:
        chunks = [chunk([{"text": said.pieces[0]}]), chunk([{"text": said.pieces[1]}], "STOP")]
    if stream:
        raw = b"".join(b"data: " + orjson.dumps(entry) + b"\r\n\r\n" for entry in chunks)
        return _stream("text/event-stream", raw)
    parts = [part for entry in chunks for part in entry["candidates"][0]["content"]["parts"]]
    return json_reply(chunk(parts, "STOP"))


# Ollama.


def _ollama(body: Any, stream: bool) -> Script:
    said = step(body)
    shared = {"model": "m-1", "created_at": "2025-11-01T00:00:00Z"}
    counts = {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": PROMPT,
        "eval_count": COMPLETION,
    }
    messages: list[dict[str, Any]]
    if said.call:
        function = {"name": said.call[0], "arguments": said.call[1]}
        messages = [{"role": "assistant", "content": "", "tool_calls": [{"function": function}]}]
    else:
        messages = [{"role": "assistant", "content": piece} for piece in said.pieces]
    if not stream:
        whole = messages[0] | {"content": said.text}
        return json_reply(shared | {"message": whole} | counts)
    lines: list[Any] = [shared | {"message": entry, "done": False} for entry in messages]
    lines.append(shared | {"message": {"role": "assistant", "content": ""}} | counts)
    raw = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    return _stream("application/x-ndjson", raw)


# Bedrock.


def _bedrock(body: Any, stream: bool) -> Script:
    said = step(body)
    usage = {
        "inputTokens": PROMPT,
        "outputTokens": COMPLETION,
        "totalTokens": PROMPT + COMPLETION,
    }
    reason = "tool_use" if said.call else "end_turn"
    if not stream:
        block: Any = {"text": said.text}
        if said.call:
            block = {"toolUse": {"toolUseId": "tu_9", "name": said.call[0], "input": said.call[1]}}
        return json_reply(
            {
                "metrics": {"latencyMs": 5},
                "output": {"message": {"role": "assistant", "content": [block]}},
                "stopReason": reason,
                "usage": usage,
            }
        )
    frames: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    if said.call:
        start = {"toolUse": {"toolUseId": "tu_9", "name": said.call[0]}}
        frames.append(("contentBlockStart", {"start": start, "contentBlockIndex": 0}))
        text = orjson.dumps(said.call[1]).decode()
        deltas = [{"toolUse": {"input": piece}} for piece in (text[:4], text[4:])]
    else:
        deltas = [{"text": piece} for piece in said.pieces]
    frames += [("contentBlockDelta", {"delta": d, "contentBlockIndex": 0}) for d in deltas]
    frames += [
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": reason}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 5}}),
    ]
    raw = b"".join(frame(kind, payload) for kind, payload in frames)
    return _stream("application/vnd.amazon.eventstream", raw)


def frame(kind: str, payload: Any) -> bytes:
    """One message of AWS's event stream: prelude, headers, payload, and their checksums."""
    headers = b""
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    for name, value in named.items():
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += struct.pack(">H", len(value)) + value.encode()
    data = orjson.dumps(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + data
    return message + struct.pack(">I", binascii.crc32(message))


_DIALECTS: dict[str, tuple[Says, Callable[[Received], bool]]] = {
    "openai": (_openai, _in_body),
    "anthropic": (_anthropic, _in_body),
    "gemini": (_gemini, _in_path),
    "ollama": (_ollama, _in_body),
    "bedrock": (_bedrock, _in_path),
}
