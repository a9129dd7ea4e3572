"""Recorded streams, as each way in gives them, gathered: against what SDKs hear in the streams."""

from typing import Any

import orjson
import pytest

from adapters import ADAPTERS, BRIDGES
from adapters.answers import gather, replay, text_of
from adapters.base import Adapter, Ask, Endpoint
from adapters.inbound.base import Bridged
from tests.adapters import heard
from tests.adapters.answers.readers import (
    chat_stream,
    chat_whole,
    completions_stream,
    cuts,
    messages_stream,
    messages_whole,
    responses_stream,
    responses_whole,
    without,
)
from tests.adapters.asks import ask
from tests.recordings import Recording, recordings

STREAMS = [found for found in recordings() if found.is_stream and found.status == 200]

DIALECTS = {
    "/chat/completions": ("openai", Endpoint.CHAT),
    "/v1/responses": ("openai", Endpoint.RESPONSES),
    "/v1/messages": ("anthropic", Endpoint.MESSAGES),
    "streamGenerateContent": ("gemini", None),
    "/converse-stream": ("bedrock", None),
}
"""A part of a recording's path -> the dialect, and the endpoint that is passed through."""


def dialect(recording: Recording) -> tuple[str, Endpoint | None]:
    return next(found for part, found in DIALECTS.items() if part in recording.path)


def asked(endpoint: Endpoint, stream: bool = True) -> Ask:
    given: dict[str, Any] = {"model": "m", "stream": stream}
    if endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS):
        given["stream_options"] = {"include_usage": stream}
    if endpoint is Endpoint.RESPONSES:
        given |= {"input": "Hi", "include": ["reasoning.encrypted_content"]}
    elif endpoint is Endpoint.COMPLETIONS:
        given["prompt"] = "Hi"
    else:
        given |= {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    return ask(endpoint, raw=orjson.dumps(given))


def adapter(recording: Recording, endpoint: Endpoint) -> Adapter:
    name, own = dialect(recording)
    if endpoint in (own, Endpoint.CHAT):
        return ADAPTERS[name]
    return Bridged(ADAPTERS[name], BRIDGES[endpoint])


def played(recording: Recording, endpoint: Endpoint) -> bytes:
    """What a client of that endpoint gets."""
    return heard.play(adapter(recording, endpoint), asked(endpoint), [recording.reply])


def gathered(endpoint: Endpoint, stream: bytes) -> bytes:
    got = gather(endpoint, stream)
    assert got is not None
    return got


def ways(endpoint: Endpoint) -> Any:
    """The recordings that reach an endpoint: those of its own dialect, and all that are chats."""
    found = [r for r in STREAMS if dialect(r)[1] in (endpoint, None)]
    if endpoint is not Endpoint.RESPONSES:
        found += [r for r in STREAMS if dialect(r)[1] not in (endpoint, None, Endpoint.RESPONSES)]
    if endpoint is Endpoint.MESSAGES:
        found = [r for r in found if r.vendor != "anthropic" or b"_tool_result" not in r.reply]
    return pytest.mark.parametrize("recording", found, ids=lambda r: r.id)


def test_there_are_recordings_of_each() -> None:
    counts = {endpoint: 0 for _, endpoint in DIALECTS.values()}
    for recording in STREAMS:
        counts[dialect(recording)[1]] += 1
    assert min(counts.values()) >= 1
    assert len(STREAMS) >= 30


@ways(Endpoint.CHAT)
def test_chat(recording: Recording) -> None:
    stream = played(recording, Endpoint.CHAT)
    body = gathered(Endpoint.CHAT, stream)
    assert heard.of_body(body) == heard.of_stream(stream)
    if b'"moderation"' not in stream:  # with which the SDK's accumulator forgets the usage
        told = chat_stream(stream)
        for choice in told["choices"]:  # a role's chunk has content, a call has none
            if choice["finish_reason"] == "tool_calls" and choice["message"].get("content") == "":
                del choice["message"]["content"]
        assert chat_whole(body) == told
    again = b"".join(replay(asked(Endpoint.CHAT), body, 7))
    assert heard.of_stream(again) == heard.of_stream(stream)


@ways(Endpoint.MESSAGES)
def test_messages(recording: Recording) -> None:
    stream = played(recording, Endpoint.MESSAGES)
    told = messages_stream(stream)
    body = gathered(Endpoint.MESSAGES, stream)
    said = messages_whole(body)
    for found in (told, said):  # members of an end that the SDK's accumulator passes over
        found.pop("context_management", None)
        found["usage"].pop("iterations", None)
    assert said == told
    again = messages_stream(b"".join(replay(asked(Endpoint.MESSAGES), body, 7)))
    again["usage"].pop("iterations", None)
    assert without(again, "id", "context_management") == without(told, "id")


@ways(Endpoint.RESPONSES)
def test_responses(recording: Recording) -> None:
    stream = played(recording, Endpoint.RESPONSES)
    told = responses_stream(stream)
    body = gathered(Endpoint.RESPONSES, stream)
    assert responses_whole(body) == told
    again = responses_stream(b"".join(replay(asked(Endpoint.RESPONSES), body, 7)))
    assert [_spoken(item) for item in again["output"]] == [_spoken(item) for item in told["output"]]


def _spoken(item: Any) -> Any:
    return without(item, "id")


@ways(Endpoint.COMPLETIONS)
def test_completions(recording: Recording) -> None:
    stream = played(recording, Endpoint.COMPLETIONS)
    chunks = completions_stream(stream)
    body = gathered(Endpoint.COMPLETIONS, stream)
    words = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text_of(Endpoint.COMPLETIONS, body) == words
    assert orjson.loads(body)["choices"][0]["finish_reason"] in ("stop", "length")


@ways(Endpoint.CHAT)
@pytest.mark.parametrize("endpoint", BRIDGES)
def test_a_bridge_says_the_same_of_a_chat_and_of_its_stream(
    recording: Recording, endpoint: Endpoint
) -> None:
    """The bridges' own translation of whole answers is the oracle."""
    stream = played(recording, Endpoint.CHAT)
    chat = gathered(Endpoint.CHAT, stream)
    whole = orjson.loads(BRIDGES[endpoint].reply(asked(endpoint, stream=False), chat))
    shaped = BRIDGES[endpoint].stream(asked(endpoint)).feed(stream)
    told = orjson.loads(gathered(endpoint, shaped))
    assert _compared(told) == _compared(whole)


def _compared(answer: Any) -> Any:
    """Without what is made up anew each time."""
    for item in answer.get("output", ()):
        del item["id"]
    return without(answer, "id", "created", "created_at")


SHORT = sorted((r for r in STREAMS if dialect(r)[1] is None), key=lambda r: len(r.reply))[:8]


@pytest.mark.parametrize("recording", SHORT, ids=lambda r: r.id)
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, *BRIDGES])
def test_cut_at_every_event(recording: Recording, endpoint: Endpoint) -> None:
    stream = played(recording, endpoint)
    assert gather(endpoint, stream) is not None
    for part in cuts(stream):
        assert gather(endpoint, part) is None
