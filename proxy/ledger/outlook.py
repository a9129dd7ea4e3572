"""Forecasts of the books: what an owner's days cost, and what they would have by other prices."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Usage
from proxy.ledger.analytics import EVERYBODY, Owner
from proxy.ledger.forecast import HISTORY, Forecast, forecast
from proxy.ledger.rollups import DAY
from proxy.storage.schema import rollups

NANO = 10**9

_COLUMNS = (
    "cost_nanousd",
    "requests",
    "cached",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "images",
)


class DayUse(NamedTuple):
    """What was used on one day. `usage` is that of all answers, kept ones too, of which there
    were `kept` in `requests`."""

    cost_nanousd: int = 0
    requests: int = 0
    kept: int = 0
    usage: Usage = Usage()


class Past(NamedTuple):
    """The last days up to yesterday, oldest first, and today so far."""

    days: Sequence[DayUse]
    so_far: DayUse
    today: date


Reprice = Callable[[Usage], int | None]
"""Tokens -> nano-dollars; None where nobody knows the price."""


async def past_of(engine: AsyncEngine, owner: Owner | None) -> Past:
    """The days (UTC) that a forecast is made of, from the roll-ups; without an
    owner everybody's."""
    midnight = int(time.time() * 1000) // DAY * DAY
    starts = range(midnight - HISTORY * DAY, midnight + 1, DAY)
    table = rollups.c
    dimension, value = owner or EVERYBODY
    query = (
        select(table.bucket, *(table[name] for name in _COLUMNS))
        .where(table.grain == "day", table.dimension == dimension, table.value == value)
        .where(table.bucket.in_(starts))
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    uses = {row[0]: _use(row[1:]) for row in rows}
    *days, so_far = (uses.get(start, DayUse()) for start in starts)
    return Past(days, so_far, datetime.fromtimestamp(midnight / 1000, UTC).date())


def _use(numbers: Sequence[int]) -> DayUse:
    cost, asked, kept, prompt, completion, cached, cache_write, reasoning, images = numbers
    usage = Usage(prompt, completion, cached, cache_write, reasoning, images)
    return DayUse(cost, asked, kept, usage)


def repriced(past: Past, price: Reprice) -> Past | None:
    """The same days at the prices of another model; None where those are not known.

    A day's requests are taken to be as large as their mean, so that a price with tiers is that of
    a request and not of all together; kept answers cost nothing then either.
    """
    uses = [_repriced(use, price) for use in (*past.days, past.so_far)]
    known = [use for use in uses if use is not None]
    return Past(known[:-1], known[-1], past.today) if len(known) == len(uses) else None


def _repriced(use: DayUse, price: Reprice) -> DayUse | None:
    count = max(1, use.requests)
    mean = Usage(*(round(tokens / count) for tokens in use.usage))._replace(images=0)
    each, images = price(mean), price(Usage(images=use.usage.images))
    if each is None or images is None:
        return None
    share = (use.requests - use.kept) / count
    return use._replace(cost_nanousd=round((each * count + images) * share))


async def forecast_of(past: Past, horizon_days: int) -> Forecast:
    """The days to come. Worked out in a thread: it takes some hundredths of a second."""
    costs = [use.cost_nanousd / NANO for use in past.days]
    so_far = past.so_far.cost_nanousd / NANO
    return await asyncio.to_thread(forecast, costs, so_far, past.today, horizon_days)


async def forecast_cost(engine: AsyncEngine, owner: Owner | None, horizon_days: int) -> Forecast:
    """What an owner's next days will cost, in USD; without an owner everybody's."""
    return await forecast_of(await past_of(engine, owner), horizon_days)
