"""The router's document, walked from top to bottom: each request as it is written there, each
field of each answer, each error, and what its advice leans on.
"""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.gateway import MASTER, Answer
from tests.e2e.router import (
    CLOSED,
    CONFIG,
    GEMINI,
    LLAMA,
    QUALIFY,
    Tiers,
    data,
    error,
    get,
    leads,
    post,
    tiers_of,
)
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script


@pytest.fixture
async def tiers(tmp_path: Path) -> AsyncIterator[Tiers]:
    async with tiers_of(tmp_path, CONFIG) as found:
        yield found


def by_model(**scripts: Script) -> Any:
    """What an upstream answers, by a word in the name of the model."""

    def match(received: Received) -> Script | None:
        model = received.json["model"]
        return next((script for word, script in scripts.items() if word in model), None)

    return match


def fallback_texts(*texts: str) -> list[Script]:
    return [fake.chat_reply(text) for text in texts]


OLLAMA_ANSWER = {
    "model": "llama3.2:3b",
    "created_at": "2026-01-01T00:00:00Z",
    "message": {"role": "assistant", "content": "70"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 20,
    "eval_count": 2,
}


# Overview and architecture: three tiers of fail-over.


async def test_three_tiers_one_after_another(tiers: Tiers) -> None:
    gateway, first, second, third = tiers
    first.script(fake.error_reply(500))
    second.script(fake.error_reply(503))
    third.script(fake.json_reply(OLLAMA_ANSWER))
    found = data(await post(gateway, "llm.complete", QUALIFY))
    assert (found["provider"], found["model"], found["content"]) == ("ollama", "llama3.2:3b", "70")
    assert [received.json["model"] for received in first.log] == [GEMINI, LLAMA]
    assert [received.json["model"] for received in second.log] == [
        "mistralai/Mistral-7B-Instruct-v0.2"
    ]
    assert found["metadata"]["fallbackAttempts"] == 3
    assert found["usage"] == {"promptTokens": 20, "completionTokens": 2, "totalTokens": 22}
    attempts = await gateway.attempts(4)
    assert [attempt["provider_name"] for attempt in attempts] == [
        "openrouter",
        "openrouter",
        "huggingface",
        "ollama",
    ]


# 1. Complete.


async def test_complete_as_it_is_written(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(fake.chat_reply("85", usage=fake.count(31, 2)))
    began = time.time()
    answer = await post(gateway, "llm.complete", QUALIFY)
    found = data(answer)
    metadata = found.pop("metadata")
    assert found == {
        "content": "85",
        "model": GEMINI,
        "provider": "openrouter",
        "usage": {"promptTokens": 31, "completionTokens": 2, "totalTokens": 33},
    }
    timestamp, latency = metadata.pop("timestamp"), metadata.pop("latencyMs")
    assert metadata == {
        "taskType": "qualification",
        "cached": False,
        "fallbackAttempts": 0,
        "costUsd": 0.0,
        "requestId": answer.headers["x-request-id"],
    }
    assert 0 <= latency < 1000 * (time.time() - began) + 1
    assert timestamp.endswith("Z")
    assert abs(datetime.fromisoformat(timestamp).timestamp() - time.time()) < 5
    [sent] = first.log
    assert sent.json == {
        "model": GEMINI,
        "messages": QUALIFY["messages"],
        "temperature": 0.3,
        "max_tokens": 500,
        "top_p": 0.9,
    }
    [row] = await gateway.rows()
    assert (row["task_type"], row["provider_name"], row["status_code"]) == (
        "qualification",
        "openrouter",
        200,
    )
    assert answer.headers["x-request-id"] == f"req_{row['id']}"


async def test_complete_needs_a_credential(tiers: Tiers) -> None:
    """The document's curl has a made-up cookie; one call of its troubleshooting has nothing."""
    gateway = tiers.gateway
    for headers in ({"Cookie": "session=..."}, {}):
        url = gateway.url + "/api/trpc/llm.complete"
        async with gateway.session.post(url, json=QUALIFY, headers=headers) as reply:
            answer = Answer(reply.status, dict(reply.headers), await reply.read())
        assert error(answer) == (401, -32001, "UNAUTHORIZED", None)
        assert answer.json["error"]["data"]["path"] == "llm.complete"
    assert tiers.openrouter.log == []


async def test_the_cookie_of_a_session(tiers: Tiers) -> None:
    """As the document's curl sends it: the chats and the figures are those of the user."""
    gateway = tiers.gateway
    who = {"email": "ann@example.com", "password": "correct horse battery"}
    assert (await gateway.call("POST", "/api/v1/users", who)).status == 201
    login = await gateway.call("POST", "/api/v1/login", who)
    cookie = {"Cookie": login.headers["set-cookie"].partition(";")[0]}
    assert cookie["Cookie"].startswith("session=")
    data(await post(gateway, "llm.complete", QUALIFY))  # somebody else's
    url = gateway.url + "/api/trpc/"
    complete = url + "llm.complete"
    async with gateway.session.post(complete, json=QUALIFY, headers=cookie) as reply:
        found = data(Answer(reply.status, dict(reply.headers), await reply.read()))
    assert found["metadata"]["cached"] is False, "nobody is served another's answer"
    assert [row["role"] for row in await gateway.rows(2)] == ["key", "user"]
    async with gateway.session.get(url + "llmAnalytics.summary?days=30", headers=cookie) as reply:
        summary = data(Answer(reply.status, dict(reply.headers), await reply.read()))
    assert summary["totalCalls"] == 1
    assert summary["models"][GEMINI]["calls"] == 1
    from_a_page = cookie | {"Origin": "https://elsewhere.example"}
    async with gateway.session.post(complete, json=QUALIFY, headers=from_a_page) as reply:
        refused = Answer(reply.status, dict(reply.headers), await reply.read())
    assert refused.status in (401, 403)
    assert set(refused.json) == {"error"}


async def test_what_curl_sends_without_a_content_type(tiers: Tiers) -> None:
    answer = await post(
        tiers.gateway,
        "llm.complete",
        orjson.dumps(QUALIFY),
        **{"content-type": "application/x-www-form-urlencoded"},
    )
    assert data(answer)["provider"] == "openrouter"


async def test_bypass_cache_asks_again_and_keeps_the_answer(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(*fallback_texts("one", "two", "three"))
    fresh = QUALIFY | {"options": QUALIFY["options"] | {"bypassCache": True}}
    kept = QUALIFY | {"options": QUALIFY["options"] | {"bypassCache": False}}
    told = [
        (found["content"], found["metadata"]["cached"], found["metadata"]["fallbackAttempts"])
        for body in (QUALIFY, kept, fresh, QUALIFY)
        for found in [data(await post(gateway, "llm.complete", body))]
    ]
    assert told == [("one", False, 0), ("one", True, 0), ("two", False, 0), ("two", True, 0)]
    rows = await gateway.rows(4)
    assert [row["cached"] for row in rows] == [False, True, False, True]


async def test_all_tiers_down(tiers: Tiers) -> None:
    gateway, first, second, third = tiers
    for upstream in (first, second, third):
        upstream.script(fake.error_reply(500))
    answer = await post(gateway, "llm.complete", QUALIFY)
    assert error(answer) == (502, -32603, "BAD_GATEWAY", None)
    [row] = await gateway.rows()
    assert (row["status_code"], row["outcome"], row["attempts"]) == (502, "failed", 4)


# 2. Summary.


async def test_summary_has_every_field(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.on(
        by_model(
            gemini=fake.chat_reply("85", usage=fake.count(100, 10)),
            claude=fake.chat_reply("A post", usage=fake.count(1000, 2000)),
        )
    )
    write = QUALIFY | {"taskType": "content_generation"}
    broken = QUALIFY | {"options": {"forceProvider": "huggingface", "bypassCache": True}}
    tiers.huggingface.script(fake.error_reply(400, "too long"))
    for body in (QUALIFY, QUALIFY, write):
        data(await post(gateway, "llm.complete", body))
    assert (await post(gateway, "llm.complete", broken)).status == 400
    await gateway.rows(4)
    found = data(await get(gateway, "llmAnalytics.summary?days=30"))
    today = datetime.now(UTC).date().isoformat()
    dollars = 1000 * 3e-6 + 2000 * 15e-6
    sonnet = {"calls": 1, "tokens": 3000, "estimatedCostCAD": pytest.approx(1.4 * dollars)}
    for group in (*found["providers"].values(), *found["models"].values()):
        assert group.pop("avgLatencyMs") >= 0
    daily = found.pop("dailyUsage")
    assert found == {
        "totalCalls": 4,
        "totalTokens": 3220,
        "totalCostCAD": pytest.approx(0.0462),
        "totalSavingsCAD": 0.0,
        "providers": {
            "openrouter": {
                "calls": 3,
                "tokens": 3220,
                "estimatedCostCAD": pytest.approx(0.0462),
                "errorRate": 0.0,
            },
            "huggingface": {"calls": 1, "tokens": 0, "estimatedCostCAD": 0.0, "errorRate": 1.0},
        },
        "models": {
            GEMINI: {"provider": "openrouter", "calls": 2, "tokens": 220, "estimatedCostCAD": 0.0},
            "anthropic/claude-sonnet-4": {"provider": "openrouter", **sonnet},
            "mistralai/Mistral-7B-Instruct-v0.2": {
                "provider": "huggingface",
                "calls": 1,
                "tokens": 0,
                "estimatedCostCAD": 0.0,
            },
        },
        "taskTypes": {
            "qualification": {"calls": 3, "tokens": 220, "estimatedCostCAD": 0.0},
            "content_generation": sonnet,
        },
        "cacheMetrics": {"hits": 1, "misses": 3, "hitRate": 0.25, "savingsCAD": 0.0},
        "circuitBreakerStatus": {
            "openrouter": found["circuitBreakerStatus"]["openrouter"],
            "huggingface": CLOSED,
            "ollama": CLOSED,
        },
    }
    assert found["circuitBreakerStatus"]["openrouter"]["state"] == "CLOSED"
    assert len(daily) == 31
    assert daily[-1] == {
        "date": today,
        "calls": 4,
        "tokens": 3220,
        "estimatedCostCAD": pytest.approx(0.0462),
    }
    assert all(day["calls"] == 0 for day in daily[:-1])


async def test_savings_are_what_the_kept_answers_cost_once(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(fake.chat_reply("A post", usage=fake.count(1000, 2000)))
    write = QUALIFY | {"taskType": "content_generation"}
    for _ in range(3):
        data(await post(gateway, "llm.complete", write))
    await gateway.rows(3)
    found = data(await get(gateway, "llmAnalytics.summary"))
    assert found["totalCostCAD"] == pytest.approx(0.0462)
    assert found["totalSavingsCAD"] == pytest.approx(2 * 0.0462)
    assert found["cacheMetrics"] == {
        "hits": 2,
        "misses": 1,
        "hitRate": pytest.approx(2 / 3, abs=1e-6),
        "savingsCAD": pytest.approx(2 * 0.0462),
    }
    metrics = data(await get(gateway, "llmAnalytics.cacheMetrics"))
    assert metrics == {
        "hits": 2,
        "misses": 1,
        "hitRate": pytest.approx(2 / 3, abs=1e-6),
        "estimatedSavingsUSD": pytest.approx(2 * 0.033),
    }


# 3. Forecast.


async def test_forecast(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    empty = data(await get(gateway, "llmAnalytics.forecast?horizonDays=30"))
    assert empty == {
        "currentMonthlyCAD": 0.0,
        "projectedMonthlyCAD": 0.0,
        "dailyForecast": [{"day": day, "estimatedCostCAD": 0.0} for day in range(1, 31)],
    }
    first.script(fake.chat_reply("A post", usage=fake.count(1000, 2000)))
    data(await post(gateway, "llm.complete", QUALIFY | {"taskType": "content_generation"}))
    await gateway.rows()
    found = data(await get(gateway, "llmAnalytics.forecast?horizonDays=7"))
    assert set(found) == {"currentMonthlyCAD", "projectedMonthlyCAD", "dailyForecast"}
    assert found["currentMonthlyCAD"] == pytest.approx(0.0462)
    assert found["projectedMonthlyCAD"] >= 0
    assert [day["day"] for day in found["dailyForecast"]] == [1, 2, 3, 4, 5, 6, 7]
    assert all(set(day) == {"day", "estimatedCostCAD"} for day in found["dailyForecast"])
    usual = data(await get(gateway, "llmAnalytics.forecast"))
    assert len(usual["dailyForecast"]) == 30


# 4. Cache metrics, 5. cache invalidation.


async def test_cache_metrics_of_nothing(tiers: Tiers) -> None:
    assert data(await get(tiers.gateway, "llmAnalytics.cacheMetrics")) == {
        "hits": 0,
        "misses": 0,
        "hitRate": 0.0,
        "estimatedSavingsUSD": 0.0,
    }


async def test_invalidate_all_and_by_pattern(tiers: Tiers) -> None:
    gateway = tiers.gateway
    for task in ("qualification", "verification", "simple"):
        data(await post(gateway, "llm.complete", QUALIFY | {"taskType": task}))
    path = "llmAnalytics.cacheInvalidate"
    pattern = {"pattern": "llm:cache:qualification:*"}
    assert data(await post(gateway, path, pattern, MASTER)) == {"invalidated": 1}
    assert data(await post(gateway, path, pattern, MASTER)) == {"invalidated": 0}
    again = data(await post(gateway, "llm.complete", QUALIFY))
    kept = data(await post(gateway, "llm.complete", QUALIFY | {"taskType": "verification"}))
    assert (again["metadata"]["cached"], kept["metadata"]["cached"]) == (False, True)
    assert data(await post(gateway, path, {}, MASTER)) == {"invalidated": 3}
    gone = data(await post(gateway, "llm.complete", QUALIFY | {"taskType": "verification"}))
    assert gone["metadata"]["cached"] is False
    assert data(await post(gateway, path, b"", MASTER)) == {"invalidated": 1}


@pytest.mark.parametrize("name", ["cacheInvalidate", "circuitBreakerReset"])
async def test_only_operators_clear(tiers: Tiers, name: str) -> None:
    gateway = tiers.gateway
    refused = await post(gateway, f"llmAnalytics.{name}", {})
    assert error(refused) == (403, -32003, "FORBIDDEN", None)
    url = gateway.url + f"/api/trpc/llmAnalytics.{name}"
    async with gateway.session.post(url, data=b"{}") as reply:
        assert reply.status == 401
    headers = {"X-Service-Key": "service-secret"}
    async with gateway.session.post(url, data=b"{}", headers=headers) as reply:
        assert reply.status == 200


# 6. Circuit breaker status, 7. reset; troubleshooting: "Circuit breaker is OPEN".


async def test_circuits_of_every_provider(tiers: Tiers) -> None:
    gateway = tiers.gateway
    found = data(await get(gateway, "llmAnalytics.circuitBreakerStatus"))
    assert found == {"openrouter": CLOSED, "huggingface": CLOSED, "ollama": CLOSED}


async def test_an_open_circuit_is_seen_and_reset(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    first.script(fake.error_reply(500))
    fresh = QUALIFY | {"options": {"bypassCache": True}}
    for _ in range(2):
        assert data(await post(gateway, "llm.complete", fresh))["provider"] == "huggingface"
    path = "llmAnalytics.circuitBreakerStatus"
    status = data(await get(gateway, path))["openrouter"]
    assert (status["state"], status["failureCount"]) == ("OPEN", 3)
    in_seconds = status["nextAttemptTime"] / 1000 - time.time()
    assert 50 < in_seconds < 67
    asked = len(first.log)
    data(await post(gateway, "llm.complete", fresh))
    assert len(first.log) == asked, "an open circuit is left alone"
    reset = "llmAnalytics.circuitBreakerReset"
    wrong = await post(gateway, reset, {"provider": "nobody"}, MASTER)
    assert error(wrong) == (400, -32600, "BAD_REQUEST", "provider")
    assert data(await get(gateway, path))["openrouter"]["state"] == "OPEN"
    other = await post(gateway, reset, {"provider": "ollama"}, MASTER)
    assert data(other) == {"success": True, "reset": 0}
    assert data(await get(gateway, path))["openrouter"]["state"] == "OPEN"
    right = await post(gateway, reset, {"provider": "openrouter"}, MASTER)
    assert data(right) == {"success": True, "reset": 1}
    assert data(await get(gateway, path))["openrouter"] == CLOSED
    first.script(fake.chat_reply("85"))
    assert data(await post(gateway, "llm.complete", fresh))["provider"] == "openrouter"
    assert data(await post(gateway, reset, {}, MASTER)) == {"success": True, "reset": 0}


# Types and routing strategy.


STRATEGY = {
    "qualification": [
        ("openrouter", GEMINI),
        ("openrouter", LLAMA),
        ("huggingface", "mistralai/Mistral-7B-Instruct-v0.2"),
        ("ollama", "llama3.2:3b"),
    ],
    "content_generation": [
        ("openrouter", "anthropic/claude-sonnet-4"),
        ("openrouter", "openai/gpt-4o-mini"),
        ("huggingface", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("ollama", "llama3.2:3b"),
    ],
    "verification": [
        ("openrouter", GEMINI),
        ("openrouter", LLAMA),
        ("huggingface", "HuggingFaceH4/zephyr-7b-beta"),
        ("ollama", "phi3:mini"),
    ],
}
STRATEGY["analysis"] = STRATEGY["content_generation"]
STRATEGY["simple"] = STRATEGY["qualification"]


@pytest.mark.parametrize("task", STRATEGY)
async def test_the_routing_strategy(tiers: Tiers, task: str) -> None:
    gateway = tiers.gateway
    for upstream in (tiers.openrouter, tiers.huggingface, tiers.ollama):
        upstream.script(fake.error_reply(500))
    assert (await post(gateway, "llm.complete", QUALIFY | {"taskType": task})).status == 502
    attempts = await gateway.attempts(4)
    assert [(a["provider_name"], a["model"]) for a in attempts] == STRATEGY[task]


async def test_a_task_of_the_configuration_is_a_task_too(tmp_path: Path) -> None:
    text = CONFIG + "tasks:\n  triage: {{targets: [huggingface/t], defaults: {{max_tokens: 9}}}}\n"
    async with tiers_of(tmp_path, text) as tiers:
        found = data(await post(tiers.gateway, "llm.complete", QUALIFY | {"taskType": "triage"}))
        assert (found["model"], found["metadata"]["taskType"]) == ("t", "triage")
        plain = {"taskType": "triage", "messages": [{"role": "user", "content": "y"}]}
        data(await post(tiers.gateway, "llm.complete", plain))
        assert [r.json["max_tokens"] for r in tiers.huggingface.log] == [500, 9]


# Example 3: many at a time.


def scored(received: Received) -> Script:
    name = received.json["messages"][-1]["content"].removeprefix("Score: ")
    return fake.error_reply(400, "no such lead") if name == "bad" else fake.chat_reply(name.upper())


async def test_a_batch_in_order_with_its_failures_in_place(tiers: Tiers) -> None:
    gateway = tiers.gateway
    for upstream in (tiers.openrouter, tiers.huggingface):
        upstream.on(scored)
    body = {"requests": leads("a", "bad", "c", "a"), "concurrency": 1}
    found = data(await post(gateway, "llm.batchComplete", body))
    assert [each.get("content") for each in found] == ["A", None, "C", "A"]
    assert [each["metadata"]["cached"] for each in (found[0], found[2], found[3])] == [
        False,
        False,
        True,
    ]
    assert set(found[1]) == {"error"}
    assert found[1]["error"]["httpStatus"] == 400
    assert found[1]["error"]["code"] == "BAD_REQUEST"
    assert "no such lead" in found[1]["error"]["message"]
    rows = await gateway.rows(4)
    assert [(row["task_type"], row["status_code"]) for row in rows] == [
        ("qualification", 200),
        ("qualification", 400),
        ("qualification", 200),
        ("qualification", 200),
    ]
    told = [found[place]["metadata"]["requestId"] for place in (0, 2, 3)]
    assert [identifier.removeprefix("req_") for identifier in told] == [
        rows[place]["id"].removeprefix("req_") for place in (0, 2, 3)
    ]
    assert all(row["key_id"] for row in rows)


# Monitoring: each thing to watch moves when it should.


async def test_what_is_to_be_watched_moves(tiers: Tiers) -> None:
    gateway, first, _, _ = tiers
    slow = [fake.Sleep(0.2), *fake.chat_reply("85", usage=fake.count(10, 10))]
    first.script(slow)
    for _ in range(5):  # one asked, four kept: over the target of 60 %
        found = data(await post(gateway, "llm.complete", QUALIFY))
    assert found["metadata"]["latencyMs"] < 200, "a kept answer does not wait"
    premium = QUALIFY | {"taskType": "content_generation"}
    data(await post(gateway, "llm.complete", premium))
    await gateway.rows(6)
    summary = data(await get(gateway, "llmAnalytics.summary"))
    assert summary["cacheMetrics"]["hitRate"] == pytest.approx(4 / 6, abs=1e-6)
    assert summary["models"][GEMINI]["calls"] == 5
    assert summary["models"]["anthropic/claude-sonnet-4"]["calls"] == 1
    assert 200 <= summary["models"]["anthropic/claude-sonnet-4"]["avgLatencyMs"] < 5000
    assert summary["providers"]["openrouter"]["avgLatencyMs"] >= 400 / 6
    states = {each["state"] for each in summary["circuitBreakerStatus"].values()}
    assert states == {"CLOSED"}
    forecast = data(await get(gateway, "llmAnalytics.forecast"))
    assert forecast["currentMonthlyCAD"] == summary["totalCostCAD"] > 0


async def test_a_budget_is_kept(tmp_path: Path) -> None:
    async with tiers_of(tmp_path, CONFIG.replace("budget: 250", "budget: 0.05")) as tiers:
        gateway = tiers.gateway
        tiers.openrouter.script(fake.chat_reply("A post", usage=fake.count(1000, 2000)))
        write = QUALIFY | {"taskType": "content_generation"}
        fresh = write | {"options": {"bypassCache": True, "maxTokens": 2000}}
        data(await post(gateway, "llm.complete", fresh))
        refused = await post(gateway, "llm.complete", fresh)
        assert error(refused) == (429, -32029, "TOO_MANY_REQUESTS", None)
        assert refused.json["error"]["data"]["turnoutCode"] == "budget_exceeded"
        assert int(refused.headers["retry-after"]) > 0


async def test_rate_limits_of_a_provider_are_kept(tmp_path: Path) -> None:
    text = CONFIG.replace("api_key: k1}}", "api_key: k1, rpm: 1}}")
    async with tiers_of(tmp_path, text) as tiers:
        fresh = QUALIFY | {"options": {"bypassCache": True}}
        found = [data(await post(tiers.gateway, "llm.complete", fresh)) for _ in range(2)]
        assert [each["provider"] for each in found] == ["openrouter", "huggingface"]
        assert len(tiers.openrouter.log) == 1


async def test_warming_fills_what_the_router_reads(tiers: Tiers) -> None:
    """Best practice: the cache, filled beforehand. The same words, the same tenant, the same
    parameters; what the router fills in is said there."""
    gateway = tiers.gateway
    warm = {
        "task": "verification",
        "prompts": [{"messages": [{"role": "user", "content": "Is it so?"}]}],
        "parameters": {"temperature": 0.7, "max_tokens": 1000, "top_p": 0.9},
    }
    made = await gateway.call("POST", "/api/v1/cache/warm", warm)
    assert made.status == 200, made.body
    asked = {"taskType": "verification", "messages": warm["prompts"][0]["messages"]}
    found = data(await post(gateway, "llm.complete", asked, MASTER))
    assert found["metadata"]["cached"] is True
    assert len(tiers.openrouter.log) == 1
