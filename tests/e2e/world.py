"""A gateway with two users, their keys, a service and its customers at it, and all that they ask of
it: through every door, with token counts and prices of their own.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.e2e import books
from tests.e2e.books import Mark, Row, Sent, nano, together
from tests.e2e.gateway import Answer, Gateway, running
from tests.e2e.people import (
    MASTERLY,
    SERVICE,
    SERVICE_KEY,
    Person,
    ask,
    bearer,
    join,
    make_key,
)
from tests.fakes.upstream import Received, Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: ["{service}"]}}
retry: {{attempts: 2, backoff: [1ms, 2ms], budget: 100%}}
breaker: {{{breaker}}}
providers:
  one: {{dialect: openai, base_url: "{one}", api_key: sk-system-one, models: [m-1], priority: 20}}
  two: {{dialect: openai, base_url: "{two}", api_key: sk-system-two, models: [m-2], priority: 10}}
models:
  both: [one/m-1, two/m-2]
tasks:
  simple: {{targets: [one/m-1, two/m-2]}}
  notes: {{targets: [two/m-2]}}
pricing:
  rates: {{CAD: 1.37}}
  overrides:
    "one/*": {{input: 1, cached: 0.5, output: 2}}
    "two/*": {{input: 3, cached: 1.5, output: 5}}
"""

PATIENT = "failures: 1000, ratio: 100%"  # circuits are no matter here
ONE_A, ONE_B, TWO_B = "sk-own-one-of-alice-1", "sk-own-one-of-bob-22", "sk-own-two-of-bob-22"
WHOSE = {f"Bearer {ONE_A}": "alice", f"Bearer {ONE_B}": "bob", f"Bearer {TWO_B}": "bob"}
SYSTEM = {"one": "Bearer sk-system-one", "two": "Bearer sk-system-two"}


@dataclass
class World:
    """The gateway with everybody at it."""

    gateway: Gateway
    one: Upstream
    two: Upstream
    alice: Person
    bob: Person
    alices_key: tuple[str, str]
    bobs_key: tuple[str, str]
    plain_key: tuple[str, str]
    sent: list[Sent] = field(default_factory=list)

    @property
    def logs(self) -> dict[str, Upstream]:
        return {"one": self.one, "two": self.two}

    def rows(self) -> list[Row]:
        return books.booked(self.sent, self.logs, whose)

    async def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
        return await ask(self.gateway, method, path, headers, body)

    async def get(self, path: str, headers: dict[str, str]) -> Any:
        answer = await ask(self.gateway, "GET", path, headers)
        assert answer.status == 200, (path, answer.body)
        return answer.json


def whose(entry: Received) -> str | None:
    return WHOSE.get(entry.header("authorization") or "")


@asynccontextmanager
async def world(
    folder: Path, own_keys: bool = True, breaker: str = PATIENT, extra: str = ""
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Upstream())
        two = await stack.enter_async_context(Upstream())
        one.on(books.answering("one"))
        two.on(books.answering("two"))
        urls = {"one": one.base_url, "two": two.base_url}
        text = CONFIG.format(**urls, service=SERVICE_KEY, breaker=breaker) + extra
        gateway = await stack.enter_async_context(running(folder, text))
        alice = await join(gateway, "alice@example.com")
        bob = await join(gateway, "bob@example.com")
        found = World(
            gateway,
            one,
            two,
            alice,
            bob,
            await make_key(gateway, alice.bearer, name="alice's"),
            await make_key(gateway, MASTERLY, name="bob's", user_id=bob.id),
            await make_key(gateway, MASTERLY, name="nobody's"),
        )
        if own_keys:
            await save(gateway, alice, one=ONE_A)
            await save(gateway, bob, one=ONE_B, two=TWO_B)
        yield found


async def save(gateway: Gateway, person: Person, **keys: str) -> None:
    body = {f"{name}_api_key": secret for name, secret in keys.items()}
    answer = await ask(gateway, "PATCH", "/api/v1/users/me/api-keys", person.bearer, body)
    assert answer.status == 200, answer.body


# The doors, each as a request that carries a mark.


def chat(mark: Mark, **over: Any) -> dict[str, Any]:
    return {"model": "both", "messages": [{"role": "user", "content": mark.text}], **over}


def usage_of(answer: Answer) -> tuple[int, int]:
    said = answer.json["usage"]
    return said["prompt_tokens"], said["completion_tokens"]


async def by_openai(w: World, who: dict[str, str], mark: Mark) -> None:
    answer = await w.ask("POST", "/v1/chat/completions", who, chat(mark))
    assert answer.status == (502 if mark.fail == "all" else 200), answer.body
    if answer.status == 200:
        assert usage_of(answer) == (mark.input, mark.output)


async def by_stream(w: World, who: dict[str, str], mark: Mark) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await w.ask("POST", "/v1/chat/completions", who, chat(mark, **options))
    assert answer.status == (502 if mark.fail == "all" else 200), answer.body
    if answer.status == 200:
        last = answer.body.strip().split(b"\n\n")[-2].removeprefix(b"data: ")
        said = orjson.loads(last)["usage"]
        assert (said["prompt_tokens"], said["completion_tokens"]) == (mark.input, mark.output)


async def by_untold_stream(w: World, who: dict[str, str], mark: Mark) -> None:
    answer = await w.ask("POST", "/v1/chat/completions", who, chat(mark, stream=True))
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"prompt_tokens"' not in answer.body


async def by_anthropic(w: World, who: dict[str, str], mark: Mark) -> None:
    answer = await w.ask("POST", "/v1/messages", who, chat(mark, max_tokens=100))
    assert answer.status == 200, answer.body
    said = answer.json["usage"]
    read = said.get("cache_read_input_tokens") or 0
    assert (said["input_tokens"] + read, said["output_tokens"]) == (mark.input, mark.output)


async def by_task(w: World, who: dict[str, str], mark: Mark) -> None:
    body = {"taskType": "notes", "context": {"prompt": mark.text}}
    answer = await w.ask("POST", "/api/llm", who, body)
    assert answer.status == 200, answer.body
    assert answer.json["result"]["content"] == f"answer {mark.id}"


async def by_trpc(w: World, who: dict[str, str], mark: Mark) -> None:
    body = {"taskType": "simple", "messages": [{"role": "user", "content": mark.text}]}
    answer = await w.ask("POST", "/api/trpc/llm.complete", who, body)
    assert answer.status == (502 if mark.fail == "all" else 200), answer.body
    if answer.status == 200:
        said = answer.json["result"]["data"]
        used = said["usage"]["promptTokens"], said["usage"]["completionTokens"]
        assert used == (mark.input, mark.output)


async def by_v2(w: World, who: dict[str, str], mark: Mark) -> None:
    answer = await w.ask("POST", "/v2/llm/chat/completions", who, chat(mark))
    assert answer.status == 200, answer.body
    assert usage_of(answer) == (mark.input, mark.output)
    said = answer.json
    paid = 0 if answer.headers["x-turnout-cache"].startswith("hit") else None
    expected = books.cost(answer.headers["x-turnout-provider"], mark) if paid is None else 0
    assert nano(said["cost_usd"]) == expected


async def by_v2_stream(w: World, who: dict[str, str], mark: Mark) -> None:
    answer = await w.ask("POST", "/v2/llm/chat/completions/stream", who, chat(mark))
    assert answer.status == 200, answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")


Door = Callable[[World, dict[str, str], Mark], Any]
DOORS: dict[str, tuple[Door, str | None]] = {
    "openai": (by_openai, None),
    "stream": (by_stream, None),
    "untold stream": (by_untold_stream, None),
    "anthropic": (by_anthropic, None),
    "task": (by_task, "notes"),
    "trpc": (by_trpc, "simple"),
    "v2": (by_v2, None),
    "v2 stream": (by_v2_stream, None),
}
"""A door, and the task that it books."""


async def generate(w: World, customer: str, task: str, mark: Mark) -> None:
    body = {"user_id": customer, "service": "shop", "task_type": task, "prompt": mark.text}
    answer = await w.ask("POST", "/api/v1/generate", SERVICE, body)
    assert answer.status == (502 if mark.fail == "all" else 200), answer.body
    if answer.status == 200:
        said = answer.json
        assert (said["input_tokens"], said["output_tokens"]) == (mark.input, mark.output)
        expected = 0 if said["cached"] else books.cost(said["provider"], mark)
        assert nano(said["cost_usd"]) == expected
    w.sent.append(Sent(mark, customer, customer, None, "shop", task))


async def traffic(w: World) -> None:
    """Through every door, by everybody, each with numbers of its own."""
    alice, bob = w.alice, w.bob
    callers = [
        ("alice", alice.bearer, alice.id, None),
        ("alice", bearer(w.alices_key[1]), alice.id, w.alices_key[0]),
        ("bob", bob.browser, bob.id, None),
        ("bob", bearer(w.bobs_key[1]), bob.id, w.bobs_key[0]),
        ("plain", bearer(w.plain_key[1]), None, w.plain_key[0]),
        ("master", MASTERLY, None, None),
    ]
    number = 0
    for owner, headers, user, key in callers:
        for name, (door, task) in DOORS.items():
            is_data = not name.startswith(("task", "trpc", "v2"))
            said = bob.bearer if is_data and "cookie" in headers else headers  # it does not count
            number += 1
            mark = Mark(f"q{number}", 100 + 7 * number, 10 + 3 * number, number % 5)
            if name in ("openai", "stream", "trpc") and number % 3 == 0:
                mark = mark._replace(fail="one")
            if name in ("openai", "stream", "trpc") and number % 7 == 3:
                mark = mark._replace(fail="all")
            await door(w, said, mark)
            w.sent.append(Sent(mark, owner, user, key, None, task))


async def repeats(w: World) -> None:
    """The same question of both users and again: who has asked before is answered by the cache."""
    mark = Mark("same", 1000, 100, 50)
    alice, bob = w.alice, w.bob
    for owner, person, headers, key in (
        ("alice", alice, alice.bearer, None),
        ("bob", bob, bob.bearer, None),
        ("alice", alice, bearer(w.alices_key[1]), w.alices_key[0]),
        ("alice", alice, alice.bearer, None),
        ("bob", bob, bearer(w.bobs_key[1]), w.bobs_key[0]),
    ):
        await by_openai(w, headers, mark)
        w.sent.append(Sent(mark, owner, person.id, key))


async def batch(w: World, customer: str, marks: list[Mark]) -> None:
    each = {"user_id": customer, "service": "shop", "task_type": "many"}
    body = {"requests": [each | {"prompt": mark.text} for mark in marks], "concurrency": 1}
    answer = await w.ask("POST", "/api/v1/batch", SERVICE, body)
    *lines, last = map(orjson.loads, answer.body.splitlines())
    summary = last["summary"]
    said = [line.get("result", {}) for line in lines]
    before = len(w.sent)
    w.sent += [Sent(mark, customer, customer, None, "shop", "many") for mark in marks]
    rows = w.rows()[before:]
    expected = [(r.input, r.output, r.cost, r.hit) for r in rows if not r.failed]
    found = [
        (s["input_tokens"], s["output_tokens"], nano(s["cost_usd"]), s["cached"]) for s in said if s
    ]
    assert found == expected
    sums = together(rows)
    assert (summary["total"], summary["failed"], summary["cached"]) == sums[:3]
    assert nano(summary["cost_usd"]) == sums.cost


async def trpc_batch(w: World, marks: list[Mark]) -> None:
    """By bob, one after another."""
    each = [
        {"taskType": "simple", "messages": [{"role": "user", "content": mark.text}]}
        for mark in marks
    ]
    path = "/api/trpc/llm.batchComplete"
    body = {"requests": each, "concurrency": 1}
    answer = await w.ask("POST", path, w.bob.bearer, body)
    said = answer.json["result"]["data"]
    used = [(s["usage"]["promptTokens"], s["usage"]["completionTokens"]) for s in said]
    assert used == [(mark.input, mark.output) for mark in marks]
    before = len(w.sent)
    w.sent += [Sent(mark, "bob", w.bob.id, None, None, "simple") for mark in marks]
    costs = [row.cost for row in w.rows()[before:]]
    assert [nano(s["metadata"]["costUsd"]) for s in said] == costs


async def customers(w: World) -> None:
    for customer, task, mark in (
        ("c1", "ads", Mark("g1", 300, 30)),
        ("c1", "ads", Mark("g1", 300, 30)),
        ("c2", "ads", Mark("g2", 200, 21, 20, "one")),
        ("c2", "mail", Mark("g3", 50, 5, 0, "all")),
        ("c2", "mail", Mark("g4", 51, 6)),
    ):
        await generate(w, customer, task, mark)
    many = [Mark("b1", 70, 7), Mark("b1", 70, 7), Mark("b2", 80, 8, 0, "all"), Mark("b3", 90, 9)]
    await batch(w, "c2", many)
    await trpc_batch(w, [Mark("b4", 44, 4), Mark("b5", 55, 5, 5), Mark("b4", 44, 4)])
    unknown = await w.ask(
        "POST", "/v1/chat/completions", w.alice.bearer, chat(Mark("no", 1, 1), model="absent")
    )
    assert unknown.status == 404
    w.sent.append(Sent(Mark("no", 1, 1), "alice", w.alice.id))
