"""Entries and calls for the cache's tests."""

from typing import Any

import orjson

from adapters.base import Ask, Endpoint, Usage
from proxy.cache.types import Entry
from proxy.types import Call, Controls, Plan, Principal, Role
from tests.adapters.asks import ask, target

NOW = 1_800_000_000.0
PRINCIPAL = Principal(Role.KEY, "key_1")
PLAN = Plan("fast", (target("m"),))


def entry(name: str = "a", /, **over: Any) -> Entry:
    """An answer to the request that `name` stands for, fresh for a minute from `NOW` on."""
    given: dict[str, Any] = {
        "id": f"llm:cache:-:{name}",
        "endpoint": Endpoint.CHAT,
        "body": completion(name),
        "name": "fast",
        "provider": "up",
        "model": "m",
        "stored_at": NOW,
        "expires_at": NOW + 60,
        "usage": Usage(9, 3),
        "cost_nanousd": 39_000,
    }
    return Entry(**{**given, **over})


def completion(text: str, finish: str = "stop") -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]})


def call(given: Ask | None = None, **over: Any) -> Call:
    """A call of a key that no user owns."""
    controls = Controls(**over)
    return Call(PRINCIPAL, given or ask(), "fast", controls)


class Clock:
    """Epoch seconds that go on when they are told to."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
