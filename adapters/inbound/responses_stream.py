"""A chat's answer as OpenAI's Responses API gives it: output items, events and the Response.

A whole answer and a stream are put together by the same code: a whole message is one large
delta. Ids are made of the chat's own, so the same chat always gives the same bytes.
Source: OpenAI's API reference, "Responses" and "Streaming events"; the types of its Python SDK.
"""

import base64
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import orjson

from adapters.base import Ask, JsonObject
from adapters.completion import new_id
from adapters.inbound.tidy import tidy_chunk
from adapters.openai_shape import read_usage
from adapters.sse import Decoder

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of a chat -> why a Response is incomplete."""

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})

_COUNTED = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)

Emit = Callable[..., None]
"""Sends an event: its type, then its members by name."""


class Envelope(NamedTuple):
    """What a reasoning item carries from one request of a tool loop to the next: signed blocks of
    thought, and the `extra_content` of tool calls by call id."""

    blocks: list[dict[str, Any]]
    extras: dict[str, Any]


def seal(envelope: Envelope) -> str:
    """An envelope as `encrypted_content`: base64 of JSON. Nothing in it is secret to its client."""
    body = {"turnout": 1, "thinking_blocks": envelope.blocks, "extra_content": envelope.extras}
    return base64.b64encode(orjson.dumps(body)).decode()


def unseal(text: Any) -> Envelope | None:
    """What `seal` put in; None for what was encrypted elsewhere."""
    try:
        body = orjson.loads(base64.b64decode(text, validate=True))
    except (TypeError, ValueError):  # no string; no base64; no JSON
        return None
    match body:
        case {"turnout": 1, "thinking_blocks": list(blocks), "extra_content": dict(extras)}:
            return Envelope([block for block in blocks if isinstance(block, dict)], extras)
        case _:
            return None


class ResponsesShaper:
    """Chat chunks -> events of the Responses API; see `adapters.inbound.base.StreamShaper`."""

    def __init__(self, ask: Ask) -> None:
        self._events = Decoder()
        self._assembly = Assembly(ask)
        self._done = False

    def feed(self, data: bytes) -> bytes:
        for payload in self._events.feed(data):
            self._take(payload)
        return self._assembly.given_out()

    def _take(self, payload: bytes) -> None:
        if self._done:
            return
        if payload == b"[DONE]":
            self._done = True
            self._assembly.end()
        else:
            chunk = tidy_chunk(payload)
            if chunk is not None:  # the adapter counts what is malformed
                self._assembly.take(chunk)


class Assembly:
    """One Response, put together from a chat's chunks: `take` each of them, then `end`.

    Thought and words close when something else begins. Calls stay open to the end, since the
    pieces of several may come in turns.
    """

    def __init__(self, ask: Ask) -> None:
        include = ask.body.get("include") or ()
        self._seals = ENCRYPTED in include
        self._has_logprobs = LOGPROBS in include
        self._response = _settings(ask)
        self._out: list[bytes] = []
        self._number = 0  # of the next event
        self._tail = ""  # of every id; empty: not begun
        self._items: list[_Item] = []
        self._current: _Reasoning | _Message | None = None
        self._calls: dict[int, _Call] = {}  # by the number that the chat gives them
        self._signature: JsonObject | None = None  # of words that are still to come
        self._finish = "stop"
        self._usage: Any = None

    def given_out(self) -> bytes:
        """The events since the last time, as SSE."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    @property
    def response(self) -> dict[str, Any]:
        """The Response so far."""
        return self._response

    def take(self, chunk: JsonObject) -> None:
        """A chat's chunk."""
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        if chunk.get("service_tier") in _TIERS:
            self._response["service_tier"] = chunk["service_tier"]
        for choice in chunk.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._begin(chunk)
                self._finish = choice.get("finish_reason") or self._finish
                self._take_delta(choice.get("delta") or {}, choice.get("logprobs") or {})

    def end(self) -> None:
        """The chat is whole."""
        self._begin({})
        reason = _INCOMPLETE.get(self._finish)
        opened = [self._current] if self._current else []
        for item in sorted((*opened, *self._open_calls()), key=lambda item: item.index):
            is_cut = reason is not None and item.index == len(self._items) - 1
            item.close("incomplete" if is_cut else "completed")
        status = "incomplete" if reason else "completed"
        self._response |= {
            "status": status,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [item.body for item in self._items],
            "usage": usage_object(self._usage),
        }
        self._emit("response." + status, response=self._response)

    def _begin(self, chunk: JsonObject) -> None:
        if self._tail:
            return
        self._tail = str(chunk.get("id") or new_id("")).removeprefix("chatcmpl-")
        self._response["id"] = "resp_" + self._tail
        self._response["created_at"] = chunk.get("created") or int(time.time())
        self._response["model"] = str(chunk.get("model") or self._response["model"])
        self._emit("response.created", response=self._response)
        self._emit("response.in_progress", response=self._response)

    def _emit(self, type: str, **members: Any) -> None:
        payload = {"type": type, **members, "sequence_number": self._number}
        self._number += 1
        self._out.append(b"event: %b\ndata: %b\n\n" % (type.encode(), orjson.dumps(payload)))

    def _take_delta(self, delta: JsonObject, logprobs: JsonObject) -> None:
        if thought := _words(delta, "reasoning_content") or _words(delta, "reasoning"):
            self._reasoning().think(thought)
        if self._seals:
            for block in delta.get("thinking_blocks") or ():
                self._reasoning().keep(block)
        if text := _words(delta, "content"):
            tokens = logprobs.get("content") if self._has_logprobs else None
            self._message().say(text, list(map(_logprob, tokens or ())))
        if refusal := _words(delta, "refusal"):
            self._message().refuse(refusal)
        if extra := delta.get("extra_content"):
            self._sign(extra)
        for call in delta.get("tool_calls") or ():
            self._take_call(call)

    def _take_call(self, given: JsonObject) -> None:
        number = given.get("index", 0)
        function = given.get("function") or {}
        name, call_id = function.get("name") or "", given.get("id")
        extra = given.get("extra_content")
        call = self._calls.get(number)
        # Some upstreams number all calls 0, others give each piece an id: both at once is another.
        if call is None or (call_id and name and call_id != call.body["call_id"]):
            call_id = call_id or f"call_{self._tail}_{len(self._items)}"
            call = self._calls[number] = self._open_call(call_id, name, extra)
        elif extra:
            call.body["extra_content"] = extra
        call.add(name, function.get("arguments"))

    def _open_call(self, id: str, name: str, extra: Any) -> "_Call":
        if extra and self._seals:
            self._reasoning().extras[id] = extra
        self._close_current()
        call = _Call(self._emit, len(self._items), f"fc_{self._tail}", id, name)
        if extra:
            call.body["extra_content"] = extra
        self._items.append(call)
        return call

    def _open_calls(self) -> "Iterable[_Call]":
        return (item for item in self._items if isinstance(item, _Call))

    def _reasoning(self) -> "_Reasoning":
        if not isinstance(self._current, _Reasoning):
            self._close_current()
            self._current = _Reasoning(self._emit, len(self._items), f"rs_{self._tail}")
            self._items.append(self._current)
        return self._current

    def _message(self) -> "_Message":
        if not isinstance(self._current, _Message):
            self._close_current()
            self._current = _Message(self._emit, len(self._items), f"msg_{self._tail}")
            self._items.append(self._current)
            if self._signature:
                self._sign(self._signature)
        return self._current

    def _sign(self, extra: JsonObject) -> None:
        """Gemini's signature of the words, which comes beside, after or before them."""
        if isinstance(self._current, _Message):
            self._current.body["extra_content"] = extra
            self._signature = None
        else:
            self._signature = extra

    def _close_current(self) -> None:
        if self._current:
            self._current.close("completed")
            self._current = None


class _Item:
    """An output item while it is made: `body` is the item as far as it has come."""

    def __init__(self, emit: Emit, index: int, body: dict[str, Any]) -> None:
        body["id"] = f"{body['id']}_{index}"
        self.index = index
        self.body = body
        self._emit = emit
        self._where = {"item_id": body["id"], "output_index": index}
        self._pieces: list[str] = []
        emit("response.output_item.added", output_index=index, item=body)

    def close(self, status: str) -> None:
        self._end()
        if "status" in self.body:
            self.body["status"] = status
        self._emit("response.output_item.done", output_index=self.index, item=self.body)

    def _end(self) -> None:
        raise NotImplementedError

    def _text(self) -> str:
        text = "".join(self._pieces)
        self._pieces.clear()
        return text


class _Reasoning(_Item):
    """Thought: its words are a summary, its signatures go into an envelope."""

    def __init__(self, emit: Emit, index: int, id: str) -> None:
        super().__init__(emit, index, {"type": "reasoning", "id": id, "summary": []})
        self.extras: dict[str, Any] = {}
        self._blocks: list[dict[str, Any]] = []
        self._last: Any = None  # the number of the last block
        self._where["summary_index"] = 0

    def think(self, text: str) -> None:
        if not self._pieces:
            self._emit("response.reasoning_summary_part.added", **self._where, part=_summary(""))
        self._pieces.append(text)
        self._emit("response.reasoning_summary_text.delta", **self._where, delta=text)

    def keep(self, block: JsonObject) -> None:
        """Takes a block of thought, or a piece of one: pieces share a number, or, where they have
        none, follow each other up to the one that is signed."""
        number = block.get("index")
        entry = {k: v for k, v in block.items() if k != "index" and v is not None}
        last = self._blocks[-1] if self._blocks else {}
        is_piece = number == self._last and entry.get("type") == last.get("type") == "thinking"
        if is_piece and (number is not None or not last.get("signature")):
            for name in ("thinking", "signature"):
                if joined := last.get(name, "") + entry.get(name, ""):
                    last[name] = joined
        else:
            self._blocks.append(entry)
        self._last = number

    def _end(self) -> None:
        if self._pieces:
            text = self._text()
            part = _summary(text)
            self._emit("response.reasoning_summary_text.done", **self._where, text=text)
            self._emit("response.reasoning_summary_part.done", **self._where, part=part)
            self.body["summary"] = [part]
        if self._blocks or self.extras:
            self.body["encrypted_content"] = seal(Envelope(self._blocks, self.extras))


class _Message(_Item):
    """Words: what is said, then what is refused, each a part of its own."""

    def __init__(self, emit: Emit, index: int, id: str) -> None:
        self._parts: list[dict[str, Any]] = []
        body = {
            "type": "message",
            "id": id,
            "status": "in_progress",
            "role": "assistant",
            "content": self._parts,
        }
        super().__init__(emit, index, body)
        self._part: dict[str, Any] | None = None  # the open one, not yet among the others
        self._logprobs: list[dict[str, Any]] = []

    def say(self, text: str, logprobs: list[dict[str, Any]]) -> None:
        self._continue({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        self._pieces.append(text)
        self._logprobs += logprobs
        self._tell("output_text.delta", delta=text, logprobs=logprobs)

    def refuse(self, text: str) -> None:
        self._continue({"type": "refusal", "refusal": ""})
        self._pieces.append(text)
        self._tell("refusal.delta", delta=text)

    def _continue(self, part: dict[str, Any]) -> None:
        """Goes on with the open part if it is of that type, else begins `part`."""
        if self._part is None or self._part["type"] != part["type"]:
            self._end()
            self._part = part
            self._tell("content_part.added", part=part)

    def _tell(self, what: str, **members: Any) -> None:
        place = {**self._where, "content_index": len(self._parts)}
        self._emit("response." + what, **place, **members)

    def _end(self) -> None:
        if self._part is None:
            return
        part, text = self._part, self._text()
        if part["type"] == "output_text":
            part |= {"text": text, "logprobs": self._logprobs}
            self._tell("output_text.done", text=text, logprobs=self._logprobs)
            self._logprobs = []
        else:
            part["refusal"] = text
            self._tell("refusal.done", refusal=text)
        self._tell("content_part.done", part=part)
        self._parts.append(part)
        self._part = None


class _Call(_Item):
    """A call of a function."""

    def __init__(self, emit: Emit, index: int, id: str, call: str, name: str) -> None:
        body = {
            "type": "function_call",
            "id": id,
            "call_id": call,
            "name": name,
            "arguments": "",
            "status": "in_progress",
        }
        super().__init__(emit, index, body)

    def add(self, name: str, arguments: Any) -> None:
        """More of its arguments; and its name, from an upstream that gives it late."""
        self.body["name"] = self.body["name"] or name
        if isinstance(arguments, dict):  # as some upstreams give them, against OpenAI's shape
            arguments = orjson.dumps(arguments).decode()
        if arguments:
            self._pieces.append(arguments)
            self._emit("response.function_call_arguments.delta", **self._where, delta=arguments)

    def _end(self) -> None:
        text = self._text()
        self.body["arguments"] = text
        self._emit("response.function_call_arguments.done", **self._where, arguments=text)


def _words(delta: JsonObject, name: str) -> str:
    value = delta.get(name)
    return value if isinstance(value, str) else ""


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _logprob(token: JsonObject) -> dict[str, Any]:
    """A token's as Responses has it: always with its bytes."""
    top = [_bytes(entry) for entry in token.get("top_logprobs") or ()]
    return {**_bytes(token), "top_logprobs": top}


def _bytes(token: JsonObject) -> dict[str, Any]:
    spelled = token.get("bytes")
    return {
        "token": token["token"],
        "bytes": list(token["token"].encode()) if spelled is None else spelled,
        "logprob": token["logprob"],
    }


def usage_object(usage: Any) -> dict[str, Any] | None:
    """A chat's usage in the Responses API's words; members of no such word, as `cost_usd`, stay."""
    read = read_usage(usage)
    if read is None:
        return None
    return {
        "input_tokens": read.prompt,
        "input_tokens_details": {
            "cached_tokens": read.cached,
            "cache_write_tokens": read.cache_write,
        },
        "output_tokens": read.completion,
        "output_tokens_details": {"reasoning_tokens": read.reasoning},
        "total_tokens": read.total,
        **{name: value for name, value in usage.items() if name not in _COUNTED},
    }


def _settings(ask: Ask) -> dict[str, Any]:
    """A Response in which nothing has happened yet: what was asked for, and the API's defaults
    where nothing was."""
    given = {**ask.defaults, **{k: v for k, v in ask.body.items() if v is not None}}
    reasoning = given.get("reasoning") or {}
    text = given.get("text") or {}
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": given.get("metadata") or {},
        "model": str(given.get("model")),
        "output": [],
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": given.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": given.get("safety_identifier"),
        "service_tier": given.get("service_tier", "auto"),
        "store": False,
        "temperature": given.get("temperature", 1.0),
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": [_tool(tool) for tool in given.get("tools") or ()],
        "top_logprobs": given.get("top_logprobs", 0),
        "top_p": given.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": given.get("user"),
    }


def _tool(tool: JsonObject) -> dict[str, Any]:
    said = {name: value for name, value in tool.items() if value is not None}
    return {"description": None, "parameters": None, "strict": False, **said}
