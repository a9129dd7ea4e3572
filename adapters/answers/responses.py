"""OpenAI's Responses API: the Response, and the events that say the same.

Source: OpenAI's API reference, "Responses" and "Streaming events"; the types of its Python SDK.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from adapters.answers.base import NotWhole, named_event, objects, read_object, split, unbilled
from adapters.answers.fitness import Said, form_of, judge
from adapters.base import Ask, JsonObject, Usage
from adapters.completion import new_id
from adapters.openai_stream import read_typed_usage

_WORDS = frozenset({"message", "reasoning"})
"""Types of output items that are words or thought."""

_ENDS = frozenset({"error", "response.failed", "response.incomplete", "response.completed"})

_ECHOED: dict[str, Any] = {
    "metadata": {},
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
}
"""Members that say who asked, not what was answered; and what they are when nothing is said."""

Event = tuple[str, dict[str, Any]]
"""An event's type and its other members, all but its number."""


class Responses:
    """The shape; see `adapters.answers.base.Shape`."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        events = [read_object(payload) for payload in payloads]
        for event in events[:-1]:
            if event["type"] in _ENDS:
                raise NotWhole("an end before the last event")
        if events[-1]["type"] != "response.completed":
            raise NotWhole("no end, or another")
        return dict(events[-1]["response"])

    def usage(self, answer: JsonObject) -> Usage | None:
        return read_typed_usage(answer.get("usage"))

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None:
        if answer.get("error"):
            return "malformed"
        text = ask.body.get("text")
        return judge(
            [_said(answer)], form_of(text.get("format") if isinstance(text, dict) else None)
        )

    def text(self, answer: JsonObject) -> str:
        return _said(answer).text

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
        answer = orjson.loads(body)
        _renew(ask, answer, now)
        unbilled(answer)
        if not ask.stream:
            return (orjson.dumps(answer),)
        return tuple(
            named_event({"type": kind, **members, "sequence_number": number})
            for number, (kind, members) in enumerate(_events(answer))
        )


def _said(answer: JsonObject) -> Said:
    items = objects(answer["output"])
    messages = [item for item in items if item["type"] == "message"]
    parts = [part for item in messages for part in objects(item["content"])]
    texts = [part["text"] for part in parts if part["type"] == "output_text"]
    finish = answer.get("status")
    if finish == "incomplete":
        finish = (answer.get("incomplete_details") or {}).get("reason") or finish
    return Said(
        finish,
        "".join(texts),
        called=any(item["type"] not in _WORDS for item in items),
        refused=any(part["type"] == "refusal" for part in parts),
    )


def _renew(ask: Ask, answer: dict[str, Any], now: int) -> None:
    """Makes it an answer of now, to whom it is given. Encrypted thought is bound to its item's id:
    that stays."""
    answer["id"] = new_id("resp_")
    answer["created_at"] = now
    if answer.get("completed_at") is not None:
        answer["completed_at"] = now
    for name in answer.keys() & _ECHOED:
        said = None if name in ask.drop else ask.body.get(name)
        answer[name] = said or _ECHOED[name]
    for item in answer["output"]:
        old = item.get("id")
        if isinstance(old, str) and not item.get("encrypted_content"):
            kind, mark, _ = old.partition("_")
            item["id"] = new_id(f"{kind}_" if mark else "item_")


def _events(answer: JsonObject) -> Iterator[Event]:
    nothing: dict[str, Any] = {"status": "in_progress", "output": [], "usage": None}
    if "completed_at" in answer:
        nothing["completed_at"] = None
    begun = {"response": {**answer, **nothing}}
    yield "response.created", begun
    yield "response.in_progress", begun
    for index, item in enumerate(answer["output"]):
        yield "response.output_item.added", {"output_index": index, "item": _begun(item)}
        where = {"item_id": item.get("id") or "", "output_index": index}
        tell = _TELL.get(item["type"])
        if tell:
            yield from tell(item, where)
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": answer}


_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": [], "content": []},
    "function_call": {"arguments": ""},
}
"""Type of an item -> its members that events fill."""


def _begun(item: JsonObject) -> dict[str, Any]:
    """An item in which nothing has happened yet."""
    nothing: dict[str, Any] = {"status": "in_progress"} | _EMPTY.get(item["type"], {})
    begun = {name: nothing.get(name, v) if v is not None else v for name, v in item.items()}
    begun.pop("encrypted_content", None)
    return begun


def _message(item: JsonObject, where: JsonObject) -> Iterator[Event]:
    for index, part in enumerate(item["content"]):
        yield from _part(part, {**where, "content_index": index})


def _part(part: JsonObject, where: JsonObject) -> Iterator[Event]:
    nothing: dict[str, Any] = {"text": "", "refusal": "", "annotations": [], "logprobs": []}
    begun = {name: nothing.get(name, value) for name, value in part.items()}
    yield "response.content_part.added", {**where, "part": begun}
    match part:
        case {"type": "output_text", "text": str(text)}:
            yield from _text(part, text, where)
        case {"type": "refusal", "refusal": str(text)}:
            for piece in split(text):
                yield "response.refusal.delta", {**where, "delta": piece}
            yield "response.refusal.done", {**where, "refusal": text}
        case {"type": "reasoning_text", "text": str(text)}:
            for piece in split(text):
                yield "response.reasoning_text.delta", {**where, "delta": piece}
            yield "response.reasoning_text.done", {**where, "text": text}
    yield "response.content_part.done", {**where, "part": part}


def _text(part: JsonObject, text: str, where: JsonObject) -> Iterator[Event]:
    """The words; their tokens, where they are told, come with all of them at once."""
    tokens = part.get("logprobs") or []
    for piece in [text] if tokens else split(text):
        yield "response.output_text.delta", {**where, "delta": piece, "logprobs": tokens}
    for number, annotation in enumerate(part.get("annotations") or ()):
        place = {**where, "annotation_index": number}
        yield "response.output_text.annotation.added", {**place, "annotation": annotation}
    yield "response.output_text.done", {**where, "text": text, "logprobs": tokens}


def _reasoning(item: JsonObject, where: JsonObject) -> Iterator[Event]:
    for index, part in enumerate(item.get("summary") or ()):
        place, text = {**where, "summary_index": index}, part.get("text") or ""
        named = "response.reasoning_summary_"
        yield named + "part.added", {**place, "part": {**part, "text": ""}}
        for piece in split(text):
            yield named + "text.delta", {**place, "delta": piece}
        yield named + "text.done", {**place, "text": text}
        yield named + "part.done", {**place, "part": part}
    for index, part in enumerate(item.get("content") or ()):
        yield from _part(part, {**where, "content_index": index})


def _call(item: JsonObject, where: JsonObject) -> Iterator[Event]:
    named, text = "response.function_call_arguments.", item["arguments"]
    for piece in split(text):
        yield named + "delta", {**where, "delta": piece}
    yield named + "done", {**where, "name": item.get("name"), "arguments": text}


_TELL = {"message": _message, "reasoning": _reasoning, "function_call": _call}
"""Type of an item -> the events between its beginning and its end."""
