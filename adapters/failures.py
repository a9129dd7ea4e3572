"""FAULTS' policy: what an upstream's error means, and where the attempt may be made again.

One table for all dialects; an adapter only reads its vendor's error shape into these words.
"""

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass

from adapters import quirks
from adapters.base import Failure, FailureKind, Retry

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
MESSAGE_LIMIT = 2000  # characters of an upstream's message that are kept
WORD_LIMIT = 100  # the same of its type, code and param


@dataclass(frozen=True, slots=True)
class Complaint:
    """An upstream's error, read from its own shape."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None


def classify(status: int, complaint: Complaint, retry_after: float | None = None) -> Failure:
    """The failure that an answer of `status` (or an in-stream error standing for it) is."""
    kind, retry = _judge(status, complaint)
    return Failure(
        kind,
        complaint.message[:MESSAGE_LIMIT] or f"the upstream answered {status}",
        retry,
        status=status,
        retry_after=retry_after,
        type=_cut(complaint.type),
        code=_cut(complaint.code),
        param=_cut(complaint.param),
    )


def _cut(word: str | None) -> str | None:
    return word and word[:WORD_LIMIT]


def _judge(status: int, complaint: Complaint) -> tuple[FailureKind, Retry]:
    said = " ".join(filter(None, (complaint.code, complaint.type, complaint.message)))
    if status in (400, 413, 422):
        return _judge_request(said)
    if status == 403 and quirks.CONTENT_POLICY.search(complaint.code or ""):
        return FailureKind.CONTENT_POLICY, Retry.NEVER
    if status in (401, 403):
        return FailureKind.AUTH, Retry.NEXT_TARGET
    if status == 402 or (status == 429 and quirks.QUOTA.search(said)):
        return FailureKind.QUOTA, Retry.NEXT_TARGET
    if status == 404:
        return FailureKind.NOT_FOUND, Retry.NEXT_TARGET
    if status == 429:
        return FailureKind.RATE_LIMIT, Retry.SAME_TARGET
    if status in (503, 529):
        return FailureKind.OVERLOADED, Retry.SAME_TARGET
    if status in (408, 504):
        return FailureKind.TIMEOUT, Retry.SAME_TARGET
    if status in RETRYABLE:
        return FailureKind.SERVER, Retry.SAME_TARGET
    if status >= 500:
        return FailureKind.SERVER, Retry.NEXT_TARGET
    if status >= 400:
        return FailureKind.INVALID_REQUEST, Retry.NEVER
    return FailureKind.INVALID_REPLY, Retry.NEXT_TARGET  # 1xx to 3xx: redirects are not followed


def _judge_request(said: str) -> tuple[FailureKind, Retry]:
    if quirks.NO_CREDIT.search(said):
        return FailureKind.QUOTA, Retry.NEXT_TARGET
    if quirks.CONTEXT_LENGTH.search(said):
        return FailureKind.CONTEXT_LENGTH, Retry.NEVER
    if quirks.STREAM_OPTIONS.search(said):
        return FailureKind.STREAM_OPTIONS, Retry.NEVER
    if quirks.CONTENT_POLICY.search(said):
        return FailureKind.CONTENT_POLICY, Retry.NEVER
    return FailureKind.INVALID_REQUEST, Retry.NEVER


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or an HTTP date)."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - time.time())


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def failure_inside(complaint: Complaint) -> Failure:
    """The failure that an error inside a 200 or a stream stands for."""
    code = complaint.code or ""
    status = int(code) if code.isdecimal() and len(code) == 3 else 0
    if not 400 <= status <= 599:
        status = _STATUS_OF_TYPE.get(code, 0) or _STATUS_OF_TYPE.get(complaint.type or "", 500)
    return classify(status, complaint)


_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "authentication_error": 401,
    "UNAUTHENTICATED": 401,
    "billing_error": 402,
    "permission_error": 403,
    "PERMISSION_DENIED": 403,
    "not_found_error": 404,
    "NOT_FOUND": 404,
    "request_too_large": 413,
    "insufficient_quota": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "RESOURCE_EXHAUSTED": 429,
    "api_error": 500,
    "INTERNAL": 500,
    "service_unavailable_error": 503,
    "UNAVAILABLE": 503,
    "timeout_error": 504,
    "DEADLINE_EXCEEDED": 504,
    "overloaded_error": 529,
}
"""What vendors call an error -> the HTTP status it would have had."""


def invalid_reply(message: str) -> Failure:
    """A 200 that is no answer."""
    return Failure(FailureKind.INVALID_REPLY, message, Retry.NEXT_TARGET)


def interrupted(message: str = "the upstream closed the stream before it was complete") -> Failure:
    """A stream cut short."""
    return Failure(FailureKind.INTERRUPTED, message, Retry.SAME_TARGET)


def too_large(limit: int) -> Failure:
    """An event of more bytes than are read."""
    message = f"an event of the upstream's stream is over {limit} bytes"
    return Failure(FailureKind.EVENT_TOO_LARGE, message, Retry.NEXT_TARGET)
