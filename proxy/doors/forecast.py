"""`GET /api/v1/usage/forecast`: what the days to come will cost, when a budget ends, and what
another model would have cost. Who may ask for whose is as for all usage."""

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.routing import BaseRoute

from adapters.base import Usage
from proxy import routing
from proxy.doors.api import KNOWN, Api, Asked, Operation
from proxy.doors.owners import Number, Whose, owner_of
from proxy.errors import ModelNotFound, Unprocessable
from proxy.ledger.analytics import Owner
from proxy.ledger.currency import USD, Currency
from proxy.ledger.forecast import INTERVAL, Estimate, Exhaustion, Forecast, exhaustion
from proxy.ledger.outlook import Past, forecast_of, past_of, repriced
from proxy.live import Live
from proxy.pipeline import Snapshot
from proxy.types import Budget, Period, Principal

HORIZON, MOST_DAYS = 30, 365
NANO = 10**9

BudgetOf = Callable[[Owner], Budget | None]
"""The budget that a user, or a key, has; None is none."""


class ForecastQuery(Whose):
    """How far is looked ahead, and by whose prices else."""

    horizon_days: Number = Field(default=HORIZON, ge=1, le=MOST_DAYS)
    what_if_model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ForecastMoney(_Answer):
    """In 8 of 10 cases it is from `low` to `high`."""

    expected: float
    low: float
    high: float


class ForecastDay(ForecastMoney):
    """A day to come (UTC)."""

    date: str


class ForecastSums(_Answer):
    """Money in one currency. The month is the running one; `days` begin tomorrow."""

    month_to_date: float
    projected_month: ForecastMoney
    days: list[ForecastDay]


class ForecastBudget(_Answer):
    """A budget in US dollars a day or month, as limits count it. It ends on `exhausted_on` if it is
    spent as expected, on `earliest_on` if as much as the interval holds; null is not in the days
    looked ahead."""

    amount_usd: float
    per: Period
    spent_usd: float
    exhausted_on: str | None
    earliest_on: str | None


class ForecastWhatIf(_Answer):
    """The same tokens by another model's prices. `difference_usd` is what the projected month
    would cost more, or less if below 0."""

    model: str
    month_to_date_usd: float
    projected_month_usd: ForecastMoney
    difference_usd: float


class ForecastAnswer(_Answer):
    """Money in US dollars, and in the currency of reports too if that is another."""

    method: str
    interval: float
    history_days: int
    horizon_days: int
    today: str
    today_so_far_usd: float
    usd: ForecastSums
    currency: str
    in_currency: ForecastSums | None
    budget: ForecastBudget | None
    what_if: ForecastWhatIf | None


class ForecastDoor:
    """The handler, over the books of the gateway."""

    def __init__(self, live: Live, engine: Callable[[], AsyncEngine], budget_of: BudgetOf) -> None:
        self._api = Api(live)
        self._live = live
        self._engine = engine
        self._budget_of = budget_of

    def routes(self) -> list[BaseRoute]:
        operation = Operation(
            "GET",
            "/api/v1/usage/forecast",
            self.show,
            KNOWN,
            "What the days to come will cost",
            query=ForecastQuery,
            answer=ForecastAnswer,
            errors=(404,),
        )
        return [self._api.route(operation)]

    async def show(self, asked: Asked) -> Response:
        query: ForecastQuery = asked.query
        snapshot = self._live.current
        owner = await owner_of(self._engine(), asked.principal, query)
        past = await past_of(self._engine(), owner)
        other = _other(snapshot, asked.principal, query.what_if_model, past)
        found = await forecast_of(past, query.horizon_days)
        budget = None if owner is None else self._budget_of(owner)
        what_if = None
        if other is not None and query.what_if_model is not None:
            then = await forecast_of(other, query.horizon_days)
            what_if = _what_if(query.what_if_model, found, then)
        currency = Currency.of_reports(snapshot.config.pricing)
        content = _answer(found, currency, _budget(found, budget), what_if)
        return Response(content.model_dump_json(), media_type="application/json")


def _other(snapshot: Snapshot, caller: Principal, name: str | None, past: Past) -> Past | None:
    """The past by another model's prices. Raises `ModelNotFound`, `Unprocessable`."""
    if name is None:
        return None
    provider, model = _place(snapshot, caller, name)
    section = snapshot.config.providers.get(provider)
    base_url = section.base_url or "" if section else ""

    def price(usage: Usage) -> int | None:
        return snapshot.prices.cost(provider, base_url, model, usage)

    other = repriced(past, price)
    if other is None:
        raise Unprocessable(f"nobody knows the price of {name!r}", param="what_if_model")
    return other


def _place(snapshot: Snapshot, caller: Principal, name: str) -> tuple[str, str]:
    """(provider, model) of an alias, or of a name that the catalogue of prices may know."""
    resolved = routing.resolve(snapshot.table, name)
    provider, _, model = name.partition("/")
    if not caller.may_use(name) or (resolved is None and not model):
        raise ModelNotFound(f"there is no model {name!r}", param="what_if_model")
    if resolved is None:
        return provider, model
    choice = resolved.choices[0]
    first = (choice.provider, choice.model_for(resolved.matched))
    return routing.first_target(snapshot.table, resolved) or first


def _answer(
    found: Forecast,
    currency: Currency,
    budget: ForecastBudget | None,
    what_if: ForecastWhatIf | None,
) -> ForecastAnswer:
    return ForecastAnswer(
        method=found.method,
        interval=INTERVAL,
        history_days=found.history_days,
        horizon_days=len(found.days),
        today=found.today.isoformat(),
        today_so_far_usd=USD.of_usd(found.today_so_far),
        usd=_sums(found, USD),
        currency=currency.code,
        in_currency=None if currency.is_usd else _sums(found, currency),
        budget=budget,
        what_if=what_if,
    )


def _sums(found: Forecast, currency: Currency) -> ForecastSums:
    days = [
        ForecastDay(date=day.isoformat(), **_money(cost, currency)._asdict())
        for day, cost in found.days
    ]
    return ForecastSums(
        month_to_date=currency.of_usd(found.month_to_date),
        projected_month=ForecastMoney(**_money(found.month, currency)._asdict()),
        days=days,
    )


def _money(usd: Estimate, currency: Currency) -> Estimate:
    return Estimate(*map(currency.of_usd, usd))


def _budget(found: Forecast, budget: Budget | None) -> ForecastBudget | None:
    if budget is None:
        return None
    ends = exhaustion(found, budget.nanousd / NANO, budget.per)
    spent = found.today_so_far if budget.per is Period.DAY else found.month_to_date
    return ForecastBudget(
        amount_usd=budget.nanousd / NANO,
        per=budget.per,
        spent_usd=USD.of_usd(spent),
        **_dates(ends),
    )


def _dates(ends: Exhaustion) -> dict[str, str | None]:
    expected, earliest = (None if day is None else day.isoformat() for day in ends)
    return {"exhausted_on": expected, "earliest_on": earliest}


def _what_if(model: str, found: Forecast, then: Forecast) -> ForecastWhatIf:
    return ForecastWhatIf(
        model=model,
        month_to_date_usd=USD.of_usd(then.month_to_date),
        projected_month_usd=ForecastMoney(**_money(then.month, USD)._asdict()),
        difference_usd=USD.of_usd(then.month.expected - found.month.expected),
    )
