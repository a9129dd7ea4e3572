"""Overrides over HTTP: who may make one, of what, and where a customer's calls go then."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes.upstream import Upstream

PATH = "/api/v1/overrides"

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: k, models: [usual, special, other]}}
  free: {{dialect: openai, base_url: "{url}", api_key: k}}
  dark: {{dialect: openai, base_url: "{url}", api_key: "${{NOT_SET}}"}}
"""
ANNS = {"user_id": "ann", "provider_name": "up", "model_name": "special"}


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        yield up


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    async with running(tmp_path, CONFIG.format(url=up.base_url)) as gateway:
        yield gateway


async def made(gateway: Gateway, **over: Any) -> Any:
    answer = await gateway.call("POST", PATH, ANNS | over)
    assert answer.status == 201, answer.body
    return answer.json


async def listed(gateway: Gateway, query: str = "") -> Any:
    answer = await gateway.call("GET", PATH + query)
    assert answer.status == 200
    return answer.json


def says(answer: Answer, status: int, code: str, param: str | None = None) -> None:
    assert answer.error == (status, "invalid_request_error", code), answer.body
    assert answer.json["error"]["param"] == param


async def test_an_override_comes_and_goes(gateway: Gateway) -> None:
    one = await made(gateway, service_name="search")
    assert one == ANNS | {
        "id": one["id"],
        "service_name": "search",
        "created_at": one["created_at"],
        "updated_at": one["created_at"],
    }
    assert datetime.fromisoformat(one["created_at"]).utcoffset() is not None
    assert one["created_at"].endswith("Z")
    two = await made(gateway, user_id="bob")
    three = await made(gateway, user_id="bob", service_name=None)
    assert (two["service_name"], three["service_name"]) == (None, None)
    assert await listed(gateway) == [one, two, three]
    assert await listed(gateway, "?user_id=bob") == [two, three]
    assert await listed(gateway, "?user_id=Bob") == []
    gone = await gateway.call("DELETE", f"{PATH}/{two['id']}")
    assert (gone.status, gone.body) == (204, b"")
    says(await gateway.call("DELETE", f"{PATH}/{two['id']}"), 404, "not_found")
    says(await gateway.call("DELETE", f"{PATH}/nope"), 404, "not_found")
    assert await listed(gateway) == [one, three]


@pytest.mark.parametrize(
    ("over", "param"),
    [
        ({"provider_name": "nobody"}, "provider_name"),
        ({"provider_name": "Up"}, "provider_name"),
        ({"provider_name": ""}, "provider_name"),
        ({"provider_name": None}, "provider_name"),
        ({"model_name": "unlisted"}, "model_name"),
        ({"model_name": ""}, "model_name"),
        ({"model_name": None}, "model_name"),
        ({"provider_name": "free", "model_name": "a\nb"}, "model_name"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": 5}, "user_id"),
        ({"user_id": "u" * 257}, "user_id"),
        ({"service_name": ""}, "service_name"),
        ({"service_name": ["search"]}, "service_name"),
    ],
)
async def test_what_is_wrong_is_named(gateway: Gateway, over: dict[str, Any], param: str) -> None:
    says(await gateway.call("POST", PATH, ANNS | over), 422, "invalid_value", param)
    assert await listed(gateway) == []


async def test_what_may_not_be_said_or_left_out(gateway: Gateway) -> None:
    for field in ANNS:
        body = {name: value for name, value in ANNS.items() if name != field}
        says(await gateway.call("POST", PATH, body), 422, "invalid_value", field)
    says(await gateway.call("POST", PATH, ANNS | {"id": "x"}), 422, "unknown_parameter", "id")
    says(await gateway.call("GET", PATH + "?user=ann"), 422, "unknown_parameter", "user")


async def test_a_provider_that_lists_nothing_may_have_any_model(gateway: Gateway) -> None:
    one = await made(gateway, provider_name="free", model_name="vendor/whatever:free")
    assert one["model_name"] == "vendor/whatever:free"
    await made(gateway, provider_name="dark", model_name="m")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATH), ("POST", PATH), ("DELETE", PATH + "/x")]
)
async def test_who_may(gateway: Gateway, method: str, path: str) -> None:
    refused = await gateway.call(method, path, ANNS, key=gateway.key)
    assert refused.error == (403, "permission_error", "forbidden")
    assert (await gateway.call(method, path, ANNS, key="wrong")).status == 401
    headers = {"X-Service-Key": "service-secret"}
    async with gateway.session.request(
        method, gateway.url + path, json=ANNS, headers=headers
    ) as answer:
        assert answer.status in (200, 201, 404)
    assert (await gateway.call(method, path, ANNS, key=MASTER)).status in (200, 201, 404)


async def test_a_customers_calls_go_elsewhere(gateway: Gateway, up: Upstream) -> None:
    async def model(user: str, service: str) -> str:
        body = {"user_id": user, "service": service, "prompt": "Hi"}
        answer = await gateway.call("POST", "/api/v1/generate", body)
        assert answer.status == 200, answer.body
        assert up.log[-1].json["model"] == answer.json["model"]
        return str(answer.json["model"])

    assert await model("ann", "search") == "usual"
    everywhere = await made(gateway)
    assert await model("ann", "search") == "special"
    here = await made(gateway, service_name="search", model_name="other")
    assert await model("ann", "search") == "other"
    assert await model("ann", "chat") == "special"
    assert await model("bob", "search") == "usual"
    await gateway.call("DELETE", f"{PATH}/{here['id']}")
    assert await model("ann", "search") == "special"
    await gateway.call("DELETE", f"{PATH}/{everywhere['id']}")
    assert await model("ann", "search") == "usual"


async def test_an_override_to_a_provider_that_is_gone(gateway: Gateway, up: Upstream) -> None:
    body = {"name": "acme", "display_name": "A", "api_key": "sk-0123456789", "models": ["m"]}
    body |= {"base_url": "https://acme.invalid/v1"}
    assert (await gateway.call("POST", "/api/v1/providers", body)).status == 201
    one = await made(gateway, provider_name="acme", model_name="m")
    assert (await gateway.call("DELETE", "/api/v1/providers/acme")).status == 204
    assert await listed(gateway) == [one]
    asked = {"user_id": "ann", "service": "search", "prompt": "Hi"}
    assert (await gateway.call("POST", "/api/v1/generate", asked)).status == 503
    assert up.log == [], "the customer's calls are not sent where nobody chose"
