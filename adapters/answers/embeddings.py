"""Embeddings: vectors, never streamed, and with no id to renew."""

from typing import Any

import orjson

from adapters.answers.base import NotWhole, objects, unbilled
from adapters.base import Ask, JsonObject, Usage
from adapters.openai_shape import read_usage


class Embeddings:
    """The shape; see `adapters.answers.base.Shape`."""

    def gather(self, payloads: list[bytes]) -> dict[str, Any]:
        raise NotWhole("embeddings are not streamed")

    def usage(self, answer: JsonObject) -> Usage | None:
        return read_usage(answer.get("usage"))

    def unfit(self, ask: Ask, answer: JsonObject) -> str | None:
        """Each input has its vector, numbers or base64."""
        entries = objects(answer["data"])
        numbers = {entry.get("index", place) for place, entry in enumerate(entries)}
        if numbers != set(range(_inputs(ask.body.get("input")))) or len(entries) != len(numbers):
            return "malformed"
        vectors = [entry["embedding"] for entry in entries]
        if not all(isinstance(vector, list | str) for vector in vectors):
            return "malformed"
        return None if all(vectors) else "empty"

    def text(self, answer: JsonObject) -> str:
        return ""

    def replay(self, ask: Ask, body: bytes, now: int) -> tuple[bytes, ...]:
        if b'"cost_usd"' not in body:
            return (body,)
        answer = orjson.loads(body)
        unbilled(answer)
        return (orjson.dumps(answer),)


def _inputs(given: Any) -> int:
    """How many inputs there are; a list of numbers is the tokens of one."""
    if not isinstance(given, list):
        return 1
    return 1 if given and isinstance(given[0], int) else len(given)
