"""A request's body, read once and checked as far as Turnout itself needs it.

What a newer SDK sends that is not known here goes through untouched; a provider that does not
like it will say so itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from adapters import jsonedit, multipart
from adapters.base import Endpoint
from proxy.errors import InvalidRequest

GUARDED = ("model", "stream")
"""Members that Turnout decides by: given twice, another parser might take the other one."""

NAME_LIMIT = 512  # characters of a model's name: it goes into headers and the books

REFUSED = frozenset({"api_base", "api_key", "base_url"})
"""Members by which other gateways let a request choose where it is sent, and with which key."""


async def read(receive: Receive) -> bytes:
    """The whole body, whose size is the body-limit middleware's business.

    Raises `ClientDisconnect` when the client leaves before it is complete.
    """
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises `InvalidRequest` with code `invalid_json`."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    twice = jsonedit.repeated(raw, GUARDED)
    if twice is not None:
        message = f"the body has {twice!r} twice; leave one out"
        raise InvalidRequest(message, code="invalid_json", param=twice)
    return body


def parse_form(raw: bytes, content_type: str) -> dict[str, Any]:
    """The text fields of a form; a file is there by its absence from them. Raises
    `InvalidRequest`."""
    boundary = multipart.boundary_of(content_type)
    if boundary is None:
        message = "the body must be multipart/form-data, with its boundary in the content type"
        raise InvalidRequest(message, code="invalid_content_type")
    found = multipart.read_fields(raw, boundary)
    twice = multipart.repeated(raw, boundary, GUARDED)
    if twice is not None:
        message = f"the form has {twice!r} twice; leave one out"
        raise InvalidRequest(message, code="invalid_value", param=twice)
    return {name: value for name, value in found.items() if name not in _EVERYWHERE}


def model_of(endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """The name that is asked for; moderation has one that OpenAI's SDKs leave out."""
    name: str = body.get("model") or MODERATION_MODEL
    return name


MODERATION_MODEL = "omni-moderation-latest"


def check(endpoint: Endpoint, body: Mapping[str, Any]) -> None:
    """Raises `InvalidRequest` for a member of the wrong type or range, naming it."""
    rules, required = _RULES[endpoint] | _EVERYWHERE, _REQUIRED[endpoint]
    for name in required:
        if body.get(name) is None:
            raise InvalidRequest(f"{name!r} is missing", param=name)
    for name, value in body.items():
        if name in REFUSED:
            message = f"{name!r} may not be given in a request; providers are configured in Turnout"
            raise InvalidRequest(message, param=name, code="unknown_parameter")
        fault = rules[name](value) if name in rules and value is not None else None
        if fault:
            raise InvalidRequest(f"{name!r} {fault}", param=name)


Rule = Callable[[Any], str | None]
"""What is wrong with a value, in words; None when nothing is."""


def _string(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "must be a non-empty string"


def _name(value: Any) -> str | None:
    fault = _string(value)
    if fault is None and len(value) > NAME_LIMIT:
        fault = f"must have {NAME_LIMIT} characters at most"
    return fault


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> str | None:
    return None if _is_integer(value) and value >= 0 else "must be an integer, 0 or more"


def _choices(value: Any) -> str | None:
    return None if _is_integer(value) and 1 <= value <= 128 else "must be an integer from 1 to 128"


def _number(value: Any) -> str | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return None if known else "must be a number"


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _list(value: Any) -> str | None:
    return None if isinstance(value, list) else "must be a list"


def _stop(value: Any) -> str | None:
    known = isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    )
    return None if known else "must be a string or a list of strings"


def _messages(value: Any) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a non-empty list of messages"
    for index, message in enumerate(value):
        if not isinstance(message, dict):
            return f"must be a list of objects; entry {index} is not one"
        if not isinstance(message.get("role"), str):
            return f"must be messages with a role; entry {index} has none"
    return None


def _input(value: Any) -> str | None:
    known = isinstance(value, str | list) and len(value) > 0
    return None if known else "must be a non-empty string or list"


def _prompt(value: Any) -> str | None:
    return None if isinstance(value, str | list) else "must be a string or a list"


_COMMON: dict[str, Rule] = {
    "stream": _flag,
    "drop_params": _flag,
    "n": _choices,
    "max_tokens": _count,
    "temperature": _number,
    "top_p": _number,
    "stop": _stop,
    "seed": _number,
    "user": lambda value: None if isinstance(value, str) else "must be a string",
    "metadata": _object,
    "stream_options": _object,
}

_EVERYWHERE: dict[str, Rule] = {
    "metadata": _object,
    "stream_options": _object,
    "drop_params": _flag,
}
"""Members that Turnout itself reads, on whatever endpoint they come."""

_RULES: dict[Endpoint, dict[str, Rule]] = {
    Endpoint.CHAT: {
        "model": _name,
        "messages": _messages,
        "max_completion_tokens": _count,
        "tools": _list,
        **_COMMON,
    },
    Endpoint.COMPLETIONS: {"model": _name, "prompt": _prompt, **_COMMON},
    Endpoint.EMBEDDINGS: {
        "model": _name,
        "input": _input,
        "dimensions": _count,
        "user": _COMMON["user"],
        "metadata": _object,
    },
    Endpoint.RESPONSES: {
        "model": _name,
        "input": _prompt,
        "max_output_tokens": _count,
        "tools": _list,
        **_COMMON,
    },
    Endpoint.MESSAGES: {
        "model": _name,
        "messages": _messages,
        "max_tokens": _count,
        "tools": _list,
        "temperature": _number,
        "top_p": _number,
        "stream": _flag,
        "metadata": _object,
    },
    Endpoint.COUNT_TOKENS: {"model": _name, "messages": _messages, "tools": _list},
    Endpoint.IMAGES: {"model": _name, "prompt": _string, "n": _choices, "stream": _flag},
    Endpoint.SPEECH: {"model": _name, "input": _string},
    Endpoint.TRANSCRIPTIONS: {"model": _name},
    Endpoint.MODERATIONS: {"model": _name, "input": _input},
}

_REQUIRED: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("model", "messages"),
    Endpoint.COMPLETIONS: ("model", "prompt"),
    Endpoint.EMBEDDINGS: ("model", "input"),
    Endpoint.RESPONSES: ("model",),
    Endpoint.MESSAGES: ("model", "messages", "max_tokens"),
    Endpoint.COUNT_TOKENS: ("model", "messages"),
    Endpoint.IMAGES: ("model", "prompt"),
    Endpoint.SPEECH: ("model", "input"),
    Endpoint.TRANSCRIPTIONS: ("model",),
    Endpoint.MODERATIONS: ("input",),
}
