"""Who may call what: every route of the running application against every kind of caller.

The table is literal, and a route that is not in it fails the test: nobody adds one without saying
who may call it.
"""

import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest
from starlette.routing import Route

from proxy.app import build_app
from proxy.config import load
from proxy.home import Home
from tests.e2e.gateway import MASTER, Answer, Gateway, one_upstream, running
from tests.e2e.people import (
    MASTERLY,
    SERVICE,
    SERVICE_KEY,
    Person,
    ask,
    bearer,
    code_of,
    join,
    make_key,
)
from tests.fakes.upstream import Upstream

NOBODIES = frozenset({"none", "garbage", "forged", "wrong service key", "switched off"})
COOKIES = frozenset({"cookie", "master's cookie"})
KNOWN = frozenset({"key", "owned key", "user", "service", "admin", "master"}) | COOKIES
EVERYBODY = NOBODIES | KNOWN
DATA = KNOWN - COOKIES
ADMINS = frozenset({"admin", "master", "master's cookie"})
PEOPLE = ADMINS | {"user", "cookie"}
OPERATORS = ADMINS | {"service"}

MAY: dict[str, frozenset[str]] = {
    # The data plane: no cookie.
    "POST /v1/chat/completions": DATA,
    "POST /v1/completions": DATA,
    "POST /v1/embeddings": DATA,
    "POST /v1/responses": DATA,
    "POST /v1/images/generations": DATA,
    "POST /v1/audio/transcriptions": DATA,
    "POST /v1/audio/speech": DATA,
    "POST /v1/moderations": DATA,
    "POST /v1/messages": DATA,
    "POST /v1/messages/count_tokens": DATA,
    "GET /v1/models": DATA,
    "GET /v1/models/{name:path}": DATA,
    # Open.
    "GET /health": EVERYBODY,
    "GET /health/live": EVERYBODY,
    "GET /health/ready": EVERYBODY,
    "GET /api/v1/health": EVERYBODY,
    "GET /api/v1/health/live": EVERYBODY,
    "GET /api/v1/health/ready": EVERYBODY,
    "POST /v2/login/access-token": EVERYBODY,
    "POST /api/v1/login": EVERYBODY,
    "POST /api/v1/logout": EVERYBODY,
    "GET /metrics": EVERYBODY,  # from this machine; see below
    "GET /": EVERYBODY,
    "GET /ui/{name:path}": EVERYBODY,
    # The dashboard.
    "GET /api/v1/session": KNOWN,
    "GET /api/v1/config": ADMINS,
    "GET /api/v1/budgets": PEOPLE,
    "POST /api/v1/playground/chat/completions": KNOWN,
    "GET /api/v1/playground/models": KNOWN,
    # Accounts.
    "GET /api/v1/users/me": PEOPLE,
    "POST /api/v1/users/me/password": PEOPLE,
    "GET /api/v1/users": ADMINS,
    "POST /api/v1/users": ADMINS,
    "GET /api/v1/users/{id}": ADMINS,
    "PATCH /api/v1/users/{id}": ADMINS,
    "DELETE /api/v1/users/{id}": ADMINS,
    "POST /api/v1/users/{id}/revoke-tokens": ADMINS,
    # Own keys of providers.
    "GET /api/v1/users/me/api-keys": PEOPLE,
    "PATCH /api/v1/users/me/api-keys": PEOPLE,
    "DELETE /api/v1/users/me/api-keys": PEOPLE,
    "GET /v2/users/me/api-key-status": PEOPLE,
    "PATCH /v2/users/me/api-key": PEOPLE,
    "DELETE /v2/users/me/api-key": PEOPLE,
    # The system's keys of providers.
    "GET /v2/admin/llm-keys": ADMINS,
    "PUT /v2/admin/llm-keys/{provider}": ADMINS,
    "DELETE /v2/admin/llm-keys/{provider}": ADMINS,
    # Virtual keys.
    "GET /api/v1/keys": PEOPLE,
    "POST /api/v1/keys": PEOPLE,
    "GET /api/v1/keys/{id}": PEOPLE,
    "PATCH /api/v1/keys/{id}": PEOPLE,
    "DELETE /api/v1/keys/{id}": PEOPLE,
    "POST /api/v1/keys/{id}/rotate": PEOPLE,
    # Operation.
    "GET /health/providers": KNOWN,
    "GET /api/v1/health/providers": KNOWN,
    "GET /api/v1/providers": OPERATORS,
    "POST /api/v1/providers": OPERATORS,
    "GET /api/v1/providers/{provider_id}": OPERATORS,
    "PATCH /api/v1/providers/{provider_id}": OPERATORS,
    "DELETE /api/v1/providers/{provider_id}": OPERATORS,
    "POST /api/v1/providers/{provider_id}/test": OPERATORS,
    "GET /api/v1/overrides": OPERATORS,
    "POST /api/v1/overrides": OPERATORS,
    "DELETE /api/v1/overrides/{override_id}": OPERATORS,
    "GET /api/v1/breakers": OPERATORS,
    "POST /api/v1/breakers/reset": OPERATORS,
    "GET /api/v1/cache/metrics": OPERATORS,
    "POST /api/v1/cache/invalidate": OPERATORS,
    "POST /api/v1/cache/warm": OPERATORS,
    "GET /api/v1/alerts": ADMINS,
    "POST /api/v1/alerts/test": ADMINS,
    "GET /api/v1/openapi.json": KNOWN,
    # Calls for customers.
    "POST /api/v1/generate": OPERATORS,
    "POST /api/v1/batch": OPERATORS,
    "POST /api/v1/estimate": KNOWN,
    "GET /api/v1/models": KNOWN,
    # Usage: a user's and a key's is the own (test_two_users.py).
    "GET /api/v1/usage/summary": KNOWN,
    "GET /api/v1/usage/by-provider": KNOWN,
    "GET /api/v1/usage/by-model": KNOWN,
    "GET /api/v1/usage/by-service": KNOWN,
    "GET /api/v1/usage/by-customer": KNOWN,
    "GET /api/v1/usage/by-task": KNOWN,
    "GET /api/v1/usage/by-key": KNOWN,
    "GET /api/v1/usage/daily": KNOWN,
    "GET /api/v1/usage/series": KNOWN,
    "GET /api/v1/usage/requests": KNOWN,
    "GET /api/v1/usage/requests/{id}": KNOWN,
    "GET /api/v1/usage/export": KNOWN,
    "GET /api/v1/usage/forecast": KNOWN,
    "GET /v2/billing/usage/my-usage": KNOWN,
    "GET /v2/billing/usage/all": ADMINS,
    # The doors of the seeds.
    "POST /api/llm": KNOWN,
    "GET /v2/llm-models": KNOWN,
    "GET /v2/llm-models/{id:path}": KNOWN,
    "POST /v2/llm/chat/completions": KNOWN,
    "POST /v2/llm/chat/completions/stream": KNOWN,
    "GET /v2/conversations": KNOWN,
    "GET /v2/conversations/{id}": KNOWN,
    "DELETE /v2/conversations/{id}": KNOWN,
    "POST /api/trpc/llm.complete": KNOWN,
    "POST /api/trpc/llm.batchComplete": KNOWN,
    "GET /api/trpc/llmAnalytics.summary": KNOWN,
    "GET /api/trpc/llmAnalytics.forecast": KNOWN,
    "GET /api/trpc/llmAnalytics.cacheMetrics": KNOWN,
    "GET /api/trpc/llmAnalytics.circuitBreakerStatus": KNOWN,
    "POST /api/trpc/llmAnalytics.cacheInvalidate": OPERATORS,
    "POST /api/trpc/llmAnalytics.circuitBreakerReset": OPERATORS,
    # A procedure that there is not, and one asked by the other method: 404 and 405 to who is known.
    "GET /api/trpc/{path:path}": KNOWN,
    "POST /api/trpc/{path:path}": KNOWN,
    "GET /api/trpc/llm.complete": KNOWN,
    "GET /api/trpc/llm.batchComplete": KNOWN,
    "POST /api/trpc/llmAnalytics.summary": KNOWN,
    "POST /api/trpc/llmAnalytics.forecast": KNOWN,
    "POST /api/trpc/llmAnalytics.cacheMetrics": KNOWN,
    "POST /api/trpc/llmAnalytics.circuitBreakerStatus": KNOWN,
    "GET /api/trpc/llmAnalytics.cacheInvalidate": KNOWN,
    "GET /api/trpc/llmAnalytics.circuitBreakerReset": KNOWN,
}

ANONYMOUS = frozenset({
    "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings",
    "POST /v1/responses", "POST /v1/images/generations", "POST /v1/audio/transcriptions",
    "POST /v1/audio/speech", "POST /v1/moderations", "POST /v1/messages",
    "POST /v1/messages/count_tokens", "GET /v1/models", "GET /v1/models/{name:path}",
    "GET /health/providers", "GET /api/v1/health/providers", "GET /api/v1/session",
    "POST /api/v1/playground/chat/completions", "GET /api/v1/playground/models",
})  # fmt: skip
"""What a caller without a key may do beside what is open, where `auth.anonymous` is on."""

TRPC_OTHERS = re.compile(r"(GET /api/trpc/.*(omplete|Invalidate|Reset)|POST /api/trpc/.*(summary|"
                         r"forecast|Metrics|Status))$|.*/\{path:path\}$")  # fmt: skip
"""Calls of tRPC that nobody may make: known callers learn so by 404 or 405."""

SECRET_PLACES = ("/api/v1/users", "/api/v1/keys", "/v2/users", "/v2/admin", "/api/v1/alerts")
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
DOCUMENTED = frozenset({501, 503})  # the only answers from 500 on that a route may give here
LAST = "POST /api/v1/logout"  # ends the sessions that it is called with

CONFIG = """
auth:
  master_key: "${{TURNOUT_MASTER_KEY}}"
  service_keys: ["{service}"]
  anonymous: {anonymous}
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{url}", api_key: sk-up-secret}}
"""


def routes(folder: Path) -> list[tuple[str, str]]:
    """(method, path) of every route of the application; HEAD is GET's."""
    path = folder / "routes.yaml"
    path.write_text(one_upstream("http://127.0.0.1:9/v1"))
    app = build_app(
        lambda: load(path, {"TURNOUT_MASTER_KEY": MASTER}), Home(folder / "routes-home")
    )
    found = []
    for route in app.routes:
        assert isinstance(route, Route), f"{route} is no plain route: say who may call what of it"
        methods = route.methods or {"POST"}  # a door of the data plane, which refuses the others
        found += [(method, route.path) for method in sorted(methods - {"HEAD"})]
    return sorted(set(found))


def placed(path: str) -> str:
    """A path with something in the place of its parameters that is not there."""
    return re.sub(r"\{[^}]*\}", "nothing-that-is-there", path)


def forged(user: Person) -> str:
    """A token that says admin and is signed by nobody."""

    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    claims = user.token.split(".")[1]
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{claims}."


async def callers(gateway: Gateway) -> dict[str, dict[str, str]]:
    """The headers of each kind of caller."""
    user = await join(gateway, "user@example.com")
    admin = await join(gateway, "admin@example.com", "admin")
    gone = await join(gateway, "gone@example.com")
    _, key = await make_key(gateway, MASTERLY, name="nobody's")
    _, owned = await make_key(gateway, user.bearer, name="the user's")
    off = await ask(gateway, "PATCH", f"/api/v1/users/{gone.id}", MASTERLY, {"is_active": False})
    assert off.status == 200, off.body
    return {
        "none": {},
        "garbage": bearer("sk-turnout-' OR '1'='1"),
        "forged": bearer(forged(user)),
        "wrong service key": {"x-service-key": SERVICE_KEY + "x"},
        "switched off": gone.bearer,
        "key": bearer(key),
        "owned key": bearer(owned),
        "user": user.bearer,
        "cookie": user.browser,
        "service": SERVICE,
        "admin": admin.bearer,
        "master": MASTERLY,
        "master's cookie": await master_cookie(gateway),
    }


async def master_cookie(gateway: Gateway) -> dict[str, str]:
    """The session of who logged in with the master key."""
    answer = await ask(gateway, "POST", "/api/v1/login", body={"key": MASTER})
    assert answer.status == 200, answer.body
    return {"cookie": answer.headers["set-cookie"].split(";")[0]}


@asynccontextmanager
async def at_work(folder: Path, anonymous: bool = False) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(Upstream())
        text = CONFIG.format(url=up.base_url, service=SERVICE_KEY, anonymous=str(anonymous).lower())
        gateway = await stack.enter_async_context(running(folder, text))
        yield gateway, up


async def probe(
    session: aiohttp.ClientSession, url: str, method: str, headers: dict[str, str]
) -> tuple[int, bytes]:
    data = b"{}" if method in WRITING else None
    async with session.request(
        method, url, headers=headers, allow_redirects=False, data=data
    ) as reply:
        return reply.status, await reply.read()


def fresh() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


def refused(status: int, body: bytes) -> bool:
    """Whether a caller was turned away as such: a login that fails is no such refusal."""
    return status in (401, 403) and b"invalid_credentials" not in body


def test_every_route_is_in_the_table_and_nothing_else_is(tmp_path: Path) -> None:
    found = {f"{method} {path}" for method, path in routes(tmp_path)}
    assert found - MAY.keys() == set(), "say in the table who may call these"
    assert MAY.keys() - found == set(), "these are in the table, and no routes"


async def test_each_route_lets_in_whom_the_table_says(tmp_path: Path) -> None:
    found = sorted(routes(tmp_path), key=lambda route: " ".join(route) == LAST)
    wrong: list[str] = []
    async with at_work(tmp_path) as (gateway, up), fresh() as session:
        who = await callers(gateway)
        for method, path in found:
            name = f"{method} {path}"
            for caller, headers in who.items():
                for verb in (method, "HEAD") if method == "GET" else (method,):
                    url = gateway.url + placed(path)
                    status, body = await probe(session, url, verb, headers)
                    wrong += _wrong(name, caller, verb, status, body)
        assert up.log == []  # an empty body asks nothing of a provider
    assert wrong == []


def _wrong(name: str, caller: str, verb: str, status: int, body: bytes) -> Iterator[str]:
    said = f"{verb} {name.partition(' ')[2]} by {caller}: {status} {body[:150]!r}"
    if status >= 500 and status not in DOCUMENTED:
        yield said
    if caller in MAY.get(name, frozenset()):
        if refused(status, body):
            yield "kept out: " + said
        if TRPC_OTHERS.match(name) and verb != "HEAD" and status not in (404, 405):
            yield "not refused: " + said
    elif status != (401 if caller in NOBODIES or _is_data_cookie(name, caller) else 403):
        yield "let in, or with the wrong status: " + said


def _is_data_cookie(name: str, caller: str) -> bool:
    """On the data plane a cookie is nothing."""
    return caller in COOKIES and " /v1/" in name


async def test_no_other_method_reaches_a_route(tmp_path: Path) -> None:
    found = routes(tmp_path)
    taken: dict[str, set[str]] = {}
    for method, path in found:
        taken.setdefault(placed(path), set()).add(method)
    wrong = []
    async with at_work(tmp_path) as (gateway, _), fresh() as session:
        for path, methods in taken.items():
            for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods):
                status, body = await probe(session, gateway.url + path, method, MASTERLY)
                is_no_id = path == "/api/v1/users/me" and status == 404  # 'me' is no user's id
                if status != 405 and not is_no_id:
                    wrong.append(f"{method} {path}: {status} {body[:100]!r}")
    assert wrong == []


def test_a_service_key_never_reaches_accounts_keys_or_secrets() -> None:
    places = [name for name in MAY if name.partition(" ")[2].startswith(SECRET_PLACES)]
    assert len(places) == 25
    assert [name for name in places if MAY[name] & {"service", "key", "owned key"}] == []


def test_only_the_data_plane_and_what_is_open_is_outside_of_the_cookie() -> None:
    without = {name for name, who in MAY.items() if "user" in who and "cookie" not in who}
    assert without == {name for name in MAY if name.partition(" ")[2].startswith("/v1/")}


async def test_metrics_are_open_to_this_machine_alone(tmp_path: Path) -> None:
    """What comes by way of a proxy comes from elsewhere."""
    async with at_work(tmp_path) as (gateway, _):
        who = await callers(gateway)
        let_in = set()
        for caller, headers in who.items():
            by_proxy = {**headers, "x-forwarded-for": "203.0.113.9"}
            answer = await ask(gateway, "GET", "/metrics", by_proxy)
            assert answer.status in (200, 401, 403)
            let_in |= {caller} if answer.status == 200 else set()
    assert let_in == OPERATORS - COOKIES  # at the root, where scrapers come


async def test_an_anonymous_caller_has_the_data_plane_and_nothing_else(tmp_path: Path) -> None:
    open_to_all = {name for name, who in MAY.items() if "none" in who}
    let_in = set()
    async with at_work(tmp_path, anonymous=True) as (gateway, _), fresh() as session:
        for method, path in routes(tmp_path):
            status, body = await probe(session, gateway.url + placed(path), method, {})
            assert status < 500 or status in DOCUMENTED, (method, path, body)
            name = f"{method} {path}"
            if not refused(status, body) and not TRPC_OTHERS.match(name):
                let_in.add(name)
    assert let_in == open_to_all | ANONYMOUS


# A page of another origin, with the admin's own cookie.


CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
]


async def test_a_page_elsewhere_writes_nothing(tmp_path: Path) -> None:
    wrong = []
    found = [(method, path) for method, path in routes(tmp_path) if method in WRITING]
    assert len(found) > 40
    async with at_work(tmp_path) as (gateway, up), fresh() as session:
        admin = await join(gateway, "admin@example.com", "admin")
        before = await _made(gateway)
        for method, path in found:
            if path.startswith("/v1/") or path == "/v2/login/access-token":
                continue  # where a cookie counts for nothing, and none is set
            for headers in CROSS:
                given = {**admin.browser, **headers}
                status, body = await probe(session, gateway.url + placed(path), method, given)
                if (status, code_of(Answer(status, {}, body))) != (403, "csrf"):
                    wrong.append(f"{method} {path} {headers}: {status} {body[:100]!r}")
        assert await _made(gateway) == before
        assert up.log == []
        alive = await ask(gateway, "GET", "/api/v1/users/me", admin.browser)
        assert alive.status == 200  # it was not logged out either
    assert wrong == []


async def _made(gateway: Gateway) -> list[object]:
    """What there is."""
    places = ("/api/v1/users", "/api/v1/keys", "/api/v1/providers", "/api/v1/overrides")
    return [(await ask(gateway, "GET", place, MASTERLY)).json for place in places]


async def test_our_own_page_and_what_is_no_browser_write_with_a_cookie(tmp_path: Path) -> None:
    async with at_work(tmp_path) as (gateway, _):
        user = await join(gateway, "user@example.com")
        own = {"origin": gateway.url, "sec-fetch-site": "same-origin"}
        for headers in (own, {"sec-fetch-site": "none"}, {}):
            made = await ask(
                gateway, "POST", "/api/v1/keys", {**user.browser, **headers}, {"name": "mine"}
            )
            assert made.status == 201, (headers, made.body)
        # A token that is sent on purpose needs no such proof.
        evil = {**user.bearer, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert (await ask(gateway, "POST", "/api/v1/keys", evil, {})).status == 201


@pytest.mark.parametrize("anonymous", [False, True])
async def test_a_poisoned_host_opens_nothing(tmp_path: Path, anonymous: bool) -> None:
    async with at_work(tmp_path, anonymous) as (gateway, up):
        admin = await join(gateway, "admin@example.com", "admin")
        poisoned = {"host": "x/#@y"}
        before = await _made(gateway)
        wrong = []
        for method, path in routes(tmp_path):
            if MAY.get(f"{method} {path}") != ADMINS:
                continue
            for headers in ({}, bearer("sk-turnout-none"), {"host": "x/?/health/live"}):
                answer = await ask(gateway, method, placed(path), {**poisoned, **headers}, b"{}")
                if answer.status not in (400, 401):
                    wrong.append(f"{method} {path}: {answer.status}")
        assert wrong == []
        # A browser's cookie, with an origin that only a poisoned Host would make its own.
        headers = {**admin.browser, **poisoned, "origin": "http://y"}
        answer = await ask(gateway, "POST", "/api/v1/keys", headers, {"name": "poisoned"})
        assert answer.status in (400, 401, 403)
        assert await _made(gateway) == before
        assert up.log == []


async def test_each_call_of_a_batch_is_looked_at_by_itself(tmp_path: Path) -> None:
    """What one of several procedures takes the others don't lend it."""
    async with at_work(tmp_path) as (gateway, _):
        user = await join(gateway, "user@example.com")
        path = "/api/trpc/llmAnalytics.cacheInvalidate,llmAnalytics.circuitBreakerReset?batch=1"
        answer = await ask(gateway, "POST", path, user.bearer, {"0": {}, "1": {}})
        codes = [each["error"]["data"]["turnoutCode"] for each in answer.json]
        assert (answer.status, codes) == (403, ["forbidden", "forbidden"])
        mixed = "/api/trpc/llmAnalytics.cacheMetrics,llmAnalytics.circuitBreakerStatus?batch=1"
        answer = await ask(gateway, "GET", mixed, {})
        codes = [each["error"]["data"]["turnoutCode"] for each in answer.json]
        assert (answer.status, codes) == (401, ["invalid_api_key", "invalid_api_key"])
