"""Legacy text completions."""

from typing import Any

import orjson

from adapters.answers.base import NotWhole, objects, split
from adapters.answers.chunks import Held, Writer, gather, renewed
from adapters.answers.fitness import Said, count_asked, form_of, given, judge
from adapters.base import Ask, JsonObject, Usage
from adapters.openai_shape import read_usage

PREFIX = "cmpl-"
KIND = "text_completion"

_WRITTEN = frozenset({"index", "text", "logprobs", "finish_reason"})


class Completions:
    """The shape; see `adapters.answers.base.Shape`."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        return gather(payloads, KIND, HeldText)

    def usage(self, answer: JsonObject) -> Usage | None:
        return read_usage(answer.get("usage"))

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None:
        said = _said(answer)
        if len(said) != count_asked(ask) * _prompts(ask.body.get("prompt")):
            return "malformed"
        return judge(said, form_of(given(ask, "response_format")))

    def text(self, answer: JsonObject) -> str:
        return _said(answer)[0].text

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
        answer = orjson.loads(body)
        if not ask.stream:
            return (renewed(answer, PREFIX, now),)
        writer = Writer(answer, PREFIX, KIND, now)
        chunks: list[bytes] = []
        for choice in answer["choices"]:
            index, logprobs = choice["index"], choice.get("logprobs")
            pieces = split(choice["text"]) if logprobs is None else [choice["text"]]
            chunks += [writer.chunk(index, _text(piece), logprobs) for piece in pieces]
            chunks.append(writer.finish(index, _text(""), choice, _WRITTEN))
        return (*chunks, *writer.end(ask, answer))


class HeldText(Held):
    """A choice's text as far as it has come."""

    spoken = "text"
    word = "text"

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[str] = []

    def hear(self, value: Any) -> None:
        if not isinstance(value, str | None):
            raise NotWhole("a text that is none")
        self._pieces.append(value or "")

    def append(self, words: str) -> None:
        self._pieces.append(words)

    def words_alone(self, choice: JsonObject) -> str | None:
        others = choice.keys() - {"index", "text"}
        words = choice.get("text")
        return words if isinstance(words, str) and not any(map(choice.get, others)) else None

    def said(self) -> dict[str, Any]:
        return {"text": "".join(self._pieces)}


def _said(answer: JsonObject) -> list[Said]:
    said = []
    for place, choice in enumerate(objects(answer["choices"])):
        if not isinstance(choice["text"], str) or choice["index"] != place:
            raise TypeError("a choice without text, or out of its order")
        said.append(Said(choice.get("finish_reason"), choice["text"]))
    return said


def _text(piece: str) -> bytes:
    return b'"text":' + orjson.dumps(piece)


def _prompts(prompt: Any) -> int:
    """How many prompts are asked at once; a list of numbers is the tokens of one."""
    return len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
