"""Secrets that must turn up nowhere (FAULTS 43): each is put where it belongs, every way to fail
is gone, and then all that was said, logged and stored is searched for them.

A secret is searched for by its first characters, so that one that was cut in the middle is found
too, and as base64 (at each of the three places in a group of bytes), percent-encoded and in hex.
"""

import asyncio
import base64
import hashlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from proxy import routing
from proxy.config import ConfigError, load
from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.e2e.people import MASTERLY, Person, ask, bearer, join, make_key
from tests.fakes import upstream as fake
from tests.fakes.upstream import Received, Script, Upstream, refused_port

CUT = 20  # characters of a secret that are searched for


def canary(name: str) -> str:
    """A secret whose beginning is like no other's."""
    return f"sk-ca{hashlib.sha256(name.encode()).hexdigest()[:40]}-{name}"


SYSTEM = {name: canary(f"system-{name}") for name in ("one", "ant", "gem", "dead", "tls", "slow")}
OWN = {name: canary(f"own-{name}") for name in ("one", "ant", "gem", "dead", "tls", "slow")}
SERVICE_KEY = canary("service")
MADE, SET = canary("made"), canary("set")
PASSWORD, NEW_PASSWORD = canary("password"), canary("new-password")
HOOK, HOOK_SECRET = canary("hook"), canary("hook-secret")
LOST = canary("lost")  # one that is said where it does not belong, or is not the right one
ENVIRON = {
    "SERVICE_KEY": SERVICE_KEY,
    "ENCRYPTION_KEY": canary("encryption"),
    "JWT_SECRET": canary("jwt"),
    "HOOK_SECRET": HOOK_SECRET,
    **{f"{name.upper()}_KEY": secret for name, secret in SYSTEM.items()},
}

CONFIG = """
server: {{private_providers: true, access_log: true}}
auth:
  master_key: "${{TURNOUT_MASTER_KEY}}"
  service_keys: ["${{SERVICE_KEY}}"]
  encryption_key: "${{ENCRYPTION_KEY}}"
  jwt: {{secret: "${{JWT_SECRET}}"}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
ledger: {{log_bodies: false}}
alerts: {{webhook: "${{HOOK}}", secret: "${{HOOK_SECRET}}"}}
providers:
  one: {{dialect: openai, base_url: "{up}/v1", api_key: "${{ONE_KEY}}", models: [m]}}
  ant: {{dialect: anthropic, base_url: "{up}", api_key: "${{ANT_KEY}}"}}
  gem: {{dialect: gemini, base_url: "{up}", api_key: "${{GEM_KEY}}"}}
  dead: {{dialect: openai, base_url: "http://127.0.0.1:{dead}/v1", api_key: "${{DEAD_KEY}}"}}
  tls: {{dialect: openai, base_url: "{tls}/v1", api_key: "${{TLS_KEY}}"}}
  slow:
    dialect: openai
    base_url: "{up}/slow"
    api_key: "${{SLOW_KEY}}"
    timeout: {{response: 200ms, first_token: 200ms, idle: 200ms}}
tasks:
  simple: {{targets: [one/m]}}
  strict:
    targets: [one/m]
    prompt: {{user: "{{{{ job.title.words }}}} {{{{ key | truncate(key) }}}}"}}
"""


def part_of(secret: str) -> str:
    """What a secret is searched for by."""
    if secret.count(".") == 2 and secret.startswith("eyJ"):
        return secret.rpartition(".")[2][:CUT]  # of a token the signature: the rest is no secret
    return secret.removeprefix("sk-turnout-")[:CUT]


def forms(secret: str) -> Iterator[bytes]:
    """The ways in which a secret may be written."""
    raw = part_of(secret).encode()
    yield raw
    yield raw.hex().encode()
    yield quote(raw.decode(), safe="").encode()
    for skipped in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(bytes(skipped) + raw)
            yield whole[(0, 2, 3)[skipped] : len(whole) // 4 * 4 - 4]


@dataclass
class Nest:
    """The gateway, what lies behind it, all that it has said, and the secrets."""

    gateway: Gateway
    up: Upstream
    user: Person
    key: str
    secrets: dict[str, str]
    said: list[tuple[str, Answer]] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: Any = None, **over: Any
    ) -> Answer:
        answer = await ask(self.gateway, method, path, headers, body, **over)
        self.said.append((f"{method} {path}", answer))
        return answer

    def learn(self, name: str, secret: str) -> None:
        self.secrets[name] = secret


def leaks(text: bytes, secrets: dict[str, str]) -> list[str]:
    return [name for name, secret in secrets.items() if any(f in text for f in forms(secret))]


def _plain() -> dict[str, str]:
    groups = {"system": SYSTEM, "own": OWN}
    found = {f"{kind} {n}": s for kind, group in groups.items() for n, s in group.items()}
    return found | ENVIRON | {
        "master": MASTER, "made": MADE, "set": SET, "password": PASSWORD,
        "new password": NEW_PASSWORD, "hook": HOOK, "lost": LOST,
    }  # fmt: skip


@asynccontextmanager
async def no_tls() -> AsyncIterator[str]:
    """The URL of a place that is said to speak TLS, and does not."""

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"this is no TLS\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def nest(folder: Path) -> AsyncIterator[Nest]:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(Upstream())
        tls = await stack.enter_async_context(no_tls())
        root = up.base_url.removesuffix("/v1")
        text = CONFIG.format(up=root, dead=refused_port(), tls=tls)
        environ = {**ENVIRON, "HOOK": f"http://127.0.0.1:{refused_port()}/{HOOK}"}
        gateway = await stack.enter_async_context(running(folder, text, environ))
        user = await join(gateway, "user@example.com", password=PASSWORD)
        _, key = await make_key(gateway, user.bearer)
        found = Nest(gateway, up, user, key, _plain())
        for name, secret in (("token", user.token), ("cookie", user.cookie), ("key", key)):
            found.learn(name, secret)
        found.learn("key of the test", gateway.key)
        yield found


# An upstream that says what it was sent.


def key_of(received: Received) -> str:
    """The secret of a request, wherever it is."""
    sent = [value for name, value in received.headers if "canary" not in name]
    words = [word for value in [*sent, received.path] for word in value.replace("=", " ").split()]
    found = [word for word in words if word.startswith("sk-ca")]
    assert found, received
    return found[0]


STATUSES = (400, 401, 402, 403, 404, 409, 413, 418, 422, 429, 500, 502, 503, 529)


def echo(status: int, received: Received, filler: int = 0) -> Script:
    """An error that has the key everywhere."""
    key = key_of(received)
    message = "x" * filler + f"Incorrect API key provided: {key}. Bearer {key}"
    error = {"message": message, "type": key, "code": key, "param": key, "status": key}
    headers = {
        "x-echo": key, "www-authenticate": f"Bearer {key}", "x-request-id": key,
        "openai-organization": key, "retry-after": "1", "set-cookie": f"key={key}",
        "x-ratelimit-remaining-requests": key,
    }  # fmt: skip
    return fake.json_reply({"type": "error", "error": error}, status, headers)


def odd(kind: str, received: Received) -> Script:
    """A 200, or what is none of HTTP, that has the key in it."""
    key = key_of(received)
    error = orjson.dumps({"error": {"message": f"no: {key}", "type": key, "code": key}})
    match kind:
        case "html":
            return fake.http(200, f"<html>{key}</html>".encode(), {"Content-Type": "text/html"})
        case "text":
            return fake.http(500, f"it broke with {key}".encode(), {"Content-Type": "text/plain"})
        case "broken JSON":
            return fake.json_reply(b'{"key": "%b", "choices": [' % key.encode())
        case "another shape":
            return fake.json_reply({"choices": {"key": key}, "usage": key})
        case "an error in a 200":
            return fake.json_reply(error)
        case "an error in a stream":
            return fake.sse(error, done=False)
        case "an error late in a stream":
            return fake.sse(*fake.chat_chunks(["He"], finish=None), error, done=False)
        case "a redirect":
            return fake.redirect_reply(f"http://127.0.0.1:9/{key}?key={key}")
        case "a broken header":
            return [
                fake.Send(f"HTTP/1.1 200 OK\r\n{key}\r\n\x00: y\r\n\r\n".encode()),
                fake.Close(),
            ]
        case "no HTTP":
            return [fake.Send(f"{key}\r\n\r\n".encode()), fake.Close()]
    raise AssertionError(kind)


ODD = ("html", "text", "broken JSON", "another shape", "an error in a 200", "an error in a stream",
       "an error late in a stream", "a redirect", "a broken header", "no HTTP")  # fmt: skip


def asked(model: str, **over: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **over}


Way = Callable[[Received], Script | None]


def _the_same(script: Script, _: Received) -> Script:
    return script


async def _through_every_door(nest: Nest, who: dict[str, str], model: str) -> None:
    for path, over in (
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"stream": True}),
        ("/v1/messages", {"max_tokens": 9}),
        ("/v2/llm/chat/completions", {}),
    ):
        answer = await nest.ask("POST", path, who, asked(model, **over))
        assert answer.status not in (401, 404) or nest.up.log, answer.body


async def _by_seeds(nest: Nest, who: dict[str, str]) -> None:
    task = {"taskType": "simple", "context": {"prompt": "Hello"}}
    await nest.ask("POST", "/api/llm", who, task)
    chat = {"taskType": "simple", "messages": [{"role": "user", "content": "Hello"}]}
    await nest.ask("POST", "/api/trpc/llm.complete", who, chat)
    await nest.ask("POST", "/api/trpc/llm.batchComplete", who, {"requests": [chat]})
    text = {"user_id": "c1", "service": "shop", "prompt": "Hello"}
    service = {"x-service-key": SERVICE_KEY}
    await nest.ask("POST", "/api/v1/generate", service, text)
    await nest.ask("POST", "/api/v1/batch", service, {"requests": [text]})
    for path, body in (
        ("/v1/responses", {"model": "one/m", "input": "Hello"}),
        ("/v1/embeddings", {"model": "one/m", "input": "Hello"}),
        ("/v1/images/generations", {"model": "one/m", "prompt": "Hello"}),
        ("/v2/llm/chat/completions/stream", asked("one/m")),
    ):
        await nest.ask("POST", path, who, body)


async def _fail_upstream(nest: Nest, who: dict[str, str]) -> None:
    """Every provider says the key back, in every way."""
    ways: list[Way] = [partial(echo, status) for status in STATUSES]
    ways += [partial(echo, status, filler=1940) for status in (400, 500)]  # cut in the middle
    ways += [partial(odd, kind) for kind in ODD]
    for number, way in enumerate(ways):
        nest.up.on(way)
        for model in ("one/m", "ant/m", "gem/m"):
            before = len(nest.up.log)
            await _through_every_door(nest, who, model)
            assert len(nest.up.log) > before
        if number % 4 == 0 or number in (len(STATUSES), len(STATUSES) + 1):
            await _by_seeds(nest, who)
        await nest.ask("POST", "/api/v1/breakers/reset", MASTERLY, {})
    nest.up.on(lambda _: [fake.Stall()])
    for model in ("dead/m", "tls/m", "slow/m"):
        await _through_every_door(nest, who, model)
    ends: tuple[Script, ...] = ([fake.Reset()], [fake.Close()])
    for end in ends:
        nest.up.on(partial(_the_same, end))
        await _through_every_door(nest, who, "one/m")
    await nest.ask("POST", "/api/v1/breakers/reset", MASTERLY, {})


async def _fail_tests(nest: Nest) -> None:
    """A provider, and a key, that are tried and refused."""
    ways: list[Way] = [partial(echo, status) for status in (400, 401, 403, 500)]
    ways += [partial(odd, kind) for kind in ("html", "a redirect", "no HTTP", "text")]
    for way in ways:
        nest.up.on(way)
        for name in ("one", "ant", "gem", "dead", "tls", "made"):
            await nest.ask("POST", f"/api/v1/providers/{name}/test", MASTERLY)
            if name != "made":
                body = {f"{name}_api_key": LOST, "test": True}
                for path in ("/api/v1/users/me/api-keys", "/v2/users/me/api-key"):
                    await nest.ask("PATCH", path, nest.user.bearer, body)


async def _say_it_wrongly(nest: Nest) -> None:
    """Secrets where they belong, of the wrong type, and where they don't belong."""
    other = await join(nest.gateway, "other@example.com")
    wrong: list[Any] = [[LOST], {"a": LOST}, LOST + "\n", f"  {LOST}", 7, None, ""]
    user, me = nest.user.bearer, "/api/v1/users/me"
    for value in wrong:
        for method, path, who, body in (
            ("POST", "/api/v1/login", {}, {"email": "user@example.com", "password": value}),
            ("POST", "/v2/login/access-token", {}, {"username": [LOST], "password": value}),
            ("POST", "/api/v1/login", {}, {"key": value}),
            ("POST", "/api/v1/users", MASTERLY, {"email": "n@example.com", "password": value}),
            ("PATCH", f"/api/v1/users/{other.id}", MASTERLY, {"password": value}),
            ("POST", f"{me}/password", user, {"old": value, "new": NEW_PASSWORD}),
            ("POST", f"{me}/password", user, {"old": PASSWORD, "new": [NEW_PASSWORD]}),
            ("POST", f"{me}/password", user, {"old": LOST, "new": NEW_PASSWORD}),
            ("PATCH", f"{me}/api-keys", user, {"one_api_key": value, "nobody_api_key": LOST}),
            ("PATCH", f"{me}/api-keys", user, {"keys": {"one": value, "nobody": LOST}}),
            ("PATCH", "/v2/users/me/api-key", user, {"one_api_key": value, "x_api_key": LOST}),
            ("PUT", "/v2/admin/llm-keys/one", MASTERLY, {"api_key": value, "key": LOST}),
            ("PUT", "/v2/admin/llm-keys/nobody", MASTERLY, {"api_key": LOST}),
            ("POST", "/api/v1/providers", MASTERLY, _provider(value)),
            ("POST", "/api/v1/providers", MASTERLY, _provider(LOST) | {"models": LOST}),
            ("POST", "/api/v1/providers", MASTERLY, _provider(LOST, f"https://{LOST}@x.test")),
            ("POST", "/api/v1/providers", MASTERLY, _provider(LOST, f"https://x:{LOST}@x.test")),
            ("POST", "/api/v1/providers", MASTERLY, _provider(LOST, f"https://x.test/?k={LOST}")),
            ("POST", "/api/v1/providers", MASTERLY, _provider(LOST, "http://169.254.169.254")),
            ("PATCH", "/api/v1/providers/made", MASTERLY, {"api_key": value, "base_url": [LOST]}),
            ("PATCH", "/api/v1/providers/one", MASTERLY, {"api_key": LOST}),
            ("POST", "/api/v1/keys", user, {"limits": {"rpm": LOST}, "name": "x"}),
            ("POST", "/api/v1/keys", MASTERLY, {"expires": LOST, "models": LOST}),
            ("POST", "/api/v1/generate", MASTERLY, {"prompt": [LOST], "api_key": LOST}),
            ("POST", "/api/v1/cache/warm", MASTERLY, {"requests": LOST, "api_key": LOST}),
            ("POST", "/api/llm", user, {"taskType": "simple", "context": LOST}),
            ("POST", "/api/llm", user, {"taskType": "strict", "context": {"key": LOST}}),
            ("POST", "/api/trpc/llm.complete", user, {"taskType": [LOST], "messages": LOST}),
            ("POST", "/api/trpc/llm.complete", user, {"json": LOST, "meta": {"values": LOST}}),
            ("GET", f"/api/trpc/llmAnalytics.summary?input=%7B{LOST}", user, None),
            ("GET", f"/api/trpc/llmAnalytics.summary?days={LOST}", user, None),
            ("GET", f"/api/v1/usage/summary?days={LOST}&api_key={LOST}", user, None),
            ("GET", f"/api/v1/usage/requests?cursor={LOST}", user, None),
        ):
            await nest.ask(method, path, who, body)
    for field_name in ("api_key", "api_base", "temperature", "max_tokens", "messages", "stream"):
        for path in ("/v1/chat/completions", "/v1/messages", "/v2/llm/chat/completions"):
            await nest.ask("POST", path, user, asked("one/m") | {field_name: LOST})


def _provider(key: Any, base_url: str = "https://example.com") -> dict[str, Any]:
    return {"name": "wrong", "display_name": "Wrong", "api_key": key, "base_url": base_url,
            "models": ["m"]}  # fmt: skip


async def _send_what_is_none(nest: Nest) -> None:
    """Bodies that can't be read, credentials that are none, headers that are wrong."""
    torn = [b'{"api_key": "%b' % LOST.encode(), LOST.encode(), b'"' + LOST.encode() + b'"',
            b'{"password": "%b", }' % LOST.encode(), b"\xff" + LOST.encode(),
            b'{"password": NaN, "x": "%b"}' % LOST.encode(), b"[" * 5000 + LOST.encode(),
            b"password=%b&password=%b" % (LOST.encode(), LOST.encode())]  # fmt: skip
    for body in torn:
        for path in ("/v1/chat/completions", "/v1/messages", "/api/v1/login", "/api/v1/users",
                     "/v2/login/access-token", "/v2/llm/chat/completions", "/api/llm",
                     "/api/trpc/llm.complete", "/api/v1/generate",
                     "/api/v1/providers"):  # fmt: skip
            await nest.ask("POST", path, MASTERLY, body)
    basic = base64.b64encode(f"user:{LOST}".encode()).decode()
    for headers in (
        bearer(LOST), {"authorization": f"Basic {basic}"}, {"authorization": LOST},
        {"x-api-key": LOST}, {"x-service-key": LOST}, {"cookie": f"session={LOST}"},
        {"cookie": f"session={nest.user.cookie}x"}, bearer(nest.user.token + "x"),
        {"x-service-key": SERVICE_KEY + "x"}, bearer(MASTER + "x"), bearer(nest.key[:-1]),
    ):  # fmt: skip
        for path in ("/v1/models", "/api/v1/usage/summary", "/v2/conversations", "/v1/messages",
                     "/api/trpc/llm.complete", "/api/v1/users", "/health/providers"):  # fmt: skip
            method = "POST" if path in ("/v1/messages", "/api/trpc/llm.complete") else "GET"
            assert (await nest.ask(method, path, headers)).status == 401
    for name in ("metadata", "timeout", "fallback"):
        headers = {**nest.user.bearer, f"x-turnout-{name}": "{" + LOST}
        await nest.ask("POST", "/v1/chat/completions", headers, asked("one/m"))
    for password in (LOST, PASSWORD + "x", NEW_PASSWORD):
        form = {"username": "user@example.com", "password": password}
        await nest.ask("POST", "/v2/login/access-token", {}, form=form)
        await nest.ask(
            "POST", "/api/v1/login", {}, {"email": "no@example.com", "password": password}
        )


async def _look_everywhere(nest: Nest) -> None:
    """What an admin, or anybody, is shown."""
    for path in (
        "/health", "/health/ready", "/health/providers", "/metrics", "/api/v1/openapi.json",
        "/api/v1/providers", "/api/v1/providers/one", "/api/v1/providers/made", "/api/v1/users",
        "/api/v1/keys", "/api/v1/alerts", "/api/v1/breakers", "/api/v1/models", "/v1/models",
        "/v2/admin/llm-keys", "/v2/llm-models", "/api/v1/usage/requests?limit=500",
        "/api/v1/usage/export?format=jsonl", "/api/v1/usage/export?format=csv",
        "/api/trpc/llmAnalytics.summary", "/api/trpc/llmAnalytics.circuitBreakerStatus",
        "/", "/api/v1/config", "/api/v1/budgets", "/api/v1/session", "/api/v1/usage/series",
        "/api/v1/playground/models",
    ):  # fmt: skip
        answer = await nest.ask("GET", path, MASTERLY)
        assert answer.status == 200, (path, answer.body)
    for path in ("/api/v1/users/me/api-keys", "/v2/users/me/api-key-status", "/api/v1/keys",
                 "/v2/conversations", "/api/v1/usage/requests?limit=500"):  # fmt: skip
        assert (await nest.ask("GET", path, nest.user.browser)).status == 200
    tested = await nest.ask("POST", "/api/v1/alerts/test", MASTERLY, {})
    assert tested.status < 500 or tested.status in (502, 503), tested.body


async def _break_the_file(nest: Nest) -> None:
    """A configuration that does not load is told of by `/health`, which is open."""
    good = nest.gateway.config.read_text()
    for bad in (
        good + f'\napikey: "{LOST}"\n',
        good.replace('"${MASTER', f'"{LOST}').replace('"${TURNOUT_MASTER_KEY}"', f'["{LOST}"]'),
        good.replace('api_key: "${ONE_KEY}"', f'api_key: {{a: "{LOST}"}}'),
        good.replace('api_key: "${ONE_KEY}"', f'api_key: "{LOST}", base_url: "x:{LOST}@y"'),
        good.replace('secret: "${HOOK_SECRET}"', f'secret: ["{LOST}"]'),
        good.replace('webhook: "${HOOK}"', f'webhook: "ftp://x/{LOST}"'),
    ):
        assert bad != good
        with pytest.raises(ConfigError) as raised:
            _load_text(nest, bad)
        assert leaks(str(raised.value).encode(), nest.secrets) == []
        assert leaks(repr(raised.value).encode(), nest.secrets) == []
    nest.gateway.config.write_text(bad)
    async with asyncio.timeout(10):
        while (await nest.ask("GET", "/health", {})).json["config"]["error"] is None:
            await asyncio.sleep(0.1)
    nest.gateway.config.write_text(good)


def _load_text(nest: Nest, text: str) -> None:
    path = nest.gateway.config.with_name("another.yaml")
    path.write_text(text)
    load(path, {"TURNOUT_MASTER_KEY": MASTER, "HOOK": f"http://x/{HOOK}", **ENVIRON})


# What is left behind.


def stored(home: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's bytes."""
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(home)), path.read_bytes()


def _found_in_answers(nest: Nest) -> list[str]:
    found = []
    for what, answer in nest.said:
        text = answer.body + b"\n" + orjson.dumps(answer.headers)
        found += [f"{what} -> {answer.status}: {name}" for name in leaks(text, nest.secrets)]
    return sorted(set(found))


async def test_no_secret_turns_up_anywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with nest(tmp_path) as found:
        user = found.user.bearer
        made = _provider(MADE, f"{found.up.base_url}") | {"name": "made", "allow_private": True}
        assert (await found.ask("POST", "/api/v1/providers", MASTERLY, made)).status == 201
        answer = await found.ask("PUT", "/v2/admin/llm-keys/gem", MASTERLY, {"api_key": SET})
        assert answer.status == 200, answer.body
        await _fail_upstream(found, bearer(found.gateway.key))  # by the system's keys
        body = {f"{name}_api_key": secret for name, secret in OWN.items()}
        answer = await found.ask("PATCH", "/api/v1/users/me/api-keys", user, body)
        assert answer.status == 200, answer.body
        await _fail_upstream(found, user)  # by the user's own
        sent = {key_of(entry) for entry in found.up.log}
        assert sent >= {SYSTEM["one"], SYSTEM["ant"], SET, OWN["one"], OWN["ant"], OWN["gem"]}
        await _fail_tests(found)
        await _say_it_wrongly(found)
        await _send_what_is_none(found)
        await _look_everywhere(found)
        await _break_the_file(found)
        rows = await found.gateway.rows(len(found.up.log) // 2)
        assert sum(row["error_message"] is not None for row in rows) > 100
        while_running = dict(stored(found.gateway.home))
    wrong = _found_in_answers(found)
    logged = "\n".join([caplog.text, *(repr(record.args) for record in caplog.records)])
    wrong += [f"log: {name}" for name in leaks(logged.encode(), found.secrets)]
    out, err = capfd.readouterr()
    wrong += [f"console: {name}" for name in leaks((out + err).encode(), found.secrets)]
    for moment in (while_running, dict(stored(found.gateway.home))):
        assert "turnout.db" in moment
        for file, content in moment.items():
            wrong += [f"{file}: {name}" for name in leaks(content, found.secrets)]
            for name in ("key", "key of the test"):  # digested under a key, never just hashed
                digest = hashlib.sha256(found.secrets[name].encode())
                assert digest.digest() not in content
                assert digest.hexdigest().encode() not in content
    assert sorted(set(wrong)) == []
    assert "turnout.db-wal" in while_running
    with closing(sqlite3.connect(found.gateway.home / "turnout.db")) as database:
        hashes = [row[0] for row in database.execute("SELECT password_hash FROM users")]
    assert {each[:10] for each in hashes} == {"$argon2id$"}


async def test_a_fault_inside_a_200_does_not_tell_the_key(tmp_path: Path) -> None:
    """What the client can mend is told in the upstream's own words."""

    def fault(received: Received) -> bytes:
        key = key_of(received)
        error = {"message": f"Bad key {key}", "code": key, "param": key}
        return orjson.dumps({"error": error | {"type": "invalid_request_error"}})

    async with nest(tmp_path) as found:
        for way in (
            lambda r: fake.json_reply(fault(r)),
            lambda r: fake.sse(fault(r), done=False),
            lambda r: fake.sse(*fake.chat_chunks(["He"], finish=None), fault(r), done=False),
        ):
            found.up.on(way)
            await _through_every_door(found, bearer(found.gateway.key), "one/m")
            await found.ask("POST", "/api/v1/breakers/reset", MASTERLY, {})
        assert len(found.up.log) == 12
    assert _found_in_answers(found) == []


def test_no_value_shows_a_secret_when_it_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(up="http://x.test", dead=9, tls="https://x.test"))
    environ = {"TURNOUT_MASTER_KEY": MASTER, "HOOK": f"http://x.test/{HOOK}", **ENVIRON}
    config = load(path, environ)
    assert config.providers["one"].keys[0].get_secret_value() == SYSTEM["one"]
    table = routing.build_table(config, lambda *_: None)
    shown = [repr(config), str(config), f"{config!r}", config.model_dump_json(), repr(table)]
    for name in SYSTEM:
        shown += map(repr, routing.targets_of(table, name, "m"))
    assert len(shown) >= 5 + len(SYSTEM)
    assert leaks("\n".join(shown).encode(), _plain()) == []


def test_the_search_finds_what_it_looks_for() -> None:
    """Each form, cut or whole, in the midst of other bytes."""
    secret = canary("sought")
    secrets = {"it": secret, "other": canary("other")}
    for skipped in range(3):
        padded = b"ab"[:skipped] + secret.encode() + b"z"
        assert leaks(b"--" + base64.b64encode(padded) + b"--", secrets) == ["it"]
    assert leaks(b"x" + secret[:21].encode(), secrets) == ["it"]
    assert leaks(secret.encode().hex().encode(), secrets) == ["it"]
    assert leaks(b"sk-ca" + b"0" * 40, secrets) == []
