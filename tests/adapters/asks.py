"""Asks and targets for the adapters' tests."""

from typing import Any

import orjson
from pydantic import SecretStr

from adapters.base import Ask, Endpoint, Target

UPSTREAM = "http://up.test/v1"


def ask(endpoint: Endpoint = Endpoint.CHAT, raw: bytes | None = None, **body: Any) -> Ask:
    """An ask whose bytes and parsed body agree; chat with one message if nothing is said."""
    if raw is None:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | body
        raw = orjson.dumps(body)
    body = orjson.loads(raw)
    options = body.get("stream_options") or {}
    return Ask(
        endpoint=endpoint,
        raw=raw,
        body=body,
        stream=bool(body.get("stream")),
        wants_usage=bool(options.get("include_usage")),
    )


def target(model: str = "m", **over: Any) -> Target:
    """A target of the OpenAI dialect with a key."""
    given = {"provider": "up", "dialect": "openai", "base_url": UPSTREAM} | over
    return Target(model=model, api_key=SecretStr("sk-up"), **given)


def no_cost(_: Any) -> None:
    """A `CostOf` without prices."""
    return
