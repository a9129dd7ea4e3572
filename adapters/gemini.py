"""The Gemini generateContent dialect, of Google's Gemini API and of Vertex AI.

What OpenAI's shape has no word for may be given in Gemini's own: `OWN_MEMBERS`, and tools such as
`{"googleSearch": {}}` or `{"type": "googleSearch"}` (`OWN_TOOLS`). Thought is not sent back, only
its signatures. A function's `strict` is not said: Gemini has a mode for all of them, not for one.
Pictures in an answer, and what Google's own tools did for it, are left out.
Source: Google's API reference, v1beta; bodies in tests/data/recordings.
"""

import base64
import mimetypes
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

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
)
from adapters.completion import parse_object, reply
from adapters.conversation import (
    Assistant,
    Blob,
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
)
from adapters.failures import retry_after
from adapters.fields import Fields, invalid, unsupported
from adapters.gemini_stream import (
    OWN_CALL,
    Events,
    GeminiStream,
    choices_of,
    embeddings_of,
    error_of,
    failure_of,
    failure_within,
    read_usage,
)
from adapters.headers import headers_for
from adapters.jsonedit import loads

OWN_MEMBERS = {
    "safetySettings": "safety_settings",
    "cachedContent": "cached_content",
    "labels": "labels",
    "modelArmorConfig": "model_armor_config",
}
"""Members of Gemini's request that OpenAI's has not, under either spelling; sent as given."""

OWN_TOOLS = {
    "codeExecution": "code_execution",
    "computerUse": "computer_use",
    "enterpriseWebSearch": "enterprise_web_search",
    "exaAiSearch": "exa_ai_search",
    "fileSearch": "file_search",
    "googleMaps": "google_maps",
    "googleSearch": "google_search",
    "googleSearchRetrieval": "google_search_retrieval",
    "mcpServers": "mcp_servers",
    "parallelAiSearch": "parallel_ai_search",
    "retrieval": "retrieval",
    "urlContext": "url_context",
}
"""Tools that Google runs itself, under either spelling."""

SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
}

UNLESS_USUAL = {
    "n": ("candidateCount", 1),
    "presence_penalty": ("presencePenalty", 0),
    "frequency_penalty": ("frequencyPenalty", 0),
}
"""Members that many models refuse, whatever the value: the one that changes nothing is left out."""

THINKING_TOKENS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
"""`reasoning_effort` -> tokens, for Gemini 2.5; from `low` on those of Google's OpenAI endpoint."""

THINKING_LEVELS = frozenset({"minimal", "low", "medium", "high"})
"""`reasoning_effort` that Gemini 3 and later know; they can't be told not to think."""

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")

UNSIGNED = base64.b64encode(b"context_engineering_is_the_way_to_go").decode()
"""The signature that Google has for a call that Gemini did not make itself: Gemini 3 refuses a
turn whose first call has none, as the turns of other providers' models are."""

_TYPES = mimetypes.MimeTypes()
for _ending, _type in {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".webp": "image/webp",
}.items():
    _TYPES.add_type(_type, _ending)


class Gemini:
    """The adapter; see `adapters.base.Adapter`."""

    endpoints = frozenset({Endpoint.CHAT, Endpoint.EMBEDDINGS})

    def request(self, ask: Ask, target: Target) -> Outgoing:
        if ask.endpoint is Endpoint.EMBEDDINGS:
            method, (body, dropped) = "batchEmbedContents", _embed_body(ask, target)
        else:
            method = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
            body, dropped = _body(ask, target)
        url = f"{target.base_url}/{quote(_path(target.model), safe='/')}:{method}"
        return Outgoing(url, headers_for(ask, target), orjson.dumps(body), dropped)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        parsed = parse_object(body)
        error = error_of(parsed)
        if error is not None:
            raise UpstreamFailure(failure_within(error))
        if ask.endpoint is Endpoint.EMBEDDINGS:
            return embeddings_of(ask, parsed)
        model = parsed.get("modelVersion") or ask.body.get("model")
        usage = read_usage(parsed.get("usageMetadata"))
        return reply(parsed.get("responseId"), str(model), choices_of(parsed), usage, ask)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        try:
            error = error_of(loads(body))
        except orjson.JSONDecodeError:
            error = None
        if error is None:
            error = {"message": body[:200].decode(errors="replace").strip()}
        return failure_of(status, error, retry_after(headers))

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        return GeminiStream(ask, cost, Events())


def _path(model: str) -> str:
    """A model's resource name."""
    return model if model.startswith(("models/", "tunedModels/")) else "models/" + model


def _generation(model: str) -> tuple[int, int]:
    """(2, 5) for a Gemini 2.5. A name without a number is that of the newest."""
    found = _VERSION.search(model)
    if found:
        return int(found[1]), int(found[2] or 0)
    return (99, 0) if "gemini-" in model else (0, 0)


# The request.


def _body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    turns = read_messages(ask.body.get("messages"))
    body: dict[str, Any] = {"contents": _contents(turns, target.model)}
    if system := _system(turns):
        body["systemInstruction"] = {"parts": system}
    _tools(fields, body)
    for name, snake in OWN_MEMBERS.items():
        if (value := fields.first(name, snake)) is not None:
            body[name] = value
    config = _config(fields, ask.stream)
    if thinking := _thinking(fields, target.model):
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    return body, fields.close()


def _config(fields: Fields, stream: bool) -> dict[str, Any]:
    config = {}
    for name, own in SAMPLING.items():
        if (value := fields.take(name)) is not None:
            config[own] = value
    for name, (own, usual) in UNLESS_USUAL.items():
        if (value := fields.take(name)) is not None and value != usual:
            config[own] = value
    limit = fields.first("max_completion_tokens", "max_tokens")
    if limit is not None:
        config["maxOutputTokens"] = limit
    if stop := read_stop(fields):
        config["stopSequences"] = stop
    if not stream:  # chunks have no place for them yet: `close` refuses them in a stream
        _logprobs(fields, config)
    if form := read_format(fields):
        config["responseMimeType"] = "application/json"
        if form.schema is not None:
            config["responseJsonSchema"] = form.schema
    _modalities(fields, config)
    return config


def _logprobs(fields: Fields, config: dict[str, Any]) -> None:
    if fields.take("logprobs"):
        config["responseLogprobs"] = True
        if top := fields.take("top_logprobs"):
            config["logprobs"] = top


def _modalities(fields: Fields, config: dict[str, Any]) -> None:
    given = fields.take("modalities")
    if given is None:
        return
    if not isinstance(given, list):
        raise invalid("modalities", "must be a list")
    upper = [str(modality).upper() for modality in given]
    if upper != ["TEXT"]:
        config["responseModalities"] = upper


def _thinking(fields: Fields, model: str) -> dict[str, Any]:
    """`reasoning_effort` as the model's generation says it; Gemini's own words go before it."""
    own = fields.first("thinkingConfig", "thinking_config")
    effort = fields.take("reasoning_effort")
    if own is not None or effort is None:
        return own or {}
    generation = _generation(model)
    if generation >= (3, 0) and effort in THINKING_LEVELS:
        level = "low" if effort == "minimal" and "pro" in model else effort
        return {"thinkingLevel": level, "includeThoughts": True}
    if generation == (2, 5) and effort in THINKING_TOKENS:
        if effort != "none":
            return {"thinkingBudget": THINKING_TOKENS[effort], "includeThoughts": True}
        if "pro" not in model:  # which always thinks
            return {"thinkingBudget": 0}
    fields.refuse("reasoning_effort")
    return {}


def _tools(fields: Fields, body: dict[str, Any]) -> None:
    functions = read_tools(fields)
    tools = [_own_tool(entry, fields) for entry in other_tools(fields)]
    tools = [tool for tool in tools if tool]
    choice = read_tool_choice(fields)
    config: dict[str, Any] = {}
    if choice and choice.mode == "auto" and choice.names:  # some of them: the others are not shown
        functions = tuple(tool for tool in functions if tool.name in choice.names)
    if functions:
        tools.append({"functionDeclarations": [_declaration(tool) for tool in functions]})
    if functions and choice:
        mode = {"auto": "AUTO", "none": "NONE"}.get(choice.mode, "ANY")
        config["functionCallingConfig"] = {"mode": mode}
        if mode == "ANY" and choice.names:
            config["functionCallingConfig"]["allowedFunctionNames"] = list(choice.names)
    elif choice and choice.mode in ("required", "tool"):
        fields.refuse("tool_choice")
    if (own := fields.first("toolConfig", "tool_config")) is not None:
        if not isinstance(own, dict):
            raise invalid("toolConfig", "must be an object")
        config |= own
    if tools:
        body["tools"] = tools
    if config:
        body["toolConfig"] = config


def _declaration(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    schema = {} if tool.schema is None else {"parametersJsonSchema": tool.schema}
    return {"name": tool.name, **described, **schema}


def _own_tool(entry: JsonObject, fields: Fields) -> dict[str, Any]:
    """A tool of Google's own in its shape; nothing for one that it does not have."""
    kind = entry.get("type")
    said = {name: value for name, value in entry.items() if name != "type"}
    for name, snake in OWN_TOOLS.items():
        if kind in (name, snake):
            return {name: said.get(name, said.get(snake, said))}
        if kind is None and (name in said or snake in said):
            return said
    fields.refuse("tools")
    return {}


def _system(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, System):
            for part in turn.parts:
                if not isinstance(part, Text):
                    raise unsupported(part.where, "can't stand in instructions here")
                parts.append({"text": part.text})
    return parts


def _contents(turns: Iterable[Turn], model: str) -> list[dict[str, Any]]:
    """User and model in turn. Gemini wants a content, and a part in each: an empty text."""
    newer = _generation(model) >= (3, 0)
    contents: list[dict[str, Any]] = []
    for turn in turns:
        if isinstance(turn, System):
            continue
        role = "model" if isinstance(turn, Assistant) else "user"
        if not contents or contents[-1]["role"] != role:
            contents.append({"role": role, "parts": []})
        contents[-1]["parts"] += _turn_parts(turn, newer)
    contents = contents or [{"role": "user", "parts": []}]
    return [{**content, "parts": content["parts"] or [{"text": ""}]} for content in contents]


def _turn_parts(turn: Turn, newer: bool) -> list[dict[str, Any]]:
    if isinstance(turn, ToolResult):
        return [_response(turn, newer)]
    parts = [_part(part) for part in turn.parts]
    if not isinstance(turn, Assistant):
        return parts
    if turn.signature is not None:
        texts = [part for part in parts if "text" in part]
        if not texts:
            texts = [{"text": ""}]
            parts += texts
        texts[-1]["thoughtSignature"] = turn.signature
    calls = [_call(call) for call in turn.calls]
    if newer and calls and not any(call.signature for call in turn.calls):
        calls[0]["thoughtSignature"] = UNSIGNED
    return parts + calls


def _call(call: ToolCall) -> dict[str, Any]:
    signature = {} if call.signature is None else {"thoughtSignature": call.signature}
    return {
        "functionCall": {**_given_id(call.id), "name": call.name, "args": call.arguments},
        **signature,
    }


def _given_id(id: str) -> dict[str, str]:
    return {} if id.startswith(OWN_CALL) else {"id": id}


def _response(turn: ToolResult, newer: bool) -> dict[str, Any]:
    text = "".join(part.text for part in turn.parts if isinstance(part, Text))
    blobs = [part for part in turn.parts if isinstance(part, Blob)]
    if blobs and not newer:
        raise unsupported(blobs[0].where, "can't stand in a tool's result before Gemini 3")
    return {
        "functionResponse": {
            **_given_id(turn.call),
            "name": turn.name,
            "response": _result(text, turn.failed),
            **({"parts": [_part(blob) for blob in blobs]} if blobs else {}),
        }
    }


def _result(text: str, failed: bool) -> dict[str, Any]:
    """Gemini wants an object: the tool's own where it gave one, else its words under a name."""
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        given = None
    if isinstance(given, dict):
        return given
    return {"error" if failed else "result": text}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if part.data is not None:
        fallback = "image/png" if part.kind == "image" else "application/pdf"
        mime = part.mime or _type_of(part.name) or fallback
        return {"inlineData": {"mimeType": mime, "data": part.data}}
    told = _type_of(part.name) or _type_of(_file_of(part.url or ""))
    mime_type = {} if told is None else {"mimeType": told}
    return {"fileData": {"fileUri": part.url or part.id, **mime_type}}


def _type_of(name: str | None) -> str | None:
    """What a file is by the end of its name."""
    ending = (name or "").rpartition(".")[2]
    return _TYPES.guess_type("x." + ending)[0] if name and ending != name else None


def _file_of(url: str) -> str:
    """A URL's path, without what is asked of it."""
    return re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]


# Embeddings.


def _embed_body(ask: Ask, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields = Fields(ask, target)
    shared: dict[str, Any] = {"model": _path(target.model)}
    if (size := fields.take("dimensions")) is not None:
        shared["outputDimensionality"] = size
    if (task := fields.first("taskType", "task_type")) is not None:
        shared["taskType"] = task
    if fields.take("encoding_format") not in (None, "float", "base64"):
        raise invalid("encoding_format", "must be float or base64")
    requests = [
        {**shared, "content": {"parts": [{"text": text}]}} for text in _texts(fields.take("input"))
    ]
    return {"requests": requests}, fields.close()


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise invalid("input", "must be a string or a list of strings")
    for index, text in enumerate(texts):
        if isinstance(text, int | list):
            where = f"input[{index}]" if isinstance(text, list) else "input"
            raise unsupported(where, "is a list of token ids, and this dialect takes text only")
        if not isinstance(text, str):
            raise invalid(f"input[{index}]", "must be a string")
    return texts
