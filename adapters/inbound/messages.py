"""Anthropic's Messages API in, on OpenAI's chat: any provider for the Anthropic SDK.

What chat has no word for is kept in members that Turnout's dialects read (`cache_control`,
`thinking_blocks`, `top_k`) or refused by its place. A refused block is the client's to mend; a
refused member or server tool may be taken by another target, and with `drop_params` is left out.
Thought whose signature is empty goes on without one: no provider would know it for its own.
Source: Anthropic's API reference, version 2023-06-01, "Create a message".
"""

import base64
from typing import Any

import orjson

from adapters.base import Ask, Endpoint, JsonObject, UpstreamFailure
from adapters.estimate import estimate
from adapters.fields import invalid, unsupported
from adapters.inbound.messages_stream import (
    MessagesStream,
    content,
    message,
    stop_reason,
    unpack_id,
    usage_object,
)
from adapters.inbound.tidy import tidy_completion

RENAMED = {
    "model": "model",
    "max_tokens": "max_completion_tokens",
    "stop_sequences": "stop",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stream": "stream",
}
"""Members whose value is the same in both."""

LEFT_OUT = frozenset({"service_tier"})
"""Members that choose among Anthropic's own offers: without them the answer is the same."""

BUDGETS = ((2048, "low"), (8192, "medium"))
"""The most tokens of thought that are this effort; more is high."""

TOOL_MEMBERS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})

TOOL_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "allowed_callers": (["direct"],),
    "defer_loading": (False,),
    "eager_input_streaming": (True, False),
}
"""Values of a tool's other members that say what would happen anyway."""


class Messages:
    """The bridge; see `adapters.inbound.base.Bridge`."""

    def chat(self, ask: Ask) -> Ask:
        body = _chat(ask)
        return ask._replace(
            endpoint=Endpoint.CHAT,
            raw=orjson.dumps(body),
            body=body,
            wants_usage=ask.stream,
            defaults={name: v for name, v in ask.defaults.items() if name not in body},
            content_type="application/json",
        )

    def reply(self, ask: Ask, body: bytes) -> bytes:
        parsed = tidy_completion(body)
        choice = parsed["choices"][0]
        said, finish = choice["message"], choice["finish_reason"]
        frame = message(parsed.get("id"), parsed.get("model") or ask.body.get("model"))
        frame["content"] = content(said, cut=finish == "length")
        frame["stop_reason"] = stop_reason(finish, bool(said.get("tool_calls")))
        frame["usage"] = usage_object(parsed.get("usage"))
        return orjson.dumps(frame)

    def stream(self, ask: Ask) -> MessagesStream:
        return MessagesStream(ask.body.get("model"))


def count_estimate(ask: Ask) -> bytes:
    """The answer to `/v1/messages/count_tokens` where nobody counts: an estimate."""
    return orjson.dumps({"input_tokens": estimate(Messages().chat(ask), 0).prompt})


# The request.


def _chat(ask: Ask) -> dict[str, Any]:
    given = {n: v for n, v in ask.body.items() if v is not None and n not in ask.drop}
    messages = _system(given.pop("system", None), "system")
    messages += _messages(given.pop("messages", None))
    body: dict[str, Any] = {
        name: given.pop(own) for own, name in RENAMED.items() if own in given
    } | {"messages": messages}
    if ask.stream:
        body["stream_options"] = {"include_usage": True}
    if tools := _tools(ask, given.pop("tools", None)):
        body["tools"] = tools
    _tool_choice(given.pop("tool_choice", None), body)
    _output(ask, given, body)
    user = _object(given.pop("metadata", {}), "metadata").get("user_id")
    if user is not None:
        body["user"] = user
    cache = given.pop("cache_control", None)
    if cache and messages:  # what Anthropic does itself: the whole prompt is kept
        messages[-1].setdefault("cache_control", cache)
    for name in given:
        if name not in LEFT_OUT:
            _leave_out(ask, name)
    return body


def _leave_out(ask: Ask, param: str) -> None:
    if not ask.drop_params:
        message = "has no place in a chat; leave it out, or allow that with drop_params: true"
        raise unsupported(param, message)


def _output(ask: Ask, given: dict[str, Any], body: dict[str, Any]) -> None:
    """`thinking` and `output_config`: how hard to think, and in what form to answer."""
    config = dict(_object(given.pop("output_config", {}), "output_config"))
    effort = config.pop("effort", None)
    if (asked := _effort(_object(given.pop("thinking", {}), "thinking"), effort)) is not None:
        body["reasoning_effort"] = asked
    form = config.pop("format", None) or given.pop("output_format", None)
    if form is not None:
        form = _object(form, "output_config.format")
        if form.get("type") != "json_schema":
            raise invalid("output_config.format.type", "must be json_schema")
        schema = _object(form.get("schema"), "output_config.format.schema")
        named = {"name": "output", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    for name, value in config.items():
        if value is not None:
            _leave_out(ask, f"output_config.{name}")


def _effort(thinking: JsonObject, effort: Any) -> Any:
    match thinking.get("type"):
        case "disabled":
            return None
        case None:
            return effort
        case "adaptive":
            return effort or "medium"
        case "enabled":
            budget = thinking.get("budget_tokens")
            if not isinstance(budget, int):
                raise invalid("thinking.budget_tokens", "must be a number of tokens")
            return effort or next((word for most, word in BUDGETS if budget <= most), "high")
        case kind:
            raise invalid("thinking.type", f"{kind!r} is not one that can be translated")


def _tools(ask: Ask, tools: Any) -> list[dict[str, Any]]:
    found = []
    for i, entry in enumerate(_list(tools or [], "tools")):
        tool = _object(entry, f"tools[{i}]")
        if tool.get("type") in (None, "custom"):
            found.append(_tool(ask, tool, f"tools[{i}]"))
        else:
            _leave_out(ask, f"tools[{i}].type")
    return found


def _tool(ask: Ask, tool: JsonObject, where: str) -> dict[str, Any]:
    for name, value in tool.items():
        known = name in TOOL_MEMBERS or value is None or value in TOOL_DEFAULTS.get(name, ())
        if not known:
            _leave_out(ask, f"{where}.{name}")
    function = {
        "name": _string(tool, "name", where),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
        "strict": tool.get("strict"),
    }
    said = {name: value for name, value in function.items() if value is not None}
    return {"type": "function", "function": said, **_mark(tool)}


def _tool_choice(choice: Any, body: dict[str, Any]) -> None:
    """OpenAI takes no choice where there are no tools, not even one that says nothing."""
    said: Any
    match choice:
        case None:
            return
        case {"type": "auto" | "none" as said}:
            said = said if "tools" in body else None
        case {"type": "any"}:
            said = "required"
        case {"type": "tool", "name": str(name)}:
            said = {"type": "function", "function": {"name": name}}
        case _:
            raise invalid("tool_choice", "must be auto, any, none or a tool's name")
    if said is not None:
        body["tool_choice"] = said
    if choice.get("disable_parallel_tool_use") is True and "tools" in body:
        body["parallel_tool_calls"] = False


def _messages(given: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for i, entry in enumerate(_list(given, "messages")):
        turn, where = _object(entry, f"messages[{i}]"), f"messages[{i}].content"
        match turn.get("role"):
            case "user":
                messages += _user(turn.get("content"), where)
            case "assistant":
                messages.append(_assistant(turn.get("content"), where))
            case "system":
                messages += _system(turn.get("content"), where)
            case role:
                raise _other(f"messages[{i}].role", role)
    return messages


def _system(content: Any, where: str) -> list[dict[str, Any]]:
    parts = [_text(block, place) for block, place in _blocks(content, where)]
    return [{"role": "system", "content": _content(parts)}] if parts else []


def _user(content: Any, where: str) -> list[dict[str, Any]]:
    """The results of tools are messages of their own, before what else the user says."""
    messages, parts = [], []
    for block, place in _blocks(content, where):
        if block.get("type") == "tool_result":
            messages.append(_tool_result(block, place))
        else:
            parts.append(_part(block, place))
    if parts or not messages:
        messages.append({"role": "user", "content": _content(parts)})
    return messages


def _tool_result(block: JsonObject, where: str) -> dict[str, Any]:
    parts = [_part(*found) for found in _blocks(block.get("content"), f"{where}.content")]
    failed = {"is_error": True} if block.get("is_error") is True else {}
    call, _ = unpack_id(_string(block, "tool_use_id", where))
    return {
        "role": "tool",
        "tool_call_id": call,
        "content": _content(parts),
        **failed,
        **_mark(block),
    }


def _assistant(content: Any, where: str) -> dict[str, Any]:
    parts, calls, thoughts = [], [], []
    for block, place in _blocks(content, where):
        match block.get("type"):
            case "text":
                parts.append(_text(block, place))
            case "tool_use":
                calls.append(_tool_call(block, place))
            case "thinking" | "redacted_thinking":
                thoughts.append(_thought(block, place))
            case kind:
                raise _other(f"{place}.type", kind)
    said: dict[str, Any] = {"role": "assistant", "content": _content(parts)}
    if words := "".join(thought.get("thinking", "") for thought in thoughts):
        said["reasoning_content"] = words
    if thoughts:
        said["thinking_blocks"] = thoughts
    if calls:
        said["content"] = said["content"] or None
        said["tool_calls"] = calls
    return said


def _tool_call(block: JsonObject, where: str) -> dict[str, Any]:
    call, extra = unpack_id(_string(block, "id", where))
    arguments = orjson.dumps(_object(block.get("input"), f"{where}.input")).decode()
    return {
        "id": call,
        "type": "function",
        "function": {"name": _string(block, "name", where), "arguments": arguments},
        **({"extra_content": extra} if extra else {}),
        **_mark(block),
    }


def _thought(block: JsonObject, where: str) -> dict[str, Any]:
    if block["type"] == "redacted_thinking":
        return {"type": "redacted_thinking", "data": _string(block, "data", where)}
    signature = {"signature": block["signature"]} if block.get("signature") else {}
    return {"type": "thinking", "thinking": _string(block, "thinking", where), **signature}


def _blocks(content: Any, where: str) -> list[tuple[JsonObject, str]]:
    """Content blocks, each with its place; plain text is one."""
    if isinstance(content, str):
        return [({"type": "text", "text": content}, where)] if content else []
    entries = enumerate(_list(content or [], where))
    return [(_object(entry, f"{where}[{i}]"), f"{where}[{i}]") for i, entry in entries]


def _content(parts: list[dict[str, Any]]) -> Any:
    """Parts, or plain text where they are no more: every provider takes that."""
    if not parts:
        return ""
    plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return parts[0]["text"] if plain else parts


def _part(block: JsonObject, where: str) -> dict[str, Any]:
    match block.get("type"):
        case "text":
            return _text(block, where)
        case "image":
            return _image(_object(block.get("source"), f"{where}.source"), where) | _mark(block)
        case "document":
            return _document(block, where) | _mark(block)
        case kind:
            raise _other(f"{where}.type", kind)


def _text(block: JsonObject, where: str) -> dict[str, Any]:
    if block.get("type") != "text":
        raise _other(f"{where}.type", block.get("type"))
    return {"type": "text", "text": _string(block, "text", where), **_mark(block)}


def _image(source: JsonObject, where: str) -> dict[str, Any]:
    if source.get("type") == "file":
        return _file({"file_id": _string(source, "file_id", f"{where}.source")})
    return {"type": "image_url", "image_url": {"url": _url(source, f"{where}.source", "image/png")}}


def _document(block: JsonObject, where: str) -> dict[str, Any]:
    citations = block.get("citations") or {}
    if block.get("context") or _object(citations, f"{where}.citations").get("enabled"):
        name = "context" if block.get("context") else "citations"
        raise unsupported(f"{where}.{name}", "has no place in a chat")
    source, place = _object(block.get("source"), f"{where}.source"), f"{where}.source"
    title = {"filename": block["title"]} if block.get("title") else {}
    if source.get("type") == "file":
        return _file({"file_id": _string(source, "file_id", place), **title})
    if source.get("type") == "text":
        data = base64.b64encode(_string(source, "data", place).encode()).decode()
        return _file({"file_data": f"data:text/plain;base64,{data}", **title})
    return _file({"file_data": _url(source, place, "application/pdf"), **title})


def _file(file: dict[str, Any]) -> dict[str, Any]:
    return {"type": "file", "file": file}


def _url(source: JsonObject, where: str, fallback: str) -> str:
    match source.get("type"):
        case "base64":
            mime = source.get("media_type") or fallback
            return f"data:{mime};base64,{_string(source, 'data', where)}"
        case "url":
            return _string(source, "url", where)
        case kind:
            raise _other(f"{where}.type", kind)


def _mark(holder: JsonObject) -> dict[str, Any]:
    cache = holder.get("cache_control")
    return {"cache_control": cache} if cache else {}


def _other(where: str, kind: Any) -> UpstreamFailure:
    return invalid(where, f"{kind!r} is not one that can be translated")


def _object(value: Any, where: str) -> JsonObject:
    if not isinstance(value, dict):
        raise invalid(where, "must be an object")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(where, "must be a list")
    return value


def _string(holder: JsonObject, name: str, where: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where}.{name}", "must be a string")
    return value
