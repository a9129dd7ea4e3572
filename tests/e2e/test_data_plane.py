"""A request goes in, a real answer comes out, and it is on the books."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from tests.e2e.gateway import MASTER, Gateway, one_upstream, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CHAT: dict[str, Any] = {"model": "up/m", "messages": [{"role": "user", "content": "Hi"}]}
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
PRICED = 'pricing: {overrides: {"up/*": {input: 1.0, output: 10.0, cached: 0.5}}}'


class TestPassage:
    async def test_the_upstream_gets_what_the_client_sent_byte_for_byte(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url, 'models: {"*": up}')
        raw = (
            b'{ "model" :"gpt-x",\n  "messages":[{"role":"user",'
            b'"content":"\\u00e9 \xc3\xa9 \xe2\x80\xa8"}],'
            b'  "temperature": 1.0e0, "brand_new": {"b":1,"a":[1.50, 12345678901234567890123]} }'
        )
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(raw)
            assert answer.status == 200
        (received,) = up.log
        assert received.body == raw
        assert received.header("authorization") == "Bearer sk-up-secret"
        assert gateway.key not in str(received.headers)

    async def test_the_answer_comes_back_byte_for_byte(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        body = (
            b'{ "choices":[{"index":0,"logprobs":null,"finish_reason":"stop",'
            b'"message":{"role":"assistant","refusal":null,"content":"x"}}], "new": 1.50 }'
        )
        up.script(fake.json_reply(body))
        assert (await gateway.post(CHAT)).body == body

    async def test_no_header_of_ours_or_of_the_clients_goes_upstream(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        headers = {
            "x-turnout-user": "zoe",
            "x-turnout-metadata": '{"a": 1}',
            "cookie": "session=1",
            "x-forwarded-for": "10.0.0.1",
            "openai-organization": "org-x",
            "openai-beta": "assistants=v2",
        }
        await gateway.post(CHAT, headers=headers)
        sent = {name.lower() for name, _ in up.log[0].headers}
        assert sent == {
            "host",
            "content-type",
            "content-length",
            "accept",
            "accept-encoding",
            "authorization",
            "user-agent",
            "openai-beta",
        }

    async def test_metadata_stays_here_unless_it_is_stored(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        await gateway.post(CHAT | {"metadata": {"a": "b"}})
        await gateway.post(CHAT | {"metadata": {"a": "b"}, "store": True})
        assert "metadata" not in up.log[0].json
        assert up.log[1].json["metadata"] == {"a": "b"}

    async def test_the_client_holds_chunk_1_before_the_upstream_sends_chunk_2(
        self, gateway: Gateway, up: Upstream
    ) -> None:
        seen = asyncio.Event()
        begun = list(fake.sse(*fake.chat_chunks(["one"])[:2], done=False))[:-1]
        rest = list(fake.sse(*fake.chat_chunks(["two"])[1:]))[1:]
        up.script([*begun, fake.WaitFor(seen), *rest])
        async with gateway.client() as client:
            stream = await client.chat.completions.create(**CHAT, stream=True)
            words = []
            async with asyncio.timeout(3):
                async for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content:
                        words.append(chunk.choices[0].delta.content)
                        seen.set()
        assert words == ["one", "two"]


class TestHeaders:
    async def test_of_an_answer(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.chat_reply(usage=USAGE))
        async with running(tmp_path, one_upstream(up.base_url, PRICED)) as gateway:
            headers = (await gateway.post(CHAT)).headers
        assert headers["x-turnout-provider"] == "up"
        assert headers["x-turnout-model"] == "m"
        assert headers["x-turnout-attempts"] == "1"
        assert headers["x-turnout-cache"].startswith("bypass; reason=")
        assert 0 <= float(headers["x-turnout-overhead-ms"]) < 1000
        # 60 fresh at $1, 40 cached at $0.50, 20 out at $10, a million.
        assert headers["x-turnout-cost-usd"] == "0.00028"

    async def test_the_cost_of_a_stream_is_in_its_usage(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.sse(*fake.chat_chunks(["x"], usage=USAGE)))
        text = one_upstream(up.base_url, PRICED)
        async with running(tmp_path, text) as gateway, gateway.client() as client:
            options = {"include_usage": True}
            stream = await client.chat.completions.create(
                **CHAT, stream=True, stream_options=options
            )
            last = [chunk async for chunk in stream][-1]
        assert last.usage is not None
        assert last.usage.model_dump()["cost_usd"] == pytest.approx(0.00028)

    async def test_every_answer_has_an_id_of_its_own(self, gateway: Gateway) -> None:
        answers = [
            await gateway.post(CHAT),
            await gateway.post(b"{"),
            await gateway.call("GET", "/nope"),
        ]
        ids = {answer.headers["x-request-id"] for answer in answers}
        assert len(ids) == 3


class TestBooks:
    async def test_a_call_in_full(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.chat_reply(usage=USAGE))
        async with running(tmp_path, one_upstream(up.base_url, PRICED)) as gateway:
            metadata = {"service_name": "mailer", "job_id": "j-1", "team": "a"}
            await gateway.post(CHAT | {"user": "u-1", "metadata": metadata})
            (row,) = await gateway.rows()
            (attempt,) = await gateway.attempts()
        expected = {
            "user_id": "u-1",
            "service_name": "mailer",
            "job_id": "j-1",
            "provider_name": "up",
            "model": "m",
            "name": "up/m",
            "status_code": 200,
            "outcome": "ok",
            "input_tokens": 100,
            "cached_tokens": 40,
            "output_tokens": 20,
            "reasoning_tokens": 5,
            "usage_source": "provider",
            "cost_nanousd": 280_000,
            "attempts": 1,
            "metadata": {"team": "a"},
            "error_code": None,
        }
        assert {name: row[name] for name in expected} == expected
        assert row["endpoint"].endswith("/chat/completions")
        assert row["key_id"].startswith("key_")
        assert 0 <= row["first_token_ms"] <= row["duration_ms"]
        assert (attempt["request_id"], attempt["status_code"]) == (row["id"], 200)
        assert (attempt["input_tokens"], attempt["cost_nanousd"]) == (100, 280_000)

    async def test_what_is_turned_away_at_the_door_is_no_usage(self, gateway: Gateway) -> None:
        await gateway.post(CHAT, headers={"authorization": "Bearer no"})
        await gateway.post(CHAT)
        await gateway.post(CHAT | {"model": "nope"})
        rows = await gateway.rows(2)
        assert [(row["status_code"], row["outcome"]) for row in rows] == [
            (200, "ok"),
            (404, "failed"),
        ]
        assert rows[1]["error_code"] == "model_not_found"

    async def test_a_long_error_is_cut(self, gateway: Gateway, up: Upstream) -> None:
        up.script(fake.error_reply(400, message="x" * 50_000))
        await gateway.post(CHAT)
        (row,) = await gateway.rows()
        assert len(row["error_message"]) <= 500


class TestEndpoints:
    async def test_the_sdk_on_every_endpoint(self, gateway: Gateway) -> None:
        async with gateway.client() as client:
            chat = await client.chat.completions.create(**CHAT)
            assert chat.choices[0].message.content
            assert chat.usage
            stream = await client.chat.completions.create(**CHAT, stream=True)
            text = [c.choices[0].delta.content or "" async for c in stream if c.choices]
            assert "".join(text)
            legacy = await client.completions.create(model="up/m", prompt="Hi")
            assert legacy.choices[0].text
            legacy_stream = await client.completions.create(model="up/m", prompt="Hi", stream=True)
            assert "".join([c.choices[0].text async for c in legacy_stream if c.choices])
            vectors = await client.embeddings.create(model="up/m", input=["a", "b"])
            assert len(vectors.data) == 2
        rows = await gateway.rows(5)
        assert [row["endpoint"].split("/v1")[-1] for row in rows] == [
            "/chat/completions",
            "/chat/completions",
            "/completions",
            "/completions",
            "/embeddings",
        ]
        assert all(row["input_tokens"] for row in rows)

    async def test_both_path_and_path_slash_answer(self, gateway: Gateway) -> None:
        assert (await gateway.post(CHAT, path="/v1/chat/completions/")).status == 200
        assert (await gateway.call("GET", "/health/")).status == 200

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_the_wrong_method(self, gateway: Gateway, method: str) -> None:
        answer = await gateway.call(method, "/v1/chat/completions")
        assert answer.error == (405, "invalid_request_error", "method_not_allowed")

    async def test_nothing_there(self, gateway: Gateway) -> None:
        answer = await gateway.call("GET", "/v1/nothing")
        assert answer.error == (404, "invalid_request_error", "not_found")


class TestModels:
    text = """
models:
  fast: up/gpt-4o-mini
  "wild/*": up
tasks:
  scoring: up/gpt-4o-mini
"""

    async def test_the_list_and_one(self, tmp_path: Path) -> None:
        config = one_upstream("https://api.openai.com/v1", self.text)
        async with running(tmp_path, config) as gateway, gateway.client() as client:
            listed = {model.id: model async for model in client.models.list()}
            assert {"fast", "task/scoring", "up/gpt-4o-mini"} <= set(listed)
            fast = listed["fast"].model_dump()
            assert (fast["object"], fast["provider"], fast["owned_by"]) == ("model", "up", "up")
            assert fast["context_window"] == 128_000
            for name in ("fast", "task/scoring", "wild/any/thing", "up/other"):
                assert (await client.models.retrieve(name)).id == name
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("nope")

    async def test_a_key_sees_what_it_may_use(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, one_upstream(up.base_url, self.text)) as gateway:
            made = (await gateway.call("POST", "/api/v1/keys", {"models": ["fast"]})).json
            listed = (await gateway.call("GET", "/v1/models", key=made["key"])).json
            assert [entry["id"] for entry in listed["data"]] == ["fast"]
            hidden = await gateway.call("GET", "/v1/models/task/scoring", key=made["key"])
            assert hidden.status == 404

    async def test_it_wants_a_key(self, gateway: Gateway) -> None:
        assert (await gateway.call("GET", "/v1/models", key="no")).status == 401


class TestAnonymous:
    async def test_only_if_asked_for(self, tmp_path: Path, up: Upstream) -> None:
        text = one_upstream(up.base_url).replace("auth: {", "auth: {anonymous: true, ")
        async with running(tmp_path, text) as gateway:
            answer = await gateway.post(CHAT, headers={"authorization": "Bearer My API Key"})
            assert answer.status == 200
            (row,) = await gateway.rows()
            assert (row["role"], row["key_id"]) == ("anonymous", None)
            foreign = await gateway.post(
                CHAT, headers={"authorization": "Bearer x", "origin": "https://evil.test"}
            )
            assert foreign.status == 401
            assert (await gateway.call("GET", "/api/v1/keys", key="x")).status == 403


class TestReload:
    async def test_a_saved_file_is_in_force_and_a_bad_one_is_not(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        text = one_upstream(up.base_url)
        async with running(tmp_path, text) as gateway:
            before = (await gateway.call("GET", "/health")).json["config"]
            gateway.config.write_text(text + "\nmodels: {quick: up/m2}\n")
            after = await self.version_after(gateway, before["version"])
            assert after["error"] is None
            assert (await gateway.post(CHAT | {"model": "quick"})).status == 200
            gateway.config.write_text(text + "\nmodells: {}\n")
            for _ in range(100):
                broken = (await gateway.call("GET", "/health")).json["config"]
                if broken["error"]:
                    break
                await asyncio.sleep(0.05)
            assert "modells" in broken["error"]
            assert broken["version"] == after["version"]
            assert (await gateway.post(CHAT | {"model": "quick"})).status == 200

    async def test_a_stream_under_way_ends_on_the_old_one(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        go_on = asyncio.Event()
        begun = list(fake.sse(*fake.chat_chunks(["one"])[:2], done=False))[:-1]
        rest = list(fake.sse(*fake.chat_chunks(["two"])[1:]))[1:]
        up.script([*begun, fake.WaitFor(go_on), *rest])
        text = one_upstream(up.base_url)
        async with running(tmp_path, text) as gateway:
            before = (await gateway.call("GET", "/health")).json["config"]["version"]
            asking = asyncio.ensure_future(gateway.post(CHAT | {"stream": True}))
            await up.wait_for_requests(1)
            gateway.config.write_text(text.replace("up:", "renamed:"))
            await self.version_after(gateway, before)
            go_on.set()
            answer = await asking
            assert answer.body.endswith(b"[DONE]\n\n")
            assert (await gateway.post(CHAT)).status == 404

    async def version_after(self, gateway: Gateway, before: str) -> Any:
        for _ in range(100):
            now = (await gateway.call("GET", "/health")).json["config"]
            if now["version"] != before:
                return now
            await asyncio.sleep(0.05)
        raise AssertionError("the configuration was not reloaded")


class TestAdmin:
    async def test_keys_from_making_to_revoking(self, gateway: Gateway) -> None:
        made = await gateway.call("POST", "/api/v1/keys", {"name": "n", "models": ["up/*"]})
        assert made.status == 201
        secret = made.json["key"]
        listed = await gateway.call("GET", "/api/v1/keys")
        assert secret not in listed.body.decode()
        assert made.json["id"] in [entry["id"] for entry in listed.json]
        shown = await gateway.call("GET", f"/api/v1/keys/{made.json['id']}")
        assert shown.json["models"] == ["up/*"]
        assert "key" not in shown.json
        assert (await gateway.call("DELETE", f"/api/v1/keys/{made.json['id']}")).status == 204
        assert (await gateway.call("DELETE", "/api/v1/keys/key_nope")).status == 404

    @pytest.mark.parametrize(
        "body", [{"nam": "x"}, {"models": "m"}, {"expires": "soon"}, {"name": 7}, []]
    )
    async def test_a_bad_key_request(self, gateway: Gateway, body: Any) -> None:
        status = 400 if isinstance(body, list) else 422  # the one is no body at all
        assert (await gateway.call("POST", "/api/v1/keys", body)).status == status

    async def test_every_admin_route_is_denied_to_a_key(self, gateway: Gateway) -> None:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/key_x"), ("DELETE", "/key_x")):
            answer = await gateway.call(method, "/api/v1/keys" + path, key=gateway.key)
            assert answer.error == (403, "permission_error", "forbidden")
            assert (await gateway.call(method, "/api/v1/keys" + path, key="no")).status == 401

    async def test_health_is_open_and_providers_are_not(self, gateway: Gateway) -> None:
        for path in ("/health", "/health/live", "/health/ready", "/api/v1/health"):
            async with gateway.session.get(gateway.url + path) as reply:
                assert reply.status == 200
                assert orjson.loads(await reply.read())["status"] == "ok"
        assert (await gateway.call("GET", "/health/providers", key="no")).status == 401
        providers = (await gateway.call("GET", "/health/providers", key=MASTER)).json["providers"]
        assert providers[0]["name"] == "up"
        assert providers[0]["is_enabled"] is True
