"""The Responses API on chat: requests against literals, answers against the SDK's own types."""

import re
from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from adapters.anthropic import Anthropic
from adapters.base import Ask, Endpoint, FailureKind, Retry, UpstreamFailure
from adapters.inbound.base import Bridged
from adapters.inbound.responses import Responses
from tests.adapters.asks import ask, target
from tests.recordings import Recording, of_path

RECORDED = [found for found in of_path("/v1/responses") if found.method == "POST"]

REFUSED = {"anthropic/anthropic_server_tool_pass_history_to_another_provider#1": "tools[0].type"}

STREET = {"role": "user", "content": "How do I cross the street?"}
HELPFUL = {"role": "system", "content": "You are a helpful assistant."}
GERAIS = {"role": "user", "content": "What is the capital of Minas Gerais?"}

MESSAGES: dict[str, list[dict[str, Any]]] = {
    "anthropic/anthropic_model_thinking_part_from_other_model#0": [HELPFUL, STREET],
    "google/google_model_thinking_part_from_other_model#0": [HELPFUL, STREET],
    "google/thinking_with_tool_calls_from_other_model#0": [
        {"role": "user", "content": "What is the capital of the country?"}
    ],
    "google/thinking_with_tool_calls_from_other_model#1": [
        {"role": "user", "content": "What is the capital of the country?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1w9YRdMtRTRucwZShoZYlLJp",
                    "type": "function",
                    "function": {"name": "get_country", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1w9YRdMtRTRucwZShoZYlLJp", "content": "Mexico"},
    ],
    "mistral/mistral_model_thinking_part#0": [STREET],
    "openai/document_url_input_response_api#0": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is the main content on this document?"},
                {
                    "type": "file",
                    "file": {
                        "file_data": "https://www.w3.org/WAI/ER/tests/xhtml/testfiles/"
                        "resources/pdf/dummy.pdf"
                    },
                },
            ],
        }
    ],
    "openai/openai_instructions_with_responses_logprobs#0": [HELPFUL, GERAIS],
    "openai/openai_instructions_with_responses_logprobs_streaming#0": [HELPFUL, GERAIS],
    "openai/openai_model_thinking_part#0": [STREET],
    "openai/openai_responses_native_output_decimal_strict#0": [
        {"role": "user", "content": "Return exactly this payment amount: 12.34"}
    ],
}


def responses_ask(**body: Any) -> Ask:
    return ask(Endpoint.RESPONSES, raw=orjson.dumps({"model": "m", "input": "Hi"} | body))


def chat(**body: Any) -> Any:
    """The chat's body for a Responses body."""
    return Responses().chat(responses_ask(**body)).body


def messages(*items: Any, **body: Any) -> Any:
    return chat(input=list(items), **body)["messages"]


def refusal(**body: Any) -> Any:
    with pytest.raises(UpstreamFailure) as raised:
        chat(**body)
    return raised.value.failure


# Recorded requests.


@pytest.mark.parametrize("recording", RECORDED, ids=lambda r: r.id)
def test_a_recorded_request_becomes_a_chat_or_is_refused_by_name(recording: Recording) -> None:
    given = ask(Endpoint.RESPONSES, raw=orjson.dumps(recording.request))
    if recording.id in REFUSED:
        with pytest.raises(UpstreamFailure) as raised:
            Responses().chat(given)
        assert raised.value.failure.param == REFUSED[recording.id]
        return
    made = Responses().chat(given)
    assert made.endpoint is Endpoint.CHAT
    assert orjson.loads(made.raw) == made.body
    assert made.stream == made.wants_usage == recording.request["stream"]
    assert made.body["model"] == recording.request["model"]
    if recording.id in MESSAGES:
        assert made.body["messages"] == MESSAGES[recording.id]


def test_the_literals_are_of_recordings_that_exist() -> None:
    assert {*REFUSED, *MESSAGES} <= {recording.id for recording in RECORDED}


@pytest.mark.parametrize("kind", ["document", "image"])
def test_recorded_data_urls_go_where_chat_has_them(kind: str) -> None:
    name = f"openai/{kind}_url_input_force_download_response_api#0"
    request = next(r.request for r in RECORDED if r.id == name)
    given = request["input"][0]["content"]
    [message] = (
        Responses().chat(ask(Endpoint.RESPONSES, raw=orjson.dumps(request))).body["messages"]
    )
    text, blob = message["content"]
    assert text == {"type": "text", "text": given[0]["text"]}
    if kind == "image":
        url = {"url": given[1]["image_url"], "detail": "auto"}
        assert blob == {"type": "image_url", "image_url": url}
    else:
        assert blob["type"] == "file"
        assert blob["file"].pop("file_data") == given[1]["file_data"]
        assert blob["file"] == {k: v for k, v in given[1].items() if k not in ("type", "file_data")}


# Parameters.


def test_parameters_get_chats_names() -> None:
    body = chat(
        instructions="Be brief.",
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto"},
        text={
            "format": {
                "type": "json_schema",
                "name": "n",
                "schema": {"type": "object"},
                "strict": True,
            },
            "verbosity": "low",
        },
        temperature=0.5,
        top_p=0.9,
        parallel_tool_calls=False,
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        safety_identifier="s",
        prompt_cache_key="p",
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=3,
        stream=True,
        stream_options={"include_obfuscation": False},
        store=False,
        background=False,
        truncation="disabled",
        previous_response_id=None,
        tools=[
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "parameters": {"type": "object"},
                "strict": True,
            }
        ],
        tool_choice={"type": "function", "name": "f"},
    )
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "verbosity": "low",
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "user": "u",
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "safety_identifier": "s",
        "prompt_cache_key": "p",
        "logprobs": True,
        "top_logprobs": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        ({"top_logprobs": 3}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "f"}],
                }
            },
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "f"}}],
                    },
                }
            },
        ),
    ],
)
def test_a_parameter_alone(given: dict[str, Any], expected: dict[str, Any]) -> None:
    hi = [{"role": "user", "content": "Hi"}]
    assert chat(**given) == {"model": "m", "messages": hi, **expected}


def test_the_other_members_of_the_ask_are_kept_and_its_own_limit_wins() -> None:
    given = responses_ask(max_output_tokens=5, task="t")._replace(
        defaults={"max_tokens": 100, "temperature": 0.2},
        drop=frozenset({"task"}),
        headers=(("x-a", "b"),),
        drop_params=True,
    )
    made = Responses().chat(given)
    assert made.defaults == {"temperature": 0.2}
    assert (made.drop, made.headers, made.drop_params) == ({"task"}, (("x-a", "b"),), True)
    assert made.body["task"] == "t"
    assert made.body["max_completion_tokens"] == 5
    assert made.wants_usage is False


# What is refused.


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("store", {"store": True}),
        ("previous_response_id", {"previous_response_id": "resp_1"}),
        ("conversation", {"conversation": "conv_1"}),
        ("background", {"background": True}),
        ("prompt", {"prompt": {"id": "pmpt_1"}}),
        ("max_tool_calls", {"max_tool_calls": 1}),
        ("truncation", {"truncation": "auto"}),
        ("context_management", {"context_management": [{"type": "compaction"}]}),
        ("n", {"n": 2}),
        ("include[1]", {"include": ["reasoning.encrypted_content", "file_search_call.results"]}),
        ("tools[0].type", {"tools": [{"type": "file_search", "vector_store_ids": []}]}),
        ("tools[0].type", {"tools": [{"type": "custom", "name": "c"}]}),
        (
            "tools[1].type",
            {"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_label": "s"}]},
        ),
        (
            "tools[0].defer_loading",
            {"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
        ),
        ("tool_choice.type", {"tool_choice": {"type": "web_search_preview"}}),
        (
            "tool_choice.tools[0].type",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "mcp", "server_label": "s"}],
                }
            },
        ),
        ("text.format.type", {"text": {"format": {"type": "grammar"}}}),
        ("text.shape", {"text": {"shape": "round"}}),
        ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
        ("input[0]", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("input[0]", {"input": [{"id": "msg_1"}]}),
        ("input[1].type", {"input": [STREET, {"type": "web_search_call", "id": "ws_1"}]}),
        (
            "input[0].content[0].file_id",
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}
                ]
            },
        ),
        (
            "input[0].content[0].type",
            {"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
        ),
    ],
)
def test_what_chat_lacks_is_refused_by_name(param: str, body: dict[str, Any]) -> None:
    failure = refusal(**body)
    assert (failure.param, failure.status) == (param, 400)
    assert (failure.kind, failure.code) == (FailureKind.UNSUPPORTED, "unsupported_parameter")
    assert failure.retry is Retry.NEXT_TARGET
    assert failure.message.startswith(param + " ")


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("input", {"input": None}),
        ("input[0]", {"input": ["Hi"]}),
        ("input[0].role", {"input": [{"role": "tool", "content": "x"}]}),
        ("input[0].content", {"input": [{"role": "user", "content": 1}]}),
        (
            "input[0].content[0].text",
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        ),
        ("input[0].content[0]", {"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
        (
            "input[0].call_id",
            {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        ),
        ("input[0].output", {"input": [{"type": "function_call_output", "call_id": "c"}]}),
        ("instructions", {"instructions": [STREET]}),
        ("tools", {"tools": {"type": "function"}}),
        ("tools[0].name", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("tool_choice", {"tool_choice": {"type": "function"}}),
        ("text", {"text": "json"}),
        ("text.format", {"text": {"format": "json"}}),
        ("reasoning", {"reasoning": "high"}),
    ],
)
def test_what_is_wrong_in_itself_is_the_clients_to_mend(param: str, body: dict[str, Any]) -> None:
    failure = refusal(**body)
    assert (failure.param, failure.status) == (param, 400)
    assert (failure.kind, failure.retry) == (FailureKind.INVALID_REQUEST, Retry.NEVER)


# The conversation.


def call_item(id: str, **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}", **more}


def tool_call(id: str, **more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"id": id, "type": "function", "function": function, **more}


def test_parts_of_messages() -> None:
    got = messages(
        {"role": "developer", "content": [{"type": "input_text", "text": "Rules"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://a.test/i.png", "detail": "low"},
                {"type": "input_image", "image_url": "https://a.test/j.png"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:x;base64,QQ=="},
                {"type": "input_file", "file_url": "https://a.test/b.pdf"},
            ],
        },
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Seen", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "No"},
            ],
        },
    )
    assert got == [
        {"role": "developer", "content": "Rules"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://a.test/i.png", "detail": "low"},
                },
                {"type": "image_url", "image_url": {"url": "https://a.test/j.png"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x;base64,QQ=="}},
                {"type": "file", "file": {"file_data": "https://a.test/b.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Seen"}, {"type": "refusal", "refusal": "No"}],
        },
    ]


def test_thought_words_and_calls_in_a_row_are_one_message() -> None:
    got = messages(
        STREET,
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"role": "assistant", "content": "Let me see"},
        call_item("a"),
        call_item("b"),
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {
            "type": "function_call_output",
            "call_id": "b",
            "output": [{"type": "input_text", "text": "2"}],
        },
        call_item("c"),
        {"type": "function_call_output", "call_id": "c", "output": "3"},
    )
    assert got == [
        STREET,
        {
            "role": "assistant",
            "content": "Let me see",
            "reasoning_content": "Hm",
            "tool_calls": [tool_call("a"), tool_call("b")],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": [tool_call("c")]},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]


def test_words_after_words_are_two_messages_and_words_after_calls_join_them() -> None:
    got = messages(
        {"role": "assistant", "content": "One"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"role": "assistant", "content": "Two"},
        call_item("a"),
        {"role": "assistant", "content": "Three"},
        {"type": "function_call_output", "call_id": "a", "output": ""},
    )
    assert got == [
        {"role": "assistant", "content": "One"},
        {
            "role": "assistant",
            "reasoning_content": "Hm",
            "content": [{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}],
            "tool_calls": [tool_call("a")],
        },
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]


def test_thought_that_led_to_nothing_goes_to_what_was_done_before_it_or_nowhere() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    assert messages(thought, STREET) == [STREET]
    got = messages(
        call_item("a"), thought, {"type": "function_call_output", "call_id": "a", "output": "1"}
    )
    assert got[0]["reasoning_content"] == "Hm"


def test_thought_before_words_and_before_the_call_after_them_is_all_kept() -> None:
    one, two = (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}
        for text in ("One", "Two")
    )
    assert messages(one, {"role": "assistant", "content": "Hi"}, two, call_item("a")) == [
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning_content": "One\n\nTwo",
            "tool_calls": [tool_call("a")],
        }
    ]


@pytest.mark.parametrize("sealed", ["gAAAAABpIOBE-GF_x=", "aGVsbG8=", "e30=", "W10=", "ä", 5, None])
def test_what_another_provider_encrypted_leaves_its_summary(sealed: Any) -> None:
    parts = [{"type": "summary_text", "text": t} for t in ("One", "Two")]
    thought = {"type": "reasoning", "summary": parts, "encrypted_content": sealed}
    assert messages(thought, {"role": "assistant", "content": "Hi"}) == [
        {"role": "assistant", "content": "Hi", "reasoning_content": "One\n\nTwo"}
    ]


# Whole answers.


COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "real-m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "reasoning_content": "Hm",
                "tool_calls": [
                    {
                        "id": "call_a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x":1}'},
                    }
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cost_usd": 0.25,
    },
}


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> bytes:
    entry = {"index": 0, "message": message, "finish_reason": finish, **choice}
    return orjson.dumps({**COMPLETION, "choices": [entry]})


def reply(body: bytes, **asked: Any) -> Any:
    """The answer's body, which the SDK's type has to accept."""
    made = Responses().reply(responses_ask(**asked), body)
    Response.model_validate_json(made)
    return orjson.loads(made)


def test_a_whole_answer() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    got = reply(orjson.dumps(COMPLETION), instructions="Be", temperature=0.5, tools=[tool])
    assert got == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Be",
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "model": "real-m",
        "output": [
            {
                "type": "reasoning",
                "id": "rs_1_0",
                "summary": [{"type": "summary_text", "text": "Hm"}],
            },
            {
                "type": "message",
                "id": "msg_1_1",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
                ],
            },
            {
                "type": "function_call",
                "id": "fc_1_2",
                "call_id": "call_a",
                "name": "f",
                "arguments": '{"x":1}',
                "status": "completed",
            },
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "auto",
        "store": False,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [{**tool, "description": None}],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 17,
            "cost_usd": 0.25,
        },
        "user": None,
    }


ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "temperature",
    "tool_choice",
    "truncation",
)


@pytest.mark.parametrize("recording", RECORDED, ids=lambda r: r.id)
def test_what_was_asked_is_echoed_as_openai_echoes_it(recording: Recording) -> None:
    """The settings of a recorded Response are those that its request leads to here."""
    if recording.is_stream:
        first = re.search(rb"^data: (.*)$", recording.reply, re.MULTILINE)
        assert first is not None
        real = orjson.loads(first[1])["response"]
    else:
        real = orjson.loads(recording.reply)
    if recording.id in REFUSED:
        return
    got = reply(orjson.dumps(COMPLETION), **recording.request)
    for name in ECHOED:
        assert got[name] == real[name], name
    assert got["text"]["verbosity"] == real["text"]["verbosity"]
    assert got["text"]["format"]["type"] == real["text"]["format"]["type"]
    assert [tool["name"] for tool in got["tools"]] == [tool["name"] for tool in real["tools"]]
    assert {*real} - {*got} <= {
        "billing",
        "completed_at",
        "frequency_penalty",
        "moderation",
        "presence_penalty",
        "prompt_cache_retention",
        "tool_usage",
    }


CHATS = [
    found
    for found in of_path("/chat/completions")
    if found.status == 200 and not found.is_stream and b'"choices"' in found.reply
]


@pytest.mark.parametrize("recording", CHATS, ids=lambda r: r.id)
def test_recorded_chats_answer(recording: Recording) -> None:
    body = orjson.loads(recording.reply)
    message = body["choices"][0]["message"]
    if isinstance(message.get("content"), list):
        return  # Mistral's thought: the OpenAI dialect makes words of it first
    made = Response.model_validate_json(Responses().reply(responses_ask(), recording.reply))
    assert made.output_text == (message.get("content") or "")
    calls = [item for item in made.output if item.type == "function_call"]
    given = [call["function"] for call in message.get("tool_calls") or ()]
    assert [(c.name, c.arguments) for c in calls] == [(f["name"], f["arguments"]) for f in given]
    assert made.usage is not None
    assert made.usage.input_tokens == body["usage"]["prompt_tokens"]
    assert made.usage.output_tokens == body["usage"]["completion_tokens"]


def test_there_are_recorded_chats() -> None:
    assert len(CHATS) > 40


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended(finish: str, status: str, reason: str | None) -> None:
    got = reply(completion({"content": "He", "reasoning": "Hm"}, finish))
    assert got["status"] == status
    assert got["incomplete_details"] == (reason and {"reason": reason})
    assert got["output"][1]["status"] == status
    assert got["output"][0]["summary"][0]["text"] == "Hm"


def test_a_refusal_and_an_empty_answer() -> None:
    got = reply(completion({"content": None, "refusal": "No"}))
    [item] = got["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "No"}]
    assert reply(completion({"content": "", "refusal": None}))["output"] == []


def test_an_answer_without_usage_or_choices() -> None:
    body = {k: v for k, v in COMPLETION.items() if k != "usage"}
    assert reply(orjson.dumps(body))["usage"] is None
    with pytest.raises(UpstreamFailure) as raised:
        reply(orjson.dumps({**COMPLETION, "choices": []}))
    assert raised.value.failure.kind is FailureKind.INVALID_REPLY


def test_the_only_choice_counts_whatever_its_number() -> None:
    assert reply(completion({"content": "Hi"}, index=1))["output"][0]["type"] == "message"


def test_logprobs_only_for_who_asked() -> None:
    tokens = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
        }
    ]
    body = completion({"content": "é"}, logprobs={"content": tokens, "refusal": None})
    got = reply(body, include=["message.output_text.logprobs"])
    assert got["output"][0]["content"][0]["logprobs"] == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
        }
    ]
    assert reply(body)["output"][0]["content"][0]["logprobs"] == []


# Signatures in a tool loop.

SIGNED: dict[str, Any] = {
    "role": "assistant",
    "content": "Let me see",
    "reasoning_content": "Hm",
    "thinking_blocks": [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
    ],
    "tool_calls": [
        tool_call("a", extra_content={"google": {"thought_signature": "R1NJRw=="}}),
        tool_call("b"),
    ],
}


@pytest.mark.parametrize("loses_extras", [False, True])
def test_signatures_survive_a_tool_loop_through_the_sdks_own_types(loses_extras: bool) -> None:
    include = ["reasoning.encrypted_content"]
    made = Responses().reply(responses_ask(include=include), completion(SIGNED, "tool_calls"))
    items = [item.to_dict() for item in Response.model_validate_json(made).output]
    if loses_extras:
        items = [{k: v for k, v in item.items() if k != "extra_content"} for item in items]
    results = [{"type": "function_call_output", "call_id": c, "output": "1"} for c in "ab"]
    got = messages(STREET, *items, *results)
    assert got == [
        STREET,
        SIGNED,
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": "1"},
    ]


def test_without_include_only_the_call_carries_its_signature() -> None:
    got = reply(completion(SIGNED, "tool_calls"))
    assert all("encrypted_content" not in item for item in got["output"])
    assert [item["type"] for item in got["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    [message] = messages(*got["output"])
    assert message["tool_calls"] == SIGNED["tool_calls"]
    assert "thinking_blocks" not in message


def test_the_signature_of_words_comes_back() -> None:
    extra = {"google": {"thought_signature": "R1NJRw=="}}
    got = reply(completion({"content": "Hi", "extra_content": extra}))
    assert messages(*got["output"]) == [
        {"role": "assistant", "content": "Hi", "extra_content": extra}
    ]


def test_anthropics_recorded_thought_goes_back_to_anthropic_as_it_came() -> None:
    recording = next(
        r for r in of_path("/messages") if r.id == "anthropic/anthropic_tool_with_thinking#0"
    )
    blocks = orjson.loads(recording.reply)["content"]
    assert [block["type"] for block in blocks][:1] == ["thinking"]
    bridged = Bridged(Anthropic(), Responses())
    include = ["reasoning.encrypted_content"]
    first = bridged.reply(responses_ask(include=include), recording.reply)
    output = Response.model_validate_json(first.body).output
    [call] = [item for item in output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Mexico"}
    again = responses_ask(include=include, input=[STREET, *(i.to_dict() for i in output), result])
    sent = orjson.loads(bridged.request(again, target(dialect="anthropic")).body)
    kept = [{k: v for k, v in block.items() if k != "caller"} for block in blocks]
    assert sent["messages"][1] == {"role": "assistant", "content": kept}
