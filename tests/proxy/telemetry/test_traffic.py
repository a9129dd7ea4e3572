"""Counts by labels that stay few."""

from collections.abc import Iterator

import pytest

from adapters.base import Endpoint, Usage
from proxy.config import Config
from proxy.telemetry.traffic import FIRST, LEARNT, SECONDS, TOKENS, Histogram, Sent, Served, Traffic
from proxy.types import Attempt, Outcome, Record

CONFIG = Config.model_validate(
    {
        "providers": {"up": {"dialect": "openai", "base_url": "http://h/v1", "models": ["listed"]}},
        "models": {"fast": "up/aliased", "any/*": "up"},
        "tasks": {"scoring": {"targets": ["up/of-a-task"]}},
    }
)


@pytest.fixture
def traffic() -> Traffic:
    return Traffic(lambda: CONFIG)


def call(model: str | None, outcome: Outcome = Outcome.OK, task: str | None = None) -> Record:
    """One that had one attempt, unless there was no model."""
    record = Record("0190")
    record.endpoint, record.outcome, record.task = Endpoint.CHAT, outcome, task
    record.status, record.duration = (200 if outcome is Outcome.OK else 502), 0.3
    if outcome is not Outcome.OK:
        record.error_code = "upstream_error"
    if model is not None:
        record.provider, record.model = "up", model
        attempt = Attempt("0" * 32, 1, "up", model, 0)
        attempt.outcome, attempt.duration, attempt.usage = outcome, 0.2, Usage(9, 3)
        attempt.error_code, attempt.cost_nanousd = record.error_code, 39_000
        record.attempts = [attempt]
    return record


def models(traffic: Traffic) -> Iterator[str]:
    return (key.model for key in traffic.requests)


def test_models_of_the_configuration_are_named_even_when_they_fail(traffic: Traffic) -> None:
    for model in ("listed", "aliased", "of-a-task", "made-up"):
        traffic.note(call(model, Outcome.FAILED))
    assert set(models(traffic)) == {"listed", "aliased", "of-a-task", "other"}


def test_other_models_are_named_once_they_answer_and_are_few(traffic: Traffic) -> None:
    for number in range(LEARNT + 50):
        traffic.note(call(f"m-{number}"))
    traffic.note(call("m-0", Outcome.FAILED))
    assert len(set(models(traffic))) == LEARNT + 1
    assert traffic.requests[Served("chat", "up", "other", "", "")] == 50
    assert traffic.requests[Served("chat", "up", "m-0", "", "upstream_error")] == 1


def test_tasks_are_those_of_the_configuration(traffic: Traffic) -> None:
    for task in ("scoring", "made-up-1", "made-up-2", None):
        traffic.note(call("listed", task=task))
    found = {key.task: count for key, count in traffic.requests.items()}
    assert found == {"scoring": 1, "other": 2, "": 1}


def test_a_name_that_leads_nowhere_is_no_label(traffic: Traffic) -> None:
    record = call(None, Outcome.FAILED)
    record.status, record.error_code, record.name = 404, "model_not_found", "x" * 900
    traffic.note(record)
    assert dict(traffic.requests) == {Served("chat", "", "", "", "model_not_found"): 1}


def test_fail_over_counts_each_attempt_and_one_request(traffic: Traffic) -> None:
    record = call("listed")
    failed = Attempt("1" * 32, 1, "up", "aliased", 0)
    failed.error_code, failed.duration = "upstream_error", 0.05
    record.attempts.insert(0, failed)
    traffic.note(record)
    assert sum(traffic.requests.values()) == 1
    counts = {key: sum(found.steps) for key, found in traffic.attempts.items()}
    assert counts == {
        Sent("chat", "up", "aliased", "upstream_error"): 1,
        Sent("chat", "up", "listed", ""): 1,
    }
    assert traffic.tokens[Sent("chat", "up", "listed", "input")].total == 9
    assert traffic.tokens[Sent("chat", "up", "listed", "output")].total == 3
    assert sum(traffic.nanousd.values()) == 39_000
    assert not traffic.first_tokens  # no stream


def test_first_tokens_are_of_streams_that_succeeded(traffic: Traffic) -> None:
    for outcome in (Outcome.OK, Outcome.FAILED):
        record = call("listed", outcome)
        record.stream, record.first_token = True, 0.02
        record.attempts[0].first_token = 0.01
        traffic.note(record)
    assert [sum(found.steps) for found in traffic.first_tokens.values()] == [1]
    assert [found.total for found in traffic.first_chunks.values()] == [0.01]


def test_refusals_of_limits_are_not_those_of_providers(traffic: Traffic) -> None:
    ours = call(None, Outcome.FAILED)
    ours.status, ours.error_code = 429, "budget_exceeded"
    theirs = call("listed", Outcome.FAILED)
    theirs.status, theirs.error_code = 429, "rate_limit_exceeded"
    traffic.note(ours)
    traffic.note(theirs)
    assert dict(traffic.refusals) == {"budget_exceeded": 1}


def test_steps_include_their_upper_end() -> None:
    histogram = Histogram((1.0, 4.0))
    for value in (0.5, 1.0, 2.0, 4.0, 4.1):
        histogram.add(value)
    assert (histogram.steps, histogram.total) == ([2, 2, 1], 11.6)


def test_the_steps_are_those_of_the_conventions() -> None:
    assert SECONDS[:3] == (0.01, 0.02, 0.04)
    assert SECONDS[-1] == 81.92
    assert TOKENS == (
        1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864
    )  # fmt: skip
    for steps in (SECONDS, FIRST, TOKENS):
        assert list(steps) == sorted(set(steps))


def test_codes_of_upstreams_are_few(traffic: Traffic) -> None:
    for number in range(300):
        record = call("listed", Outcome.FAILED)
        record.error_code = record.attempts[0].error_code = f"code-{number}"
        traffic.note(record)
        traffic.turned_away(record)
    assert len({key.code for key in traffic.requests}) == 201
    assert len({key.last for key in traffic.attempts}) == 201
    assert sum(traffic.turned.values()) == sum(traffic.requests.values()) == 300
    assert traffic.turned["other"] == 100
