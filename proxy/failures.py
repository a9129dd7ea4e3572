"""What the client is told when no target gave an answer."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from adapters.base import Failure, FailureKind, Target
from proxy.errors import IRE, UE, TurnoutError, Upstream

Tried = Sequence[tuple[Target, Failure]]

CLIENTS_FAULT = frozenset(
    {
        FailureKind.INVALID_REQUEST,
        FailureKind.CONTEXT_LENGTH,
        FailureKind.CONTENT_POLICY,
        FailureKind.STREAM_OPTIONS,
        FailureKind.UNSUPPORTED,
    }
)
"""Kinds that the client can mend: the upstream's own words are passed on."""

_ANSWERS: dict[FailureKind, tuple[int, str, str]] = {
    FailureKind.NOT_FOUND: (404, IRE, "model_not_found"),
    FailureKind.NO_RESPONSES: (404, IRE, "model_not_found"),
    FailureKind.CIRCUIT_OPEN: (503, UE, "circuit_open"),
    FailureKind.NO_ROOM: (429, "rate_limit_error", "rate_limit_exceeded"),
    FailureKind.SHUTTING_DOWN: (503, "service_unavailable_error", "server_shutting_down"),
    FailureKind.AUTH: (502, UE, "upstream_auth_failed"),
    FailureKind.RATE_LIMIT: (429, "rate_limit_error", "rate_limit_exceeded"),
    FailureKind.QUOTA: (429, "insufficient_quota", "insufficient_quota"),
    FailureKind.OVERLOADED: (503, UE, "upstream_overloaded"),
    FailureKind.SERVER: (502, UE, "upstream_error"),
    FailureKind.URL_NOT_ALLOWED: (400, IRE, "url_not_allowed"),
    FailureKind.UNREACHABLE: (502, UE, "upstream_unreachable"),
    FailureKind.TIMEOUT: (504, UE, "upstream_timeout"),
    FailureKind.INVALID_REPLY: (502, UE, "invalid_upstream_response"),
    FailureKind.INTERRUPTED: (502, UE, "stream_interrupted"),
    FailureKind.IDLE: (504, UE, "stream_idle_timeout"),
    FailureKind.EVENT_TOO_LARGE: (502, UE, "event_too_large"),
}

_PATIENCE = {FailureKind.RATE_LIMIT: 5.0, FailureKind.OVERLOADED: 5.0, FailureKind.QUOTA: 60.0}
"""Seconds of Retry-After where the upstream named none."""


def error_for(failure: Failure, target: Target, attempts: int = 1) -> TurnoutError:
    """The error that one failure becomes, in the status that makes SDKs raise the right class."""
    if failure.kind in CLIENTS_FAULT:
        return _clients_fault(failure)
    status, kind, code = _ANSWERS[failure.kind]
    if failure.kind is FailureKind.AUTH and target.is_own:
        status = 401  # theirs to mend
    headers = {}
    if status in (429, 503):
        seconds = failure.retry_after or _PATIENCE.get(failure.kind, 5.0)
        headers["retry-after"] = str(ceil(seconds))
    if failure.kind is FailureKind.QUOTA:
        headers["x-should-retry"] = "false"
    message = describe(failure, target)
    if attempts > 1:
        message = f"all {attempts} attempts failed, the last one so: {message}"
    param = "model" if failure.kind is FailureKind.NOT_FOUND else None
    return Upstream(message, status=status, type=kind, code=code, param=param, headers=headers)


def _clients_fault(failure: Failure) -> TurnoutError:
    # 409 is never passed on: OpenAI's SDKs would retry it, and it would not pass.
    status = failure.status if failure.status in (403, 413, 422) else 400
    known = failure.kind in (FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY)
    code = failure.kind.value if known else failure.code or "invalid_request"
    own = failure.type if failure.kind is not FailureKind.CONTEXT_LENGTH else IRE
    return Upstream(failure.message, status=status, type=own or IRE, code=code, param=failure.param)


def without_key(failure: Failure, target: Target) -> Failure:
    """The failure as it may be told: an upstream may repeat the key that it was sent, and the end
    of what was cut may be the beginning of one."""
    if target.api_key is None:
        return failure
    secret = target.api_key.get_secret_value()
    told = {name: _without(getattr(failure, name), secret) for name in _TOLD}
    return replace(failure, **told)


_TOLD = ("message", "type", "code", "param")
_SHORTEST = 6  # characters of a key's beginning that are its vendor's still, and no secret


def _without(text: str | None, secret: str) -> Any:
    if text is None:
        return None
    text = text.replace(secret, "***")
    begin = next((n for n in range(len(secret) - 1, _SHORTEST, -1) if text.endswith(secret[:n])), 0)
    return text[: len(text) - begin] + "***" if begin else text


def describe(failure: Failure, target: Target) -> str:
    """A failure in one sentence for people. What refuses a key may repeat it, so is not quoted."""
    where = f"{target.provider}/{target.model}"
    if failure.kind is FailureKind.AUTH and target.is_own:
        return f"{where} refused your own key for it (status {failure.status}); save another one"
    if failure.kind is FailureKind.AUTH:
        return f"{where} refused the key that Turnout has for it (status {failure.status})"
    return f"{where}: {without_key(failure, target).message}"


NOT_SENT = frozenset(
    {
        FailureKind.CIRCUIT_OPEN,
        FailureKind.NO_ROOM,
        FailureKind.UNSUPPORTED,
        FailureKind.URL_NOT_ALLOWED,
    }
)
"""Kinds of what was never sent: no attempt was made."""


def answer_to(tried: Tried) -> TurnoutError:
    """The error after the last of several attempts: of the last that was sent, if one was."""
    sent = [(target, failure) for target, failure in tried if failure.kind not in NOT_SENT]
    if sent:
        target, failure = sent[-1]
    else:  # what passes by itself is told before what the client would have to mend
        target, failure = min(tried, key=lambda entry: _WAITS.get(entry[1].kind, 2))
    error = error_for(failure, target, len(sent))
    if isinstance(error, Upstream):
        error.was_sent = bool(sent)
    return error


_WAITS = {FailureKind.CIRCUIT_OPEN: 0, FailureKind.NO_ROOM: 1}
