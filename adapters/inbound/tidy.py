"""A chat's answer, held to its shape before another is made of it.

An upstream of OpenAI's dialect is passed through, so odd members of its answers reach a bridge.
What is not of the type that OpenAI's API gives it is left out here, once, instead of being
guarded against wherever it is read.
"""

from typing import Any

from adapters.base import JsonObject, UpstreamFailure
from adapters.completion import parse_object
from adapters.failures import invalid_reply
from adapters.jsonedit import loads

_WORDS = ("content", "reasoning_content", "reasoning", "refusal")
_THOUGHT = ("type", "thinking", "signature", "data")


def tidy_chunk(payload: bytes) -> JsonObject | None:
    """A stream's chunk; None when the event is none."""
    try:
        chunk = loads(payload)
    except ValueError:
        return None
    if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
        return None
    choices = [_choice(entry, "delta") for entry in chunk["choices"] if isinstance(entry, dict)]
    return _frame(chunk) | {"choices": choices}


def tidy_completion(body: bytes) -> dict[str, Any]:
    """A whole answer. Raises `UpstreamFailure` when it has no choice with a message."""
    chat = parse_object(body)
    entries = chat.get("choices")
    entries = entries if isinstance(entries, list) else []
    choices = [
        _choice(entry, "message")
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("message"), dict)
    ]
    if not choices:
        raise UpstreamFailure(invalid_reply("the answer has no choice with a message"))
    return _frame(chat) | {"choices": choices}


def _frame(chat: JsonObject) -> dict[str, Any]:
    kinds: dict[str, type] = {"id": str, "model": str, "service_tier": str, "usage": dict}
    kept = {n: chat[n] for n, kind in kinds.items() if isinstance(chat.get(n), kind)}
    if type(chat.get("created")) is int:
        kept["created"] = chat["created"]
    return kept


def _choice(choice: JsonObject, holder: str) -> dict[str, Any]:
    said = choice.get(holder)
    finish = choice.get("finish_reason")
    return {
        "index": _index(choice, 0),
        holder: _message(said if isinstance(said, dict) else {}),
        "finish_reason": finish if isinstance(finish, str) else None,
        "logprobs": _logprobs(choice.get("logprobs")),
    }


def _message(said: JsonObject) -> dict[str, Any]:
    kept = {name: said[name] for name in _WORDS if isinstance(said.get(name), str)}
    if isinstance(said.get("extra_content"), dict):
        kept["extra_content"] = said["extra_content"]
    if blocks := [_thought(block) for block in _objects(said.get("thinking_blocks"))]:
        kept["thinking_blocks"] = [block for block in blocks if "type" in block]
    if calls := [_call(call, i) for i, call in enumerate(_objects(said.get("tool_calls")))]:
        kept["tool_calls"] = calls
    return kept


def _thought(block: JsonObject) -> dict[str, Any]:
    kept = {name: block[name] for name in _THOUGHT if isinstance(block.get(name), str)}
    if type(block.get("index")) is int:
        kept["index"] = block["index"]
    if kept.get("type") == "redacted_thinking" and "data" not in kept:
        del kept["type"]
    return kept


def _call(call: JsonObject, number: int) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    kept: dict[str, Any] = {"index": _index(call, number if "id" in call else 0)}
    if isinstance(call.get("id"), str):
        kept["id"] = call["id"]
    if isinstance(call.get("extra_content"), dict):
        kept["extra_content"] = call["extra_content"]
    name, arguments = function.get("name"), function.get("arguments")
    kept["function"] = ({"name": name} if isinstance(name, str) else {}) | (
        {"arguments": arguments} if isinstance(arguments, str | dict) else {}
    )
    return kept


def _index(holder: JsonObject, otherwise: int) -> int:
    index = holder.get("index")
    return index if type(index) is int and 0 <= index < 1024 else otherwise


def _logprobs(logprobs: Any) -> dict[str, Any] | None:
    if not isinstance(logprobs, dict) or not isinstance(logprobs.get("content"), list):
        return None
    return {"content": [_token(t) for t in logprobs["content"] if _is_token(t)]}


def _is_token(token: Any) -> bool:
    return (
        isinstance(token, dict)
        and isinstance(token.get("token"), str)
        and type(token.get("logprob")) in (int, float)
    )


def _token(token: JsonObject) -> dict[str, Any]:
    given = token.get("bytes")
    is_bytes = isinstance(given, list) and all(type(b) is int and 0 <= b < 256 for b in given)
    top = [_token(entry) for entry in _objects(token.get("top_logprobs")) if _is_token(entry)]
    return {
        "token": token["token"],
        "logprob": token["logprob"],
        "bytes": given if is_bytes else None,
        "top_logprobs": top,
    }


def _objects(value: Any) -> list[Any]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
