"""Bodies of every shape, drawn by hypothesis."""

from typing import Any

from hypothesis import strategies as st

NOW = 1_800_000_000

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
some = words.filter(bool)
ids = st.text("abcdef0123456789", min_size=4, max_size=8)
counts = st.integers(0, 2**40)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=3)
filled = objects.filter(bool)


def made(required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    fixed = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in required.items()
    }
    return st.fixed_dictionaries(fixed, optional=optional or {})


tokens = st.lists(
    made(
        {
            "token": words,
            "logprob": st.floats(-20, 0),
            "bytes": st.none() | st.lists(st.integers(0, 255), max_size=3),
            "top_logprobs": st.just([]),
        }
    ),
    max_size=4,
)

USAGE = {
    "prompt_tokens": counts,
    "completion_tokens": counts,
    "total_tokens": counts,
    "cost_usd": 0,
}

thinking = made({"type": "thinking", "thinking": words}, {"signature": words})
redacted = made({"type": "redacted_thinking", "data": words})

call = made(
    {"id": ids, "type": "function", "function": made({"name": some, "arguments": words})},
    {"extra_content": filled},
)


@st.composite
def chat_message(draw: Any) -> dict[str, Any]:
    calls = draw(st.lists(call, max_size=3, unique_by=lambda entry: entry["id"]))
    refusal = draw(st.none() | some)
    content = draw(words)
    message = {
        "role": "assistant",
        "content": None if not content and (calls or refusal) else content,
        "refusal": refusal,
    }
    others = {
        "reasoning_content": draw(words),
        "thinking_blocks": draw(st.lists(thinking | redacted, max_size=3)),
        "tool_calls": calls,
        "annotations": draw(st.lists(filled, max_size=2)),
        "extra_content": draw(objects),
    }
    return message | {name: value for name, value in others.items() if value}


logprobs = st.none() | made({"content": tokens, "refusal": st.none() | tokens})
finishes = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


def numbered(choice: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(choice, min_size=1, max_size=3).map(
        lambda found: [{"index": i, **entry} for i, entry in enumerate(found)]
    )


tiers = st.sampled_from(["default", "flex", "priority"])
OPTIONAL = {"system_fingerprint": some, "service_tier": tiers, "timings": filled}

chats = made(
    {
        "id": ids,
        "object": "chat.completion",
        "created": counts,
        "model": some,
        "choices": numbered(
            made(
                {"message": chat_message(), "logprobs": logprobs, "finish_reason": finishes},
                {"content_filter_results": filled},
            )
        ),
        "usage": made(USAGE),
    },
    OPTIONAL,
)

completions = made(
    {
        "id": ids,
        "object": "text_completion",
        "created": counts,
        "model": some,
        "choices": numbered(
            made(
                {
                    "text": words,
                    "logprobs": st.none()
                    | made(
                        {
                            "tokens": st.lists(words, max_size=3),
                            "top_logprobs": st.none() | st.lists(objects, max_size=2),
                        }
                    ),
                    "finish_reason": finishes,
                }
            )
        ),
        "usage": made(USAGE),
    },
    OPTIONAL,
)

found = made(
    {
        "type": "web_search_result",
        "title": words,
        "url": words,
        "encrypted_content": words,
        "page_age": None,
    }
)

blocks = st.one_of(
    made(
        {"type": "text", "text": words},
        {"citations": st.none() | st.lists(filled, min_size=1, max_size=2)},
    ),
    made({"type": "thinking", "thinking": words, "signature": words}),
    redacted,
    made({"type": "tool_use", "id": ids, "name": some, "input": objects}),
    made({"type": "web_search_tool_result", "tool_use_id": ids, "content": st.lists(found)}),
)

messages = made(
    {
        "id": ids,
        "type": "message",
        "role": "assistant",
        "model": some,
        "content": st.lists(blocks, max_size=4),
        "stop_reason": st.sampled_from(["end_turn", "max_tokens", "tool_use"]),
        "stop_sequence": st.none() | some,
        "usage": made(
            {"input_tokens": counts, "output_tokens": counts, "cost_usd": 0},
            {
                "cache_read_input_tokens": counts,
                "output_tokens_details": made({"thinking_tokens": counts}),
                "service_tier": some,
            },
        ),
    },
    {"stop_details": st.none() | filled, "container": filled, "context_management": filled},
)

items = st.one_of(
    made(
        {
            "type": "message",
            "id": ids.map(lambda found: "msg_" + found),
            "status": "completed",
            "role": "assistant",
            "content": st.lists(
                made(
                    {
                        "type": "output_text",
                        "text": words,
                        "annotations": st.lists(filled, max_size=2),
                        "logprobs": tokens,
                    }
                )
                | made({"type": "refusal", "refusal": some}),
                max_size=2,
            ),
        }
    ),
    made(
        {
            "type": "reasoning",
            "id": ids.map(lambda found: "rs_" + found),
            "summary": st.lists(made({"type": "summary_text", "text": words}), max_size=2),
        },
        {"content": st.lists(made({"type": "reasoning_text", "text": words}), max_size=2)},
    ),
    made(
        {
            "type": "function_call",
            "id": ids.map(lambda found: "fc_" + found),
            "call_id": ids,
            "name": some,
            "arguments": words,
            "status": "completed",
        }
    ),
)

responses = made(
    {
        "id": ids,
        "object": "response",
        "created_at": counts,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": some,
        "output": st.lists(items, max_size=3, unique_by=lambda item: str(item.get("call_id"))),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": made(
            {
                "input_tokens": counts,
                "output_tokens": counts,
                "total_tokens": counts,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
                "cost_usd": 0,
            }
        ),
    },
    {"completed_at": counts},
)
