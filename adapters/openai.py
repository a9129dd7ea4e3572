"""The OpenAI dialect, on all of its endpoints.

OpenAI to OpenAI is a passage, not a translation: request bytes go out as they came save for the
members that must change, and stream events come back as they were sent. Each event is parsed
once (about a microsecond), because only so can a malformed one be told, an end from a death, and
usage from content; what is parsed is not written again.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from adapters import jsonedit, multipart
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
)
from adapters.completion import parse_object
from adapters.estimate import text_size
from adapters.failures import classify, invalid_reply, retry_after
from adapters.fields import HINTS, is_default, refusal
from adapters.headers import headers_for
from adapters.openai_shape import (
    error_of,
    flatten_content,
    normalise_finish,
    read_complaint,
    read_usage,
)
from adapters.openai_stream import OpenAIStream, TypedStream, read_typed_usage

ENDPOINTS = frozenset(Endpoint) - {Endpoint.MESSAGES, Endpoint.COUNT_TOKENS}

_CHAT_LIKE = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})

_LISTS = {
    Endpoint.CHAT: "choices",
    Endpoint.COMPLETIONS: "choices",
    Endpoint.EMBEDDINGS: "data",
    Endpoint.IMAGES: "data",
    Endpoint.MODERATIONS: "results",
    Endpoint.RESPONSES: "output",
}
"""The member of a whole answer that has to be a list."""

_TEXT_FORMATS = frozenset({"text", "srt", "vtt"})
"""Formats of a transcription that are no JSON."""


class OpenAI:
    """The adapter; see `adapters.base.Adapter`."""

    endpoints = ENDPOINTS

    def request(self, ask: Ask, target: Target) -> Outgoing:
        headers = headers_for(ask, target)
        url = _url(ask, target)
        if ask.content_type != "application/json":
            headers["content-type"] = ask.content_type
            return Outgoing(url, headers, _form(ask, target))
        put: dict[str, bytes] = {}
        drop = set(ask.drop)
        if ask.body.get("model") != target.model:
            put["model"] = orjson.dumps(target.model)
        for name, value in _defaults(ask).items():
            put[name] = orjson.dumps(value)
        if ask.stream and ask.endpoint in _CHAT_LIKE:
            _ask_for_usage(ask, target, put, drop)
        dropped = _heed_quirks(ask, target, put, drop)
        body = jsonedit.edit(ask.raw, ask.body.keys(), put, drop) if put or drop else ask.raw
        return Outgoing(url, headers, body, dropped)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        endpoint = ask.endpoint
        if endpoint is Endpoint.TRANSCRIPTIONS and ask.body.get("response_format") in _TEXT_FORMATS:
            return Reply(body, None, len(body), "text/plain; charset=utf-8")
        parsed = parse_object(body)
        member = _LISTS.get(endpoint)
        if member is None or not isinstance(parsed.get(member), list):
            if parsed.get("error"):
                raise UpstreamFailure(error_of(parsed))
            if member is not None:
                raise UpstreamFailure(invalid_reply(f"the answer has no list of {member}"))
        if endpoint not in _CHAT_LIKE:
            return Reply(body, _other_usage(endpoint, parsed), text_size(parsed.get("text")))
        usage = read_usage(parsed.get("usage"))
        changed = False
        for choice in parsed["choices"]:
            if not isinstance(choice, dict):
                raise UpstreamFailure(invalid_reply("a choice of the answer is not an object"))
            changed |= _complete_choice(endpoint, choice)
        text = 0 if usage else sum(map(_text_of, parsed["choices"]))
        return Reply(orjson.dumps(parsed) if changed else body, usage, text)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return classify(status, read_complaint(body), retry_after(headers))

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        return OpenAIStream(ask, cost) if ask.endpoint in _CHAT_LIKE else TypedStream()


def _url(ask: Ask, target: Target) -> str:
    """Azure's older API names the model in the path and its version in the query."""
    if target.api_version is None:
        return target.base_url + ask.endpoint
    deployment = f"/openai/deployments/{quote(target.model, safe='')}"
    return f"{target.base_url}{deployment}{ask.endpoint}?api-version={quote(target.api_version)}"


def _defaults(ask: Ask) -> JsonObject:
    """A task's parameters; the Responses API has its own names for a few of chat's."""
    if ask.endpoint is not Endpoint.RESPONSES:
        return ask.defaults
    return {
        _RESPONSES_NAMES[name]: value
        for name, value in ask.defaults.items()
        if name in _RESPONSES_NAMES
    }


_RESPONSES_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}


def _form(ask: Ask, target: Target) -> bytes:
    boundary = multipart.boundary_of(ask.content_type)
    if boundary is None or ask.body.get("model") == target.model:
        return ask.raw
    return multipart.replace_field(ask.raw, boundary, "model", target.model)


def _ask_for_usage(ask: Ask, target: Target, put: dict[str, bytes], drop: set[str]) -> None:
    """Usage is always wanted upstream; the client sees it only when it asked too."""
    if not target.takes_stream_options:
        drop.add("stream_options")
    elif not ask.wants_usage:
        options = ask.body.get("stream_options") or {}
        put["stream_options"] = orjson.dumps({**options, "include_usage": True})


def _heed_quirks(
    ask: Ask, target: Target, put: dict[str, bytes], drop: set[str]
) -> tuple[str, ...]:
    """A vendor's own names for members, and those that it has not; what is left out for it."""
    quirks = target.quirks
    if quirks.unread and _mentions(ask.raw, quirks.unread):
        for member in ask.body.keys() & {"messages", "tools"}:
            put[member] = orjson.dumps(_without(ask.body[member], quirks.unread))
    for name, own in quirks.rename:
        value = ask.body.get(name, ask.defaults.get(name))
        if value is not None:
            drop.add(name)
            put.pop(name, None)
            put[own] = orjson.dumps(value)
    refused = tuple(
        name
        for name in ask.body.keys() & quirks.refuses
        if name not in drop | HINTS and not is_default(name, ask.body[name])
    )
    if refused and not (ask.drop_params or target.drop_params):
        raise UpstreamFailure(refusal(refused, target))
    drop.update(ask.body.keys() & quirks.refuses)
    return refused


def _mentions(raw: bytes, names: frozenset[str]) -> bool:
    return any(name.encode() in raw for name in names)


def _without(entries: Any, names: frozenset[str]) -> Any:
    """Messages or tools without some members: their own, their parts' and their tool calls'."""
    if isinstance(entries, list):
        return [_without(entry, names) for entry in entries]
    if not isinstance(entries, dict):
        return entries
    kept = {name: value for name, value in entries.items() if name not in names}
    for inner in kept.keys() & {"content", "tool_calls"}:
        kept[inner] = _without(kept[inner], names)
    return kept


def _complete_choice(endpoint: Endpoint, choice: dict[str, Any]) -> bool:
    """Adds what a strict client wants (null is fine); True when something was missing."""
    changed = False
    if "logprobs" not in choice:
        choice["logprobs"] = None
        changed = True
    message = choice.get("message")
    if endpoint is Endpoint.CHAT and isinstance(message, dict):
        changed |= flatten_content(message)
        if "refusal" not in message:
            message["refusal"] = None
            changed = True
    return normalise_finish(choice) or changed


def _text_of(choice: dict[str, Any]) -> int:
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {"text": choice.get("text")}
    return sum(text_size(value) for name, value in message.items() if name != "role")


def _other_usage(endpoint: Endpoint, parsed: dict[str, Any]) -> Usage | None:
    """The usage of what is no chat: OpenAI counts it in other words, images by the piece too."""
    given = parsed.get("usage")
    usage = read_typed_usage(given) or read_usage(given)
    if endpoint is Endpoint.MODERATIONS:
        return usage or Usage()
    if endpoint is Endpoint.IMAGES:
        return (usage or Usage())._replace(images=len(parsed["data"]))
    return usage
