"""Chat completions: the body, and the chunks that say the same."""

from collections.abc import Iterator
from typing import Any

import orjson

from adapters.answers.base import objects, split
from adapters.answers.chat_stream import HeldMessage
from adapters.answers.chunks import EVERY_CHUNK, Writer, gather, renewed
from adapters.answers.fitness import Said, count_asked, form_of, given, judge
from adapters.base import Ask, JsonObject, Usage
from adapters.openai_shape import read_usage

PREFIX = "chatcmpl-"

_WRITTEN = frozenset({"index", "message", "logprobs", "finish_reason"})

_THOUGHTS = ("reasoning_content", "reasoning")
_MEMBERS = frozenset(
    {"role", "content", "refusal", "thinking_blocks", "reasoning_details", "tool_calls", *_THOUGHTS}
)
"""Members of a message that have their own place in the order of its chunks."""


_PLAIN = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"}
)
_PLAIN_CHOICE = frozenset({"index", "message", "logprobs", "finish_reason"})
_PLAIN_MESSAGE = frozenset({"role", "content", "refusal", "annotations"})


def is_plain(answer: JsonObject) -> bool:
    """Whether an answer that is fit is words alone, in the frame that every chunk has: what is
    made of such a one is known without making it, a tenth of a request's CPU."""
    if not answer.keys() <= _PLAIN or len(answer["choices"]) != 1:
        return False
    choice = answer["choices"][0]
    message = choice["message"]
    frame = (answer.get("id"), answer.get("model"), message.get("role"), message.get("content"))
    return (
        choice.keys() <= _PLAIN_CHOICE
        and message.keys() <= _PLAIN_MESSAGE
        and all(isinstance(value, str) for value in frame)
        and isinstance(answer.get("created"), int)
        and isinstance(answer.get("usage", {}), dict)
        and isinstance(choice.get("finish_reason"), str)
        and not (choice.get("logprobs") or message.get("annotations") or message.get("refusal"))
        and all(isinstance(answer.get(name), str | None) for name in EVERY_CHUNK)
    )


class Chat:
    """The shape; see `adapters.answers.base.Shape`."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        return gather(payloads, "chat.completion", HeldMessage)

    def usage(self, answer: JsonObject) -> Usage | None:
        return read_usage(answer.get("usage"))

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None:
        said = _said(answer)
        if len(said) != count_asked(ask):
            return "malformed"
        return judge(said, form_of(given(ask, "response_format")))

    def text(self, answer: JsonObject) -> str:
        return _said(answer)[0].text

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
        answer = orjson.loads(body)
        if not ask.stream:
            return (renewed(answer, PREFIX, now),)
        writer = Writer(answer, PREFIX, "chat.completion.chunk", now)
        chunks: list[bytes] = []
        for choice in answer["choices"]:
            chunks += _chunks(writer, choice)
        return (*chunks, *writer.end(ask, answer))


def _said(answer: JsonObject) -> list[Said]:
    said = []
    for place, choice in enumerate(objects(answer["choices"])):
        message = choice["message"]
        if choice["index"] != place:
            raise ValueError("choices out of their order")
        text = message.get("content")
        if not isinstance(text, str | None):
            raise TypeError("content that is no text")
        said.append(
            Said(
                choice.get("finish_reason"),
                text or "",
                called=bool(message.get("tool_calls") or message.get("function_call")),
                refused=bool(message.get("refusal")),
                filtered=_is_filtered(choice.get("content_filter_results")),
            )
        )
    return said


def _is_filtered(results: Any) -> bool:
    """Azure's own say on each kind of content."""
    if not isinstance(results, dict):
        return False
    return any(isinstance(one, dict) and bool(one.get("filtered")) for one in results.values())


def _chunks(writer: Writer, choice: JsonObject) -> Iterator[bytes]:
    """A choice's chunks: its role, its thought, its words, its calls, its end."""
    index, message, logprobs = choice["index"], choice["message"], choice.get("logprobs")
    content = message.get("content")
    begin = {"role": message.get("role") or "assistant", "content": "" if content else content}
    yield writer.chunk(index, _delta(begin))
    for thought in _thoughts(message):
        yield writer.chunk(index, _delta(thought))
    words = [(name, message[name]) for name in ("content", "refusal") if message.get(name)]
    for name, text in words:
        for piece in [text] if logprobs else split(text):
            spoken = b'"delta":{"%b":%b}' % (name.encode(), orjson.dumps(piece))
            yield writer.chunk(index, spoken, logprobs)
            logprobs = None
    if logprobs:
        yield writer.chunk(index, _delta({}), logprobs)
    for number, call in enumerate(message.get("tool_calls") or ()):
        yield writer.chunk(index, _delta({"tool_calls": [{"index": number, **call}]}))
    others = {name: v for name, v in message.items() if v and name not in _MEMBERS}
    if others:
        yield writer.chunk(index, _delta(others))
    yield writer.finish(index, _delta({}), choice, _WRITTEN)


def _thoughts(message: JsonObject) -> Iterator[JsonObject]:
    for name in _THOUGHTS:
        for piece in split(message.get(name) or ""):
            yield {name: piece}
    for number, block in enumerate(message.get("thinking_blocks") or ()):
        yield {"thinking_blocks": [{**block, "index": number}]}
    if details := message.get("reasoning_details"):
        yield {"reasoning_details": details}


def _delta(delta: JsonObject) -> bytes:
    return b'"delta":' + orjson.dumps(delta)
