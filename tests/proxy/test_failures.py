"""What a client is told when no target gave an answer."""

from dataclasses import replace

import orjson
import pytest
from pydantic import SecretStr

from adapters.base import Failure, FailureKind, Retry
from proxy.failures import answer_to, describe, error_for, without_key
from tests.adapters.asks import target

K = FailureKind


def failure(kind: FailureKind, message: str = "m", **over: object) -> Failure:
    return Failure(kind, message, Retry.NEVER, **over)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "status", "type", "code"),
    [
        (K.NOT_FOUND, 404, "invalid_request_error", "model_not_found"),
        (K.AUTH, 502, "upstream_error", "upstream_auth_failed"),
        (K.RATE_LIMIT, 429, "rate_limit_error", "rate_limit_exceeded"),
        (K.QUOTA, 429, "insufficient_quota", "insufficient_quota"),
        (K.OVERLOADED, 503, "upstream_error", "upstream_overloaded"),
        (K.SERVER, 502, "upstream_error", "upstream_error"),
        (K.UNREACHABLE, 502, "upstream_error", "upstream_unreachable"),
        (K.TIMEOUT, 504, "upstream_error", "upstream_timeout"),
        (K.INVALID_REPLY, 502, "upstream_error", "invalid_upstream_response"),
        (K.CONTEXT_LENGTH, 400, "invalid_request_error", "context_length_exceeded"),
        (K.INVALID_REQUEST, 400, "invalid_request_error", "invalid_request"),
    ],
)
def test_status_type_and_code(kind: FailureKind, status: int, type: str, code: str) -> None:
    error = error_for(failure(kind), target())
    assert (error.status, error.type, error.code) == (status, type, code)
    assert set(orjson.loads(error.body())["error"]) == {"message", "type", "param", "code"}


def test_every_kind_has_an_answer() -> None:
    for kind in FailureKind:
        assert 400 <= error_for(failure(kind), target()).status <= 504


def test_retry_after_is_on_every_429_and_503() -> None:
    for kind in FailureKind:
        error = error_for(failure(kind), target())
        assert ("retry-after" in error.headers) is (error.status in (429, 503))
    assert (
        error_for(failure(K.RATE_LIMIT, retry_after=29.2), target()).headers["retry-after"] == "30"
    )


def test_an_empty_purse_is_not_to_be_retried() -> None:
    assert error_for(failure(K.QUOTA), target()).headers["x-should-retry"] == "false"


def test_a_conflict_is_never_passed_on() -> None:
    assert error_for(failure(K.INVALID_REQUEST, status=409), target()).status == 400


def test_the_clients_own_fault_comes_in_the_upstreams_words() -> None:
    said = failure(K.INVALID_REQUEST, "no such voice", status=422, code="bad_voice", param="voice")
    error = error_for(said, target())
    assert (error.status, error.message, error.code, error.param) == (
        422,
        "no such voice",
        "bad_voice",
        "voice",
    )


def test_no_key_is_repeated() -> None:
    refused = failure(K.AUTH, "Incorrect API key provided: sk-up", status=401)
    assert "sk-up" not in error_for(refused, target()).message
    assert "sk-up" not in describe(failure(K.SERVER, "cannot use sk-up here"), target())


def test_after_several_attempts_the_last_one_speaks() -> None:
    tried = [(target("a"), failure(K.SERVER)), (target("b"), failure(K.OVERLOADED))]
    error = answer_to(tried)
    assert error.status == 503
    assert "2 attempts" in error.message
    assert "up/b" in error.message


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Bad key sk-secret-0123456789 here", "Bad key *** here"),
        ("cut in the middle: sk-secret-01", "cut in the middle: ***"),
        ("ends with sk-sec", "ends with sk-sec"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_a_key_that_is_repeated_is_not_told(said: str, told: str) -> None:
    place = replace(target(), api_key=SecretStr("sk-secret-0123456789"))
    given = failure(K.INVALID_REQUEST, said, type=said, code=said)
    found = without_key(given, place)
    assert (found.message, found.type, found.code, found.param) == (told, told, told, None)
    assert without_key(given, replace(target(), api_key=None)) is given
