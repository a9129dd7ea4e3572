"""What the dashboard asks for, by the cookie that it has, from a real gateway.

The oracle of the numbers is `books.py`: what was asked, and what the fakes' logs say was sent.
"""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.e2e.books import Row, Sums, nano, together
from tests.e2e.gateway import MASTER, Gateway, one_upstream, running
from tests.e2e.people import (
    MASTERLY,
    SERVICE,
    SERVICE_KEY,
    ask,
    bearer,
    code_of,
    join,
    make_key,
)
from tests.e2e.test_canaries import canary, leaks
from tests.e2e.world import World, customers, repeats, traffic, world
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

SERIES = "/api/v1/usage/series"


async def log_in(gateway: Gateway, key: str = MASTER) -> dict[str, str]:
    """The header of a page that has logged in with the master key."""
    answer = await ask(gateway, "POST", "/api/v1/login", body={"key": key})
    assert answer.status == 200, answer.body
    return {"cookie": answer.headers["set-cookie"].split(";")[0]}


# Usage over time.


async def test_the_points_add_up_to_what_the_upstreams_saw(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await traffic(w)
        await repeats(w)
        await customers(w)
        await w.gateway.rows(len(w.sent))
        rows = w.rows()
        cookie = await log_in(w.gateway)
        alice, bob, key = w.alice, w.bob, w.alices_key[0]
        for headers, query, mine in (
            (MASTERLY, "", rows),
            (cookie, "", rows),
            (SERVICE, "", rows),
            (cookie, "&provider=one", [r for r in rows if r.provider == "one"]),
            (cookie, "&model=m-2", [r for r in rows if r.model == "m-2"]),
            (cookie, "&service=shop", [r for r in rows if r.sent.service == "shop"]),
            (cookie, "&service=", [r for r in rows if r.sent.service is None]),
            (cookie, "&task=notes", [r for r in rows if r.sent.task == "notes"]),
            (cookie, f"&user={bob.id}", [r for r in rows if r.sent.user == bob.id]),
            (cookie, f"&user_id={bob.id}", [r for r in rows if r.sent.user == bob.id]),
            (cookie, f"&key={key}", [r for r in rows if r.sent.key == key]),
            (alice.browser, "", [r for r in rows if r.sent.user == alice.id]),
            (
                alice.browser,
                "&provider=two",
                [r for r in rows if r.sent.user == alice.id and r.provider == "two"],
            ),
            (alice.browser, f"&user={bob.id}", []),
            (alice.browser, f"&key={w.bobs_key[0]}", []),
            (alice.browser, f"&key_id={key}", [r for r in rows if r.sent.key == key]),
            (bearer(w.alices_key[1]), "", [r for r in rows if r.sent.key == key]),
            (
                bearer(w.alices_key[1]),
                "&task=simple",
                [r for r in rows if r.sent.key == key and r.sent.task == "simple"],
            ),
        ):
            for period in ("1h", "6h", "24h", "7d", "30d", "90d"):
                await _check_series(w, headers, period, query, mine)
        await _check_summaries(w, cookie, rows)
        for path in (f"?user_id={bob.id}", f"?key_id={w.bobs_key[0]}"):
            other = await w.ask("GET", SERIES + path, alice.browser)
            assert (other.status, code_of(other)) == (404, "not_found")


async def _check_series(
    w: World, headers: dict[str, str], period: str, query: str, mine: list[Row]
) -> None:
    said = await w.get(f"{SERIES}?period={period}{query}", headers)
    assert set(said) == {"period", "step_seconds", "points"}
    step = {"1h": 60, "6h": 300, "24h": 3600, "7d": 3600}.get(period, 86_400)
    assert (said["period"], said["step_seconds"]) == (period, step)
    points = said["points"]
    begins = [datetime.fromisoformat(point["begins"]) for point in points]
    assert begins[0].tzinfo == UTC
    gaps = [(b - a).total_seconds() for a, b in pairwise(begins)]
    assert set(gaps) == {float(step)}
    assert _sums(points) == together(mine)._replace(kept=0), (period, query)
    for point in points:
        assert point["total_tokens"] == point["input_tokens"] + point["output_tokens"]
        known = point["p50_latency_ms"] is not None, point["p95_latency_ms"] is not None
        assert known == (point["requests"] > 0,) * 2
        first = {name for name in point if "first_token" in name and point[name] is not None}
        assert len(first) in (0, 3)
    assert any(point["p95_first_token_ms"] for point in points) or len(mine) < 20


def _sums(points: list[dict[str, Any]]) -> Sums:
    def total(name: str) -> int:
        return sum(point[name] for point in points)

    return Sums(
        total("requests"),
        total("errors"),
        total("cached"),
        total("input_tokens"),
        0,
        total("output_tokens"),
        sum(nano(point["cost_usd"]) for point in points),
        sum(nano(point["saved_usd"]) for point in points),
    )


async def _check_summaries(w: World, cookie: dict[str, str], rows: list[Row]) -> None:
    for period, days in (("24h", 1), ("7d", 7), ("30d", 30)):
        summary = await w.get(f"/api/v1/usage/summary?days={days}", cookie)
        points = (await w.get(f"{SERIES}?period={period}", cookie))["points"]
        found = _sums(points)
        assert found.requests == summary["total_requests"] == len(rows)
        assert found.cost == nano(summary["total_cost_usd"])
        assert found.saved == nano(summary["saved_usd"])


@pytest.fixture
async def one(tmp_path: Path) -> Any:
    """A gateway with one provider."""
    async with Upstream() as up:
        text = one_upstream(up.base_url).replace(
            'master_key: "${TURNOUT_MASTER_KEY}"',
            f'master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [{SERVICE_KEY}]',
        )
        async with running(tmp_path, text + "retry: {attempts: 2, backoff: [1ms, 2ms]}\n") as g:
            yield g, up


async def test_what_a_series_may_not_be_asked(one: Any) -> None:
    gateway, _ = one
    for query, param in (
        ("period=2h", "period"),
        ("period=", "period"),
        ("provider=a&model=b", "model"),
        ("task=&key=", "key"),
        ("user_id=a&key_id=b", "key_id"),
    ):
        answer = await ask(gateway, "GET", f"{SERIES}?{query}", MASTERLY)
        assert (answer.status, answer.json["error"]["param"]) == (422, param), query
    assert (await ask(gateway, "GET", SERIES, {})).status == 401


# One request.


def chat(**over: Any) -> dict[str, Any]:
    return {"model": "up/m", "messages": [{"role": "user", "content": "Hello"}], **over}


async def test_one_request_with_its_attempts(one: Any) -> None:
    gateway, up = one
    user, other = await join(gateway, "a@x.test"), await join(gateway, "b@x.test")
    key_id, key = await make_key(gateway, user.bearer)
    up.script(fake.json_reply({"error": {"message": "it broke"}}, 500), fake.chat_reply("Hi"))
    answer = await ask(gateway, "POST", "/v1/chat/completions", bearer(key), chat())
    assert (answer.status, len(up.log)) == (200, 2)
    [row] = await gateway.rows(1)
    await gateway.attempts(2)
    name = answer.headers["x-request-id"]
    for shown in (name, name.removeprefix("req_")):
        found = await ask(gateway, "GET", f"/api/v1/usage/requests/{shown}", user.browser)
        assert found.status == 200, found.body
        said = found.json
        tries = said.pop("attempt_list")
        listed = await ask(gateway, "GET", "/api/v1/usage/requests", user.browser)
        assert listed.json["data"] == [said]
        assert (said["request_id"], said["key_id"], said["attempts"]) == (name, key_id, 2)
    names = {
        "number", "provider_name", "model", "credential", "status_code", "outcome", "error_code",
        "error_message", "input_tokens", "output_tokens", "cost_usd", "usage_source",
        "duration_ms", "first_token_ms", "created_at",
    }  # fmt: skip
    assert [set(each) for each in tries] == [names, names]
    assert [each["status_code"] for each in tries] == [500, 200]
    assert [each["outcome"] for each in tries] == ["failed", "ok"]
    assert [(each["provider_name"], each["model"]) for each in tries] == [("up", "m")] * 2
    assert "it broke" in tries[0]["error_message"]
    assert tries[1]["error_message"] is None
    assert (tries[1]["input_tokens"], tries[1]["output_tokens"]) == (
        row["input_tokens"],
        row["output_tokens"],
    )
    _, others = await make_key(gateway, other.bearer)
    may = [MASTERLY, SERVICE, await log_in(gateway), user.bearer, bearer(key)]
    may_not = [other.bearer, other.browser, bearer(others), bearer(gateway.key)]
    for headers in may:
        found = await ask(gateway, "GET", f"/api/v1/usage/requests/{name}", headers)
        assert found.status == 200
    for headers in may_not:
        found = await ask(gateway, "GET", f"/api/v1/usage/requests/{name}", headers)
        assert (found.status, code_of(found)) == (404, "not_found")
    for wrong in ("req_" + "0" * 32, "0" * 31, "x", "req_", "%00", name + "0", name.upper()):
        found = await ask(gateway, "GET", f"/api/v1/usage/requests/{wrong}", MASTERLY)
        assert found.status == 404, wrong


# The master key's session.


async def test_a_session_of_the_master_key_is_the_admins(one: Any) -> None:
    gateway, up = one
    up.script(fake.chat_reply("Hi"))
    cookie = await log_in(gateway)
    token = bearer(cookie["cookie"].removeprefix("session="))
    for headers in (cookie, token):
        assert (await ask(gateway, "GET", "/api/v1/users", headers)).status == 200
        said = (await ask(gateway, "GET", "/api/v1/session", headers)).json
        assert (said["role"], said["user"], said["key_id"]) == ("admin", None, None)
    assert (await ask(gateway, "GET", "/v1/models", token)).status == 200
    answer = await ask(gateway, "POST", "/v1/chat/completions", token, chat())
    assert answer.status == 200, answer.body
    assert (await ask(gateway, "GET", "/v1/models", cookie)).status == 401
    [row] = await gateway.rows(1)
    assert (row["role"], row["user_id"], row["key_id"]) == ("admin", None, None)
    assert (await ask(gateway, "POST", "/api/v1/logout", cookie)).status == 204
    for headers in (cookie, token):
        assert (await ask(gateway, "GET", "/api/v1/users", headers)).status == 401
    assert (await ask(gateway, "GET", "/v1/models", token)).status == 401


async def test_a_new_master_key_ends_the_sessions_of_the_old(tmp_path: Path) -> None:
    text = one_upstream("http://127.0.0.1:9/v1")
    async with running(tmp_path, text) as gateway:
        cookie = await log_in(gateway)
        assert (await ask(gateway, "GET", "/api/v1/users", cookie)).status == 200
        fresh = "sk-turnout-another-master-for-the-tests"
        gateway.config.write_text(text.replace("${TURNOUT_MASTER_KEY}", fresh))
        async with asyncio.timeout(20):
            while (await ask(gateway, "GET", "/api/v1/users", bearer(fresh))).status != 200:
                await asyncio.sleep(0.1)
        assert (await ask(gateway, "GET", "/api/v1/users", cookie)).status == 401
        wrong = await ask(gateway, "POST", "/api/v1/login", body={"key": MASTER})
        assert (wrong.status, code_of(wrong)) == (401, "invalid_credentials")
        renewed = await log_in(gateway, fresh)
        assert (await ask(gateway, "GET", "/api/v1/users", renewed)).status == 200


# The playground.

PLAY = "/api/v1/playground"


async def test_the_playground_is_the_data_plane_by_cookie(one: Any) -> None:
    gateway, up = one
    up.on(lambda received: fake.chat_reply("Hi"))
    user = await join(gateway, "a@x.test")
    own = {"origin": gateway.url, "sec-fetch-site": "same-origin"}
    answer = await ask(gateway, "POST", f"{PLAY}/chat/completions", {**user.browser, **own}, chat())
    assert answer.status == 200, answer.body
    assert answer.json["choices"][0]["message"]["content"] == "Hi"
    [row] = await gateway.rows(1)
    assert (row["user_id"], row["role"], row["endpoint"]) == (
        user.id,
        "user",
        "/v1/chat/completions",
    )
    for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}):
        evil = await ask(
            gateway, "POST", f"{PLAY}/chat/completions", {**user.browser, **headers}, chat()
        )
        assert (evil.status, code_of(evil)) == (403, "csrf")
    assert (await ask(gateway, "POST", f"{PLAY}/chat/completions", {}, chat())).status == 401
    wrong = await ask(gateway, "GET", f"{PLAY}/chat/completions", user.browser)
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert len(up.log) == 1
    plane = await ask(gateway, "GET", "/v1/models", user.bearer)
    models = await ask(gateway, "GET", f"{PLAY}/models", user.browser)
    assert models.status == 200
    assert models.json == plane.json
    assert (await ask(gateway, "GET", f"{PLAY}/models", {})).status == 401


async def test_the_playground_streams(one: Any) -> None:
    gateway, up = one
    up.script(fake.sse(*fake.chat_chunks(["He", "llo"])))
    cookie = await log_in(gateway)
    answer = await ask(gateway, "POST", f"{PLAY}/chat/completions", cookie, chat(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    deltas = [orjson.loads(line)["choices"] for line in lines[:-1]]
    assert "".join(c[0]["delta"].get("content") or "" for c in deltas if c) == "Hello"


async def test_a_virtual_key_plays_with_its_own_models(one: Any) -> None:
    gateway, _ = one
    _, key = await make_key(gateway, MASTERLY, models=["up/only"])
    answer = await ask(gateway, "POST", f"{PLAY}/chat/completions", bearer(key), chat())
    assert (answer.status, code_of(answer)) == (404, "model_not_found")


# The configuration.

SECRETS = {
    name: canary("dashboard-" + name)
    for name in ("up", "second", "header", "password", "query", "jwt", "sealing", "service", "hook",
                 "signing", "backend", "default", "task", "made", "redis")
}  # fmt: skip

CONFIG = """
auth:
  master_key: "${{TURNOUT_MASTER_KEY}}"
  encryption_key: "{sealing}"
  jwt: {{secret: "{jwt}", expires: 2h}}
  service_keys: ["{service}"]
cache: {{enabled: false}}
server: {{private_providers: true}}
alerts: {{webhook: "http://127.0.0.1:9/{hook}?key={hook}", secret: "{signing}"}}
providers:
  up:
    dialect: openai
    base_url: "{url}"
    api_key: "{up}"
    headers: {{x-organization: "{header}", x-plain: "plain"}}
  many: {{dialect: openai, base_url: "{url}", api_keys: ["{up}x", "{second}"]}}
backends:
  crm: {{base_url: "http://127.0.0.1:9/crm", headers: {{x-crm: "{backend}"}}}}
tasks:
  told:
    targets: [up/m]
    defaults: {{temperature: 0.25, extra_body: {{api_key: "{default}"}}, note: "the key is {up}"}}
    prompt: {{system: "See http://u:{query}@host/x?k={task} for {second}"}}
limits: {{rpm: 77}}
"""


async def test_the_configuration_without_its_secrets(tmp_path: Path) -> None:
    async with Upstream() as up:
        text = CONFIG.format(url=up.base_url, **SECRETS)
        async with running(tmp_path, text) as gateway:
            made = {
                "name": "made", "display_name": "Made", "api_key": SECRETS["made"],
                "base_url": up.base_url, "models": ["m"], "allow_private": True,
            }  # fmt: skip
            assert (await ask(gateway, "POST", "/api/v1/providers", MASTERLY, made)).status == 201
            answer = await ask(gateway, "GET", "/api/v1/config", await log_in(gateway))
            assert answer.status == 200, answer.body
            assert leaks(answer.body, {**SECRETS, "master": MASTER}) == []
            said = answer.json
            health = (await ask(gateway, "GET", "/health", {})).json["config"]
            assert {name: said[name] for name in health} == health
            assert said["path"] == str(gateway.config)
            shown = yaml.safe_load(said["text"])
            _check_shown(shown, up.base_url)
            gateway.config.write_text(text + "\nnonsense: 1\n")
            async with asyncio.timeout(20):
                while said["error"] is None:
                    await asyncio.sleep(0.1)
                    said = (await ask(gateway, "GET", "/api/v1/config", MASTERLY)).json
            assert "nonsense" in said["error"]
            assert yaml.safe_load(said["text"]) == shown


def _check_shown(shown: dict[str, Any], url: str) -> None:
    assert shown["auth"] == {
        "master_key": "***",
        "encryption_key": "***",
        "jwt": {"secret": "***", "expires": 7200.0},
        "service_keys": ["***"],
    }
    assert shown["limits"] == {"rpm": 77}
    assert shown["providers"]["up"] == {
        "dialect": "openai",
        "base_url": url,
        "api_key": "***",
        "headers": {"x-organization": "***", "x-plain": "***"},
    }
    assert shown["providers"]["many"]["api_keys"] == ["***", "***"]
    assert shown["providers"]["made"]["api_key"] == "***"
    assert shown["alerts"] == {"webhook": "***", "secret": "***"}
    assert shown["backends"]["crm"]["headers"] == {"x-crm": "***"}
    told = shown["tasks"]["told"]
    assert told["defaults"] == {
        "temperature": 0.25,
        "extra_body": {"api_key": "***"},
        "note": "the key is ***",
    }
    assert told["prompt"]["system"] == "See http://***@host/x?*** for ***"
    assert "ledger" not in shown  # as by default


# Budgets.


async def test_budgets_by_what_is_left_of_them(tmp_path: Path) -> None:
    async with Upstream() as up:
        up.on(lambda received: fake.chat_reply("Hi", usage=fake.count(100, 10)))
        prices = 'pricing: {overrides: {"up/*": {input: 1000, output: 10000}}}'
        async with running(tmp_path, one_upstream(up.base_url, prices)) as gateway:
            user, other = await join(gateway, "a@x.test"), await join(gateway, "b@x.test")
            limits = {"budget": {"amount": 1, "per": "day"}}
            patch = f"/api/v1/users/{user.id}"
            done = await ask(gateway, "PATCH", patch, MASTERLY, {"limits": limits})
            assert done.status == 200, done.body
            month = {"budget": {"amount": 50, "per": "month"}}
            key, secret = await make_key(
                gateway, MASTERLY, name="own", user_id=user.id, limits=month
            )
            label, _ = await make_key(gateway, MASTERLY, name="other", limits=limits)
            await make_key(gateway, MASTERLY, name="without")
            for _ in range(2):
                answer = await ask(
                    gateway, "POST", "/v1/chat/completions", bearer(secret), chat(max_tokens=10)
                )
                assert answer.status == 200, answer.body
            await gateway.rows(2)
            entries = await _budgets(gateway, await log_in(gateway))
            assert [each["scope"] for each in entries] == [
                f"user:{user.id}",
                f"key:{key}",
                f"key:{label}",
            ]
            spent = len(up.log) * (100 * 1000 + 10 * 10_000) / 1e6
            assert spent == 0.4
            assert entries[0] == {
                "scope": f"user:{user.id}",
                "kind": "user",
                "name": "a@x.test",
                "per": "day",
                "budget_usd": 1.0,
                "spent_usd": 0.4,
                "resets_at": entries[0]["resets_at"],
            }
            assert [(e["spent_usd"], e["budget_usd"], e["per"]) for e in entries[1:]] == [
                (0.4, 50.0, "month"),
                (0.0, 1.0, "day"),
            ]
            now = datetime.now(UTC)
            day, after = (datetime.fromisoformat(e["resets_at"]) for e in entries[:2])
            assert 0 < (day - now).total_seconds() <= 86_400
            assert (day.hour, day.minute, after.day, after.hour) == (0, 0, 1, 0)
            assert (after.year, after.month) == (now.year + now.month // 12, now.month % 12 + 1)
            assert await _budgets(gateway, user.browser) == entries[:2]
            assert await _budgets(gateway, other.browser) == []


async def _budgets(gateway: Gateway, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await ask(gateway, "GET", "/api/v1/budgets", headers)
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"data"}
    found: list[dict[str, Any]] = answer.json["data"]
    return found


# The page.


async def test_the_page_is_open_and_its_files_are_served(one: Any) -> None:
    gateway, _ = one
    page = await ask(gateway, "GET", "/", {})
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src")
    tag = page.headers["etag"]
    assert (await ask(gateway, "GET", "/", {"if-none-match": tag})).status == 304
    for path in ("/index.html", "/ui", "/ui/..%2fapp.py", "/ui/%2e%2e/app.py", "/ui/../app.py"):
        assert (await ask(gateway, "GET", path, {})).status == 404, path


async def test_what_the_cache_promises(one: Any) -> None:
    gateway, _ = one
    said = await gateway.call("GET", "/api/v1/cache/metrics")
    semantic = said.json["semantic"]
    assert (semantic["floor"], semantic["max_wrong"]) == (0.6, 0.01)
    assert (semantic["threshold"], semantic["curve"]) == (None, [])
