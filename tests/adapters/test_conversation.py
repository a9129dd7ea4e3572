"""Reading OpenAI's messages: every place of a fault has its name."""

from typing import Any

import pytest

from adapters.base import UpstreamFailure
from adapters.conversation import (
    Assistant,
    Blob,
    Format,
    System,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
    User,
    other_tools,
    read_format,
    read_messages,
    read_stop,
    read_tool_choice,
    read_tools,
    text_of,
)
from adapters.fields import Fields
from tests.adapters.asks import ask, target


def fields(**body: Any) -> Fields:
    return Fields(ask(**body), target())


def test_every_role() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    turns = read_messages(
        [
            {"role": "system", "content": "S"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            {"role": "user", "content": "U", "name": "bob"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "R"},
            {"role": "assistant", "refusal": "No", "content": None},
        ]
    )
    assert turns == (
        System((Text("S"),)),
        System((Text("D"),)),
        User((Text("U"),)),
        Assistant((), calls=(ToolCall("c", "f", {"a": 1}),)),
        ToolResult("c", "f", (Text("R"),)),
        Assistant((Text("No"),)),
    )


def test_thought_comes_back_in_every_spelling() -> None:
    def read(**member: Any) -> Any:
        (turn,) = read_messages([{"role": "assistant", "content": "x", **member}])
        assert isinstance(turn, Assistant)
        return turn.thinking

    signed = (Thinking("t", "s"), Thinking(redacted="d"))
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "s", "index": 0},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "something"},
    ]
    assert read(thinking_blocks=blocks, reasoning_content="t") == signed
    details = [
        {"type": "reasoning.text", "text": "t", "signature": "s"},
        {"type": "reasoning.encrypted", "data": "d"},
    ]
    assert read(reasoning_details=details) == signed
    assert read(reasoning_content="t") == (Thinking("t"),)
    assert read(reasoning="t") == (Thinking("t"),)
    assert read() == ()


def test_signatures_of_gemini() -> None:
    extra = {"google": {"thought_signature": "sig"}}
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    (turn,) = read_messages(
        [{"role": "assistant", "content": "x", "tool_calls": [call], "extra_content": extra}]
    )
    assert isinstance(turn, Assistant)
    assert (turn.signature, turn.calls[0].signature) == ("sig", "sig")


def test_blobs() -> None:
    (turn,) = read_messages(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": "data:image/png;base64,QUJD"},
                    {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
                    {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
                    {"type": "file", "file": {"file_id": "f-1"}},
                ],
                "cache_control": {"type": "ephemeral"},
            }
        ]
    )
    image, linked, audio, file = turn.parts  # type: ignore[union-attr]
    assert isinstance(image, Blob)
    assert (image.mime, image.data) == ("image/png", "QUJD")
    assert isinstance(linked, Blob)
    assert linked.url == "https://a.test/b.png"
    assert isinstance(audio, Blob)
    assert (audio.kind, audio.mime) == ("audio", "audio/mpeg")
    assert isinstance(file, Blob)
    assert (file.id, file.cache) == ("f-1", {"type": "ephemeral"})


def test_the_words_of_a_file() -> None:
    assert text_of(Blob("file", "x", mime="text/plain", data="SGk=")) == "Hi"
    assert text_of(Blob("file", "x", mime="application/pdf", data="SGk=")) is None


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("x", "messages"),
        ([5], "messages[0]"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [5]}], "messages[0].content[0]"),
        (
            [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "x"}]}],
            "messages[1].content[0].type",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {}}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}],
            "messages[0].content[0].image_url.url",
        ),
    ],
)
def test_a_fault_has_a_place(messages: Any, param: str) -> None:
    with pytest.raises(UpstreamFailure) as wrong:
        read_messages(messages)
    assert wrong.value.failure.param == param


def test_tools() -> None:
    given = fields(
        tools=[
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
            {"type": "web_search"},
        ]
    )
    (tool,) = read_tools(given)
    assert (tool.name, tool.schema) == ("f", {"type": "object"})
    assert other_tools(given) == [{"type": "web_search"}]
    assert given.close() == ()


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", ("f",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            ToolChoice("tool", ("f",)),
        ),
        (None, None),
    ],
)
def test_tool_choice(given: Any, choice: ToolChoice | None) -> None:
    assert read_tool_choice(fields(tool_choice=given)) == choice


@pytest.mark.parametrize("given", ["perhaps", {"type": "function"}, 5])
def test_a_tool_choice_that_is_none(given: Any) -> None:
    with pytest.raises(UpstreamFailure):
        read_tool_choice(fields(tool_choice=given))


def test_formats_and_stops() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}
    assert read_format(fields(response_format=schema)) == Format("n", {}, True)
    assert read_format(fields(response_format={"type": "json_object"})) == Format("json", None)
    assert read_format(fields(response_format={"type": "text"})) is None
    with pytest.raises(UpstreamFailure):
        read_format(fields(response_format={"type": "json_schema"}))
    assert (read_stop(fields(stop="a")), read_stop(fields(stop=["a", "b"]))) == (["a"], ["a", "b"])
