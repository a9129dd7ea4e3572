"""The few values that the pipeline passes on from step to step."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from adapters.base import Ask, Endpoint, Target, Usage


class Role(StrEnum):
    """What a caller is; decides which routes it may call."""

    ADMIN = "admin"
    SERVICE = "service"
    USER = "user"
    KEY = "key"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `models` are the names and wildcards it may use; None means all."""

    role: Role
    key_id: str | None = None
    user_id: str | None = None
    models: tuple[str, ...] | None = None

    def may_use(self, name: str) -> bool:
        if self.models is None:
            return True
        return any(name == entry or fnmatchcase(name, entry) for entry in self.models)


@dataclass(frozen=True, slots=True)
class Controls:
    """What a caller asks of Turnout itself, by `x-turnout-…` headers or body metadata."""

    task: str | None = None
    provider: str | None = None
    fallback: bool = True
    timeout: float | None = None
    user: str | None = None
    service: str | None = None
    job: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was understood: who asks what, of which name."""

    principal: Principal
    ask: Ask
    name: str
    controls: Controls


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a call may go, first choice first, and the task it serves."""

    name: str
    targets: tuple[Target, ...]
    task: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)


class Outcome(StrEnum):
    """How a request or an attempt ended."""

    OK = "ok"
    FAILED = "failed"
    CLIENT_CLOSED = "client_closed"


class UsageSource(StrEnum):
    """Where the token numbers of a row come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(slots=True)
class Attempt:
    """One request sent upstream; becomes one row of `attempts`. Times are seconds."""

    id: str
    number: int
    provider: str
    model: str
    credential: int
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    outcome: Outcome = Outcome.FAILED
    status: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost_nanousd: int | None = None
    first_token: float | None = None
    duration: float = 0.0


@dataclass(slots=True)
class Record:
    """A request's usage record. The middleware opens it and hands it to the ledger when the
    response has ended, however it ended; the pipeline fills it in on the way.

    `admitted` is False until the caller is known: what was turned away at the door is no usage.
    """

    id: str
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)
    admitted: bool = False
    endpoint: Endpoint | None = None
    principal: Principal | None = None
    name: str | None = None
    user: str | None = None
    service: str | None = None
    job: str | None = None
    task: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    provider: str | None = None
    model: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    outcome: Outcome = Outcome.FAILED
    status: int = 0
    usage: Usage | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost_nanousd: int | None = None
    first_token: float | None = None
    duration: float = 0.0
    upstream_wait: float = 0.0
    error_code: str | None = None
    error_message: str | None = None
