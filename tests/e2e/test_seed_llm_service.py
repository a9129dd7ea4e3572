"""The LLM service's API as its users know it, from the first login to the bill.

What went to a provider is judged by the fake upstream's own log, and what is on disk by its bytes.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Script, Upstream

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
providers:
  anthropic: {{dialect: anthropic, base_url: "{one}", api_key: "${{ANTHROPIC_API_KEY}}"}}
  openai: {{dialect: openai, base_url: "{two}", api_key: "${{OPENAI_API_KEY}}"}}
  google: {{dialect: gemini, base_url: "http://127.0.0.1:9", api_key: "${{GOOGLE_API_KEY}}"}}
"""
OPENAI_KEY = "sk-proj-system-0123456789-0123456789-abcd"
OWN_KEY = "sk-ant-real-key-0123456789-0123456789-wxyz"
SYSTEM_KEY = "sk-ant-system-0123456789-0123456789-stuv"
USER = {"email": "user@example.com", "password": "a secret of this very test"}
OTHER = {"email": "other@example.com", "password": "another secret of this test"}
CLAUDE = "anthropic/claude-sonnet-4-5"
CHAT = "/v2/llm/chat/completions"


def claude(words: str = "Hello!") -> Script:
    """An answer in Anthropic's shape: 1000 tokens in, 500 out."""
    return fake.json_reply(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": words}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1000, "output_tokens": 500},
        }
    )


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream, other: Upstream) -> AsyncIterator[Gateway]:
    up.on(lambda _: claude())
    text = CONFIG.format(one=up.base_url, two=other.base_url)
    async with running(tmp_path, text, {"OPENAI_API_KEY": OPENAI_KEY}) as gateway:
        for person in (USER, OTHER):
            made = await gateway.call("POST", "/api/v1/users", person)
            assert made.status == 201, made.body
        yield gateway


async def log_in(gateway: Gateway, person: dict[str, str]) -> str:
    form = {"username": person["email"], "password": person["password"]}
    async with gateway.session.post(gateway.url + "/v2/login/access-token", data=form) as reply:
        assert reply.status == 200
        token = await reply.json()
    assert token["token_type"] == "bearer"
    assert token["access_token"].count(".") == 2
    return str(token["access_token"])


async def model_id(gateway: Gateway, token: str, name: str) -> str:
    models = (await gateway.call("GET", "/v2/llm-models/", key=token)).json
    [found] = [model["id"] for model in models if model["name"] == name]
    return str(found)


async def active(gateway: Gateway, token: str) -> dict[str, Any]:
    answer = await gateway.call("GET", "/v2/llm-models/?is_active=true", key=token)
    assert answer.status == 200, answer.body
    return {model["name"]: model for model in answer.json}


async def save(gateway: Gateway, token: str, key: str | None = OWN_KEY) -> Answer:
    body = {"anthropic_api_key": key}
    answer = await gateway.call("PATCH", "/v2/users/me/api-key", body, token)
    assert answer.status == 200, answer.body
    return answer


async def chat(gateway: Gateway, token: str, **more: Any) -> Answer:
    messages = [{"role": "user", "content": "Hello"}]
    return await gateway.call("POST", CHAT, {"messages": messages} | more, token)


async def test_the_whole_way(gateway: Gateway, up: Upstream) -> None:
    token = await log_in(gateway, USER)

    before = (await gateway.call("GET", "/v2/users/me/api-key-status", key=token)).json
    assert before["has_anthropic_api_key"] is False
    saved = await save(gateway, token)
    assert saved.json["has_anthropic_api_key"] is True
    assert saved.json["anthropic_api_key"].endswith("wxyz")
    assert OWN_KEY.encode() not in saved.body

    models = await active(gateway, token)
    entry = models[CLAUDE]
    assert (entry["source"], entry["currency"]) == ("user", "USD")
    prices = (entry["input_price_per_million"], entry["output_price_per_million"])
    assert prices == (3.0, 15.0)
    assert models["openai/gpt-4o-mini"]["source"] == "system"
    assert not any(name.startswith("google/") for name in models)

    answer = await chat(gateway, token, model_id=entry["id"])
    assert answer.status == 200, answer.body
    got = answer.json
    assert got["choices"][0]["message"] == {"role": "assistant", "content": "Hello!"} | {
        k: v for k, v in got["choices"][0]["message"].items() if k not in ("role", "content")
    }
    assert (got["key_source"], got["model_id"]) == ("user", entry["id"])
    assert got["cost_usd"] == pytest.approx(0.0105)
    assert up.log[0].header("x-api-key") == OWN_KEY
    assert up.log[0].json["model"] == "claude-sonnet-4-5"

    kept = await gateway.call("GET", f"/v2/conversations/{got['conversation_id']}", key=token)
    roles = [(m["role"], m["content"]) for m in kept.json["messages"]]
    assert roles == [("user", "Hello"), ("assistant", "Hello!")]

    [row] = await gateway.rows()
    assert (row["provider_name"], row["model"]) == ("anthropic", "claude-sonnet-4-5")
    usage = (await gateway.call("GET", "/v2/billing/usage/my-usage?days=30", key=token)).json
    assert usage["user_id"] == row["user_id"]
    assert (usage["total_requests"], usage["total_tokens"]) == (1, 1500)
    assert usage["total_cost"] == pytest.approx(0.0105)
    [model] = usage["by_model"]
    assert (model["model_id"], model["provider"]) == (entry["id"], "anthropic")


async def test_a_stream(gateway: Gateway, other: Upstream) -> None:
    token = await log_in(gateway, USER)
    other.script(fake.sse(*fake.chat_chunks(["He", "llo"], usage=fake.count(10, 2))))
    body = {"model_id": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await gateway.call("POST", f"{CHAT}/stream", body, token)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    place = answer.headers["x-turnout-conversation"]
    kept = await gateway.call("GET", f"/v2/conversations/{place}", key=token)
    assert kept.json["messages"][1]["content"] == "Hello"


async def test_own_key_then_systems_then_none(gateway: Gateway, up: Upstream) -> None:
    token = await log_in(gateway, USER)
    name = await model_id(gateway, token, CLAUDE)

    answer = await chat(gateway, token, model_id=name)
    assert answer.error == (400, "invalid_request_error", "no_api_key")
    assert "PATCH /v2/users/me/api-key" in answer.json["detail"]
    assert up.log == []

    put = await gateway.call("PUT", "/v2/admin/llm-keys/anthropic", {"api_key": SYSTEM_KEY})
    assert put.status == 200, put.body
    assert (put.json["is_set"], put.json["source"], put.json["is_enabled"]) == (True, "api", True)
    assert SYSTEM_KEY.encode() not in put.body
    assert (await active(gateway, token))[CLAUDE]["source"] == "system"
    answer = await chat(gateway, token, model_id=name)
    assert (answer.status, answer.json["key_source"]) == (200, "system")
    assert up.log[0].header("x-api-key") == SYSTEM_KEY

    await save(gateway, token)
    assert (await chat(gateway, token, model_id=name)).json["key_source"] == "user"
    assert up.log[1].header("x-api-key") == OWN_KEY

    removed = await gateway.call("DELETE", "/v2/users/me/api-key?provider=anthropic", key=token)
    assert removed.status in (200, 204)
    assert (await chat(gateway, token, model_id=name)).json["key_source"] == "system"
    assert up.log[2].header("x-api-key") == SYSTEM_KEY

    assert (await gateway.call("DELETE", "/v2/admin/llm-keys/anthropic")).status == 204
    assert (await chat(gateway, token, model_id=name)).error[2] == "no_api_key"
    assert len(up.log) == 3


async def test_one_users_key_serves_nobody_else(gateway: Gateway, up: Upstream) -> None:
    mine, theirs = await log_in(gateway, USER), await log_in(gateway, OTHER)
    await save(gateway, mine)
    name = await model_id(gateway, mine, CLAUDE)
    assert CLAUDE not in await active(gateway, theirs)
    for key in (theirs, MASTER, gateway.key):
        answer = await chat(gateway, key, model_id=name, user=USER["email"])
        assert answer.error == (400, "invalid_request_error", "no_api_key")
    assert up.log == []


async def test_a_user_is_no_admin(gateway: Gateway, up: Upstream) -> None:
    token, theirs = await log_in(gateway, USER), await log_in(gateway, OTHER)
    for method, path, body in (
        ("GET", "/v2/admin/llm-keys/", None),
        ("PUT", "/v2/admin/llm-keys/anthropic", {"api_key": OWN_KEY}),
        ("DELETE", "/v2/admin/llm-keys/anthropic", None),
        ("GET", "/v2/billing/usage/all", None),
    ):
        answer = await gateway.call(method, path, body, token)
        assert answer.error == (403, "permission_error", "forbidden"), path
    await save(gateway, token)
    place = (await chat(gateway, token, model_id=CLAUDE)).json["conversation_id"]
    await gateway.rows()
    for key in (theirs, MASTER):
        for method in ("GET", "DELETE"):
            answer = await gateway.call(method, f"/v2/conversations/{place}", key=key)
            assert answer.error == (404, "invalid_request_error", "not_found")
    usage = (await gateway.call("GET", "/v2/billing/usage/my-usage", key=theirs)).json
    assert (usage["total_requests"], usage["by_model"]) == (0, [])


async def test_the_admin_sees_all_bills_and_no_key(gateway: Gateway, up: Upstream) -> None:
    token = await log_in(gateway, USER)
    await save(gateway, token)
    await chat(gateway, token, model_id=CLAUDE)
    await gateway.rows()
    usage = (await gateway.call("GET", "/v2/billing/usage/all?days=30")).json
    [user] = usage["users"]
    assert (user["email"], user["requests"], user["tokens"]) == (USER["email"], 1, 1500)
    assert user["cost"] == usage["total_cost"] == pytest.approx(0.0105)
    keys = await gateway.call("GET", "/v2/admin/llm-keys/")
    shown = {entry["provider"]: entry for entry in keys.json}
    assert shown["openai"]["is_set"] is True
    assert shown["openai"]["source"] == "environment"
    assert shown["openai"]["masked_key"].endswith("abcd")
    assert OPENAI_KEY.encode() not in keys.body
    assert (shown["google"]["is_set"], shown["google"]["source"]) == (False, "none")
    for file in gateway.home.rglob("*"):
        if file.is_file():
            assert OWN_KEY.encode() not in file.read_bytes(), file


async def test_nothing_without_a_token(gateway: Gateway) -> None:
    for method, path in (
        ("GET", "/v2/llm-models/"),
        ("POST", CHAT),
        ("POST", f"{CHAT}/stream"),
        ("GET", "/v2/billing/usage/my-usage"),
        ("GET", "/v2/users/me/api-key-status"),
        ("GET", "/v2/admin/llm-keys/"),
    ):
        async with gateway.session.request(method, gateway.url + path, json={}) as reply:
            assert reply.status == 401, path
            assert set(await reply.json()) == {"detail", "error"}
