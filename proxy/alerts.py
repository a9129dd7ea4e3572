"""Says when a share of a budget is spent: once for each share in each day or month.

Every process looks, and the table `alerts` decides: its key lets one of them write a crossing
down, and a change of `tries` lets one of them send it. It is sent again until somebody takes it,
so it may arrive twice, with the same `id`.
"""

import hashlib
import hmac
import logging
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, NamedTuple

import orjson
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Outgoing
from proxy.config_types import AlertsSection
from proxy.ids import uuid7
from proxy.ledger.spending import spent
from proxy.limits import budget_want
from proxy.storage.schema import alerts
from proxy.times import iso
from proxy.types import Budget
from proxy.upstream import Fetched, Unreachable

PATIENCE = 10.0  # seconds that a webhook may take
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0  # seconds between two tries; the first outlasts a try
GRACE = 86400.0  # seconds after the end of its period in which an alert is still sent
AT_ONCE = 20  # alerts sent in one go
NANO = 10**9

AWAY = (SQLAlchemyError, OSError)

log = logging.getLogger("turnout.alerts")

State = Literal["waiting", "delivered", "superseded", "expired"]

Fetch = Callable[[Outgoing, float], Awaitable[Fetched]]


class Budgeted(NamedTuple):
    """Somebody with a budget. `scope` is `key:ID` or `user:ID`; `label` is shown to people."""

    scope: str
    label: str
    budget: Budget


class Alert(NamedTuple):
    """A row of `alerts`. Times are epoch milliseconds."""

    scope: str
    begins: int
    threshold: int
    spent_nanousd: int
    budget_nanousd: int
    name: str
    per: str
    created_at: int
    delivered_at: int | None
    tries: int
    next_try_at: int
    expires_at: int

    @property
    def id(self) -> str:
        """The same however often it is sent."""
        return f"{self.scope}:{self.begins}:{self.threshold}"

    @property
    def kind(self) -> str:
        """`key` or `user`."""
        return self.scope.partition(":")[0]

    def state(self, now: float) -> State:
        """`delivered`, `superseded` (never sent: so was a higher share), `expired` or `waiting`."""
        if self.delivered_at is not None:
            return "delivered" if self.tries else "superseded"
        return "expired" if 1000 * now >= self.expires_at else "waiting"

    def event(self) -> dict[str, Any]:
        """What is sent of it."""
        return {
            "event": "budget.threshold",
            "id": self.id,
            "scope": self.scope,
            "kind": self.kind,
            "name": self.name,
            "threshold_percent": self.threshold,
            "spent_usd": self.spent_nanousd / NANO,
            "budget_usd": self.budget_nanousd / NANO,
            "per": self.per,
            "period_begins": iso(self.begins),
            "at": iso(self.created_at),
        }


_COLUMNS = [alerts.c[name] for name in Alert._fields]


class Alerts:
    """`fetch` sends a request to a trusted place; `budgets` are those in force, `settings` the
    section of the configuration in force, `clock` gives epoch seconds."""

    def __init__(
        self,
        engine: AsyncEngine,
        fetch: Fetch,
        budgets: Callable[[], Iterable[Budgeted]],
        settings: Callable[[], AlertsSection],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._fetch = fetch
        self._budgets = budgets
        self._settings = settings
        self._clock = clock
        self._looked = float("-inf")

    async def run(self) -> None:
        """Looks and sends until it is cancelled."""
        while True:
            every = self._settings().every
            try:
                if time.monotonic() - self._looked >= every:
                    self._looked = time.monotonic()
                    await self.look()
                await self.deliver()
            except AWAY as error:
                log.warning("alerts wait: the database failed with %s", type(error).__name__)
            await sleep(min(every, FIRST_PAUSE))

    # What was crossed.

    async def look(self) -> int:
        """Writes down what has been crossed since the last look; how many shares. Raises what the
        database does."""
        now = self._clock()
        found = 0
        sums: dict[tuple[str, float], dict[str, int]] = {}
        for budgeted in self._budgets():
            kind, _, who = budgeted.scope.partition(":")
            want = budget_want(budgeted.scope, budgeted.budget, 0, now)
            if (kind, want.begins) not in sums:
                sums[kind, want.begins] = await spent(self._engine, want.begins, kind)
            so_far = sums[kind, want.begins].get(who, 0)
            percents = [
                percent
                for percent in self._settings().percents
                if 100 * so_far >= percent * want.limit
            ]
            if percents:
                ends = want.begins + want.window
                found += await self._note(budgeted, so_far, want.begins, ends, percents)
        return found

    async def _note(
        self, budgeted: Budgeted, spent: int, begins: float, ends: float, percents: list[int]
    ) -> int:
        """Writes down the shares that are not there yet; of all only the highest is to be sent."""
        now = int(1000 * self._clock())
        there = select(alerts.c.threshold).where(
            alerts.c.scope == budgeted.scope, alerts.c.begins == int(1000 * begins)
        )
        async with self._engine.connect() as connection:
            known = set((await connection.execute(there)).scalars())
        made = [
            Alert(
                scope=budgeted.scope,
                begins=int(1000 * begins),
                threshold=percent,
                spent_nanousd=spent,
                budget_nanousd=budgeted.budget.nanousd,
                name=budgeted.label,
                per=budgeted.budget.per.value,
                created_at=now,
                delivered_at=None if percent == max({*percents, *known}) else now,
                tries=0,
                next_try_at=now,
                expires_at=int(1000 * (ends + GRACE)),
            )._asdict()
            for percent in percents
            if percent not in known
        ]
        if not made:
            return 0
        try:
            async with self._engine.begin() as connection:
                await connection.execute(insert(alerts), made)
        except IntegrityError:
            return 0  # another process was first; the next look sees what it left out
        return len(made)

    # What is sent.

    async def deliver(self) -> int:
        """Sends what is due; how many were taken. Raises what the database does."""
        webhook = self._settings().webhook
        if webhook is None:
            return 0
        now = int(1000 * self._clock())
        due = (
            select(*_COLUMNS)
            .where(
                alerts.c.delivered_at.is_(None),
                alerts.c.next_try_at <= now,
                alerts.c.expires_at > now,
            )
            .order_by(alerts.c.created_at)
            .limit(AT_ONCE)
        )
        async with self._engine.connect() as connection:
            found = [Alert(*row) for row in await connection.execute(due)]
        taken = 0
        for alert in found:
            if await self._claim(alert):
                taken += await self._send(alert)
        return taken

    async def _claim(self, alert: Alert) -> bool:
        """Whether it is ours to send. The next try is set at once: if this process dies, another
        sends it then."""
        now = int(1000 * self._clock())
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(alert.tries, 20))
        unclaimed = update(alerts).where(
            *_is(alert),
            alerts.c.delivered_at.is_(None),
            alerts.c.tries == alert.tries,
            alerts.c.next_try_at <= now,
        )
        values = {"tries": alert.tries + 1, "next_try_at": now + int(1000 * pause)}
        async with self._engine.begin() as connection:
            return bool((await connection.execute(unclaimed.values(values))).rowcount)

    async def _send(self, alert: Alert) -> bool:
        fault = await self._post(alert.event())
        if fault is not None:
            log.warning("the alert %s was not taken: %s", alert.id, fault)
            return False
        now = int(1000 * self._clock())
        async with self._engine.begin() as connection:
            await connection.execute(update(alerts).where(*_is(alert)).values(delivered_at=now))
        return True

    async def _post(self, event: dict[str, Any]) -> str | None:
        """Why an event was not taken, in words without the URL; None when it was."""
        settings = self._settings()
        if settings.webhook is None:
            return "no webhook is configured"
        body = orjson.dumps(event)
        headers = {"content-type": "application/json"}
        key = settings.secret.get_secret_value() if settings.secret else None
        headers |= signature(key, int(self._clock()), body)
        outgoing = Outgoing(settings.webhook.get_secret_value(), headers, body)
        try:
            answered = await self._fetch(outgoing, PATIENCE)
        except Unreachable as error:
            return str(error)
        except ValueError:  # a URL that the HTTP client can't take apart; it would repeat it
            return "the webhook's URL is not valid"
        ok = 200 <= answered.status < 300
        return None if ok else f"it answered with status {answered.status}"

    async def test(self) -> str | None:
        """Sends a test event; why it was not taken, None when it was."""
        at = iso(int(1000 * self._clock()))
        return await self._post({"event": "test", "id": uuid7(), "at": at})

    async def listed(self, limit: int = 100) -> list[Alert]:
        """The newest. Raises what the database does."""
        order = alerts.c.created_at.desc(), alerts.c.scope, alerts.c.threshold.desc()
        async with self._engine.connect() as connection:
            found = await connection.execute(select(*_COLUMNS).order_by(*order).limit(limit))
        return [Alert(*row) for row in found]


def _is(alert: Alert) -> tuple[Any, ...]:
    return (
        alerts.c.scope == alert.scope,
        alerts.c.begins == alert.begins,
        alerts.c.threshold == alert.threshold,
    )


def signature(secret: str | None, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent a body and when: the HMAC is of the time in
    epoch seconds, a dot, and the body. Without a secret the time alone."""
    headers = {"x-turnout-timestamp": str(timestamp)}
    if secret is not None:
        signed = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256)
        headers["x-turnout-signature"] = f"sha256={signed.hexdigest()}"
    return headers
