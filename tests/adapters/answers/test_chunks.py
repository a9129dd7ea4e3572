"""Chunks read together: frames, ends, several choices, and the quick way."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.answers import gather
from adapters.base import Endpoint

FRAME = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def choice(content: str | None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    delta = {} if content is None else {"content": content}
    return {"index": index, "delta": delta, "finish_reason": finish, **more}


def chunk(*choices: Any, **over: Any) -> Any:
    return {**FRAME, "choices": list(choices), **over}


def sse(*chunks: Any, done: bool = True) -> bytes:
    raw = [entry if isinstance(entry, bytes) else orjson.dumps(entry) for entry in chunks]
    raw += [b"[DONE]"] * done
    return b"".join(b"data: " + entry + b"\n\n" for entry in raw)


def gathered(*chunks: Any) -> Any:
    got = gather(Endpoint.CHAT, sse(*chunks))
    return None if got is None else orjson.loads(got)


STOP = chunk(choice(None, "stop"))


def test_a_body_to_the_letter() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    found = gathered(
        chunk(prompt_filter_results=[{"a": 1}], id="", model=""),  # Azure's first
        chunk(choice("Hi"), usage=None, system_fingerprint="fp", obfuscation="xyz"),
        chunk(
            choice(None, "stop", stop_reason="###"), service_tier="default", system_fingerprint=None
        ),
        chunk(usage=usage),
    )
    assert found == {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": "###",
            }
        ],
        "prompt_filter_results": [{"a": 1}],
        "system_fingerprint": "fp",
        "service_tier": "default",
        "usage": usage,
    }


def test_choices_in_turns() -> None:
    found = gathered(
        chunk(choice("a1", index=1)),
        chunk(choice("a0"), choice("b1", index=1)),
        chunk(choice("b0")),
        chunk(choice("c0")),
        chunk(choice("c1", "length", index=1)),
        STOP,
    )
    said = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in found["choices"]]
    assert said == [(0, "a0b0c0", "stop"), (1, "a1b1c1", "length")]


def test_logprobs_go_on() -> None:
    def tokens(*names: str) -> Any:
        return {"content": [{"token": name} for name in names], "refusal": None}

    found = gathered(
        chunk(choice("a", logprobs=tokens("a"))),
        chunk(choice("bc", logprobs=tokens("b", "c"))),
        chunk(choice("", logprobs={"content": None})),
        STOP,
    )
    assert found["choices"][0]["logprobs"] == tokens("a", "b", "c")


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: [DONE]\n\n",
        sse(chunk(choice("a"))),
        sse(chunk(choice("a")), STOP, done=False),
        sse(chunk(choice("a")), STOP)[:-1],
        sse(chunk(choice("a")), STOP) + sse(STOP, done=False),
        sse(chunk(choice("a")), b"{", STOP),
        sse(chunk(choice("a")), b"[]", STOP),
        sse(chunk(choice("a")), {"error": {"message": "x"}}, STOP),
        sse(chunk(choice("a")), chunk(choice("a"), error={"message": "x"}), STOP),
        sse(chunk(choice("a", index=1)), chunk(choice(None, "stop", index=1))),
        sse(chunk(choice("a", index=1)), STOP),
        sse(chunk(choice("a", index=-1)), STOP),
        sse(chunk(choice("a", index=10**9)), STOP),
        sse(chunk(choice("a", logprobs={"content": "x"})), STOP),
        sse(chunk("x"), STOP),
        sse({**STOP, "usage": "x"}),
    ],
)
def test_what_is_not_whole(stream: bytes) -> None:
    assert gather(Endpoint.CHAT, stream) is None


PLAIN = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=20)


@given(PLAIN, st.sampled_from(["m", "a", "stop", "content"]))
def test_the_quick_way_hears_what_a_parse_hears(words: list[str], model: str) -> None:
    """Most chunks differ in their words alone; obfuscation makes each of them differ."""
    alike = [chunk(choice(word), model=model) for word in words]
    apart = [{**entry, "obfuscation": str(i)} for i, entry in enumerate(alike)]
    quick, slow = gathered(*alike, STOP), gathered(*apart, STOP)
    assert quick == slow
    assert quick["choices"][0]["message"]["content"] == "".join(words)


def test_a_space_in_the_way() -> None:
    spaced = [orjson.dumps(chunk(choice(w))).replace(b":", b": ") for w in ("a", "b", "c")]
    assert gathered(*spaced, STOP)["choices"][0]["message"]["content"] == "abc"
