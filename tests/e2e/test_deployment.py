"""compose.yaml and the Kubernetes manifests, walked: what they start is started by their own
commands, configuration and environment, with a real Redis, PostgreSQL and nginx.

Other than in a container are the addresses, and where the folders are. The upstream's log, nginx's
and the tables themselves are the oracles.
"""

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.deploy import files, walked
from tests.deploy.files import ROOT, Mounts
from tests.deploy.walked import FULL, Nginx, Replica, database, redis_of, replica_of
from tests.e2e.gateway import Answer
from tests.fakes.upstream import Script, Upstream, WaitFor, chat_chunks, sse
from tests.ports import lasting_port
from tests.redis_server import RedisServer
from tests.servers import postgres

MASTER = FULL["TURNOUT_MASTER_KEY"]
CHAT = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
FRESH = {"x-turnout-cache": "no-store"}  # two asks of one test are two
METRIC = re.compile(r"`((?:turnout|process)_\w+)")


@dataclass(frozen=True)
class Deployment:
    """All of compose.yaml, running."""

    replicas: tuple[Replica, Replica]
    nginx: Nginx
    redis: RedisServer
    upstream_port: int
    services: dict[str, Any]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder, port = tmp_path_factory.mktemp("compose"), lasting_port()
    environ = FULL | {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    services = files.compose(environ)["services"]
    database("turnout")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_of(services["redis"], folder))
        pair = []
        for name in ("turnout-1", "turnout-2"):  # one after the other, as depends_on says
            replica = replica_of(services[name], folder / "home", redis.port)
            stack.callback(replica.end)
            replica.start()
            pair.append(replica)
        first, second = pair
        nginx = Nginx(folder / "nginx", [first.port, second.port])
        stack.enter_context(nginx.running())
        yield Deployment((first, second), nginx, redis, port, services)


class Caller:
    """Asks nginx, or a replica past it."""

    def __init__(self, deployment: Deployment, session: aiohttp.ClientSession) -> None:
        self.nginx = deployment.nginx.url
        self.session = session

    async def ask(
        self, method: str, path: str, body: Any = None, at: str = "", **headers: str
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | FRESH
        sent.setdefault("authorization", f"Bearer {MASTER}")
        if "cookie" in sent:
            del sent["authorization"]
        url = (at or self.nginx) + path
        async with self.session.request(method, url, json=body, headers=sent) as reply:
            return Answer(reply.status, dict(reply.headers), await reply.read())

    async def chat(self, key: str = MASTER, at: str = "") -> Answer:
        return await self.ask(
            "POST", "/v1/chat/completions", CHAT, at, authorization=f"Bearer {key}"
        )

    def stream(self) -> Any:
        headers = {"authorization": f"Bearer {MASTER}"} | FRESH
        body = CHAT | {"stream": True}
        return self.session.post(self.nginx + "/v1/chat/completions", json=body, headers=headers)


@pytest.fixture
async def caller(deployment: Deployment) -> AsyncIterator[Caller]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(
        timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Caller(deployment, session)


@pytest.fixture
async def up(deployment: Deployment) -> AsyncIterator[Upstream]:
    async with Upstream(deployment.upstream_port) as upstream:
        yield upstream


def halting(goes_on: asyncio.Event) -> Script:
    """A stream that says "Hello", and " there" when it may."""
    script = sse(*chat_chunks(["Hello", " there"]))
    return [*script[:3], WaitFor(goes_on), *script[3:]]


async def until(stream: aiohttp.ClientResponse, word: bytes) -> bytes:
    """What has come, once the word is among it."""
    read = b""
    async with asyncio.timeout(15):
        while word not in read:
            read += await stream.content.readany()
    return read


async def serving(deployment: Deployment, caller: Caller) -> Replica:
    """The replica that a request is under way in, by its own word."""
    for _ in range(100):
        for replica in deployment.replicas:
            told = await caller.ask("GET", "/metrics", at=replica.url)
            if re.search(rb"^turnout_requests_under_way\{[^}]*\} 1\.0$", told.body, re.MULTILINE):
                return replica
        await asyncio.sleep(0.02)
    raise AssertionError("no replica says that it serves a stream")


async def rows(database: str = "turnout") -> dict[str, str]:
    """Each row's request id and outcome."""
    connection = await asyncpg.connect(postgres().url(database))
    found = await connection.fetch("SELECT id, outcome FROM requests")
    await connection.close()
    return {"req_" + row["id"]: row["outcome"] for row in found}


async def eventually(is_so: Callable[[dict[str, str]], bool], database: str = "turnout") -> None:
    async with asyncio.timeout(20):
        while not is_so(await rows(database)):
            await asyncio.sleep(0.05)


# compose.yaml


def test_the_health_checks_are_those_of_what_runs(deployment: Deployment) -> None:
    for name, replica in zip(("turnout-1", "turnout-2"), deployment.replicas, strict=True):
        kind, program, *words = deployment.services[name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        assert "/health/ready" in words[-1]
        command = [sys.executable, words[0], words[1].replace("8000", str(replica.port))]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    dead = [sys.executable, words[0], words[1].replace("8000", str(lasting_port()))]
    assert subprocess.run(dead, check=False, capture_output=True).returncode != 0
    path = deployment.services["nginx"]["healthcheck"]["test"][-1].partition("8080")[2]
    assert walked.is_well(deployment.nginx.url + path)
    assert deployment.redis.ask("CONFIG", "GET", "maxmemory-policy") == [
        b"maxmemory-policy",
        b"noeviction",
    ]
    assert deployment.redis.ask("CONFIG", "GET", "appendonly") == [b"appendonly", b"yes"]


async def test_a_call_passes_to_both_and_all_rows_are_in_one_database(
    deployment: Deployment, caller: Caller, up: Upstream
) -> None:
    answers = [await caller.chat() for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    assert [asked.header("authorization") for asked in up.log] == [
        "Bearer sk-of-the-fake-upstream"
    ] * 6
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 6
    served = [line for line in deployment.nginx.lines() if any(f"id={one}" in line for one in ids)]
    assert {line.split("upstream=")[1].split()[0] for line in served} == {
        f"127.0.0.1:{replica.port}" for replica in deployment.replicas
    }
    await eventually(lambda found: ids <= set(found))
    assert MASTER not in "".join(deployment.nginx.lines())


async def test_the_first_chunk_comes_before_the_second_was_sent(
    caller: Caller, up: Upstream
) -> None:
    goes_on = asyncio.Event()
    up.script(halting(goes_on))
    async with caller.stream() as stream:
        assert b"there" not in await until(stream, b"Hello")
        goes_on.set()
        assert (await until(stream, b"[DONE]")).count(b" there") == 1


async def test_a_key_and_its_limits_are_those_of_both(
    deployment: Deployment, caller: Caller, up: Upstream
) -> None:
    first, second = (replica.url for replica in deployment.replicas)
    made = await caller.ask("POST", "/api/v1/keys", {"name": "k", "limits": {"rpm": 3}}, first)
    assert made.status == 201
    at = [first, second, first, second, first]
    answers = [await caller.chat(made.json["key"], url) for url in at]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert len(up.log) == 3


async def test_a_login_holds_at_both_and_a_change_from_a_page_passes(
    deployment: Deployment, caller: Caller
) -> None:
    who = {"email": "ann@example.com", "password": "a long one for Ann"}
    assert (await caller.ask("POST", "/api/v1/users", who)).status == 201
    origin = caller.nginx
    logged_in = await caller.ask("POST", "/api/v1/login", who, origin=origin)
    assert logged_in.status == 200
    cookie = logged_in.headers["set-cookie"].partition(";")[0]
    for replica in deployment.replicas:
        me = await caller.ask("GET", "/api/v1/users/me", at=replica.url, cookie=cookie)
        assert (me.status, me.json["email"]) == (200, "ann@example.com")
    path, body = "/api/v1/users/me/api-keys", {"openai_api_key": "sk-of-ann-herself-0123456789"}
    saved = await caller.ask("PATCH", path, body, cookie=cookie, origin=origin)
    assert saved.status == 200
    other = origin.replace(str(deployment.nginx.port), "1")
    refused = await caller.ask("PATCH", path, body, cookie=cookie, origin=other)
    assert refused.error == (403, "permission_error", "csrf")


async def test_a_stop_lets_a_stream_end_and_the_other_serves(
    deployment: Deployment, caller: Caller, up: Upstream
) -> None:
    goes_on = asyncio.Event()
    up.script(halting(goes_on))
    async with caller.stream() as stream:
        await until(stream, b"Hello")
        replica = await serving(deployment, caller)
        up.script()
        replica.send(signal.SIGTERM)
        statuses = []
        for _ in range(12):  # before, while and after it closes its door
            statuses.append((await caller.chat()).status)
            await asyncio.sleep(0.03)
        assert statuses == [200] * 12
        assert not walked.is_listening(replica.port)
        goes_on.set()
        assert b" there" in await until(stream, b"[DONE]")
        request = stream.headers["x-request-id"]
    grace = files.seconds(deployment.services["turnout-1"]["stop_grace_period"])
    await asyncio.to_thread(replica.wait_for_end, grace)
    await eventually(lambda found: found.get(request) == "ok")
    await asyncio.to_thread(replica.start)


async def test_a_kill_is_nothing_to_the_next_and_what_was_under_way_is_booked(
    deployment: Deployment, caller: Caller, up: Upstream
) -> None:
    up.script(halting(asyncio.Event()))
    async with caller.stream() as stream:
        await until(stream, b"Hello")
        request = stream.headers["x-request-id"]
        replica = await serving(deployment, caller)
        up.script()
        replica.send(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()
    assert [(await caller.chat()).status for _ in range(8)] == [200] * 8
    await asyncio.to_thread(replica.wait_for_end, 15)
    await asyncio.to_thread(replica.start)  # as `restart` has it; it finds what it had left
    await eventually(lambda found: found.get(request) == "unknown")


async def test_what_the_page_alarms_on_is_told(deployment: Deployment, caller: Caller) -> None:
    told = (await caller.ask("GET", "/metrics", at=deployment.replicas[0].url)).body.decode()
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(METRIC.findall(page))
    assert len(named) > 6
    assert {name for name in named if f"# TYPE {name.removesuffix('_total')}" not in told} == set()


def test_nginx_had_nothing_to_complain_of(deployment: Deployment) -> None:
    bad = [line for line in deployment.nginx.errors.splitlines() if "[emerg]" in line]
    assert bad == []


# nginx by itself


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Nginx]:
    """nginx, with nobody behind it."""
    with Nginx(tmp_path / "nginx", [lasting_port(), lasting_port()]).running() as nginx:
        yield nginx


async def test_without_a_replica_the_error_is_openais(lonely: Nginx) -> None:
    async with aiohttp.ClientSession() as session:
        for path, status, code in (
            ("/v1/chat/completions", 503, "no_replica"),
            ("/metrics", 404, None),
            ("/metrics/", 404, None),
        ):
            async with session.post(lonely.url + path, json=CHAT) as reply:
                assert reply.status == status
                if code is not None:
                    assert reply.headers["retry-after"] == "1"
                    assert (await reply.json())["error"]["code"] == code
        codes = []
        for _ in range(13):
            async with session.post(lonely.url + "/api/v1/login/", json={}) as reply:
                codes.append((await reply.json())["error"]["code"])
        assert codes[:11] == ["no_replica"] * 11
        assert "too_many_logins" in codes[11:]


# Kubernetes


def pod(spec: dict[str, Any], home: Path, base_url: str, redis: RedisServer) -> Replica:
    """The container of the StatefulSet, its Secret as in the example and filled in."""
    [container] = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    secret = files.manifest("Secret")
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    given = FULL | {
        "TURNOUT_DATABASE": postgres().url("kube"),
        "TURNOUT_REDIS": redis.url,
        "OPENAI_BASE_URL": base_url,
    }
    environ = {name: given.get(name, "") for name in [*secret["stringData"], "OPENAI_BASE_URL"]}
    environ |= {each["name"]: each["value"] for each in container["env"]}
    config = str(files.KUBERNETES)
    places = Mounts(((mounts["home"], str(home)), (mounts["config"], config)))
    return Replica(container["args"], environ, places)


async def test_pods_that_start_at_once_probe_well_and_end_in_time(
    deployment: Deployment, up: Upstream, tmp_path: Path
) -> None:
    await walked.empty_database("kube")
    spec = files.manifest("StatefulSet")["spec"]["template"]["spec"]
    [container] = spec["containers"]
    pods = [pod(spec, tmp_path / name, up.base_url, deployment.redis) for name in ("0", "1")]
    try:
        for each in pods:  # podManagementPolicy: Parallel
            each.begin()
        for each in pods:
            await asyncio.to_thread(each.wait)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert walked.is_well(each.url + container[probe]["httpGet"]["path"]), probe
        headers = {"authorization": f"Bearer {MASTER}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for each in pods:
                url = each.url + "/v1/chat/completions"
                async with session.post(url, json=CHAT, headers=FRESH) as reply:
                    assert reply.status == 200
        began = time.monotonic()
        wait = container["lifecycle"]["preStop"]["exec"]["command"]
        assert subprocess.run(wait, check=False).returncode == 0
        for each in pods:
            each.send(signal.SIGTERM)
        for each in pods:
            await asyncio.to_thread(each.wait_for_end, 40)
        assert time.monotonic() - began < spec["terminationGracePeriodSeconds"]
        assert list((await rows("kube")).values()) == ["ok", "ok"]
    finally:
        for each in pods:
            with suppress(OSError):
                each.end()
