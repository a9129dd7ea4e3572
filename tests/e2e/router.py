"""The three tiers of the router's document behind a gateway, and its API as a test calls it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.gateway import Answer, Gateway, running
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
retry: {{attempts: 4, backoff: [1ms, 2ms]}}
breaker: {{failures: 3, open: 60s}}
limits: {{budget: 250}}
providers:
  openrouter: {{dialect: openai, base_url: "{first}", api_key: k1}}
  huggingface: {{dialect: openai, base_url: "{second}", api_key: k2}}
  ollama: {{dialect: ollama, base_url: "{third}"}}
pricing:
  rates: {{CAD: 1.4}}
  overrides:
    "openrouter/anthropic/claude-sonnet-4": {{input: 3, output: 15}}
    "openrouter/google/gemini-2.0-flash-exp:free": {{input: 0, output: 0}}
    "openrouter/meta-llama/llama-3.3-70b-instruct:free": {{input: 0, output: 0}}
    "huggingface/*": {{input: 0, output: 0}}
"""
QUALIFY: dict[str, Any] = {
    "taskType": "qualification",
    "messages": [
        {"role": "system", "content": "You qualify B2B leads."},
        {"role": "user", "content": "Score this lead from 0 to 100: Chez Paul, 4.5/5, 200 reviews"},
    ],
    "options": {"temperature": 0.3, "maxTokens": 500},
}
"""The document's own example, with other words in it."""


GEMINI = "google/gemini-2.0-flash-exp:free"
LLAMA = "meta-llama/llama-3.3-70b-instruct:free"
CLOSED = {"state": "CLOSED", "failureCount": 0, "successCount": 0, "nextAttemptTime": None}


class Tiers(NamedTuple):
    """The three tiers, and the gateway before them."""

    gateway: Gateway
    openrouter: Upstream
    huggingface: Upstream
    ollama: Upstream


@asynccontextmanager
async def tiers_of(folder: Path, text: str) -> AsyncIterator[Tiers]:
    async with Upstream() as first, Upstream() as second, Upstream() as third:
        config = text.format(
            first=first.base_url,
            second=second.base_url,
            third=third.base_url.removesuffix("/v1"),
        )
        async with running(folder, config) as gateway:
            yield Tiers(gateway, first, second, third)


async def post(gateway: Gateway, path: str, body: Any, key: str = "", **headers: str) -> Answer:
    return await gateway.post(
        body,
        f"/api/trpc/{path}",
        headers={"authorization": f"Bearer {key or gateway.key}"} | headers,
    )


async def get(gateway: Gateway, path: str, key: str = "") -> Answer:
    return await gateway.call("GET", f"/api/trpc/{path}", key=key or gateway.key)


def data(answer: Answer) -> Any:
    """What is inside tRPC's envelope, which is checked to hold nothing else."""
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"result"}
    assert set(answer.json["result"]) == {"data"}
    return answer.json["result"]["data"]


def error(answer: Answer) -> tuple[int, int, str, str | None]:
    """Status, number, name and field of an error in tRPC's envelope, which is checked."""
    assert set(answer.json) == {"error"}
    said = answer.json["error"]
    assert set(said) == {"message", "code", "data"}
    assert set(said["data"]) == {"code", "httpStatus", "path", "turnoutCode", "param"}
    assert said["data"]["httpStatus"] == answer.status
    return answer.status, said["code"], said["data"]["code"], said["data"]["param"]


def leads(*names: str) -> list[dict[str, Any]]:
    return [
        {"taskType": "qualification", "messages": [{"role": "user", "content": f"Score: {name}"}]}
        for name in names
    ]
