"""The Anthropic Messages dialect: chat is translated, `/v1/messages` itself is passed through.

What OpenAI's shape has no word for may be given in Anthropic's own (`OWN_MEMBERS`, and tools of
another type than `function`), as its SDKs' `extra_body` does. Instructions anywhere in the
conversation go to the top-level `system`, in their order. Thought without a signature can't be
sent back and stays here; the model thinks again.
Source: Anthropic's API reference, version 2023-06-01; bodies in tests/data/recordings.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from adapters import jsonedit
from adapters.base import (
    Ask,
    CostOf,
    Endpoint,
    Failure,
    JsonObject,
    Outgoing,
    Reply,
    StreamTranslator,
    Target,
    UpstreamFailure,
    Usage,
    count_of,
)
from adapters.completion import Choice, TranslatedStream, parse_object, reply
from adapters.conversation import (
    Assistant,
    Blob,
    Cache,
    Format,
    Part,
    System,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
    other_tools,
    read_format,
    read_messages,
    read_stop,
    read_tool_choice,
    read_tools,
    text_of,
)
from adapters.failures import (
    Complaint,
    classify,
    failure_inside,
    interrupted,
    invalid_reply,
    retry_after,
    too_large,
)
from adapters.fields import Fields, unsupported
from adapters.headers import headers_for
from adapters.jsonedit import loads
from adapters.sse import Decoder, event_type

VERSION = "2023-06-01"

OWN_MEMBERS = (
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
    "thinking",
    "top_k",
)
"""Members of Anthropic's request that OpenAI's has not, sent on as they are given."""

JSON_TOOL = "json_response"
"""The tool that a model without a JSON mode is made to call; its arguments are the answer."""

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_BEFORE_EFFORT = re.compile(
    r"claude-(instant|2|3)|claude-(opus|sonnet|haiku)-4(-[0-5])?(-\d{8}|-latest|@|:|$)"
)
"""Models that are told how many tokens to think; later ones are told how hard."""

_BEFORE_FORMAT = re.compile(r"claude-(instant|2|3)|claude-(opus|sonnet)-4(-0)?(-\d{8}|@|:|$)")
"""Models without a JSON output format."""

_SMALL = re.compile(r"claude-(instant|2|3-(opus|sonnet|haiku))")
_MEDIUM = re.compile(r"claude-3-5")

THINKING_TOKENS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
EFFORTS = {"minimal": "low"}
"""OpenAI's words for effort that Anthropic spells otherwise."""


class Anthropic:
    """The adapter; see `adapters.base.Adapter`."""

    endpoints = frozenset({Endpoint.CHAT, Endpoint.MESSAGES, Endpoint.COUNT_TOKENS})

    def request(self, ask: Ask, target: Target) -> Outgoing:
        headers = {"anthropic-version": VERSION} | headers_for(ask, target)
        if ask.endpoint is Endpoint.CHAT:
            body, dropped = _body(ask, target)
            return Outgoing(target.base_url + "/messages", headers, orjson.dumps(body), dropped)
        put, drop = _changes(ask, target)
        raw = jsonedit.edit(ask.raw, ask.body.keys(), put, drop) if put or drop else ask.raw
        return Outgoing(target.base_url + ask.endpoint, headers, raw)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        parsed = parse_object(body)
        if parsed.get("type") == "error" or "error" in parsed:
            raise UpstreamFailure(failure_inside(complaint_of(parsed)))
        if ask.endpoint is Endpoint.COUNT_TOKENS:
            return Reply(body, Usage())
        content = parsed.get("content")
        if not isinstance(content, list):
            raise UpstreamFailure(invalid_reply("the answer has no list of content"))
        usage = read_usage(parsed.get("usage"))
        if ask.endpoint is Endpoint.MESSAGES:
            return Reply(body, usage)
        choice = Choice()
        for block in content:
            if isinstance(block, dict):
                _read_block(block, choice)
        choice.finish = _finish(parsed.get("stop_reason"), bool(choice.calls))
        choice.refusal = _refusal(parsed.get("stop_details"), choice.finish)
        return reply(parsed.get("id"), str(parsed.get("model")), [choice], usage, ask)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        try:
            complaint = complaint_of(loads(body))
        except orjson.JSONDecodeError:
            complaint = Complaint(body[:200].decode(errors="replace").strip())
        return classify(status, complaint, retry_after(headers))

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        if ask.endpoint is Endpoint.MESSAGES:
            return AnthropicPassage()
        return AnthropicStream(ask, cost, Decoder())


def _changes(ask: Ask, target: Target) -> tuple[dict[str, bytes], set[str]]:
    """What has to differ in a request of this very dialect: the model, a task's defaults, and of
    `metadata` what is Turnout's."""
    put: dict[str, bytes] = {}
    drop = set(ask.drop)
    if ask.body.get("model") != target.model:
        put["model"] = orjson.dumps(target.model)
    if ask.endpoint is Endpoint.MESSAGES:
        for name in ("temperature", "top_p"):
            if name in ask.defaults:
                put[name] = orjson.dumps(ask.defaults[name])
    metadata = ask.body.get("metadata")
    if isinstance(metadata, dict) and metadata.keys() - {"user_id"}:
        user = metadata.get("user_id")
        if user is None:
            drop.add("metadata")
        else:
            put["metadata"] = orjson.dumps({"user_id": user})
    return put, drop


# The request.


def _body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    turns = read_messages(ask.body.get("messages"))
    body: dict[str, Any] = {"model": target.model, "messages": _messages(turns)}
    if system := _system(turns):
        body["system"] = system
    body["max_tokens"] = fields.first("max_completion_tokens", "max_tokens") or _limit(target.model)
    _sampling(fields, body)
    _tools(fields, body, target)
    _thinking(fields, body, target.model)
    user = fields.take("user")
    if user is not None:
        body["metadata"] = {"user_id": user}
    for name in OWN_MEMBERS:
        if (value := fields.take(name)) is not None:
            body[name] = value
    if isinstance(own := fields.take("output_config"), dict):
        body["output_config"] = {**body.get("output_config", {}), **own}
    if fields.peek("service_tier") == "standard_only":
        body["service_tier"] = fields.take("service_tier")
    if ask.stream:
        body["stream"] = True
    return body, fields.close()


def _limit(model: str) -> int:
    """Tokens of an answer where none are asked for: Anthropic wants a number, and the most that
    every model of a generation can give is nearest to OpenAI's "as many as there are"."""
    if _SMALL.search(model):
        return 4096
    return 8192 if _MEDIUM.search(model) else 32000


def _sampling(fields: Fields, body: dict[str, Any]) -> None:
    temperature = fields.take("temperature")
    if temperature is not None and temperature > 1:
        fields.refuse("temperature")
    elif temperature is not None:
        body["temperature"] = temperature
    if (top_p := fields.take("top_p")) is not None:
        body["top_p"] = top_p
    if stop := read_stop(fields):
        body["stop_sequences"] = stop


def _thinking(fields: Fields, body: dict[str, Any], model: str) -> None:
    """`reasoning_effort`, as the model's generation says it."""
    effort = fields.take("reasoning_effort")
    if effort is None or fields.peek("thinking") is not None:
        return
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif not _BEFORE_EFFORT.search(model):
        body["thinking"] = {"type": "adaptive"}
        config = body.setdefault("output_config", {})
        config["effort"] = EFFORTS.get(effort, effort)
    elif effort in THINKING_TOKENS:
        budget = THINKING_TOKENS[effort]
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        body["max_tokens"] = max(body["max_tokens"], budget + 1024)
    else:
        fields.refuse("reasoning_effort")


def _tools(fields: Fields, body: dict[str, Any], target: Target) -> None:
    tools = [_tool(tool) for tool in read_tools(fields)]
    tools += [dict(tool) for tool in other_tools(fields)]
    choice = read_tool_choice(fields)
    form = read_format(fields)
    if form and form.schema is not None and not _BEFORE_FORMAT.search(target.model):
        output = {"type": "json_schema", "schema": form.schema}
        body.setdefault("output_config", {})["format"] = output
    elif form:
        tools.append(_json_tool(form))
        choice = ToolChoice("tool", (JSON_TOOL,)) if len(tools) == 1 else ToolChoice("required")
    if not tools:
        if choice and choice.mode in ("required", "tool"):
            fields.refuse("tool_choice")
        return
    body["tools"] = tools
    parallel = fields.take("parallel_tool_calls")
    if choice or parallel is False:
        body["tool_choice"] = _tool_choice(choice or ToolChoice("auto"), tools, parallel)


def _tool(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    strict = {} if tool.strict is None else {"strict": tool.strict}
    schema = tool.schema or {"type": "object", "properties": {}}
    return {"name": tool.name, **described, "input_schema": schema, **strict, **_mark(tool.cache)}


def _json_tool(form: Format) -> dict[str, Any]:
    return {
        "name": JSON_TOOL,
        "description": form.description or "Call this with the answer, as JSON.",
        "input_schema": form.schema or {"type": "object", "additionalProperties": True},
    }


def _tool_choice(choice: ToolChoice, tools: list[Any], parallel: Any) -> dict[str, Any]:
    said: dict[str, Any]
    if choice.mode == "tool" and len(choice.names) == 1:
        said = {"type": "tool", "name": choice.names[0]}
    elif choice.mode in ("tool", "required"):
        said = {"type": "any"}
    else:
        said = {"type": choice.mode}
    if choice.names:  # some of the tools: the others are not shown
        tools[:] = [tool for tool in tools if tool.get("name") in choice.names]
    if parallel is False and choice.mode != "none":
        said["disable_parallel_tool_use"] = True
    return said


def _system(turns: Iterable[Turn]) -> str | list[dict[str, Any]]:
    blocks = []
    for turn in turns:
        if isinstance(turn, System):
            for part in turn.parts:
                if not isinstance(part, Text):
                    raise unsupported(part.where, "can't stand in instructions here")
                blocks.append(_part(part))
    return blocks[0]["text"] if len(blocks) == 1 and len(blocks[0]) == 2 else blocks


def _messages(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """User and assistant in turn; the results of tools before whatever else the user says."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, System):
            continue
        role = "assistant" if isinstance(turn, Assistant) else "user"
        blocks = _blocks(turn)
        if not blocks:
            continue
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        content = messages[-1]["content"]
        if isinstance(turn, ToolResult):
            results = sum(block["type"] == "tool_result" for block in content)
            content[results:results] = blocks
        else:
            content += blocks
    return messages


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if isinstance(turn, ToolResult):
        return [_tool_result(turn)]
    blocks = [_part(part) for part in turn.parts]
    if isinstance(turn, Assistant):
        thought = [_thought(block) for block in turn.thinking if _can_return(block)]
        blocks = thought + blocks + [_tool_use(call) for call in turn.calls]
    return blocks


def _can_return(block: Thinking) -> bool:
    return block.redacted is not None or block.signature is not None


def _thought(block: Thinking) -> dict[str, Any]:
    if block.redacted is not None:
        return {"type": "redacted_thinking", "data": block.redacted}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.name,
        "input": call.arguments,
        **_mark(call.cache),
    }


def _tool_result(turn: ToolResult) -> dict[str, Any]:
    """A cache mark stands on the block, and on nothing in it: four of them are all one may set."""
    content: Any = [_part(part._replace(cache=None)) for part in turn.parts]
    if len(content) == 1 and content[0]["type"] == "text":
        content = content[0]["text"]
    said = {"content": content} if content else {}
    said |= {"is_error": True} if turn.failed else {}
    cache = turn.cache or (turn.parts[-1].cache if turn.parts else None)
    return {"type": "tool_result", "tool_use_id": turn.call, **said, **_mark(cache)}


def _mark(cache: Cache) -> dict[str, Any]:
    return {"cache_control": cache} if cache else {}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text, **_mark(part.cache)}
    if part.kind == "audio":
        raise unsupported(part.where, "is audio, which this dialect does not take")
    if part.kind == "image":
        return {"type": "image", "source": _source(part), **_mark(part.cache)}
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": _document(part), **title, **_mark(part.cache)}


def _document(part: Blob) -> dict[str, Any]:
    text = text_of(part)
    if text is not None:
        return {"type": "text", "media_type": "text/plain", "data": text}
    return _source(part)


def _source(part: Blob) -> dict[str, Any]:
    if part.id is not None:
        return {"type": "file", "file_id": part.id}
    if part.url is not None:
        if part.url.startswith("gs://"):
            raise unsupported(part.where, "must be an http or https URL, or a data URL, here")
        return {"type": "url", "url": part.url}
    fallback = "image/png" if part.kind == "image" else "application/pdf"
    return {"type": "base64", "media_type": part.mime or fallback, "data": part.data}


# The answer.


def _read_block(block: JsonObject, choice: Choice) -> None:
    match block:
        case {"type": "text", "text": str(text)}:
            choice.text.append(text)
        case {"type": "thinking", "thinking": str(text)}:
            choice.thoughts.append(text)
            choice.thinking.append(Thinking(text, _text(block.get("signature"))))
        case {"type": "redacted_thinking", "data": str(data)}:
            choice.thinking.append(Thinking(redacted=data))
        case {"type": "tool_use", "name": name, "input": given} if name == JSON_TOOL:
            choice.text.append(orjson.dumps(given).decode())
        case {"type": "tool_use", "id": str(id), "name": str(name)}:
            choice.call(id, name, block.get("input") or {})


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _finish(reason: Any, calls: bool) -> str:
    """OpenAI's word for a stop reason; a call of the JSON tool is no call to the client."""
    finish = FINISHES.get(str(reason), "stop")
    return "stop" if finish == "tool_calls" and not calls else finish


def _refusal(details: Any, finish: str) -> str | None:
    said = details.get("explanation") if isinstance(details, dict) else None
    return said if finish == "content_filter" and isinstance(said, str) else None


def read_usage(usage: Any) -> Usage | None:
    """Anthropic's usage as a value: what was read from its cache or written to it is prompt too."""
    if not isinstance(usage, dict) or not isinstance(usage.get("input_tokens"), int):
        return None
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details")
    return Usage(
        prompt=_count(usage, "input_tokens") + read + written,
        completion=_count(usage, "output_tokens"),
        cached=read,
        cache_write=written,
        reasoning=_count(details, "thinking_tokens") if isinstance(details, dict) else 0,
    )


def _count(holder: JsonObject, name: str) -> int:
    return count_of(holder.get(name))


def complaint_of(parsed: Any) -> Complaint:
    """An error body: `{"type": "error", "error": {"type", "message"}}`."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        message = parsed.get("message") if isinstance(parsed, dict) else None
        return Complaint(str(error or message or ""))
    kind = error.get("type")
    return Complaint(str(error.get("message") or ""), type=kind if isinstance(kind, str) else None)


class AnthropicStream(TranslatedStream[bytes]):
    """Typed events -> OpenAI's chunks."""

    def __init__(self, ask: Ask, cost: CostOf, events: Decoder) -> None:
        super().__init__(ask, cost, events)
        self._usage: dict[str, Any] = {}
        self._open: dict[int, dict[str, Any]] = {}  # content blocks that have begun
        self._numbers: dict[int, int] = {}  # of a block, its number among the calls
        self._empty: set[int] = set()  # calls whose arguments have not begun
        self._called = False
        self._stop_reason: Any = None
        self._details: Any = None

    def _take(self, entry: bytes) -> None:
        payload = loads(entry)
        match payload["type"]:
            case "content_block_delta":
                self._take_delta(payload["index"], payload["delta"])
            case "content_block_start":
                self._start(payload["index"], payload["content_block"])
            case "content_block_stop":
                self._stop(payload["index"])
            case "message_start":
                message = payload["message"]
                self._begin(message.get("id"), message.get("model"))
                self._count(message.get("usage"))
            case "message_delta":
                self._reason_given(payload["delta"])
                self._count(payload.get("usage"))
            case "message_stop":
                self._close()
            case "error":
                self.failure = failure_inside(complaint_of(payload))

    def _start(self, index: int, block: dict[str, Any]) -> None:
        kind = block["type"]
        if kind == "text":
            self._text(block.get("text") or "")
        elif kind == "redacted_thinking":
            self._think(Thinking(redacted=str(block["data"])))
        elif kind == "tool_use" and block["name"] != JSON_TOOL:
            self._called = True
            self._numbers[index] = self._call(str(block["id"]), str(block["name"]), "")
            self._empty.add(index)
        self._open[index] = dict(block)

    def _take_delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._open.get(index)
        if block is None:
            raise ValueError("a delta of a block that has not begun")
        match delta["type"]:
            case "text_delta":
                self._text(delta["text"])
            case "thinking_delta":
                block["thinking"] = (block.get("thinking") or "") + delta["thinking"]
                self._reason(delta["thinking"])
            case "signature_delta":
                block["signature"] = (block.get("signature") or "") + delta["signature"]
            case "input_json_delta":
                self._take_json(index, block, delta["partial_json"])

    def _take_json(self, index: int, block: dict[str, Any], piece: str) -> None:
        if not piece:
            return
        if block.get("name") == JSON_TOOL and block["type"] == "tool_use":
            self._text(piece)
        elif index in self._numbers:
            self._empty.discard(index)
            self._arguments(self._numbers[index], piece)

    def _stop(self, index: int) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block["type"] == "thinking":
            self._think(Thinking(block.get("thinking") or "", block.get("signature") or None))
        if index in self._empty:
            self._empty.discard(index)
            given = block.get("input")
            self._arguments(self._numbers[index], orjson.dumps(given or {}).decode())

    def _reason_given(self, delta: dict[str, Any]) -> None:
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        self._details = delta.get("stop_details") or self._details

    def _count(self, usage: Any) -> None:
        """Later counts replace earlier ones: those of `message_delta` are sums so far."""
        if isinstance(usage, dict):
            self._usage.update({name: value for name, value in usage.items() if value is not None})
            self.usage = read_usage(self._usage)

    def _close(self) -> None:
        if self._stop_reason is None:
            self.failure = interrupted("the upstream ended its message without a stop reason")
            return
        for index in list(self._open):
            self._stop(index)
        finish = _finish(self._stop_reason, self._called)
        refusal = _refusal(self._details, finish)
        if refusal:
            self._refuse(refusal)
        self._finish(finish)
        self._end()


class AnthropicPassage:
    """Anthropic's events for an Anthropic client: passed on as they came, read for the books."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.contents = 0
        self.text_bytes = 0
        self.skipped = 0
        self.failure: Failure | None = None
        self.done = False
        self._events = Decoder()
        self._usage: dict[str, Any] = {}

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
        if self.done or self.failure:
            return b""
        try:
            event = loads(payload)
            kind = event_type(event)
            self._read(kind, event)
        except (KeyError, TypeError, ValueError, AttributeError):  # no event of this dialect
            self.skipped += 1
            return b""
        if self.failure:
            return b""
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), payload.replace(b"\n", b" "))

    def _read(self, kind: str, event: dict[str, Any]) -> None:
        match kind:
            case "content_block_delta":
                self.contents += 1
                self.text_bytes += sum(
                    len(v.encode(errors="replace"))
                    for name, v in event["delta"].items()
                    if isinstance(v, str) and name not in ("type", "signature")
                )
            case "message_start":
                self._count(event["message"].get("usage"))
            case "message_delta":
                self.contents += 1
                self._count(event.get("usage"))
            case "message_stop":
                self.done = True
            case "error":
                self.failure = failure_inside(complaint_of(event))

    def _count(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage.update({name: value for name, value in usage.items() if value is not None})
            self.usage = read_usage(self._usage)
