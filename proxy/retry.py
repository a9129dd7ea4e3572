"""May we try again, when, and where. Pure, save for the budget's two counters.

FAULTS' policy: another target is tried before the same one again; at most `attempts` in all;
between tries of one target full jitter within an exponential bound, or the upstream's own
Retry-After when that is short; retries of a target that was already tried stay within a budget,
so that trouble upstream is not multiplied.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from adapters.base import Failure, FailureKind, Retry, Target
from proxy.failures import NOT_SENT

LONGEST_WAIT = 5.0  # seconds of Retry-After that are still waited for
BUDGET_FLOOR = 3  # retries under way that are always allowed


@dataclass(frozen=True, slots=True)
class Policy:
    """`attempts` in all; `backoff` is (first, longest) in seconds; `budget` a share of traffic."""

    attempts: int = 4
    backoff: tuple[float, float] = (0.5, 8.0)
    budget: float = 0.2


class Step(NamedTuple):
    """The next attempt: where, after how many seconds; `again` when the target was tried before."""

    target: Target
    delay: float = 0.0
    again: bool = False


Tried = Sequence[tuple[Target, Failure]]


class Budget:
    """Retries under way may be at most a share of the requests under way, with a floor.

    The form of Envoy's retry budget: it needs no clock and follows load at once. The pipeline
    counts both up and down.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0

    def allows(self, ratio: float) -> bool:
        """Whether one more retry fits."""
        return self.retries < max(BUDGET_FLOOR, ratio * (self.requests - self.retries))


def next_step(
    targets: Sequence[Target], tried: Tried, policy: Policy, budget: Budget
) -> Step | None:
    """The attempt to make after those that failed; None when the last failure stands."""
    if not tried:
        return Step(targets[0])
    last_target, last = tried[-1]
    if last.kind is FailureKind.STREAM_OPTIONS and last_target.takes_stream_options:
        return Step(replace(last_target, takes_stream_options=False))
    if last.kind is FailureKind.NO_RESPONSES and last_target.has_responses is None:
        return Step(replace(last_target, has_responses=False))
    if last.retry is Retry.NEVER or _sent(tried) >= policy.attempts:
        return None
    counts = Counter(target.id for target, _ in tried)
    fresh = next((target for target in targets if target.id not in counts), None)
    if fresh is not None:
        return Step(fresh)
    return _again(targets, tried, counts, policy) if budget.allows(policy.budget) else None


def _sent(tried: Tried) -> int:
    return sum(failure.kind not in NOT_SENT for _, failure in tried)


def _again(
    targets: Sequence[Target], tried: Tried, counts: Counter[str], policy: Policy
) -> Step | None:
    """The least tried of the targets that may be tried again."""
    failures = {target.id: failure for target, failure in tried}
    steps = [
        (counts[target.id], index, target)
        for index, target in enumerate(targets)
        if _may_repeat(failures[target.id])
    ]
    if not steps:
        return None
    count, _, target = min(steps)[:3]
    bound = min(policy.backoff[1], policy.backoff[0] * 2 ** (count - 1))
    jitter = random.uniform(0, bound)  # noqa: S311  (spreads load, guards nothing)
    return Step(target, max(jitter, failures[target.id].retry_after or 0.0), again=True)


def _may_repeat(failure: Failure) -> bool:
    return failure.retry is Retry.SAME_TARGET and (failure.retry_after or 0.0) <= LONGEST_WAIT
