"""OpenAI's `messages`, `tools`, `tool_choice` and `response_format` as values.

Read once here, so that a dialect only says how *it* puts them. Faults name their place, as in
`messages[2].content[0].type`. Source: OpenAI's API reference, "Create chat completion".
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import orjson

from adapters.base import JsonObject
from adapters.fields import Fields, invalid

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)

Cache = JsonObject | None
"""A prompt-cache marker, `{"type": "ephemeral", "ttl": …}`: the prompt up to here is kept."""


class Text(NamedTuple):
    """Words."""

    text: str
    cache: Cache = None


class Blob(NamedTuple):
    """An image, a file or audio: `data` is base64; else there is a `url` or a provider's `id`."""

    kind: Literal["image", "file", "audio"]
    where: str
    mime: str | None = None
    data: str | None = None
    url: str | None = None
    id: str | None = None
    name: str | None = None
    cache: Cache = None


Part = Text | Blob


class Thinking(NamedTuple):
    """What a model thought. `signature` proves to its provider that it did; `redacted` is thought
    that only the provider can read."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class ToolCall(NamedTuple):
    """A call that the model asked for. `signature` is Gemini's, of the thought behind it."""

    id: str
    name: str
    arguments: JsonObject
    signature: str | None = None
    cache: Cache = None


class System(NamedTuple):
    """Instructions, of role system or developer."""

    parts: tuple[Part, ...]


class User(NamedTuple):
    """What the user says."""

    parts: tuple[Part, ...]


class Assistant(NamedTuple):
    """What the model said, thought and called before. `signature` is Gemini's, of its text."""

    parts: tuple[Part, ...]
    thinking: tuple[Thinking, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    signature: str | None = None


class ToolResult(NamedTuple):
    """What a call gave; `name` is that of the tool, `failed` that it gave an error."""

    call: str
    name: str
    parts: tuple[Part, ...]
    cache: Cache = None
    failed: bool = False


Turn = System | User | Assistant | ToolResult


class Tool(NamedTuple):
    """A function that the model may call; `schema` None: it takes nothing."""

    name: str
    description: str | None
    schema: JsonObject | None
    strict: bool | None = None
    cache: Cache = None


class ToolChoice(NamedTuple):
    """`auto`, `none`, `required`, or `tool` and the names that may be called."""

    mode: Literal["auto", "none", "required", "tool"]
    names: tuple[str, ...] = ()


class Format(NamedTuple):
    """JSON that the answer has to be; `schema` None: any object."""

    name: str
    schema: JsonObject | None
    strict: bool = False
    description: str | None = None


def read_messages(messages: Any) -> tuple[Turn, ...]:
    """The turns of a conversation. Raises `UpstreamFailure` naming the place of a fault."""
    if not isinstance(messages, list):
        raise invalid("messages", "must be a list")
    names: dict[str, str] = {}  # of the tools called so far, by call id
    return tuple(_turn(entry, f"messages[{i}]", names) for i, entry in enumerate(messages))


def _turn(message: Any, where: str, names: dict[str, str]) -> Turn:
    if not isinstance(message, dict):
        raise invalid(where, "must be an object")
    cache = message.get("cache_control")
    parts = _parts(message.get("content"), f"{where}.content", cache)
    match message.get("role"):
        case "system" | "developer":
            return System(parts)
        case "user":
            return User(parts)
        case "assistant":
            return _assistant(message, parts, where, names)
        case "tool":
            call = message.get("tool_call_id")
            if not isinstance(call, str):
                raise invalid(f"{where}.tool_call_id", "is missing")
            name = names.get(call) or message.get("name") or call
            return ToolResult(call, name, parts, cache, message.get("is_error") is True)
        case role:
            raise invalid(f"{where}.role", f"{role!r} is not one that can be translated")


def _parts(content: Any, where: str, cache: Cache) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content, cache),) if content else ()
    if not isinstance(content, list):
        raise invalid(where, "must be a string or a list of parts")
    parts = [_part(entry, f"{where}[{i}]") for i, entry in enumerate(content)]
    if cache and parts and parts[-1].cache is None:
        parts[-1] = parts[-1]._replace(cache=cache)
    return tuple(parts)


def _part(part: Any, where: str) -> Part:
    if not isinstance(part, dict):
        raise invalid(where, "must be an object")
    cache = part.get("cache_control")
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return Text(_string(part, "text", where), cache)
        case "refusal":
            return Text(_string(part, "refusal", where), cache)
        case "image_url":
            url = part.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            return _located("image", url, f"{where}.image_url.url", cache)
        case "input_audio":
            audio = _object(part, "input_audio", where)
            mime = "audio/" + str(audio.get("format") or "wav").replace("mp3", "mpeg")
            data = _string(audio, "data", f"{where}.input_audio")
            return Blob("audio", where, mime=mime, data=data, cache=cache)
        case "file":
            return _file(_object(part, "file", where), f"{where}.file", cache)
        case kind:
            raise invalid(f"{where}.type", f"{kind!r} is not one that can be translated")


def _file(file: JsonObject, where: str, cache: Cache) -> Blob:
    name = file.get("filename")
    if isinstance(file.get("file_id"), str):
        return Blob("file", where, id=file["file_id"], name=name, cache=cache)
    blob = _located("file", file.get("file_data"), f"{where}.file_data", cache)
    return blob._replace(name=name)


def _located(kind: Literal["image", "file"], url: Any, where: str, cache: Cache) -> Blob:
    """A blob by its URL; a data URL is opened."""
    if not isinstance(url, str) or not url:
        raise invalid(where, "is missing")
    if not url.startswith("data:"):
        if not url.startswith(("https://", "http://", "gs://")):
            raise invalid(where, "must be a URL of http, https or gs, or a data URL")
        return Blob(kind, where, url=url, cache=cache)
    found = _DATA_URL.fullmatch(url)
    if found is None or ";base64" not in found[2]:
        raise invalid(where, "must be a base64 data URL: data:TYPE;base64,…")
    try:
        binascii.a2b_base64(found[3], strict_mode=True)
    except (binascii.Error, ValueError):
        raise invalid(where, "is not valid base64") from None
    return Blob(kind, where, mime=found[1] or None, data=found[3], cache=cache)


def text_of(blob: Blob) -> str | None:
    """The words of a file of text; None when it is another."""
    if blob.data is None or not (blob.mime or "").startswith("text/"):
        return None
    return base64.b64decode(blob.data).decode(errors="replace")


def _assistant(
    message: JsonObject, parts: tuple[Part, ...], where: str, names: dict[str, str]
) -> Assistant:
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal and not parts:
        parts = (Text(refusal),)
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise invalid(f"{where}.tool_calls", "must be a list")
    read = tuple(_call(entry, f"{where}.tool_calls[{i}]") for i, entry in enumerate(calls))
    names.update({call.id: call.name for call in read})
    return Assistant(parts, _thinking(message), read, _signature(message))


def _call(call: Any, where: str) -> ToolCall:
    function = _object(call if isinstance(call, dict) else {}, "function", where)
    text = function.get("arguments") or "{}"
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else text
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise invalid(f"{where}.function.arguments", "must be a JSON object")
    name = _string(function, "name", f"{where}.function")
    cache = call.get("cache_control")
    return ToolCall(str(call.get("id") or name), name, arguments, _signature(call), cache)


def _signature(holder: JsonObject) -> str | None:
    """Gemini's thought signature, where Google's own OpenAI endpoint puts it."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _thinking(message: JsonObject) -> tuple[Thinking, ...]:
    """Thought that comes back: LiteLLM's `thinking_blocks`, OpenRouter's `reasoning_details`, or
    plain `reasoning_content` (DeepSeek's, vLLM's) or `reasoning`."""
    for member in ("thinking_blocks", "reasoning_details"):
        entries = message.get(member)
        if isinstance(entries, list):
            blocks = [_thinking_block(entry) for entry in entries if isinstance(entry, dict)]
            return tuple(block for block in blocks if block is not None)
    plain = message.get("reasoning_content") or message.get("reasoning")
    return (Thinking(plain),) if isinstance(plain, str) else ()


def _thinking_block(block: JsonObject) -> Thinking | None:
    signature = block.get("signature")
    match block.get("type"):
        case "thinking":
            return Thinking(str(block.get("thinking") or ""), signature)
        case "reasoning.text":
            return Thinking(str(block.get("text") or ""), signature)
        case "redacted_thinking" | "reasoning.encrypted":
            return Thinking(redacted=str(block.get("data") or ""))
        case _:
            return None


def read_tools(fields: Fields) -> tuple[Tool, ...]:
    """The functions of `tools`; tools of another type stay with `others`."""
    tools = fields.peek("tools")
    return tuple(
        _tool(entry, f"tools[{i}]")
        for i, entry in enumerate(tools if isinstance(tools, list) else [])
        if isinstance(entry, dict) and entry.get("type") == "function"
    )


def other_tools(fields: Fields) -> list[JsonObject]:
    """The entries of `tools` that are no functions: a provider's own tools. Takes `tools`."""
    tools = fields.take("tools")
    entries = tools if isinstance(tools, list) else []
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise invalid(f"tools[{i}]", "must be an object")
    return [entry for entry in entries if entry.get("type") != "function"]


def _tool(tool: JsonObject, where: str) -> Tool:
    function = _object(tool, "function", where)
    schema = function.get("parameters")
    if schema is not None and not isinstance(schema, dict):
        raise invalid(f"{where}.function.parameters", "must be a JSON schema")
    return Tool(
        _string(function, "name", f"{where}.function"),
        function.get("description"),
        schema,
        function.get("strict"),
        tool.get("cache_control") or function.get("cache_control"),
    )


def read_tool_choice(fields: Fields) -> ToolChoice | None:
    """What `tool_choice` says; None when it is absent. Takes it."""
    match fields.take("tool_choice"):
        case None:
            return None
        case "auto" | "none" | "required" as mode:
            return ToolChoice(mode)
        case {"type": "function", "function": {"name": str(name)}} | {
            "type": "function",
            "name": str(name),
        }:
            return ToolChoice("tool", (name,))
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}:
            names = tuple(str(t["function"]["name"]) for t in tools if _is_function(t))
            return ToolChoice("tool" if mode == "required" else "auto", names)
        case _:
            raise invalid("tool_choice", "must be auto, none, required or a function's name")


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), Mapping)


def read_format(fields: Fields) -> Format | None:
    """What `response_format` says; None for plain text. Takes it."""
    match fields.take("response_format"):
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return Format("json", None)
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as given}:
            strict = given.get("strict") is True
            return Format(
                str(given.get("name") or "json"), schema, strict, given.get("description")
            )
        case _:
            raise invalid("response_format", "must be text, json_object or json_schema with one")


def read_stop(fields: Fields) -> list[str]:
    """`stop` as a list. Takes it."""
    stop = fields.take("stop")
    if stop is None:
        return []
    return [stop] if isinstance(stop, str) else list(stop)


def _string(holder: JsonObject, name: str, where: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where}.{name}", "must be a string")
    return value


def _object(holder: JsonObject, name: str, where: str) -> JsonObject:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise invalid(f"{where}.{name}", "must be an object")
    return value
