"""Providers over HTTP: what may be said of one, who may say it, and what becomes of it."""

import re
import socket
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.doors.api import fault_at, validated
from proxy.doors.providers import NewProvider, ProviderChange
from proxy.errors import Unprocessable
from proxy.registry import ProviderSpec
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream, refused_port

PATH = "/api/v1/providers"
SECRET = "sk-proj-canary-0123456789abcdef"
FAULT = fault_at(PATH)
CHAT = {"messages": [{"role": "user", "content": "x"}]}

CONFIG = """
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [service-secret]}}
server: {{private_providers: {private}}}
cache: {{enabled: false}}
breaker: {{failures: 1, open: 60s}}
providers:
  filed: {{dialect: openai, base_url: "{url}", api_key: sk-file-canary-0123456789, models: [a, b],
           rpm: 7, priority: 3}}
  keyless: {{dialect: anthropic, api_key: "${{NOT_SET}}"}}
"""

ACME: dict[str, Any] = {
    "name": "acme",
    "display_name": "Acme LLM",
    "api_key": SECRET,
    "models": ["m1", "m2"],
    "base_url": "https://llm.acme.example/v1",
}


@pytest.fixture(autouse=True)
def no_names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that end in `.example` lead nowhere, unless a test says where; nobody is asked."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **given: Any) -> Any:
        name = str(host)
        if name in known:
            return [real(each, port, *args, **given)[0] for each in known[name]]
        if re.fullmatch(r"[0-9.:a-f]+", name) or name == "localhost":
            return real(host, port, *args, **given)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


@pytest.fixture
async def up() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        yield up


@pytest.fixture
async def gateway(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    text = CONFIG.format(url=up.base_url, private="false")
    async with running(tmp_path, text) as gateway:
        yield gateway


@pytest.fixture
async def private(tmp_path: Path, up: Upstream) -> AsyncIterator[Gateway]:
    """One whose operator lets providers of the API be at private addresses."""
    text = CONFIG.format(url=up.base_url, private="true")
    async with running(tmp_path, text) as gateway:
        yield gateway


async def made(gateway: Gateway, **over: Any) -> Any:
    answer = await gateway.call("POST", PATH, ACME | over)
    assert answer.status == 201, answer.body
    return answer.json


async def shown(gateway: Gateway, name: str) -> Any:
    answer = await gateway.call("GET", f"{PATH}/{name}")
    assert answer.status == 200, answer.body
    return answer.json


def says(answer: Answer, status: int, code: str, param: str | None = None) -> None:
    assert answer.error == (status, "invalid_request_error", code), answer.body
    assert answer.json["error"]["param"] == param


# What is said of a provider.


def test_what_is_left_out() -> None:
    body = {name: ACME[name] for name in ("name", "display_name", "api_key", "models")}
    assert validated(NewProvider, body, FAULT).spec() == ProviderSpec(
        name="acme",
        display_name="Acme LLM",
        models=("m1", "m2"),
        dialect="openai",
        base_url=None,
        is_enabled=True,
        rate_limit_rpm=60,
        rate_limit_tpm=100_000,
        priority=10,
        allow_private=False,
    )


@pytest.mark.parametrize(
    ("over", "dialect"),
    [
        ({"name": "anthropic", "base_url": None}, "anthropic"),
        ({"name": "google", "base_url": None}, "gemini"),
        ({"name": "groq", "base_url": None}, "openai"),
        ({"name": "anthropic"}, "openai"),
        ({"name": "anthropic", "base_url": None, "dialect": "openai"}, "openai"),
        ({"dialect": "ollama"}, "ollama"),
    ],
)
def test_what_it_speaks(over: dict[str, Any], dialect: str) -> None:
    assert validated(NewProvider, ACME | over, FAULT).spec().dialect == dialect


WRONG: list[tuple[dict[str, Any], str]] = [
    *(
        ({"name": name}, "name")
        for name in (
            "",
            "Acme",
            "-a",
            "_a",
            "a b",
            "a/b",
            "a.b",
            "é",
            "a" * 65,
            "a\n",
            "task",
            5,
            None,
        )
    ),
    *(
        ({"display_name": text}, "display_name")
        for text in ("", " ", "a\x00", "a\nb", "a" * 201, 5)
    ),
    *(({"api_key": key}, "api_key") for key in ("", "  ", "a\nb", "a\x7f", "schlüssel", None, 5)),
    ({"models": []}, "models"),
    *(({"models": models}, "models") for models in ("m", None, 5)),
    *(({"models": ["m", model]}, "models.1") for model in ("", " ", "a\x07", "m" * 257, None, 5)),
    *(
        ({"base_url": url}, "base_url")
        for url in (
            *("", "llm.acme.example", "ftp://llm.acme.example", "http://", "//llm.acme.example"),
            *("https://u:p@llm.acme.example", "https://@llm.acme.example", "https://a.example?q"),
            *(
                "https://a.example/?",
                "https://a.example/#",
                "https://a.example/#f",
                "https://a b.co",
            ),
            *("https://a.example\\@b.example", "https://a.exa\nmple", "https://a.example/\t"),
            *("https://a.example:99999", "https://a.example:x", "https://a.example:0", 5, ["u"]),
            *("https://\u24d0.example", "https://a.example/" + "a" * 2000),
        )
    ),
    *(({"dialect": each}, "dialect") for each in ("bedrock", "llamacpp", "OpenAI", "", 5)),
    *(({"is_enabled": each}, "is_enabled") for each in (None, "yes", 1, "true")),
    *(
        ({field: value}, field)
        for field in ("rate_limit_rpm", "rate_limit_tpm")
        for value in (0, -1, 1.5, "60", True, 2**31)
    ),
    *(
        ({"priority": value}, "priority")
        for value in (None, 1.5, "10", True, 1_000_001, -1_000_001)
    ),
    *(({"allow_private": value}, "allow_private") for value in (None, "yes", 1)),
    *(
        ({field: 1}, field)
        for field in ("id", "source", "created_at", "headers", "off", "api_keys")
    ),
]


@pytest.mark.parametrize(("over", "param"), WRONG)
def test_what_is_wrong_is_named(over: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        validated(NewProvider, ACME | over, FAULT)
    assert caught.value.param == param
    assert "canary" not in caught.value.message


@pytest.mark.parametrize("field", ["name", "display_name", "api_key", "models"])
def test_what_may_not_be_left_out(field: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        validated(NewProvider, {k: v for k, v in ACME.items() if k != field}, FAULT)
    assert caught.value.param == field


SPEC = ProviderSpec("acme", "Acme", ("m",), "openai", "https://a.example/v1", False, 1, 2, 3)


@pytest.mark.parametrize(
    ("body", "spec"),
    [
        ({}, SPEC),
        ({"is_enabled": True}, SPEC._replace(is_enabled=True)),
        ({"base_url": None}, SPEC._replace(base_url=None)),
        ({"rate_limit_rpm": None}, SPEC._replace(rate_limit_rpm=None)),
        ({"rate_limit_tpm": None}, SPEC._replace(rate_limit_tpm=None)),
        ({"models": ["x", "y", "x"]}, SPEC._replace(models=("x", "y"))),
        ({"priority": 0, "name": "ajax"}, SPEC._replace(priority=0, name="ajax")),
        ({"api_key": SECRET}, SPEC),
    ],
)
def test_what_is_left_out_of_a_change_stays(body: dict[str, Any], spec: ProviderSpec) -> None:
    assert validated(ProviderChange, body, FAULT).applied_to(SPEC) == spec


@pytest.mark.parametrize(
    "field",
    [
        "name",
        "display_name",
        "api_key",
        "models",
        "dialect",
        "is_enabled",
        "priority",
        "allow_private",
    ],
)
def test_a_null_that_means_nothing_is_a_fault(field: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        validated(ProviderChange, {field: None}, FAULT).applied_to(SPEC)
    assert caught.value.param == field


@pytest.mark.parametrize(("over", "param"), [w for w in WRONG if None not in w[0].values()])
def test_a_change_is_read_as_strictly(over: dict[str, Any], param: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        validated(ProviderChange, over, FAULT)
    assert caught.value.param == param


# Over HTTP.


async def test_a_provider_comes_changes_and_goes(gateway: Gateway) -> None:
    before = time.time()
    one = await made(gateway)
    at = datetime.fromisoformat(one["created_at"])
    assert before - 1 < at.timestamp() < time.time() + 1
    assert one == {
        "id": one["id"],
        "name": "acme",
        "display_name": "Acme LLM",
        "base_url": "https://llm.acme.example/v1",
        "models": ["m1", "m2"],
        "is_enabled": True,
        "rate_limit_rpm": 60,
        "rate_limit_tpm": 100_000,
        "priority": 10,
        "created_at": one["created_at"],
        "updated_at": one["created_at"],
        "source": "api",
        "dialect": "openai",
        "allow_private": False,
        "off": None,
        "masked_key": "sk-proj-…cdef",
    }
    assert await shown(gateway, one["id"]) == await shown(gateway, "acme") == one
    patch = {"is_enabled": False, "priority": 20, "rate_limit_tpm": None}
    answer = await gateway.call("PATCH", f"{PATH}/{one['id']}", patch)
    changed = answer.json
    assert answer.status == 200
    assert changed["updated_at"] >= one["updated_at"]
    fresh = {"off": "it is disabled", "updated_at": changed["updated_at"]}
    assert changed == one | patch | fresh
    gone = await gateway.call("DELETE", f"{PATH}/acme")
    assert (gone.status, gone.body) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        says(await gateway.call(method, f"{PATH}/{one['id']}", {}), 404, "not_found")
    says(await gateway.call("POST", f"{PATH}/acme/test"), 404, "not_found")
    assert (await made(gateway))["id"] != one["id"], "the name is free again"


async def test_the_files_are_listed_first_and_are_read_only(gateway: Gateway, up: Upstream) -> None:
    one = await made(gateway)
    listed = (await gateway.call("GET", PATH)).json
    assert [entry["id"] for entry in listed] == ["filed", "keyless", one["id"]]
    filed = listed[0]
    read_at = datetime.fromisoformat(filed["created_at"])
    assert abs(read_at.timestamp() - time.time()) < 60
    assert filed == {
        "id": "filed",
        "name": "filed",
        "display_name": "filed",
        "base_url": up.base_url,
        "models": ["a", "b"],
        "is_enabled": True,
        "rate_limit_rpm": 7,
        "rate_limit_tpm": None,
        "priority": 3,
        "created_at": filed["created_at"],
        "updated_at": filed["created_at"],
        "source": "file",
        "dialect": "openai",
        "allow_private": True,
        "off": None,
        "masked_key": "sk-…6789",
    }
    assert (listed[1]["is_enabled"], listed[1]["off"]) == (False, "NOT_SET is not set")
    assert listed[1]["masked_key"] is None
    assert await shown(gateway, "filed") == filed
    for method in ("PATCH", "DELETE"):
        answer = await gateway.call(method, f"{PATH}/filed", {"priority": 1})
        says(answer, 409, "conflict")
    assert await shown(gateway, "filed") == filed


async def test_a_name_is_one_providers(gateway: Gateway) -> None:
    await made(gateway)
    other = await made(gateway, name="ajax")
    for name in ("acme", "filed", "keyless"):
        says(await gateway.call("POST", PATH, ACME | {"name": name}), 409, "conflict", "name")
    for name in ("acme", "filed"):
        answer = await gateway.call("PATCH", f"{PATH}/{other['id']}", {"name": name})
        says(answer, 409, "conflict", "name")
    renamed = await gateway.call("PATCH", f"{PATH}/ajax", {"name": "achilles"})
    assert (renamed.status, renamed.json["id"]) == (200, other["id"])
    says(await gateway.call("GET", f"{PATH}/ajax"), 404, "not_found")


async def test_a_wrong_field_is_named(gateway: Gateway) -> None:
    answer = await gateway.call("POST", PATH, ACME | {"rate_limit_rpm": 0})
    says(answer, 422, "invalid_value", "rate_limit_rpm")
    unknown = await gateway.call("POST", PATH, ACME | {"headers": {}})
    says(unknown, 422, "unknown_parameter", "headers")
    says(await gateway.call("POST", PATH, ACME | {"api_key": ""}), 422, "invalid_value", "api_key")
    one = await made(gateway)
    answer = await gateway.call("PATCH", f"{PATH}/acme", {"models": []})
    says(answer, 422, "invalid_value", "models")
    assert await shown(gateway, "acme") == one


async def test_the_key_is_never_shown(gateway: Gateway, tmp_path: Path) -> None:
    answers = [await gateway.call("POST", PATH, ACME)]
    answers.append(await gateway.call("POST", PATH, ACME))
    answers.append(await gateway.call("PATCH", f"{PATH}/acme", {"api_key": SECRET, "x": SECRET}))
    answers.append(await gateway.call("PATCH", f"{PATH}/acme", {"api_key": SECRET + "\n"}))
    answers.append(await gateway.call("GET", f"{PATH}/acme"))
    answers.append(await gateway.call("GET", PATH))
    answers.append(await gateway.call("POST", f"{PATH}/acme/test"))
    assert [answer.status for answer in answers] == [201, 409, 422, 422, 200, 200, 200]
    assert all(b"canary" not in answer.body for answer in answers)
    stored = b"".join(
        path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()
    )
    assert b"acme" in stored
    assert b"canary" not in stored


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("POST", PATH),
        ("GET", PATH + "/filed"),
        ("PATCH", PATH + "/filed"),
        ("DELETE", PATH + "/filed"),
        ("POST", PATH + "/filed/test"),
    ],
)
async def test_who_may(gateway: Gateway, method: str, path: str) -> None:
    refused = await gateway.call(method, path, {}, key=gateway.key)
    assert refused.error == (403, "permission_error", "forbidden")
    assert (await gateway.call(method, path, {}, key="wrong")).status == 401
    headers = {"X-Service-Key": "service-secret"}
    url = gateway.url + path
    async with gateway.session.request(method, url, json={}, headers=headers) as answer:
        assert answer.status in (200, 409, 422)
    assert (await gateway.call(method, path, {}, key=MASTER)).status in (200, 409, 422)


# Where a provider may be.


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]/v1", "http://0.0.0.0"),
        *("http://169.254.169.254/latest", "http://[64:ff9b::7f00:1]", "http://[::ffff:7f00:1]"),
        *("http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/"),
        *("http://metadata.google.internal/v1", "http://redis:6379/", "http://10.0.0.1"),
    ],
)
async def test_a_private_place_is_refused(gateway: Gateway, url: str) -> None:
    says(
        await gateway.call("POST", PATH, ACME | {"base_url": url}),
        400,
        "url_not_allowed",
        "base_url",
    )
    one = await made(gateway)
    patch = {"base_url": url, "api_key": SECRET}
    says(await gateway.call("PATCH", f"{PATH}/acme", patch), 400, "url_not_allowed", "base_url")
    assert await shown(gateway, "acme") == one


async def test_a_name_that_leads_to_a_private_address(
    gateway: Gateway, no_names: dict[str, list[str]]
) -> None:
    no_names |= {
        "inside.example": ["127.0.0.1"],
        "both.example": ["8.8.8.8", "10.0.0.1"],
        "outside.example": ["8.8.8.8", "2606:4700::1111"],
    }
    for host in ("inside.example", "both.example", "inside.example."):
        answer = await gateway.call("POST", PATH, ACME | {"base_url": f"https://{host}/v1"})
        says(answer, 400, "url_not_allowed", "base_url")
    await made(gateway, base_url="https://outside.example/v1")
    await made(gateway, name="nowhere", base_url="https://nowhere.example/v1")


async def test_the_usual_place_may_be_a_private_one(gateway: Gateway) -> None:
    for over in ({"dialect": "ollama"}, {"name": "vllm"}, {"name": "llamacpp"}):
        answer = await gateway.call("POST", PATH, ACME | {"base_url": None} | over)
        says(answer, 400, "url_not_allowed", "base_url")
    answer = await gateway.call("POST", PATH, ACME | {"base_url": None, "name": "azure"})
    says(answer, 422, "invalid_value", "base_url")
    usual = await made(gateway, base_url=None)
    assert (usual["base_url"], usual["dialect"]) == ("https://api.openai.com/v1", "openai")
    claude = await made(gateway, name="anthropic", base_url=None)
    assert claude["base_url"] == "https://api.anthropic.com/v1"
    assert claude["dialect"] == "anthropic"


async def test_allow_private_takes_the_operators_word(gateway: Gateway) -> None:
    over = {"allow_private": True, "base_url": "http://127.0.0.1:9/v1"}
    answer = await gateway.call("POST", PATH, ACME | over)
    says(answer, 400, "url_not_allowed", "allow_private")
    assert "server.private_providers" in answer.json["error"]["message"]
    await made(gateway, allow_private=False)
    answer = await gateway.call("PATCH", f"{PATH}/acme", {"allow_private": True})
    says(answer, 400, "url_not_allowed", "allow_private")


async def test_who_may_be_private_no_longer_has_to_move(private: Gateway, up: Upstream) -> None:
    await made(private, allow_private=True, base_url=up.base_url)
    answer = await private.call("PATCH", f"{PATH}/acme", {"allow_private": False})
    says(answer, 400, "url_not_allowed", "base_url")
    answer = await private.call("POST", PATH, ACME | {"name": "b", "base_url": up.base_url})
    says(answer, 400, "url_not_allowed", "base_url")


async def test_a_key_is_not_sent_to_another_place(gateway: Gateway) -> None:
    """Else who may change providers, and see no key, could have each sent where they like."""
    one = await made(gateway)
    for moved in (
        {"base_url": "https://evil.example/v1"},
        {"base_url": "http://llm.acme.example/v1"},
        {"base_url": "https://llm.acme.example:8443/v1"},
        {"base_url": None},
    ):
        answer = await gateway.call("PATCH", f"{PATH}/acme", moved)
        says(answer, 422, "invalid_value", "api_key")
    assert await shown(gateway, "acme") == one
    for stays in ("https://llm.acme.example/v2", "https://LLM.acme.example:443/v3"):
        answer = await gateway.call("PATCH", f"{PATH}/acme", {"base_url": stays})
        assert answer.status == 200
    moved = {"base_url": "https://ajax.example/v1", "api_key": "sk-another-key-9876543210"}
    answer = await gateway.call("PATCH", f"{PATH}/acme", moved)
    assert answer.json["base_url"] == "https://ajax.example/v1"
    assert answer.json["masked_key"] == "sk-…3210"


async def test_a_new_name_may_be_another_place(gateway: Gateway) -> None:
    await made(gateway, name="groq", base_url=None, dialect="openai")
    answer = await gateway.call("PATCH", f"{PATH}/groq", {"name": "mistral"})
    says(answer, 422, "invalid_value", "api_key")


# What becomes of it.


async def test_it_serves_at_once_and_as_long_as_it_is_there(private: Gateway, up: Upstream) -> None:
    chat = CHAT | {"model": "acme/m1"}
    assert (await private.post(chat)).status == 404
    await made(private, allow_private=True, base_url=up.base_url)
    assert (await private.post(chat)).status == 200
    assert up.log[0].header("authorization") == f"Bearer {SECRET}"
    assert (await private.post(CHAT | {"model": "acme/other"})).status == 404
    listed = (await private.call("GET", "/v1/models")).json["data"]
    assert {"acme/m1", "acme/m2", "filed/a"} <= {each["id"] for each in listed}
    patch = {"models": ["other"], "api_key": "sk-newer-canary-012345"}
    await private.call("PATCH", f"{PATH}/acme", patch)
    assert (await private.post(CHAT | {"model": "acme/other"})).status == 200
    assert up.log[1].header("authorization") == "Bearer sk-newer-canary-012345"
    await private.call("PATCH", f"{PATH}/acme", {"is_enabled": False})
    assert (await private.post(CHAT | {"model": "acme/other"})).status == 404
    await private.call("PATCH", f"{PATH}/acme", {"is_enabled": True})
    assert (await private.post(CHAT | {"model": "acme/other"})).status == 200
    await private.call("DELETE", f"{PATH}/acme")
    assert (await private.post(CHAT | {"model": "acme/other"})).status == 404
    assert len(up.log) == 3


async def test_its_rate_limits_hold(private: Gateway, up: Upstream) -> None:
    await made(private, allow_private=True, base_url=up.base_url, rate_limit_rpm=2)
    found = [(await private.post(CHAT | {"model": "acme/m1"})).status for _ in range(3)]
    assert (found, len(up.log)) == ([200, 200, 429], 2)


async def test_it_is_there_after_a_restart_and_a_reload(tmp_path: Path, up: Upstream) -> None:
    text = CONFIG.format(url=up.base_url, private="true")
    async with running(tmp_path, text) as gateway:
        one = await made(gateway, allow_private=True, base_url=up.base_url)
    async with running(tmp_path, text) as gateway:
        assert await shown(gateway, "acme") == one
        assert (await gateway.post(CHAT | {"model": "acme/m1"})).status == 200
        assert up.log[0].header("authorization") == f"Bearer {SECRET}"
    shadow = f'  acme: {{dialect: openai, base_url: "{up.base_url}", api_key: sk-of-the-file}}\n'
    async with running(tmp_path, text + shadow) as gateway:
        listed = (await gateway.call("GET", PATH)).json
        assert [(each["id"], each["source"]) for each in listed] == [
            ("filed", "file"),
            ("keyless", "file"),
            ("acme", "file"),
            (one["id"], "api"),
        ]
        shadowed = "the configuration file has a provider of that name"
        assert listed[3]["off"] == shadowed
        tried = await gateway.call("POST", f"{PATH}/{one['id']}/test")
        assert tried.json == {"success": False, "error": shadowed}
        assert (await gateway.post(CHAT | {"model": "acme/m1"})).status == 200
        assert up.log[1].header("authorization") == "Bearer sk-of-the-file"
        says(await gateway.call("DELETE", f"{PATH}/acme"), 409, "conflict")
        assert (await gateway.call("DELETE", f"{PATH}/{one['id']}")).status == 204


async def test_trust_that_is_taken_back(tmp_path: Path, up: Upstream) -> None:
    """What was made while it was allowed is not connected to afterwards."""
    async with running(tmp_path, CONFIG.format(url=up.base_url, private="true")) as gateway:
        await made(gateway, allow_private=True, base_url=up.base_url)
    async with running(tmp_path, CONFIG.format(url=up.base_url, private="false")) as gateway:
        answer = await gateway.post(CHAT | {"model": "acme/m1"})
        assert answer.error == (400, "invalid_request_error", "url_not_allowed")
        assert up.log == []


async def test_a_try(private: Gateway, up: Upstream) -> None:
    await made(private, allow_private=True, base_url=up.base_url)
    up.script(fake.json_reply({"data": []}))
    fine = {"success": True, "error": None}
    tried = await private.call("POST", f"{PATH}/acme/test")
    assert (tried.status, tried.json) == (200, fine)
    assert (await private.call("POST", f"{PATH}/filed/test")).json == fine
    assert [(r.method, r.path) for r in up.log] == [("GET", "/v1/models")] * 2
    up.script(fake.json_reply({"error": {"message": f"bad key {SECRET}"}}, status=401))
    refused = {"success": False, "error": "the provider refused the key (status 401)"}
    assert (await private.call("POST", f"{PATH}/acme/test")).json == refused
    url = f"http://127.0.0.1:{refused_port()}/v1"
    await private.call("PATCH", f"{PATH}/acme", {"base_url": url, "api_key": SECRET})
    said = (await private.call("POST", f"{PATH}/acme/test")).json
    assert said == {
        "success": False,
        "error": "provider acme could not be reached: connection refused",
    }
    await private.call("PATCH", f"{PATH}/acme", {"is_enabled": False})
    said = (await private.call("POST", f"{PATH}/acme/test")).json
    assert said == {"success": False, "error": "the provider is off: it is disabled"}
    breakers = (await private.call("GET", "/api/v1/breakers")).json["breakers"]
    assert [each for each in breakers if each["state"] != "CLOSED"] == []
    unset = {"success": False, "error": "the provider is off: NOT_SET is not set"}
    assert (await private.call("POST", f"{PATH}/keyless/test")).json == unset
