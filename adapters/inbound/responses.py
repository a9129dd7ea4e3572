"""OpenAI's Responses API, for targets that only chat.

Nothing is kept here: whatever needs an earlier Response, a conversation or a run in the
background is refused by name, and `store` left out means false. What must come back in a tool
loop (Anthropic's and Gemini's signatures) travels with the client: in the `encrypted_content` of
reasoning items, if `include` asks for it, and in the `extra_content` of function calls.
Members that are no business of this module are left to chat under the name they have.
Source: OpenAI's API reference, "Create a model response".
"""

from typing import Any

import orjson

from adapters.base import Ask, Endpoint, JsonObject
from adapters.fields import invalid, unsupported
from adapters.inbound.base import StreamShaper
from adapters.inbound.responses_stream import (
    ENCRYPTED,
    LOGPROBS,
    Assembly,
    ResponsesShaper,
    unseal,
)
from adapters.inbound.tidy import tidy_completion

_STATEFUL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "max_tool_calls": (),
    "n": (1,),
    "previous_response_id": (),
    "prompt": (),
    "store": (False,),
    "truncation": ("disabled",),
}
"""Members that a single chat can't stand for, with the values that ask for nothing."""

_TRANSLATED = frozenset(
    {"include", "input", "instructions", "max_output_tokens", "reasoning", "stream_options", "text"}
    | {"tool_choice", "tools", "top_logprobs"}
    | _STATEFUL.keys()
)

_SHOWN = frozenset({"summary", "generate_summary"})
_PLAIN = {"context": "auto", "mode": "standard"}
"""Of `reasoning`: what only says how thought is shown, and values that ask for nothing."""

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})

_HINTS = ("cache_control", "prompt_cache_breakpoint")
"""Members of a part that say what to keep in a provider's cache."""


class Responses:
    """The bridge; see `adapters.inbound.base.Bridge`."""

    def chat(self, ask: Ask) -> Ask:
        body = _body(ask.body)
        if ask.stream:
            body["stream_options"] = {"include_usage": True}
        is_limited = "max_completion_tokens" in body
        defaults = {
            name: value
            for name, value in ask.defaults.items()
            if name not in body and not (is_limited and name in _LIMITS)
        }
        return ask._replace(
            endpoint=Endpoint.CHAT,
            raw=orjson.dumps(body),
            body=body,
            wants_usage=ask.stream,
            defaults=defaults,
        )

    def reply(self, ask: Ask, body: bytes) -> bytes:
        chat = tidy_completion(body)
        assembly = Assembly(ask)
        assembly.take({**chat, "choices": [_as_delta(chat["choices"][0])]})
        assembly.end()
        return orjson.dumps(assembly.response)

    def stream(self, ask: Ask) -> StreamShaper:
        return ResponsesShaper(ask)


def _as_delta(choice: JsonObject) -> dict[str, Any]:
    """A whole choice as a stream's only one: with the numbers that a stream gives."""
    delta = dict(choice["message"])
    for name in ("tool_calls", "thinking_blocks"):
        delta[name] = [{**entry, "index": i} for i, entry in enumerate(delta.get(name) or ())]
    return {**choice, "index": 0, "delta": delta}


# The request.


def _body(given: JsonObject) -> dict[str, Any]:
    for name, nothing in _STATEFUL.items():
        value = given.get(name)
        if value is not None and value not in nothing:
            raise unsupported(name, "asks for more than a model that only chats can do")
    body = {k: v for k, v in given.items() if v is not None and k not in _TRANSLATED}
    body["messages"] = _messages(given)
    if (limit := given.get("max_output_tokens")) is not None:
        body["max_completion_tokens"] = limit
    _logprobs(given, body)
    _reasoning(_object(given, "reasoning"), body)
    _text(_object(given, "text"), body)
    if tools := given.get("tools"):
        body["tools"] = [_tool(tool, f"tools[{i}]") for i, tool in _entries(tools, "tools")]
    if (choice := given.get("tool_choice")) is not None:
        body["tool_choice"] = _tool_choice(choice)
    return body


def _logprobs(given: JsonObject, body: dict[str, Any]) -> None:
    for i, name in _entries(given.get("include") or [], "include"):
        if name not in (ENCRYPTED, LOGPROBS):
            raise unsupported(f"include[{i}]", f"{name!r} is nothing that a chat can give")
        if name == LOGPROBS:
            body["logprobs"] = True
            if top := given.get("top_logprobs"):
                body["top_logprobs"] = top


def _reasoning(given: JsonObject, body: dict[str, Any]) -> None:
    """How hard to think. How much of it is shown, `summary`, is the upstream's to say."""
    for name, value in given.items():
        if name == "effort" and value is not None:
            body["reasoning_effort"] = value
        elif value is not None and name not in _SHOWN and value != _PLAIN.get(name):
            raise unsupported(f"reasoning.{name}", "is nothing that a chat can be told")


def _text(given: JsonObject, body: dict[str, Any]) -> None:
    for name, value in given.items():
        if name == "verbosity" and value is not None:
            body["verbosity"] = value
        elif name == "format":
            _format(value, body)
        elif value is not None:
            raise unsupported(f"text.{name}", "is nothing that a chat can be told")


def _format(given: Any, body: dict[str, Any]) -> None:
    match given:
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            body["response_format"] = {"type": "json_object"}
        case {"type": "json_schema"}:
            schema = {k: v for k, v in given.items() if k != "type" and v is not None}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        case {"type": kind}:
            raise unsupported("text.format.type", f"{kind!r} is no format of a chat's answer")
        case _:
            raise invalid("text.format", "must be an object with a type")


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise invalid(where, "must be an object")
    kind = tool.get("type")
    if kind != "function":
        raise unsupported(f"{where}.type", f"{kind!r} is a tool that a chat does not have")
    _string(tool, "name", where)
    function: dict[str, Any] = {}
    beside: dict[str, Any] = {"type": "function", "function": function}
    for name, value in tool.items():
        if name in ("name", "description", "parameters", "strict"):
            if value is not None:
                function[name] = value
        elif name == "cache_control":
            beside[name] = value
        elif name != "type" and value not in (None, False):
            raise unsupported(f"{where}.{name}", "is nothing that a chat can be told")
    return beside


def _tool_choice(choice: Any) -> Any:
    match choice:
        case "auto" | "none" | "required":
            return choice
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": mode, "tools": list(tools)}:
            named = [_allowed(tool, f"tool_choice.tools[{i}]") for i, tool in enumerate(tools)]
            return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        case {"type": str(kind)} if kind not in ("function", "allowed_tools"):
            raise unsupported("tool_choice.type", f"{kind!r} is a tool that a chat does not have")
        case _:
            raise invalid("tool_choice", "must be auto, none, required or name functions")


def _allowed(tool: Any, where: str) -> dict[str, Any]:
    match tool:
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case {"type": str(kind)} if kind != "function":
            raise unsupported(f"{where}.type", f"{kind!r} is a tool that a chat does not have")
        case _:
            raise invalid(where, "must be a function with a name")


# The conversation.


def _messages(given: JsonObject) -> list[dict[str, Any]]:
    reader = _Reader()
    instructions = given.get("instructions")
    if instructions is not None:
        if not isinstance(instructions, str):
            raise invalid("instructions", "must be a string")
        reader.messages.append({"role": "system", "content": instructions})
    items = given.get("input")
    if isinstance(items, str):
        reader.messages.append({"role": "user", "content": items})
    else:
        for i, item in _entries(items, "input"):
            reader.take(item, f"input[{i}]")
    reader.close()
    return reader.messages


class _Reader:
    """Input items -> messages. What the assistant thought, said and called in a row becomes one
    message, as chat has it: an answer to a call may only follow the message that called."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None  # the assistant's message that is still read
        self._thoughts: list[str] = []  # these two wait for the message they led to
        self._blocks: list[dict[str, Any]] = []
        self._extras: dict[str, Any] = {}  # from envelopes, by call id

    def take(self, item: Any, where: str) -> None:
        if not isinstance(item, dict):
            raise invalid(where, "must be an object")
        match item.get("type") or ("message" if "role" in item else "item_reference"):
            case "message":
                self._message(item, where)
            case "function_call":
                self._call(item, where)
            case "function_call_output":
                self._result(item, where)
            case "reasoning":
                self._reasoning(item)
            case "item_reference":
                raise unsupported(where, "is an item_reference, and no items are kept here")
            case kind:
                raise unsupported(f"{where}.type", f"{kind!r} is an item that a chat can't hold")

    def close(self) -> None:
        """At the end of the input: hands signatures to the calls they belong to."""
        self._end_turn()
        for message in self.messages:
            for call in message.get("tool_calls", ()):
                if call["id"] in self._extras:
                    call.setdefault("extra_content", self._extras[call["id"]])

    def _message(self, item: JsonObject, where: str) -> None:
        role = item.get("role")
        if role not in ("user", "assistant", "system", "developer"):
            raise invalid(f"{where}.role", "must be user, assistant, system or developer")
        content = _content(item.get("content"), f"{where}.content")
        if role != "assistant":
            self._end_turn()
            self.messages.append({"role": role, "content": content})
            return
        if self._turn and self._turn["content"] is not None and "tool_calls" not in self._turn:
            self._turn = None  # words after words are a message of their own
        turn = self._assistant()
        said = turn["content"]
        turn["content"] = content if said is None else _as_parts(said) + _as_parts(content)
        if isinstance(item.get("extra_content"), dict):
            turn["extra_content"] = item["extra_content"]

    def _call(self, item: JsonObject, where: str) -> None:
        call: dict[str, Any] = {
            "id": _string(item, "call_id", where),
            "type": "function",
            "function": {
                "name": _string(item, "name", where),
                "arguments": _string(item, "arguments", where),
            },
        }
        if isinstance(item.get("extra_content"), dict):
            call["extra_content"] = item["extra_content"]
        self._assistant().setdefault("tool_calls", []).append(call)

    def _result(self, item: JsonObject, where: str) -> None:
        self._end_turn()
        message = {
            "role": "tool",
            "tool_call_id": _string(item, "call_id", where),
            "content": _content(item.get("output"), f"{where}.output"),
        }
        self.messages.append(message)

    def _reasoning(self, item: JsonObject) -> None:
        """Thought that another provider encrypted can't be read here: its summary can."""
        for member in ("summary", "content"):
            parts = item.get(member) or ()
            texts = [part.get("text") for part in parts if isinstance(part, dict)]
            if words := [text for text in texts if isinstance(text, str) and text]:
                self._thoughts += words
                break
        if envelope := unseal(item.get("encrypted_content")):
            self._blocks += envelope.blocks
            self._extras |= envelope.extras

    def _assistant(self) -> dict[str, Any]:
        """The assistant's message that goes on, or begins, here."""
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self.messages.append(self._turn)
        self._hand_over(self._turn)
        return self._turn

    def _end_turn(self) -> None:
        """Thought that led to nothing belongs to what the assistant did before it, if anything."""
        if self._turn is not None:
            self._hand_over(self._turn)
        self._turn = None
        self._thoughts.clear()
        self._blocks.clear()

    def _hand_over(self, turn: dict[str, Any]) -> None:
        if self._thoughts:
            before = [turn["reasoning_content"]] if "reasoning_content" in turn else []
            turn["reasoning_content"] = "\n\n".join(before + self._thoughts)
            self._thoughts.clear()
        if self._blocks:
            turn.setdefault("thinking_blocks", []).extend(self._blocks)
            self._blocks.clear()


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    """A message's content; a single part of text becomes a string, which every upstream takes."""
    if isinstance(content, str):
        return content
    parts = [_part(part, f"{where}[{i}]") for i, part in _entries(content, where)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return str(parts[0]["text"])
    return parts


def _as_parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: Any, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise invalid(where, "must be an object")
    hints = {name: part[name] for name in _HINTS if part.get(name) is not None}
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": _string(part, "text", where), **hints}
        case "refusal":
            return {"type": "refusal", "refusal": _string(part, "refusal", where)}
        case "input_image":
            return {"type": "image_url", "image_url": _image(part, where), **hints}
        case "input_file":
            return {"type": "file", "file": _file(part, where), **hints}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio"), **hints}
        case kind:
            raise unsupported(f"{where}.type", f"{kind!r} is a part that a chat can't hold")


def _image(part: JsonObject, where: str) -> dict[str, Any]:
    if part.get("file_id") is not None:
        raise unsupported(f"{where}.file_id", "names an uploaded image: a chat takes a URL")
    detail = {} if part.get("detail") is None else {"detail": part["detail"]}
    return {"url": _string(part, "image_url", where), **detail}


def _file(part: JsonObject, where: str) -> dict[str, Any]:
    """A URL goes where the data would: dialects that take files by URL look for it there."""
    file = {k: part[k] for k in ("file_id", "file_data", "filename") if part.get(k) is not None}
    if part.get("file_url") is not None:
        file["file_data"] = _string(part, "file_url", where)
    if not file.keys() & {"file_id", "file_data"}:
        raise invalid(where, "must have file_data, file_id or file_url")
    return file


def _entries(given: Any, where: str) -> "enumerate[Any]":
    if not isinstance(given, list):
        raise invalid(where, "must be a list")
    return enumerate(given)


def _object(holder: JsonObject, name: str) -> JsonObject:
    value = holder.get(name)
    if value is not None and not isinstance(value, dict):
        raise invalid(name, "must be an object")
    return value or {}


def _string(holder: JsonObject, name: str, where: str) -> str:
    value = holder.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where}.{name}", "must be a string")
    return value
