"""Legacy completions on a model that chats; OpenAI's own types read the answers."""

import orjson
import pytest
from openai.types import Completion

from adapters.base import Endpoint, UpstreamFailure
from adapters.inbound.completions import Completions
from tests.adapters.asks import ask

CHAT = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


def asked(extra: bytes = b"") -> bytes:
    return b'{"model":"m","prompt":"Hi"%b}' % extra


def test_the_prompt_is_what_the_user_says() -> None:
    before = ask(Endpoint.COMPLETIONS, raw=asked(b',"seed":3,"best_of":1,"echo":false'))
    chat = Completions().chat(before)
    assert chat.endpoint is Endpoint.CHAT
    assert chat.body == {
        "model": "m",
        "seed": 3,
        "messages": [{"role": "user", "content": "Hi"}],
    }
    assert orjson.loads(chat.raw) == chat.body


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        (b',"echo":true', "echo"),
        (b',"suffix":"x"', "suffix"),
        (b',"logprobs":3', "logprobs"),
        (b',"best_of":2', "best_of"),
        (b',"prompt":["a","b"]', "prompt"),
        (b',"prompt":[1,2]', "prompt"),
    ],
)
def test_what_chat_cannot_say(extra: bytes, param: str) -> None:
    with pytest.raises(UpstreamFailure) as refused:
        Completions().chat(ask(Endpoint.COMPLETIONS, raw=asked(extra)))
    assert refused.value.failure.param == param


def test_the_answer() -> None:
    body = Completions().reply(ask(Endpoint.COMPLETIONS, raw=asked()), orjson.dumps(CHAT))
    parsed = Completion.model_validate_json(body, strict=True)
    assert (parsed.id, parsed.object, parsed.choices[0].text) == (
        "cmpl-7",
        "text_completion",
        "Hello",
    )
    assert parsed.usage
    assert parsed.usage.total_tokens == 3


def test_a_stream_without_roles() -> None:
    def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        shared = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return b"data: " + orjson.dumps(shared | {"choices": [choice]}) + b"\n\n"

    raw = b"".join(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "hm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({}, "stop"),
            b"data: [DONE]\n\n",
        ]
    )
    shaper = Completions().stream(ask(Endpoint.COMPLETIONS, raw=asked()))
    out = b"".join(shaper.feed(raw[i : i + 1]) for i in range(len(raw)))
    assert out == Completions().stream(ask()).feed(raw)
    payloads = out.split(b"\n\n")
    assert payloads[-2:] == [b"data: [DONE]", b""]
    chunks = [Completion.construct(**orjson.loads(p[6:])) for p in payloads[:-2]]  # as the SDK does
    assert [c.choices[0].text for c in chunks] == ["Hel", "lo", ""]
    assert chunks[-1].choices[0].finish_reason == "stop"
