"""The Anthropic dialect, on what Anthropic really answered; its own SDK is the judge."""

import re
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from anthropic.types.beta import BetaMessage
from pydantic import TypeAdapter

from adapters import completion
from adapters.anthropic import JSON_TOOL, Anthropic
from adapters.base import Ask, Auth, Endpoint, FailureKind, Retry, Target, UpstreamFailure
from tests.adapters import asks
from tests.adapters.heard import Answer, Heard, bytewise, cut, of_body, of_stream, play, same
from tests.recordings import Recording, of_path

CALLS = [r for r in of_path("/v1/messages") if r.vendor == "anthropic" and "count" not in r.path]
WHOLE = [r for r in CALLS if not r.is_stream and r.status == 200]
STREAMS = [r for r in CALLS if r.is_stream]
OK_STREAM_ASK = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "new_id", lambda prefix: prefix + "1")
    monkeypatch.setattr(completion.time, "time", lambda: 1_700_000_000.0)


def target(model: str = "claude-sonnet-5", **over: Any) -> Target:
    given = {"dialect": "anthropic", "base_url": "http://up.test/v1", "auth": Auth.X_API_KEY}
    return asks.target(model, **(given | over))


def expected(message: BetaMessage) -> Answer:
    """What the vendor's own type says, in the words of OpenAI's."""
    heard = Heard()
    for block in message.content:
        if block.type == "text":
            heard.text += block.text
        elif block.type == "thinking":
            heard.reasoning += block.thinking
            heard.thinking.append(
                {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
            )
        elif block.type == "redacted_thinking":
            heard.thinking.append({"type": "redacted_thinking", "data": block.data})
        elif block.type == "tool_use":
            heard.calls.append((block.name, block.input))
    reasons = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
    heard.finish = reasons[str(message.stop_reason)]
    usage = message.usage
    read = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    details = usage.output_tokens_details
    thought = (details and details.thinking_tokens) or 0
    counted = (usage.input_tokens + read + written, usage.output_tokens, read, thought)
    return Answer([heard], counted)


def of_sdk(recording: Recording) -> BetaMessage:
    """The recorded bytes through Anthropic's own client."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        kind = {"content-type": recording.content_type}
        return httpx2.Response(recording.status, content=recording.reply, headers=kind)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(api_key="x", http_client=http, max_retries=0)
    asked: dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
    }
    if not recording.is_stream:
        return client.beta.messages.create(**asked)
    with client.beta.messages.stream(**asked) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("recording", WHOLE, ids=lambda r: r.id)
def test_whole_answers_say_what_the_sdk_says(recording: Recording) -> None:
    got = Anthropic().reply(asks.ask(), recording.reply)
    assert of_body(got.body) == expected(of_sdk(recording))


@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.id)
def test_streams_say_what_the_sdk_says(recording: Recording) -> None:
    ask = asks.ask(**OK_STREAM_ASK)
    raw = recording.reply
    outputs = [play(Anthropic(), ask, [raw]), play(Anthropic(), ask, bytewise(raw))]
    outputs += [play(Anthropic(), ask, cut(raw, seed)) for seed in range(10)]
    assert same(outputs)
    assert of_stream(outputs[0]) == expected(of_sdk(recording))


@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.id)
def test_a_stream_cut_short_never_ends_well(recording: Recording) -> None:
    raw = recording.reply
    for end in range(0, raw.rindex(b"message_stop"), 97):
        translator = Anthropic().stream(asks.ask(**OK_STREAM_ASK), lambda _: None)
        out = translator.feed(raw[:end])
        assert not translator.done
        with pytest.raises(UpstreamFailure) as failed:
            translator.finish()
        assert failed.value.failure.kind is FailureKind.INTERRUPTED
        assert b"[DONE]" not in out


@pytest.mark.parametrize("recording", STREAMS, ids=lambda r: r.id)
def test_to_its_own_clients_a_stream_is_passed_on(recording: Recording) -> None:
    ask = asks.ask(Endpoint.MESSAGES, stream=True, max_tokens=5)
    raw = recording.reply
    outputs = [play(Anthropic(), ask, [raw]), play(Anthropic(), ask, bytewise(raw))]
    outputs += [play(Anthropic(), ask, cut(raw, seed)) for seed in range(5)]
    assert same(outputs)
    sent = re.findall(rb"^(?:event|data): ?(.*)$", raw, re.MULTILINE)
    passed = re.findall(rb"^(?:event|data): ?(.*)$", outputs[0], re.MULTILINE)
    assert [line.rstrip() for line in passed] == [line.rstrip() for line in sent]


def test_errors_as_they_were_recorded() -> None:
    bad = next(r for r in CALLS if r.status == 400)
    failure = Anthropic().failure(400, {}, bad.reply)
    assert (failure.kind, failure.retry) == (FailureKind.INVALID_REQUEST, Retry.NEVER)
    assert failure.type == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError) as raised:
        of_sdk(bad)
    assert failure.message in str(raised.value)


@pytest.mark.parametrize(
    ("status", "kind", "said", "expect", "retry"),
    [
        (529, "overloaded_error", "Overloaded", FailureKind.OVERLOADED, Retry.SAME_TARGET),
        (429, "rate_limit_error", "slow down", FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
        (500, "api_error", "oops", FailureKind.SERVER, Retry.SAME_TARGET),
        (401, "authentication_error", "invalid x-api-key", FailureKind.AUTH, Retry.NEXT_TARGET),
        (404, "not_found_error", "model: x", FailureKind.NOT_FOUND, Retry.NEXT_TARGET),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 200001 tokens > 200000 maximum",
            FailureKind.CONTEXT_LENGTH,
            Retry.NEVER,
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
            FailureKind.QUOTA,
            Retry.NEXT_TARGET,
        ),
    ],
)
def test_an_error_has_one_meaning_in_a_status_and_in_a_stream(
    status: int, kind: str, said: str, expect: FailureKind, retry: Retry
) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": said}})
    failure = Anthropic().failure(status, {"retry-after": "7"}, body)
    assert (failure.kind, failure.retry, failure.message) == (expect, retry, said)
    assert failure.retry_after == 7
    translator = Anthropic().stream(asks.ask(stream=True), lambda _: None)
    assert translator.feed(b"event: error\ndata: " + body + b"\n\n") == b""
    assert translator.failure is not None
    assert (translator.failure.kind, translator.failure.retry) == (expect, retry)


# Requests.


def sent(model: str = "claude-sonnet-5", over: dict[str, Any] | None = None, **body: Any) -> Any:
    ask = asks.ask(**body)
    before = (ask.raw, orjson.dumps(dict(ask.body)))
    outgoing = Anthropic().request(ask, target(model, **(over or {})))
    assert (ask.raw, orjson.dumps(dict(ask.body))) == before
    parsed = orjson.loads(outgoing.body)
    valid = TypeAdapter(anthropic.types.message_create_params.MessageCreateParamsNonStreaming)
    if not parsed.get("stream"):
        valid.validate_python(parsed)
    return parsed


def test_where_it_goes() -> None:
    outgoing = Anthropic().request(asks.ask(), target())
    assert outgoing.url == "http://up.test/v1/messages"
    assert outgoing.headers["x-api-key"] == "sk-up"
    assert outgoing.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in outgoing.headers


def test_roles_and_instructions() -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "And kind."},
            {"role": "user", "content": "One"},
            {"role": "user", "content": [{"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": "Three"},
            {"role": "user", "content": "Four"},
        ]
    )
    assert body["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "And kind."},
    ]
    assert body["messages"] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Three"}]},
        {"role": "user", "content": [{"type": "text", "text": "Four"}]},
    ]


def test_parts() -> None:
    pdf = "data:application/pdf;base64,JVBERg=="
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
        {"type": "image_url", "image_url": {"url": "https://pics.test/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}},
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
    ]
    body = sent(messages=[{"role": "user", "content": parts}])
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
        {"type": "image", "source": {"type": "url", "url": "https://pics.test/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
        },
        {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
    ]


def test_tools_and_their_results_come_first() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    second = {"id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}}
    body = sent(
        tools=[
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g", "description": "G", "strict": True}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 1},
        ],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        messages=[
            {"role": "user", "content": "Go"},
            {"role": "assistant", "content": None, "tool_calls": [call, second]},
            {"role": "user", "content": "Hurry"},
            {"role": "tool", "tool_call_id": "t1", "content": "1"},
            {"role": "tool", "tool_call_id": "t2", "content": [{"type": "text", "text": "2"}]},
        ],
    )
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "1"},
        {"type": "tool_result", "tool_use_id": "t2", "content": "2"},
        {"type": "text", "text": "Hurry"},
    ]
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert [tool["name"] for tool in body["tools"]] == ["f"]


def test_sampling() -> None:
    body = sent(
        max_completion_tokens=50, temperature=0.5, top_p=0.9, stop="END", user="u-1", top_k=5
    )
    assert body["max_tokens"] == 50
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.5, 0.9, 5)
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u-1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("n", 2),
        ("logprobs", True),
        ("frequency_penalty", 0.5),
        ("temperature", 1.5),
        ("logit_bias", {"1": 1}),
        ("store", True),
        ("prediction", {"type": "content", "content": "x"}),
        ("something_new", 1),
    ],
)
def test_what_it_cannot_say_is_refused_by_name_or_listed(name: str, value: Any) -> None:
    with pytest.raises(UpstreamFailure) as refused:
        Anthropic().request(asks.ask(**{name: value}), target())
    failure = refused.value.failure
    assert (failure.param, failure.status) == (name, 400)
    assert (failure.kind, failure.retry) == (FailureKind.UNSUPPORTED, Retry.NEXT_TARGET)
    outgoing = Anthropic().request(asks.ask(**{name: value}), target(drop_params=True))
    assert outgoing.dropped == (name,)
    assert name not in orjson.loads(outgoing.body)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 1), ("logprobs", False), ("store", False), ("seed", None), ("presence_penalty", 0)],
)
def test_what_says_nothing_is_not_refused(name: str, value: Any) -> None:
    assert name not in sent(**{name: value})


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        ("claude-sonnet-4-20250514", "low", {"type": "enabled", "budget_tokens": 1024}, None),
        ("claude-haiku-4-5", "high", {"type": "enabled", "budget_tokens": 16384}, None),
        ("claude-opus-4-6", "high", {"type": "adaptive"}, {"effort": "high"}),
        ("claude-sonnet-5", "minimal", {"type": "adaptive"}, {"effort": "low"}),
        ("claude-sonnet-5", "none", {"type": "disabled"}, None),
    ],
)
def test_effort(model: str, effort: str, thinking: Any, config: Any) -> None:
    body = sent(model, reasoning_effort=effort)
    assert (body["thinking"], body.get("output_config")) == (thinking, config)
    assert body["max_tokens"] > thinking.get("budget_tokens", 0)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def test_a_schema_in_the_models_own_way() -> None:
    body = sent(response_format=FORMAT)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert "tools" not in body


def test_a_schema_by_a_tool_that_must_be_called() -> None:
    body = sent("claude-3-7-sonnet-latest", response_format=FORMAT)
    assert body["tool_choice"] == {"type": "tool", "name": JSON_TOOL}
    assert body["tools"][0]["input_schema"] == SCHEMA
    answer = {
        "type": "message",
        "id": "msg_1",
        "model": "m",
        "content": [{"type": "tool_use", "id": "t", "name": JSON_TOOL, "input": {"a": 1}}],
        "stop_reason": "tool_use",
    }
    heard = of_body(Anthropic().reply(asks.ask(), orjson.dumps(answer)).body).choices[0]
    assert (heard.text, heard.finish, heard.calls) == ('{"a":1}', "stop", [])


def test_signatures_survive_a_tool_loop() -> None:
    first = next(r for r in WHOLE if r.name == "anthropic_tool_with_thinking" and not r.number)
    message = orjson.loads(Anthropic().reply(asks.ask(), first.reply).body)["choices"][0]["message"]
    call = message["tool_calls"][0]
    body = sent(
        messages=[
            {"role": "user", "content": "Hi"},
            message,
            {"role": "tool", "tool_call_id": call["id"], "content": "x"},
        ]
    )
    blocks = {"thinking", "redacted_thinking", "tool_use"}
    recorded = [b for b in orjson.loads(first.reply)["content"] if b["type"] in blocks]
    assert recorded[0]["signature"]
    for block in recorded:
        block.pop("caller", None)
    assert [b for b in body["messages"][1]["content"] if b["type"] in blocks] == recorded


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "content[0]"),
        ({"type": "image_url", "image_url": {"url": "gs://b/a.png"}}, "content[0].image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}, "image_url.url"),
        ({"type": "hologram"}, "content[0].type"),
        ("text", "content[0]"),
    ],
)
def test_a_part_that_it_has_not_is_named(part: Any, where: str) -> None:
    with pytest.raises(UpstreamFailure) as refused:
        Anthropic().request(asks.ask(messages=[{"role": "user", "content": [part]}]), target())
    assert refused.value.failure.param is not None
    assert where in refused.value.failure.param
    assert refused.value.failure.status == 400


def test_its_own_requests_go_out_as_they_came() -> None:
    raw = (
        b'{ "max_tokens":5,"messages":[{"role":"user","content":"\\u0041"}], "model":"m","new":1.0}'
    )
    ask = Ask(Endpoint.MESSAGES, raw, orjson.loads(raw))
    assert Anthropic().request(ask, target("m")).body is raw
    renamed = Anthropic().request(ask, target("claude")).body
    assert renamed == raw.replace(b'"m",', b'"claude",')
    counted = Anthropic().request(ask._replace(endpoint=Endpoint.COUNT_TOKENS), target("m"))
    assert counted.url == "http://up.test/v1/messages/count_tokens"
