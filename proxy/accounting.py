"""What a request's record says of its attempts: tokens, cost, outcome."""

import time

from adapters.base import Ask, Failure, Target, Usage
from adapters.estimate import estimate
from proxy.cache.types import Entry
from proxy.failures import describe
from proxy.ids import uuid7
from proxy.ledger.pricing import Prices
from proxy.types import Attempt, Outcome, Record, UsageSource


def begin(record: Record, target: Target) -> Attempt:
    """Opens the row of one attempt."""
    attempt = Attempt(
        uuid7(), len(record.attempts) + 1, target.provider, target.model, target.credential
    )
    record.attempts.append(attempt)
    record.provider, record.model = target.provider, target.model
    return attempt


def fail(attempt: Attempt, failure: Failure, target: Target) -> None:
    """An attempt that failed, and why."""
    attempt.outcome = Outcome.FAILED
    attempt.status = failure.status or attempt.status
    attempt.error_code = failure.kind.value
    attempt.error_message = describe(failure, target)


def count(
    attempt: Attempt, target: Target, ask: Ask, usage: Usage | None, text_bytes: int, prices: Prices
) -> None:
    """The tokens of an attempt and their price; estimated where the upstream counted none."""
    attempt.usage_source = UsageSource.PROVIDER if usage else UsageSource.ESTIMATED
    attempt.usage = usage or estimate(ask, text_bytes)
    attempt.cost_nanousd = prices.cost(
        target.provider, target.base_url, target.model, attempt.usage
    )


def reuse(record: Record, entry: Entry) -> None:
    """A request that a kept answer serves: its tokens, no cost, and what that saves."""
    record.outcome = Outcome.OK
    record.provider, record.model = entry.provider, entry.model
    record.usage, record.usage_source = entry.usage, UsageSource.PROVIDER
    record.cached, record.cost_nanousd = True, 0
    record.saved_nanousd = entry.cost_nanousd or 0


def settle(record: Record) -> None:
    """Sums the attempts up into the request's own row."""
    counted = [a for a in record.attempts if a.usage is not None]
    if counted:
        record.usage = _sum([a.usage for a in counted if a.usage])
        estimated = any(a.usage_source is UsageSource.ESTIMATED for a in counted)
        record.usage_source = UsageSource.ESTIMATED if estimated else UsageSource.PROVIDER
        costs = [a.cost_nanousd for a in counted if a.cost_nanousd is not None]
        record.cost_nanousd = sum(costs) if costs else None
    if record.attempts:
        last = record.attempts[-1]
        record.first_token = last.first_token and last.first_token + last.started - record.started
    record.duration = time.monotonic() - record.started


def _sum(usages: list[Usage]) -> Usage:
    if len(usages) == 1:
        return usages[0]
    return Usage(
        prompt=sum(u.prompt for u in usages),
        completion=sum(u.completion for u in usages),
        cached=sum(u.cached for u in usages),
        cache_write=sum(u.cache_write for u in usages),
        reasoning=sum(u.reasoning for u in usages),
        images=sum(u.images for u in usages),
    )
