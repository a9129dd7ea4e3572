"""The quick form of `tests.fuzz.injection`, and what single APIs make of texts that do harm."""

import asyncio
import csv
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.provisional import urls

from tests.fuzz import injection
from tests.fuzz.injection import CHAT, HERE, PLACES, Outcome, Place, filled
from tests.fuzz.payloads import FORMULAS, GLOBS, LINES, MEMBERS, PATHS, PRODUCT, SQL, SSTI
from tests.fuzz.stage import Stage, staged
from tests.servers import KINDS, new_url

DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = (
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b'{"a":1,}', b"{'a':1}",
    b"\xef\xbb\xbf{}",
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\\u0000"}',
    b'{"\\u0000":1}', b'{"":1}', b'{"a":1,"a":2}', b'{"__proto__":{"x":1}}', b'{"a":1e999}', DEEP,
    b'{"a":' + DEEP + b"}", b'{"a":' + b"9" * 5000 + b"}", b"\x00", b"\x80\x81", b"a=b&c=d",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 1.5, -0.0, 1e308, 1e-320,
    "", "9" * 400, "x" * 100_000, [], [[]], [None], [{}], {}, {"a": {}}, {"$ne": 1}, ["\0"],
    {"\0": "\0"},
)  # fmt: skip
"""Values that a member may have instead of its own."""

PROVIDER = {"name": "odd", "display_name": "x", "api_key": "sk-x", "models": ["m"]}

NUMBERS = tuple(
    Place(method, path, body=body)
    for method, path, body in (
        ("POST", "/api/v1/keys", {"expires": HERE}),
        ("POST", "/api/v1/keys", {"limits": {"rpm": HERE}}),
        ("POST", "/api/v1/keys", {"limits": {"budget": HERE}}),
        ("POST", "/api/v1/users", {"email": "one@example.com", "limits": {"budget": HERE}}),
        ("POST", "/api/v1/cache/warm", {"requests": HERE}),
        ("POST", "/api/v1/batch", {"requests": HERE}),
        ("POST", "/api/v1/batch", {"requests": [], "concurrency": HERE}),
        *(
            (
                "POST",
                "/api/v1/generate",
                {"user_id": "u", "service": "s", "prompt": "x", name: HERE},
            )
            for name in ("max_tokens", "temperature", "json_mode")
        ),
        *(
            ("POST", "/v2/llm/chat/completions", CHAT | {name: HERE})
            for name in ("max_tokens", "temperature", "store", "stream", "messages", "n", "tools")
        ),
        *(
            ("POST", "/api/v1/providers", PROVIDER | {name: HERE})
            for name in ("priority", "rate_limit_rpm", "models", "is_enabled")
        ),
        ("POST", "/api/trpc/llm.complete", {"prompt": "x", "options": HERE}),
        ("POST", "/api/trpc/llm.batchComplete", {"requests": HERE}),
        ("POST", "/api/llm", {"taskType": "echo", "context": HERE}),
        ("POST", "/api/llm", {"taskType": "chat", "context": {"messages": HERE}}),
    )
)

HERE_TOO = tuple(
    f"http://{host}:PORT/v1"
    for host in (
        "127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "017700000001", "0", "0.0.0.0",
        "[::1]", "[::ffff:127.0.0.1]", "[::]", "127.0.0.1.", "localhost.", "x@127.0.0.1",
        "example.com@127.0.0.1", "127.0.0.1#.example.com", "LOCALHOST", "127。0。0。1",
    )
)  # fmt: skip
"""Ways to write where the fake upstream listens."""

TEXT = st.text(max_size=60) | st.sampled_from((*SQL, *LINES, *SSTI, *PATHS, *GLOBS)).flatmap(
    lambda known: st.tuples(st.text(max_size=5), st.text(max_size=5)).map(known.join)
)


def test_the_lists_are_as_long_as_they_should_be() -> None:
    assert len(SQL) >= 150
    assert len(SSTI) >= 60
    assert len(set(SQL)) == len(SQL)


@pytest.fixture(scope="module", params=KINDS)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    database = asyncio.run(new_url(request.param))
    with staged(tmp_path_factory.mktemp("home"), database) as found:
        yield found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Where the database does not matter."""
    with staged(tmp_path_factory.mktemp("home")) as found:
        yield found


class TestSql:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_place_takes_it_for_a_text(self, tmp_path: Path, kind: str) -> None:
        database = asyncio.run(new_url(kind))
        outcome = injection.run(tmp_path, database, 2)
        assert outcome.findings == {}
        assert outcome.sent > 1000
        assert outcome.made["keys"] > 10
        assert outcome.made["overrides"] > 5

    def test_what_is_stored_comes_back_as_it_was(self, stage: Stage) -> None:
        texts = [each for each in SQL if "\0" not in each and len(each) <= 200][::9]
        assert len(texts) > 30
        with stage.client() as client:
            for each in texts:
                body = {"name": each, "user_id": each, "tags": [each], "models": [each]}
                made = client.post("/api/v1/keys", json=body)
                assert made.status_code == 201, made.text
                shown = client.get("/api/v1/keys/" + made.json()["id"]).json()
                assert {name: shown[name] for name in body} == body
        with stage.client("user") as client:
            for each in texts[::3]:
                chat = CHAT | {"messages": [{"role": "user", "content": each, "name": each}]}
                said = client.post("/v2/llm/chat/completions", json=chat | {"title": each})
                assert said.status_code == 200, said.text
                assert stage.up.log[-1].json["messages"] == chat["messages"]
                place = "/v2/conversations/" + said.json()["conversation_id"]
                kept = client.get(place).json()
                assert kept["title"] == each
                assert kept["messages"][0]["content"] == each

    def test_a_user_sees_nothing_of_others(self, stage: Stage) -> None:
        with stage.client("key") as client:
            client.post("/v1/chat/completions", json=CHAT).raise_for_status()
        with stage.client("user") as client:
            for each in SQL[::20]:
                for name in ("provider", "model", "service", "user", "task", "key"):
                    came = client.get("/api/v1/usage/requests", params={name: each})
                    assert came.status_code == 422 or came.json()["data"] == [], (name, each)


class TestTheJudge:
    """What `injection` finds, it can find."""

    PLACE = Place("GET", "/x")

    def judged(self, came: httpx.Response, seconds: float = 0.1, usual: Any = None) -> str:
        outcome = Outcome()
        injection._judge(outcome, self.PLACE, "payload", came, usual, seconds)
        return " ".join(outcome.findings)

    def test_answers(self) -> None:
        well, empty = httpx.Response(200, json=[1]), httpx.Response(200, json=[])
        assert self.judged(well) == ""
        assert self.judged(well, usual=well) == ""
        assert "an unknown value" in self.judged(well, usual=empty)
        assert "came late" in self.judged(well, seconds=9.0)
        assert "answered 500" in self.judged(httpx.Response(500))
        assert self.judged(httpx.Response(422), usual=empty) == ""
        split = httpx.Response(200, headers={"x-injected": "1"})
        assert "header of the payload" in self.judged(split)

    def test_the_database(self) -> None:
        before = injection.State(("a",), {"keys": 1, "users": 1}, frozenset({("u", "admin")}))
        assert injection.changes(before, before, {}) == []
        more = before._replace(counts={"keys": 2, "users": 1})
        assert injection.changes(before, more, {"keys": 1}) == []
        assert injection.changes(before, more, {}) != []
        assert injection.changes(more, before, {}) != []
        assert injection.changes(before, before._replace(schema=("b",)), {}) != []
        assert injection.changes(before, before._replace(accounts=frozenset()), {}) != []


class TestBodies:
    def test_any_bytes(self, stage: Stage) -> None:
        """Whatever the body, the caller is told what is wrong with it."""
        targets = {(p.method, p.path) for p in PLACES if p.body is not None and HERE not in p.path}
        assert len(targets) >= 20
        with stage.client() as client:
            for method, path in sorted(targets):
                for body in BODIES:
                    came = client.request(method, path, content=body)
                    assert came.status_code < 500, (method, path, body[:50], came.text)

    def test_any_value_of_a_member(self, stage: Stage) -> None:
        places = (*NUMBERS, *(place for place in PLACES if HERE in _values(place.body)))
        assert len(places) > 60
        with stage.client() as client:
            for number, place in enumerate(places):
                each = ODD if place in NUMBERS else ODD[number % 5 :: 5]
                for value in each:
                    body = _with(filled(place.body, HERE), value)
                    path = place.path.replace(HERE, "up")
                    came = client.request(place.method, path, content=_json(body))
                    shown = (place.name, str(value)[:50], came.text[:200])
                    assert came.status_code < 500, shown

    def test_a_member_given_twice_is_refused_or_one_of_both(self, one: Stage) -> None:
        messages = b'[{"role": "user", "content": "x"}]'
        raw = b'{"model": "up/m-1", "model": "up/m-2", "messages": ' + messages + b"}"
        with one.client() as client:
            came = client.post("/v2/llm/chat/completions", content=raw)
        assert came.status_code in (400, 422)
        assert "twice" in came.json()["error"]["message"]

    def test_names_that_other_programs_take_for_more(self, stage: Stage) -> None:
        with stage.client() as client:
            for name in MEMBERS:
                given = orjson.dumps({name: {"x": 1}, "plain": 1}).decode()
                headers = {"x-turnout-metadata": given, "x-turnout-user": "members"}
                came = client.post("/v1/chat/completions", json=CHAT, headers=headers)
                assert came.status_code == 200, came.text
                assert client.post("/api/v1/keys", json={name: 1}).status_code == 422
        assert _metadata(stage, "members") == [{name: {"x": 1}, "plain": 1} for name in MEMBERS]


def _metadata(stage: Stage, user: str) -> list[Any]:
    """The metadata of a customer's rows, once all calls are on the books."""
    with stage.client() as client:
        for _ in range(50):
            text = client.get("/api/v1/usage/export", params={"user": user}).text
            found = [orjson.loads(line)["metadata"] for line in text.splitlines()]
            if len(found) >= len(MEMBERS):
                break
    return found


def _values(body: Any) -> list[Any]:
    if isinstance(body, dict):
        return [value for each in body.values() for value in _values(each)]
    if isinstance(body, list):
        return [value for each in body for value in _values(each)]
    return [body]


def _with(body: Any, value: Any) -> Any:
    """The body with a value of any type where the payload goes."""
    if body == HERE:
        return value
    if isinstance(body, dict):
        return {name: _with(each, value) for name, each in body.items()}
    return [_with(each, value) for each in body] if isinstance(body, list) else body


def _json(body: Any) -> bytes:
    """JSON with numbers of any size, which only Python's own writes."""
    return httpx.Request("POST", "http://x", json=body).content


class TestTemplates:
    TASKS = ("suggest", "refine", "chat", "copilot_agent", "company_intel", "asset_master")

    def test_a_context_is_put_into_prompts_as_it_is(self, one: Stage) -> None:
        with one.client() as client:
            for number, payload in enumerate(SSTI):
                task = self.TASKS[number % len(self.TASKS)]
                context = {"prompt": payload, "company": payload, "steps": {payload: payload}}
                body = {"taskType": task, "context": context}
                self._ask(one, client, "/api/llm", body, payload)

    def test_every_other_api(self, one: Stage) -> None:
        bodies: dict[str, Any] = {
            "/api/llm": {"taskType": "echo", "context": {"prompt": HERE}},
            "/api/v1/generate": {"user_id": "u", "service": "s", "prompt": HERE, "system": HERE},
            "/v2/llm/chat/completions": CHAT | {"messages": [{"role": "user", "content": HERE}]},
            "/v1/chat/completions": CHAT | {"messages": [{"role": "user", "content": HERE}]},
        }
        with one.client() as client:
            for path, body in bodies.items():
                for payload in SSTI:
                    self._ask(one, client, path, filled(body, payload), payload)

    def _ask(self, one: Stage, client: httpx.Client, path: str, body: Any, payload: str) -> None:
        came = client.post(path, json=body, headers={"x-turnout-cache": "no-cache"})
        assert came.status_code == 200, (payload, came.text)
        sent = one.up.log[-1].json["messages"]
        last = sent[-1]["content"]
        as_json = orjson.dumps(payload).decode()[1:-1]
        assert payload in last or as_json in last, (path, payload, sent)
        assert PRODUCT not in orjson.dumps(sent).decode() + came.text, (path, payload)
        if payload == "{{7*7}}":
            assert "49" not in last

    def test_names_are_no_templates(self, one: Stage) -> None:
        provider = {"display_name": "x", "api_key": "sk-x", "models": ["m"]}
        before = len(one.up.log)
        with one.client() as client:
            for payload in SSTI:
                calls = (
                    ("/api/llm", {"taskType": payload}, 400),
                    ("/api/v1/providers", provider | {"name": payload}, 422),
                    ("/v1/chat/completions", CHAT | {"model": f"task/{payload}"}, None),
                )
                for path, body, status in calls:
                    came = client.post(path, json=body)
                    assert came.status_code < 500
                    assert status is None or came.status_code == status, came.text
                    assert PRODUCT not in came.text
        for received in one.up.log[before:]:  # the wildcard sends any model's name as it is
            assert PRODUCT not in received.body.decode()


class TestPaths:
    def test_a_parameter_is_never_more_than_one_part(self, one: Stage) -> None:
        """Neither as it is nor encoded, once or twice, is another thing reached or ended."""
        with one.client() as client:
            known = {key["id"] for key in client.get("/api/v1/keys").json()}
            for path in ("keys", "users", "providers", "overrides"):
                for payload in PATHS:
                    for part in {quote(payload, safe=""), quote(quote(payload, safe=""), safe="")}:
                        for method in ("DELETE", "PATCH"):
                            came = client.request(method, f"/api/v1/{path}/{part}", json={})
                            assert came.status_code in (404, 405, 422), (payload, came.text)
            assert {key["id"] for key in client.get("/api/v1/keys").json()} == known

    def test_an_action_stays_where_it_is(self, one: Stage) -> None:
        """What goes to a backend has the configured path, with one part filled in."""
        names = ("id", "videoId", "video_id", "jobId", "manifestId", "renderId")
        with one.client() as client:
            for task in ("video_render", "video_regenerate", "video_create_manifest"):
                for payload in (*PATHS, *LINES):
                    before = len(one.up.log)
                    context = dict.fromkeys(names, payload)
                    came = client.post("/api/llm", json={"taskType": task, "context": context})
                    assert came.status_code < 500 or came.status_code == 502, came.text
                    for received in one.up.log[before:]:
                        assert received.path.startswith("/v1/"), received.path
                        parts = urlsplit(received.path)
                        assert (parts.query, parts.fragment) == ("", "")
                        assert ".." not in parts.path.split("/")
                        assert "%2f" not in received.path.lower()
                        assert received.header("x-injected") is None


class TestHeaders:
    @pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n ", b"\x00", b"\r\n\t"])
    def test_a_line_end_within_a_header(self, one: Stage, end: bytes) -> None:
        """A raw request: it is refused, or the line end is none to anybody behind."""
        place = urlsplit(one.url)
        assert place.hostname
        assert place.port
        key = one.headers["master"]["authorization"].encode()
        body = orjson.dumps(CHAT)
        before = len(one.up.log)
        with socket.create_connection((place.hostname, place.port), timeout=10) as wire:
            wire.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                b"authorization: " + key + b"\r\nx-turnout-user: a" + end + b"x-injected: 1\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        status = answer.split(b" ", 2)[1]
        assert status in (b"200", b"400"), answer[:200]
        assert b"\r\nx-injected" not in answer.lower()
        for received in one.up.log[before:]:
            assert received.header("x-injected") is None

    def test_names_from_bodies_make_no_header(self, one: Stage) -> None:
        with one.client() as client:
            for payload in LINES:
                for body in (
                    CHAT | {"model": payload},
                    CHAT | {"metadata": {"task": payload}},
                    CHAT | {"model": "up/" + payload},
                ):
                    for path in ("/v1/chat/completions", "/v2/llm/chat/completions"):
                        came = client.post(path, json=body)
                        assert came.status_code < 500, (path, payload, came.text)
                        assert "x-injected" not in came.headers
        assert all(received.header("x-injected") is None for received in one.up.log)


class TestExports:
    def test_a_spreadsheet_is_given_no_formula(self, stage: Stage) -> None:
        with stage.client() as client:
            for payload in FORMULAS:
                labels = {"user": payload, "metadata": {"service_name": payload, "job_id": payload}}
                client.post("/v1/chat/completions", json=CHAT | labels).raise_for_status()
            rows: list[dict[str, str]] = []
            for _ in range(100):
                text = client.get("/api/v1/usage/export?format=csv").text
                rows = list(csv.DictReader(io.StringIO(text)))
                if {row["job_id"].removeprefix("'") for row in rows} >= set(FORMULAS):
                    break
            lines = client.get("/api/v1/usage/export").text.splitlines()
        assert {row["job_id"].removeprefix("'") for row in rows} >= set(FORMULAS)
        for row in rows:
            assert not [cell for cell in row.values() if cell[:1] in tuple("=+-@\t\r")], row
        kept = [orjson.loads(line) for line in lines]
        for name in ("user_id", "service_name", "job_id"):
            assert set(FORMULAS) <= {row[name] for row in kept}


class TestPatterns:
    def test_a_pattern_is_one_in_its_own_member_alone(self, one: Stage) -> None:
        """What looks like a pattern is the plain name of a model, a task or a tag."""
        with one.client() as client:
            question = CHAT | {"messages": [{"role": "user", "content": "kept"}], "temperature": 0}
            client.post("/v1/chat/completions", json=question).raise_for_status()
            again = client.post("/v1/chat/completions", json=question)
            assert again.headers["x-turnout-cache"].startswith("hit")
            for payload in (*GLOBS, "*", "up/*", "*m-1"):
                for name in ("model", "task", "tag", "id", "epoch"):
                    came = client.post("/api/v1/cache/invalidate", json={name: payload})
                    went = came.json().get("invalidated", 0)
                    assert came.status_code in (200, 422), came.text
                    assert went == 0, (name, payload)
            again = client.post("/v1/chat/completions", json=question)
            assert again.headers["x-turnout-cache"].startswith("hit")
            came = client.post("/api/v1/cache/invalidate", json={"pattern": "*"})
            assert came.json()["invalidated"] >= 1


class TestAnything:
    """Texts that hypothesis makes up, around those of the lists."""

    @settings(max_examples=150)
    @given(place=st.sampled_from(PLACES), text=TEXT)
    @example(place=PLACES[0], text="a\0b")
    def test_a_text_anywhere(self, one: Stage, place: Place, text: str) -> None:
        one.headers.setdefault("nobody", {})
        with one.client(place.who) as client:
            came = injection.send(client, place, text)
        assert came is None or came.status_code < 500 or came.status_code == 501

    @settings(max_examples=60)
    @given(url=urls() | st.text(max_size=80) | st.sampled_from(HERE_TOO))
    def test_a_provider_anywhere(self, one: Stage, url: str) -> None:
        """Who may make a provider can't point it at this machine, however that is written."""
        before = len(one.up.log)
        url = url.replace("PORT", str(urlsplit(one.up.base_url).port))
        body = {"name": "p", "display_name": "x", "api_key": "sk-x", "models": ["m"]}
        with one.client() as client:
            made = client.post("/api/v1/providers", json=body | {"base_url": url})
            assert made.status_code in (201, 400, 422), made.text
            if made.status_code == 201:
                place = "/api/v1/providers/" + made.json()["id"]
                tested = client.post(place + "/test")
                assert tested.status_code == 200
                assert tested.json()["success"] is False
                assert client.delete(place).status_code == 204
        assert len(one.up.log) == before
