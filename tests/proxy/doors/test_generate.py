"""A prompt in, a text out: where it goes, what it costs, and how it fails."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.gateway import Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{enabled: false}}
retry: {{attempts: 2}}
providers:
  low: {{dialect: openai, base_url: "{one}", api_key: k, priority: 1, models: [small]}}
  high: {{dialect: openai, base_url: "{two}", api_key: k, priority: 20, models: [large, x]}}
  silent: {{dialect: openai, base_url: "{one}", api_key: k, priority: 99}}
  dark: {{dialect: openai, base_url: "{one}", api_key: "${{NO_KEY}}", priority: 50, models: [m]}}
tasks:
  scoring: {{targets: [low/small], defaults: {{temperature: 0.1, max_tokens: 7}}}}
pricing: {{overrides: {{"high/*": {{input: 3, output: 15}}, "low/*": {{input: 0, output: 0}}}}}}
"""
ASK = {"user_id": "cust-1", "service": "crm", "prompt": "Hello"}
SERVICE = {"X-Service-Key": "service-secret", "authorization": ""}


async def call(gateway: Gateway, path: str, body: Any) -> Answer:
    headers = {"X-Service-Key": "service-secret"}
    async with gateway.session.post(gateway.url + path, json=body, headers=headers) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read())


def config(one: Upstream, two: Upstream) -> str:
    return CONFIG.format(one=one.base_url, two=two.base_url)


async def test_the_highest_priority_that_lists_a_model_is_asked(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        two.script(fake.chat_reply("Hi", usage=fake.count(11, 4)))
        answer = await call(gateway, "/api/v1/generate", ASK | {"system": "Be brief"})
        assert answer.status == 200, answer.body
        assert isinstance(answer.json["latency_ms"], int)
        assert {k: v for k, v in answer.json.items() if k != "latency_ms"} == {
            "content": "Hi",
            "provider": "high",
            "model": "large",
            "input_tokens": 11,
            "output_tokens": 4,
            "cost_usd": pytest.approx((11 * 3 + 4 * 15) / 1e6),
            "cached": False,
        }
        sent = two.log[0].json
        assert sent["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Hello"},
        ]
        assert (sent["max_tokens"], sent["temperature"]) == (1000, 0.7)
        assert "response_format" not in sent
        [row] = await gateway.rows()
        assert (row["user_id"], row["service_name"], row["task_type"]) == (
            "cust-1",
            "crm",
            "general",
        )
        assert (row["role"], row["status_code"], row["provider_name"]) == ("service", 200, "high")


async def test_it_fails_over_to_the_next_priority(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        two.script(fake.error_reply(500))
        answer = await call(gateway, "/api/v1/generate", ASK)
        assert (answer.status, answer.json["provider"]) == (200, "low")


async def test_a_task_decides_where_and_how(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        answer = await call(gateway, "/api/v1/generate", ASK | {"task_type": "scoring"})
        assert answer.json["provider"] == "low"
        assert (one.log[0].json["temperature"], one.log[0].json["max_tokens"]) == (0.1, 7)
        said = ASK | {"task_type": "scoring", "temperature": 0.9, "json_mode": True}
        await call(gateway, "/api/v1/generate", said)
        sent = one.log[1].json
        assert (sent["temperature"], sent["max_tokens"]) == (0.9, 7)
        assert sent["response_format"] == {"type": "json_object"}
        assert [row["task_type"] for row in await gateway.rows(2)] == ["scoring"] * 2


async def test_whatever_a_provider_does_is_a_502(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        for status in (400, 401, 429, 500):
            one.script(fake.error_reply(status))
            body = ASK | {"task_type": "scoring"}
            assert (await call(gateway, "/api/v1/generate", body)).status == 502, status
            await gateway.call("POST", "/api/v1/breakers/reset")


async def test_without_any_provider_it_is_a_503(tmp_path: Path) -> None:
    text = CONFIG.partition("providers:")[0].format()
    text += 'providers: {x: {dialect: openai, base_url: "http://127.0.0.1:1", api_key: k}}\n'
    async with running(tmp_path, text) as gateway:
        answer = await call(gateway, "/api/v1/generate", ASK)
        assert answer.error == (503, "service_unavailable_error", "no_provider")
        assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"user_id": None}, "user_id"),
        ({"service": ""}, "service"),
        ({"prompt": ""}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 8001}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"json_mode": "maybe"}, "json_mode"),
    ],
)
async def test_what_is_at_fault_is_a_422(
    tmp_path: Path, change: dict[str, Any], param: str
) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        answer = await call(gateway, "/api/v1/generate", ASK | change)
        assert answer.error == (422, "invalid_request_error", "invalid_value")
        assert answer.json["error"]["param"] == param
        assert not one.log
        assert not two.log


async def test_an_estimate_asks_nobody(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        answer = await call(gateway, "/api/v1/estimate", ASK | {"max_tokens": 200})
        assert answer.status == 200, answer.body
        found = answer.json
        assert (found["provider"], found["model"], found["output_tokens"]) == ("high", "large", 200)
        assert found["output_cost_usd"] == pytest.approx(200 * 15 / 1e6)
        assert found["input_cost_usd"] == pytest.approx(found["input_tokens"] * 3 / 1e6)
        assert found["cost_usd"] == pytest.approx(found["input_cost_usd"] + 0.003)
        assert [t["provider"] for t in found["targets"]] == ["high", "low"]
        assert found["targets"][1]["cost_usd"] == 0
        assert found["max_cost_usd"] == found["cost_usd"]
        by_name = {"model": "low/small", "messages": [{"role": "user", "content": "x"}]}
        async with gateway.session.post(
            gateway.url + "/api/v1/estimate",
            json=by_name,
            headers={"authorization": f"Bearer {gateway.key}"},
        ) as reply:
            assert (reply.status, (await reply.json())["provider"]) == (200, "low")
        nobody = await call(gateway, "/api/v1/estimate", {"model": "none", "prompt": "x"})
        assert nobody.error == (404, "invalid_request_error", "model_not_found")
        both = await call(gateway, "/api/v1/estimate", by_name | {"prompt": "x"})
        assert both.status == 422
        assert not one.log
        assert not two.log


async def test_a_key_learns_nothing_of_another_customer_s_way(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        other = {"user_id": "custB", "provider_name": "low", "model_name": "small"}
        assert (await gateway.call("POST", "/api/v1/overrides", other)).status == 201
        body = {"user_id": "custB", "prompt": "x"}
        operator = await gateway.call("POST", "/api/v1/estimate", body)
        assert operator.json["provider"] == "low"
        stranger = await gateway.call("POST", "/api/v1/estimate", body, key=gateway.key)
        assert stranger.json["provider"] == "high"
        narrow = await gateway.call("POST", "/api/v1/keys", {"models": ["low/*"]})
        refused = await gateway.call("POST", "/api/v1/estimate", body, key=narrow.json["key"])
        assert refused.error == (404, "invalid_request_error", "model_not_found")


async def test_a_provider_s_own_limit_is_told_as_one(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two:
        text = config(one, two).replace("models: [small]", "models: [small], rpm: 1")
        async with running(tmp_path, text) as gateway:
            body = ASK | {"task_type": "scoring"}
            assert (await call(gateway, "/api/v1/generate", body)).status == 200
            told = await call(gateway, "/api/v1/generate", body)
            assert told.error == (429, "rate_limit_error", "rate_limit_exceeded")
            assert 0 < int(told.headers["retry-after"]) <= 60


async def test_customers_share_no_answers(tmp_path: Path) -> None:
    """Also not when the master key asks for them."""
    async with Upstream() as one, Upstream() as two:
        text = config(one, two).replace("cache: {enabled: false}", "cache: {enabled: true}")
        async with running(tmp_path, text) as gateway:
            for customer, cached in (("c1", False), ("c2", False), ("c1", True)):
                body = ASK | {"user_id": customer}
                told = await gateway.call("POST", "/api/v1/generate", body)
                assert (customer, told.json["cached"]) == (customer, cached)


async def test_many_prompts_some_at_a_time(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        texts = [ASK | {"prompt": str(n), "task_type": "scoring"} for n in range(20)]
        answer = await call(gateway, "/api/v1/batch", {"requests": texts, "concurrency": 3})
        assert answer.headers["content-type"] == "application/x-ndjson"
        *lines, last = [orjson.loads(line) for line in answer.body.splitlines()]
        assert sorted(line["index"] for line in lines) == list(range(20))
        assert [line["done"] for line in lines] == list(range(1, 21))
        assert {line["status"] for line in lines} == {"ok"}
        assert last["summary"]["succeeded"] == 20
        assert len(one.log) == 20
        assert len(await gateway.rows(20)) == 20


async def test_one_of_many_may_fail(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        one.script(fake.chat_reply(), fake.error_reply(400), fake.chat_reply())
        texts = [ASK | {"task_type": "scoring"}] * 3
        answer = await call(gateway, "/api/v1/batch", {"requests": texts, "concurrency": 1})
        *lines, last = [orjson.loads(line) for line in answer.body.splitlines()]
        assert [line["status"] for line in lines] == ["ok", "error", "ok"]
        assert lines[1]["error"]["status"] == 502
        assert (last["summary"]["succeeded"], last["summary"]["failed"]) == (2, 1)
        rows = await gateway.rows(3)
        assert sorted(row["outcome"] for row in rows) == ["failed", "ok", "ok"]


async def test_whoever_leaves_a_batch_ends_it(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as two, running(tmp_path, config(one, two)) as gateway:
        one.script([fake.Stall()])
        texts = [ASK | {"task_type": "scoring"}] * 50
        body = {"requests": texts, "concurrency": 2}
        asking = asyncio.ensure_future(call(gateway, "/api/v1/batch", body))
        while len(one.log) < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        rows = await gateway.rows(2)
        assert {row["outcome"] for row in rows} == {"client_closed"}
        await asyncio.sleep(0.1)
        assert len(one.log) == 2
