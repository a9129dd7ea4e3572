"""What was used, under `/v2/billing`: the caller's own, and, for admins, everybody's."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.doors.api import ADMIN, KNOWN, Api, Asked, Operation, Strict, answer
from proxy.doors.call import Current
from proxy.doors.v2_conversations import controls_of
from proxy.doors.v2_models import id_of, unit_prices
from proxy.ledger.analytics import NOTHING, Period, Summary, summarise
from proxy.ledger.billing import DayUsed, Payer, Used, by_model, together, used_by
from proxy.ledger.rollups import DAY
from proxy.pipeline import Snapshot
from proxy.types import Role

USUAL, MOST = 30, 365  # days
MOST_USERS = 500


class BilledDays(Strict):
    """How many of the last days."""

    days: int = Field(default=USUAL, ge=1, le=MOST)


class ModelUsage(Strict):
    """What was used of a model. Money in USD; prices are today's, for a million tokens."""

    model_id: str | None
    model: str | None
    provider: str | None
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float
    input_price_per_million: float | None
    output_price_per_million: float | None


class DayUsage(Strict):
    """What was used on a day (UTC)."""

    date: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: float


class MyUsage(Strict):
    """What the caller used."""

    user_id: str | None
    period_days: int
    total_requests: int
    total_tokens: int
    input_tokens: int
    output_tokens: int
    total_cost: float
    currency: str = "USD"
    by_model: list[ModelUsage]
    daily: list[DayUsage]


class UserUsage(Strict):
    """What a user, or a customer that a service named, used; null is who named nobody."""

    user_id: str | None
    email: str | None
    requests: int
    input_tokens: int
    output_tokens: int
    tokens: int
    cost: float


class AllUsage(Strict):
    """What everybody used, dearest first."""

    period_days: int
    total_requests: int
    total_tokens: int
    total_cost: float
    currency: str = "USD"
    users: list[UserUsage]
    has_more: bool


class BillingDoor:
    """Handlers over the books. `email_of` knows the users by id."""

    def __init__(
        self,
        api: Api,
        current: Current,
        engine: Callable[[], AsyncEngine],
        email_of: Callable[[str], str | None],
    ) -> None:
        self._api = api
        self._current = current
        self._engine = engine
        self._email_of = email_of

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                "/v2/billing/usage/my-usage",
                self.mine,
                KNOWN,
                "What the caller used",
                query=BilledDays,
                answer=MyUsage,
            ),
            Operation(
                "GET",
                "/v2/billing/usage/all",
                self.all,
                ADMIN,
                "What everybody used",
                query=BilledDays,
                answer=AllUsage,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def mine(self, asked: Asked) -> Response:
        payer, days = _payer(asked), asked.query.days
        used = await used_by(self._engine(), payer, days)
        user_id = asked.principal.user_id or payer.user_id
        return answer(_my_usage(self._current(), user_id, days, used))

    async def all(self, asked: Asked) -> Response:
        days, engine = asked.query.days, self._engine()
        found = await summarise(engine, days, "user", percentiles=False)
        totals = await summarise(engine, days, percentiles=False)
        total = totals[0] if totals else NOTHING
        usage = AllUsage(
            period_days=days,
            total_requests=total.requests,
            total_tokens=total.total_tokens,
            total_cost=total.cost_usd,
            users=[self._user(group) for group in found[:MOST_USERS]],
            has_more=len(found) > MOST_USERS,
        )
        return answer(usage)

    def _user(self, group: Summary) -> UserUsage:
        return UserUsage(
            user_id=group.group,
            email=None if group.group is None else self._email_of(group.group),
            requests=group.requests,
            input_tokens=group.input_tokens,
            output_tokens=group.output_tokens,
            tokens=group.total_tokens,
            cost=group.cost_usd,
        )


def _payer(asked: Asked) -> Payer:
    """Whose rows the caller may read: of a virtual key its own, of a service those of the
    customer that it names, of the master key what nobody else asked."""
    principal = asked.principal
    if principal.role is Role.KEY:
        return Payer(key_id=principal.key_id)
    if principal.user_id is not None:
        return Payer(user_id=principal.user_id)
    if principal.role is Role.SERVICE:
        named = controls_of(asked.request, {}).user
        return Payer(user_id=named, role=Role.SERVICE)
    return Payer(role=principal.role)


def _my_usage(
    snapshot: Snapshot, user_id: str | None, days: int, used: Sequence[DayUsed]
) -> MyUsage:
    total = together(day.used for day in used)
    return MyUsage(
        user_id=user_id,
        period_days=days,
        total_requests=total.requests,
        total_tokens=total.input_tokens + total.output_tokens,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        total_cost=total.cost_nanousd / 1e9,
        by_model=[_model(snapshot, each) for each in by_model(used)],
        daily=_daily(Period.last(days), used),
    )


def _model(snapshot: Snapshot, used: Used) -> ModelUsage:
    known = used.provider is not None and used.model is not None
    provider, model = used.provider or "", used.model or ""
    inward, outward, _ = unit_prices(snapshot, provider, model) if known else (None,) * 3
    return ModelUsage(
        model_id=id_of(f"{provider}/{model}") if known else None,
        model=used.model,
        provider=used.provider,
        requests=used.requests,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost=used.cost_nanousd / 1e9,
        input_price_per_million=inward,
        output_price_per_million=outward,
    )


def _daily(period: Period, used: Iterable[DayUsed]) -> list[DayUsage]:
    """Each day, oldest first, with those on which nothing was asked."""
    found: dict[int, list[Used]] = {}
    for day, part in used:
        found.setdefault(day, []).append(part)
    starts = range(period.first // DAY * DAY, period.now + 1, DAY)
    return [_day(start, together(found.get(start, ()))) for start in starts]


def _day(start: int, used: Used) -> DayUsage:
    return DayUsage(
        date=datetime.fromtimestamp(start // 1000, UTC).date().isoformat(),
        requests=used.requests,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost=used.cost_nanousd / 1e9,
    )
