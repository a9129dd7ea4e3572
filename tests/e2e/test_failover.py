"""The second upstream serves when the first does not, unseen; and never after first content."""

from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from tests.e2e.gateway import running, two_upstreams
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

CHAT = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}
QUICK = ", timeout: {first_token: 300ms, response: 300ms}"


def faults(stream: bool) -> dict[str, Any]:
    role = fake.chat_chunks(["x"])[0]
    found = {
        "503": fake.error_reply(503),
        "429": fake.error_reply(429, headers={"Retry-After": "30"}),
        "quota": fake.error_reply(429, code="insufficient_quota"),
        "401": fake.error_reply(401),
        "html": fake.html_reply(),
        "silence": [fake.Stall()],
        "reset": [fake.Reset()],
    }
    if stream:
        error = b'{"error":{"message":"boom","type":"server_error"}}'
        found["error event"] = fake.sse(role, error, done=False)
        found["nothing"] = fake.sse(done=False)
        found["role, then silence"] = [*list(fake.sse(role, done=False))[:-1], fake.Stall()]
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", faults(stream=True))
async def test_the_second_serves(
    tmp_path: Path, up: Upstream, other: Upstream, name: str, stream: bool
) -> None:
    if name not in faults(stream):
        pytest.skip("a fault of streams only")
    up.script(faults(stream)[name])
    text = two_upstreams(up.base_url, other.base_url, provider=QUICK)
    async with running(tmp_path, text) as gateway:
        answer = await gateway.post(CHAT | {"stream": stream})
        assert answer.status == 200
        assert answer.headers["x-turnout-attempts"] == "2"
        assert answer.headers["x-turnout-provider"] == "two"
        assert answer.headers["x-turnout-model"] == "model-2"
        assert (len(up.log), len(other.log)) == (1, 1)
        assert other.log[0].json["model"] == "model-2"
        (row,) = await gateway.rows()
        assert (row["outcome"], row["provider_name"], row["attempts"]) == ("ok", "two", 2)
        first, second = await gateway.attempts(2)
        assert (first["outcome"], second["outcome"]) == ("failed", "ok")
        assert first["request_id"] == second["request_id"] == row["id"]


async def test_a_refused_connection(tmp_path: Path, other: Upstream) -> None:
    dead = f"http://127.0.0.1:{fake.refused_port()}/v1"
    async with running(tmp_path, two_upstreams(dead, other.base_url)) as gateway:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.headers["x-turnout-attempts"]) == (200, "2")


async def test_after_the_first_content_there_is_no_way_back(
    tmp_path: Path, up: Upstream, other: Upstream
) -> None:
    begun = list(fake.sse(*fake.chat_chunks(["Hel"])[:2], done=False))[:-1]
    up.script([*begun, fake.Sleep(0.05), fake.Close()])
    async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
        async with gateway.client() as client:
            stream = await client.chat.completions.create(**CHAT, stream=True)
            seen = []
            with pytest.raises(openai.APIError):
                async for chunk in stream:
                    seen += [choice.delta.content for choice in chunk.choices]
        assert seen == ["", "Hel"]
        assert other.log == []
        (row,) = await gateway.rows()
        assert (row["outcome"], row["error_code"], row["attempts"]) == (
            "failed",
            "stream_interrupted",
            1,
        )


async def test_fallback_off(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    up.script(fake.error_reply(401))
    async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
        answer = await gateway.post(CHAT, headers={"x-turnout-fallback": "off"})
        assert answer.status == 502
        assert other.log == []


async def test_a_forced_provider(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
        answer = await gateway.post(CHAT, headers={"x-turnout-provider": "two"})
        assert answer.headers["x-turnout-provider"] == "two"
        assert up.log == []
        missing = await gateway.post(CHAT, headers={"x-turnout-provider": "tow"})
        assert missing.status == 404
        assert b"two" in missing.body


async def test_the_same_target_again_when_there_is_no_other(tmp_path: Path, up: Upstream) -> None:
    up.script(fake.error_reply(503), fake.error_reply(500), fake.chat_reply())
    text = two_upstreams(up.base_url, up.base_url, "retry: {backoff: [10ms, 20ms]}")
    async with running(tmp_path, text) as gateway:
        answer = await gateway.post(CHAT | {"model": "one/m"})
        assert (answer.status, answer.headers["x-turnout-attempts"]) == (200, "3")


async def test_four_attempts_and_no_more(tmp_path: Path, up: Upstream) -> None:
    up.script(fake.error_reply(500))
    text = two_upstreams(up.base_url, up.base_url, "retry: {backoff: [10ms, 20ms]}")
    async with running(tmp_path, text) as gateway:
        answer = await gateway.post(CHAT)
        assert answer.status == 502
        assert len(up.log) == 4
        assert len(await gateway.attempts(4)) == 4
        assert len(await gateway.rows(1)) == 1


async def test_several_keys_are_targets_of_their_own(tmp_path: Path, up: Upstream) -> None:
    up.on(lambda r: fake.error_reply(401) if r.header("authorization") == "Bearer sk-bad" else None)
    text = f"""
auth: {{master_key: "${{TURNOUT_MASTER_KEY}}"}}
cache: {{enabled: false}}
providers:
  up: {{dialect: openai, base_url: "{up.base_url}", api_keys: [sk-bad, sk-good]}}
"""
    async with running(tmp_path, text) as gateway:
        answers = [await gateway.post(CHAT | {"model": "up/m"}) for _ in range(4)]
        assert {a.status for a in answers} == {200}
        assert sorted(a.headers["x-turnout-attempts"] for a in answers) == ["1", "1", "1", "2"]
        asked = [r.header("authorization") for r in up.log]
        assert asked.count("Bearer sk-bad") == 1  # a refused key stays refused: its circuit is open


async def test_a_deadline_of_the_callers_own(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    up.script([fake.Stall()])
    async with running(tmp_path, two_upstreams(up.base_url, other.base_url)) as gateway:
        answer = await gateway.post(CHAT, headers={"x-turnout-timeout": "0.3"})
        assert answer.error == (504, "upstream_error", "upstream_timeout")
        assert other.log == []


async def test_a_task_with_its_defaults(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    tasks = "tasks: {scoring: {targets: [two/model-2], defaults: {temperature: 0.3, top_p: 0.5}}}"
    async with running(tmp_path, two_upstreams(up.base_url, other.base_url, tasks)) as gateway:
        by_name = CHAT | {"model": "task/scoring", "top_p": 0.9}
        for answer in (
            await gateway.post(by_name),
            await gateway.post(CHAT | {"top_p": 0.9}, headers={"x-turnout-task": "scoring"}),
            await gateway.post(CHAT | {"top_p": 0.9, "metadata": {"task": "scoring"}}),
        ):
            assert answer.headers["x-turnout-task"] == "scoring"
        for received in other.log:
            sent = orjson.loads(received.body)
            assert (sent["temperature"], sent["top_p"], sent["model"]) == (0.3, 0.9, "model-2")
            assert "metadata" not in sent
        rows = await gateway.rows(3)
        assert {row["task_type"] for row in rows} == {"scoring"}
