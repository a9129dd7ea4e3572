"""Two users, their keys, a service with two customers, and the master key, all at once: who sees
what, whose key goes upstream, and whether every number is the upstreams' own.

The oracle is `books.py`: what was asked, and what the fakes' logs say was sent.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import books
from tests.e2e.books import Mark, Row, Sent, Sums, grouped, nano, sums_of, sums_of_rows, together
from tests.e2e.people import (
    MASTERLY,
    SERVICE,
    bearer,
    code_of,
    join,
    make_key,
)
from tests.e2e.world import (
    ONE_A,
    ONE_B,
    SYSTEM,
    TWO_B,
    World,
    by_openai,
    chat,
    customers,
    repeats,
    traffic,
    world,
)

CAD = 1.37


async def test_every_number_is_the_upstreams_own(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await traffic(w)
        await repeats(w)
        await customers(w)
        await w.gateway.rows(len(w.sent))
        rows = w.rows()
        total = together(rows)
        assert total.requests == len(w.sent) == 66
        assert (total.hits, total.errors) == (6, 6)
        assert total.saved > 0
        assert any(row.attempts == 2 and not row.failed for row in rows)
        _check_credentials(w)
        await _check_usage(w, rows)
        await _check_attempts(w)
        await _check_billing(w, rows)
        await _check_analytics(w, rows)
        await _check_metrics(w, rows)


def _check_credentials(w: World) -> None:
    """Whose key went upstream, by the log: the caller's own where there is one, else the
    system's; nobody else's ever."""
    own = {("alice", "one"): ONE_A, ("bob", "one"): ONE_B, ("bob", "two"): TWO_B}
    owners: dict[str, set[str]] = {}
    for each in w.sent:
        owners.setdefault(each.mark.id, set()).add(each.owner)
    for name, upstream in w.logs.items():
        for entry in upstream.log:
            allowed = set()
            for owner in owners[books.mark_of(entry).id]:
                secret = own.get((owner, name))
                allowed.add(SYSTEM[name] if secret is None else f"Bearer {secret}")
            assert entry.header("authorization") in allowed


def views(w: World, rows: list[Row]) -> list[tuple[str, dict[str, str], str, list[Row]]]:
    """(who looks, by which headers, with which filter, what of the rows that is)."""
    alice, bob = w.alice, w.bob

    def of(**what: str | None) -> list[Row]:
        return [r for r in rows if all(getattr(r.sent, k) == v for k, v in what.items())]

    return [
        ("the master key", MASTERLY, "", rows),
        ("a service", SERVICE, "", rows),
        ("alice", alice.bearer, "", of(user=alice.id)),
        ("alice in her browser", alice.browser, "", of(user=alice.id)),
        ("bob", bob.bearer, "", of(user=bob.id)),
        ("alice's key", bearer(w.alices_key[1]), "", of(key=w.alices_key[0])),
        ("bob's key", bearer(w.bobs_key[1]), "", of(key=w.bobs_key[0])),
        ("a key of nobody's", bearer(w.plain_key[1]), "", of(key=w.plain_key[0])),
        ("alice of her key", alice.bearer, f"&key_id={w.alices_key[0]}", of(key=w.alices_key[0])),
        ("the master key of bob", MASTERLY, f"&user_id={bob.id}", of(user=bob.id)),
        ("a service of c2", SERVICE, "&user_id=c2", of(user="c2")),
        ("a service of nobody", SERVICE, "&user_id=c3", []),
    ]


GROUPS: dict[str, tuple[str, Callable[[Row], str | None]]] = {
    "by-provider": ("provider_name", lambda row: row.provider),
    "by-model": ("model", lambda row: row.model),
    "by-service": ("service_name", lambda row: row.sent.service),
    "by-customer": ("user_id", lambda row: row.sent.user),
    "by-task": ("task_type", lambda row: row.sent.task),
    "by-key": ("key_id", lambda row: row.sent.key),
}


async def _check_usage(w: World, rows: list[Row]) -> None:
    for who, headers, narrowed, mine in views(w, rows):
        root, asked = "/api/v1/usage", f"?days=2{narrowed}"
        expected = together(mine)
        summary = await w.get(f"{root}/summary{asked}", headers)
        assert sums_of(summary) == expected, who
        share = expected.hits / expected.requests if mine else 0
        assert summary["cache_hit_rate"] == pytest.approx(share), who
        for path, (field_name, by) in GROUPS.items():
            found = await w.get(f"{root}/{path}{asked}", headers)
            said = {group[field_name]: sums_of(group) for group in found}
            assert len(said) == len(found)
            assert said == grouped(mine, by), (who, path)
        days = await w.get(f"{root}/daily{asked}", headers)
        assert Sums(*map(sum, zip(*map(sums_of, days), strict=True))) == expected, who
        await _check_rows(w, who, headers, narrowed, mine)
        forecast = await w.get(f"{root}/forecast?horizon_days=3{narrowed}", headers)
        assert nano(forecast["usd"]["month_to_date"]) == expected.cost, who
        assert nano(forecast["today_so_far_usd"]) == expected.cost, who


async def _check_rows(
    w: World, who: str, headers: dict[str, str], narrowed: str, mine: list[Row]
) -> None:
    """Row by row, in pages and as files."""
    pages, cursor = [], ""
    while True:
        page = await w.get(f"/api/v1/usage/requests?limit=7{narrowed}{cursor}", headers)
        pages += page["data"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len({row["request_id"] for row in pages}) == len(pages)
    expected = [_as_said(row) for row in reversed(mine)]
    assert [_said(row) for row in pages] == expected, who
    lines = await w.ask("GET", f"/api/v1/usage/export?format=jsonl{narrowed}", headers)
    exported = [orjson.loads(line) for line in lines.body.splitlines()]
    assert [_said(row) for row in exported] == expected[::-1], who
    table = await w.ask("GET", f"/api/v1/usage/export?format=csv{narrowed}", headers)
    assert sums_of_rows(csv.DictReader(io.StringIO(table.body.decode()))) == together(mine), who


def _as_said(row: Row) -> tuple[Any, ...]:
    sent = row.sent
    numbers = (row.input, row.kept, row.output, row.cost, row.saved)
    names = (sent.user, sent.key, sent.service, sent.task, row.provider, row.model)
    return (*names, *numbers, row.hit, row.failed, row.attempts)


def _said(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("user_id", "key_id", "service_name", "task_type", "provider_name", "model")
    numbers = ("input_tokens", "cached_tokens", "output_tokens")
    money = (nano(row["cost_usd"] or 0), nano(row["saved_usd"]))
    ended = (row["cached"], row["status_code"] >= 400, row["attempts"])
    return (*(row[n] for n in names), *(row[n] for n in numbers), *money, *ended)


async def _check_attempts(w: World) -> None:
    """One row for each request that a provider saw."""
    seen = sum(len(upstream.log) for upstream in w.logs.values())
    found = await w.gateway.attempts(seen)
    assert len(found) == seen
    by_provider = {name: sum(row["provider_name"] == name for row in found) for name in w.logs}
    assert by_provider == {name: len(upstream.log) for name, upstream in w.logs.items()}


async def _check_billing(w: World, rows: list[Row]) -> None:
    mine = [
        (w.alice.bearer, [r for r in rows if r.sent.user == w.alice.id]),
        (w.bob.browser, [r for r in rows if r.sent.user == w.bob.id]),
        (bearer(w.bobs_key[1]), [r for r in rows if r.sent.key == w.bobs_key[0]]),
        (MASTERLY, [r for r in rows if r.sent.owner == "master"]),
        ({**SERVICE, "x-turnout-user": "c1"}, [r for r in rows if r.sent.user == "c1"]),
    ]
    for headers, theirs in mine:
        said = await w.get("/v2/billing/usage/my-usage?days=2", headers)
        expected = together(theirs)
        assert said["total_requests"] == expected.requests
        assert (said["input_tokens"], said["output_tokens"]) == (expected.input, expected.output)
        assert said["total_tokens"] == expected.input + expected.output
        assert nano(said["total_cost"]) == expected.cost
        models = {m["model"]: (m["requests"], nano(m["cost"])) for m in said["by_model"]}
        groups = grouped(theirs, lambda row: row.model)
        assert models == {name: (sums.requests, sums.cost) for name, sums in groups.items()}
        assert sum(nano(day["cost"]) for day in said["daily"]) == expected.cost
        assert sum(day["requests"] for day in said["daily"]) == expected.requests
    everybody = await w.get("/v2/billing/usage/all?days=2", MASTERLY)
    total = together(rows)
    assert everybody["total_requests"] == total.requests
    assert everybody["total_tokens"] == total.input + total.output
    assert nano(everybody["total_cost"]) == total.cost
    users = {
        u["user_id"]: (u["requests"], u["tokens"], nano(u["cost"])) for u in everybody["users"]
    }
    assert users == {
        name: (sums.requests, sums.input + sums.output, sums.cost)
        for name, sums in grouped(rows, lambda row: row.sent.user).items()
    }
    emails = {u["user_id"]: u["email"] for u in everybody["users"]}
    assert (emails[w.alice.id], emails["c1"]) == ("alice@example.com", None)


def cad(nanousd: int) -> Any:
    """Canadian dollars; each of a few sums may be rounded by itself."""
    return pytest.approx(nanousd * CAD / 1e9, abs=1e-8)


async def _check_analytics(w: World, rows: list[Row]) -> None:
    for who, headers, narrowed, mine in views(w, rows):
        if narrowed:
            continue
        path = "/api/trpc/llmAnalytics.summary?input=%7B%22days%22%3A2%7D"
        said = (await w.get(path, headers))["result"]["data"]
        expected = together(mine)
        assert said["totalCalls"] == expected.requests, who
        assert said["totalTokens"] == expected.input + expected.output, who
        assert said["totalCostCAD"] == cad(expected.cost), who
        assert said["totalSavingsCAD"] == cad(expected.saved), who
        for name, by in (
            ("providers", lambda row: row.provider),
            ("models", lambda row: row.model),
            ("taskTypes", lambda row: row.sent.task),
        ):
            _check_groups(said[name], grouped(mine, by))
        assert sum(day["calls"] for day in said["dailyUsage"]) == expected.requests, who
        assert sum(day["estimatedCostCAD"] for day in said["dailyUsage"]) == cad(expected.cost)
        misses = expected.requests - expected.hits
        for kept in (
            said["cacheMetrics"],
            (await w.get("/api/trpc/llmAnalytics.cacheMetrics", headers))["result"]["data"],
        ):
            assert (kept["hits"], kept["misses"]) == (expected.hits, misses), who
        assert nano(kept["estimatedSavingsUSD"]) == expected.saved, who
        forecast = (await w.get("/api/trpc/llmAnalytics.forecast", headers))["result"]["data"]
        assert forecast["currentMonthlyCAD"] == cad(expected.cost), who


def _check_groups(said: dict[str, Any], expected: dict[str | None, Sums]) -> None:
    calls = {name: (group["calls"], group["tokens"]) for name, group in said.items()}
    named = {name: sums for name, sums in expected.items() if name is not None}
    assert calls == {n: (sums.requests, sums.input + sums.output) for n, sums in named.items()}
    for name, sums in named.items():
        assert said[name]["estimatedCostCAD"] == cad(sums.cost)


async def _check_metrics(w: World, rows: list[Row]) -> None:
    text = (await w.ask("GET", "/metrics", {})).body.decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    total = together(rows)
    assert found["turnout_cache_hits_total"] == total.hits
    assert nano(found["turnout_cache_saved_usd_total"]) == total.saved
    hits = [row for row in rows if row.hit]
    assert found["turnout_cache_saved_tokens_total"] == sum(r.input + r.output for r in hits)
    assert found["turnout_ledger_lost_total"] == found["turnout_ledger_pending"] == 0
    said = await w.get("/api/v1/cache/metrics", MASTERLY)
    assert (said["hits"], said["ledger"]["cached"]) == ({"exact": 6, "semantic": 0}, 6)
    assert nano(said["saved_usd"]) == nano(said["ledger"]["saved_usd"]) == total.saved
    assert said["saved_tokens"] == sum(row.input + row.output for row in hits)
    assert said["ledger"]["requests"] == total.requests


# Who sees what.


async def one_chat(w: World, headers: dict[str, str], name: str) -> str:
    """The conversation that a chat under /v2 is kept in."""
    answer = await w.ask("POST", "/v2/llm/chat/completions", headers, chat(Mark(name, 10, 5)))
    assert answer.status == 200, answer.body
    return str(answer.json["conversation_id"])


async def test_neither_sees_a_key_of_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = f"/api/v1/keys/{w.bobs_key[0]}"
        for headers in (w.alice.bearer, w.alice.browser):
            listed = await w.get("/api/v1/keys", headers)
            assert [key["id"] for key in listed] == [w.alices_key[0]]
            for method, place, body in (
                ("GET", path, None),
                ("PATCH", path, {"name": "mine now"}),
                ("POST", path + "/rotate", {}),
                ("DELETE", path, None),
            ):
                answer = await w.ask(method, place, headers, body)
                assert (answer.status, code_of(answer)) == (404, "not_found"), (method, place)
                assert w.bobs_key[0] in answer.body.decode()  # as it was asked; nothing else
                assert b"bob" not in answer.body
        for_bob = await w.ask("POST", "/api/v1/keys", w.alice.bearer, {"user_id": w.bob.id})
        assert (for_bob.status, code_of(for_bob)) == (422, "invalid_value")
        mine = await w.get(path, w.bob.bearer)
        assert (mine["name"], mine["revoked_at"]) == ("bob's", None)
        await by_openai(w, bearer(w.bobs_key[1]), Mark("alive", 1, 1))


async def test_neither_sees_a_conversation_of_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        of_alice = await one_chat(w, w.alice.bearer, "a1")
        of_bob = await one_chat(w, bearer(w.bobs_key[1]), "b1")  # a key of his, so he
        strangers = [
            w.alice.bearer,
            w.alice.browser,
            bearer(w.alices_key[1]),
            bearer(w.plain_key[1]),
            {**bearer(w.plain_key[1]), "x-turnout-user": w.bob.id},
            {**w.alice.bearer, "x-turnout-user": w.bob.id},
            {**SERVICE, "x-turnout-user": w.bob.id},
            SERVICE,
            MASTERLY,
            {**MASTERLY, "x-turnout-user": w.bob.id},
        ]
        hers, path = f"Bearer {w.alice.token}", f"/v2/conversations/{of_bob}"
        for headers in strangers:
            listed = [c["id"] for c in (await w.get("/v2/conversations", headers))["data"]]
            is_hers = headers in strangers[:3] or headers.get("authorization") == hers
            assert listed == ([of_alice] if is_hers else []), headers
            going_on = chat(Mark("b2", 10, 5), conversation_id=of_bob)
            for method, place, body in (
                ("GET", path, None),
                ("DELETE", path, None),
                ("POST", "/v2/llm/chat/completions", going_on),
                ("POST", "/v2/llm/chat/completions/stream", going_on),
            ):
                answer = await w.ask(method, place, headers, body)
                assert (answer.status, code_of(answer)) == (404, "not_found"), (method, headers)
        kept = await w.get(path, w.bob.bearer)
        assert [m["content"] for m in kept["messages"]] == ["[[b1 10 5 0 -]]", "answer b1"]
        seen = [books.mark_of(entry).id for entry in (*w.one.log, *w.two.log)]
        assert sorted(seen) == ["a1", "b1"]  # nothing of a conversation went anywhere for others


USAGE = [f"/api/v1/usage/{name}" for name in (*GROUPS, "summary", "daily", "requests", "export",
                                              "forecast")]  # fmt: skip


async def test_neither_sees_usage_of_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for owner, person, key in (("alice", w.alice, w.alices_key), ("bob", w.bob, w.bobs_key)):
            for number in range(3):
                mark = Mark(f"{owner}{number}", 10 + number, 5)
                await by_openai(w, bearer(key[1]), mark)
                w.sent.append(Sent(mark, owner, person.id, key[0]))
        as_bob = {**bearer(w.plain_key[1]), "x-turnout-user": w.bob.id}  # a label that is his name
        await by_openai(w, as_bob, Mark("label", 1, 1))
        await w.gateway.rows(7)
        assert (await w.get("/api/v1/usage/summary", w.bob.bearer))["total_requests"] == 3
        for headers in (w.alice.bearer, w.alice.browser, bearer(w.alices_key[1])):
            for path in USAGE:
                for named in (f"user_id={w.bob.id}", f"key_id={w.bobs_key[0]}"):
                    answer = await w.ask("GET", f"{path}?{named}", headers)
                    assert (answer.status, code_of(answer)) == (404, "not_found"), (path, named)
                    assert w.bob.id not in answer.body.decode()
            for narrowed in (f"user={w.bob.id}", f"key={w.bobs_key[0]}"):
                page = await w.get(f"/api/v1/usage/requests?{narrowed}", headers)
                assert (page["data"], page["has_more"]) == ([], False)
                rows = await w.ask("GET", f"/api/v1/usage/export?{narrowed}", headers)
                assert (rows.status, rows.body) == (200, b"")
            theirs = await w.get("/api/v1/usage/requests?limit=1", w.bob.bearer)
            cursor = theirs["next_cursor"]
            page = await w.get(f"/api/v1/usage/requests?cursor={cursor}", headers)
            assert {row["user_id"] for row in page["data"]} == {w.alice.id}
            mine = await w.get(
                "/v2/billing/usage/my-usage", {**headers, "x-turnout-user": w.bob.id}
            )
            assert (mine["user_id"], mine["total_requests"]) == (w.alice.id, 3)
            assert (await w.ask("GET", "/v2/billing/usage/all", headers)).status == 403


async def test_neither_sees_nor_ends_own_keys_of_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        for path in ("/api/v1/users/me/api-keys", "/v2/users/me/api-key-status"):
            said = await w.ask("GET", path, w.alice.bearer)
            assert b"sk-\xe2\x80\xa6ce-1" in said.body  # her own, masked
            assert b"b-22" not in said.body
            assert said.body.count(b'"source":"user"') == 1
        for path in ("/api/v1/users/me/api-keys", "/v2/users/me/api-key"):
            answer = await w.ask("DELETE", f"{path}?provider=two", w.alice.bearer)
            assert (answer.status, code_of(answer)) == (404, "not_found")  # only bob has one of it
        for place in (w.bob.id, "me"):
            for method, body in (("GET", None), ("PATCH", {"role": "admin"}), ("DELETE", None)):
                if (place, method) == ("me", "GET"):
                    continue
                answer = await w.ask(method, f"/api/v1/users/{place}", w.alice.bearer, body)
                assert (answer.status, code_of(answer)) == (403, "forbidden")
        await w.ask("DELETE", "/api/v1/users/me/api-keys", w.alice.bearer)
        await by_openai(w, w.bob.bearer, Mark("still", 1, 1))
        assert w.one.log[-1].header("authorization") == f"Bearer {ONE_B}"


async def test_nobody_is_served_with_another_ones_kept_answer(tmp_path: Path) -> None:
    """One question by everybody: each is a tenant of the cache, a user with all keys."""
    async with world(tmp_path, own_keys=False) as w:
        first = await join(w.gateway, "first@example.com", "admin")
        second = await join(w.gateway, "second@example.com", "admin")
        _, of_first = await make_key(w.gateway, first.bearer, user_id=first.id)
        shop = {"x-turnout-service": "shop"}
        tenants: list[list[dict[str, str]]] = [
            [w.alice.bearer, bearer(w.alices_key[1])],
            [w.bob.bearer, bearer(w.bobs_key[1])],
            [bearer(w.plain_key[1]), {**bearer(w.plain_key[1]), "x-turnout-user": w.alice.id}],
            [first.bearer, bearer(of_first)],
            [second.bearer],
            [MASTERLY, {**MASTERLY, "x-turnout-user": w.alice.id}],
            [{**SERVICE, **shop, "x-turnout-user": "c1"}],
            [{**SERVICE, **shop, "x-turnout-user": "c2"}],
            [{**SERVICE, **shop, "x-turnout-user": w.alice.id}],
        ]
        mark = Mark("everybody's", 10, 5)
        for number, ways in enumerate(tenants, start=1):
            for headers in (*ways, *ways):
                await by_openai(w, headers, mark)
                assert len(w.one.log) == number, f"tenant {number} by {headers}"


async def test_a_users_own_key_serves_that_user_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        admin = await join(w.gateway, "admin@example.com", "admin")
        bob, others = w.bob.id, [
            w.alice.bearer, bearer(w.alices_key[1]), bearer(w.plain_key[1]), admin.bearer,
            MASTERLY, SERVICE,
        ]  # fmt: skip
        number = 0
        for headers in others:
            named = {**headers, "x-turnout-user": bob}
            for path, given, over in (
                ("/v1/chat/completions", named, {}),
                ("/v1/chat/completions", headers, {"user": bob}),
                ("/v1/chat/completions", headers, {"metadata": {"user_id": bob}}),
                ("/v1/messages", headers, {"metadata": {"user_id": bob}, "max_tokens": 9}),
                ("/v2/llm/chat/completions", named, {"user": bob}),
                ("/v1/chat/completions", {**named, "x-turnout-provider": "two"}, {}),
            ):
                number += 1
                answer = await w.ask("POST", path, given, chat(Mark(f"n{number}", 5, 5), **over))
                assert answer.status == 200, answer.body
            text = Mark(f"t{number}", 5, 5).text
            body = {"taskType": "notes", "context": {"prompt": text}, "user": bob}
            assert (await w.ask("POST", "/api/llm", headers, body)).status == 200
            trpc = {"taskType": "simple", "messages": [{"role": "user", "content": text}]}
            assert (await w.ask("POST", "/api/trpc/llm.complete", named, trpc)).status == 200
        for headers in (SERVICE, admin.bearer, MASTERLY):
            each = {"user_id": bob, "service": "shop", "prompt": Mark("g", 5, 5).text}
            assert (await w.ask("POST", "/api/v1/generate", headers, each)).status == 200
            many = {"requests": [each]}
            assert (await w.ask("POST", "/api/v1/batch", headers, many)).status == 200
        sent = [entry.header("authorization") for entry in (*w.one.log, *w.two.log)]
        assert len(sent) > 45
        assert {f"Bearer {ONE_B}", f"Bearer {TWO_B}"} & set(sent) == set()
        # What is his, by whoever made it, has his key; until he takes it away.
        await by_openai(w, bearer(w.bobs_key[1]), Mark("his", 5, 5))
        assert w.one.log[-1].header("authorization") == f"Bearer {ONE_B}"
        await w.ask("DELETE", "/api/v1/users/me/api-keys?provider=one", w.bob.bearer)
        await by_openai(w, bearer(w.bobs_key[1]), Mark("his no more", 5, 5)._replace(id="h2"))
        assert w.one.log[-1].header("authorization") == SYSTEM["one"]


async def test_a_user_who_is_switched_off_or_removed_has_no_way_in(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        path = f"/api/v1/users/{w.bob.id}"
        for change, body in (("PATCH", {"is_active": False}), ("DELETE", None)):
            assert (await w.ask(change, path, MASTERLY, body)).status in (200, 204)
            for headers in (w.bob.bearer, w.bob.browser, bearer(w.bobs_key[1])):
                for place in ("/api/v1/usage/summary", "/v2/conversations"):
                    assert (await w.ask("GET", place, headers)).status == 401
            key = bearer(w.bobs_key[1])
            answer = await w.ask("POST", "/v1/chat/completions", key, chat(Mark("x", 1, 1)))
            assert answer.status == 401
        assert w.one.log == w.two.log == []
