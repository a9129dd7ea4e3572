"""The few values that the pipeline passes on from step to step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from adapters.base import Ask, Endpoint, Target, Usage


class Role(StrEnum):
    """What a caller is; decides which routes it may call."""

    ADMIN = "admin"
    SERVICE = "service"
    USER = "user"
    KEY = "key"
    ANONYMOUS = "anonymous"


class Period(StrEnum):
    """The calendar, in UTC, by which a budget begins anew."""

    DAY = "day"
    MONTH = "month"


class Budget(NamedTuple):
    """Money that may be spent in one day or month."""

    nanousd: int
    per: Period = Period.MONTH


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests and tokens a minute and a day, requests at once, money; None is no limit."""

    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    concurrency: int | None = None
    budget: Budget | None = None


class OwnLimits(NamedTuple):
    """What a key says of its limits itself: the `fields` of `limits`, None among them. Of the
    other fields the configuration's default holds."""

    limits: Limits = Limits()
    fields: frozenset[str] = frozenset()


class OwnCache(NamedTuple):
    """What a key says of the cache itself; None says nothing."""

    enabled: bool | None = None
    semantic: bool | None = None


class OwnKeys(Protocol):
    """The keys of providers that a user has brought. Only who was authenticated as that user, or
    by a virtual key of that user's, ever has them."""

    @property
    def providers(self) -> frozenset[str]:
        """The providers that there is a key for."""
        ...

    def open(self, provider: str, base_url: str) -> SecretStr:
        """The key. Raises `CredentialUnavailable` where it can't be read, or was saved for
        another place than `base_url`."""
        ...


class Principal(NamedTuple):
    """Who calls. `models` are the names and wildcards it may use; None means all."""

    role: Role
    key_id: str | None = None
    user_id: str | None = None
    models: tuple[str, ...] | None = None
    limits: OwnLimits | None = None
    cache: OwnCache | None = None
    own: OwnKeys | None = None

    def may_use(self, name: str) -> bool:
        if self.models is None:
            return True
        return any(name == entry or fnmatchcase(name, entry) for entry in self.models)


class Controls(NamedTuple):
    """What a caller asks of Turnout itself, by `x-turnout-…` headers or body metadata."""

    task: str | None = None
    provider: str | None = None
    fallback: bool = True
    timeout: float | None = None
    user: str | None = None
    service: str | None = None
    job: str | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    cache: str | None = None


class Call(NamedTuple):
    """A request that was understood: who asks what, of which name.

    `route` are targets, `provider/model`, that a door of Turnout's own has chosen: they count
    instead of what the name leads to. `label` is the task that the books say then.
    """

    principal: Principal
    ask: Ask
    name: str
    controls: Controls
    route: tuple[str, ...] = ()
    label: str | None = None


class Plan(NamedTuple):
    """Where a call may go, first choice first, and the task it serves."""

    name: str
    targets: tuple[Target, ...]
    task: str | None = None
    defaults: Mapping[str, Any] = MappingProxyType({})


class Outcome(StrEnum):
    """How a request or an attempt ended."""

    OK = "ok"
    FAILED = "failed"
    CLIENT_CLOSED = "client_closed"
    UNKNOWN = "unknown"  # sent, but the process died before it ended


class UsageSource(StrEnum):
    """Where the token numbers of a row come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


class Attempt:
    """One request sent upstream; becomes one row of `attempts`. Times are seconds."""

    outcome: Outcome = Outcome.FAILED
    status: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost_nanousd: int | None = None
    first_token: float | None = None
    duration: float = 0.0

    def __init__(self, id: str, number: int, provider: str, model: str, credential: int) -> None:
        self.id = id
        self.number = number
        self.provider = provider
        self.model = model
        self.credential = credential
        self.started = time.monotonic()
        self.started_at = time.time()


class Record:
    """A request's usage record. The middleware opens it and hands it to the ledger when the
    response has ended, however it ended; the pipeline fills it in on the way.

    `admitted` is False until the caller is known: what was turned away at the door is no usage.
    """

    admitted: bool = False
    endpoint: Endpoint | None = None
    principal: Principal | None = None
    name: str | None = None
    user: str | None = None
    service: str | None = None
    job: str | None = None
    task: str | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    stream: bool = False
    provider: str | None = None
    model: str | None = None
    outcome: Outcome = Outcome.FAILED
    status: int = 0
    usage: Usage | None = None
    usage_source: UsageSource = UsageSource.NONE
    cost_nanousd: int | None = None
    saved_nanousd: int = 0
    cached: bool = False
    first_token: float | None = None
    duration: float = 0.0
    upstream_wait: float = 0.0
    error_code: str | None = None
    error_message: str | None = None
    usage_type: str | None = None  # what the task says; else the endpoint does

    def __init__(self, id: str) -> None:
        self.id = id
        self.started = time.monotonic()
        self.started_at = time.time()
        self.attempts: list[Attempt] = []
