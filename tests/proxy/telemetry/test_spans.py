"""Records -> spans. What a collector gets of a real request is in tests/e2e/test_tracing.py."""

import pytest
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.attributes import error_attributes

from adapters.base import Endpoint, Usage
from proxy.telemetry.spans import error_type, spans_of
from proxy.types import Attempt, Outcome, Record, Trace

KNOWN = {
    value
    for module in (
        gen_ai_attributes, http_attributes, server_attributes, url_attributes, error_attributes
    )
    for name, value in vars(module).items()
    if name.isupper()
}  # fmt: skip
TRACE = (0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7)


def made() -> tuple[Record, Trace]:
    record = Record("0190")
    record.admitted, record.endpoint, record.stream = True, Endpoint.CHAT, True
    record.name, record.provider, record.model = "fast", "up", "m"
    record.outcome, record.status, record.duration = Outcome.OK, 200, 0.5
    record.usage = Usage(prompt=10, completion=4, cached=2, cache_write=1, reasoning=3)
    record.cost_nanousd, record.first_token, record.cache = 1_500_000_000, 0.2, "miss"
    record.error_message = "it said: the secret prompt"
    record.started, record.started_at = 100.0, 1_700_000_000.0
    attempt = Attempt("0" * 16 + "8000000000000001", 1, "up", "m", 0)
    attempt.started, attempt.duration, attempt.first_token = 100.1, 0.3, 0.1
    attempt.outcome, attempt.status, attempt.usage = Outcome.OK, 200, record.usage
    attempt.error_message = "it said: the secret prompt"
    record.attempts = [attempt]
    trace = Trace(*TRACE, None, True, method="POST", path="/v1/chat/completions")
    trace.headers_of(attempt.id, "https://api.example.com/v1/chat/completions")
    return record, trace


def test_names_of_attributes_are_the_conventions_or_ours() -> None:
    record, trace = made()
    for span in spans_of(record, trace, str.upper):
        foreign = {name for name in span.attributes if not name.startswith("turnout.")}
        assert foreign - KNOWN == set()
        assert "gen_ai.usage.cache_read.input_tokens" in foreign
        assert "gen_ai.usage.cache_creation.input_tokens" in foreign
        assert "gen_ai.usage.reasoning.output_tokens" in foreign
        assert "secret" not in repr(span)


def test_times_are_of_one_clock() -> None:
    whole, attempt = spans_of(*made(), str)
    assert (whole.begins, whole.ends) == (1_700_000_000_000_000_000, 1_700_000_000_500_000_000)
    assert attempt.begins == pytest.approx(1_700_000_000_100_000_000, abs=1000)
    assert attempt.ends == pytest.approx(1_700_000_000_400_000_000, abs=1000)
    assert (attempt.span_id, attempt.parent_id) == (0x8000000000000001, TRACE[1])
    assert attempt.attributes["server.address"] == "api.example.com"
    assert attempt.attributes["server.port"] == 443
    assert whole.attributes["turnout.cost_usd"] == 1.5


def test_what_a_caller_made_up_is_cut() -> None:
    record, trace = made()
    record.name = "x" * 5000
    (whole, _) = spans_of(record, trace, str)
    assert whole.attributes["gen_ai.request.model"] == "x" * 200


@pytest.mark.parametrize(
    ("outcome", "status", "code", "error", "is_error"),
    [
        (Outcome.OK, 200, None, None, False),
        (Outcome.FAILED, 404, "model_not_found", "model_not_found", False),
        (Outcome.FAILED, 502, "upstream_error", "upstream_error", True),
        (Outcome.FAILED, 500, None, "500", True),
        (Outcome.FAILED, 200, "stream_interrupted", "stream_interrupted", True),
        (Outcome.CLIENT_CLOSED, 499, None, "client_closed", False),
        (Outcome.CLIENT_CLOSED, 200, "client_too_slow", "client_too_slow", False),
    ],
)
def test_whose_fault_it_was(
    outcome: Outcome, status: int, code: str | None, error: str | None, is_error: bool
) -> None:
    record, trace = made()
    record.outcome, record.status, record.error_code = outcome, status, code
    assert error_type(record) == error
    whole = spans_of(record, trace, str)[0]
    assert (whole.attributes.get("error.type"), whole.is_error) == (error, is_error)


def test_a_request_that_is_no_call_says_little() -> None:
    record, trace = made()
    record.admitted, record.attempts, record.error_message = False, [], None
    (whole,) = spans_of(record, trace, str)
    assert set(whole.attributes) == {
        "http.request.method", "http.response.status_code", "turnout.request_id", "url.path"
    }  # fmt: skip
