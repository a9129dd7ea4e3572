"""A record that is complete -> the spans that tell of it. Pure; no prompt, no answer, no message
of an error, which may quote one.

One span of the request, one of each attempt below it. They are made when all is over: on the way
there is nothing but the ids.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from adapters.base import Usage
from proxy.telemetry.names import operation
from proxy.types import Attempt, Outcome, Record, Trace

Value = str | int | float | bool
Attributes = Mapping[str, Value]
Named = Callable[[str], str]
"""A provider's configured name -> `gen_ai.provider.name`."""

TEXT_LIMIT = 200  # characters of a name that a caller chose
TIERS = frozenset({"exact", "semantic"})


class Span(NamedTuple):
    """One span. Times are nanoseconds since the epoch."""

    name: str
    kind: Literal["server", "client", "internal"]
    span_id: int
    parent_id: int | None
    begins: int
    ends: int
    attributes: Attributes
    is_error: bool


def spans_of(record: Record, trace: Trace, named: Named) -> list[Span]:
    """The request's span first, then those of its attempts in their order."""
    begins = int(record.started_at * 1e9)
    ends = begins + int(record.duration * 1e9)
    error = error_type(record)
    what = _without_none(_of_request(record, trace, named) | {"error.type": error})
    is_error = record.status >= 500 or (error is not None and record.status == 200)
    is_error = is_error and record.outcome is not Outcome.CLIENT_CLOSED
    kind: Literal["server", "internal"] = "internal" if trace.method is None else "server"
    whole = Span(
        _name(record, trace), kind, trace.span_id, trace.parent_id, begins, ends, what, is_error
    )
    return [whole, *(_attempt(record, trace, each, named) for each in record.attempts)]


def error_type(record: Record) -> str | None:
    """The code of what went wrong; None where nothing did."""
    if record.outcome is Outcome.CLIENT_CLOSED:
        return record.error_code or "client_closed"
    if record.error_code is not None:
        return record.error_code
    return str(record.status) if record.status >= 400 else None


def _name(record: Record, trace: Trace) -> str:
    """Of few different ones: a route, or what a call of Turnout's own does."""
    if trace.method is not None:
        return f"{trace.method} {trace.path}"[:TEXT_LIMIT]
    return operation(record.endpoint)


def _of_request(record: Record, trace: Trace, named: Named) -> dict[str, Value | None]:
    found: dict[str, Value | None] = {
        "turnout.request_id": record.id,
        "http.request.method": trace.method,
        "url.path": trace.path and trace.path[:TEXT_LIMIT],
        "http.response.status_code": record.status or None,
    }
    if not record.admitted:
        return found
    cache = record.cache
    found |= {
        "gen_ai.operation.name": operation(record.endpoint),
        "gen_ai.provider.name": record.provider and named(record.provider),
        "gen_ai.request.model": record.name and record.name[:TEXT_LIMIT],
        "gen_ai.response.model": record.model if record.outcome is Outcome.OK else None,
        "gen_ai.request.stream": True if record.stream else None,
        "gen_ai.response.time_to_first_chunk": record.first_token if record.stream else None,
        "turnout.provider": record.provider,
        "turnout.task": record.task,
        "turnout.service": record.service and record.service[:TEXT_LIMIT],
        "turnout.key_id": record.principal.key_id if record.principal else None,
        "turnout.attempts": len(record.attempts),
        "turnout.cache.result": "hit" if cache in TIERS else cache,
        "turnout.cache.tier": cache if cache in TIERS else None,
        "turnout.cost_usd": _usd(record.cost_nanousd),
    }
    return found | dict(_of_usage(record.usage))


def _attempt(record: Record, trace: Trace, attempt: Attempt, named: Named) -> Span:
    # By the request's clock: an attempt lies within its request, whatever the wall clock did.
    begins = int((record.started_at + attempt.started - record.started) * 1e9)
    what = operation(record.endpoint)
    url = urlsplit(trace.sent_to.get(attempt.id, ""))
    found: dict[str, Value | None] = {
        "gen_ai.operation.name": what,
        "gen_ai.provider.name": named(attempt.provider),
        "gen_ai.request.model": attempt.model[:TEXT_LIMIT],
        "gen_ai.request.stream": True if record.stream else None,
        "gen_ai.response.time_to_first_chunk": attempt.first_token if record.stream else None,
        "server.address": url.hostname,
        "server.port": url.port or {"https": 443, "http": 80}.get(url.scheme),
        "http.request.method": "POST",
        "http.response.status_code": attempt.status,
        "error.type": None if attempt.outcome is Outcome.OK else attempt.error_code or "_OTHER",
        "turnout.provider": attempt.provider,
        "turnout.attempt": attempt.number,
        "turnout.attempt_id": attempt.id,
        "turnout.cost_usd": _usd(attempt.cost_nanousd),
    }
    return Span(
        f"{what} {attempt.model}"[:TEXT_LIMIT],
        "client",
        int(attempt.id[16:], 16),
        trace.span_id,
        begins,
        begins + int(attempt.duration * 1e9),
        _without_none(found | dict(_of_usage(attempt.usage))),
        attempt.outcome is Outcome.FAILED,
    )


def _of_usage(usage: Usage | None) -> Iterator[tuple[str, Value]]:
    """Classes of tokens that there were none of are left out, all but the two that all have."""
    if usage is None:
        return
    yield "gen_ai.usage.input_tokens", usage.prompt
    yield "gen_ai.usage.output_tokens", usage.completion
    if usage.cached:
        yield "gen_ai.usage.cache_read.input_tokens", usage.cached
    if usage.cache_write:
        yield "gen_ai.usage.cache_creation.input_tokens", usage.cache_write
    if usage.reasoning:
        yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / 1e9


def _without_none(found: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in found.items() if value is not None}
