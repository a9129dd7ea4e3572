"""The API of task-endpoint.md, from its first line to its last, as its callers call it."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.e2e.gateway import MASTER, Answer, Gateway, running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

TEXT_TASKS = (
    "suggest", "refine", "channels", "chat", "copilot_agent", "company_intel", "asset_master",
    "asset_channel_batch", "asset_adapt", "video_storyboard", "video_caption", "video_compliance",
    "image_prompt_generation", "image_caption",
)  # fmt: skip
VIDEO_TASKS = ("video_storyboard", "video_caption", "video_compliance")
ACTIONS = ("video_render", "video_caption_update", "video_create_manifest", "video_regenerate")
SERVICE = "a-service-key-of-the-tests"
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "completion_tokens_details": {"reasoning_tokens": 5},
}
IMAGE = {
    "created": 1,
    "output_format": "webp",
    "data": [{"b64_json": "QUJD"}],
    "usage": {"input_tokens": 10, "output_tokens": 30, "total_tokens": 40},
}
SCHEMA = """{type: object, additionalProperties: false, required: [title, tags],
      properties: {title: {type: string}, tags: {type: array, items: {type: string}}}}"""


def config(up: Upstream, extra: str = "") -> str:
    """The shipped tasks, at a provider that plays OpenAI."""
    return f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}", service_keys: [{SERVICE}]}}
cache: {{enabled: false}}
retry: {{attempts: 1}}
pricing: {{overrides: {{"openai/*": {{input: 1.0, output: 10.0}}}}}}
providers:
  openai: {{dialect: openai, base_url: "{up.base_url}", api_key: sk-up-secret}}
{extra}
"""


async def ask(gateway: Gateway, task: str, context: Any = None, **over: Any) -> Answer:
    body = {"taskType": task} | ({} if context is None else {"context": context})
    return await gateway.post(body, "/api/llm", **over)


def answers(*texts: str) -> list[Any]:
    return [fake.chat_reply(text) for text in texts]


class TestFlow:
    async def test_the_documents_own_example(self, tmp_path: Path, up: Upstream) -> None:
        """Its minimal request: the task is asked, the job and the tokens are on the books."""
        up.script(fake.chat_reply("Say what it pays.", usage=USAGE))
        context = {"jobId": "job_123", "prompt": "Help me improve this JD..."}
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "suggest", context)
            (row,) = await gateway.rows()
        assert answer.status == 200
        assert set(answer.json) == {"taskType", "result"}
        assert answer.json["taskType"] == "suggest"
        result = answer.json["result"]
        assert set(result) == {"content", "model", "usage", "metadata"}
        assert result["content"] == "Say what it pays."
        assert result["model"] == "gpt-4o-mini"
        assert result["usage"] == {
            "inputTokens": 100,
            "outputTokens": 15,
            "thoughtsTokens": 5,
            "totalTokens": 120,
            "costUsd": 0.0003,
        }
        metadata = result["metadata"]
        assert metadata["provider"] == "openai"
        assert metadata["taskType"] == "suggest"
        assert metadata["requestId"] == answer.headers["x-request-id"]
        assert (metadata["cached"], metadata["attempts"]) == (False, 1)
        assert metadata["finishReason"] == "stop"
        assert 0 <= metadata["latencyMs"] < 10_000
        assert metadata["timestamp"].endswith("Z")
        sent = up.log[0].json
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert sent["messages"][1]["content"] == "Help me improve this JD..."
        assert (row["task_type"], row["job_id"], row["usage_type"]) == (
            "suggest",
            "job_123",
            "text",
        )
        assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (100, 20, 5)
        assert row["cost_nanousd"] == 300_000  # 100 at 1 USD a million, 15 + 5 at 10

    async def test_every_call_wants_a_credential(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, config(up)) as gateway:
            for headers in ({}, {"authorization": "Bearer sk-nope"}, {"x-service-key": "nope"}):
                url = gateway.url + "/api/llm"
                body = {"taskType": "suggest"}
                async with gateway.session.post(url, json=body, headers=headers) as reply:
                    assert reply.status == 401
                    assert (await reply.json())["error"]["code"] == "invalid_api_key"
        assert up.log == []

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (b"{", None),
            (b"[]", None),
            (b"", None),
            ({"context": {}}, "taskType"),
            ({"taskType": 7}, "taskType"),
            ({"taskType": "suggest", "context": "text"}, "context"),
            ({"taskType": "suggest", "context": [1]}, "context"),
            ({"taskType": "suggest", "context": {"jobId": "a\x00b"}}, "context.jobId"),
        ],
    )
    async def test_the_body_is_validated(
        self, tmp_path: Path, up: Upstream, body: Any, param: str | None
    ) -> None:
        async with running(tmp_path, config(up)) as gateway:
            answer = await gateway.post(body, "/api/llm")
        assert answer.status == 400
        assert answer.json["error"]["param"] == param
        assert up.log == []

    async def test_the_body_is_json_whatever_its_type_and_more_fields_do_no_harm(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        body = orjson.dumps({"taskType": "suggest", "context": {}, "more": {"a": 1}, "user": 7})
        headers = {"content-type": "text/plain"}
        async with running(tmp_path, config(up)) as gateway:
            assert (await gateway.post(body, "/api/llm", headers=headers)).status == 200
            assert (await gateway.post(body, "/api/llm/")).status == 200


class TestRouting:
    async def test_all_fifteen_tasks_are_there(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, config(up)) as gateway:
            for task in TEXT_TASKS:
                answer = await ask(gateway, task, {"prompt": f"about {task}"})
                assert (answer.status, answer.json["taskType"]) == (200, task)
                assert answer.json["result"]["content"] == "Hello there"
            up.script(fake.json_reply(IMAGE))
            drawn = await ask(gateway, "image_generation", {"prompt": "a welder", "size": "auto"})
            rows = await gateway.rows(15)
            listed = await gateway.call("GET", "/v1/models")
        assert drawn.status == 200, drawn.body
        names = {entry["id"] for entry in listed.json["data"]}
        assert {f"task/{task}" for task in (*TEXT_TASKS, "image_generation")} <= names
        billed = {row["task_type"]: row["usage_type"] for row in rows}
        assert billed == {
            **dict.fromkeys(TEXT_TASKS, "text"),
            **dict.fromkeys(VIDEO_TASKS, "video"),
            "image_generation": "image",
        }
        for request, task in zip(up.log, TEXT_TASKS, strict=False):
            assert request.path == "/v1/chat/completions"
            assert f"about {task}" in request.json["messages"][-1]["content"]
            assert request.json["messages"][0]["role"] == "system"
        image = up.log[-1]
        assert image.path == "/v1/images/generations"
        assert image.json == {"model": "gpt-image-1", "prompt": "a welder", "size": "auto"}
        result = drawn.json["result"]
        assert result["content"] == ["data:image/webp;base64,QUJD"]
        assert result["model"] == "gpt-image-1"
        assert result["usage"]["outputTokens"] == 30

    async def test_the_context_reaches_the_prompt_as_data_only(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        attack = "{{ 7*7 }}{% for c in ().__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}"
        context = {"prompt": attack, "job": {"title": attack}, "messages": 7}
        async with running(tmp_path, config(up)) as gateway:
            for task in TEXT_TASKS:
                assert (await ask(gateway, task, context)).status == 200
        for request in up.log:
            said = "".join(message["content"] for message in request.json["messages"])
            assert attack in said
            assert "49" not in said
            assert "<class" not in said

    async def test_a_chat_keeps_its_messages(self, tmp_path: Path, up: Upstream) -> None:
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "And now?"},
        ]
        async with running(tmp_path, config(up)) as gateway:
            await ask(gateway, "chat", {"messages": messages, "job": {"title": "Welder"}})
        system, *rest = up.log[0].json["messages"]
        assert system["role"] == "system"
        assert '{"job":{"title":"Welder"}}' in system["content"]
        assert rest == messages

    @pytest.mark.parametrize(
        ("context", "messages"),
        [
            (
                {"messages": [{"role": "user", "content": "m"}], "prompt": "p"},
                [{"role": "user", "content": "m"}],
            ),
            ({"prompt": "p", "messages": ["m"]}, [{"role": "user", "content": "p"}]),
            ({"prompt": 3, "a": "é"}, [{"role": "user", "content": '{"prompt":3,"a":"é"}'}]),
            (None, [{"role": "user", "content": "{}"}]),
        ],
    )
    async def test_a_task_of_ones_own_serves_its_name(
        self, tmp_path: Path, up: Upstream, context: Any, messages: Any
    ) -> None:
        tasks = "tasks: {translate: {targets: [openai/gpt-5-nano], defaults: {temperature: 0.1}}}"
        async with running(tmp_path, config(up, tasks)) as gateway:
            answer = await ask(gateway, "translate", context)
        assert answer.status == 200
        sent = {"model": "gpt-5-nano", "messages": messages, "temperature": 0.1}
        assert up.log[0].json == sent

    async def test_a_task_of_ones_own_replaces_the_shipped_one(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        tasks = """
tasks:
  suggest: {targets: [openai/mine], prompt: {system: "Be {{ tone }}."}}
  video_render: {targets: [openai/mine], prompt: {user: "Storyboard of {{ videoId }}"}}
"""
        async with running(tmp_path, config(up, tasks)) as gateway:
            await ask(gateway, "suggest", {"tone": "kind", "prompt": "Go"})
            await ask(gateway, "video_render", {"videoId": "v1"})
            rows = await gateway.rows(2)
        assert up.log[0].json["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Go"},
        ]
        assert up.log[1].json["messages"] == [{"role": "user", "content": "Storyboard of v1"}]
        assert [row["usage_type"] for row in rows] == ["text", "video"]

    async def test_x_turnout_task_does_not_change_the_task(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        async with running(tmp_path, config(up)) as gateway:
            await ask(gateway, "suggest", {}, headers={"x-turnout-task": "refine"})
            (row,) = await gateway.rows()
        assert row["task_type"] == "suggest"


class TestSchema:
    TASK = f"""
tasks:
  tag:
    targets: [openai/m]
    prompt: {{user: "{{{{ text }}}}"}}
    schema: {SCHEMA}
"""

    @pytest.mark.parametrize(
        "text",
        [
            '{"title": "T", "tags": ["a"]}',
            ' {"title": "T", "tags": ["a"]}\n',
            '```json\n{"title": "T", "tags": ["a"]}\n```',
        ],
    )
    async def test_the_result_is_the_json(self, tmp_path: Path, up: Upstream, text: str) -> None:
        up.script(fake.chat_reply(text))
        async with running(tmp_path, config(up, self.TASK)) as gateway:
            answer = await ask(gateway, "tag", {"text": "x"})
        assert answer.json == {"taskType": "tag", "result": {"title": "T", "tags": ["a"]}}
        wanted = up.log[0].json["response_format"]
        assert wanted["type"] == "json_schema"
        assert (wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == ("tag", True)
        assert wanted["json_schema"]["schema"]["required"] == ["title", "tags"]

    @pytest.mark.parametrize(
        ("text", "finish"),
        [("Sure!", "stop"), ("[]", "stop"), ('{"title": "T"}', "stop"), ('{"title": "', "length")],
    )
    async def test_what_does_not_fit_is_a_502(
        self, tmp_path: Path, up: Upstream, text: str, finish: str
    ) -> None:
        up.script(fake.chat_reply(text, finish=finish))
        async with running(tmp_path, config(up, self.TASK)) as gateway:
            answer = await ask(gateway, "tag", {"text": "x"})
            (row,) = await gateway.rows()
        assert answer.error == (502, "upstream_error", "invalid_upstream_response")
        assert "'tag' is no JSON of the task's schema" in answer.json["error"]["message"]
        assert ("length" in answer.json["error"]["message"]) == (finish == "length")
        assert (row["status_code"], row["outcome"]) == (502, "failed")
        assert row["output_tokens"] == 3  # they are paid for all the same


class TestIds:
    @pytest.mark.parametrize(
        ("context", "job"),
        [
            ({"jobId": "a", "job": {"id": "b"}, "refinedJob": {"jobId": "c"}}, "a"),
            ({"job": {"id": "b"}, "refinedJob": {"jobId": "c"}}, "b"),
            ({"jobId": "", "job": {"id": 12}}, "12"),
            ({"job": "text", "refinedJob": {"jobId": "c"}}, "c"),
            ({"jobId": None, "job": None}, None),
            ({"jobId": {"a": 1}}, None),
        ],
    )
    async def test_the_job_is_the_contexts(
        self, tmp_path: Path, up: Upstream, context: Any, job: str | None
    ) -> None:
        async with running(tmp_path, config(up)) as gateway:
            assert (await ask(gateway, "suggest", context)).status == 200
            (row,) = await gateway.rows()
        assert row["job_id"] == job

    async def test_the_user_is_the_callers_and_never_the_contexts(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        context = {"userId": "mallory", "user": "mallory"}
        service = {"x-service-key": SERVICE, "x-turnout-user": "zoe", "authorization": ""}
        async with running(tmp_path, config(up)) as gateway:
            await ask(gateway, "suggest", context)
            del service["authorization"]
            url = gateway.url + "/api/llm"
            body = {"taskType": "suggest", "context": context}
            async with gateway.session.post(url, json=body, headers=service) as reply:
                assert reply.status == 200
            rows = await gateway.rows(2)
        assert [(row["role"], row["user_id"]) for row in rows] == [
            ("key", None),
            ("service", "zoe"),
        ]


class TestErrors:
    async def test_an_unknown_task_is_a_400_that_lists_the_known(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "sugest", {})
        assert answer.error == (400, "invalid_request_error", "unsupported_task_type")
        message = answer.json["error"]["message"]
        assert "'sugest'" in message
        for name in (*TEXT_TASKS, *ACTIONS, "image_generation", "generate_campaign_assets"):
            assert f" {name}" in message

    async def test_a_task_that_a_key_may_not_use(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, config(up)) as gateway:
            made = await gateway.call("POST", "/api/v1/keys", {"models": ["task/refine"]})
            gateway.key = made.json["key"]
            assert (await ask(gateway, "refine", {})).status == 200
            for task in ("suggest", "video_render", "generate_campaign_assets"):
                assert (await ask(gateway, task, {})).status == 404
            unknown = await ask(gateway, "nope", {})
        assert unknown.json["error"]["message"].endswith("there are refine")

    @pytest.mark.parametrize(
        ("script", "status", "code"),
        [
            (fake.error_reply(500), 502, "upstream_error"),
            (fake.error_reply(401), 502, "upstream_auth_failed"),
            (fake.error_reply(429, headers={"retry-after": "9"}), 429, "rate_limit_exceeded"),
        ],
    )
    async def test_downstream_errors_keep_their_status(
        self, tmp_path: Path, up: Upstream, script: Any, status: int, code: str
    ) -> None:
        up.script(script)
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "suggest", {})
            (row,) = await gateway.rows()
        assert (answer.status, answer.json["error"]["code"]) == (status, code)
        assert (row["status_code"], row["task_type"]) == (status, "suggest")
        assert "sk-up-secret" not in answer.body.decode()

    @pytest.mark.parametrize("levels", [300, 900])
    async def test_a_context_without_a_bottom(
        self, tmp_path: Path, up: Upstream, levels: int
    ) -> None:
        deep = b"[" * levels + b"]" * levels
        tasks = "tasks: {plain: openai/m}"
        async with running(tmp_path, config(up, tasks)) as gateway:
            for task in (b"suggest", b"plain", b"video_render"):
                body = b'{"taskType": "%s", "context": {"videoId": "v", "a": %s}}' % (task, deep)
                answer = await gateway.post(body, "/api/llm")
                assert answer.status in (400, 501), answer.body
            body = b'{"taskType": "plain", "context": {"messages": [{"role": "user", "x": %s}]}}'
            assert (await gateway.post(body % deep, "/api/llm")).status == 400
        assert up.log == []

    async def test_a_picture_of_nothing(self, tmp_path: Path, up: Upstream) -> None:
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "image_generation", {"n": 1})
        assert (answer.status, answer.json["error"]["param"]) == (400, "context.prompt")


class TestWizard:
    async def test_the_pipeline_runs_to_its_end(self, tmp_path: Path, up: Upstream) -> None:
        def script(received: fake.Received) -> Any:
            if received.path.endswith("/images/generations"):
                return fake.json_reply(IMAGE)
            return fake.chat_reply(f"answer {len(up.log)}", usage=USAGE)

        up.on(script)
        context = {"job": {"id": "job_9", "title": "Welder"}, "images": True}
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "generate_campaign_assets", context)
            rows = await gateway.rows(6)
        assert answer.status == 200, answer.body
        result = answer.json["result"]
        steps = [
            "company_intel",
            "asset_master",
            "asset_channel_batch",
            "image_prompt_generation",
            "image_generation",
            "image_caption",
        ]
        assert list(result["steps"]) == steps
        assert result["metadata"]["skipped"] == ["video_storyboard", "video_caption"]
        assert [row["task_type"] for row in rows] == steps
        assert {row["job_id"] for row in rows} == {"job_9"}
        assert {row["status_code"] for row in rows} == {200}
        assert result["usage"]["inputTokens"] == 5 * 100 + 10
        assert result["usage"]["thoughtsTokens"] == 25
        assert result["steps"]["asset_master"]["content"] == "answer 2"
        assert "answer 1" in up.log[1].json["messages"][1]["content"]
        assert up.log[4].json["prompt"] == "answer 4"
        assert "QUJD" not in str(up.log[5].json)

    async def test_a_step_that_fails_fails_all_and_is_named(
        self, tmp_path: Path, up: Upstream
    ) -> None:
        up.script(fake.chat_reply("fine"), fake.error_reply(429, headers={"retry-after": "9"}))
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, "generate_campaign_assets", {"jobId": "j"})
            rows = await gateway.rows(2)
        assert answer.error == (429, "rate_limit_error", "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "9"
        message = answer.json["error"]["message"]
        assert message.startswith("step 'asset_master' (2 of 8) of 'generate_campaign_assets' fai")
        assert [(row["status_code"], row["job_id"]) for row in rows] == [(200, "j"), (429, "j")]
        assert len(up.log) == 2

    EACH = """
tasks:
  find: {targets: [openai/m], schema: {type: object, required: [cities]}}
  tell: {targets: [openai/m], prompt: {user: "Tell of {{ city }} in {{ steps.find.land }}"}}
pipelines:
  tour:
    steps:
      - {task: find}
      - {task: tell, name: tales, each: steps.find.cities, with: {city: item.name}}
      - {task: tell, when: never}
"""

    async def test_a_step_for_each_of_a_list(self, tmp_path: Path, up: Upstream) -> None:
        cities = [{"name": name} for name in ("Rome", "Pisa", "Bari", "Asti", "Como", "Lodi")]
        found = orjson.dumps({"land": "Italy", "cities": cities}).decode()

        def script(received: fake.Received) -> Any:
            said = received.json["messages"][0]["content"]
            if not said.startswith("Tell"):
                return fake.chat_reply(found)
            (reply,) = fake.chat_reply(said.split()[2])
            return [fake.Sleep(0.1 if "Rome" in said else 0.0), reply]

        up.on(script)
        async with running(tmp_path, config(up, self.EACH)) as gateway:
            answer = await ask(gateway, "tour", {})
            await gateway.rows(7)
        tales = answer.json["result"]["steps"]["tales"]
        assert [tale["content"] for tale in tales] == [city["name"] for city in cities]
        assert up.log[1].json["messages"][0]["content"].endswith("in Italy")

    async def test_a_list_that_is_none(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.chat_reply('{"cities": "Rome"}'))
        async with running(tmp_path, config(up, self.EACH)) as gateway:
            answer = await ask(gateway, "tour", {})
        assert answer.error == (502, "upstream_error", "invalid_upstream_response")
        assert "step 'tales' (2 of 3)" in answer.json["error"]["message"]

    async def test_a_client_that_leaves_ends_it(self, tmp_path: Path, up: Upstream) -> None:
        up.script(fake.chat_reply("one"), [fake.Stall()])
        async with running(tmp_path, config(up)) as gateway:
            with pytest.raises(TimeoutError):
                timeout = aiohttp.ClientTimeout(total=0.5)
                await ask(gateway, "generate_campaign_assets", {}, timeout=timeout)
            await up.wait_until_closed(2)
            rows = await gateway.rows(2)
            await asyncio.sleep(0.2)
        assert [row["outcome"] for row in rows] == ["ok", "client_closed"]
        assert len(up.log) == 2


class TestVideoActions:
    @pytest.mark.parametrize("name", ACTIONS)
    async def test_without_a_backend_it_is_said_what_to_configure(
        self, tmp_path: Path, up: Upstream, name: str
    ) -> None:
        async with running(tmp_path, config(up)) as gateway:
            answer = await ask(gateway, name, {"videoId": "v"})
        assert answer.error == (501, "server_error", "backend_not_configured")
        assert "backends.video.base_url" in answer.json["error"]["message"]

    @pytest.mark.parametrize(
        ("name", "method", "path"),
        [
            ("video_render", "POST", "/v1/videos/v%201/render"),
            ("video_caption_update", "PUT", "/v1/videos/v%201/caption"),
            ("video_create_manifest", "POST", "/v1/videos/manifest"),
            ("video_regenerate", "POST", "/v1/videos/v%201/regenerate"),
        ],
    )
    async def test_they_go_to_the_backend(
        self, tmp_path: Path, up: Upstream, other: Upstream, name: str, method: str, path: str
    ) -> None:
        other.script(fake.json_reply({"status": "queued"}))
        context = {"videoId": "v 1", "jobId": "j", "base_url": "http://evil.test"}
        async with running(tmp_path, config(up, backends(other))) as gateway:
            answer = await ask(gateway, name, context)
        assert answer.json == {"taskType": name, "result": {"status": "queued"}}
        (received,) = other.log
        assert (received.method, received.path) == (method, path)
        assert received.json == context
        assert received.header("x-token") == "t0ken"
        assert received.header("x-turnout-job") == "j"
        assert received.header("x-request-id") == answer.headers["x-request-id"]
        assert received.header("authorization") is None
        assert up.log == []

    async def test_a_video_that_is_not_there(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        other.script(fake.json_reply({"error": "video item not found"}, 404))
        async with running(tmp_path, config(up, backends(other))) as gateway:
            answer = await ask(gateway, "video_render", {"videoId": "v"})
            refused = await ask(gateway, "video_render", {"videoId": "../admin"})
        assert answer.error == (404, "invalid_request_error", "not_found")
        assert answer.json["error"]["message"] == "video item not found"
        assert refused.error == (400, "invalid_request_error", "invalid_value")
        assert len(other.log) == 1

    async def test_a_backend_that_fails_or_is_away(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        other.script(fake.json_reply({"message": "no renderer"}, 500), [fake.Stall()])
        async with running(tmp_path, config(up, backends(other, 0.3))) as gateway:
            failed = await ask(gateway, "video_render", {"videoId": "v"})
            late = await ask(gateway, "video_render", {"videoId": "v"})
        assert failed.error == (502, "upstream_error", "backend_failed")
        assert "no renderer" in failed.json["error"]["message"]
        assert late.error == (502, "upstream_error", "backend_failed")

    async def test_they_want_a_credential_too(
        self, tmp_path: Path, up: Upstream, other: Upstream
    ) -> None:
        async with running(tmp_path, config(up, backends(other))) as gateway:
            body = {"taskType": "video_render", "context": {"videoId": "v"}}
            answer = await gateway.call("POST", "/api/llm", body, key="nope")
            as_admin = await gateway.call("POST", "/api/llm", body, key=MASTER)
        assert answer.status == 401
        assert as_admin.status == 404  # what the backend's stand-in says
        assert len(other.log) == 1


def backends(other: Upstream, timeout: float = 5) -> str:
    return f"""
backends:
  video: {{base_url: "{other.base_url}", headers: {{x-token: t0ken}}, timeout: {timeout}}}
"""
