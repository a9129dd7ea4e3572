"""Who may have how much, and what is said to whom has had it. Decisions; a `Counters` counts.

A request reserves, before anything is sent, its share of each limit that holds for its caller:
itself, the tokens and the money that it may come to at worst, and a place among those under way.
When it has ended `settle` puts what it came to in their place. A request has all or is refused.
"""

import math
import time
from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from adapters.base import Ask, Endpoint, Target, Usage
from adapters.estimate import estimate, text_size, tokens
from proxy.allowance import MOST, NANO, effective
from proxy.counters import Counters, Grant, Kind, Want
from proxy.counters_local import MICRO, Window
from proxy.errors import BudgetExceeded, LimitExceeded
from proxy.types import Budget, Controls, Limits, OwnLimits, Period, Principal, Role

NO_LIMITS = Limits()
MINUTE = 60.0
DAY = 86400.0
UNDER_WAY = 660.0  # seconds a place is held at most: a request's ten minutes, and one to end in
DEFAULT_OUTPUT = 1024  # tokens reserved for an answer whose length the request leaves open
PLAIN = Controls()
FREE = OwnLimits(Limits(), frozenset(Limits.__dataclass_fields__))
"""No limit of any kind, for calls that Turnout makes itself: this very object is asked for."""

_TALKING = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES}
)  # endpoints that answer in tokens
_OUTPUT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Measure(StrEnum):
    """What a limit counts; the last part of its count's key."""

    CONCURRENCY = "concurrency"
    RPM = "rpm"
    RPD = "rpd"
    TPM = "tpm"
    TPD = "tpd"
    BUDGET_DAY = "budget-day"
    BUDGET_MONTH = "budget-month"


_MEASURES = {measure.value: measure for measure in Measure}
REQUESTS = frozenset({Measure.RPM, Measure.RPD})
TOKENS = frozenset({Measure.TPM, Measure.TPD})
BUDGETS = frozenset({Measure.BUDGET_DAY, Measure.BUDGET_MONTH})
_OF_PERIOD = {Period.DAY: Measure.BUDGET_DAY, Period.MONTH: Measure.BUDGET_MONTH}
_NOUNS = {
    Measure.CONCURRENCY: "requests at once",
    Measure.RPM: "requests a minute",
    Measure.RPD: "requests a day",
    Measure.TPM: "tokens a minute",
    Measure.TPD: "tokens a day",
    Measure.BUDGET_DAY: "a day",
    Measure.BUDGET_MONTH: "a month",
}


class Prices(Protocol):
    """What an ask may cost: nano-dollars, None when nobody knows."""

    def cost(self, provider: str, base_url: str, model: str, usage: Usage) -> int | None: ...


# Limits -> wants.


@dataclass(frozen=True, slots=True)
class LimitsOf:
    """Whose limits are what, under one configuration. The master key has none."""

    keys: Limits = NO_LIMITS  # the default of each
    users: Mapping[str, Limits] = field(default_factory=dict)
    services: Mapping[str, Limits] = field(default_factory=dict)

    def needs(self, principal: Principal, controls: Controls = PLAIN) -> bool:
        """Whether any limit holds for a caller."""
        return bool(self.scopes(principal, controls))

    def scopes(self, principal: Principal, controls: Controls = PLAIN) -> list[tuple[str, Limits]]:
        """What holds for a caller, as (`key:ID` | `user:ID` | `service:NAME`, limits).

        Only a service is believed when it says for which user, and as which service, it calls. The
        default is each key's, and each user's who comes without one.
        """
        if principal.limits is FREE:
            return []
        user = principal.user_id
        found: list[tuple[str, Limits | None]] = []
        if principal.role is Role.KEY:
            own = principal.limits
            limits = self.keys if own is None else effective(self.keys, own)
            found.append((f"key:{principal.key_id}", limits))
        elif principal.role is Role.SERVICE:
            user = controls.user
            if controls.service is not None:
                found.append((f"service:{controls.service}", self.services.get(controls.service)))
        if user is not None:
            default = self.keys if principal.role is Role.USER else None
            found.append((f"user:{user}", self.users.get(user, default)))
        return [(scope, limits) for scope, limits in found if limits and limits != NO_LIMITS]


def wants(
    scope: str, limits: Limits, estimate_tokens: int, estimate_nanousd: int, now: float
) -> list[Want]:
    """What a request wants of each of a scope's limits; `now` in epoch seconds."""
    amount = min(estimate_tokens, MOST)
    plain = (
        (Measure.CONCURRENCY, Kind.GAUGE, limits.concurrency, 1, UNDER_WAY),
        (Measure.RPM, Kind.SLIDING, limits.rpm, 1, MINUTE),
        (Measure.RPD, Kind.SLIDING, limits.rpd, 1, DAY),
        (Measure.TPM, Kind.SLIDING, limits.tpm, amount, MINUTE),
        (Measure.TPD, Kind.SLIDING, limits.tpd, amount, DAY),
    )
    made = [
        Want(f"{scope}:{measure}", kind, limit, share, window)
        for measure, kind, limit, share, window in plain
        if limit is not None
    ]
    if limits.budget is not None:
        made.append(budget_want(scope, limits.budget, estimate_nanousd, now))
    return made


def budget_want(scope: str, budget: Budget, nanousd: int, now: float) -> Want:
    """A share of a budget in the UTC day or month of `now`."""
    begins, seconds = _term(budget.per, now)
    key = f"{scope}:{_OF_PERIOD[budget.per]}"
    return Want(key, Kind.FIXED, budget.nanousd, min(nanousd, MOST), seconds, begins)


def _term(per: Period, now: float) -> tuple[float, float]:
    """(begin in epoch seconds, length in seconds)."""
    begin = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per is Period.DAY:
        return begin.timestamp(), DAY
    begin = begin.replace(day=1)
    return begin.timestamp(), DAY * monthrange(begin.year, begin.month)[1]


# An ask -> what it may come to.


def worst_usage(ask: Ask) -> Usage:
    """Its prompt by estimate, and all the output that it allows."""
    if ask.endpoint is Endpoint.COUNT_TOKENS:
        return Usage()
    beside = text_size(ask.body.get("system")) + text_size(ask.body.get("instructions"))
    prompt = estimate(ask, 0).prompt + tokens(beside)
    if ask.endpoint in _TALKING:
        choices = max(_number(ask, "n") or 1, _number(ask, "best_of") or 1)
        output = next(filter(None, (_number(ask, name) for name in _OUTPUT_FIELDS)), DEFAULT_OUTPUT)
        return Usage(prompt=prompt, completion=choices * output)
    images = _number(ask, "n") or 1
    return Usage(prompt=prompt, images=images if ask.endpoint is Endpoint.IMAGES else 0)


def worst_cost(usage: Usage, prices: Prices, targets: Iterable[Target]) -> int:
    """Nano-dollars at the dearest of the targets; a model that has no price costs nothing."""
    places = {(target.provider, target.base_url, target.model) for target in targets}
    return max((prices.cost(*place, usage) or 0 for place in places), default=0)


def _number(ask: Ask, name: str) -> int | None:
    value = ask.body.get(name, ask.defaults.get(name))
    return value if isinstance(value, int) and value > 0 else None


# Reserving and settling.


class Reservation(NamedTuple):
    """What a request has of its caller's limits until it is settled. `id` is the request's."""

    id: str = ""
    wants: tuple[Want, ...] = ()
    grant: Grant = Grant(None, (), ())

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`x-ratelimit-…`, of the tightest limits; none of a kind that has no limit."""
        named = rate_headers(self.wants, self.grant)
        return [(name.encode(), value.encode()) for name, value in named.items()]


NOTHING = Reservation()
"""The reservation of a caller without limits."""


class Limiter:
    """Reserves and settles in one store of counts. `clock` gives epoch seconds."""

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.time) -> None:
        self._counters = counters
        self._clock = clock

    async def reserve(
        self,
        request_id: str,
        principal: Principal,
        limits_of: LimitsOf,
        ask: Ask,
        prices: Prices,
        targets: Sequence[Target],
        controls: Controls = PLAIN,
    ) -> Reservation:
        """A share of each limit of the caller. Raises `LimitExceeded`, and has taken nothing."""
        scopes = limits_of.scopes(principal, controls)
        if not scopes:
            return NOTHING
        usage = worst_usage(ask)
        cost = 0
        if any(limits.budget for _, limits in scopes):
            cost = worst_cost(usage, prices, targets)
        now = self._clock()
        wanted = tuple(
            want
            for scope, limits in scopes
            for want in wants(scope, limits, usage.total, cost, now)
        )
        grant = await self._counters.reserve(request_id, wanted)
        if grant.blocked is not None:
            raise refusal(wanted, grant)
        return Reservation(request_id, wanted, grant)

    async def settle(
        self, reservation: Reservation, usage: Usage | None, cost_nanousd: int | None
    ) -> None:
        """What the request came to; None where it came to nothing. Once: more do nothing."""
        if not reservation.wants:
            return
        used = [_used(want, usage, cost_nanousd) for want in reservation.wants]
        await self._counters.settle(reservation.id, reservation.wants, used)


def _used(want: Want, usage: Usage | None, cost_nanousd: int | None) -> int:
    measure = _measure(want)
    if measure in REQUESTS:
        return want.amount
    if measure in TOKENS:
        return usage.total if usage else 0
    return (cost_nanousd or 0) if measure in BUDGETS else 0


def _measure(want: Want) -> Measure:
    return _MEASURES[want.key.rpartition(":")[2]]


# What the caller is told.


def refusal(wanted: Sequence[Want], grant: Grant) -> LimitExceeded:
    """The error for a grant that is blocked: of a budget if one is spent, as that lasts longest,
    else of the limit that has room last."""
    short = [
        index
        for index, want in enumerate(wanted)
        if index == grant.blocked or grant.remaining[index] < want.amount
    ]
    spent = [index for index in short if _measure(wanted[index]) in BUDGETS]
    index = max(spent or short, key=lambda i: grant.resets[i])
    want, wait = wanted[index], max(1, math.ceil(round(grant.resets[index], 5)))
    headers = {"retry-after": str(wait), **rate_headers(wanted, grant)}
    if spent or want.amount > want.limit:
        headers["x-should-retry"] = "false"  # OpenAI's and Anthropic's SDKs obey
    kind = BudgetExceeded if spent else LimitExceeded
    return kind(_told(want, grant.remaining[index], wait), headers=headers)


def _told(want: Want, remaining: int, wait: int) -> str:
    measure = _measure(want)
    whose = f"this {want.key.partition(':')[0]}"
    if measure in BUDGETS:
        return (
            f"{whose} has {_usd(remaining)} left of its budget of {_usd(want.limit)} "
            f"{_NOUNS[measure]}, and this request may cost {_usd(want.amount)}; "
            f"it begins anew in {_with_days(wait)}"
        )
    limit = f"{whose} may have {want.limit} {_NOUNS[measure]}"
    if want.amount > want.limit:
        return f"{limit}, and this request alone may come to {want.amount}; ask for less output"
    return f"{limit} and has {remaining} left; try again in {duration(wait)}"


def _with_days(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    return f"{days}d{duration(rest)}" if days else duration(rest)


def _usd(nanousd: int) -> str:
    return f"{Decimal(nanousd) / NANO:f} USD"


def rate_headers(wanted: Sequence[Want], grant: Grant) -> dict[str, str]:
    """OpenAI's six `x-ratelimit-…`, of the request and the token limit with the least left."""
    headers = {}
    for kind, measures in (("requests", REQUESTS), ("tokens", TOKENS)):
        indexes = [i for i, want in enumerate(wanted) if _measure(want) in measures]
        if not indexes:
            continue
        tightest = min(indexes, key=lambda i: (grant.remaining[i], -grant.resets[i]))
        headers[f"x-ratelimit-limit-{kind}"] = str(wanted[tightest].limit)
        headers[f"x-ratelimit-remaining-{kind}"] = str(grant.remaining[tightest])
        headers[f"x-ratelimit-reset-{kind}"] = duration(grant.resets[tightest])
    return headers


def duration(seconds: float) -> str:
    """As OpenAI writes it: `6m0s`, `8.64s`, `20ms`; to the millisecond, rounded up."""
    millis = math.ceil(round(seconds * 1000, 2))  # a stray microsecond is no millisecond
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{text}{millis / 1000:g}s"


# A provider's own limits.


class Rates(Protocol):
    """What a provider takes in a minute; None is all."""

    @property
    def rpm(self) -> int | None: ...

    @property
    def tpm(self) -> int | None: ...


class ProviderRoom:
    """What was sent to each provider in the last minute by this process. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sent: dict[str, tuple[Window, Window]] = {}  # provider -> requests, tokens

    def room(self, provider: str, rates: Rates, amount: int = 1) -> float:
        """Seconds until a request of `amount` tokens fits; 0.0 is now.

        One larger than a whole minute's tokens fits when nothing else was sent.
        """
        sent = self._sent.get(provider)
        if sent is None:
            return 0.0
        now = int(self._clock() * MICRO)
        waits = [0]
        if rates.rpm is not None:
            waits.append(sent[0].wait(now, rates.rpm - 1))
        if rates.tpm is not None:
            waits.append(sent[1].wait(now, max(0, rates.tpm - amount)))
        return max(waits) / MICRO

    def take(self, provider: str, rates: Rates, amount: int) -> None:
        """Counts a request of `amount` tokens, for a provider that has limits."""
        if rates.rpm is None and rates.tpm is None:
            return
        sent = self._sent.get(provider)
        if sent is None:
            sent = self._sent[provider] = (Window(MINUTE), Window(MINUTE))
        now = int(self._clock() * MICRO)
        sent[0].take(now, 1)
        sent[1].take(now, amount)

    def correct(self, provider: str, reserved: int, used: int) -> None:
        """Puts the tokens that were used in place of those that `take` counted."""
        sent = self._sent.get(provider)
        if sent is not None:
            sent[1].correct(used - reserved)
