"""Ollama's own dialect: chat by `/api/chat`, embeddings by `/api/embed`.

What OpenAI's shape has no word for may be given in Ollama's own: `OWN_MEMBERS`, `OWN_OPTIONS` and
a whole `options` object, which has the last word. A message is one string there, so parts of text
are joined by newlines, and pictures stand beside them as base64; Ollama fetches no URLs.
Source: docs/api.md and api/types.go of github.com/ollama/ollama, docs.ollama.com/api/errors.
"""

import base64
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from adapters import completion, quirks
from adapters.base import (
    Ask,
    CostOf,
    Endpoint,
    Failure,
    FailureKind,
    JsonObject,
    Outgoing,
    Reply,
    Retry,
    StreamTranslator,
    Target,
    UpstreamFailure,
    Usage,
    count_of,
)
from adapters.conversation import (
    Assistant,
    Part,
    System,
    Text,
    Tool,
    ToolCall,
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
from adapters.estimate import estimate
from adapters.failures import Complaint, classify, invalid_reply, retry_after
from adapters.fields import Fields, invalid, unsupported
from adapters.headers import headers_for
from adapters.jsonedit import loads
from adapters.ndjson import Decoder

OWN_MEMBERS = ("format", "keep_alive", "shift", "think", "truncate")
"""Members of Ollama's chat request that OpenAI's has not, sent on as they are given."""

SHARED_OPTIONS = ("temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")
OWN_OPTIONS = ("top_k", "min_p", "num_ctx", "repeat_penalty")
"""Ollama's options that may be given at the top level too, as many clients do."""

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
"""How hard gpt-oss is told to think; other models only know whether they are to."""

FINISHES = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}

_LACKS = re.compile(r"does not support", re.IGNORECASE)
"""How Ollama says that a model has no tools, thought, pictures or chat; another may."""

_STATUSES = (
    (re.compile(r"\bmodel\b.*\bnot found\b", re.IGNORECASE), 404),
    (_LACKS, 400),
    (quirks.CONTEXT_LENGTH, 400),
    (re.compile(r"server busy", re.IGNORECASE), 503),
)
"""What an error inside a 200 says -> the status it would have had."""

_ODD = (AttributeError, KeyError, TypeError, ValueError)
"""What reading an answer of another shape can raise."""


class Ollama:
    """The adapter; see `adapters.base.Adapter`. `base_url` ends before `/api`."""

    endpoints = frozenset({Endpoint.CHAT, Endpoint.EMBEDDINGS})

    def request(self, ask: Ask, target: Target) -> Outgoing:
        accept = "application/x-ndjson" if ask.stream else None
        headers = headers_for(ask, target, accept)
        if ask.endpoint is Endpoint.EMBEDDINGS:
            path, (body, dropped) = "/api/embed", _embed_body(ask, target)
        else:
            path, (body, dropped) = "/api/chat", _body(ask, target)
        return Outgoing(target.base_url + path, headers, orjson.dumps(body), dropped)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        parsed = completion.parse_object(body)
        if parsed.get("error"):
            raise UpstreamFailure(_failure_inside(parsed))
        try:
            if ask.endpoint is Endpoint.EMBEDDINGS:
                return _embeddings(ask, parsed)
            said = _read_message(parsed["message"])
            logprobs = _logprobs(parsed.get("logprobs"))
        except _ODD as error:
            message = f"the answer is not of Ollama's shape: {error!r}"
            raise UpstreamFailure(invalid_reply(message)) from None
        choice = completion.Choice(text=[said.text], thoughts=[said.thought], logprobs=logprobs)
        for call in said.calls:
            choice.call(call.id, call.name, call.arguments)
        choice.finish = _finish(parsed.get("done_reason"), bool(said.calls))
        return completion.reply(None, str(parsed.get("model")), [choice], read_usage(parsed), ask)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        try:
            complaint = _complaint(loads(body))
        except orjson.JSONDecodeError:
            complaint = Complaint(body[:200].decode(errors="replace").strip())
        return _elsewhere(classify(status, complaint, retry_after(headers)))

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        return OllamaStream(ask, cost, Decoder())


# The request.


def _body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    messages = [_message(turn) for turn in read_messages(ask.body.get("messages"))]
    body: dict[str, Any] = {"model": target.model, "messages": messages, "stream": ask.stream}
    if tools := _tools(fields):
        body["tools"] = tools
    if options := _options(fields):
        body["options"] = options
    if form := read_format(fields):
        body["format"] = "json" if form.schema is None else form.schema
    _effort(fields, body, target.model)
    _wants_logprobs(fields, body, ask.stream)
    _own(fields, body, OWN_MEMBERS)
    return body, fields.close()


def _own(fields: Fields, body: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if (value := fields.take(name)) is not None:
            body[name] = value


def _options(fields: Fields) -> dict[str, Any]:
    options: dict[str, Any] = {}
    _own(fields, options, SHARED_OPTIONS + OWN_OPTIONS)
    if (limit := fields.first("max_completion_tokens", "max_tokens")) is not None:
        options["num_predict"] = limit
    if stop := read_stop(fields):
        options["stop"] = stop
    return options | _given_options(fields)


def _given_options(fields: Fields) -> dict[str, Any]:
    own = fields.take("options")
    if own is not None and not isinstance(own, dict):
        raise invalid("options", "must be an object")
    return own or {}


def _effort(fields: Fields, body: dict[str, Any], model: str) -> None:
    """`reasoning_effort` as `think`; an own `think` takes its place."""
    effort = fields.take("reasoning_effort")
    if effort is None or fields.peek("think") is not None:
        return
    if not model.rpartition("/")[2].startswith("gpt-oss"):
        body["think"] = effort != "none"
    elif effort in EFFORTS:
        body["think"] = EFFORTS[effort]
    else:
        fields.refuse("reasoning_effort")


def _wants_logprobs(fields: Fields, body: dict[str, Any], stream: bool) -> None:
    """Ollama has them since 0.12.11; here only a whole answer's are translated."""
    if fields.peek("logprobs") is not True:
        return
    if stream:
        fields.take("top_logprobs")
        fields.take("logprobs")
        fields.refuse("logprobs")
    _own(fields, body, ("logprobs", "top_logprobs"))


def _tools(fields: Fields) -> list[dict[str, Any]]:
    """The functions that are shown: with `none` no one is, and of `allowed_tools` those named."""
    tools = read_tools(fields)
    if other_tools(fields):
        fields.refuse("tools")
    choice = read_tool_choice(fields)
    if choice is None:
        return [_tool(tool) for tool in tools]
    if choice.mode == "none":
        return []
    if choice.mode != "auto":  # nothing makes a model call
        fields.refuse("tool_choice")
    return [_tool(tool) for tool in tools if not choice.names or tool.name in choice.names]


def _tool(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    schema = tool.schema or {"type": "object", "properties": {}}
    return {
        "type": "function",
        "function": {"name": tool.name, **described, "parameters": schema},
    }


def _message(turn: Turn) -> dict[str, Any]:
    text: list[str] = []
    images: list[str] = []
    for part in turn.parts:
        _put(part, text, images)
    message: dict[str, Any] = {"role": _role(turn), "content": "\n".join(text)}
    if images:
        message["images"] = images
    if isinstance(turn, ToolResult):
        message |= {"tool_name": turn.name, "tool_call_id": turn.call}
    if isinstance(turn, Assistant):
        if thought := "\n".join(block.text for block in turn.thinking if block.text):
            message["thinking"] = thought
        if turn.calls:
            message["tool_calls"] = [_tool_call(call) for call in turn.calls]
    return message


def _role(turn: Turn) -> str:
    match turn:
        case System():
            return "system"
        case Assistant():
            return "assistant"
        case ToolResult():
            return "tool"
    return "user"


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


def _put(part: Part, text: list[str], images: list[str]) -> None:
    """A part to the words or to the pictures of its message."""
    if isinstance(part, Text):
        text.append(part.text)
    elif part.kind == "audio":
        raise unsupported(part.where, "is audio, which this dialect does not take")
    elif part.kind == "image":
        if part.data is None:
            raise unsupported(part.where, "must be a base64 data URL here: nothing is fetched")
        images.append(part.data)
    elif (words := text_of(part)) is not None:
        text.append(words)
    else:
        raise unsupported(part.where, "is a file that is no text, which this dialect does not take")


def _embed_body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    body: dict[str, Any] = {"model": target.model, "input": _input(fields.take("input"))}
    _own(fields, body, ("dimensions", "keep_alive", "truncate"))
    if options := _given_options(fields):
        body["options"] = options
    if fields.take("encoding_format") not in (None, "float", "base64"):
        fields.refuse("encoding_format")
    return body, fields.close()


def _input(given: Any) -> str | list[str]:
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise invalid("input", "must be a string or a list of strings")
    if not all(isinstance(entry, str) for entry in given):
        raise unsupported("input", "must be text here: Ollama takes no token ids")
    return given


# The answer.


class _Call(NamedTuple):
    id: str
    name: str
    arguments: str


class _Said(NamedTuple):
    """A message, whole or one line's part of it."""

    text: str
    thought: str
    calls: tuple[_Call, ...]


def _read_message(message: JsonObject) -> _Said:
    """Raises one of `_ODD` for another shape, before any of it is said."""
    text, thought = message.get("content") or "", message.get("thinking") or ""
    if not isinstance(text, str) or not isinstance(thought, str):
        raise TypeError("content and thinking must be strings")
    calls = message.get("tool_calls") or []
    return _Said(text, thought, tuple(_read_call(call) for call in calls))


def _read_call(call: JsonObject) -> _Call:
    """Older servers give no id. `arguments` is an object; a string comes from imitations."""
    function = call["function"]
    name, arguments = function["name"], function.get("arguments") or {}
    if not isinstance(name, str) or not isinstance(arguments, str | dict):
        raise TypeError("a tool call must have a name and an object of arguments")
    if isinstance(arguments, dict):
        arguments = orjson.dumps(arguments).decode()
    return _Call(str(call.get("id") or completion.new_id("call_")), name, arguments)


def _finish(reason: Any, calls: bool) -> str:
    return "tool_calls" if calls else FINISHES.get(str(reason), "stop")


def read_usage(line: JsonObject) -> Usage | None:
    """The counts of a whole answer or of a stream's last line.

    A count of 0 is left out, and older servers count no prompt that was in their cache (issue
    2068): how long it was is unknown then, so this is None and the whole is estimated.
    """
    prompt = line.get("prompt_eval_count")
    if not count_of(prompt):
        return None
    return Usage(count_of(prompt), count_of(line.get("eval_count")))


def _logprobs(entries: Any) -> dict[str, Any] | None:
    """`[{token, logprob, bytes, top_logprobs}]` in OpenAI's shape."""
    if not entries:
        return None
    content = [
        {**_logprob(entry), "top_logprobs": [_logprob(e) for e in entry.get("top_logprobs") or ()]}
        for entry in entries
    ]
    return {"content": content, "refusal": None}


def _logprob(entry: JsonObject) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"], "bytes": entry.get("bytes")}


def _embeddings(ask: Ask, parsed: JsonObject) -> Reply:
    """OpenAI's list of embeddings; as base64 they are little-endian 32-bit floats."""
    form = ask.body.get("encoding_format") or ask.defaults.get("encoding_format")
    data = [
        {"object": "embedding", "embedding": _vector(vector, form == "base64"), "index": index}
        for index, vector in enumerate(parsed["embeddings"])
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": str(parsed.get("model"))}
    usage = read_usage(parsed)
    counted = usage or estimate(ask, 0)
    body["usage"] = {"prompt_tokens": counted.prompt, "total_tokens": counted.prompt}
    if usage is None:
        body["usage"]["estimated"] = True
    return Reply(orjson.dumps(body), usage)


def _vector(vector: Any, packed: bool) -> Any:
    if not isinstance(vector, list) or not all(type(v) in (int, float) for v in vector):
        raise TypeError("an embedding must be a list of numbers")
    if not packed:
        return vector
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError) as error:
        raise ValueError(str(error)) from None


# Failures.


def _complaint(parsed: Any) -> Complaint:
    """An error body: `{"error": "text"}`."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(error, dict):  # from what stands before Ollama
        error = error.get("message")
    return Complaint(str(error or ""))


def _failure_inside(parsed: JsonObject) -> Failure:
    """An error in a 200 or a stream: it has no status but what its words say."""
    complaint = _complaint(parsed)
    found = (status for words, status in _STATUSES if words.search(complaint.message))
    return _elsewhere(classify(next(found, 500), complaint))


def _elsewhere(failure: Failure) -> Failure:
    """What this model can't do, that of the next target may."""
    if failure.kind is FailureKind.INVALID_REQUEST and _LACKS.search(failure.message):
        return replace(failure, retry=Retry.NEXT_TARGET)
    return failure


class OllamaStream(completion.TranslatedStream[bytes]):
    """One JSON object a line -> OpenAI's chunks. The line that is `done` has the counts."""

    def __init__(self, ask: Ask, cost: CostOf, events: Decoder) -> None:
        super().__init__(ask, cost, events)
        self._called = False

    def _take(self, entry: bytes) -> None:
        line = loads(entry)
        if line.get("error"):
            self.failure = _failure_inside(line)
            return
        self._begin(None, line.get("model"))
        message = line.get("message")
        if message is not None:
            self._say(_read_message(message))
        if line.get("done"):
            self.usage = read_usage(line)
            self._finish(_finish(line.get("done_reason"), self._called))
            self._end()

    def _say(self, said: _Said) -> None:
        self._reason(said.thought)
        self._text(said.text)
        for call in said.calls:
            self._called = True
            self._call(call.id, call.name, call.arguments)
