"""A usage record -> the rows of the books."""

from typing import Any

import orjson

from adapters.base import Endpoint, Usage
from proxy.types import Attempt, Record

MESSAGE_LIMIT = 500  # characters of an error that are kept

Row = tuple[Any, ...]

REQUEST_COLUMNS = (
    "id", "created_at", "user_id", "service_name", "job_id", "task_type", "key_id", "role",
    "name", "provider_name", "model", "endpoint", "stream", "status_code", "outcome",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "usage_source", "cost_nanousd", "saved_nanousd", "duration_ms", "first_token_ms", "attempts",
    "cached", "error_code", "error_message", "metadata", "images", "usage_type",
)  # fmt: skip
"""The order of a request's row."""

ATTEMPT_COLUMNS = (
    "request_id", "number", "id", "created_at", "provider_name", "model", "credential",
    "status_code", "outcome",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "usage_source", "cost_nanousd", "duration_ms", "first_token_ms", "error_code", "error_message",
    "images",
)  # fmt: skip
"""The order of an attempt's row."""

_NOTHING = Usage()


def request_row(record: Record) -> Row:
    """The one row of a request, in the order of `REQUEST_COLUMNS`."""
    principal = record.principal
    usage = record.usage or _NOTHING
    return (
        record.id,
        int(1000 * record.started_at),
        record.user,
        record.service,
        record.job,
        record.task,
        principal.key_id if principal else None,
        principal.role.value if principal else None,
        record.name,
        record.provider,
        record.model,
        "/v1" + record.endpoint if record.endpoint else None,
        record.stream,
        record.status,
        record.outcome.value,
        usage.prompt,
        usage.cached,
        usage.cache_write,
        usage.completion,
        usage.reasoning,
        record.usage_source.value,
        record.cost_nanousd,
        record.saved_nanousd,
        int(1000 * record.duration),
        _millis(record.first_token),
        len(record.attempts),
        record.cached,
        record.error_code,
        _cut(record.error_message),
        orjson.dumps(dict(record.metadata)).decode() if record.metadata else None,
        usage.images,
        record.usage_type or usage_type(record.endpoint),
    )


def attempt_row(record: Record, attempt: Attempt) -> Row:
    """The row of one attempt of it, in the order of `ATTEMPT_COLUMNS`."""
    usage = attempt.usage or _NOTHING
    return (
        record.id,
        attempt.number,
        attempt.id,
        int(1000 * attempt.started_at),
        attempt.provider,
        attempt.model,
        attempt.credential,
        attempt.status,
        attempt.outcome.value,
        usage.prompt,
        usage.cached,
        usage.cache_write,
        usage.completion,
        usage.reasoning,
        attempt.usage_source.value,
        attempt.cost_nanousd,
        int(1000 * attempt.duration),
        _millis(attempt.first_token),
        attempt.error_code,
        _cut(attempt.error_message),
        usage.images,
    )


def usage_type(endpoint: Endpoint | None) -> str:
    """What kind of use a call of an endpoint is: text, image or audio."""
    return _USAGE_TYPES.get(endpoint, "text") if endpoint else "text"


_USAGE_TYPES = {
    Endpoint.IMAGES: "image",
    Endpoint.TRANSCRIPTIONS: "audio",
    Endpoint.SPEECH: "audio",
}


def _millis(seconds: float | None) -> int | None:
    return None if seconds is None else int(1000 * seconds)


def _cut(message: str | None) -> str | None:
    return message and message[:MESSAGE_LIMIT]
