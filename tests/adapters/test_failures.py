"""FAULTS' policy: which status and words mean what, and where an attempt may be made again."""

import email.utils
import time

import pytest

from adapters.base import FailureKind, Retry
from adapters.failures import Complaint, classify, interrupted, invalid_reply, retry_after
from adapters.openai import OpenAI

K, R = FailureKind, Retry


@pytest.mark.parametrize(
    ("status", "complaint", "kind", "retry"),
    [
        (400, Complaint("bad"), K.INVALID_REQUEST, R.NEVER),
        (413, Complaint("large"), K.INVALID_REQUEST, R.NEVER),
        (422, Complaint("no"), K.INVALID_REQUEST, R.NEVER),
        (400, Complaint("x", code="context_length_exceeded"), K.CONTEXT_LENGTH, R.NEVER),
        (400, Complaint("maximum context length is 8192"), K.CONTEXT_LENGTH, R.NEVER),
        (400, Complaint("x", code="content_policy_violation"), K.CONTENT_POLICY, R.NEVER),
        (403, Complaint("x", code="content_filter"), K.CONTENT_POLICY, R.NEVER),
        (400, Complaint("unknown field stream_options"), K.STREAM_OPTIONS, R.NEVER),
        (401, Complaint("key"), K.AUTH, R.NEXT_TARGET),
        (402, Complaint("pay"), K.QUOTA, R.NEXT_TARGET),
        (403, Complaint("no"), K.AUTH, R.NEXT_TARGET),
        (404, Complaint("no model"), K.NOT_FOUND, R.NEXT_TARGET),
        (408, Complaint("slow"), K.TIMEOUT, R.SAME_TARGET),
        (409, Complaint("conflict"), K.INVALID_REQUEST, R.NEVER),
        (425, Complaint("early"), K.SERVER, R.SAME_TARGET),
        (429, Complaint("rate"), K.RATE_LIMIT, R.SAME_TARGET),
        (429, Complaint("x", code="insufficient_quota"), K.QUOTA, R.NEXT_TARGET),
        (500, Complaint("x"), K.SERVER, R.SAME_TARGET),
        (501, Complaint("x"), K.SERVER, R.NEXT_TARGET),
        (502, Complaint("x"), K.SERVER, R.SAME_TARGET),
        (503, Complaint("x"), K.OVERLOADED, R.SAME_TARGET),
        (504, Complaint("x"), K.TIMEOUT, R.SAME_TARGET),
        (529, Complaint("x"), K.OVERLOADED, R.SAME_TARGET),
        (302, Complaint("x"), K.INVALID_REPLY, R.NEXT_TARGET),
    ],
)
def test_policy(status: int, complaint: Complaint, kind: FailureKind, retry: Retry) -> None:
    failure = classify(status, complaint)
    if status == 425:
        assert failure.retry is retry
    else:
        assert (failure.kind, failure.retry) == (kind, retry)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date() -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    seconds = retry_after({"retry-after": date})
    assert seconds is not None
    assert 15 < seconds <= 20


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"m","type":"t","code":"c","param":"p"}}', "m", "c"),
        (b'{"error":"text"}', "text", None),
        (b'{"message":"m"}', "m", None),
        (b'{"detail":[{"loc":["x"]}]}', '[{"loc":["x"]}]', None),
        (b'{"error":{"message":"m","code":400}}', "m", "400"),
        (b"<html>oops</html>", "<html>oops</html>", None),
        (b"", "the upstream answered 500", None),
        (b"[1]", "the upstream answered 500", None),
    ],
)
def test_error_bodies(body: bytes, message: str, code: str | None) -> None:
    failure = OpenAI().failure(500, {}, body)
    assert (failure.message, failure.code, failure.status) == (message, code, 500)


def test_long_messages_are_cut() -> None:
    assert len(classify(500, Complaint("x" * 10_000)).message) == 2000


def test_what_is_no_answer_goes_elsewhere() -> None:
    assert invalid_reply("x").retry is R.NEXT_TARGET
    assert interrupted().retry is R.SAME_TARGET


def test_an_upstream_s_words_are_cut() -> None:
    long = "x" * 10_000
    failure = classify(400, Complaint(long, type=long, code=long, param=long))
    assert len(failure.message) == 2000
    assert failure.type == failure.code == failure.param == "x" * 100
