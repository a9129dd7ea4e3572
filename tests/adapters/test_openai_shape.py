"""OpenAI's shapes and its relatives', read: content, finish reasons, usage, errors."""

from typing import Any

import orjson
import pytest

from adapters.base import FailureKind, Retry, Usage
from adapters.failures import Complaint
from adapters.openai_shape import (
    complaint_of,
    error_of,
    flatten_content,
    normalise_finish,
    read_complaint,
    read_usage,
)

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
TEXT = {"type": "text", "text": "Hi"}


class TestContent:
    @pytest.mark.parametrize("content", ["Hi", "", None, {"odd": 1}])
    def test_what_is_no_list_of_parts_is_left_alone(self, content: Any) -> None:
        holder = {"role": "assistant", "content": content}
        assert not flatten_content(holder)
        assert holder == {"role": "assistant", "content": content}

    def test_without_content_nothing_is_added(self) -> None:
        holder: dict[str, Any] = {"tool_calls": []}
        assert not flatten_content(holder)
        assert holder == {"tool_calls": []}

    @pytest.mark.parametrize(
        ("parts", "text", "thought"),
        [
            ([], "", None),
            ([TEXT], "Hi", None),
            ([TEXT, {"type": "text", "text": " there"}], "Hi there", None),
            ([THOUGHT], "", "Hm"),
            ([THOUGHT, TEXT], "Hi", "Hm"),
            ([THOUGHT, TEXT, THOUGHT], "Hi", "HmHm"),
            (
                [{"type": "thinking", "thinking": [{"text": "a"}, {"text": "b"}, {"text": None}]}],
                "",
                "ab",
            ),
            ([{"type": "thinking", "thinking": ["odd", 1]}, TEXT], "Hi", None),
            ([{"type": "thinking", "thinking": "odd"}, TEXT], "Hi", None),
            ([{"type": "text", "text": None}, 1, "x", {"type": "reference"}, TEXT], "Hi", None),
        ],
    )
    def test_parts_become_text_and_thought(
        self, parts: list[Any], text: str, thought: str | None
    ) -> None:
        holder = {"role": "assistant", "content": parts, "kept": 1}
        assert flatten_content(holder)
        expected = {"role": "assistant", "content": text, "kept": 1}
        if thought:
            expected["reasoning_content"] = thought
        assert holder == expected


class TestFinish:
    @pytest.mark.parametrize(
        "reason", [None, "stop", "length", "tool_calls", "content_filter", "function_call"]
    )
    def test_openais_own_words_stay(self, reason: str | None) -> None:
        choice = {"finish_reason": reason, "index": 0}
        assert not normalise_finish(choice)
        assert choice == {"finish_reason": reason, "index": 0}

    def test_an_absent_one_stays_absent(self) -> None:
        choice: dict[str, Any] = {"index": 0}
        assert not normalise_finish(choice)
        assert choice == {"index": 0}

    @pytest.mark.parametrize(
        ("reason", "openais"),
        [
            ("eos", "stop"),
            ("eos_token", "stop"),
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("STOP", "stop"),
            ("model_length", "length"),
            ("MAX_TOKENS", "length"),
            ("insufficient_system_resource", "length"),
            ("tool_use", "tool_calls"),
            ("SAFETY", "content_filter"),
            ("refusal", "content_filter"),
            ("never heard of", "stop"),
            (7, "stop"),
            ("", "stop"),
        ],
    )
    def test_others_are_put_in_openais_words(self, reason: Any, openais: str) -> None:
        choice = {"finish_reason": reason}
        assert normalise_finish(choice)
        assert choice == {"finish_reason": openais}


class TestUsage:
    @pytest.mark.parametrize(
        ("usage", "value"),
        [
            (None, None),
            ("12", None),
            ([], None),
            ({}, None),
            ({"total_tokens": 9}, None),
            ({"type": "duration", "seconds": 3}, None),
            ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
            ({"completion_tokens": 4}, Usage(completion=4)),
            ({"prompt_tokens": None, "completion_tokens": 2}, Usage(completion=2)),
            ({"prompt_tokens": 3.5, "completion_tokens": "2"}, Usage()),
            ({"prompt_tokens": 5, "total_tokens": 5}, Usage(prompt=5)),
            (
                {"prompt_tokens": 9, "prompt_tokens_details": None, "completion_tokens": 1},
                Usage(prompt=9, completion=1),
            ),
            (
                {
                    "prompt_tokens": 90,
                    "completion_tokens": 8,
                    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20},
                    "completion_tokens_details": {"reasoning_tokens": 6},
                },
                Usage(90, 8, 40, 20, 6),
            ),
            ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 6}, Usage(9, cached=6)),
            (
                {
                    "prompt_tokens": 9,
                    "prompt_cache_hit_tokens": 6,
                    "prompt_tokens_details": {"cached_tokens": 5},
                },
                Usage(9, cached=5),
            ),
            (
                {"prompt_tokens": 19, "cached_tokens": 10},
                Usage(19, cached=10),
            ),  # Moonshot, Together
            ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 60}, Usage(9, cached=9)),
            ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": -1}}, Usage(9)),
        ],
    )
    def test_classes(self, usage: Any, value: Usage | None) -> None:
        assert read_usage(usage) == value


class TestComplaints:
    @pytest.mark.parametrize(
        ("body", "complaint"),
        [
            (  # OpenAI
                {"error": {"message": "No", "type": "t", "param": "p", "code": "c"}},
                Complaint("No", "t", "c", "p"),
            ),
            (  # Azure, and its numbers as text
                {"error": {"code": "404", "message": "Resource not found"}},
                Complaint("Resource not found", code="404"),
            ),
            (  # OpenRouter
                {"error": {"message": "No credit", "code": 402}, "user_id": "u"},
                Complaint("No credit", code="402"),
            ),
            ({"error": "Model too busy"}, Complaint("Model too busy")),  # Hugging Face
            ({"detail": "Not authenticated"}, Complaint("Not authenticated")),  # FastAPI
            (  # vLLM
                {
                    "object": "error",
                    "message": "too long",
                    "type": "BadRequestError",
                    "param": None,
                    "code": 400,
                },
                Complaint("too long", "BadRequestError", "400"),
            ),
            (  # Mistral
                {
                    "object": "error",
                    "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"]}]},
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                },
                Complaint(
                    '{"detail":[{"type":"extra_forbidden","loc":["body","x"]}]}',
                    "invalid_request_error",
                ),
            ),
            (
                {"detail": [{"msg": "field required"}]},
                Complaint('[{"msg":"field required"}]'),
            ),
            ({"error": {"message": "No", "type": "", "code": [], "param": {}}}, Complaint("No")),
            ({"error": {"message": None}}, Complaint("")),
            ({"error": ["odd"]}, Complaint("")),
            ({}, Complaint("")),
            ("text", Complaint("")),
            (7, Complaint("")),
            (None, Complaint("")),
        ],
    )
    def test_of_a_body(self, body: Any, complaint: Complaint) -> None:
        assert complaint_of(body) == complaint
        assert read_complaint(orjson.dumps(body)) == complaint

    def test_googles_stands_in_a_list(self) -> None:
        """As `/v1beta/openai` answers: ComfyUI-NewBie-LLM-Formatter#3 has one in full."""
        body = b'[{"error": {"code": 400, "message": "Unknown name", "status": "INVALID"}}]'
        complaint = read_complaint(body)
        assert (complaint.message, complaint.code) == ("Unknown name", "400")

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", ""),
            (b"  upstream connect error\n", "upstream connect error"),
            (b"<html>" + b"x" * 1000, "<html>" + "x" * 194),
            (b"\xff\xfe", "\ufffd\ufffd"),
        ],
    )
    def test_what_is_no_json_is_its_own_message(self, body: bytes, message: str) -> None:
        assert read_complaint(body) == Complaint(message)


class TestErrorsInsideAnAnswer:
    @pytest.mark.parametrize(
        ("error", "kind", "retry", "status"),
        [
            (
                {"message": "m", "code": 429},
                FailureKind.RATE_LIMIT,
                Retry.SAME_TARGET,
                429,
            ),
            (
                {"message": "m", "type": "invalid_request_error"},
                FailureKind.INVALID_REQUEST,
                Retry.NEVER,
                400,
            ),
            (
                {"message": "m", "code": "insufficient_quota"},
                FailureKind.QUOTA,
                Retry.NEXT_TARGET,
                429,
            ),
            ({"message": "m", "type": "odd"}, FailureKind.SERVER, Retry.SAME_TARGET, 500),
            ("it failed", FailureKind.SERVER, Retry.SAME_TARGET, 500),
        ],
    )
    def test_stand_for_a_status(
        self, error: Any, kind: FailureKind, retry: Retry, status: int
    ) -> None:
        failure = error_of({"error": error, "choices": None})
        assert (failure.kind, failure.retry, failure.status) == (kind, retry, status)
        assert failure.message in ("m", "it failed")
