"""Gemini's answers and streams, by those recorded and by what Google's own SDK reads in them."""

import itertools
import json
import re
from typing import Any
from unittest import mock

import openai.types.chat as openai_chat
import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import completion
from adapters.base import FailureKind, Retry, UpstreamFailure, Usage
from adapters.gemini import Gemini
from adapters.gemini_stream import Events, GeminiStream
from tests.adapters.asks import ask, no_cost
from tests.recordings import Recording, of_path

CALLS = of_path(":generateContent", ":streamGenerateContent")
WHOLE = [found for found in CALLS if not found.is_stream]
STREAMS = [found for found in CALLS if found.is_stream]

FINISHES = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""Of those that were recorded; STOP after calls is `tool_calls`."""


def answered(body: Any, **asked: Any) -> Any:
    return orjson.loads(Gemini().reply(ask(**asked), orjson.dumps(body)).body)


def by_id(found: Recording) -> str:
    return found.id


def recording(name: str) -> Recording:
    return next(found for found in CALLS if found.id == "google/" + name)


# Answers, against the SDK.


def by_sdk(payload: Any) -> types.GenerateContentResponse:
    return types.GenerateContentResponse.model_validate(payload, extra="ignore")


def read_by_sdk(responses: list[types.GenerateContentResponse]) -> dict[str, Any]:
    """Text, thoughts, calls, finish reason and usage of an answer's only candidate."""
    read: dict[str, Any] = {"text": "", "thoughts": "", "calls": [], "finish": None, "usage": None}
    for response in responses:
        for candidate in response.candidates or []:
            for part in (candidate.content and candidate.content.parts) or []:
                read["thoughts" if part.thought else "text"] += part.text or ""
                if part.function_call:
                    read["calls"].append((part.function_call.name, part.function_call.args or {}))
            if candidate.finish_reason:
                read["finish"] = FINISHES[candidate.finish_reason.value]
        if response.prompt_feedback and response.prompt_feedback.block_reason:
            read["finish"] = "content_filter"
        counted = response.usage_metadata
        if counted and counted.prompt_token_count:
            read["usage"] = {
                "total": counted.total_token_count,
                "output": (counted.candidates_token_count or 0)
                + (counted.thoughts_token_count or 0),
                "cached": counted.cached_content_token_count or 0,
                "reasoning": counted.thoughts_token_count or 0,
            }
    if read["calls"] and read["finish"] == "stop":
        read["finish"] = "tool_calls"
    return read


def counts(usage: Usage | None) -> Any:
    if usage is None:
        return None
    return {
        "total": usage.total,
        "output": usage.completion,
        "cached": usage.cached,
        "reasoning": usage.reasoning,
    }


def read_message(message: Any, finish: str, usage: Usage | None) -> dict[str, Any]:
    return {
        "text": message.get("content") or "",
        "thoughts": message.get("reasoning_content") or "",
        "calls": [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ],
        "finish": finish,
        "usage": counts(usage),
    }


@pytest.mark.parametrize("found", WHOLE, ids=by_id)
def test_a_recorded_answer_says_what_the_sdk_reads_in_it(found: Recording) -> None:
    reply = Gemini().reply(ask(), found.reply)
    body = orjson.loads(reply.body)
    openai_chat.ChatCompletion.model_validate(body, strict=True)
    choice = body["choices"][0]
    read = read_message(choice["message"], choice["finish_reason"], reply.usage)
    raw = json.loads(found.reply)
    assert read == read_by_sdk([by_sdk(raw)])
    assert body["model"] == raw["modelVersion"]
    assert body["id"] == raw.get("responseId", body["id"])


def payloads_of(stream: bytes) -> list[Any]:
    """The test's own reading of server-sent events of one line each."""
    return [
        json.loads(line) for line in re.findall(r"^data: (.*?)\r?$", stream.decode(), re.MULTILINE)
    ]


def streamed(pieces: list[bytes], **body: Any) -> tuple[bytes, Any]:
    """What a stream becomes, with ids and times that are the same each time."""
    numbers = itertools.count()
    with (
        mock.patch.object(completion.secrets, "token_hex", side_effect=map(str, numbers)),
        mock.patch.object(completion.time, "time", return_value=1.0),
    ):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        stream = Gemini().stream(ask(**(options | body)), no_cost)
        out = b"".join(map(stream.feed, pieces))
        return out + stream.finish(), stream


def folded(out: bytes) -> dict[int, dict[str, Any]]:
    """The messages that a client makes of chunks, by choice."""
    lines = out.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    choices: dict[int, dict[str, Any]] = {}
    for line in lines[:-2]:
        chunk = json.loads(line.removeprefix("data: "))
        openai_chat.ChatCompletionChunk.model_validate(chunk, strict=True)
        for choice in chunk["choices"]:
            index, delta = choice["index"], choice["delta"]
            held = choices.setdefault(index, {"tool_calls": [], "finish": None})
            assert held["finish"] is None, "nothing comes after a finish reason"
            held["finish"] = choice["finish_reason"]
            for name in ("content", "reasoning_content", "refusal"):
                held[name] = held.get(name, "") + (delta.get(name) or "")
            held["tool_calls"] += delta.get("tool_calls") or []
            if "extra_content" in delta:
                held["extra_content"] = delta["extra_content"]
    return choices


@pytest.mark.parametrize("found", STREAMS, ids=by_id)
def test_a_recorded_stream_says_what_the_sdk_reads_in_it(found: Recording) -> None:
    out, stream = streamed([found.reply])
    message = folded(out)[0]
    assert [call["index"] for call in message["tool_calls"]] == [*range(len(message["tool_calls"]))]
    read = read_message(message, message["finish"], stream.usage)
    assert read == read_by_sdk([by_sdk(payload) for payload in payloads_of(found.reply)])
    assert stream.skipped == 0
    assert stream.done


@pytest.mark.parametrize("found", STREAMS, ids=by_id)
def test_a_stream_is_the_same_byte_by_byte(found: Recording) -> None:
    bytewise, _ = streamed([found.reply[i : i + 1] for i in range(len(found.reply))])
    assert bytewise == streamed([found.reply])[0]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STREAMS), st.data())
def test_a_stream_is_the_same_however_it_is_split(found: Recording, data: st.DataObject) -> None:
    cut = st.integers(0, len(found.reply))
    cuts = sorted(data.draw(st.lists(cut, max_size=8)))
    edges = [0, *cuts, len(found.reply)]
    pieces = [found.reply[a:b] for a, b in itertools.pairwise(edges)]
    assert streamed(pieces)[0] == streamed([found.reply])[0]


@pytest.mark.parametrize("found", STREAMS, ids=by_id)
def test_a_stream_cut_before_its_last_event_is_no_answer(found: Recording) -> None:
    last = found.reply.rstrip().rindex(b"data: ")
    with pytest.raises(UpstreamFailure) as caught:
        streamed([found.reply[:last]])
    assert caught.value.failure.kind is FailureKind.INTERRUPTED


def test_there_are_recordings_of_both() -> None:
    assert (len(WHOLE), len(STREAMS)) == (96, 13)


# Answers, spelt out.


def candidate(*parts: Any, reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    finish = {"finishReason": reason} if reason else {}
    return {"content": {"role": "model", "parts": list(parts)}, **finish, **more}


def of_stream(*payloads: Any, **body: Any) -> tuple[bytes, Any]:
    data = b"".join(b"data: %b\r\n\r\n" % orjson.dumps(payload) for payload in payloads)
    return streamed([data], **body)


@pytest.mark.parametrize(
    ("reason", "plain", "calling"),
    [
        ("STOP", "stop", "tool_calls"),
        ("MAX_TOKENS", "length", "length"),
        *(
            (reason, "content_filter", "content_filter")
            for reason in (
                "SAFETY",
                "RECITATION",
                "LANGUAGE",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
                "MODEL_ARMOR",
                "IMAGE_SAFETY",
                "IMAGE_PROHIBITED_CONTENT",
                "IMAGE_RECITATION",
            )
        ),
        ("MALFORMED_FUNCTION_CALL", "stop", "tool_calls"),
        ("OF_TOMORROW", "stop", "tool_calls"),
    ],
)
def test_finish_reasons(reason: str, plain: str, calling: str) -> None:
    call = {"functionCall": {"name": "f"}}
    for part, finish in (({"text": "x"}, plain), (call, calling)):
        body = {"candidates": [candidate(part, reason=reason)]}
        assert answered(body)["choices"][0]["finish_reason"] == finish
        assert folded(of_stream(body)[0])[0]["finish"] == finish


def test_a_call_without_id_and_arguments() -> None:
    calls = [{"functionCall": {"name": "f"}}, {"functionCall": {"id": "own", "name": "g"}}]
    body = {"candidates": [candidate(*calls)]}
    whole = answered(body)["choices"][0]["message"]["tool_calls"]
    chunked = folded(of_stream(body)[0])[0]["tool_calls"]
    for made, own in (whole, chunked):
        assert re.fullmatch(r"call_tn_\w+", made["id"])
        assert own["id"] == "own"
        assert made["function"] == {"name": "f", "arguments": "{}"}


def test_several_candidates() -> None:
    both = [candidate({"text": "a"}, index=0), candidate({"text": "b"}, index=1)]
    choices = answered({"candidates": both})["choices"]
    assert [(c["index"], c["message"]["content"]) for c in choices] == [(0, "a"), (1, "b")]
    out, _ = of_stream({"candidates": both[1:]}, {"candidates": both[:1]})
    assert {index: held["content"] for index, held in folded(out).items()} == {0: "a", 1: "b"}


def test_a_candidate_without_its_reason_was_cut_short() -> None:
    both = [candidate({"text": "a"}, index=0), candidate({"text": "b"}, reason=None, index=1)]
    with pytest.raises(UpstreamFailure) as caught:
        of_stream({"candidates": both})
    assert caught.value.failure.kind is FailureKind.INTERRUPTED


def test_a_blocked_prompt_is_one_refused_choice() -> None:
    found = recording("google_model_armor_prompt_template_text_gets_blocked#0")
    said = "The prompt violated Prompt Injection and Jailbreak filters."
    choice = orjson.loads(Gemini().reply(ask(), found.reply).body)["choices"]
    assert [(c["finish_reason"], c["message"]["refusal"]) for c in choice] == [
        ("content_filter", said)
    ]
    assert choice[0]["message"]["content"] is None
    held = folded(of_stream(json.loads(found.reply))[0])[0]
    assert (held["finish"], held["refusal"], held["content"]) == ("content_filter", said, "")
    counted = {"promptTokenCount": 4, "totalTokenCount": 4}
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": counted}
    reply = Gemini().reply(ask(), orjson.dumps(body))
    assert reply.usage == Usage(prompt=4)
    refusal = orjson.loads(reply.body)["choices"][0]["message"]["refusal"]
    assert refusal == "The prompt was blocked: SAFETY."


def test_a_withheld_answer_says_why() -> None:
    found = recording("google_model_armor_response_template_real_block#0")
    said = json.loads(found.reply)["candidates"][0]["finishMessage"]
    message = orjson.loads(Gemini().reply(ask(), found.reply).body)["choices"][0]["message"]
    assert message["refusal"] == said
    assert folded(of_stream(json.loads(found.reply))[0])[0]["refusal"] == said


def test_logprobs_are_those_that_the_sdk_reads() -> None:
    found = recording("google_vertex_logprobs#0")
    result = by_sdk(json.loads(found.reply)).candidates[0].logprobs_result  # type: ignore[index]
    logprobs = orjson.loads(Gemini().reply(ask(), found.reply).body)["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    read = [(t["token"], t["logprob"], len(t["top_logprobs"])) for t in logprobs["content"]]
    assert read == [(t.token, t.log_probability, 5) for t in result.chosen_candidates]
    for entry, tops in zip(logprobs["content"], result.top_candidates, strict=True):
        assert bytes(entry["bytes"]).decode() == entry["token"]
        assert [t["token"] for t in entry["top_logprobs"]] == [t.token for t in tops.candidates]


@pytest.mark.parametrize(
    ("counted", "usage"),
    [
        ({"promptTokenCount": 9, "totalTokenCount": 9}, Usage(prompt=9)),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 5,
                "candidatesTokenCount": 3,
                "thoughtsTokenCount": 4,
                "cachedContentTokenCount": 8,
                "totalTokenCount": 22,
            },
            Usage(prompt=15, completion=7, cached=8, reasoning=4),
        ),
        (
            {"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 4},
            Usage(prompt=10, completion=7, reasoning=4),
        ),
        (  # the candidates were left out, and billed
            {"promptTokenCount": 10, "thoughtsTokenCount": 4, "totalTokenCount": 20},
            Usage(prompt=10, completion=10, reasoning=4),
        ),
        (  # a total that counts less is not believed
            {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 3},
            Usage(prompt=10, completion=3),
        ),
        ({"trafficType": "ON_DEMAND"}, None),
    ],
)
def test_usage(counted: Any, usage: Usage | None) -> None:
    body = {"candidates": [candidate({"text": "x"})], "usageMetadata": counted}
    assert Gemini().reply(ask(), orjson.dumps(body)).usage == usage
    assert of_stream(body)[1].usage == usage


def test_later_counts_of_a_stream_replace_earlier_ones() -> None:
    first = {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6}
    last = {"promptTokenCount": 5, "candidatesTokenCount": 9, "totalTokenCount": 14}
    out, stream = of_stream(
        {"candidates": [candidate({"text": "a"}, reason=None)], "usageMetadata": first},
        {"candidates": [candidate({"text": "b"})], "usageMetadata": last},
        {"usageMetadata": {"trafficType": "ON_DEMAND"}},
    )
    assert stream.usage == Usage(prompt=5, completion=9)
    counted = json.loads(out.split(b"\n\n")[-3].removeprefix(b"data: "))["usage"]
    assert counted["total_tokens"] == 14


@pytest.mark.parametrize(
    "body", [{}, {"candidates": []}, {"usageMetadata": {"promptTokenCount": 3}}, [], "x"]
)
def test_an_answer_without_candidates_is_none(body: Any) -> None:
    with pytest.raises(UpstreamFailure) as caught:
        Gemini().reply(ask(), orjson.dumps(body))
    assert caught.value.failure.kind is FailureKind.INVALID_REPLY


def test_odd_events_are_counted_and_passed_over() -> None:
    good = {"candidates": [candidate({"text": "a"}, {"executableCode": {"code": "1"}}, "odd")]}
    out, stream = of_stream(7, {"candidates": "none"}, good)
    assert stream.skipped == 2
    assert folded(out)[0]["content"] == "a"


def test_a_stream_may_be_a_json_array() -> None:
    found = recording("google_model_thinking_part_iter#0")
    whole = orjson.dumps(payloads_of(found.reply))
    as_events = streamed([found.reply])[0]
    assert streamed([b"\r\n", *(whole[i : i + 7] for i in range(0, len(whole), 7))])[0] == as_events


# Errors. The bodies are those that Google documents or that its users report.

NO_KEY = {
    "code": 400,
    "message": "API key not valid. Please pass a valid API key.",
    "status": "INVALID_ARGUMENT",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }
    ],
}


def exhausted(quota: str, *more: Any) -> dict[str, Any]:
    return {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": quota, "quotaValue": "250"}],
            },
            *more,
        ],
    }


DELAY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13s"}
TOO_LONG = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
ERRORS = [
    (NO_KEY, FailureKind.AUTH, Retry.NEXT_TARGET, None),
    (
        exhausted("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", DELAY),
        FailureKind.RATE_LIMIT,
        Retry.SAME_TARGET,
        13.0,
    ),
    (
        exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier", DELAY),
        FailureKind.QUOTA,
        Retry.NEXT_TARGET,
        13.0,
    ),
    (exhausted("Monthly"), FailureKind.QUOTA, Retry.NEXT_TARGET, None),
    (
        {"code": 400, "message": TOO_LONG, "status": "INVALID_ARGUMENT"},
        FailureKind.CONTEXT_LENGTH,
        Retry.NEVER,
        None,
    ),
    (
        {"code": 400, "message": "Invalid value at 'contents'", "status": "INVALID_ARGUMENT"},
        FailureKind.INVALID_REQUEST,
        Retry.NEVER,
        None,
    ),
    (
        {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"},
        FailureKind.NOT_FOUND,
        Retry.NEXT_TARGET,
        None,
    ),
    (
        {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"},
        FailureKind.OVERLOADED,
        Retry.SAME_TARGET,
        None,
    ),
]


@pytest.mark.parametrize(("error", "kind", "retry", "wait"), ERRORS)
@pytest.mark.parametrize("listed", [False, True])
def test_errors(error: Any, kind: FailureKind, retry: Retry, wait: Any, listed: bool) -> None:
    body = orjson.dumps([{"error": error}] if listed else {"error": error})
    failure = Gemini().failure(error["code"], {}, body)
    assert (failure.kind, failure.retry, failure.retry_after) == (kind, retry, wait)
    assert (failure.message, failure.type) == (error["message"], error["status"])
    for data in (body, b"data: " + body + b"\r\n\r\n"):
        _, stream = streamed([data])
        assert stream.failure == failure
        assert not stream.done
    if not listed:
        with pytest.raises(UpstreamFailure) as caught:
            Gemini().reply(ask(), body)
        assert caught.value.failure == failure


def test_a_wait_in_the_headers_goes_before_that_in_the_body() -> None:
    body = orjson.dumps({"error": exhausted("PerMinute", DELAY)})
    assert Gemini().failure(429, {"retry-after": "2"}, body).retry_after == 2.0


@pytest.mark.parametrize("body", [b"<html>gone</html>", b'{"error": "gone"}', b""])
def test_errors_of_another_shape(body: bytes) -> None:
    failure = Gemini().failure(502, {}, body)
    assert failure.kind is FailureKind.SERVER
    assert ("gone" in failure.message) == (b"gone" in body)


def test_an_error_after_words_ends_the_stream_without_an_end() -> None:
    words = {"candidates": [candidate({"text": "a"}, reason=None)]}
    out, stream = of_stream(words, {"error": {"code": 500, "message": "x", "status": "INTERNAL"}})
    assert b'"content":"a"' in out
    assert b"[DONE]" not in out
    assert stream.failure.kind is FailureKind.SERVER


def test_a_json_body_past_the_limit_is_too_large() -> None:
    stream = GeminiStream(ask(stream=True), no_cost, Events(limit=10))
    assert stream.feed(b'[{"candidates": []}]') == b""
    assert stream.failure.kind is FailureKind.EVENT_TOO_LARGE  # type: ignore[union-attr]
