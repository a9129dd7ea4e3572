"""Every recorded call of an OpenAI-shaped host, against what the vendor's own SDK reads in it."""

import copy
import json
from typing import Any

import httpx2
import openai
import orjson
import pytest
from mistralai.client import models as mistral
from mistralai.client.utils.eventstreaming import EventStream
from openai import Stream
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from adapters.base import Ask, Endpoint, FailureKind, Retry, UpstreamFailure, Usage
from adapters.openai import OpenAI
from proxy.presets import PRESETS
from tests.adapters import heard
from tests.adapters.asks import ask, no_cost, target
from tests.adapters.heard import Answer, Heard
from tests.recordings import Recording, of_path

ADAPTER = OpenAI()
CHATS = of_path("/chat/completions")
RESPONSES = of_path("/responses")

NO_ANSWERS = {
    "openai/invalid_response#0": "an echo service: JSON, but not of a chat",
    "openai/text_response#0": "an echo service: text/plain",
}
"""Recordings whose 200 is no chat completion, and why."""

REFUSED = {
    "openai/openai_o1_mini_system_role[developer]#0": (
        "Unsupported value: 'messages[0].role' does not support 'developer' with this model.",
        "invalid_request_error",
        "messages[0].role",
        "unsupported_value",
    ),
    "openai/openai_o1_mini_system_role[system]#0": (
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "invalid_request_error",
        "messages[0].role",
        "unsupported_value",
    ),
    "openai/openai_web_search_tool_model_not_supported#0": (
        "Web search options not supported with this model.",
        "invalid_request_error",
        "web_search_options",
        None,
    ),
}
"""The 400s: message, type, param and code."""


def named(recordings: list[Recording]) -> Any:
    return pytest.mark.parametrize("recording", recordings, ids=lambda found: found.id)


WHOLE = [r for r in CHATS if r.status == 200 and not r.is_stream and r.id not in NO_ANSWERS]
STREAMS = [r for r in CHATS if r.is_stream]
MISTRALS = [r for r in CHATS if r.vendor == "mistral"]


def written(request: dict[str, Any]) -> tuple[bytes, dict[str, bytes]]:
    """A request as no encoder of ours would write it, and each member's bytes."""
    members = {
        name: f'"{name}" :  {json.dumps(value, indent=1)}'.encode()
        for name, value in request.items()
    }
    return b"{\r\n  " + b" ,\n\t".join(members.values()) + b"  }", members


def asked(recording: Recording, **over: Any) -> Ask:
    return ask(raw=orjson.dumps(recording.request | over))


def wanting_usage(recording: Recording) -> Ask:
    return asked(recording, stream=True, stream_options={"include_usage": True})


class TestAll:
    def test_every_recording_is_in_one_list(self) -> None:
        lists = [
            {r.id for r in WHOLE},
            {r.id for r in STREAMS},
            set(NO_ANSWERS),
            set(REFUSED),
        ]
        assert set().union(*lists) == {r.id for r in CHATS}
        assert sum(map(len, lists)) == len(CHATS) == 76
        assert len(RESPONSES) == 13


# Oracles: the vendors' own readers.


def of_openai(parsed: ChatCompletion) -> Answer:
    """What OpenAI's SDK makes of a body, as leniently as it does."""
    choices = []
    for choice in parsed.choices:
        said = choice.message
        calls = [
            (call.function.name, json.loads(call.function.arguments))
            for call in said.tool_calls or []
        ]
        thought = getattr(said, "reasoning_content", None)
        refusal = getattr(said, "refusal", None)
        text = getattr(said, "content", None)
        choices.append(Heard(text or "", thought or "", calls, choice.finish_reason, refusal or ""))
    usage = parsed.usage
    if usage is None:
        return Answer(choices, None)
    read = getattr(usage, "prompt_tokens_details", None)
    made = getattr(usage, "completion_tokens_details", None)
    counted = (
        usage.prompt_tokens,
        usage.completion_tokens,
        (read and getattr(read, "cached_tokens", 0)) or 0,
        (made and getattr(made, "reasoning_tokens", 0)) or 0,
    )
    return Answer(choices, counted)


def mistral_parts(content: Any) -> tuple[str, str]:
    """Text and thought of a content that Mistral's SDK has read."""
    if not isinstance(content, list):
        return (content, "") if isinstance(content, str) else ("", "")
    text = thought = ""
    for part in content:
        if isinstance(part, mistral.TextChunk):
            text += part.text
        else:
            assert isinstance(part, mistral.ThinkChunk)
            for piece in part.thinking:
                assert isinstance(piece, mistral.TextChunk)
                thought += piece.text
    return text, thought


def mistral_usage(usage: Any) -> tuple[int, int, int, int]:
    details = (usage.additional_properties or {}).get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or 0
    return usage.prompt_tokens, usage.completion_tokens, cached, 0


def of_mistral(parsed: mistral.ChatCompletionResponse) -> Answer:
    choices = []
    for choice in parsed.choices:
        text, thought = mistral_parts(choice.message.content)
        assert not choice.message.tool_calls
        choices.append(Heard(text, thought, [], choice.finish_reason))
    return Answer(choices, mistral_usage(parsed.usage))


def read_by_the_vendor(recording: Recording) -> Answer:
    if recording.vendor == "mistral":
        return of_mistral(mistral.ChatCompletionResponse.model_validate_json(recording.reply))
    return of_openai(ChatCompletion.construct(**orjson.loads(recording.reply)))


def stream_of_openai(raw: bytes) -> Answer:
    state = ChatCompletionStreamState()
    client = openai.OpenAI(api_key="none")
    response = httpx2.Response(200, content=raw, request=httpx2.Request("POST", "http://up.test"))
    stream: Stream[Any] = Stream(cast_to=ChatCompletionChunk, response=response, client=client)
    usage = None
    for chunk in stream:
        state.handle_chunk(chunk)
        usage = chunk.usage or usage
    whole = state.get_final_completion()
    whole.usage = usage  # its state forgets it when a chunk of moderation follows
    return of_openai(whole)


def stream_of_mistral(raw: bytes) -> Answer:
    one = Heard()
    usage = None
    response = httpx2.Response(200, content=raw)
    events: EventStream[mistral.CompletionEvent] = EventStream(
        response, mistral.CompletionEvent.model_validate_json, sentinel="[DONE]"
    )
    for event in events:
        (choice,) = event.data.choices
        text, thought = mistral_parts(choice.delta.content)
        one.text += text
        one.reasoning += thought
        one.finish = choice.finish_reason or one.finish
        usage = event.data.usage or usage
    return Answer([one], mistral_usage(usage))


def counted(usage: Usage | None) -> tuple[int, int, int, int] | None:
    return usage and (usage.prompt, usage.completion, usage.cached, usage.reasoning)


class TestRequests:
    @named(CHATS)
    def test_only_the_model_and_the_usage_option_change(self, recording: Recording) -> None:
        raw, members = written(recording.request)
        out = ADAPTER.request(ask(raw=raw), target("another/model"))
        sent = orjson.loads(out.body)
        streamed = recording.request.get("stream")
        options = {"stream_options": {"include_usage": True}} if streamed else {}
        assert sent == recording.request | {"model": "another/model"} | options
        for name, member in members.items():
            if name not in ("model", "stream_options"):
                assert member in out.body
        assert out.dropped == ()

    @named([*CHATS, *RESPONSES])
    def test_with_nothing_to_change_the_same_bytes_go_out(self, recording: Recording) -> None:
        raw, _ = written(recording.request)
        endpoint = Endpoint.RESPONSES if recording in RESPONSES else Endpoint.CHAT
        an_ask = ask(endpoint, raw=raw)
        out = ADAPTER.request(an_ask, target(recording.request["model"]))
        if an_ask.stream and not an_ask.wants_usage and endpoint is Endpoint.CHAT:
            assert out.body.startswith(raw.removesuffix(b"  }"))
            added = {"stream_options": {"include_usage": True}}
            assert orjson.loads(out.body) == recording.request | added
        else:
            assert out.body == raw
        assert out.url == "http://up.test/v1" + endpoint

    @named(MISTRALS)
    def test_what_mistrals_own_client_sends_is_not_refused(self, recording: Recording) -> None:
        vendor = PRESETS["mistral"]
        model = recording.request["model"]
        to = target(model, quirks=vendor.quirks, takes_stream_options=False)
        out = ADAPTER.request(asked(recording), to)
        assert orjson.loads(out.body) == recording.request
        assert out.dropped == ()


class TestWholeAnswers:
    @named(WHOLE)
    def test_is_heard_as_the_vendors_sdk_reads_it(self, recording: Recording) -> None:
        reply = ADAPTER.reply(asked(recording), recording.reply)
        expected = read_by_the_vendor(recording)
        assert heard.of_body(reply.body) == expected
        assert counted(reply.usage) == expected.usage
        assert expected.usage is not None
        assert expected.choices[0].text or expected.choices[0].calls

    @named([r for r in WHOLE if r.vendor != "mistral"])
    def test_nothing_is_lost_and_only_nulls_are_added(self, recording: Recording) -> None:
        given = orjson.loads(recording.reply)
        expected = copy.deepcopy(given)
        for choice in expected["choices"]:
            choice.setdefault("logprobs", None)
            choice["message"].setdefault("refusal", None)
        reply = ADAPTER.reply(asked(recording), recording.reply)
        assert orjson.loads(reply.body) == expected
        if expected == given:
            assert reply.body is recording.reply

    @named([r for r in WHOLE if r.vendor == "mistral"])
    def test_of_mistral_only_its_parts_change(self, recording: Recording) -> None:
        given = orjson.loads(recording.reply)
        sent = orjson.loads(ADAPTER.reply(asked(recording), recording.reply).body)
        for body in (given, sent):
            for choice in body["choices"]:
                for name in ("content", "reasoning_content", "refusal"):
                    choice["message"].pop(name, None)
        for choice in given["choices"]:
            choice["logprobs"] = None
        assert sent == given

    @pytest.mark.parametrize("name", NO_ANSWERS)
    def test_what_is_no_answer_is_a_failure(self, name: str) -> None:
        (recording,) = (r for r in CHATS if r.id == name)
        with pytest.raises(UpstreamFailure) as caught:
            ADAPTER.reply(asked(recording), recording.reply)
        assert caught.value.failure.kind is FailureKind.INVALID_REPLY

    @pytest.mark.parametrize("name", REFUSED)
    def test_an_error_keeps_the_vendors_words(self, name: str) -> None:
        (recording,) = (r for r in CHATS if r.id == name)
        failure = ADAPTER.failure(recording.status, {}, recording.reply)
        words = (failure.message, failure.type, failure.param, failure.code)
        assert words == REFUSED[name]
        assert (failure.status, failure.retry) == (400, Retry.NEVER)
        assert failure.kind is FailureKind.INVALID_REQUEST

    def test_thought_in_parts_was_among_them(self) -> None:
        (recording,) = (r for r in WHOLE if r.id == "mistral/mistral_model_thinking_part#1")
        answer = heard.of_body(ADAPTER.reply(asked(recording), recording.reply).body)
        assert answer.choices[0].reasoning.startswith("**Analogizing crossing a river**")
        assert answer.choices[0].text
        assert "Analogizing" not in answer.choices[0].text


class TestStreams:
    @named(STREAMS)
    def test_is_heard_as_the_vendors_sdk_reads_it(self, recording: Recording) -> None:
        read = stream_of_mistral if recording.vendor == "mistral" else stream_of_openai
        expected = read(recording.reply)
        out = heard.play(ADAPTER, wanting_usage(recording), [recording.reply])
        assert heard.of_stream(out) == expected
        assert expected.usage is not None
        (choice,) = expected.choices
        assert choice.finish in ("stop", "tool_calls")
        assert choice.text or choice.calls

    @named(STREAMS)
    @pytest.mark.parametrize("wants", [False, True])
    def test_any_split_gives_the_same_bytes(self, recording: Recording, wants: bool) -> None:
        an_ask = wanting_usage(recording) if wants else asked(recording, stream_options=None)
        raw = recording.reply
        splits = [[raw], heard.bytewise(raw), *(heard.cut(raw, seed) for seed in range(20))]
        assert heard.same([heard.play(ADAPTER, an_ask, pieces) for pieces in splits])

    @named(STREAMS)
    def test_carriage_returns_and_comments_change_nothing(self, recording: Recording) -> None:
        an_ask = wanting_usage(recording)
        raw = recording.reply
        odd = b"\xef\xbb\xbf: hello\n\n" + raw.replace(b"\n\n", b"\n\n: ping\n\n")
        splits = [[raw], [odd], [odd.replace(b"\n", b"\r\n")], heard.cut(odd, 1)]
        assert heard.same([heard.play(ADAPTER, an_ask, pieces) for pieces in splits])

    @named([r for r in STREAMS if r.vendor != "mistral"])
    def test_events_pass_as_they_were_sent(self, recording: Recording) -> None:
        """All of them, save the usage chunk, which goes last before the end."""
        given = recording.reply.split(b"\n\n")
        usage = [e for e in given if b'"choices":[],"usage":{' in e]
        assert len(usage) == 1
        others = [e for e in given if e not in usage]
        out = heard.play(ADAPTER, wanting_usage(recording), [recording.reply])
        *head, done, last = others
        assert (done, last) == (b"data: [DONE]", b"")
        *sent, end, done, last = out.split(b"\n\n")
        assert (done, last) == (b"data: [DONE]", b"")
        assert sent == head
        assert orjson.loads(end.removeprefix(b"data: ")) == orjson.loads(
            usage[0].removeprefix(b"data: ")
        )
        unasked = heard.play(ADAPTER, asked(recording, stream_options=None), [recording.reply])
        assert unasked.split(b"\n\n") == others

    @named(STREAMS)
    def test_cut_short_it_is_no_end(self, recording: Recording) -> None:
        payloads = recording.reply.split(b"\n\n")
        finish = next(i for i, e in enumerate(payloads) if b'"finish_reason":"' in e)
        for kept in range(finish):
            translator = ADAPTER.stream(asked(recording), no_cost)
            translator.feed(b"\n\n".join(payloads[:kept]) + b"\n\n")
            with pytest.raises(UpstreamFailure) as caught:
                translator.finish()
            assert caught.value.failure.kind is FailureKind.INTERRUPTED

    def test_mistrals_thought_is_told_from_its_text(self) -> None:
        (recording,) = (r for r in STREAMS if r.vendor == "mistral")
        out = heard.play(ADAPTER, asked(recording), [recording.reply])
        (choice,) = heard.of_stream(out).choices
        assert choice.reasoning.startswith("Okay, the user")
        assert choice.text
        assert b'"type":"thinking"' not in out


def response_usage(usage: Any) -> Usage:
    return Usage(
        prompt=usage.input_tokens,
        completion=usage.output_tokens,
        cached=usage.input_tokens_details.cached_tokens,
        reasoning=usage.output_tokens_details.reasoning_tokens,
    )


def lines(raw: bytes) -> list[bytes]:
    return [line for line in raw.split(b"\n") if line.startswith((b"event:", b"data:"))]


class TestResponses:
    @named([r for r in RESPONSES if not r.is_stream])
    def test_a_whole_answer_passes_untouched(self, recording: Recording) -> None:
        an_ask = ask(Endpoint.RESPONSES, raw=orjson.dumps(recording.request))
        reply = ADAPTER.reply(an_ask, recording.reply)
        assert reply.body is recording.reply
        expected = Response.construct(**orjson.loads(recording.reply))
        assert reply.usage == response_usage(expected.usage)
        assert reply.usage.prompt > 0 < reply.usage.completion

    def test_a_stream_passes_under_every_split(self) -> None:
        (recording,) = (r for r in RESPONSES if r.is_stream)
        an_ask = ask(Endpoint.RESPONSES, raw=orjson.dumps(recording.request))
        raw = recording.reply
        splits = [[raw], heard.bytewise(raw), *(heard.cut(raw, seed) for seed in range(30))]
        outputs = [heard.play(ADAPTER, an_ask, pieces) for pieces in splits]
        assert heard.same(outputs)
        assert lines(outputs[0]) == lines(raw)
        assert len(lines(raw)) > 10

    def test_its_usage_and_content_are_read(self) -> None:
        (recording,) = (r for r in RESPONSES if r.is_stream)
        raw = recording.reply
        client = openai.OpenAI(api_key="none")
        response = httpx2.Response(200, content=raw, request=httpx2.Request("POST", "http://x"))
        stream: Stream[Any] = Stream(cast_to=ResponseStreamEvent, response=response, client=client)
        events = list(stream)
        assert events[-1].type == "response.completed"
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        an_ask = ask(Endpoint.RESPONSES, raw=orjson.dumps(recording.request))
        translator = ADAPTER.stream(an_ask, no_cost)
        translator.feed(raw)
        assert translator.usage == response_usage(events[-1].response.usage)
        assert translator.text_bytes == len(text) > 0
        assert translator.done
        assert translator.skipped == 0

    def test_cut_short_it_is_no_end(self) -> None:
        (recording,) = (r for r in RESPONSES if r.is_stream)
        an_ask = ask(Endpoint.RESPONSES, raw=orjson.dumps(recording.request))
        pieces = recording.reply.split(b"\n\n")
        last = next(i for i, e in enumerate(pieces) if b"event: response.completed" in e)
        for kept in range(last):
            translator = ADAPTER.stream(an_ask, no_cost)
            out = translator.feed(b"\n\n".join(pieces[:kept]) + b"\n\n")
            assert b"response.completed" not in out
            with pytest.raises(UpstreamFailure) as caught:
                translator.finish()
            assert caught.value.failure.kind is FailureKind.INTERRUPTED
