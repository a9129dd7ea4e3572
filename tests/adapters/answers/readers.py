"""What the vendors' own SDKs make of an answer's bytes, streamed or not."""

from typing import Any

import anthropic
import httpx2
import openai
import orjson
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

SAYS: list[Any] = [{"role": "user", "content": "Hi"}]


def _transport(raw: bytes, kind: str) -> httpx2.Client:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=raw, headers={"content-type": kind})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _openai(raw: bytes, kind: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url="http://up.test", api_key="x", max_retries=0, http_client=_transport(raw, kind)
    )


def _anthropic(raw: bytes, kind: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url="http://up.test", api_key="x", max_retries=0, http_client=_transport(raw, kind)
    )


def _plain(value: Any, left_out: tuple[str, ...]) -> Any:
    """Without nulls and what SDKs add of their own."""
    if isinstance(value, list):
        return [_plain(entry, left_out) for entry in value]
    if not isinstance(value, dict):
        return value
    return {k: _plain(v, left_out) for k, v in value.items() if v is not None and k not in left_out}


def _model(found: Any, *left_out: str) -> Any:
    return _plain(found.model_dump(mode="json", warnings=False), left_out)


CHAT_OWN = ("parsed", "parsed_arguments", "index")
"""What the chat accumulator adds, and the numbers of pieces, which a body has not."""


def chat_stream(raw: bytes) -> Any:
    with _openai(raw, "text/event-stream").chat.completions.stream(
        model="m", messages=SAYS
    ) as stream:
        for _ in stream:
            pass
        return _model(stream.get_final_completion(), *CHAT_OWN)


def chat_whole(raw: bytes) -> Any:
    client = _openai(raw, "application/json")
    return _model(client.chat.completions.create(model="m", messages=SAYS), *CHAT_OWN)


def completions_stream(raw: bytes) -> list[Any]:
    client = _openai(raw, "text/event-stream")
    return list(client.completions.create(model="m", prompt="Hi", stream=True))


def messages_stream(raw: bytes) -> Any:
    client = _anthropic(raw, "text/event-stream")
    with client.beta.messages.stream(model="m", max_tokens=9, messages=SAYS) as stream:
        return _model(stream.get_final_message(), "parsed_output")


def messages_whole(raw: bytes) -> Any:
    client = _anthropic(raw, "application/json")
    return _model(client.beta.messages.create(model="m", max_tokens=9, messages=SAYS))


def responses_stream(raw: bytes) -> Any:
    client = _openai(raw, "text/event-stream")
    with client.responses.stream(model="m", input="Hi") as stream:
        return _model(stream.get_final_response(), "parsed", "parsed_arguments")


def responses_whole(raw: bytes) -> Any:
    return _model(_openai(raw, "application/json").responses.create(model="m", input="Hi"))


def payloads(pieces: tuple[bytes, ...]) -> list[Any]:
    """The JSON of events, each of them one whole event; `[DONE]` as it is."""
    found = []
    for piece in pieces:
        *head, data, blank, end = piece.split(b"\n")
        assert (blank, end) == (b"", b"")
        text = data.removeprefix(b"data: ")
        parsed: Any = "[DONE]" if text == b"[DONE]" else orjson.loads(text)
        if head:
            assert head == [b"event: " + parsed["type"].encode()]
        found.append(parsed)
    return found


def without(found: Any, *names: str) -> Any:
    """Without members of the top."""
    return {name: value for name, value in found.items() if name not in names}


def cuts(stream: bytes) -> list[bytes]:
    """The stream cut at every event's end but the last."""
    ends = [i + 2 for i in range(len(stream)) if stream[i : i + 2] == b"\n\n"]
    return [stream[:end] for end in [0, *ends[:-1]]]
