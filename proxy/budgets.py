"""Who has a budget, and what of it was spent before this process counted."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy import allowance
from proxy.alerts import Budgeted
from proxy.counters import Want
from proxy.keys import KeyRow, KeyStore
from proxy.ledger.analytics import Owner
from proxy.ledger.spending import spent
from proxy.limits import budget_want
from proxy.tasks import end, spawn
from proxy.types import Budget, Limits, OwnLimits, Role
from proxy.users import User, UserStore

CATCH_UP = 10.0  # seconds that budgets wait for the rows of processes that died
RETRY, SLOWEST = 1.0, 60.0  # seconds until what could not be told is told again, at first and last

log = logging.getLogger("turnout.budgets")


class Primed(Protocol):
    """Counts that can be told what they did not see."""

    async def prime(self, want: Want, only_missing: bool = False) -> None: ...


class Budgets:
    """The budgets of keys and users. `default` is the configuration's, of every key; `caught_up`
    waits until the books have what dead processes left, for so many seconds at most."""

    def __init__(
        self,
        engine: AsyncEngine,
        keys: KeyStore,
        users: UserStore,
        counters: Primed,
        default: Callable[[], Limits],
        caught_up: Callable[[float], Awaitable[object]],
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._users = users
        self._counters = counters
        self._default = default
        self._caught_up = caught_up
        self._untold: set[str] = set()  # scopes whose spending the counters have not been told
        self._retrying: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Ends what tries again to tell the counters."""
        if self._retrying is not None:
            await end(self._retrying)

    def all(self) -> Iterator[Budgeted]:
        """Of all keys and users that are alive."""
        yield from self._of_keys(self._keys.known())
        yield from self._of_users(self._users.known())

    def of_owner(self, owner: Owner) -> Budget | None:
        """A key's, or a user's."""
        if owner.dimension == "key":
            return self.of_key(owner.value)
        return self.of_user(owner.value)

    def of_user(self, user_id: str) -> Budget | None:
        user = self._users.get(user_id)
        rows = [] if user is None else [user]
        return next((found.budget for found in self._of_users(rows)), None)

    def of_key(self, key_id: str) -> Budget | None:
        rows = [row for row in self._keys.known() if row.id == key_id]
        return next((found.budget for found in self._of_keys(rows)), None)

    async def prime_keys(self, rows: Iterable[KeyRow]) -> None:
        """Tells the counters what these keys have spent in the period that is now. If the database
        is away, as soon as it is back."""
        await self._prime(self._of_keys(rows))

    async def prime_users(self, users: Iterable[User]) -> None:
        """The same for users."""
        await self._prime(self._of_users(users))

    async def prime_all(self) -> None:
        """The same for all."""
        await self._prime(self.all())

    async def prime_missing(self) -> None:
        """For all, where the counters have no count: the store of them is back, maybe emptied."""
        await self._prime(self.all(), only_missing=True)

    def _effective(self, own: OwnLimits) -> Limits:
        return allowance.effective(self._default(), own)

    def _of_keys(self, rows: Iterable[KeyRow]) -> Iterator[Budgeted]:
        now, default = time.time(), self._default()
        for row in rows:
            limits = default if row.limits is None else self._effective(row.limits)
            if limits.budget is not None and row.is_live(now):
                yield Budgeted(f"key:{row.id}", row.name or row.id, limits.budget)

    def _of_users(self, users: Iterable[User]) -> Iterator[Budgeted]:
        """The configuration's default is a user's, and no admin's: as in `LimitsOf.scopes`."""
        default = self._default()
        for user in users:
            limits = self._users.limits.get(user.id, default if user.role is Role.USER else None)
            if limits is not None and limits.budget is not None and user.is_active:
                yield Budgeted(f"user:{user.id}", user.name or user.email, limits.budget)

    async def _prime(self, budgeted: Iterable[Budgeted], only_missing: bool = False) -> None:
        wanted = list(budgeted)
        try:
            await self._tell(wanted, only_missing)
        except (SQLAlchemyError, OSError) as error:
            self._untold |= {each.scope for each in wanted}
            what = len(wanted), type(error).__name__
            log.warning("what %d budgets have spent could not be read (%s): again soon", *what)
            if self._retrying is None or self._retrying.done():
                self._retrying = spawn(self._retry(), "tell what was spent")

    async def _retry(self) -> None:
        wait = RETRY
        while self._untold:
            await asyncio.sleep(wait)
            wait = min(2 * wait, SLOWEST)
            scopes = set(self._untold)
            try:
                await self._tell([each for each in self.all() if each.scope in scopes])
            except (SQLAlchemyError, OSError) as error:
                log.warning("what was spent can't be read yet: %s", type(error).__name__)
            else:
                self._untold -= scopes

    async def _tell(self, budgeted: Iterable[Budgeted], only_missing: bool = False) -> None:
        now = time.time()
        sums: dict[tuple[str, float], dict[str, int]] = {}
        for each in budgeted:
            if not sums:  # what a dead process left behind was spent too
                await self._caught_up(CATCH_UP)
            kind, _, who = each.scope.partition(":")
            want = budget_want(each.scope, each.budget, 0, now)
            if (kind, want.begins) not in sums:
                sums[kind, want.begins] = await spent(self._engine, want.begins, kind)
            if amount := sums[kind, want.begins].get(who):
                await self._counters.prime(want._replace(amount=amount), only_missing)
