"""tRPC's `llmAnalytics.…`: what was used and saved, what it will cost, the cache and the circuits.

Money is in Canadian dollars where a name says so. Who asks sees the own requests: a user's, a
key's; the master key and services see all.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt
from pydantic.alias_generators import to_camel

from proxy import breaker
from proxy.breaker import Breakers, BreakerStatus, State
from proxy.cache.lookup import Cache
from proxy.cache.types import Purge
from proxy.config import Config
from proxy.doors.api import KNOWN, OPERATORS, Lenient, Strict
from proxy.doors.owners import own_of
from proxy.doors.trpc import Given, Kind, Procedure
from proxy.doors.trpc_figures import Figures, Kept
from proxy.errors import DatabaseUnavailable, InvalidRequest
from proxy.ledger.analytics import Owner, Summary
from proxy.ledger.currency import Currency
from proxy.live import Live

if TYPE_CHECKING:
    from proxy.shared.answers import PurgeIncomplete

Incomplete = tuple["type[PurgeIncomplete]", ...]
"""What a store raises that could not finish a purge; none where all is kept in this process."""

DAYS, HORIZON, MOST_DAYS = 7, 30, 365
CAD, RATE = "CAD", 1.37  # Canadian dollars for one of the USA, where the configuration has none


def _named(name: str) -> str:
    """JavaScript's name, with a currency's letters as they are."""
    return to_camel(name).replace("Cad", "CAD").replace("Usd", "USD")


class Shown(Strict):
    """A value whose fields have JavaScript's names outside."""

    model_config = ConfigDict(alias_generator=_named, validate_by_name=True)


class RouterSums(Shown):
    """Requests of one task."""

    calls: int
    tokens: int
    estimated_cost_cad: float


class RouterProvider(RouterSums):
    """Requests of one provider. `error_rate` is from 0 to 1."""

    avg_latency_ms: float
    error_rate: float


class RouterModel(RouterSums):
    """Requests of one model; of several providers the one with most of them."""

    provider: str
    avg_latency_ms: float


class RouterDay(RouterSums):
    """Requests of one day (UTC)."""

    date: str


class RouterCache(Shown):
    """What the cache did in a period. `hit_rate` is from 0 to 1."""

    hits: int
    misses: int
    hit_rate: float
    savings_cad: float


class RouterCircuit(Shown):
    """The circuit of a provider; `next_attempt_time` is epoch milliseconds."""

    state: Literal["CLOSED", "OPEN", "HALF_OPEN"]
    failure_count: int
    success_count: int
    next_attempt_time: int | None


class RouterSummary(Shown):
    """All about the last days."""

    total_calls: int
    total_tokens: int
    total_cost_cad: float
    total_savings_cad: float
    providers: dict[str, RouterProvider]
    models: dict[str, RouterModel]
    task_types: dict[str, RouterSums]
    daily_usage: list[RouterDay]
    cache_metrics: RouterCache
    circuit_breaker_status: dict[str, RouterCircuit]


class RouterForecastDay(Shown):
    """A day to come; 1 is tomorrow."""

    day: int
    estimated_cost_cad: float


class RouterForecast(Shown):
    """What this calendar month has cost, what it will, and each of the days to come."""

    current_monthly_cad: float
    projected_monthly_cad: float
    daily_forecast: list[RouterForecastDay]


class RouterCacheMetrics(Shown):
    """What the cache has done in the last year."""

    hits: int
    misses: int
    hit_rate: float
    estimated_savings_usd: float


class RouterInvalidated(Shown):
    """How many answers were dropped."""

    invalidated: int


class RouterReset(Shown):
    """How many circuits were closed."""

    success: bool
    reset: int


class Nothing(Lenient):
    """No input."""


class Days(Lenient):
    """How far to look back."""

    days: Annotated[StrictInt, Field(ge=1, le=MOST_DAYS)] = DAYS


class Horizon(Lenient):
    """How far to look ahead."""

    horizon: Annotated[StrictInt, Field(alias="horizonDays", ge=1, le=MOST_DAYS)] = HORIZON


class WhichEntries(Strict):
    """Entries by their ids, `llm:cache:<task>:…`, with `*` and `?`; all where it is left out. An
    unknown field is a fault: a slip would empty the whole cache."""

    pattern: str = Field(default="", min_length=1, max_length=512)


class WhichCircuit(Strict):
    """One provider, or all where it is left out."""

    provider: str = Field(default="", min_length=1, max_length=256)


class Insights:
    """The procedures that look, and the two that clear."""

    def __init__(
        self,
        live: Live,
        figures: Figures,
        breakers: Breakers,
        cache: Cache,
        incomplete: Incomplete = (),
    ) -> None:
        self._live = live
        self._figures = figures
        self._breakers = breakers
        self._cache = cache
        self._incomplete = incomplete

    def procedures(self) -> list[Procedure]:
        query, mutation = Kind.QUERY, Kind.MUTATION
        circuits = dict[str, RouterCircuit]
        return [
            Procedure(
                "llmAnalytics.summary", query, self.summary, KNOWN,
                "Usage, costs and savings of the last days", Days, RouterSummary, (503,),
            ),
            Procedure(
                "llmAnalytics.forecast", query, self.forecast, KNOWN,
                "What the next days will cost", Horizon, RouterForecast, (503,),
            ),
            Procedure(
                "llmAnalytics.cacheMetrics", query, self.cache_metrics, KNOWN,
                "What the cache has saved", Nothing, RouterCacheMetrics, (503,),
            ),
            Procedure(
                "llmAnalytics.circuitBreakerStatus", query, self.circuit_status, KNOWN,
                "The circuit of each provider", Nothing, circuits,
            ),
            Procedure(
                "llmAnalytics.cacheInvalidate", mutation, self.invalidate, OPERATORS,
                "Drop kept answers", WhichEntries, RouterInvalidated, (503,),
            ),
            Procedure(
                "llmAnalytics.circuitBreakerReset", mutation, self.reset, OPERATORS,
                "Close the circuits of a provider, or all", WhichCircuit, RouterReset,
            ),
        ]  # fmt: skip

    @property
    def _config(self) -> Config:
        return self._live.current.config

    def _cad(self, usd: float) -> float:
        return Currency(CAD, self._config.pricing.rates.get(CAD, RATE)).of_usd(usd)

    async def summary(self, given: Given) -> RouterSummary:
        """Each sum is asked for by itself: a request that ends meanwhile may be in one of them."""
        owner, days = own_of(given.principal), given.input.days
        found = await self._figures.daily(owner, days)
        return RouterSummary(
            total_calls=sum(day.requests for day in found),
            total_tokens=sum(day.total_tokens for day in found),
            total_cost_cad=self._cad(sum(day.cost_usd for day in found)),
            total_savings_cad=self._cad(sum(day.saved_usd for day in found)),
            providers=await self._providers(owner, days),
            models=await self._models(owner, days),
            task_types={
                name: RouterSums(**self._sums(group))
                for name, group in await self._groups(owner, days, "task")
            },
            daily_usage=[RouterDay(date=day.group or "", **self._sums(day)) for day in found],
            cache_metrics=self._kept(await self._figures.kept(owner, days)),
            circuit_breaker_status=self._circuits(),
        )

    async def _providers(self, owner: Owner | None, days: int) -> dict[str, RouterProvider]:
        return {
            name: RouterProvider(
                avg_latency_ms=group.avg_latency_ms,
                error_rate=round(group.errors / group.requests, 6) if group.requests else 0.0,
                **self._sums(group),
            )
            for name, group in await self._groups(owner, days, "provider")
        }

    async def _models(self, owner: Owner | None, days: int) -> dict[str, RouterModel]:
        groups = await self._groups(owner, days, "model")
        names = [name for name, _ in groups]
        providers = await self._figures.providers_of(owner, days, names)
        return {
            name: RouterModel(
                provider=providers[name],
                avg_latency_ms=group.avg_latency_ms,
                **self._sums(group),
            )
            for name, group in groups
        }

    async def _groups(
        self, owner: Owner | None, days: int, by: str
    ) -> Sequence[tuple[str, Summary]]:
        """Those that have a name: what was refused before any provider was asked has none."""
        found = await self._figures.groups(owner, days, by)
        return [(group.group, group) for group in found if group.group]

    def _sums(self, group: Summary) -> dict[str, Any]:
        return {
            "calls": group.requests,
            "tokens": group.total_tokens,
            "estimated_cost_cad": self._cad(group.cost_usd),
        }

    def _kept(self, kept: Kept) -> RouterCache:
        return RouterCache(
            hits=kept.hits,
            misses=kept.misses,
            hit_rate=round(kept.hit_rate, 6),
            savings_cad=self._cad(kept.saved_usd),
        )

    async def forecast(self, given: Given) -> RouterForecast:
        found = await self._figures.forecast(own_of(given.principal), given.input.horizon)
        return RouterForecast(
            current_monthly_cad=self._cad(found.month_to_date),
            projected_monthly_cad=self._cad(found.month.expected),
            daily_forecast=[
                RouterForecastDay(day=day, estimated_cost_cad=self._cad(ahead.cost.expected))
                for day, ahead in enumerate(found.days, start=1)
            ],
        )

    async def cache_metrics(self, given: Given) -> RouterCacheMetrics:
        kept = await self._figures.kept(own_of(given.principal), MOST_DAYS)
        return RouterCacheMetrics(
            hits=kept.hits,
            misses=kept.misses,
            hit_rate=round(kept.hit_rate, 6),
            estimated_savings_usd=round(kept.saved_usd, 9),
        )

    async def invalidate(self, given: Given) -> RouterInvalidated:
        """Drops what a pattern names, or all. Raises `DatabaseUnavailable` where that is not
        seen to its end."""
        asked: WhichEntries = given.input
        try:
            dropped = await self._cache.purge(Purge(pattern=asked.pattern or None))
        except self._incomplete as error:
            message = f"redis went away after {error.dropped} entries were dropped; ask again"
            raise DatabaseUnavailable(
                message, code="purge_incomplete", headers={"retry-after": "2"}
            ) from None
        return RouterInvalidated(invalidated=dropped)

    async def circuit_status(self, given: Given) -> dict[str, RouterCircuit]:
        return self._circuits()

    async def reset(self, given: Given) -> RouterReset:
        """All circuits of a provider: those of its models and keys too."""
        asked: WhichCircuit = given.input
        provider = asked.provider or None
        if provider is not None and provider not in self._config.providers:
            raise InvalidRequest(f"there is no provider {provider!r}", param="provider")
        return RouterReset(success=True, reset=self._breakers.reset(provider))

    def _circuits(self) -> dict[str, RouterCircuit]:
        """Every provider of the configuration, with or without a circuit yet."""
        found = {status.name: status for status in self._breakers.snapshot(time.monotonic())}
        return {
            name: _circuit(_decisive(found, name, len(provider.keys)))
            for name, provider in self._config.providers.items()
        }


_BADNESS = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def _decisive(found: Mapping[str, BreakerStatus], provider: str, keys: int) -> BreakerStatus | None:
    """The circuit that decides whether a provider is asked: its own, or where that is closed the
    best one of its keys. A key that is refused shuts off who has no other."""
    own = found.get(f"{breaker.Kind.PROVIDER}/{provider}")
    names = (f"{breaker.Kind.CREDENTIAL}/{provider}#{key}" for key in range(max(1, keys)))
    each = [found.get(name) for name in names]
    best = min((status for status in each if status), key=_rank, default=None)
    if best is None or None in each or (own is not None and _rank(own) >= _rank(best)):
        return own
    return best


def _rank(status: BreakerStatus) -> tuple[int, int]:
    return _BADNESS[status.state], status.next_attempt_at or 0


def _circuit(status: BreakerStatus | None) -> RouterCircuit:
    if status is None:
        return RouterCircuit(
            state="CLOSED", failure_count=0, success_count=0, next_attempt_time=None
        )
    return RouterCircuit(
        state=status.state.value,
        failure_count=status.failures,
        success_count=status.successes,
        next_attempt_time=status.next_attempt_at,
    )
