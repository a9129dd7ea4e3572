"""The API of llm-gateway-api.md from its first line to its last, as its callers call it.

What was asked, and of whom, is judged by the fake upstreams' own logs.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.gateway import Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

SERVICE = {"X-Service-Key": "dev-gateway-key"}
CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [dev-gateway-key]}}
server: {{private_providers: true}}
retry: {{attempts: 1}}
pricing:
  overrides:
    "low/*": {{input: 1.0, output: 10.0}}
    "high/*": {{input: 2.0, output: 20.0}}
    "made/*": {{input: 3.0, output: 30.0}}
cache: {{enabled: {cache}}}
providers:
  low:
    {{dialect: openai, base_url: "{low}", api_key: sk-low-secret, models: [low-1, low-2],
      priority: 1}}
  high:
    {{dialect: openai, base_url: "{high}", api_key: sk-high-secret, models: [high-1, high-2],
      priority: 20}}
  gone:
    {{dialect: openai, base_url: "{low}", api_key: "${{NOT_SET}}", models: [gone-1], priority: 99}}
tasks:
  summarise: {{targets: [low/low-2], defaults: {{temperature: 0.1}}}}
"""
KEY = "sk-made-through-the-api-0123456789"
HELLO = {"user_id": "customer-1", "service": "mailer", "prompt": "Say hello."}
ANSWER_FIELDS = {
    "content": str,
    "provider": str,
    "model": str,
    "input_tokens": int,
    "output_tokens": int,
    "cost_usd": float,
    "cached": bool,
    "latency_ms": int,
}
PROVIDER_FIELDS = {
    "id": str,
    "name": str,
    "display_name": str,
    "base_url": str,
    "models": list,
    "is_enabled": bool,
    "rate_limit_rpm": int,
    "rate_limit_tpm": int,
    "priority": int,
    "created_at": str,
    "updated_at": str,
}


def config(low: Upstream, high: Upstream, cache: bool = False) -> str:
    return CONFIG.format(low=low.base_url, high=high.base_url, cache=str(cache).lower())


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream, other: Upstream) -> AsyncIterator[Gateway]:
    """`up` is the provider `low`, `other` is `high`."""
    async with running(tmp_path, config(up, other)) as gateway:
        yield gateway


async def call(
    gateway: Gateway, method: str, path: str, body: Any = None, headers: Any = None
) -> Answer:
    """A call below the base URL, with the service key."""
    url = gateway.url + "/api/v1" + path
    given = SERVICE if headers is None else headers
    async with gateway.session.request(method, url, json=body, headers=given) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read())


async def generate(gateway: Gateway, **over: Any) -> Answer:
    return await call(gateway, "POST", "/generate", HELLO | over)


def provider(up: Upstream, **over: Any) -> dict[str, Any]:
    """A provider to be made; it is at a private address, which the test's operator allows."""
    return {
        "name": "made",
        "display_name": "Made here",
        "api_key": KEY,
        "base_url": up.base_url,
        "models": ["m-1", "m-2"],
        "allow_private": True,
    } | over


def typed(found: dict[str, Any], fields: dict[str, type]) -> dict[str, Any]:
    """The fields of an answer, each of its type."""
    for name, kind in fields.items():
        assert type(found[name]) is kind, (name, found[name])
    return {name: found[name] for name in fields}


# Health.


async def test_health_is_open_and_short(gateway: Gateway) -> None:
    answer = await call(gateway, "GET", "/health", headers={})
    assert answer.status == 200
    found = {name: answer.json[name] for name in ("status", "service", "database")}
    assert found == {"status": "ok", "service": "turnout", "database": "ok"}


async def test_health_of_the_providers(gateway: Gateway, up: Upstream) -> None:
    await call(gateway, "POST", "/providers", provider(up))
    answer = await call(gateway, "GET", "/health/providers")
    assert answer.status == 200
    assert set(answer.json) == {"providers"}
    found = {each["name"]: each for each in answer.json["providers"]}
    assert found["low"] == {
        "name": "low",
        "display_name": "low",
        "is_enabled": True,
        "models_count": 2,
    }
    assert found["gone"]["is_enabled"] is False, "its key is not set"
    assert found["made"] == {
        "name": "made",
        "display_name": "Made here",
        "is_enabled": True,
        "models_count": 2,
    }


GUARDED = (
    ("GET", "/health/providers"),
    ("POST", "/generate"),
    ("GET", "/providers"),
    ("POST", "/providers"),
    ("GET", "/providers/low"),
    ("PATCH", "/providers/low"),
    ("DELETE", "/providers/low"),
    ("POST", "/providers/low/test"),
    ("GET", "/overrides"),
    ("POST", "/overrides"),
    ("DELETE", "/overrides/any"),
    ("GET", "/usage/summary"),
    ("GET", "/usage/by-provider"),
    ("GET", "/usage/by-service"),
    ("GET", "/usage/by-customer"),
    ("POST", "/batch"),
    ("POST", "/estimate"),
)
WRONG: tuple[dict[str, str], ...] = ({}, {"X-Service-Key": "not-the-key"}, {"X-Service-Key": ""})


@pytest.mark.parametrize("headers", WRONG)
async def test_everything_else_wants_the_service_key(
    gateway: Gateway, up: Upstream, headers: dict[str, str]
) -> None:
    for method, path in GUARDED:
        answer = await call(gateway, method, path, {}, headers)
        assert answer.error == (401, "invalid_request_error", "invalid_api_key"), path
        assert b"not-the-key" not in answer.body
    assert up.log == []


async def test_a_service_key_opens_no_accounts_and_no_keys(gateway: Gateway) -> None:
    for path in ("/users", "/keys", "/users/me", "/users/me/api-keys", "/alerts"):
        answer = await call(gateway, "GET", path)
        assert answer.error == (403, "permission_error", "forbidden"), path


# Generate.


async def test_generate_with_what_is_required(
    gateway: Gateway, up: Upstream, other: Upstream
) -> None:
    """Every field of the answer, and every default of the request, as the provider was told."""
    other.script(fake.chat_reply("Hello!", usage=fake.count(100, 20)))
    answer = await generate(gateway)
    assert answer.status == 200
    assert set(answer.json) == set(ANSWER_FIELDS)
    found = typed(answer.json, ANSWER_FIELDS)
    assert 0 <= found.pop("latency_ms") < 10_000
    assert found == {
        "content": "Hello!",
        "provider": "high",
        "model": "high-1",
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": 0.0006,  # 100 at 2 USD a million, 20 at 20
        "cached": False,
    }
    [sent] = other.log
    assert sent.path == "/v1/chat/completions"
    assert sent.header("authorization") == "Bearer sk-high-secret"
    assert sent.json == {
        "model": "high-1",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 1000,
        "temperature": 0.7,
    }
    assert up.log == []
    [row] = await gateway.rows()
    named = ("user_id", "service_name", "task_type", "provider_name", "model", "cost_nanousd")
    assert tuple(row[name] for name in named) == (
        "customer-1",
        "mailer",
        "general",
        "high",
        "high-1",
        600_000,
    )


async def test_generate_with_everything(gateway: Gateway, other: Upstream) -> None:
    other.script(fake.chat_reply('{"hello": 1}'))
    answer = await generate(
        gateway,
        task_type="greeting",
        system="Be brief.",
        max_tokens=77,
        temperature=1.5,
        json_mode=True,
    )
    assert answer.json["content"] == '{"hello": 1}'
    assert other.log[0].json == {
        "model": "high-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello."},
        ],
        "max_tokens": 77,
        "temperature": 1.5,
        "response_format": {"type": "json_object"},
    }
    [row] = await gateway.rows()
    assert row["task_type"] == "greeting"


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 1), ("max_tokens", 8000), ("temperature", 0.0), ("temperature", 2.0)],
)
async def test_the_ends_of_a_range_are_in_it(
    gateway: Gateway, other: Upstream, field: str, value: float
) -> None:
    answer = await generate(gateway, **{field: value})
    assert answer.status == 200
    assert other.log[0].json[field] == value


REFUSED: tuple[tuple[str, Any], ...] = (
    ("max_tokens", 0),
    ("max_tokens", 8001),
    ("max_tokens", "many"),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "hot"),
    ("json_mode", "perhaps"),
    ("prompt", 7),
    ("system", None),
    ("task_type", []),
    ("user_id", ""),
    ("service", {}),
)


async def test_what_is_beyond_is_a_422_that_names_it(
    gateway: Gateway, up: Upstream, other: Upstream
) -> None:
    for field, value in REFUSED:
        answer = await generate(gateway, **{field: value})
        assert answer.error == (422, "invalid_request_error", "invalid_value"), (field, value)
        assert answer.json["error"]["param"] == field
    assert up.log == other.log == []


async def test_what_is_required(gateway: Gateway, other: Upstream) -> None:
    for field in ("user_id", "service", "prompt"):
        body = {name: value for name, value in HELLO.items() if name != field}
        answer = await call(gateway, "POST", "/generate", body)
        assert answer.error == (422, "invalid_request_error", "invalid_value"), field
        assert answer.json["error"]["param"] == field
    assert other.log == []


async def test_a_field_that_is_not_known_is_left_alone(gateway: Gateway, other: Upstream) -> None:
    answer = await generate(gateway, base_url="http://127.0.0.1:9", provider="low")
    assert answer.json["provider"] == "high"
    assert "base_url" not in other.log[0].json


async def test_generate_by_task(gateway: Gateway, up: Upstream, other: Upstream) -> None:
    """A task of the configuration says where, and what a request leaves out."""
    answer = await generate(gateway, task_type="summarise")
    assert (answer.json["provider"], answer.json["model"]) == ("low", "low-2")
    assert (up.log[0].json["temperature"], up.log[0].json["max_tokens"]) == (0.1, 1000)
    await generate(gateway, task_type="summarise", temperature=0.9)
    assert up.log[1].json["temperature"] == 0.9
    assert other.log == []
    rows = await gateway.rows(2)
    assert [row["task_type"] for row in rows] == ["summarise", "summarise"]


async def test_a_kept_answer(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    async with running(tmp_path, config(up, other, cache=True)) as gateway:
        first, again = await generate(gateway), await generate(gateway)
    assert (first.json["cached"], again.json["cached"]) == (False, True)
    assert again.json["content"] == first.json["content"] == "Hello there"
    assert again.json["cost_usd"] == 0.0
    assert len(other.log) == 1


async def test_a_limit_is_a_429(gateway: Gateway, other: Upstream) -> None:
    """Of the customer that is named, who has an account with limits: another is served."""
    account = {"email": "ann@example.com", "limits": {"rpm": 1}}
    made = await gateway.call("POST", "/api/v1/users", account)
    customer = made.json["id"]
    assert (await generate(gateway, user_id=customer)).status == 200
    answer = await generate(gateway, user_id=customer)
    assert answer.error == (429, "rate_limit_error", "rate_limit_exceeded")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert (await generate(gateway, user_id="customer-2")).status == 200
    assert len(other.log) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_a_provider_that_fails_is_a_502(
    gateway: Gateway, up: Upstream, other: Upstream, status: int
) -> None:
    for each in (up, other):
        each.script(fake.error_reply(status, "no good"))
    answer = await generate(gateway)
    assert answer.status == 502
    assert set(answer.json) == {"error"}
    assert b"sk-high-secret" not in answer.body


async def test_the_next_priority_answers_when_the_first_fails(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    text = config(up, other).replace("attempts: 1", "attempts: 2")
    other.script(fake.error_reply(500))
    async with running(tmp_path, text) as gateway:
        answer = await generate(gateway)
    assert (answer.status, answer.json["provider"], answer.json["model"]) == (200, "low", "low-1")
    assert [len(other.log), len(up.log)] == [1, 1]


async def test_no_enabled_provider_is_a_503(tmp_path: Path) -> None:
    text = """
auth: {master_key: "${TURNOUT_MASTER_KEY}", service_keys: [dev-gateway-key]}
providers:
  gone: {dialect: openai, base_url: "http://127.0.0.1:9", api_key: "${NOT_SET}", models: [m]}
"""
    async with running(tmp_path, text) as gateway:
        answer = await generate(gateway)
    assert answer.error == (503, "service_unavailable_error", "no_provider")
    assert "retry-after" in answer.headers


# Providers.


async def test_a_provider_is_made_shown_and_listed(gateway: Gateway, up: Upstream) -> None:
    made = await call(gateway, "POST", "/providers", provider(up))
    assert made.status == 201
    found = typed(made.json, PROVIDER_FIELDS)
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(found.pop(name)).tzinfo is not None
    assert found.pop("id") not in ("", "made")
    assert found == {
        "name": "made",
        "display_name": "Made here",
        "base_url": up.base_url,
        "models": ["m-1", "m-2"],
        "is_enabled": True,
        "rate_limit_rpm": 60,
        "rate_limit_tpm": 100_000,
        "priority": 10,
    }
    shown = await call(gateway, "GET", f"/providers/{made.json['id']}")
    assert (shown.status, shown.json) == (200, made.json)
    listed = await call(gateway, "GET", "/providers")
    assert [each["name"] for each in listed.json] == ["low", "high", "gone", "made"]
    assert listed.json[-1] == made.json
    for each in listed.json:
        assert set(PROVIDER_FIELDS) <= set(each)
    for name in ("made", "low"):
        again = await call(gateway, "POST", "/providers", provider(up, name=name))
        assert again.error == (409, "invalid_request_error", "conflict")


async def test_every_field_of_a_provider_may_be_said(gateway: Gateway, up: Upstream) -> None:
    given = {"is_enabled": False, "rate_limit_rpm": 7, "rate_limit_tpm": 8, "priority": 30}
    made = await call(gateway, "POST", "/providers", provider(up, **given))
    assert {name: made.json[name] for name in given} == given


async def test_what_a_provider_has_to_have(gateway: Gateway, up: Upstream) -> None:
    for field in ("name", "display_name", "api_key", "models"):
        body = {name: value for name, value in provider(up).items() if name != field}
        answer = await call(gateway, "POST", "/providers", body)
        assert answer.error == (422, "invalid_request_error", "invalid_value"), field
        assert answer.json["error"]["param"] == field


async def test_what_a_provider_may_not_have(gateway: Gateway, up: Upstream) -> None:
    for field, value in (
        ("models", "m-1"),
        ("models", []),
        ("is_enabled", "perhaps"),
        ("rate_limit_rpm", 0),
        ("rate_limit_tpm", "many"),
        ("priority", 1.5),
        ("base_url", "no url"),
    ):
        answer = await call(gateway, "POST", "/providers", provider(up, **{field: value}))
        assert answer.error == (422, "invalid_request_error", "invalid_value"), (field, value)
        assert answer.json["error"]["param"].split(".")[0] == field


async def test_a_base_url_may_be_left_out(gateway: Gateway) -> None:
    body = {"name": "mistral", "display_name": "Mistral", "api_key": KEY, "models": ["m"]}
    made = await call(gateway, "POST", "/providers", body)
    assert (made.status, made.json["base_url"]) == (201, "https://api.mistral.ai/v1")


async def test_a_provider_is_changed_field_by_field(gateway: Gateway, up: Upstream) -> None:
    made = (await call(gateway, "POST", "/providers", provider(up))).json
    path = f"/providers/{made['id']}"
    changes: dict[str, Any] = {
        "name": "renamed",
        "display_name": "Another",
        "models": ["m-9"],
        "is_enabled": False,
        "rate_limit_rpm": 5,
        "rate_limit_tpm": 6,
        "priority": 11,
    }
    expected = dict(made)
    for field, value in changes.items():
        changed = await call(gateway, "PATCH", path, {field: value})
        assert changed.status == 200, changed.body
        expected |= {field: value}
        expected["updated_at"] = changed.json["updated_at"]
        expected["off"] = changed.json["off"]
        assert changed.json == expected
    assert expected["updated_at"] > made["updated_at"]
    assert (await call(gateway, "PATCH", path, {})).status == 200
    wrong = await call(gateway, "PATCH", path, {"priority": "first"})
    assert wrong.error == (422, "invalid_request_error", "invalid_value")


async def test_a_provider_is_tested_used_disabled_and_deleted(
    gateway: Gateway, up: Upstream, other: Upstream
) -> None:
    made = (await call(gateway, "POST", "/providers", provider(up, priority=100))).json
    path = f"/providers/{made['id']}"
    tested = await call(gateway, "POST", path + "/test")
    assert (tested.status, tested.json) == (200, {"success": True, "error": None})
    [tried] = up.log
    assert (tried.path, tried.header("authorization")) == ("/v1/models", f"Bearer {KEY}")

    served = (await generate(gateway)).json
    assert (served["provider"], served["model"]) == ("made", "m-1")
    assert served["cost_usd"] == 0.000117  # 9 at 3 USD a million, 3 at 30
    assert up.log[-1].header("authorization") == f"Bearer {KEY}"

    await call(gateway, "PATCH", path, {"is_enabled": False})
    assert (await generate(gateway)).json["provider"] == "high"
    off = await call(gateway, "POST", path + "/test")
    assert off.json["success"] is False
    assert isinstance(off.json["error"], str)

    gone = await call(gateway, "DELETE", path)
    assert (gone.status, gone.body) == (204, b"")
    for method, at in (("GET", path), ("PATCH", path), ("DELETE", path), ("POST", path + "/test")):
        answer = await call(gateway, method, at, {})
        assert answer.error == (404, "invalid_request_error", "not_found"), method
    assert (await call(gateway, "POST", "/providers", provider(up))).status == 201


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (fake.error_reply(401, f"bad key {KEY}"), "401"),
        (fake.error_reply(500, f"no good {KEY}"), "500"),
        (fake.html_reply(), "JSON"),
    ],
)
async def test_a_test_that_fails_says_why(
    gateway: Gateway, up: Upstream, script: fake.Script, words: str
) -> None:
    made = (await call(gateway, "POST", "/providers", provider(up))).json
    up.script(script)
    answer = await call(gateway, "POST", f"/providers/{made['id']}/test")
    assert answer.status == 200
    assert set(answer.json) == {"success", "error"}
    assert answer.json["success"] is False
    assert words in answer.json["error"]
    assert KEY.encode() not in answer.body


async def test_a_test_where_nobody_is(gateway: Gateway, up: Upstream) -> None:
    url = f"http://127.0.0.1:{fake.refused_port()}/v1"
    made = (await call(gateway, "POST", "/providers", provider(up, base_url=url))).json
    answer = await call(gateway, "POST", f"/providers/{made['id']}/test")
    assert (answer.status, answer.json["success"]) == (200, False)
    assert isinstance(answer.json["error"], str)


async def test_the_files_providers_can_be_read_and_tested_only(
    gateway: Gateway, up: Upstream
) -> None:
    shown = await call(gateway, "GET", "/providers/low")
    assert (shown.json["id"], shown.json["source"]) == ("low", "file")
    assert (await call(gateway, "POST", "/providers/low/test")).json["success"] is True
    for method in ("PATCH", "DELETE"):
        answer = await call(gateway, method, "/providers/low", {})
        assert answer.error == (409, "invalid_request_error", "conflict")


async def test_no_key_is_ever_in_an_answer(gateway: Gateway, up: Upstream) -> None:
    bodies = []
    made = await call(gateway, "POST", "/providers", provider(up))
    path = f"/providers/{made.json['id']}"
    bodies.append(made.body)
    for method, at, body in (
        ("GET", path, None),
        ("GET", "/providers", None),
        ("GET", "/health/providers", None),
        ("PATCH", path, {"api_key": KEY + "-2"}),
        ("PATCH", path, {"api_key": 7}),
        ("PATCH", path, {"models": KEY}),
        ("POST", path + "/test", None),
        ("POST", "/providers", provider(up)),
        ("POST", "/providers", provider(up, api_key=[KEY])),
        ("DELETE", path, None),
    ):
        bodies.append((await call(gateway, method, at, body)).body)
    for secret in (KEY, "sk-low-secret", "sk-high-secret"):
        assert not any(secret.encode() in body for body in bodies)
    assert up.log[0].header("authorization") == f"Bearer {KEY}-2", "the new key is the one in use"


# Overrides.


async def test_overrides_are_made_listed_and_deleted(gateway: Gateway) -> None:
    body = {"user_id": "customer-1", "provider_name": "low", "model_name": "low-2"}
    everywhere = await call(gateway, "POST", "/overrides", body)
    assert everywhere.status == 201
    found = dict(everywhere.json)
    for name in ("created_at", "updated_at"):
        assert datetime.fromisoformat(found.pop(name)).tzinfo is not None
    assert isinstance(found.pop("id"), str)
    assert found == body | {"service_name": None}
    of_one = {"user_id": "customer-2", "service_name": "mailer"} | {
        "provider_name": "high",
        "model_name": "high-2",
    }
    second = (await call(gateway, "POST", "/overrides", of_one)).json
    assert second["service_name"] == "mailer"

    listed = await call(gateway, "GET", "/overrides")
    assert listed.json == [everywhere.json, second]
    mine = await call(gateway, "GET", "/overrides?user_id=customer-2")
    assert mine.json == [second]
    assert (await call(gateway, "GET", "/overrides?user_id=nobody")).json == []

    gone = await call(gateway, "DELETE", f"/overrides/{second['id']}")
    assert (gone.status, gone.body) == (204, b"")
    again = await call(gateway, "DELETE", f"/overrides/{second['id']}")
    assert again.error == (404, "invalid_request_error", "not_found")
    assert (await call(gateway, "GET", "/overrides")).json == [everywhere.json]


async def test_what_an_override_has_to_have(gateway: Gateway) -> None:
    whole = {"user_id": "customer-1", "provider_name": "low", "model_name": "low-2"}
    for field in whole:
        body = {name: value for name, value in whole.items() if name != field}
        answer = await call(gateway, "POST", "/overrides", body)
        assert answer.error == (422, "invalid_request_error", "invalid_value"), field
        assert answer.json["error"]["param"] == field


async def test_generate_by_override(gateway: Gateway, up: Upstream, other: Upstream) -> None:
    """One for a service comes before one for all services, both before the task and priority."""

    async def goes(**over: Any) -> str:
        found = (await generate(gateway, **over)).json
        return f"{found['provider']}/{found['model']}"

    async def override(**body: Any) -> str:
        given = {"user_id": "customer-1", "provider_name": "low"} | body
        return str((await call(gateway, "POST", "/overrides", given)).json["id"])

    assert await goes() == "high/high-1"
    everywhere = await override(model_name="low-2")
    assert await goes() == "low/low-2"
    of_mailer = await override(service_name="mailer", model_name="low-1")
    assert await goes() == "low/low-1"
    assert await goes(service="reports") == "low/low-2"
    assert await goes(user_id="customer-2") == "high/high-1"
    assert await goes(task_type="summarise") == "low/low-1"
    sent = [received.json["model"] for received in up.log]
    assert sent == ["low-2", "low-1", "low-2", "low-1"]
    assert [received.json["model"] for received in other.log] == ["high-1", "high-1"]
    await call(gateway, "DELETE", f"/overrides/{of_mailer}")
    assert await goes() == "low/low-2"
    await call(gateway, "DELETE", f"/overrides/{everywhere}")
    assert await goes() == "high/high-1"


# Usage.


@pytest.fixture
async def used(tmp_path: Path, up: Upstream, other: Upstream) -> AsyncIterator[Gateway]:
    """Six calls: three of customer-1 to `high`, two of customer-2 and one of customer-3 by task to
    `low`. Of the first and the second customer one each is answered from the cache."""
    other.on(lambda _: fake.chat_reply("Hello", usage=fake.count(100, 20)))
    up.on(lambda _: fake.chat_reply("Hello", usage=fake.count(1000, 50)))
    async with running(tmp_path, config(up, other, cache=True)) as gateway:
        assert (await generate(gateway, prompt="One")).json["cached"] is False
        assert (await generate(gateway, prompt="Two", service="reports")).json["cached"] is False
        assert (await generate(gateway, prompt="One")).json["cached"] is True
        for user, cached in (("customer-2", False), ("customer-3", False), ("customer-2", True)):
            ask = {"user_id": user, "prompt": f"To {user}", "task_type": "summarise"}
            assert (await generate(gateway, **ask)).json["cached"] is cached
        await gateway.rows(6)
        yield gateway


def columns(rows: list[dict[str, Any]], *names: str) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in names) for row in rows}


async def test_usage_in_all(used: Gateway, up: Upstream, other: Upstream) -> None:
    """Two answers of `high` at 100 + 20 tokens, two of `low` at 1000 + 50: 0.0006 and 0.0015 USD
    each. A kept answer has its tokens and costs nothing."""
    assert [len(other.log), len(up.log)] == [2, 2]
    answer = await call(used, "GET", "/usage/summary")
    assert answer.status == 200
    found = typed(
        answer.json,
        {
            "period_days": int,
            "total_requests": int,
            "total_cost_usd": float,
            "total_tokens": int,
            "cached_requests": int,
            "error_requests": int,
            "cache_hit_rate": float,
        },
    )
    assert found == {
        "period_days": 30,
        "total_requests": 6,
        "total_cost_usd": 0.0042,
        "total_tokens": 3 * 120 + 3 * 1050,
        "cached_requests": 2,
        "error_requests": 0,
        "cache_hit_rate": pytest.approx(2 / 6),
    }


async def test_failed_calls_are_counted(gateway: Gateway, other: Upstream) -> None:
    other.script(fake.error_reply(500), fake.chat_reply())
    assert (await generate(gateway)).status == 502
    assert (await generate(gateway)).status == 200
    await gateway.rows(2)
    found = (await call(gateway, "GET", "/usage/summary?days=1")).json
    assert (found["period_days"], found["total_requests"], found["error_requests"]) == (1, 2, 1)


async def test_usage_by_provider(used: Gateway) -> None:
    rows = (await call(used, "GET", "/usage/by-provider")).json
    kinds = {
        "provider_name": str,
        "request_count": int,
        "total_cost_usd": float,
        "avg_latency_ms": float,
        "total_tokens": int,
    }
    for row in rows:
        assert typed(row, kinds)["avg_latency_ms"] >= 0
    names = ("provider_name", "request_count", "total_cost_usd", "total_tokens")
    assert columns(rows, *names) == {("high", 3, 0.0012, 360), ("low", 3, 0.003, 3150)}


async def test_usage_by_service(used: Gateway) -> None:
    rows = (await call(used, "GET", "/usage/by-service")).json
    names = ("service_name", "request_count", "total_cost_usd", "total_tokens")
    assert columns(rows, *names) == {("mailer", 5, 0.0036, 3390), ("reports", 1, 0.0006, 120)}


async def test_usage_by_customer(used: Gateway) -> None:
    rows = (await call(used, "GET", "/usage/by-customer")).json
    assert [row["user_id"] for row in rows][-1] == "customer-1", "the dearest first"
    assert columns(rows, "user_id", "request_count", "total_cost_usd") == {
        ("customer-1", 3, 0.0012),
        ("customer-2", 2, 0.0015),
        ("customer-3", 1, 0.0015),
    }
    assert len((await call(used, "GET", "/usage/by-customer?limit=1")).json) == 1


USAGE = ("summary", "by-provider", "by-service", "by-customer")


@pytest.mark.parametrize("path", USAGE)
async def test_the_range_of_days(gateway: Gateway, path: str) -> None:
    for days in ("1", "365"):
        assert (await call(gateway, "GET", f"/usage/{path}?days={days}")).status == 200
    for days in ("0", "366", "-1", "x", ""):
        answer = await call(gateway, "GET", f"/usage/{path}?days={days}")
        assert answer.error == (422, "invalid_request_error", "invalid_value"), days
        assert answer.json["error"]["param"] == "days"


async def test_the_range_of_the_limit(gateway: Gateway) -> None:
    for limit in ("1", "500"):
        path = f"/usage/by-customer?limit={limit}"
        assert (await call(gateway, "GET", path)).status == 200
    for limit in ("0", "501", "x", ""):
        answer = await call(gateway, "GET", f"/usage/by-customer?limit={limit}")
        assert answer.error == (422, "invalid_request_error", "invalid_value"), limit
        assert answer.json["error"]["param"] == "limit"


async def test_fifty_customers_unless_more_are_wanted(gateway: Gateway) -> None:
    body = {"requests": [HELLO | {"user_id": f"customer-{n}"} for n in range(52)]}
    assert (await call(gateway, "POST", "/batch", body)).status == 200
    await gateway.rows(52)
    assert len((await call(gateway, "GET", "/usage/by-customer")).json) == 50
    assert len((await call(gateway, "GET", "/usage/by-customer?limit=500")).json) == 52


# What is beside the document: many at once, and what a call would cost.


async def test_a_batch_tells_of_its_progress(gateway: Gateway, other: Upstream) -> None:
    """A line for each call as it ends, while others are under way; then the sums."""
    body = {
        "requests": [
            HELLO | {"prompt": "slow"},
            HELLO | {"prompt": "bad", "max_tokens": 5},
            HELLO | {"prompt": "good"},
        ],
        "concurrency": 3,
    }
    release = asyncio.Event()

    def answered(received: fake.Received) -> fake.Script:
        prompt = received.json["messages"][0]["content"]
        if prompt == "slow":
            return [fake.WaitFor(release), *fake.chat_reply("late")]
        return fake.error_reply(500) if prompt == "bad" else fake.chat_reply("Hello")

    other.on(answered)
    url = gateway.url + "/api/v1/batch"
    async with gateway.session.post(url, json=body, headers=SERVICE) as reply:
        assert reply.status == 200
        assert reply.content_type == "application/x-ndjson"
        early = [orjson.loads(await reply.content.readline()) for _ in range(2)]
        release.set()
        late, last = [orjson.loads(line) for line in (await reply.read()).splitlines()]
    assert [(line["done"], line["total"]) for line in [*early, late]] == [(1, 3), (2, 3), (3, 3)]
    by_place = {line["index"]: line for line in [*early, late]}
    assert late["index"] == 0, "what is slow holds nobody up"
    assert by_place[1]["status"] == "error"
    assert by_place[1]["error"]["status"] == 502
    for place, words in ((0, "late"), (2, "Hello")):
        assert by_place[place]["status"] == "ok"
        assert typed(by_place[place]["result"], ANSWER_FIELDS)["content"] == words
    assert last == {
        "summary": {"total": 3, "succeeded": 2, "failed": 1, "cached": 0, "cost_usd": 0.000156}
    }
    assert len(await gateway.rows(3)) == 3


async def test_a_batch_that_is_wrong_asks_nobody(gateway: Gateway, other: Upstream) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [HELLO], "concurrency": 0}, "concurrency"),
        ({"requests": [HELLO], "concurrency": 33}, "concurrency"),
        ({"requests": [HELLO, HELLO | {"max_tokens": 0}]}, "requests.1.max_tokens"),
    )
    for body, param in wrong:
        answer = await call(gateway, "POST", "/batch", body)
        assert answer.error == (422, "invalid_request_error", "invalid_value"), param
        assert answer.json["error"]["param"] == param
    assert other.log == []


async def test_what_a_call_would_cost(gateway: Gateway, up: Upstream, other: Upstream) -> None:
    """As `generate` would go, and by name; nobody is asked, and the real call costs no more."""
    found = (await call(gateway, "POST", "/estimate", HELLO | {"max_tokens": 100})).json
    assert (found["provider"], found["model"], found["output_tokens"]) == ("high", "high-1", 100)
    assert found["output_cost_usd"] == 0.002  # 100 at 20 USD a million
    assert found["cost_usd"] == pytest.approx(found["input_cost_usd"] + 0.002)
    assert [each["provider"] for each in found["targets"]] == ["high", "low"]
    named = await call(gateway, "POST", "/estimate", {"prompt": "Hi", "model": "low/low-2"})
    assert (named.json["model"], named.json["output_cost_usd"]) == ("low-2", 0.01)
    assert up.log == other.log == []
    other.script(fake.chat_reply("Hello", usage=fake.count(3, 100)))
    assert (await generate(gateway, max_tokens=100)).json["cost_usd"] <= found["cost_usd"]
