"""What every dialect owes the pipeline, in one suite over the registry of adapters.

Expected values are written by hand or are the vendors' own SDKs'; the conversations are those of
tests/fakes/dialects.py, the streams those and all that were recorded.
"""

import base64
import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import hypothesis
import ollama
import orjson
import pytest
from anthropic.types import message_create_params
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from google.genai import types as genai
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from pydantic import SecretStr, TypeAdapter

from adapters import ADAPTERS
from adapters.base import Ask, Auth, Failure, FailureKind, Outgoing, Retry, Target, UpstreamFailure
from tests.adapters import asks
from tests.adapters.heard import Answer, Heard, bytewise, of_body, of_stream, play, same
from tests.fuzz.mutations import entries, spoken

MODELS = {
    "openai": "gpt-5.1",
    "anthropic": "claude-sonnet-5",
    "gemini": "gemini-3-flash",
    "ollama": "gpt-oss:20b",
    "bedrock": "us.anthropic.claude-sonnet-4-6",
    "llamacpp": "qwen3",
}
TRANSLATED = ("anthropic", "gemini", "ollama", "bedrock")
PASSAGES = ("openai", "llamacpp")

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
SCHEMA = {"type": "object", "properties": {"degrees": {"type": "integer"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
HI = [{"role": "user", "content": "Hi"}]
CALLED = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'},
}

KINDS: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
    "tools": {"messages": HI, "tools": [TOOL], "tool_choice": "auto"},
    "schema": {
        "messages": HI,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "weather", "schema": SCHEMA, "strict": True},
        },
    },
    "image": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            }
        ]
    },
    "loop": {
        "messages": [
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21"},
            {"role": "assistant", "content": "It is sunny."},
            {"role": "user", "content": "And tomorrow?"},
        ],
        "tools": [TOOL],
    },
    "effort": {"messages": HI, "reasoning_effort": "low"},
    "sampling": {"messages": HI, "stop": ["END"], "temperature": 0.5, "seed": 7, "max_tokens": 99},
}

every_dialect = pytest.mark.parametrize("dialect", list(ADAPTERS))
every_kind = pytest.mark.parametrize("kind", list(KINDS))
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    _fix(monkeypatch)


def _fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids and the time are always the same."""
    for module in ("adapters.completion", "adapters.gemini_stream"):
        monkeypatch.setattr(f"{module}.new_id", lambda prefix: prefix + "1")
    monkeypatch.setattr("adapters.completion.time.time", lambda: 1_700_000_000.0)


def at(dialect: str, **over: Any) -> Target:
    return asks.target(MODELS[dialect], **({"dialect": dialect} | over))


def asked(kind: str, stream: bool = False, **over: Any) -> Ask:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    ask = asks.ask(**(KINDS[kind] | options | over))
    return ask._replace(drop_params=kind == "sampling")


STREAM = asks.ask(stream=True, stream_options={"include_usage": True})


# The ask is handed on to other targets: nobody may change it.


@every_dialect
@every_kind
@streamed_or_not
def test_the_ask_stays_as_it_is(dialect: str, kind: str, stream: bool) -> None:
    ask = asked(kind, stream)
    raw, body = ask.raw, copy.deepcopy(dict(ask.body))
    first = ADAPTERS[dialect].request(ask, at(dialect))
    ADAPTERS[dialect].stream(ask, lambda _: None)
    assert ask.raw is raw
    assert ask.body == body
    assert orjson.dumps(ask.body) == orjson.dumps(body), "the order of members"
    assert ADAPTERS[dialect].request(ask, at(dialect)) == first


@pytest.mark.parametrize("dialect", TRANSLATED)
@pytest.mark.parametrize(
    "over",
    [
        {"messages": 7},
        {"messages": [*HI, {"role": "user", "content": [{"type": "video"}]}], "tools": [TOOL]},
        {"messages": HI, "tools": [TOOL], "logit_bias": {"1": 1}, "stop": "x"},
    ],
)
def test_the_ask_stays_as_it_is_when_it_is_refused(dialect: str, over: dict[str, Any]) -> None:
    ask = asks.ask(**over)
    raw, body = ask.raw, copy.deepcopy(dict(ask.body))
    with pytest.raises(UpstreamFailure):
        ADAPTERS[dialect].request(ask, at(dialect))
    assert ask.raw is raw
    assert ask.body == body


# A stream is the same under every split.


@every_dialect
def test_a_stream_is_the_same_byte_by_byte(dialect: str) -> None:
    found = [entry for entry in entries(dialect, "stream")[0] if entry.size < 30_000]
    assert len(found) >= 5
    for entry in found:
        raw = b"".join(unit.written() for unit in entry.units)
        outputs = [play(ADAPTERS[dialect], STREAM, [raw])]
        outputs.append(play(ADAPTERS[dialect], STREAM, bytewise(raw)))
        assert same(outputs)
        assert outputs[0].endswith(b"data: [DONE]\n\n")


@every_dialect
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(data=st.data())
def test_a_stream_is_the_same_under_every_split(dialect: str, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patched:
        _fix(patched)
        entry = data.draw(st.sampled_from(entries(dialect, "stream")[0]))
        raw = b"".join(unit.written() for unit in entry.units)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=30)))
        pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        outputs = [play(ADAPTERS[dialect], STREAM, [raw]), play(ADAPTERS[dialect], STREAM, pieces)]
        assert same(outputs)


# A stream and a whole answer say the same: what the fakes were told to say.

SAID = {
    "hello": Heard("Hello from the model.", finish="stop"),
    "call": Heard(calls=[("get_weather", {"city": "Paris"})], finish="tool_calls"),
    "result": Heard("It is sunny in Paris.", finish="stop"),
    "json": Heard('{"city":"Paris","degrees":21}', finish="stop"),
}


@every_dialect
@pytest.mark.parametrize("talk", list(SAID))
def test_streams_and_whole_answers_agree(dialect: str, talk: str) -> None:
    # These two answer with the arguments of a tool where no text is JSON by itself.
    named = "json_tool" if talk == "json" and dialect in ("anthropic", "bedrock") else talk
    expected = Answer([SAID[talk]], (11, 7, 0, 0))
    whole = ADAPTERS[dialect].reply(asks.ask(), spoken(dialect, named, stream=False))
    assert of_body(whole.body) == expected
    raw = spoken(dialect, named, stream=True)
    assert of_stream(play(ADAPTERS[dialect], STREAM, [raw])) == expected
    translator = ADAPTERS[dialect].stream(STREAM, lambda _: None)
    translator.feed(raw)
    translator.finish()
    assert translator.usage == whole.usage
    assert whole.usage is not None
    assert (whole.usage.prompt, whole.usage.completion) == (11, 7)


# Failures have one shape.

JUDGED = {
    400: (FailureKind.INVALID_REQUEST, Retry.NEVER),
    401: (FailureKind.AUTH, Retry.NEXT_TARGET),
    402: (FailureKind.QUOTA, Retry.NEXT_TARGET),
    403: (FailureKind.AUTH, Retry.NEXT_TARGET),
    404: (FailureKind.NOT_FOUND, Retry.NEXT_TARGET),
    408: (FailureKind.TIMEOUT, Retry.SAME_TARGET),
    409: (FailureKind.INVALID_REQUEST, Retry.NEVER),
    413: (FailureKind.INVALID_REQUEST, Retry.NEVER),
    422: (FailureKind.INVALID_REQUEST, Retry.NEVER),
    429: (FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
    500: (FailureKind.SERVER, Retry.SAME_TARGET),
    502: (FailureKind.SERVER, Retry.SAME_TARGET),
    503: (FailureKind.OVERLOADED, Retry.SAME_TARGET),
    504: (FailureKind.TIMEOUT, Retry.SAME_TARGET),
    529: (FailureKind.OVERLOADED, Retry.SAME_TARGET),
}

OWN_ERRORS: dict[str, Any] = {
    "openai": {"error": {"message": "It broke.", "type": "t", "param": None, "code": None}},
    "anthropic": {"type": "error", "error": {"type": "t", "message": "It broke."}},
    "gemini": {"error": {"code": 0, "message": "It broke.", "status": "T"}},
    "ollama": {"error": "It broke."},
    "bedrock": {"message": "It broke."},
    "llamacpp": {"error": {"code": 0, "message": "It broke.", "type": "t"}},
}


def check_failure(failure: Failure, status: int) -> None:
    assert (failure.kind, failure.retry) == JUDGED[status]
    assert isinstance(failure.message, str)
    assert failure.message
    assert failure.status == status
    for word in (failure.type, failure.code, failure.param):
        assert word is None or isinstance(word, str)


@every_dialect
@pytest.mark.parametrize("status", list(JUDGED))
def test_a_failure_in_the_dialects_own_words(dialect: str, status: int) -> None:
    body = orjson.dumps(OWN_ERRORS[dialect])
    failure = ADAPTERS[dialect].failure(status, {"retry-after": "7"}, body)
    check_failure(failure, status)
    assert failure.message == "It broke."
    assert failure.retry_after == 7.0
    assert ADAPTERS[dialect].failure(status, {"retry-after-ms": "250"}, body).retry_after == 0.25
    assert ADAPTERS[dialect].failure(status, {}, body).retry_after is None


@every_dialect
@pytest.mark.parametrize("status", list(JUDGED))
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", None),
        (b"<html>\n<h1>Oops</h1></html>", "<html>\n<h1>Oops</h1></html>"),
        (b"null", None),
        (b"[]", None),
        (b'"Oops"', None),
        (b'{"error":{"message":{"a":[1]},"code":[],"type":{}}}', None),
    ],
    ids=["empty", "html", "null", "list", "string", "odd"],
)
def test_a_failure_in_no_words(dialect: str, status: int, body: bytes, message: str | None) -> None:
    failure = ADAPTERS[dialect].failure(status, {"retry-after": "soon"}, body)
    check_failure(failure, status)
    assert failure.retry_after is None
    if message is not None:
        assert failure.message == message
    if not body:
        assert failure.message == f"the upstream answered {status}"


@every_dialect
@hypothesis.given(body=st.binary(max_size=300), status=st.sampled_from(list(JUDGED)))
def test_a_failure_of_any_bytes(dialect: str, body: bytes, status: int) -> None:
    check_failure(ADAPTERS[dialect].failure(status, {}, body), status)


# A stream that is cut never ends well, unless all that counts had been said.

LAST_WORDS = {
    "openai": b'"finish_reason":"stop"}]}',
    "llamacpp": b'"finish_reason":"stop"}]}',
    "anthropic": b'{"type":"message_stop"}',
    "gemini": b'"responseId":"r9"}',
    "ollama": b'"eval_count":7}',
    "bedrock": b'{"stopReason":"end_turn"}',
}
"""The end of what a dialect says last that the client needs; the last of its kind counts."""


@every_dialect
def test_a_stream_cut_anywhere_never_ends_well(dialect: str) -> None:
    raw = spoken(dialect, "hello", stream=True)
    needed = raw.rindex(LAST_WORDS[dialect]) + len(LAST_WORDS[dialect])
    if dialect == "bedrock":
        needed += 4  # the frame's checksum
    assert needed < len(raw) or dialect == "ollama"
    for end in range(len(raw)):
        translator = ADAPTERS[dialect].stream(STREAM, lambda _: None)
        out = translator.feed(raw[:end])
        if end < needed:
            assert not translator.done, end
            assert b"[DONE]" not in out
            assert cut_short(translator), end
        elif not translator.done:
            out += translator.finish()
            assert translator.failure is None
            assert of_stream(out).choices == [SAID["hello"]], end


def cut_short(translator: Any) -> bool:
    """Whether a stream that ends here is told to be no whole one."""
    try:
        out = translator.finish()
    except UpstreamFailure as error:
        return error.failure.kind is FailureKind.INTERRUPTED
    assert b"[DONE]" not in out
    return translator.failure is not None


# What goes upstream is what the vendor's own SDK would take.


def check_openai(body: Any) -> None:
    kind = completion_create_params.CompletionCreateParamsNonStreaming
    if body.get("stream"):
        kind = completion_create_params.CompletionCreateParamsStreaming  # type: ignore[assignment]
    valid = _of_type(kind).validate_python(body)
    assert list(valid["messages"])
    assert list(valid.get("tools") or body.get("tools") or ()) == (body.get("tools") or [])


def check_anthropic(body: Any) -> None:
    kind: Any = message_create_params.MessageCreateParamsNonStreaming
    if body.get("stream"):
        kind = message_create_params.MessageCreateParamsStreaming
    valid = _of_type(kind).validate_python(body)
    for message in valid["messages"]:
        if not isinstance(message["content"], str):
            list(message["content"])
    list(valid.get("tools") or ())


def check_gemini(body: Any) -> None:
    """Its types forbid what they do not know."""
    for content in body["contents"]:
        genai.Content.model_validate(content)
    for tool in body.get("tools", []):
        genai.Tool.model_validate(tool)
    config = {name: value for name, value in body.items() if name not in ("contents", "tools")}
    config |= config.pop("generationConfig", {})
    genai.GenerateContentConfig.model_validate(config)


def check_ollama(body: Any) -> None:
    known = ollama._types.ChatRequest
    assert body.keys() <= known.model_fields.keys()
    known.model_validate(body)
    for message in body["messages"]:
        pictures = [{"value": picture} for picture in message.get("images", [])]
        taken = ollama.Message.model_validate(message | {"images": pictures})
        assert taken.model_dump()["images"] == message.get("images", [])
    for tool in body.get("tools", []):
        ollama.Tool.model_validate(tool)


def check_bedrock(body: Any) -> None:
    shape = _converse()
    report = ParamValidator().validate({"modelId": "m", **_opened(body)}, shape)
    assert not report.has_errors(), report.generate_report()


@cache
def _of_type(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _converse() -> Any:
    given = Loader().load_service_model("bedrock-runtime", "service-2")
    return ServiceModel(given).operation_model("Converse").input_shape


def _opened(value: Any) -> Any:
    """With bytes where the wire has base64."""
    if isinstance(value, list):
        return [_opened(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(entry, validate=True) if name == "bytes" else _opened(entry)
        for name, entry in value.items()
    }


CHECKS = {
    "openai": check_openai,
    "anthropic": check_anthropic,
    "gemini": check_gemini,
    "ollama": check_ollama,
    "bedrock": check_bedrock,
    "llamacpp": check_openai,
}


@every_dialect
@every_kind
@streamed_or_not
def test_the_vendors_own_types_take_what_goes_out(dialect: str, kind: str, stream: bool) -> None:
    outgoing = ADAPTERS[dialect].request(asked(kind, stream), at(dialect))
    CHECKS[dialect](orjson.loads(outgoing.body))


WRONG: dict[str, Any] = {
    "openai": {"model": "m", "messages": [{"role": "nobody", "content": 1}]},
    "anthropic": {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": 1}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"txt": "Hi"}]}]},
    "ollama": {"model": "m", "messages": [{"role": 1}]},
    "bedrock": {"messages": [{"role": "user", "content": [{"txt": "Hi"}]}]},
    "llamacpp": {"model": "m"},
}


@every_dialect
def test_the_vendors_own_types_refuse_what_is_wrong(dialect: str) -> None:
    with pytest.raises((ValueError, AssertionError)):
        CHECKS[dialect](WRONG[dialect])


# What a dialect can't say.

MEMBERS: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logit_bias": {"5": 1},
    "logprobs": True,
    "max_completion_tokens": 9,
    "max_tokens": 9,
    "modalities": ["text", "audio"],
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "seed": 7,
    "service_tier": "flex",
    "stop": ["END"],
    "store": True,
    "temperature": 1.5,
    "tool_choice": "required",
    "tools": [TOOL],
    "top_p": 0.5,
    "verbosity": "low",
    "web_search_options": {},
    "x_unheard_of": 1,
}
"""Every member of OpenAI's chat that asks for something, with a value that is not the usual."""

UNSAYABLE = {
    "anthropic": {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "seed",
        "service_tier", "store", "temperature", "tool_choice", "verbosity", "web_search_options",
        "x_unheard_of",
    },
    "gemini": {
        "audio", "function_call", "functions", "logit_bias", "parallel_tool_calls", "prediction",
        "service_tier", "store", "tool_choice", "verbosity", "web_search_options", "x_unheard_of",
    },
    "ollama": {
        "audio", "function_call", "functions", "logit_bias", "modalities", "n",
        "parallel_tool_calls", "prediction", "service_tier", "store", "tool_choice", "verbosity",
        "web_search_options", "x_unheard_of",
    },
    "bedrock": {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "seed",
        "store", "temperature", "tool_choice", "verbosity", "web_search_options", "x_unheard_of",
    },
}  # fmt: skip
"""Of these. A choice or a limit of calls without any tool means nothing anywhere."""


@pytest.mark.parametrize("dialect", TRANSLATED)
@pytest.mark.parametrize("name", list(MEMBERS))
def test_what_can_not_be_said_is_refused_by_name(dialect: str, name: str) -> None:
    ask = asks.ask(messages=HI, **{name: MEMBERS[name]})
    adapter, target = ADAPTERS[dialect], at(dialect)
    if name not in UNSAYABLE[dialect]:
        assert adapter.request(ask, target).dropped == ()
        return
    with pytest.raises(UpstreamFailure) as refused:
        adapter.request(ask, target)
    failure = refused.value.failure
    assert (failure.status, failure.kind, failure.param) == (400, FailureKind.UNSUPPORTED, name)
    assert failure.retry is Retry.NEXT_TARGET
    assert name in failure.message
    plain = orjson.loads(adapter.request(asks.ask(messages=HI), target).body)
    for allowed in (ask._replace(drop_params=True), ask):
        over = {} if allowed.drop_params else {"drop_params": True}
        outgoing = adapter.request(allowed, at(dialect, **over))
        assert outgoing.dropped == (name,)
        assert orjson.loads(outgoing.body) == plain


@pytest.mark.parametrize("dialect", TRANSLATED)
def test_all_that_can_not_be_said_is_named_at_once(dialect: str) -> None:
    given = {name: MEMBERS[name] for name in UNSAYABLE[dialect]}
    with pytest.raises(UpstreamFailure) as refused:
        ADAPTERS[dialect].request(asks.ask(messages=HI, **given), at(dialect))
    assert all(name in refused.value.failure.message for name in given)
    ask = asks.ask(messages=HI, **given)._replace(drop_params=True)
    dropped = ADAPTERS[dialect].request(ask, at(dialect)).dropped
    assert sorted(dropped) == sorted(given)


@pytest.mark.parametrize("dialect", TRANSLATED)
def test_what_says_nothing_is_left_out_in_silence(dialect: str) -> None:
    usual: dict[str, Any] = {
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "logit_bias": {},
        "store": False,
        "service_tier": "auto",
        "parallel_tool_calls": True,
        "tools": [],
        "seed": None,
        "user": "u",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
    }
    assert ADAPTERS[dialect].request(asks.ask(messages=HI, **usual), at(dialect)).dropped == ()


# A passage changes nothing that it need not.

ODD = (
    b'{ "x_new":{"b":1,\t"a":[1e2,1.0]},"messages":[ {"content":"h\\u00e9","role":"user"} ],'
    b'"model":"%s" ,"zz":null,\n"temperature":1.0,"x":"\\u2028"}'
)


@pytest.mark.parametrize("dialect", PASSAGES)
def test_a_passage_keeps_a_requests_bytes(dialect: str) -> None:
    model = MODELS[dialect].encode()
    same_model = asks.ask(raw=ODD % model)
    assert ADAPTERS[dialect].request(same_model, at(dialect)).body is same_model.raw
    body = ADAPTERS[dialect].request(asks.ask(raw=ODD % b"alias"), at(dialect)).body
    for kept in (
        b'"x_new":{"b":1,\t"a":[1e2,1.0]}',
        b'"messages":[ {"content":"h\\u00e9","role":"user"} ]',
        b'"zz":null',
        b'"temperature":1.0',
        b'"x":"\\u2028"',
    ):
        assert kept in body
    assert list(orjson.loads(body)) == ["x_new", "messages", "model", "zz", "temperature", "x"]
    assert orjson.loads(body) == orjson.loads(ODD % model)


@pytest.mark.parametrize("dialect", PASSAGES)
def test_a_passage_keeps_a_replys_bytes(dialect: str) -> None:
    raw = (
        b'{ "x":1,"choices":[{"index":0,"logprobs":null,"finish_reason":"stop","y":{"z":1.0},'
        b'"message":{"role":"assistant","refusal":null,"content":"h\\u00e9","reasoning":"r"}}],'
        b'"id":"i","object":"chat.completion","created":1,"model":"m"}'
    )
    assert ADAPTERS[dialect].reply(asks.ask(), raw).body is raw


@pytest.mark.parametrize("dialect", PASSAGES)
def test_a_passage_keeps_what_it_has_to_complete(dialect: str) -> None:
    raw = {"x": 1, "choices": [{"message": {"content": "a", "y": [1]}, "z": 2}], "usage": {"w": 3}}
    body = orjson.loads(ADAPTERS[dialect].reply(asks.ask(), orjson.dumps(raw)).body)
    assert body == {
        "x": 1,
        "choices": [
            {"message": {"content": "a", "y": [1], "refusal": None}, "z": 2, "logprobs": None}
        ],
        "usage": {"w": 3},
    }


@pytest.mark.parametrize("dialect", PASSAGES)
def test_a_passage_keeps_its_events_bytes(dialect: str) -> None:
    head = b'data: {"id":"i","object":"chat.completion.chunk","created":1,"model":"m","x":1.0,'
    events = [
        head + b'"choices":[{"index":0,"delta":{"content":"h\\u00e9","y":[1]},"z":{}}]}\n\n',
        head + b'"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n',
        head + b'"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null}]}\n\n',
        b'data: {"object":"a.new.one", "w":1}\n\n',
        head + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    ask = asks.ask(stream=True)
    assert play(ADAPTERS[dialect], ask, [b"".join(events)]) == b"".join(events)
    assert play(ADAPTERS[dialect], ask, events) == b"".join(events)


# Secrets.


@every_dialect
@streamed_or_not
@pytest.mark.parametrize("auth", [a for a in Auth if a is not Auth.SIGV4])
def test_a_key_is_in_its_header_and_nowhere_else(dialect: str, stream: bool, auth: Auth) -> None:
    target = Target(
        provider="up",
        model=MODELS[dialect],
        dialect=dialect,
        base_url=asks.UPSTREAM,
        api_key=SecretStr("sk-canary"),
        auth=auth,
    )
    ask = asked("text", stream)
    outgoing = ADAPTERS[dialect].request(ask, target)
    assert holding(outgoing.headers) == {
        auth.value: ("Bearer " * (auth is Auth.BEARER)) + "sk-canary"
    }
    assert "sk-canary" not in outgoing.url
    assert b"sk-canary" not in outgoing.body
    assert "sk-canary" not in repr(target)
    assert "sk-canary" not in repr(ADAPTERS[dialect].request(ask, signed(target)))


def signed(target: Target) -> Target:
    return Target(
        provider="up",
        model=target.model,
        dialect=target.dialect,
        base_url=target.base_url,
        api_key=target.api_key,
        auth=Auth.SIGV4,
    )


def holding(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "sk-canary" in value}


@every_dialect
def test_what_comes_of_a_request(dialect: str) -> None:
    outgoing = ADAPTERS[dialect].request(asked("text"), at(dialect))
    assert isinstance(outgoing, Outgoing)
    assert isinstance(outgoing.body, bytes)
    assert outgoing.url.startswith(asks.UPSTREAM)
    assert outgoing.headers["content-type"] == "application/json"
    assert all(name == name.lower() for name in outgoing.headers)
