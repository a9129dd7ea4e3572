"""What the usage API answers. Money in USD, and beside it in the currency of reports if that is
another; times in milliseconds, shares from 0 to 1."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from proxy.ledger.analytics import Summary
from proxy.ledger.currency import Currency
from proxy.ledger.series import Point


class Answer(BaseModel):
    """A value of the answer. `currency`, `total_cost` and `saved` are there where the currency of
    reports is not USD, percentiles where they are known."""

    model_config = ConfigDict(frozen=True)


class _Details(Answer):
    error_requests: int
    cached_requests: int
    error_rate: float
    total_cost_usd: float
    total_tokens: int
    saved_usd: float
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    images: int
    avg_latency_ms: float
    avg_first_token_ms: float | None
    p50_latency_ms: float | None = None
    p95_latency_ms: float | None = None
    p99_latency_ms: float | None = None
    currency: str | None = None
    total_cost: float | None = None
    saved: float | None = None


class Total(_Details):
    """The whole period."""

    period_days: int
    total_requests: int
    cache_hit_rate: float


class Group(_Details):
    """One group of many."""

    request_count: int


class ByProvider(Group):
    """Requests that one provider answered; null is none."""

    provider_name: str | None


class ByModel(Group):
    """Requests that one model answered; null is none."""

    model: str | None


class ByService(Group):
    """Requests of one service; null is who named none."""

    service_name: str | None


class ByCustomer(Group):
    """Requests of one user; null is who named none."""

    user_id: str | None


class ByTask(Group):
    """Requests of one task; null is none."""

    task_type: str | None


class ByKey(Group):
    """Requests by one virtual key; null is none."""

    key_id: str | None


class Daily(Group):
    """Requests of one day (UTC); the first may be a part of it."""

    date: str


GROUPS: Mapping[str, type[Group]] = {
    "provider": ByProvider,
    "model": ByModel,
    "service": ByService,
    "user": ByCustomer,
    "task": ByTask,
    "key": ByKey,
}
"""What is summed by -> the answer's group."""

_KINDS: tuple[type[Group], ...] = (*GROUPS.values(), Daily)
_NAMES = {
    kind: next(name for name in kind.model_fields if name not in Group.model_fields)
    for kind in _KINDS
}

G = TypeVar("G", bound=Group)


class Entry(Answer):
    """A request. `cost_usd` is null where nobody knows the price."""

    request_id: str
    created_at: str
    user_id: str | None
    service_name: str | None
    job_id: str | None
    task_type: str | None
    key_id: str | None
    provider_name: str | None
    model: str | None
    endpoint: str | None
    status_code: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: str
    cost_usd: float | None
    saved_usd: float
    duration_ms: int
    first_token_ms: int | None
    attempts: int
    cached: bool
    error_message: str | None
    metadata: dict[str, Any] | None
    cache_write_tokens: int
    images: int
    usage_type: str | None
    name: str | None
    stream: bool
    role: str | None
    outcome: str
    error_code: str | None


class AttemptEntry(Answer):
    """One try at one provider. `credential` counts the provider's keys from 0."""

    number: int
    provider_name: str
    model: str
    credential: int
    status_code: int | None
    outcome: str
    error_code: str | None
    error_message: str | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    usage_source: str
    duration_ms: int
    first_token_ms: int | None
    created_at: str


class Detailed(Entry):
    """A request with all its attempts, in their order."""

    attempt_list: list[AttemptEntry]


class SeriesPoint(Answer):
    """Requests of one step, which begins at `begins`. What nobody knows is null."""

    begins: str
    requests: int
    errors: int
    cached: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost_usd: float
    saved_usd: float
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    avg_first_token_ms: float | None
    p50_first_token_ms: float | None
    p95_first_token_ms: float | None


class UsageSeries(Answer):
    """Usage over time, oldest first; `step_seconds` is how long each point is."""

    period: str
    step_seconds: int
    points: list[SeriesPoint]


class Page(Answer):
    """Requests, newest first. `next_cursor` is the `cursor` of the next page."""

    data: list[Entry]
    has_more: bool
    next_cursor: str | None


def total(days: int, found: Summary, currency: Currency) -> Total:
    """The summary in the words of the API."""
    return Total(
        period_days=days,
        total_requests=found.requests,
        cache_hit_rate=_share(found.cached, found.requests),
        **_details(found, currency),
    )


def group(kind: type[G], found: Summary, currency: Currency) -> G:
    """One group or day of many."""
    named: dict[str, Any] = {_NAMES[kind]: found.group}
    return kind(**named, request_count=found.requests, **_details(found, currency))


def point(begins: str, found: Point) -> SeriesPoint:
    """A step of a series in the words of the API."""
    return SeriesPoint(
        begins=begins,
        requests=found.requests,
        errors=found.errors,
        cached=found.cached,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        total_tokens=found.input_tokens + found.output_tokens,
        cost_usd=found.cost_usd,
        saved_usd=found.saved_usd,
        p50_latency_ms=found.p50_ms,
        p95_latency_ms=found.p95_ms,
        avg_first_token_ms=found.avg_first_token_ms,
        p50_first_token_ms=found.p50_first_token_ms,
        p95_first_token_ms=found.p95_first_token_ms,
    )


def _details(found: Summary, currency: Currency) -> dict[str, Any]:
    percentiles = {
        "p50_latency_ms": found.p50_ms,
        "p95_latency_ms": found.p95_ms,
        "p99_latency_ms": found.p99_ms,
    }
    other = {
        "currency": currency.code,
        "total_cost": currency.of_usd(found.cost_usd),
        "saved": currency.of_usd(found.saved_usd),
    }
    return {
        "total_cost_usd": found.cost_usd,
        "total_tokens": found.total_tokens,
        "cached_requests": found.cached,
        "error_requests": found.errors,
        "error_rate": _share(found.errors, found.requests),
        "saved_usd": found.saved_usd,
        "input_tokens": found.input_tokens,
        "cached_tokens": found.cached_tokens,
        "cache_write_tokens": found.cache_write_tokens,
        "output_tokens": found.output_tokens,
        "reasoning_tokens": found.reasoning_tokens,
        "images": found.images,
        "avg_latency_ms": found.avg_latency_ms,
        "avg_first_token_ms": found.avg_first_token_ms,
        **(percentiles if found.p50_ms is not None else {}),
        **({} if currency.is_usd else other),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
