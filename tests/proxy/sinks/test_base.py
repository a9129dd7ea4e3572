"""What is reported of a request."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from proxy.ledger.rows import REQUEST_COLUMNS, request_row
from proxy.sinks.base import NAMES, usage_row
from tests.proxy.sinks.rows import told


def row_of(**over: Any) -> dict[str, Any]:
    made = told(**over)
    row = dict(zip(REQUEST_COLUMNS, request_row(made), strict=True))
    return row | {"id": "1" * 32, "metadata": {"team": "a"} if made.metadata else None}


def test_thoughts_are_apart_and_billed_as_output() -> None:
    assert usage_row(row_of()).named() == {
        "requestId": "1" * 32,
        "createdAt": datetime(2026, 1, 1, 0, 0, 0, 125_000, UTC),
        "userId": "u1",
        "jobId": "job_1",
        "taskType": "suggest",
        "service": "web",
        "usageType": "text",
        "provider": "up",
        "model": "m",
        "inputTokens": 10,
        "outputTokens": 4,
        "thoughtsTokens": 3,
        "billedOutputTokens": 7,
        "totalTokens": 17,
        "costUsd": Decimal("0.001234567"),
        "status": 200,
        "durationMs": 1500,
        "cached": False,
        "metadata": '{"team":"a"}',
    }
    assert len(NAMES) == 19


def test_what_is_not_known_is_none() -> None:
    row = usage_row(row_of(cost_nanousd=None, metadata={}, user=None))
    assert (row.cost_usd, row.metadata, row.user_id) == (None, None, None)


def test_output_is_never_below_zero() -> None:
    row = usage_row(row_of() | {"output_tokens": 2, "reasoning_tokens": 5})
    assert (row.output_tokens, row.thoughts_tokens, row.billed_output_tokens) == (0, 5, 2)
