"""Legacy completions, for dialects that only chat: the prompt is what the user says."""

from typing import Any

import orjson

from adapters.base import Ask, Endpoint
from adapters.completion import DONE
from adapters.fields import invalid, unsupported
from adapters.inbound.base import StreamShaper
from adapters.inbound.tidy import tidy_chunk, tidy_completion
from adapters.sse import Decoder, event

_LACKING = {"echo": False, "suffix": None, "logprobs": None, "best_of": 1}
"""Members that chat has no word for, with the values that ask for nothing."""


class Completions:
    """The bridge; see `adapters.inbound.base.Bridge`."""

    def chat(self, ask: Ask) -> Ask:
        body = dict(ask.body)
        for name, nothing in _LACKING.items():
            value = body.pop(name, None)
            if value is not None and value != nothing:
                raise unsupported(name, "can't be said to a model that only chats")
        body["messages"] = [{"role": "user", "content": _prompt(body.pop("prompt", None))}]
        return ask._replace(endpoint=Endpoint.CHAT, raw=orjson.dumps(body), body=body)

    def reply(self, ask: Ask, body: bytes) -> bytes:
        chat = tidy_completion(body)
        chat["id"] = _id(chat.get("id"))
        chat["object"] = "text_completion"
        chat["choices"] = [_choice(c, c["message"].get("content")) for c in chat["choices"]]
        return orjson.dumps(chat)

    def stream(self, ask: Ask) -> StreamShaper:
        return CompletionsShaper()


class CompletionsShaper:
    """Chat chunks -> text completion chunks."""

    def __init__(self) -> None:
        self._events = Decoder()

    def feed(self, data: bytes) -> bytes:
        return b"".join(map(self._shape, self._events.feed(data)))

    def _shape(self, payload: bytes) -> bytes:
        if payload == b"[DONE]":
            return DONE
        found = tidy_chunk(payload)
        if found is None:
            return b""
        chunk = {**found, "id": _id(found.get("id")), "object": "text_completion"}
        choices = found["choices"]
        kept = [
            _choice(choice, choice["delta"].get("content"))
            for choice in choices
            if choice["delta"].get("content") or choice["finish_reason"]
        ]
        if choices and not kept:
            return b""  # a role, a thought
        chunk["choices"] = kept
        return event(orjson.dumps(chunk))


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise invalid("prompt", "must be one string for a model that only chats")
    return prompt


def _id(chat: Any) -> str:
    return "cmpl-" + str(chat).removeprefix("chatcmpl-")


def _choice(choice: dict[str, Any], text: Any) -> dict[str, Any]:
    return {
        "index": choice["index"],
        "text": text or "",
        "logprobs": None,
        "finish_reason": _FINISHES.get(str(choice["finish_reason"]), choice["finish_reason"]),
    }


_FINISHES = {"tool_calls": "stop", "function_call": "stop"}
"""A completion's type has only stop, length and content_filter."""
