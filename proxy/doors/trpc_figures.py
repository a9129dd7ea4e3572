"""The figures of tRPC's `llmAnalytics.…`, as the books have them: of everybody, or of one owner."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Select, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.errors import DatabaseUnavailable
from proxy.ids import earliest
from proxy.ledger.analytics import (
    GROUPS,
    NOTHING,
    SLACK,
    Chosen,
    Owner,
    Period,
    Summary,
    daily,
    read_rows,
    summarise,
)
from proxy.ledger.forecast import Forecast
from proxy.ledger.outlook import forecast_cost
from proxy.pipeline import SHADOW, WARM
from proxy.storage.schema import requests

SAMPLE = 20_000  # rows by which the provider of a model is known

OWN = frozenset({SHADOW, WARM})
"""Services that Turnout's own calls are booked under: nobody asked for those."""


class Kept(NamedTuple):
    """What the cache did for those who asked. `hits` are answers that were kept, of `requests`."""

    requests: int
    hits: int
    saved_usd: float

    @property
    def misses(self) -> int:
        return self.requests - self.hits

    @property
    def hit_rate(self) -> float:
        """From 0 to 1; 0 where nothing was asked."""
        return self.hits / self.requests if self.requests else 0.0


class Figures(Protocol):
    """The sums of the last days; without an owner everybody's. Raises `DatabaseUnavailable`."""

    async def groups(self, owner: Owner | None, days: int, by: str) -> Sequence[Summary]:
        """By provider, model or task; what has none of it is the group None."""
        ...

    async def daily(self, owner: Owner | None, days: int) -> Sequence[Summary]:
        """Day by day, oldest first; the groups are dates."""
        ...

    async def kept(self, owner: Owner | None, days: int) -> Kept: ...

    async def providers_of(
        self, owner: Owner | None, days: int, models: Sequence[str]
    ) -> Mapping[str, str]:
        """Who has answered most of each model's requests of late."""
        ...

    async def forecast(self, owner: Owner | None, horizon: int) -> Forecast:
        """What this month and each of the days to come will cost."""
        ...


class LedgerFigures:
    """Figures from the ledger's tables."""

    def __init__(self, engine: Callable[[], AsyncEngine]) -> None:
        self._engine = engine

    async def groups(self, owner: Owner | None, days: int, by: str) -> Sequence[Summary]:
        with _database():
            return await summarise(self._engine(), days, by, owner, percentiles=False)

    async def daily(self, owner: Owner | None, days: int) -> Sequence[Summary]:
        with _database():
            return await daily(self._engine(), days, owner)

    async def kept(self, owner: Owner | None, days: int) -> Kept:
        """Turnout's own calls have no owner; of everybody's they are left out."""
        with _database():
            if owner is None:
                every = await summarise(self._engine(), days, "service", percentiles=False)
                found = [group for group in every if group.group not in OWN]
            else:
                found = await summarise(self._engine(), days, owner=owner) or [NOTHING]
        return Kept(
            sum(each.requests for each in found),
            sum(each.cached for each in found),
            sum((each.saved_usd for each in found), 0.0),
        )

    async def providers_of(
        self, owner: Owner | None, days: int, models: Sequence[str]
    ) -> Mapping[str, str]:
        """By the newest rows; a model that has none among them by its own newest one. The roll-ups
        know one thing of a row at a time, and to read all rows may take seconds."""
        with _database():
            counts = await self._newest(days, owner)
            found = {model: each.most_common(1)[0][0] for model, each in counts.items()}
            for model in set(models) - found.keys():
                chosen = Chosen(days, {"model": model}, owner)
                rows = await read_rows(self._engine(), chosen, limit=1)
                found[model] = (rows[0]["provider_name"] if rows else None) or ""
        return {model: found[model] for model in models}

    async def _newest(self, days: int, owner: Owner | None) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        async with self._engine().connect() as connection:
            for model, provider, count in await connection.execute(_pairs(days, owner)):
                found.setdefault(model, Counter())[provider] += count
        return found

    async def forecast(self, owner: Owner | None, horizon: int) -> Forecast:
        with _database():
            return await forecast_cost(self._engine(), owner, horizon)


def _pairs(days: int, owner: Owner | None) -> Select[Any]:
    """The newest rows, by model and provider."""
    table = requests.c
    first = Period.last(days).first
    newest = (
        select(table.model, table.provider_name)
        .where(table.id >= earliest(max(0, first / 1000 - SLACK)), table.created_at >= first)
        .order_by(table.id.desc())
        .limit(SAMPLE)
    )
    if owner is not None:
        newest = newest.where(GROUPS[owner.dimension] == owner.value)
    rows = newest.subquery()
    pair = (rows.c.model, rows.c.provider_name)
    known = (rows.c.model.is_not(None), rows.c.provider_name.is_not(None))
    return select(*pair, func.count()).where(*known).group_by(*pair)


@contextmanager
def _database() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError):
        message = "the database is away, which has these figures; try again"
        raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None
