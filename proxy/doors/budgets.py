"""Budgets over HTTP: who has one, what of it is spent, and when it begins anew."""

import time
from collections.abc import Callable, Iterable

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.alerts import NANO, Budgeted
from proxy.doors.api import PEOPLE, Api, Asked, Operation, Strict, answer
from proxy.keys import KeyStore
from proxy.ledger.spending import spent
from proxy.limits import budget_want
from proxy.times import iso
from proxy.types import Principal, Role


class BudgetEntry(Strict):
    """A budget of the day or month (UTC) that is now. `scope` is `key:ID` or `user:ID`, `kind` its
    first word; `spent_usd` is what the books say, `resets_at` when it begins anew."""

    scope: str
    kind: str
    name: str
    per: str
    budget_usd: float
    spent_usd: float
    resets_at: str


class BudgetList(Strict):
    """Those of which the largest share is spent first."""

    data: list[BudgetEntry]


class BudgetDoor:
    """Handlers over the budgets in force: `budgets` gives those of all keys and users."""

    def __init__(
        self,
        api: Api,
        budgets: Callable[[], Iterable[Budgeted]],
        keys: Callable[[], KeyStore],
        engine: Callable[[], AsyncEngine],
    ) -> None:
        self._api = api
        self._budgets = budgets
        self._keys = keys
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        operation = Operation(
            "GET",
            "/api/v1/budgets",
            self.show,
            PEOPLE,
            "Budgets, nearest to their end first",
            answer=BudgetList,
        )
        return [self._api.route(operation)]

    async def show(self, asked: Asked) -> Response:
        now = time.time()
        own = self._own(asked.principal)
        wanted = [each for each in self._budgets() if own is None or each.scope in own]
        sums: dict[tuple[str, float], dict[str, int]] = {}
        found: list[tuple[float, BudgetEntry]] = []
        for each in wanted:
            kind, _, who = each.scope.partition(":")
            want = budget_want(each.scope, each.budget, 0, now)
            if (kind, want.begins) not in sums:
                sums[kind, want.begins] = await spent(self._engine(), want.begins, kind)
            amount = sums[kind, want.begins].get(who, 0)
            resets = int(1000 * (want.begins + want.window))
            share = amount / each.budget.nanousd if each.budget.nanousd else float("inf")
            found.append((share, _entry(each, kind, amount, resets)))
        found.sort(key=lambda pair: (-pair[0], pair[1].scope))
        return answer(BudgetList(data=[entry for _, entry in found]))

    def _own(self, principal: Principal) -> frozenset[str] | None:
        """The scopes of a user and of the user's keys; None is those of all."""
        if principal.role is Role.ADMIN:
            return None
        who = principal.user_id
        keys = {f"key:{row.id}" for row in self._keys().known() if row.user_id == who}
        return frozenset(keys | {f"user:{who}"})


def _entry(each: Budgeted, kind: str, nanousd: int, resets: int) -> BudgetEntry:
    return BudgetEntry(
        scope=each.scope,
        kind=kind,
        name=each.label,
        per=each.budget.per.value,
        budget_usd=each.budget.nanousd / NANO,
        spent_usd=nanousd / NANO,
        resets_at=iso(resets),
    )
