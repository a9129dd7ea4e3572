"""Converse: boto3 says what an answer is and what a request is; what it got was recorded."""

import base64
import io
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import boto3
import orjson
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

import adapters.completion
from adapters.base import (
    Adapter,
    Ask,
    Endpoint,
    FailureKind,
    Outgoing,
    Retry,
    Target,
    UpstreamFailure,
    Usage,
)
from adapters.bedrock import Bedrock
from tests.adapters.asks import ask, no_cost, target
from tests.adapters.test_eventstream import frame
from tests.recordings import Recording, of_path

BEDROCK: Adapter = Bedrock()
BASE = "https://bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEW_CLAUDE = "us.anthropic.claude-sonnet-4-6"
NOVA_2 = "us.amazon.nova-2-lite-v1:0"

CALLS = of_path("/converse")
REPLIES = [found for found in CALLS if not found.is_stream and found.status == 200]
STREAMS = [found for found in CALLS if found.is_stream]

FINISHES = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
"""Bedrock's word -> OpenAI's, of those that were recorded."""

UNSAID = {
    "bedrock/bedrock_model_other_parameters#0": "its request was not recorded",
}
"""Recorded requests that OpenAI's shape can't make, and what it lacks for them."""

named = pytest.mark.parametrize("recorded", REPLIES, ids=lambda recorded: recorded.id)


def at(model: str = CLAUDE, **over: Any) -> Target:
    return target(model, dialect="bedrock", base_url=BASE, region="us-east-1", **over)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """Neither ids of our own making nor the time differ between two answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters.completion, "new_id", lambda prefix: prefix + "1")
        patch.setattr(adapters.completion.time, "time", lambda: 1_700_000_000.0)
        yield


# boto3, without a network.


class _Raw(io.BytesIO):
    def stream(self, amt: int = 512, **_: Any) -> Iterator[bytes]:
        while piece := self.read(amt):
            yield piece


class Boto:
    """AWS's own client: `sent` is what it would send, its answers are what `answer` holds."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.client.meta.events.register("before-send.bedrock-runtime.*", self._answer)
        self.sent: AWSPreparedRequest | None = None
        self.answer = (200, {"content-type": "application/json"}, b"{}")

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.sent = request
        status, headers, body = self.answer
        return AWSResponse(request.url, status, headers, _Raw(body))

    def read(self, recorded: Recording) -> Any:
        """A recorded answer as boto3 gives it: an object, or the list of a stream's events."""
        self.answer = (recorded.status, {"content-type": recorded.content_type}, recorded.reply)
        if recorded.is_stream:
            return list(self.client.converse_stream(modelId="m", messages=[])["stream"])
        return self.client.converse(modelId="m", messages=[])

    def would_send(self, outgoing: Outgoing) -> tuple[str, Any]:
        """Our request as boto3 makes it of the same parameters, after its own validation."""
        stream = outgoing.url.endswith("-stream")
        content_type = "application/vnd.amazon.eventstream" if stream else "application/json"
        self.answer = (200, {"content-type": content_type}, b"" if stream else b"{}")
        call = self.client.converse_stream if stream else self.client.converse
        model = unquote(outgoing.url.removeprefix(f"{BASE}/model/").rpartition("/")[0])
        call(modelId=model, **opened(orjson.loads(outgoing.body)))
        assert self.sent is not None
        return str(self.sent.url), orjson.loads(self.sent.body)


def opened(value: Any) -> Any:
    """A body as boto3's callers give it: with bytes where the wire has base64."""
    if isinstance(value, list):
        return [opened(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(entry, validate=True)
        if name in ("bytes", "redactedContent")
        else opened(entry)
        for name, entry in value.items()
    }


@pytest.fixture(scope="module")
def boto() -> Boto:
    return Boto()


def content_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """A stream's events as the answer that it would have been whole."""
    blocks: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {}
    for event in events:
        ((kind, told),) = event.items()
        match kind:
            case "contentBlockStart" if "toolUse" in told["start"]:
                use = {**told["start"]["toolUse"], "input": ""}
                blocks[told["contentBlockIndex"]] = {"toolUse": use}
            case "contentBlockDelta":
                _add_delta(blocks.setdefault(told["contentBlockIndex"], {}), told["delta"])
            case "messageStop":
                answer["stopReason"] = told["stopReason"]
            case "metadata":
                answer["usage"] = told["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = orjson.loads(block["toolUse"]["input"] or "{}")
    return {**answer, "output": {"message": {"content": list(blocks.values())}}}


def _add_delta(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif "reasoningContent" in delta:
        told = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
        for name, piece in delta["reasoningContent"].items():
            told["reasoningText"][name] = told["reasoningText"].get(name, "") + piece


def check(answer: dict[str, Any], message: dict[str, Any], finish: str, usage: Any) -> None:
    """A message and its company against the answer that boto3 read."""
    content = answer["output"]["message"]["content"]
    thoughts = [
        block["reasoningContent"]["reasoningText"]
        for block in content
        if "reasoningContent" in block
    ]
    calls = [block["toolUse"] for block in content if "toolUse" in block]
    calls = [call for call in calls if call.get("type") != "server_tool_use"]
    assert (message["content"] or "") == "".join(block.get("text", "") for block in content)
    assert message.get("reasoning_content", "") == "".join(told["text"] for told in thoughts)
    assert message.get("thinking_blocks", []) == [
        {"type": "thinking", "thinking": told["text"]}
        | ({"signature": told["signature"]} if "signature" in told else {})
        for told in thoughts
    ]
    assert [
        (call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls", [])
    ] == [(call["toolUseId"], call["name"], call["input"]) for call in calls]
    assert finish == FINISHES[answer["stopReason"]]
    told = answer["usage"]
    read, written = told.get("cacheReadInputTokens", 0), told.get("cacheWriteInputTokens", 0)
    assert (usage.prompt, usage.completion) == (
        told["inputTokens"] + read + written,
        told["outputTokens"],
    )
    assert (usage.cached, usage.cache_write) == (read, written)
    assert usage.total == told["totalTokens"]


# Answers.


def test_there_are_recordings() -> None:
    assert (len(CALLS), len(REPLIES), len(STREAMS)) == (52, 45, 6)


@named
def test_a_reply_says_what_boto3_reads(recorded: Recording, boto: Boto) -> None:
    found = BEDROCK.reply(ask(model="mine"), recorded.reply)
    body = orjson.loads(found.body)
    (choice,) = body["choices"]
    check(boto.read(recorded), choice["message"], choice["finish_reason"], found.usage)
    assert (body["model"], body["object"]) == ("mine", "chat.completion")
    assert found.text_bytes > 0


def answered(*content: dict[str, Any], stop: str = "end_turn", **over: Any) -> dict[str, Any]:
    """The choice that an answer of these blocks becomes."""
    told = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop}
    found = BEDROCK.reply(ask(**over), orjson.dumps(told))
    assert found.usage is None
    choice: dict[str, Any] = orjson.loads(found.body)["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "stop"),  # that calls nothing
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "stop"),
        ("malformed_tool_use", "stop"),
        ("novel", "stop"),
    ],
)
def test_stop_reasons(reason: str, finish: str) -> None:
    assert answered({"text": "Hi"}, stop=reason)["finish_reason"] == finish
    assert finish_of(messages(stop(reason))) == finish


def test_every_stop_reason_of_the_service_is_in_that_list(boto: Boto) -> None:
    model = boto.client.meta.service_model
    known = model.shape_for("StopReason").enum
    (listed,) = [m for m in test_stop_reasons.pytestmark if m.name == "parametrize"]
    assert set(known) <= {reason for reason, _ in listed.args[1]}


def test_blocks_of_a_reply_that_no_recording_has() -> None:
    choice = answered(
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"citationsContent": {"content": [{"text": "Cited."}], "citations": []}},
        {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
        {"toolResult": {"toolUseId": "s", "content": []}},
        {"novel": {}},
        stop="tool_use",
    )
    assert choice["message"] == {
        "role": "assistant",
        "content": "Cited.",
        "refusal": None,
        "thinking_blocks": [{"type": "redacted_thinking", "data": "c2VjcmV0"}],
        "tool_calls": [
            {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    }
    assert choice["finish_reason"] == "tool_calls"


def test_the_json_tool_becomes_the_text() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "json_response", "input": {"a": [1]}}}
    choice = answered(use, stop="tool_use")
    assert choice["message"]["content"] == '{"a":[1]}'
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"output":{"message":{}}}'])
def test_a_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(UpstreamFailure) as raised:
        BEDROCK.reply(ask(), body)
    assert raised.value.failure.kind is FailureKind.INVALID_REPLY


# Streams.


def streamed(data: bytes, cuts: list[int], wants_usage: bool = True) -> tuple[bytes, Any]:
    """All that comes out, and the translator at its end; it may not have ended well."""
    given_ask = ask(model="mine", stream=True, stream_options={"include_usage": wants_usage})
    translator = BEDROCK.stream(given_ask, no_cost)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    out = b"".join(translator.feed(data[start:end]) for start, end in pairwise(edges))
    return out + translator.finish(), translator


def gathered(out: bytes) -> tuple[dict[str, Any], str, Any]:
    """The chunks as a message, its finish reason, and the usage chunk's usage."""
    *chunks, done = out.removesuffix(b"\n\n").split(b"\n\n")
    assert done == b"data: [DONE]"
    message: dict[str, Any] = {"content": ""}
    finish, usage = None, None
    for chunk in (orjson.loads(chunk.removeprefix(b"data: ")) for chunk in chunks):
        assert (chunk["id"], chunk["model"]) == ("chatcmpl-1", "mine")
        usage = chunk.get("usage")
        for choice in chunk["choices"]:
            assert finish is None
            finish = choice["finish_reason"]
            _gather(message, choice["delta"])
    return message, str(finish), usage


def _gather(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content"):
        if name in delta:
            message[name] = message.get(name, "") + delta[name]
    for block in delta.get("thinking_blocks", []):
        blocks = message.setdefault("thinking_blocks", [])
        assert block.pop("index") == len(blocks)
        blocks.append(block)
    for call in delta.get("tool_calls", []):
        calls = message.setdefault("tool_calls", [])
        if "id" in call:
            assert call["index"] == len(calls)
            calls.append(call)
        else:
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]


def finish_of(data: bytes) -> str:
    return gathered(streamed(data, [])[0])[1]


@pytest.mark.parametrize("recorded", STREAMS, ids=lambda recorded: recorded.id)
class TestRecordedStreams:
    def test_it_says_what_boto3_reads(self, recorded: Recording, boto: Boto) -> None:
        out, translator = streamed(recorded.reply, [])
        message, finish, usage = gathered(out)
        check(content_of(boto.read(recorded)), message, finish, translator.usage)
        assert usage["prompt_tokens"] == translator.usage.prompt
        assert (translator.done, translator.failure, translator.skipped) == (True, None, 0)
        assert translator.contents > 1
        assert translator.text_bytes > 0

    def test_byte_by_byte(self, recorded: Recording) -> None:
        everywhere = list(range(len(recorded.reply)))
        assert streamed(recorded.reply, everywhere)[0] == streamed(recorded.reply, [])[0]

    @given(cuts=st.lists(st.integers(0, 1 << 14)))
    def test_any_split_gives_the_same(self, recorded: Recording, cuts: list[int]) -> None:
        assert streamed(recorded.reply, cuts)[0] == streamed(recorded.reply, [])[0]

    def test_it_is_no_whole_one_without_its_last_events(self, recorded: Recording) -> None:
        stop = recorded.reply.index(b"messageStop") - 30
        with pytest.raises(UpstreamFailure) as raised:
            streamed(recorded.reply[:stop], [])
        assert raised.value.failure.kind is FailureKind.INTERRUPTED

    def test_counts_that_are_cut_off_are_estimated(self, recorded: Recording) -> None:
        out, translator = streamed(recorded.reply[:-1], [])
        assert gathered(out)[:2] == gathered(streamed(recorded.reply, [])[0])[:2]
        assert gathered(out)[2]["estimated"] is True
        assert translator.usage is None


def event(kind: str, **payload: Any) -> bytes:
    return frame(kind, orjson.dumps(payload))


def start(index: int, **given: Any) -> bytes:
    return event("contentBlockStart", contentBlockIndex=index, start=given)


def delta(index: int, **given: Any) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=index, delta=given)


def thought(index: int, **given: Any) -> bytes:
    return delta(index, reasoningContent=given)


def end(index: int) -> bytes:
    return event("contentBlockStop", contentBlockIndex=index)


def stop(reason: str = "end_turn") -> bytes:
    counts = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}
    return event("messageStop", stopReason=reason) + event("metadata", usage=counts)


def messages(*parts: bytes) -> bytes:
    return event("messageStart", role="assistant") + b"".join(parts)


def test_thought_in_pieces_is_signed_when_it_is_whole() -> None:
    data = messages(
        thought(0, text="Let me "),
        thought(0, text="see."),
        thought(0, signature="c2ln"),
        thought(0, signature="bmVk"),
        end(0),
        thought(1, redactedContent="c2U="),
        thought(1, redactedContent="Y3JldA=="),
        end(1),
        delta(2, text="Yes."),
        end(2),
        stop(),
    )
    message, finish, usage = gathered(streamed(data, [])[0])
    assert message == {
        "content": "Yes.",
        "reasoning_content": "Let me see.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Let me see.", "signature": "c2lnbmVk"},
            {"type": "redacted_thinking", "data": "c2VjcmV0"},
        ],
    }
    assert finish == "stop"
    assert usage["total_tokens"] == 12


def test_a_call_without_input_has_empty_arguments() -> None:
    data = messages(
        start(0, toolUse={"toolUseId": "a", "name": "f"}),
        end(0),
        start(1, toolUse={"toolUseId": "b", "name": "g"}),
        delta(1, toolUse={"input": ""}),
        delta(1, toolUse={"input": '{"x":'}),
        delta(1, toolUse={"input": "1}"}),
        end(1),
        start(2, toolUse={"toolUseId": "c", "name": "h"}),
        stop("tool_use"),
    )
    message, finish, _ = gathered(streamed(data, [])[0])
    calls = [
        (c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]
    ]
    assert calls == [("a", "f", "{}"), ("b", "g", '{"x":1}'), ("c", "h", "{}")]
    assert finish == "tool_calls"


@pytest.mark.parametrize(("pieces", "text"), [(['{"a"', ":1}"], '{"a":1}'), ([], "{}")])
def test_the_json_tool_is_streamed_as_text(pieces: list[str], text: str) -> None:
    data = messages(
        start(0, toolUse={"toolUseId": "t", "name": "json_response"}),
        *(delta(0, toolUse={"input": piece}) for piece in pieces),
        end(0),
        stop("tool_use"),
    )
    assert gathered(streamed(data, [])[0])[:2] == ({"content": text}, "stop")


def test_events_of_no_known_shape_are_counted() -> None:
    data = messages(
        frame("contentBlockDelta", b"{"),
        event("contentBlockDelta", contentBlockIndex=0),
        event("novel", x=1),
        delta(0, novel={}),
        delta(0, text="Hi"),
        stop(),
    )
    out, translator = streamed(data, [])
    assert gathered(out)[0] == {"content": "Hi"}
    assert translator.skipped == 2


@pytest.mark.parametrize(
    ("kind", "status", "failure", "retry"),
    [
        ("throttlingException", 429, FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
        ("modelStreamErrorException", 500, FailureKind.SERVER, Retry.SAME_TARGET),
        ("internalServerException", 500, FailureKind.SERVER, Retry.SAME_TARGET),
        ("serviceUnavailableException", 503, FailureKind.OVERLOADED, Retry.SAME_TARGET),
        ("modelNotReadyException", 503, FailureKind.OVERLOADED, Retry.SAME_TARGET),
        ("modelTimeoutException", 408, FailureKind.TIMEOUT, Retry.SAME_TARGET),
        ("validationException", 400, FailureKind.INVALID_REQUEST, Retry.NEVER),
        ("novelException", 500, FailureKind.SERVER, Retry.SAME_TARGET),
    ],
)
def test_exceptions_in_a_stream(kind: str, status: int, failure: FailureKind, retry: Retry) -> None:
    error = frame(kind, b'{"message":"No."}', "exception")
    out, translator = streamed(messages(delta(0, text="Hi"), error, delta(0, text="!"), stop()), [])
    found = translator.failure
    assert (found.kind, found.retry, found.status) == (failure, retry, status)
    assert (found.message, found.type) == ("No.", kind)
    assert b'"Hi"' in out
    assert b'"!"' not in out
    assert b"[DONE]" not in out
    assert not translator.done


def test_every_exception_of_the_service_is_in_that_list(boto: Boto) -> None:
    members = boto.client.meta.service_model.shape_for("ConverseStreamOutput").members
    (listed,) = [m for m in test_exceptions_in_a_stream.pytestmark if m.name == "parametrize"]
    known = {name for name, shape in members.items() if shape.metadata.get("exception")}
    assert len(known) == 5
    assert known <= {row[0] for row in listed.args[1]}


@pytest.mark.parametrize("cuts", [[], list(range(400))])
def test_a_corrupt_stream_has_failed(cuts: list[int]) -> None:
    broken = bytearray(delta(0, text="there"))
    broken[-10] ^= 1
    out, translator = streamed(messages(delta(0, text="Hi"), bytes(broken), stop()), cuts)
    assert translator.failure.kind is FailureKind.INTERRUPTED
    assert "corrupt" in translator.failure.message
    assert b'"Hi"' in out
    assert b"there" not in out
    assert b"[DONE]" not in out


def test_an_event_over_the_limit_has_failed() -> None:
    large = (1 << 24) + 1
    prelude = large.to_bytes(4) + bytes(4)
    translator = BEDROCK.stream(ask(stream=True), no_cost)
    translator.feed(prelude + zlib.crc32(prelude).to_bytes(4))
    assert translator.failure is not None
    assert translator.failure.kind is FailureKind.EVENT_TOO_LARGE


def test_counts_without_a_stop_reason_are_no_end() -> None:
    _, translator = streamed(messages(delta(0, text="Hi"), event("metadata", usage={})), [])
    assert translator.failure.kind is FailureKind.INTERRUPTED
    assert not translator.done


def test_usage_is_told_only_to_who_asks() -> None:
    out, translator = streamed(messages(delta(0, text="Hi"), stop()), [], wants_usage=False)
    assert gathered(out)[2] is None
    assert translator.usage == Usage(prompt=5, completion=7)


# Requests.


class Unsaid(Exception):
    """What OpenAI's shape has no word for."""


MIMES = {"txt": "text/plain", "pdf": "application/pdf"}
CACHE = {"type": "ephemeral"}


def as_chat(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded request as a client of OpenAI's shape would have made it."""
    chat: dict[str, Any] = {"messages": []}
    for name, value in recorded.items():
        match name:
            case "system":
                if value:
                    chat["messages"].insert(0, {"role": "system", "content": parts_of(value)})
            case "messages":
                chat["messages"] += [said for message in value for said in turns_of(message)]
            case "inferenceConfig":
                names = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p"}
                chat |= {names[name]: number for name, number in value.items()}
            case "toolConfig":
                chat |= tools_of(value)
            case "additionalModelRequestFields":
                match value:
                    case {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}:
                        chat["reasoning_effort"] = effort
                    case {"thinking": thinking}:
                        chat["thinking"] = thinking
            case "serviceTier":
                chat["service_tier"] = value["type"]
            case "guardrailConfig" | "performanceConfig":
                chat[name] = value
            case _:
                raise Unsaid(name)
    return chat


def parts_of(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for block in blocks:
        match block:
            case {"text": text}:
                parts.append({"type": "text", "text": text})
            case {"document": {"name": name, "format": form, "source": {"bytes": data}}}:
                url = f"data:{MIMES[form]};base64,{data}"
                parts.append({"type": "file", "file": {"filename": name, "file_data": url}})
            case {"cachePoint": {"type": "default"}}:
                parts[-1]["cache_control"] = CACHE
            case _:
                raise Unsaid(str(block))
    return parts


def turns_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    said: dict[str, Any] = {"role": message["role"]}
    plain = []
    for block in message["content"]:
        match block:
            case {"toolResult": {"toolUseId": id, "content": content, "status": status}}:
                failed = {"is_error": True} if status == "error" else {}
                result = {"tool_call_id": id, "content": parts_of(content), **failed}
                yield {"role": "tool", **result}
            case {"toolUse": {"toolUseId": id, "name": name, "input": given}}:
                function = {"name": name, "arguments": orjson.dumps(given).decode()}
                call = {"id": id, "type": "function", "function": function}
                said.setdefault("tool_calls", []).append(call)
            case {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}:
                block = {"type": "thinking", "thinking": text, "signature": signature}
                said.setdefault("thinking_blocks", []).append(block)
            case _:
                plain.append(block)
    if plain or len(said) > 1:
        yield said | {"content": parts_of(plain)}


def tools_of(config: dict[str, Any]) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    for tool in config["tools"]:
        match tool:
            case {"toolSpec": {"name": name, "inputSchema": {"json": schema}, **rest}}:
                function = {"name": name, "parameters": schema, **rest}
                tools.append({"type": "function", "function": function})
            case {"cachePoint": {"type": "default"}}:
                tools[-1]["cache_control"] = CACHE
            case _:
                tools.append(tool)  # OpenAI's clients send what they are given
    chat: dict[str, Any] = {"tools": tools}
    match config.get("toolChoice"):
        case {"auto": {}}:
            chat["tool_choice"] = "auto"
        case {"any": {}}:
            chat["tool_choice"] = "required"
        case {"tool": {"name": name}}:
            chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    return chat


def plain(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded request without what says nothing: empty members, the status of success."""
    bare: dict[str, Any] = orjson.loads(orjson.dumps(recorded))
    for message in bare["messages"]:
        for block in message["content"]:
            if "toolResult" in block and block["toolResult"]["status"] == "success":
                del block["toolResult"]["status"]
    return {name: value for name, value in bare.items() if value}


@pytest.mark.parametrize(
    "recorded", [found for found in CALLS if found.id not in UNSAID], ids=lambda found: found.id
)
def test_a_request_is_what_was_recorded(recorded: Recording, boto: Boto) -> None:
    stream = {"stream": True} if recorded.is_stream else {}
    model = unquote(recorded.path.split("/")[2])
    outgoing = BEDROCK.request(ask(**as_chat(recorded.request), **stream), at(model))
    assert orjson.loads(outgoing.body) == plain(recorded.request)
    assert outgoing.url == recorded.uri
    assert outgoing.dropped == ()
    assert boto.would_send(outgoing) == (outgoing.url, orjson.loads(outgoing.body))


@pytest.mark.parametrize("id", UNSAID)
def test_what_can_not_be_said_is_told_rightly(id: str) -> None:
    (recorded,) = [found for found in CALLS if found.id == id]
    if recorded.request is None:
        return
    with pytest.raises(Unsaid) as raised:
        as_chat(recorded.request)
    assert str(raised.value) == UNSAID[id]


def sent(model: str = CLAUDE, boto: Boto | None = None, **body: Any) -> Any:
    """The body that goes out, which boto3 accepts when it is given."""
    outgoing = BEDROCK.request(ask(**body), at(model))
    if boto is not None:
        assert boto.would_send(outgoing) == (outgoing.url, orjson.loads(outgoing.body))
    return orjson.loads(outgoing.body)


def refused(model: str = CLAUDE, **body: Any) -> Any:
    """The failure that a request is."""
    with pytest.raises(UpstreamFailure) as raised:
        BEDROCK.request(ask(**body), at(model))
    return raised.value.failure


def spoken(*turns: dict[str, Any], boto: Boto) -> Any:
    return sent(messages=list(turns), boto=boto)["messages"]


PNG = base64.b64encode(b"\x89PNG").decode()
PNG_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
PNG_BLOCK = {"image": {"format": "png", "source": {"bytes": PNG}}}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
SPEC = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
LOOP = [
    {"role": "user", "content": "Go"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "done"},
]


def test_url_and_headers() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/mi1d"
    whole = BEDROCK.request(ask(), at(arn))
    assert whole.url == (
        f"{BASE}/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
        "application-inference-profile%2Fmi1d/converse"
    )
    assert whole.headers["accept"] == "application/json"
    assert whole.headers["authorization"] == "Bearer sk-up"
    stream = BEDROCK.request(ask(stream=True), at())
    assert stream.url.endswith("-v1%3A0/converse-stream")
    assert stream.headers["accept"] == "application/vnd.amazon.eventstream"
    assert b"stream" not in stream.body


def test_it_only_chats() -> None:
    assert BEDROCK.endpoints == {Endpoint.CHAT}


def test_instructions_go_to_system_and_turns_are_merged(boto: Boto) -> None:
    body = sent(
        messages=[
            {"role": "system", "content": "A"},
            {"role": "user", "content": "1"},
            {"role": "developer", "content": "B"},
            {"role": "user", "content": [{"type": "text", "text": ""}, PNG_PART]},
            {"role": "assistant", "content": "2"},
            {"role": "assistant", "content": "3"},
        ],
        boto=boto,
    )
    assert body == {
        "system": [{"text": "A"}, {"text": "B"}],
        "messages": [
            {"role": "user", "content": [{"text": "1"}, PNG_BLOCK]},
            {"role": "assistant", "content": [{"text": "2"}, {"text": "3"}]},
        ],
    }


def test_results_come_first_in_a_turn(boto: Boto) -> None:
    second = CALL | {"id": "c2"}
    turns = spoken(
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, second]},
        {"role": "user", "content": "And?"},
        {"role": "tool", "tool_call_id": "c1", "content": "1", "cache_control": CACHE},
        {"role": "tool", "tool_call_id": "c2", "content": [PNG_PART]},
        boto=boto,
    )
    assert turns[1]["content"] == [
        {"toolUse": {"toolUseId": "c1", "name": "f", "input": {}}},
        {"toolUse": {"toolUseId": "c2", "name": "f", "input": {}}},
    ]
    assert turns[2]["content"] == [
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "1"}]}},
        {"cachePoint": {"type": "default"}},
        {"toolResult": {"toolUseId": "c2", "content": [PNG_BLOCK]}},
        {"text": "And?"},
    ]


def test_cache_points_stand_behind_what_is_kept(boto: Boto) -> None:
    hour = {"type": "ephemeral", "ttl": "1h"}
    body = sent(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "A", "cache_control": hour}]},
            {"role": "user", "content": "1", "cache_control": CACHE},
        ],
        tools=[TOOL | {"cache_control": hour}],
        boto=boto,
    )
    kept = {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["system"] == [{"text": "A"}, kept]
    assert body["toolConfig"] == {"tools": [SPEC, kept]}
    assert body["messages"][0]["content"] == [{"text": "1"}, {"cachePoint": {"type": "default"}}]


def a_file(name: str | None, mime: str = "application/pdf") -> dict[str, Any]:
    file = {"file_data": f"data:{mime};base64,eHl6"} | ({"filename": name} if name else {})
    return {"type": "file", "file": file}


@pytest.mark.parametrize(
    ("part", "form"),
    [
        (a_file("a.pdf"), "pdf"),
        (a_file("a", "text/csv"), "csv"),
        (a_file("a.md", "text/x-web-markdown"), "md"),
        (a_file("a.py", "text/x-python"), "txt"),
        (a_file("a.docx", "application/octet-stream"), "docx"),
        (a_file("a", "application/vnd.ms-excel"), "xls"),
        (a_file(None, ""), "pdf"),
    ],
)
def test_formats_of_documents(part: dict[str, Any], form: str, boto: Boto) -> None:
    (turn,) = spoken({"role": "user", "content": [part]}, boto=boto)
    document = turn["content"][0]["document"]
    assert (document["format"], document["source"]) == (form, {"bytes": "eHl6"})


def test_names_of_documents_are_plain_and_differ(boto: Boto) -> None:
    result = {"role": "tool", "tool_call_id": "c1", "content": [a_file("My  report_v1.pdf")]}
    files = [a_file(None), a_file("my report_V1.PDF"), a_file("日本語.pdf"), a_file("x" * 300)]
    files += [a_file("x" * 300), a_file("Plan (2) [a]-b")]
    turns = spoken(*LOOP[:2], result, {"role": "user", "content": files}, boto=boto)
    inside, *blocks = turns[2]["content"]
    names = [block["document"]["name"] for block in blocks]
    assert inside["toolResult"]["content"][0]["document"]["name"] == "My report-v1-pdf"
    assert names == [
        "Document 2",
        "my report-V1-PDF (2)",
        "-pdf",
        "x" * 200,
        "x" * 192 + " (2)",
        "Plan (2) [a]-b",
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}, "image_url.url"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,eHl6"}},
            "image_url.url",
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
        (a_file("a.zip", "application/zip"), "file.file_data"),
        ({"type": "input_audio", "input_audio": {"data": "eHl6", "format": "wav"}}, ""),
    ],
)
def test_what_bedrock_does_not_take_names_its_place(part: dict[str, Any], param: str) -> None:
    content = [{"type": "text", "text": "See"}, part]
    failure = refused(messages=[{"role": "user", "content": content}])
    assert (failure.kind, failure.retry) == (FailureKind.UNSUPPORTED, Retry.NEXT_TARGET)
    assert failure.param == "messages[0].content[1]" + ("." + param if param else "")


def test_an_image_can_not_stand_in_instructions() -> None:
    failure = refused(messages=[{"role": "system", "content": [PNG_PART]}])
    assert failure.param == "messages[0].content[0].image_url.url"


def test_sampling(boto: Boto) -> None:
    body = sent(
        max_completion_tokens=9, temperature=0.5, top_p=0.9, stop="END", top_k=40, boto=boto
    )
    assert body["inferenceConfig"] == {
        "maxTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["END"],
    }
    assert body["additionalModelRequestFields"] == {"top_k": 40}
    nova = sent("us.amazon.nova-lite-v1:0", top_k=40, boto=boto)
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 40}}


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, {}),
        ("auto", {"toolChoice": {"auto": {}}}),
        ("required", {"toolChoice": {"any": {}}}),
        ({"type": "function", "function": {"name": "f"}}, {"toolChoice": {"tool": {"name": "f"}}}),
    ],
)
def test_tool_choices(choice: Any, said: dict[str, Any], boto: Boto) -> None:
    assert sent(tools=[TOOL], tool_choice=choice, boto=boto)["toolConfig"] == {
        "tools": [SPEC],
        **said,
    }


def test_some_of_the_tools(boto: Boto) -> None:
    others = [{"type": "function", "function": {"name": name}} for name in ("g", "h")]
    for mode, said in (("auto", "auto"), ("required", "any")):
        names = [TOOL, others[0]]
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": names}}
        config = sent(tools=[TOOL, *others], tool_choice=allowed, boto=boto)["toolConfig"]
        assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["f", "g"]
        assert config["toolChoice"] == {said: {}}


def test_a_tool_in_full_and_one_with_only_a_name(boto: Boto) -> None:
    full = FUNCTION | {"description": "Does f.", "strict": True}
    bare = {"name": "g"}
    tools = [{"type": "function", "function": function} for function in (full, bare)]
    first, second = sent(tools=tools, boto=boto)["toolConfig"]["tools"]
    assert first["toolSpec"] == {**SPEC["toolSpec"], "description": "Does f.", "strict": True}
    assert second["toolSpec"] == {
        "name": "g",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }


def test_no_tools_are_to_be_called(boto: Boto) -> None:
    """Once a conversation has blocks of tools Bedrock wants the tools, and knows no `none`."""
    assert "toolConfig" not in sent(tools=[TOOL], tool_choice="none", boto=boto)
    failure = refused(messages=LOOP, tools=[TOOL], tool_choice="none")
    assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, "tool_choice")
    dropping = ask(messages=LOOP, tools=[TOOL], tool_choice="none")._replace(drop_params=True)
    outgoing = BEDROCK.request(dropping, at())
    assert orjson.loads(outgoing.body)["toolConfig"] == {"tools": [SPEC]}
    assert outgoing.dropped == ("tool_choice",)


def test_tools_of_other_providers_are_refused() -> None:
    assert refused(tools=[{"type": "web_search"}]).param == "tools"


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, SCHEMA),
        ({"type": "json_object"}, {"type": "object", "additionalProperties": True}),
    ],
)
def test_json_is_had_by_a_tool(form: dict[str, Any], schema: Any, boto: Boto) -> None:
    tool = {
        "toolSpec": {
            "name": "json_response",
            "description": "Call this with the answer, as JSON.",
            "inputSchema": {"json": schema},
        }
    }
    alone = sent(response_format=form, boto=boto)["toolConfig"]
    assert alone == {"tools": [tool], "toolChoice": {"tool": {"name": "json_response"}}}
    beside = sent(response_format=form, tools=[TOOL], tool_choice="auto", boto=boto)["toolConfig"]
    assert beside == {"tools": [SPEC, tool], "toolChoice": {"any": {}}}


@pytest.mark.parametrize(
    ("model", "effort", "said"),
    [
        (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (CLAUDE, "high", {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        (CLAUDE, "none", {"thinking": {"type": "disabled"}}),
        (
            "anthropic.claude-opus-4-20250514-v1:0",
            "low",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        (
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            "low",
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        (
            NEW_CLAUDE,
            "minimal",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        (
            NEW_CLAUDE,
            "high",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        ("openai.gpt-oss-120b-1:0", "minimal", {"reasoning_effort": "low"}),
        ("openai.gpt-oss-120b-1:0", "high", {"reasoning_effort": "high"}),
        (
            NOVA_2,
            "medium",
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
        ),
        (NOVA_2, "none", {"reasoningConfig": {"type": "disabled"}}),
    ],
)
def test_effort_by_the_model(model: str, effort: str, said: Any, boto: Boto) -> None:
    body = sent(model, reasoning_effort=effort, boto=boto)
    assert body["additionalModelRequestFields"] == said
    assert "inferenceConfig" not in body


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("us.deepseek.r1-v1:0", "low"),
        ("us.amazon.nova-lite-v1:0", "low"),
        ("openai.gpt-oss-120b-1:0", "none"),
        (NOVA_2, "xhigh"),
        (CLAUDE, "max"),
    ],
)
def test_effort_that_a_model_has_not(model: str, effort: str) -> None:
    failure = refused(model, reasoning_effort=effort)
    assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, "reasoning_effort")


def test_there_is_room_for_the_thought_and_the_answer() -> None:
    assert sent(max_tokens=100, reasoning_effort="low")["inferenceConfig"] == {"maxTokens": 2048}
    assert sent(max_tokens=9000, reasoning_effort="low")["inferenceConfig"] == {"maxTokens": 9000}


def test_members_of_its_own(boto: Boto) -> None:
    own = {
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
        "performanceConfig": {"latency": "optimized"},
        "promptVariables": {"x": {"text": "y"}},
        "requestMetadata": {"team": "a"},
        "serviceTier": {"type": "reserved"},
    }
    body = sent(boto=boto, **own)
    assert {name: value for name, value in body.items() if name != "messages"} == own
    merged = sent(
        additionalModelRequestFields={"top_k": 2, "x": 1},
        thinking={"type": "adaptive"},
        reasoning_effort="low",
        top_k=1,
        boto=boto,
    )
    assert merged["additionalModelRequestFields"] == {
        "top_k": 2,
        "thinking": {"type": "adaptive"},
        "x": 1,
    }
    assert refused(additionalModelRequestFields=[]).kind is FailureKind.INVALID_REQUEST


@pytest.mark.parametrize("tier", ["priority", "default", "flex"])
def test_service_tiers(tier: str, boto: Boto) -> None:
    assert sent(service_tier=tier, boto=boto)["serviceTier"] == {"type": tier}


@pytest.mark.parametrize(
    "member",
    [
        {"n": 2},
        {"logprobs": True},
        {"seed": 1},
        {"temperature": 1.5},
        {"frequency_penalty": 0.5},
        {"parallel_tool_calls": False},
        {"service_tier": "scale"},
        {"novel": 1},
    ],
    ids=lambda member: next(iter(member)),
)
def test_what_converse_has_no_word_for(member: dict[str, Any]) -> None:
    failure = refused(**member)
    assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, next(iter(member)))
    outgoing = BEDROCK.request(ask(**member), at(drop_params=True))
    assert outgoing.dropped == (next(iter(member)),)
    assert orjson.loads(outgoing.body).keys() == {"messages"}


def test_hints_and_defaults_are_let_be() -> None:
    assert sent(user="u", n=1, service_tier="auto", metadata={"a": "b"}).keys() == {"messages"}


# A loop.


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_loop_brings_the_signature_back(is_stream: bool) -> None:
    """The recorded thought of a call, once whole and once as a stream, goes back as it came."""
    first, second = (f for f in CALLS if f.name == "bedrock_anthropic_tool_with_thinking")
    content = orjson.loads(first.reply)["output"]["message"]["content"]
    if is_stream:
        message = gathered(streamed(as_stream(content), [])[0])[0] | {"role": "assistant"}
    else:
        message = orjson.loads(BEDROCK.reply(ask(), first.reply).body)["choices"][0]["message"]
    chat = as_chat(first.request)
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "Mexico"}
    chat["messages"] += [message, result]
    assert sent(**chat) == plain(second.request)


def as_stream(content: list[dict[str, Any]]) -> bytes:
    parts = []
    for index, block in enumerate(content):
        if "toolUse" in block:
            parts.append(start(index, toolUse=block["toolUse"] | {"input": {}}))
        elif "text" in block:
            parts.append(delta(index, text=block["text"]))
        else:
            told = block["reasoningContent"]["reasoningText"]
            parts += [
                thought(index, text=told["text"]),
                thought(index, signature=told["signature"]),
            ]
        parts.append(end(index))
    return messages(*parts, stop("tool_use"))


def test_thought_that_only_the_provider_can_read_goes_back(boto: Boto) -> None:
    blocks = [
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "thinking", "thinking": "x"},
    ]
    turns = spoken({"role": "assistant", "content": "Hi", "thinking_blocks": blocks}, boto=boto)
    assert turns[0]["content"] == [
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"text": "Hi"},
    ]


# Errors.


ERRORS = [
    ("ThrottlingException", 429, FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
    ("ThrottlingException", 400, FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
    ("ServiceQuotaExceededException", 400, FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
    ("ModelNotReadyException", 429, FailureKind.RATE_LIMIT, Retry.SAME_TARGET),
    ("AccessDeniedException", 403, FailureKind.AUTH, Retry.NEXT_TARGET),
    ("UnrecognizedClientException", 400, FailureKind.AUTH, Retry.NEXT_TARGET),
    ("ExpiredTokenException", 400, FailureKind.AUTH, Retry.NEXT_TARGET),
    ("ValidationException", 400, FailureKind.INVALID_REQUEST, Retry.NEVER),
    ("ResourceNotFoundException", 404, FailureKind.NOT_FOUND, Retry.NEXT_TARGET),
    ("ModelTimeoutException", 408, FailureKind.TIMEOUT, Retry.SAME_TARGET),
    ("ModelErrorException", 424, FailureKind.SERVER, Retry.NEXT_TARGET),
    ("InternalServerException", 500, FailureKind.SERVER, Retry.SAME_TARGET),
    ("ServiceUnavailableException", 503, FailureKind.OVERLOADED, Retry.SAME_TARGET),
]


@pytest.mark.parametrize("spelling", ["x-amzn-errortype", "x-amzn-ErrorType", "X-Amzn-Errortype"])
@pytest.mark.parametrize(("kind", "status", "failure", "retry"), ERRORS)
def test_errors(
    kind: str, status: int, failure: FailureKind, retry: Retry, spelling: str, boto: Boto
) -> None:
    headers = {spelling: f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    found = BEDROCK.failure(status, headers, b'{"message":"No."}')
    assert (found.kind, found.retry, found.message) == (failure, retry, "No.")
    boto.answer = (status, {"x-amzn-errortype": headers[spelling]}, b'{"message":"No."}')
    with pytest.raises(ClientError) as raised:
        boto.client.converse(modelId="m", messages=[])
    assert raised.value.response["Error"] == {"Code": found.type, "Message": found.message}


def test_every_error_of_the_service_is_in_that_list(boto: Boto) -> None:
    operation = boto.client.meta.service_model.operation_model("Converse")
    assert {shape.name for shape in operation.error_shapes} <= {row[0] for row in ERRORS}


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (403, b'{"Message":"Not you."}', "Not you.", None),
        (
            400,
            b'{"__type":"com.amazon.coral#ValidationException","message":"a"}',
            "a",
            "ValidationException",
        ),
        (502, b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>", None),
        (500, b"", "the upstream answered 500", None),
        (500, b"null", "the upstream answered 500", None),
        (500, b"[1]", "[1]", None),
    ],
)
def test_bodies_of_errors(status: int, body: bytes, message: str, kind: str | None) -> None:
    found = BEDROCK.failure(status, {}, body)
    assert (found.status, found.message, found.type) == (status, message, kind)


def test_the_recorded_error() -> None:
    (recorded,) = [found for found in CALLS if found.status != 200]
    found = BEDROCK.failure(recorded.status, {}, recorded.reply)
    assert found.message == "The provided model identifier is invalid."
    assert (found.kind, found.retry) == (FailureKind.INVALID_REQUEST, Retry.NEVER)


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 204798 tokens > 200000",
        "Too many input tokens. Max input tokens: 300000, request input token count: 333012",
    ],
)
def test_a_prompt_that_is_too_long(message: str) -> None:
    headers = {"x-amzn-errortype": "ValidationException"}
    found = BEDROCK.failure(400, headers, orjson.dumps({"message": message}))
    assert found.kind is FailureKind.CONTEXT_LENGTH


def test_how_long_to_wait() -> None:
    headers = {"X-Amzn-ErrorType": "ThrottlingException", "Retry-After": "7"}
    assert BEDROCK.failure(429, headers, b"{}").retry_after == 7.0


def test_the_ask_is_left_as_it_was() -> None:
    given_ask: Ask = ask(messages=LOOP, tools=[TOOL], reasoning_effort="low", max_tokens=5)
    before = orjson.dumps(given_ask.body)
    BEDROCK.request(given_ask, at())
    assert orjson.dumps(given_ask.body) == before
