"""Anthropic's Messages API in: real requests there and back, answers read by Anthropic's SDK."""

from typing import Any

import orjson
import pytest
from anthropic.types import Message

from adapters.anthropic import Anthropic
from adapters.base import Ask, Endpoint, FailureKind, Retry, UpstreamFailure
from adapters.inbound.messages import Messages, count_estimate
from tests.adapters.asks import ask, target
from tests.recordings import Recording, of_path

BRIDGE = Messages()

REQUESTS = [
    found
    for found in of_path("/v1/messages")
    if found.vendor == "anthropic" and found.method == "POST" and found.path == "/v1/messages"
]

LACKS = {
    "anthropic_advisor_tool#0": "tools[0].type",
    "anthropic_advisor_tool_message_replay#0": "tools[0].type",
    "anthropic_advisor_tool_message_replay#1": "messages[1].content[2].type",
    "anthropic_advisor_tool_redacted#0": "tools[0].type",
    "anthropic_advisor_tool_stream#0": "tools[0].type",
    "anthropic_cache_count_tokens#1": "cache_control",
    "anthropic_cache_real_api#0": "cache_control",
    "anthropic_cache_real_api#1": "cache_control",
    "anthropic_code_execution_tool#0": "tools[0].type",
    "anthropic_code_execution_tool#1": "tools[0].type",
    "anthropic_code_execution_tool_container_reuse#0": "tools[0].type",
    "anthropic_code_execution_tool_container_reuse#1": "messages[1].content[0].type",
    "anthropic_code_execution_tool_stream#0": "tools[0].type",
    "anthropic_compaction_round_trip#0": "messages[1].content[0].type",
    "anthropic_count_tokens_with_adaptive_thinking_and_output_tools#1": "output_config.effort",
    "anthropic_deferred_capability_tool_callable_without_tool_search#0": "tools[1].defer_loading",
    "anthropic_deferred_capability_tool_callable_without_tool_search#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_tool_callable_without_tool_search#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-fable-5]#0": (
        "tools[1].defer_loading"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-fable-5]#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-fable-5]#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-haiku-4-5]#0": (
        "tools[1].defer_loading"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-haiku-4-5]#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-haiku-4-5]#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-opus-5]#0": (
        "tools[1].defer_loading"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-opus-5]#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-opus-5]#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-4-6]#0": (
        "tools[1].defer_loading"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-4-6]#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-4-6]#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-5]#0": (
        "tools[1].defer_loading"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-5]#1": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_deferred_capability_without_tool_search_across_models[claude-sonnet-5]#2": (
        "messages[4].content[0].content[0].type"
    ),
    "anthropic_explicit_effort_xhigh_unsupported_model_errors#0": "thinking",
    "anthropic_explicit_tool_search_keeps_search_surface#0": "tools[1].defer_loading",
    "anthropic_explicit_tool_search_keeps_search_surface#1": (
        "messages[2].content[0].content[0].type"
    ),
    "anthropic_explicit_tool_search_keeps_search_surface#2": (
        "messages[2].content[0].content[0].type"
    ),
    "anthropic_fable_5_lazy_advertisement_live#0": "tools[1].defer_loading",
    "anthropic_fable_5_lazy_advertisement_live#1": "messages[3].content[0].type",
    "anthropic_fable_5_lazy_advertisement_live#2": "messages[3].content[0].type",
    "anthropic_lazy_advertisement_live#0": "tools[1].defer_loading",
    "anthropic_lazy_advertisement_live#1": "messages[3].content[0].type",
    "anthropic_lazy_advertisement_live#2": "messages[3].content[0].type",
    "anthropic_mcp_servers#0": "mcp_servers",
    "anthropic_mcp_servers#1": "messages[1].content[1].type",
    "anthropic_mcp_servers_stream#0": "mcp_servers",
    "anthropic_memory_tool#0": "tools[0].type",
    "anthropic_memory_tool#1": "tools[0].type",
    "anthropic_model_web_search_tool_stream#0": "tools[0].type",
    "anthropic_opus_46_adaptive_thinking_accepts_tool_output[provider_specific]#0": (
        "output_config.effort"
    ),
    "anthropic_opus_46_features[adaptive-thinking]#0": "output_config.effort",
    "anthropic_opus_46_features[effort]#0": "thinking",
    "anthropic_opus_47_features#0": "thinking.display",
    "anthropic_opus_48_features#0": "thinking.display",
    "anthropic_opus_5_features#0": "thinking.display",
    "anthropic_output_tool_with_thinking#0": "thinking.budget_tokens",
    "anthropic_server_tool_pass_history_to_another_provider#0": "tools[0].type",
    "anthropic_server_tool_receive_history_from_another_provider#1": "tools[0].type",
    "anthropic_task_budget_adds_output_config_and_beta#0": "output_config.task_budget",
    "anthropic_task_budget_coexists_with_effort#0": "output_config.task_budget",
    "anthropic_text_editor_code_execution_tool#0": "tools[0].type",
    "anthropic_text_editor_code_execution_tool_stream#0": "tools[0].type",
    "anthropic_tool_with_thinking#0": "thinking.budget_tokens",
    "anthropic_tool_with_thinking#1": "thinking.budget_tokens",
    "anthropic_web_fetch_tool#0": "tools[0].type",
    "anthropic_web_fetch_tool#1": "messages[1].content[1].type",
    "anthropic_web_fetch_tool_stream#0": "tools[0].type",
    "anthropic_web_search_tool#0": "tools[0].type",
    "anthropic_web_search_tool#1": "messages[1].content[1].type",
    "anthropic_web_search_tool_stream#0": "tools[0].type",
}
"""Recorded requests that chat has no words for, by the member that it lacks: refused by that name,
or, where `CHANGES` has it, said as near as chat can."""

CHANGES = {
    "cache_control": {"cache_control", "messages"},  # its mark is at the last message
    "thinking": {"thinking"},  # effort without thought: OpenAI's effort is of thought
    "thinking.budget_tokens": {"thinking", "max_tokens"},  # an effort's own number of tokens
    "thinking.display": {"thinking"},
    "output_config.effort": {"output_config"},  # thought without an effort has a medium one
}
"""The members that come back otherwise, where one is lacking and the request still goes."""


def messages_ask(**body: Any) -> Ask:
    given = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    return ask(Endpoint.MESSAGES, raw=orjson.dumps(given | body))


def chat(**body: Any) -> Any:
    return BRIDGE.chat(messages_ask(**body)).body


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def said(*messages: Any) -> Any:
    return chat(messages=list(messages))["messages"]


def refusal(an_ask: Ask) -> Any:
    with pytest.raises(UpstreamFailure) as caught:
        BRIDGE.chat(an_ask)
    return caught.value.failure


def completion(message: dict[str, Any], finish: str = "stop", **over: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1", "choices": [choice]}
    return orjson.dumps(body | {"usage": usage} | over)


def reply(message: dict[str, Any], finish: str = "stop", **over: Any) -> Message:
    raw = BRIDGE.reply(messages_ask(), completion(message, finish, **over))
    return Message.model_validate(orjson.loads(raw))


def blocks(message: Message) -> list[dict[str, Any]]:
    return [block.model_dump(exclude_none=True) for block in message.content]


def call(arguments: str = "{}", **over: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function} | over


def as_chat_has_them(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks in the one order that a chat message has: thought, words in one, calls."""
    thought = [block for block in content if "thinking" in block["type"]]
    words = "".join(block["text"] for block in content if block["type"] == "text")
    calls = [block for block in content if block["type"] == "tool_use"]
    for block in calls:
        block.pop("caller", None)
    return thought + ([{"type": "text", "text": words}] if words else []) + calls


def normalised(request: dict[str, Any]) -> dict[str, Any]:
    """A request without what says nothing: Anthropic itself joins one role's turns, and takes a
    string for one block of text."""
    given = dict(request)
    if given.get("stream") is False:
        del given["stream"]
    if given.get("tool_choice") == {"type": "auto"}:
        del given["tool_choice"]
    if "system" in given:
        given["system"] = _blocks(given["system"])
    given["messages"] = []
    for turn in request["messages"]:
        content = [_normal_block(block) for block in _blocks(turn["content"])]
        if given["messages"] and given["messages"][-1]["role"] == turn["role"]:
            given["messages"][-1]["content"] += content
        elif content:
            given["messages"].append({"role": turn["role"], "content": content})
    return given


def _blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _normal_block(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] != "tool_result":
        return block
    given = {name: value for name, value in block.items() if (name, value) != ("is_error", False)}
    return given | {"content": _blocks(given["content"])}


class TestRecordedRequests:
    @pytest.mark.parametrize("recorded", REQUESTS, ids=lambda r: r.id)
    def test_there_and_back_is_the_same(self, recorded: Recording) -> None:
        lacking = LACKS.get(f"{recorded.name}#{recorded.number}")
        an_ask = ask(Endpoint.MESSAGES, raw=orjson.dumps(recorded.request))
        if lacking is not None and lacking not in CHANGES:
            assert refusal(an_ask).param == lacking
            return
        to = target(recorded.request["model"], dialect="anthropic")
        sent = orjson.loads(Anthropic().request(BRIDGE.chat(an_ask), to).body)
        back, given = normalised(sent), normalised(recorded.request)
        changed = {name for name in back.keys() | given if back.get(name) != given.get(name)}
        assert changed == CHANGES.get(lacking or "", set())

    def test_what_chat_lacks_is_listed_once_and_is_recorded(self) -> None:
        names = {f"{recorded.name}#{recorded.number}" for recorded in REQUESTS}
        assert len(REQUESTS) == 107
        assert names >= LACKS.keys()


class TestRequest:
    def test_the_plain_members(self) -> None:
        body = {"stop_sequences": ["a"], "temperature": 0.5, "top_p": 0.9, "top_k": 5}
        dropped = {"service_tier": "auto", "container": None, "stream": False}
        assert chat(**body, **dropped, metadata={"user_id": "u"}, system="Be short.") == {
            "model": "m",
            "max_completion_tokens": 10,
            "stop": ["a"],
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "stream": False,
            "user": "u",
            "messages": [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": "Hi"},
            ],
        }

    def test_the_chat_is_an_ask_of_its_own(self) -> None:
        given = messages_ask(stream=True, metadata={"job": "j"})._replace(
            drop=frozenset({"metadata"}), defaults={"temperature": 0.1, "stop": ["x"]}
        )
        made = BRIDGE.chat(given._replace(body={**given.body, "stop_sequences": ["y"]}))
        assert (made.endpoint, made.stream, made.wants_usage) == (Endpoint.CHAT, True, True)
        assert orjson.loads(made.raw) == made.body
        assert made.body["stream_options"] == {"include_usage": True}
        assert made.defaults == {"temperature": 0.1}
        assert "user" not in made.body
        assert given.endpoint is Endpoint.MESSAGES

    def test_cache_marks_stay_where_they_are(self) -> None:
        mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
        system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **mark}]
        tool = {"name": "t", "input_schema": {"type": "object"}, **mark}
        body = chat(system=system, tools=[tool])
        assert body["messages"][0] == {"role": "system", "content": system}
        assert body["tools"] == [
            {
                "type": "function",
                "function": {"name": "t", "parameters": {"type": "object"}},
                **mark,
            }
        ]
        assert chat(cache_control={"type": "ephemeral"})["messages"] == [
            {"role": "user", "content": "Hi", "cache_control": {"type": "ephemeral"}}
        ]

    def test_images(self) -> None:
        sources = [
            {"type": "base64", "media_type": "image/jpeg", "data": "aGk="},
            {"type": "url", "url": "https://x.test/a.png"},
            {"type": "file", "file_id": "file_1"},
        ]
        assert said(*user(*({"type": "image", "source": s} for s in sources))) == user(
            {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            {"type": "file", "file": {"file_id": "file_1"}},
        )

    def test_documents(self) -> None:
        pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
        assert said(
            *user(
                {"type": "document", "source": pdf, "title": "A"},
                {"type": "document", "source": {"type": "text", "data": "hé"}},
                {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
            )
        ) == user(
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "A"},
            },
            {"type": "file", "file": {"file_data": "data:text/plain;base64,aMOp"}},
            {"type": "file", "file": {"file_data": "https://x.test/a.pdf"}},
        )

    def test_a_turn_with_tools(self) -> None:
        mark = {"cache_control": {"type": "ephemeral"}}
        thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
        unsigned = {"type": "thinking", "thinking": "…", "signature": ""}
        redacted = {"type": "redacted_thinking", "data": "xx"}
        use = {"type": "tool_use", "id": "a", "name": "n", "input": {"x": 1}, **mark}
        found = {"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": True}
        parts = [{"type": "text", "text": "p"}, {"type": "text", "text": "q"}]
        other = {"type": "tool_result", "tool_use_id": "b", "content": parts, **mark}
        assert said(
            {"role": "assistant", "content": [thinking, unsigned, redacted, use]},
            {"role": "user", "content": [found, {"type": "text", "text": "so?"}, other]},
            {"role": "system", "content": "Now be long."},
        ) == [
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm…",
                "thinking_blocks": [thinking, {"type": "thinking", "thinking": "…"}, redacted],
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "n", "arguments": '{"x":1}'},
                        **mark,
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1", "is_error": True},
            {"role": "tool", "tool_call_id": "b", "content": parts, **mark},
            {"role": "user", "content": "so?"},
            {"role": "system", "content": "Now be long."},
        ]

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            ({"type": "auto"}, {"tool_choice": "auto"}),
            ({"type": "any"}, {"tool_choice": "required"}),
            ({"type": "none"}, {"tool_choice": "none"}),
            (
                {"type": "tool", "name": "t", "disable_parallel_tool_use": True},
                {
                    "tool_choice": {"type": "function", "function": {"name": "t"}},
                    "parallel_tool_calls": False,
                },
            ),
        ],
    )
    def test_tool_choice(self, choice: Any, expected: Any) -> None:
        tool = {"type": "custom", "name": "t", "description": "d", "input_schema": {}}
        body = chat(tools=[tool | {"strict": True, "defer_loading": False}], tool_choice=choice)
        function = {"name": "t", "description": "d", "parameters": {}, "strict": True}
        assert body["tools"] == [{"type": "function", "function": function}]
        names = ("tool_choice", "parallel_tool_calls")
        assert {name: body[name] for name in names if name in body} == expected

    def test_no_choice_without_tools(self) -> None:
        assert "tool_choice" not in chat(tool_choice={"type": "auto"})

    @pytest.mark.parametrize(
        ("body", "effort"),
        [
            ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "low"),
            ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
            ({"thinking": {"type": "enabled", "budget_tokens": 8193}}, "high"),
            ({"thinking": {"type": "adaptive"}}, "medium"),
            ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "xhigh"),
            ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, None),
            ({"output_config": {"effort": "low"}}, "low"),
            ({}, None),
        ],
    )
    def test_effort(self, body: Any, effort: str | None) -> None:
        assert chat(**body).get("reasoning_effort") == effort

    @pytest.mark.parametrize("member", ["output_config", "output_format"])
    def test_a_schema_for_the_answer(self, member: str) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        form = {"type": "json_schema", "schema": schema}
        body = chat(**{member: {"format": form} if member == "output_config" else form})
        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "output", "strict": True, "schema": schema},
        }

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"container": "c"}, "container"),
            ({"mcp_servers": []}, "mcp_servers"),
            ({"context_management": {"edits": []}}, "context_management"),
            ({"output_config": {"task_budget": {"total": 1}}}, "output_config.task_budget"),
            ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0].type"),
            ({"tools": [{"name": "w", "defer_loading": True}]}, "tools[0].defer_loading"),
        ],
    )
    def test_what_another_target_may_take(self, body: Any, param: str) -> None:
        failure = refusal(messages_ask(**body))
        assert (failure.kind, failure.param) == (FailureKind.UNSUPPORTED, param)
        assert failure.retry is Retry.NEXT_TARGET
        left = BRIDGE.chat(messages_ask(**body)._replace(drop_params=True)).body
        assert left.keys() - {"tools"} == {"model", "max_completion_tokens", "messages"}

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"messages": None}, "messages"),
            ({"messages": [{"role": "tool"}]}, "messages[0].role"),
            ({"messages": ["Hi"]}, "messages[0]"),
            ({"messages": user({"type": "odd"})}, "messages[0].content[0].type"),
            (
                {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
                "messages[0].content[0].type",
            ),
            ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
            (
                {"messages": user({"type": "image", "source": {"type": "odd"}})},
                "messages[0].content[0].source.type",
            ),
            ({"system": [{"type": "image"}]}, "system[0].type"),
            ({"tools": {}, "tool_choice": {"type": "odd"}}, "tool_choice"),
            ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
            ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
            ({"thinking": {"type": "odd"}}, "thinking.type"),
            ({"output_config": {"format": {"type": "odd"}}}, "output_config.format.type"),
        ],
    )
    def test_what_is_wrong_is_named(self, body: Any, param: str) -> None:
        failure = refusal(messages_ask(**body))
        assert (failure.kind, failure.param) == (FailureKind.INVALID_REQUEST, param)
        assert failure.retry is Retry.NEVER

    def test_a_document_with_citations_is_another_targets(self) -> None:
        source = {"type": "text", "data": "a"}
        document = {"type": "document", "source": source, "citations": {"enabled": True}}
        failure = refusal(messages_ask(messages=user(document)))
        assert failure.param == "messages[0].content[0].citations"
        assert failure.kind is FailureKind.UNSUPPORTED


class TestReply:
    def test_words_and_counts(self) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 9,
            "total_tokens": 109,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            "completion_tokens_details": {"reasoning_tokens": 4},
        }
        got = reply({"content": "Hello"}, usage=usage)
        assert (got.id, got.model, got.role, got.type) == ("msg_1", "m-1", "assistant", "message")
        assert blocks(got) == [{"type": "text", "text": "Hello"}]
        assert (got.stop_reason, got.stop_sequence) == ("end_turn", None)
        assert got.usage.model_dump(exclude_none=True) == {
            "input_tokens": 10,
            "cache_read_input_tokens": 60,
            "cache_creation_input_tokens": 30,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        }

    @pytest.mark.parametrize(
        ("finish", "reason"),
        [
            ("stop", "end_turn"),
            ("length", "max_tokens"),
            ("content_filter", "refusal"),
            ("tool_calls", "end_turn"),
        ],
    )
    def test_why_it_ended(self, finish: str, reason: str) -> None:
        assert reply({"content": "Hello"}, finish).stop_reason == reason

    @pytest.mark.parametrize("finish", ["tool_calls", "stop"])
    def test_calls(self, finish: str) -> None:
        calls = [call('{"city":"Oslo"}'), call("", id="call_2")]
        got = reply({"content": None, "tool_calls": calls}, finish)
        assert blocks(got) == [
            {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "call_2", "name": "get_weather", "input": {}},
        ]
        assert got.stop_reason == "tool_use"

    def test_a_call_that_was_cut_short(self) -> None:
        got = reply({"content": "Wait", "tool_calls": [call('{"ci')]}, "length")
        assert blocks(got)[1]["input"] == {}
        assert got.stop_reason == "max_tokens"

    def test_thought_comes_first(self) -> None:
        thought = [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "xx"},
            {"type": "thinking", "thinking": "so"},
        ]
        words = {"reasoning_content": "hmso", "content": "Yes"}
        assert blocks(reply({"thinking_blocks": thought, **words})) == [
            thought[0],
            thought[1],
            {"type": "thinking", "thinking": "so", "signature": ""},
            {"type": "text", "text": "Yes"},
        ]

    @pytest.mark.parametrize("member", ["reasoning_content", "reasoning"])
    def test_thought_in_plain_words(self, member: str) -> None:
        assert blocks(reply({member: "hm", "content": "Yes"})) == [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Yes"},
        ]

    def test_a_refusal_is_text(self) -> None:
        got = reply({"content": None, "refusal": "No."})
        assert blocks(got) == [{"type": "text", "text": "No."}]

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            orjson.dumps({"choices": []}),
            completion({"content": None, "tool_calls": [call('["a"]')]}),
            completion({"content": None, "tool_calls": [call('{"a')]}),
        ],
    )
    def test_no_answer(self, body: bytes) -> None:
        with pytest.raises(UpstreamFailure) as caught:
            BRIDGE.reply(messages_ask(), body)
        assert caught.value.failure.kind is FailureKind.INVALID_REPLY

    @pytest.mark.parametrize("id", ["call_1", "call_extra_content_", "functions.f:0"])
    def test_what_gemini_wants_back_survives_a_loop(self, id: str) -> None:
        extra = {"google": {"thought_signature": "a+/=b" * 50}}
        one = call('{"a":1}', id=id, extra_content=extra)
        got = reply({"content": None, "tool_calls": [one]}, "tool_calls")
        use = blocks(got)[0]
        result = {"type": "tool_result", "tool_use_id": use["id"], "content": "1"}
        turns = said({"role": "assistant", "content": [use]}, *user(result))
        assert turns == [
            {"role": "assistant", "content": None, "tool_calls": [one]},
            {"role": "tool", "tool_call_id": id, "content": "1"},
        ]

    def test_an_id_that_only_looks_packed(self) -> None:
        use = {"type": "tool_use", "id": "a_extra_content_b", "name": "n", "input": {}}
        turn = said({"role": "assistant", "content": [use]})[0]
        assert turn["tool_calls"][0]["id"] == "a_extra_content_b"

    RECORDED = tuple(
        found
        for found in REQUESTS
        if not found.is_stream
        and found.status == 200
        and {block["type"] for block in orjson.loads(found.reply)["content"]}
        <= {"text", "thinking", "redacted_thinking", "tool_use"}
    )

    @pytest.mark.parametrize("recorded", RECORDED, ids=lambda r: r.id)
    def test_recorded_answers_there_and_back(self, recorded: Recording) -> None:
        through = Anthropic().reply(ask(), recorded.reply).body
        got = Message.model_validate_json(BRIDGE.reply(messages_ask(), through))
        given = Message.model_validate_json(recorded.reply)
        assert (got.id, got.model) == (given.id, given.model)
        assert got.stop_reason == given.stop_reason
        assert blocks(got) == as_chat_has_them(blocks(given))
        for name in (
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        ):
            assert getattr(got.usage, name) == getattr(given.usage, name)


def test_an_estimate_where_nobody_counts() -> None:
    tool = {"name": "abcd", "input_schema": {"type": "object"}}
    an_ask = messages_ask(system="12345678", tools=[tool])._replace(endpoint=Endpoint.COUNT_TOKENS)
    # 8 + 2 bytes of content, "function", "abcd" and "object" in the tool; two messages
    assert orjson.loads(count_estimate(an_ask)) == {"input_tokens": 7 + 2 * 3}
