"""Deltas as upstreams send them, put together."""

from typing import Any

import orjson
import pytest

from adapters.answers import gather
from adapters.base import Endpoint


def chunk(delta: Any, finish: str | None = None, **choice: Any) -> Any:
    entry = {"index": 0, "delta": delta, "finish_reason": finish, **choice}
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**frame, "choices": [entry]}


def gathered(*deltas: Any) -> Any:
    chunks = [chunk({"role": "assistant", "content": ""}), *map(chunk, deltas), chunk({}, "stop")]
    raw = b"".join(b"data: " + orjson.dumps(entry) + b"\n\n" for entry in chunks)
    got = gather(Endpoint.CHAT, raw + b"data: [DONE]\n\n")
    return None if got is None else orjson.loads(got)["choices"][0]["message"]


def said(content: str | None, **others: Any) -> Any:
    return {"role": "assistant", "content": content, "refusal": None, **others}


def call(index: int | None, arguments: str, **more: Any) -> Any:
    name = {"name": more.pop("name")} if "name" in more else {}
    number = {} if index is None else {"index": index}
    return {"tool_calls": [{**number, "function": {**name, "arguments": arguments}, **more}]}


def called(given: str, name: str, arguments: str, **more: Any) -> Any:
    function = {"name": name, "arguments": arguments}
    return {"id": given, "type": "function", "function": function, **more}


SIGNED = {"type": "thinking", "thinking": "hm so", "signature": "s"}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        ([], said("")),
        (
            [{"content": "Hel"}, {"content": 'lo "é"\u2028'}, {"content": "!"}],
            said('Hello "é"\u2028!'),
        ),
        ([{"refusal": "No"}, {"refusal": "."}], said(None) | {"refusal": "No."}),
        (
            [{"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "a"}],
            said("a", reasoning_content="hm"),
        ),
        ([{"reasoning": "h"}, {"reasoning": "m"}], said("", reasoning="hm")),
        (
            [
                {"thinking_blocks": [{"index": 0, **SIGNED}]},
                {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "x"}]},
            ],
            said("", thinking_blocks=[SIGNED, {"type": "redacted_thinking", "data": "x"}]),
        ),
        (
            [
                {"thinking_blocks": [{"type": "thinking", "thinking": "hm "}]},  # LiteLLM's pieces
                {"thinking_blocks": [{"type": "thinking", "thinking": "so"}]},
                {"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]},
                {"thinking_blocks": [{"type": "thinking", "thinking": "b", "signature": "t"}]},
            ],
            said(
                "",
                thinking_blocks=[SIGNED, {"type": "thinking", "thinking": "b", "signature": "t"}],
            ),
        ),
        (
            [
                {"reasoning_details": [{"index": 0, "type": "reasoning.text", "text": "h"}]},
                {
                    "reasoning_details": [
                        {"index": 0, "type": "reasoning.text", "text": "m", "signature": "s"}
                    ]
                },
            ],
            said(
                "",
                reasoning_details=[
                    {"index": 0, "type": "reasoning.text", "text": "hm", "signature": "s"}
                ],
            ),
        ),
        (
            [
                call(0, "", id="a", name="f", type="function"),
                call(1, "{}", id="b", name="g"),
                call(0, '{"x"'),
                call(0, ":1}"),
            ],
            said(None, tool_calls=[called("a", "f", '{"x":1}'), called("b", "g", "{}")]),
        ),
        (
            [call(0, "{}", id="a", name="f"), call(0, "[]", id="b", name="g")],
            said(None, tool_calls=[called("a", "f", "{}"), called("b", "g", "[]")]),
        ),
        (
            [call(0, "{}", id="a", name="f", extra_content={"x": 1})],
            said(None, tool_calls=[called("a", "f", "{}", extra_content={"x": 1})]),
        ),
        ([{"annotations": [1]}, {"annotations": [2]}], said("", annotations=[1, 2])),
        (
            [{"extra_content": {"x": 1}}, {"extra_content": {"x": 1}}],
            said("", extra_content={"x": 1}),
        ),
    ],
)
def test_what_deltas_say(deltas: list[Any], message: Any) -> None:
    assert gathered(*deltas) == message


@pytest.mark.parametrize(
    "deltas",
    [
        [{"content": ["parts"]}],
        [{"audio": {"data": "a"}}, {"audio": {"data": "b"}}],
        [{"tool_calls": ["x"]}],
        [call(0, "{}", id="a", name="f", custom={"a": 1}), call(0, "{}", custom={"b": 1})],
        [call(0, "{}", id="a", type="custom")],
        [{"thinking_blocks": [1]}],
        [{"annotations": 1}],
        ["x"],
    ],
)
def test_what_no_body_can_say(deltas: list[Any]) -> None:
    assert gathered(*deltas) is None
