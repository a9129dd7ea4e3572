"""Whether a provider can be reached and takes its key: what is asked, what is said of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from proxy import connectivity, routing
from proxy.config import Config, Provider
from proxy.connectivity import Connectivity
from proxy.signing import Signer
from proxy.upstream import Upstream as Client
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream, refused_port

SECRET = "sk-canary-0123456789"

Try = Callable[..., Connectivity]


@pytest.fixture
async def trying() -> AsyncIterator[Try]:
    """Makes what tries one provider, `up`."""
    client = Client(Signer())
    client.open()

    def made(base_url: str | None, **over: Any) -> Connectivity:
        given = {"dialect": "openai", "api_key": SECRET, "models": ("m-1", "m-2")} | over
        change = given.pop("change", lambda entry: entry)
        entry = change(Provider(base_url=base_url, **given))
        config = Config(providers={}).model_copy(update={"providers": {"up": entry}})
        table = routing.build_table(config, lambda *_: None)
        return Connectivity(client, lambda: table)

    yield made
    await client.close()


async def test_the_list_of_models_is_asked_for(trying: Try) -> None:
    async with Upstream() as up:
        up.script(fake.json_reply({"data": []}))
        assert await trying(up.base_url)("up") is None
        assert [(r.method, r.path, r.body) for r in up.log] == [("GET", "/v1/models", b"")]
        assert up.log[0].header("authorization") == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("dialect", "path", "header", "sent"),
    [
        ("anthropic", "/v1/models", "x-api-key", SECRET),
        ("gemini", "/v1/models", "x-goog-api-key", SECRET),
        ("ollama", "/v1/api/tags", "authorization", f"Bearer {SECRET}"),
    ],
)
async def test_each_dialect_in_its_own_way(
    trying: Try, dialect: str, path: str, header: str, sent: str
) -> None:
    async with Upstream() as up:
        up.script(fake.json_reply({"models": []}))
        assert await trying(up.base_url, dialect=dialect)("up") is None
        assert (up.log[0].method, up.log[0].path) == ("GET", path)
        assert up.log[0].header(header) == sent
        version = up.log[0].header("anthropic-version")
        assert version == ("2023-06-01" if dialect == "anthropic" else None)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused(trying: Try, status: int) -> None:
    async with Upstream() as up:
        body = {"error": {"message": f"Incorrect API key provided: {SECRET}"}}
        up.script(fake.json_reply(body, status=status))
        wrong = await trying(up.base_url)("up")
        assert wrong == f"the provider refused the key (status {status})"


async def test_a_key_that_gemini_refuses(trying: Try) -> None:
    """It says so with a 400, and the reason in the details."""
    async with Upstream() as up:
        error = {
            "code": 400,
            "message": "API key not valid. Please pass a valid API key.",
            "status": "INVALID_ARGUMENT",
            "details": [{"@type": "x/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        }
        up.script(fake.json_reply({"error": error}, status=400))
        wrong = await trying(up.base_url, dialect="gemini")("up")
        assert wrong == "the provider refused the key (status 400)"


@pytest.mark.parametrize("status", [302, 429, 500, 503])
async def test_another_status(trying: Try, status: int) -> None:
    async with Upstream() as up:
        up.script(fake.json_reply({"error": {"message": SECRET}}, status=status))
        wrong = await trying(up.base_url)("up")
        assert wrong == f"the provider answered with status {status}"


async def test_what_is_no_api(trying: Try) -> None:
    async with Upstream() as up:
        up.script(fake.json_reply(b"<html>welcome</html>"))
        wrong = await trying(up.base_url)("up")
        assert wrong == "what answers there is no API: it did not answer in JSON"


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(
    ("then", "wrong"),
    [
        (400, None),
        (422, None),
        (200, None),
        (401, "the provider refused the key (status 401)"),
        (404, "the provider answered with status 404"),
    ],
)
async def test_without_a_list_the_chat_is_asked_for_nothing(
    trying: Try, status: int, then: int, wrong: str | None
) -> None:
    async with Upstream() as up:
        up.script(
            fake.json_reply({"error": {"message": "no"}}, status=status),
            fake.json_reply({"error": {"message": "no messages"}}, status=then),
        )
        assert await trying(up.base_url)("up") == wrong
        assert [(r.method, r.path) for r in up.log] == [
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
        ]
        assert orjson.loads(up.log[1].body) == {"model": "m-1", "messages": [], "max_tokens": 1}


async def test_every_key_is_tried(trying: Try) -> None:
    async with Upstream() as up:
        up.on(
            lambda r: fake.json_reply(
                {"data": []}, status=401 if r.header("authorization") == "Bearer bad" else 200
            )
        )
        keys = {"api_key": None, "api_keys": ("good", "bad")}
        wrong = await trying(up.base_url, **keys)("up")
        assert wrong == "the provider refused the key (status 401)"
        assert len(up.log) == 2


async def test_nobody_there(trying: Try) -> None:
    url = f"http://127.0.0.1:{refused_port()}/v1"
    wrong = await trying(url)("up")
    assert wrong == "provider up could not be reached: connection refused"


async def test_one_that_may_be_at_public_addresses_only(trying: Try) -> None:
    async with Upstream() as up:
        wrong = await trying(up.base_url, change=lambda entry: entry.kept_public())("up")
        assert wrong == "provider up may be at a public address only, and is not"
        assert (up.log, up.connections_open) == ([], 0)


async def test_no_answer_in_time(trying: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "PATIENCE", 0.1)
    async with Upstream() as up:
        up.script([fake.Stall()])
        began = asyncio.get_running_loop().time()
        wrong = await trying(up.base_url)("up")
        assert wrong == "the provider gave no answer within 0.1 s"
        assert asyncio.get_running_loop().time() - began < 3
        await up.wait_until_closed()


async def test_what_is_off_or_not_there(trying: Try) -> None:
    dark = trying("http://127.0.0.1:1", change=lambda entry: entry.switched_off("it is disabled"))
    assert await dark("up") == "the provider is off: it is disabled"
    assert await dark("nobody") == "there is no provider nobody"


async def test_an_embedded_model_is_loaded_when_it_is_wanted(trying: Try) -> None:
    local = trying(None, dialect="llamacpp", model="smollm2", api_key=None, models=())
    assert await local("up") is None


async def test_a_users_own_key(trying: Try) -> None:
    own = SecretStr("sk-own-0123456789")
    async with Upstream() as up:
        up.script(fake.json_reply({"data": []}))
        assert await trying(up.base_url).with_key("up", own) is None
        assert up.log[0].header("authorization") == "Bearer sk-own-0123456789"
        up.script(fake.json_reply({"error": {"message": "sk-own-0123456789"}}, status=401))
        wrong = await trying(up.base_url).with_key("up", own)
        assert wrong == "the provider refused the key (status 401)"
        assert all(SECRET not in str(r.headers) for r in up.log)


async def test_a_users_own_key_where_the_provider_has_none(trying: Try) -> None:
    own = SecretStr("sk-own-0123456789")
    async with Upstream() as up:
        up.script(fake.json_reply({"data": []}))
        keyless = trying(
            up.base_url,
            api_key=None,
            change=lambda entry: entry.switched_off("X is not set", lacks_key=True),
        )
        assert await keyless("up") == "the provider is off: X is not set"
        assert await keyless.with_key("up", own) is None
        dark = trying(up.base_url, change=lambda entry: entry.switched_off("it is disabled"))
        assert await dark.with_key("up", own) == "there is no provider up that is on"
        assert await dark.with_key("nobody", own) == "there is no provider nobody that is on"
        assert len(up.log) == 1


def test_reprs_have_no_key() -> None:
    given = connectivity._Given("up", SecretStr(SECRET))
    assert SECRET not in repr(SimpleNamespace(given=given))
