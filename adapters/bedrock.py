"""AWS Bedrock's Converse dialect; chat only, whatever the model behind it.

Bedrock fetches no URLs and keeps no files: images and documents go in the request. What OpenAI's
shape has no word for may be given in Converse's own (`OWN_MEMBERS`, `thinking`, and tools of the
shape `{"systemTool": {"name"}}`). Thought without a signature can't be sent back and stays here.
Signing with SigV4 is not this module's: it only makes the bytes that are signed.
Source: Bedrock's API reference, Converse and ConverseStream; bodies in tests/data/recordings.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import orjson

from adapters.anthropic import EFFORTS, JSON_TOOL, THINKING_TOKENS
from adapters.base import (
    Ask,
    CostOf,
    Endpoint,
    Failure,
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
)
from adapters.eventstream import Decoder, Message
from adapters.failures import Complaint, classify, interrupted, invalid_reply, retry_after
from adapters.fields import Fields, invalid, unsupported
from adapters.headers import headers_for
from adapters.jsonedit import loads

STREAM_TYPE = "application/vnd.amazon.eventstream"

EXTRA = "additionalModelRequestFields"
"""Where the parameters go that Converse has no member of its own for."""

OWN_MEMBERS = (
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
)
"""Members of Converse's request that OpenAI's has not, sent on as they are given."""

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
"""Media type -> Bedrock's word for it."""

DOCUMENTS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}

STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "UnrecognizedClientException": 403,
    "ModelErrorException": 500,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 429,
    "ThrottlingException": 429,
    "ValidationException": 400,
}
"""AWS's errors -> the status they are judged by: AWS's own is 400 for some that are not the
client's, and 424 for a model that broke down."""

STREAM_STATUSES = {
    "internalServerException": 500,
    "modelNotReadyException": 503,
    "modelStreamErrorException": 500,
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
"""The same of errors inside a stream; one that is not here is 500."""

_TOO_LONG = re.compile(r"input is too long", re.IGNORECASE)
"""How Bedrock says that the prompt does not fit, without a word of context or length."""

_CLAUDE = re.compile(r"anthropic|claude", re.IGNORECASE)
_BEFORE_EFFORT = re.compile(
    r"claude-(instant|v?[23])|claude-(opus|sonnet|haiku)-4(-[0-5])?(-\d{8}|-v\d|@|:|$)"
)
"""Claudes that are told how many tokens to think; later ones are told how hard."""

_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
"""Efforts that gpt-oss and Nova 2 know."""

_NAME_LIMIT = 200
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")


class Bedrock:
    """The adapter; see `adapters.base.Adapter`."""

    endpoints = frozenset({Endpoint.CHAT})

    def request(self, ask: Ask, target: Target) -> Outgoing:
        body, dropped = _body(ask, target)
        action, accept = ("converse-stream", STREAM_TYPE) if ask.stream else ("converse", None)
        url = f"{target.base_url}/model/{quote(target.model, safe='')}/{action}"
        return Outgoing(url, headers_for(ask, target, accept), orjson.dumps(body), dropped)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        parsed = parse_object(body)
        match parsed:
            case {"output": {"message": {"content": list(content)}}}:
                pass
            case _:
                raise UpstreamFailure(invalid_reply("the answer has no list of content"))
        choice = Choice()
        for block in content:
            if isinstance(block, dict):
                _read_block(block, choice)
        choice.finish = _finish(parsed.get("stopReason"), bool(choice.calls))
        return reply(
            None, str(ask.body.get("model")), [choice], read_usage(parsed.get("usage")), ask
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        lowered = {name.lower(): value for name, value in headers.items()}
        complaint = complaint_of(body, lowered.get("x-amzn-errortype"))
        kind = complaint.type or ""
        failure = classify(STATUSES.get(kind, status), complaint, retry_after(lowered))
        if kind == "ModelErrorException":  # it was the model: asking it again is of little use
            return replace(failure, retry=Retry.NEXT_TARGET)
        return failure

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        return BedrockStream(ask, cost, Decoder())


# The request.


def _body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    turns = read_messages(ask.body.get("messages"))
    inference = _inference(fields)
    extra = _extra(fields, inference, target.model)
    made = {
        "messages": _messages(turns),
        "system": _system(turns),
        "inferenceConfig": inference,
        "toolConfig": _tool_config(fields, turns),
        EXTRA: extra,
        **_tier(fields),
    }
    body = {name: value for name, value in made.items() if value or name == "messages"}
    for name in OWN_MEMBERS:
        if (value := fields.take(name)) is not None:
            body[name] = value
    return body, fields.close()


def _inference(fields: Fields) -> dict[str, Any]:
    temperature = fields.take("temperature")
    if temperature is not None and temperature > 1:
        fields.refuse("temperature")
        temperature = None
    said = {
        "maxTokens": fields.first("max_completion_tokens", "max_tokens"),
        "temperature": temperature,
        "topP": fields.take("top_p"),
        "stopSequences": read_stop(fields) or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _tier(fields: Fields) -> dict[str, Any]:
    if fields.peek("service_tier") in ("priority", "default", "flex"):
        return {"serviceTier": {"type": fields.take("service_tier")}}
    return {}


def _extra(fields: Fields, inference: dict[str, Any], model: str) -> dict[str, Any]:
    """The model's own parameters; what the client says in the model's own words comes last."""
    extra: dict[str, Any] = {}
    if (top_k := fields.take("top_k")) is not None:
        extra |= {"inferenceConfig": {"topK": top_k}} if "nova" in model else {"top_k": top_k}
    thinking = fields.take("thinking")
    own = fields.take(EXTRA)
    effort = fields.take("reasoning_effort")
    if thinking is not None:
        extra["thinking"] = thinking
    elif effort is not None:
        said = _effort(effort, inference, model)
        if said is None:
            fields.refuse("reasoning_effort")
        else:
            extra |= said
    if own is not None and not isinstance(own, dict):
        raise invalid(EXTRA, "must be an object")
    return extra | (own or {})


def _effort(effort: Any, inference: dict[str, Any], model: str) -> dict[str, Any] | None:
    """`reasoning_effort` as the model's family says it; None when that is not known."""
    if _CLAUDE.search(model):
        return _claude_effort(effort, inference, model)
    if "openai.gpt-oss" in model and effort in _LEVELS:
        return {"reasoning_effort": _LEVELS[effort]}
    if "nova-2" in model and effort == "none":
        return {"reasoningConfig": {"type": "disabled"}}
    if "nova-2" in model and effort in _LEVELS:
        config = {"type": "enabled", "maxReasoningEffort": _LEVELS[effort]}
        return {"reasoningConfig": config}
    return None


def _claude_effort(effort: Any, inference: dict[str, Any], model: str) -> dict[str, Any] | None:
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if not _BEFORE_EFFORT.search(model):
        config = {"effort": EFFORTS.get(effort, effort)}
        return {"thinking": {"type": "adaptive"}, "output_config": config}
    if effort not in THINKING_TOKENS:
        return None
    budget = THINKING_TOKENS[effort]
    if "maxTokens" in inference:  # which has to be more than the budget
        inference["maxTokens"] = max(inference["maxTokens"], budget + 1024)
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _tool_config(fields: Fields, turns: Iterable[Turn]) -> dict[str, Any]:
    functions = list(read_tools(fields))
    own = [dict(tool) for tool in other_tools(fields)]
    if any("systemTool" not in tool for tool in own):
        fields.refuse("tools")
    own = [tool for tool in own if "systemTool" in tool]
    choice = read_tool_choice(fields)
    if choice and choice.mode == "none" and (functions or own):
        if not _has_tool_blocks(turns):
            functions, own = [], []
        else:  # Bedrock wants the tools to be said again, and then has no word for none of them
            fields.refuse("tool_choice")
        choice = None
    if choice and choice.names and (choice.mode == "auto" or len(choice.names) > 1):
        functions = [tool for tool in functions if tool.name in choice.names]
        own = []
    if form := read_format(fields):
        alone = not functions and not own
        functions.append(_json_tool(form))
        choice = ToolChoice("tool", (JSON_TOOL,)) if alone else ToolChoice("required")
    tools = [block for tool in functions for block in _tool(tool)] + own
    if not tools:
        if choice and choice.mode in ("required", "tool"):
            fields.refuse("tool_choice")
        return {}
    return {"tools": tools} | ({"toolChoice": _tool_choice(choice)} if choice else {})


def _has_tool_blocks(turns: Iterable[Turn]) -> bool:
    return any(isinstance(t, ToolResult) or (isinstance(t, Assistant) and t.calls) for t in turns)


def _tool(tool: Tool) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": tool.name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": tool.schema or {"type": "object", "properties": {}}}
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return [{"toolSpec": spec}, *_mark(tool.cache)]


def _json_tool(form: Format) -> Tool:
    """The tool whose arguments are the answer: not every model has a JSON mode here."""
    description = form.description or "Call this with the answer, as JSON."
    schema = form.schema or {"type": "object", "additionalProperties": True}
    return Tool(JSON_TOOL, description, schema)


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "tool" and len(choice.names) == 1:
        return {"tool": {"name": choice.names[0]}}
    return {"auto": {}} if choice.mode == "auto" else {"any": {}}


def _mark(cache: Cache) -> list[dict[str, Any]]:
    """A cache point stands after what is to be kept."""
    if not isinstance(cache, Mapping):
        return []
    ttl = {"ttl": cache["ttl"]} if "ttl" in cache else {}
    return [{"cachePoint": {"type": "default", **ttl}}]


def _system(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, System):
            for part in turn.parts:
                if not isinstance(part, Text):
                    raise unsupported(part.where, "can't stand in instructions here")
                blocks += _part(part)
    return blocks


def _messages(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """User and assistant in turn; the results of tools before whatever else the user says."""
    messages: list[dict[str, Any]] = []
    results = 0  # blocks of results at the head of the last message
    for turn in turns:
        blocks = [] if isinstance(turn, System) else _blocks(turn)
        if not blocks:
            continue
        role = "assistant" if isinstance(turn, Assistant) else "user"
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
            results = 0
        content = messages[-1]["content"]
        if isinstance(turn, ToolResult):
            content[results:results] = blocks
            results += len(blocks)
        else:
            content += blocks
    _name_documents(messages)
    return messages


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if isinstance(turn, ToolResult):
        return _tool_result(turn)
    blocks = [block for part in turn.parts for block in _part(part)]
    if isinstance(turn, Assistant):
        thought = [block for part in turn.thinking for block in _thought(part)]
        blocks = thought + blocks + [block for call in turn.calls for block in _tool_use(call)]
    return blocks


def _thought(block: Thinking) -> list[dict[str, Any]]:
    if block.redacted is not None:
        return [{"reasoningContent": {"redactedContent": block.redacted}}]
    if block.signature is None:
        return []
    said = {"text": block.text, "signature": block.signature}
    return [{"reasoningContent": {"reasoningText": said}}]


def _tool_use(call: ToolCall) -> list[dict[str, Any]]:
    use = {"toolUseId": call.id, "name": call.name, "input": call.arguments}
    return [{"toolUse": use}, *_mark(call.cache)]


def _tool_result(turn: ToolResult) -> list[dict[str, Any]]:
    """A result can't have cache points in it: one is put behind it."""
    bare = [part._replace(cache=None) for part in turn.parts]
    content = [block for part in bare for block in _part(part)]
    cache = turn.cache or next((part.cache for part in turn.parts if part.cache), None)
    failed = {"status": "error"} if turn.failed else {}
    return [{"toolResult": {"toolUseId": turn.call, "content": content, **failed}}, *_mark(cache)]


def _part(part: Part) -> list[dict[str, Any]]:
    if isinstance(part, Text):  # Bedrock refuses an empty text
        return [*([{"text": part.text}] if part.text else []), *_mark(part.cache)]
    if part.kind == "audio":
        raise unsupported(part.where, "is audio, which this dialect does not take")
    if part.data is None:
        raise unsupported(part.where, "must be a data URL here: Bedrock fetches and keeps nothing")
    source = {"bytes": part.data}
    if part.kind == "image":
        form = IMAGES.get((part.mime or "image/png").lower())
        if form is None:
            raise unsupported(part.where, "must be PNG, JPEG, GIF or WebP here")
        return [{"image": {"format": form, "source": source}}, *_mark(part.cache)]
    document = {"format": _document_format(part), "name": part.name or "", "source": source}
    return [{"document": document}, *_mark(part.cache)]


def _document_format(part: Blob) -> str:
    """By its media type, else by the end of its name; any other text is plain text."""
    mime = (part.mime or "").lower()
    suffix = PurePath(part.name or "").suffix[1:].lower()
    if mime in DOCUMENTS:
        return DOCUMENTS[mime]
    if suffix in DOCUMENTS.values():
        return suffix
    if mime.startswith("text/"):
        return "txt"
    if mime:
        raise unsupported(part.where, f"is {mime}, which Bedrock does not take as a document")
    return "pdf"


def _name_documents(messages: Iterable[dict[str, Any]]) -> None:
    """Bedrock wants a name of few characters for each, and no name twice in a request."""
    taken: set[str] = set()
    for number, document in enumerate(_documents(messages), 1):
        plain = _NOT_IN_NAMES.sub("-", " ".join(document["name"].split()))
        name = plain = plain[:_NAME_LIMIT].strip() or f"Document {number}"
        again = 1
        while name.lower() in taken:
            again += 1
            name = f"{plain[: _NAME_LIMIT - 8]} ({again})"
        taken.add(name.lower())
        document["name"] = name


def _documents(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        for block in message["content"]:
            inside = block["toolResult"]["content"] if "toolResult" in block else [block]
            yield from (entry["document"] for entry in inside if "document" in entry)


# The answer.


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _read_block(block: JsonObject, choice: Choice) -> None:
    match block:
        case {"text": str(text)}:
            choice.text.append(text)
        case {"reasoningContent": {"reasoningText": dict(thought)}}:
            choice.thoughts.append(str(thought.get("text") or ""))
            choice.thinking.append(Thinking(choice.thoughts[-1], _text(thought.get("signature"))))
        case {"reasoningContent": {"redactedContent": str(data)}}:
            choice.thinking.append(Thinking(redacted=data))
        case {"citationsContent": {"content": list(content)}}:
            choice.text += [part["text"] for part in content if _is_text(part)]
        case {"toolUse": {"type": "server_tool_use"}}:
            pass  # Bedrock calls this one itself
        case {"toolUse": {"name": name, **rest}} if name == JSON_TOOL:
            choice.text.append(orjson.dumps(rest.get("input") or {}).decode())
        case {"toolUse": {"toolUseId": str(id), "name": str(name), **rest}}:
            choice.call(id, name, rest.get("input") or {})


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


def _finish(reason: Any, calls: bool) -> str:
    """OpenAI's word for a stop reason; a call of the JSON tool is no call to the client."""
    finish = FINISHES.get(str(reason), "stop")
    return "stop" if finish == "tool_calls" and not calls else finish


def read_usage(usage: Any) -> Usage | None:
    """Converse's usage as a value: what was read from its cache or written to it is prompt too."""
    if not isinstance(usage, dict) or not isinstance(usage.get("inputTokens"), int):
        return None
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    return Usage(
        prompt=_count(usage, "inputTokens") + read + written,
        completion=_count(usage, "outputTokens"),
        cached=read,
        cache_write=written,
    )


def _count(holder: JsonObject, name: str) -> int:
    return count_of(holder.get(name))


def complaint_of(body: bytes, kind: str | None) -> Complaint:
    """An error body, `{"message"}` or `{"Message"}`. `kind` is x-amzn-errortype, as in
    `ThrottlingException:http://…`; some answers have it in the body, as `prefix#Name`."""
    try:
        parsed = loads(body)
    except orjson.JSONDecodeError:
        parsed = body[:200].decode(errors="replace").strip()
    if isinstance(parsed, dict):
        message = str(parsed.get("message") or parsed.get("Message") or "")
        kind = kind or str(parsed.get("__type") or "")
    else:
        message = str(parsed or "")
    name = (kind or "").partition(":")[0].rpartition("#")[2]
    code = "context_length_exceeded" if _TOO_LONG.search(message) else None
    return Complaint(message, type=name or None, code=code)


class BedrockStream(TranslatedStream[Message]):
    """Converse's events -> OpenAI's chunks."""

    def __init__(self, ask: Ask, cost: CostOf, events: Decoder) -> None:
        super().__init__(ask, cost, events)
        self._frames = events
        self._uses: dict[int, dict[str, Any]] = {}  # tool uses that have begun, by their block
        self._numbers: dict[int, int] = {}  # of a block, its number among the calls
        self._thoughts: dict[int, Thinking] = {}  # blocks of thought that have begun
        self._redacted: dict[int, bytes] = {}

    def feed(self, data: bytes) -> bytes:
        out = super().feed(data)
        if self._frames.corrupt and not self.done and not self.failure:
            self.failure = interrupted("the upstream's event stream is corrupt")
        return out

    def _take(self, entry: Message) -> None:
        if entry.is_error:
            complaint = complaint_of(entry.payload, entry.kind)
            complaint = replace(complaint, message=entry.message or complaint.message)
            self.failure = classify(STREAM_STATUSES.get(entry.kind, 500), complaint)
            return
        payload = loads(entry.payload)
        match entry.kind:
            case "contentBlockDelta":
                self._take_delta(payload["contentBlockIndex"], payload["delta"])
            case "contentBlockStart":
                self._start(payload["contentBlockIndex"], payload["start"])
            case "contentBlockStop":
                self._stop(payload["contentBlockIndex"])
            case "messageStop":
                for index in [*self._uses, *self._thoughts, *self._redacted]:
                    self._stop(index)
                self._finish(_finish(payload["stopReason"], bool(self._calls)))
            case "metadata":
                self._close(payload)

    def _start(self, index: int, start: dict[str, Any]) -> None:
        match start:
            case {"toolUse": {"type": "server_tool_use"}}:
                pass
            case {"toolUse": {"toolUseId": str(id), "name": str(name)}}:
                self._uses[index] = {"name": name, "is_empty": True}
                if name != JSON_TOOL:
                    self._numbers[index] = self._call(id, name, "")

    def _take_delta(self, index: int, delta: dict[str, Any]) -> None:
        match delta:
            case {"text": str(text)}:
                self._text(text)
            case {"reasoningContent": dict(thought)}:
                self._take_thought(index, thought)
            case {"toolUse": {"input": str(piece)}} if piece and index in self._uses:
                self._uses[index]["is_empty"] = False
                self._take_json(index, piece)

    def _take_thought(self, index: int, thought: dict[str, Any]) -> None:
        if "redactedContent" in thought:
            data = base64.b64decode(thought["redactedContent"])
            self._redacted[index] = self._redacted.get(index, b"") + data
            return
        text, signature = thought.get("text") or "", thought.get("signature")
        so_far = self._thoughts.get(index, Thinking())
        joined = (so_far.signature or "") + signature if signature else so_far.signature
        self._thoughts[index] = Thinking(so_far.text + text, joined)
        self._reason(text)

    def _take_json(self, index: int, piece: str) -> None:
        if index in self._numbers:
            self._arguments(self._numbers[index], piece)
        else:
            self._text(piece)

    def _stop(self, index: int) -> None:
        use = self._uses.pop(index, None)
        if use and use["is_empty"]:
            self._take_json(index, "{}")
        if (thought := self._thoughts.pop(index, None)) is not None:
            self._think(thought)
        if (redacted := self._redacted.pop(index, None)) is not None:
            self._think(Thinking(redacted=base64.b64encode(redacted).decode()))

    def _close(self, metadata: dict[str, Any]) -> None:
        """The last event, of which only the counts are of interest."""
        self.usage = read_usage(metadata.get("usage"))
        if not self._finishes:
            self.failure = interrupted("the upstream ended its message without a stop reason")
            return
        self._end()
