"""Records for the ledger's tests."""

from typing import Any

from adapters.base import Endpoint, Usage
from proxy.ids import uuid7
from proxy.types import Attempt, Outcome, Principal, Record, Role, UsageSource


def record(**over: Any) -> Record:
    """A finished request with one attempt."""
    made = Record(uuid7())
    made.endpoint = Endpoint.CHAT
    made.principal = Principal(Role.KEY, "key_1")
    made.outcome = Outcome.OK
    made.status = 200
    made.provider, made.model, made.name = "up", "m", "fast"
    made.usage, made.usage_source = Usage(10, 5, cached=4, reasoning=2), UsageSource.PROVIDER
    made.cost_nanousd = 1_000_000
    attempt = Attempt(uuid7(), 1, "up", "m", 0)
    attempt.usage = made.usage
    made.attempts.append(attempt)
    for name, value in over.items():
        setattr(made, name, value)
    return made
