"""The few values that the pipeline passes on from step to step."""

import os
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


class Trace:
    """A request's place in a distributed trace: W3C ids as numbers. Only where traces are on.

    `state` is what goes on as `tracestate`. `sent_to` has the URLs of attempts by their ids;
    `has_calls`: calls that this request makes have spans below its own.
    """

    __slots__ = (
        "has_calls", "is_remote", "is_sampled", "method", "parent_id", "path", "sent_to",
        "span_id", "state", "trace_id",
    )  # fmt: skip

    def __init__(
        self,
        trace_id: int,
        span_id: int,
        parent_id: int | None,
        is_sampled: bool,
        state: str = "",
        is_remote: bool = False,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        self.trace_id, self.span_id, self.parent_id = trace_id, span_id, parent_id
        self.is_sampled, self.is_remote, self.state = is_sampled, is_remote, state
        self.method, self.path = method, path
        self.sent_to: dict[str, str] = {}
        self.has_calls = False

    def headers_of(self, attempt_id: str, url: str) -> dict[str, str]:
        """What goes upstream with an attempt; its span's id is the latter half of its own."""
        self.sent_to[attempt_id] = url
        flags = int(self.is_sampled)
        headers = {"traceparent": f"00-{self.trace_id:032x}-{attempt_id[16:]}-{flags:02x}"}
        return headers | {"tracestate": self.state} if self.state else headers

    def below(self) -> "Trace":
        """Of a call that Turnout makes for this request."""
        self.has_calls = True
        made = int.from_bytes(os.urandom(8)) | 1
        return Trace(self.trace_id, made, self.span_id, self.is_sampled, self.state)


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
    cache: str | None = None  # bypass, miss, or the tier of a hit
    trace: Trace | None = None

    def __init__(self, id: str) -> None:
        self.id = id
        self.started = time.monotonic()
        self.started_at = time.time()
        self.attempts: list[Attempt] = []
