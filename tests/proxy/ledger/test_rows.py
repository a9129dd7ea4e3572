"""A record becomes the rows that it should."""

from proxy.ledger.rows import ATTEMPT_COLUMNS, REQUEST_COLUMNS, attempt_row, request_row
from tests.proxy.ledger.records import record


def test_a_request() -> None:
    made = record(metadata={"team": "a"}, error_message="x" * 9000, first_token=0.25, duration=1.5)
    row = dict(zip(REQUEST_COLUMNS, request_row(made), strict=True))
    assert row["id"] == made.id
    assert (row["input_tokens"], row["cached_tokens"], row["reasoning_tokens"]) == (10, 4, 2)
    assert (row["first_token_ms"], row["duration_ms"], row["attempts"]) == (250, 1500, 1)
    assert (row["endpoint"], row["key_id"], row["role"]) == ("/v1/chat/completions", "key_1", "key")
    assert row["metadata"] == '{"team":"a"}'
    assert len(row["error_message"]) == 500


def test_an_attempt() -> None:
    made = record()
    row = dict(zip(ATTEMPT_COLUMNS, attempt_row(made, made.attempts[0]), strict=True))
    assert (row["request_id"], row["number"], row["provider_name"]) == (made.id, 1, "up")
    assert row["first_token_ms"] is None


def test_a_request_that_never_got_far() -> None:
    made = record(endpoint=None, principal=None, usage=None, attempts=[])
    row = dict(zip(REQUEST_COLUMNS, request_row(made), strict=True))
    assert (row["endpoint"], row["key_id"], row["input_tokens"], row["attempts"]) == (
        None,
        None,
        0,
        0,
    )
