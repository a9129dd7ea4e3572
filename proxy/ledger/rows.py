"""A usage record -> the rows of the books."""

from typing import Any

from adapters.base import Usage
from proxy.types import Attempt, Record

MESSAGE_LIMIT = 500  # characters of an error that are kept

Row = dict[str, Any]

_NOTHING = Usage()


def request_row(record: Record) -> Row:
    """The one row of a request."""
    principal = record.principal
    return {
        "id": record.id,
        "created_at": int(1000 * record.started_at),
        "user_id": record.user,
        "service_name": record.service,
        "job_id": record.job,
        "task_type": record.task,
        "key_id": principal.key_id if principal else None,
        "role": principal.role.value if principal else None,
        "name": record.name,
        "provider_name": record.provider,
        "model": record.model,
        "endpoint": "/v1" + record.endpoint if record.endpoint else None,
        "stream": record.stream,
        "status_code": record.status,
        "outcome": record.outcome.value,
        **_tokens(record.usage or _NOTHING),
        "usage_source": record.usage_source.value,
        "cost_nanousd": record.cost_nanousd,
        "saved_nanousd": 0,
        "duration_ms": int(1000 * record.duration),
        "first_token_ms": _millis(record.first_token),
        "attempts": len(record.attempts),
        "cached": False,
        "error_code": record.error_code,
        "error_message": _cut(record.error_message),
        "metadata": record.metadata or None,
    }


def attempt_row(record: Record, attempt: Attempt) -> Row:
    """The row of one attempt of it."""
    return {
        "id": attempt.id,
        "request_id": record.id,
        "number": attempt.number,
        "created_at": int(1000 * attempt.started_at),
        "provider_name": attempt.provider,
        "model": attempt.model,
        "credential": attempt.credential,
        "status_code": attempt.status,
        "outcome": attempt.outcome.value,
        **_tokens(attempt.usage or _NOTHING),
        "usage_source": attempt.usage_source.value,
        "cost_nanousd": attempt.cost_nanousd,
        "duration_ms": int(1000 * attempt.duration),
        "first_token_ms": _millis(attempt.first_token),
        "error_code": attempt.error_code,
        "error_message": _cut(attempt.error_message),
    }


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.completion,
        "reasoning_tokens": usage.reasoning,
    }


def _millis(seconds: float | None) -> int | None:
    return None if seconds is None else int(1000 * seconds)


def _cut(message: str | None) -> str | None:
    return message and message[:MESSAGE_LIMIT]
