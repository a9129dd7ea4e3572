"""Budgets that run out are told of: once, by one process, and again until somebody hears it."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.base import Outgoing
from proxy.alerts import Alerts, Budgeted, signature
from proxy.config_types import AlertsSection
from proxy.ledger.books import Books
from proxy.ledger.rows import request_row
from proxy.signing import Signer
from proxy.storage.schema import alerts
from proxy.tasks import end, spawn
from proxy.types import Budget, Period, Principal, Role
from proxy.upstream import Fetched, Unreachable, Upstream
from tests.fakes import upstream as fakes
from tests.proxy.ledger.records import record
from tests.servers import database, engine

__all__ = ["database", "engine"]

NOON = 1_792_843_200.0  # 2026-10-24T12:00:00Z
DAY_BEGAN, MONTH_BEGAN, MONTH_ENDS = 1_792_800_000_000, 1_790_812_800_000, 1_793_491_200_000
DAY = 86_400.0
USD = 10**9
URL = "https://hooks.example.com/T0/very-secret?sig=abc"


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Hook:
    """A webhook that answers as it is told, then 200."""

    def __init__(self, *replies: int | str) -> None:
        self.replies = list(replies)
        self.sent: list[Outgoing] = []

    async def fetch(self, outgoing: Outgoing, patience: float) -> Fetched:
        assert patience == 10.0
        self.sent.append(outgoing)
        reply = self.replies.pop(0) if self.replies else 200
        if isinstance(reply, str):
            raise Unreachable(reply)
        return Fetched(reply, {}, b"")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(outgoing.body) for outgoing in self.sent]

    @property
    def shares(self) -> list[int]:
        return [event["threshold_percent"] for event in self.events]


class Desk:
    """Alerts over one budget of 10 USD, with what the test says of it."""

    def __init__(self, engine: AsyncEngine, *replies: int | str, **settings: Any) -> None:
        self.engine = engine
        self.hook = Hook(*replies)
        self.clock = Clock()
        self.budgets = [Budgeted("key:key_1", "ci", Budget(10 * USD))]
        self.settings = AlertsSection(**({"webhook": URL} | settings))

    def alerts(self, fetch: Callable[..., Any] | None = None) -> Alerts:
        """As another process would have them."""
        return Alerts(
            self.engine,
            fetch or self.hook.fetch,
            lambda: self.budgets,
            lambda: self.settings,
            self.clock,
        )

    async def spend(self, usd: float, ago: float = 0, **over: Any) -> None:
        made = record(cost_nanousd=round(usd * USD), started_at=self.clock.now - ago, **over)
        await Books(self.engine).write([request_row(made)], [])

    async def rows(self) -> list[tuple[int, bool, int]]:
        """(share, whether it is settled, tries)."""
        query = select(alerts).order_by(alerts.c.scope, alerts.c.begins, alerts.c.threshold)
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).all()
        return [(row.threshold, row.delivered_at is not None, row.tries) for row in found]


async def test_each_share_is_told_once(engine: AsyncEngine) -> None:
    desk = Desk(engine)
    ours = desk.alerts()
    await desk.spend(4.999999999)
    assert (await ours.look(), await ours.deliver()) == (0, 0)
    await desk.spend(0.000000001)
    assert (await ours.look(), await ours.deliver()) == (1, 1)
    assert (await ours.look(), await ours.deliver()) == (0, 0)
    await desk.spend(3)
    assert (await ours.look(), await ours.deliver()) == (1, 1)
    await desk.spend(4)
    assert (await ours.look(), await ours.deliver()) == (1, 1)
    assert desk.hook.shares == [50, 80, 100]
    assert desk.hook.events[1] == {
        "event": "budget.threshold",
        "id": "key:key_1:1790812800000:80",
        "scope": "key:key_1",
        "kind": "key",
        "name": "ci",
        "threshold_percent": 80,
        "spent_usd": 8.0,
        "budget_usd": 10.0,
        "per": "month",
        "period_begins": "2026-10-01T00:00:00.000Z",
        "at": "2026-10-24T12:00:00.000Z",
    }


async def test_of_many_at_once_the_highest_is_told(engine: AsyncEngine) -> None:
    desk = Desk(engine)
    ours = desk.alerts()
    await desk.spend(9)
    assert (await ours.look(), await ours.deliver()) == (2, 1)
    assert desk.hook.shares == [80]
    assert await desk.rows() == [(50, True, 0), (80, True, 1)]
    desk.settings = desk.settings.model_copy(update={"thresholds": (0.5, 0.6, 1.0)})
    assert (await ours.look(), await ours.deliver()) == (1, 0)  # 60: less than what was told
    assert [alert.state(NOON) for alert in await ours.listed()] == [
        "delivered",
        "superseded",
        "superseded",
    ]


async def test_days_months_keys_and_users_are_apart(engine: AsyncEngine) -> None:
    desk = Desk(engine, thresholds=["50%"])
    desk.budgets = [
        Budgeted("key:key_1", "a day", Budget(10 * USD, Period.DAY)),
        Budgeted("key:key_2", "a month", Budget(10 * USD)),
        Budgeted("user:u1", "one", Budget(10 * USD)),
        Budgeted("user:u2", "two", Budget(10 * USD)),
        Budgeted("user:key_1", "of a key's name", Budget(1)),
    ]
    ours = desk.alerts()
    await desk.spend(6, ago=DAY, user="u1")  # yesterday: not of the day
    await desk.spend(6, ago=40 * DAY, user="u2")  # September: not of the month
    await desk.spend(4, principal=Principal(Role.KEY, "key_2"))
    assert await ours.look() == 1
    await desk.spend(1, principal=Principal(Role.KEY, "key_2"), ago=20 * DAY)
    assert await ours.look() == 1
    await desk.spend(5)
    assert await ours.look() == 1
    await ours.deliver()
    told = [(event["scope"], event["per"], event["period_begins"]) for event in desk.hook.events]
    assert sorted(told) == [
        ("key:key_1", "day", "2026-10-24T00:00:00.000Z"),
        ("key:key_2", "month", "2026-10-01T00:00:00.000Z"),
        ("user:u1", "month", "2026-10-01T00:00:00.000Z"),
    ]
    assert {event["kind"] for event in desk.hook.events} == {"key", "user"}


async def test_a_new_period_begins_anew(engine: AsyncEngine) -> None:
    desk = Desk(engine)
    desk.budgets = [Budgeted("key:key_1", "ci", Budget(10 * USD, Period.DAY))]
    ours = desk.alerts()
    await desk.spend(6)
    assert (await ours.look(), await ours.deliver()) == (1, 1)
    desk.clock.now += DAY
    assert await ours.look() == 0
    await desk.spend(6)
    assert (await ours.look(), await ours.deliver()) == (1, 1)
    assert desk.hook.shares == [50, 50]


async def test_many_processes_tell_once(engine: AsyncEngine) -> None:
    desk = Desk(engine)
    await desk.spend(8)
    processes = [desk.alerts() for _ in range(6)]
    found = await asyncio.gather(*(one.look() for one in processes))
    assert sorted(found) == [0, 0, 0, 0, 0, 2]
    taken = await asyncio.gather(*(one.deliver() for one in processes))
    assert (sum(taken), desk.hook.shares) == (1, [80])


async def test_it_is_sent_until_it_is_taken(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(engine, 500, "connection refused", 302, *[404] * 6)
    ours = desk.alerts()
    await desk.spend(5)
    await ours.look()
    pauses, last = [], desk.clock.now
    while len(desk.hook.sent) < 10:
        before = len(desk.hook.sent)
        taken = await ours.deliver()
        if len(desk.hook.sent) > before:
            pauses.append(desk.clock.now - last)
            last = desk.clock.now
            assert taken == (len(desk.hook.sent) == 10)
        desk.clock.now += 30
    assert pauses == [0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert await ours.deliver() == 0
    assert len({event["id"] for event in desk.hook.events}) == 1
    assert await desk.rows() == [(50, True, 10)]
    assert "it answered with status 500" in caplog.text
    assert "connection refused" in caplog.text
    assert "very-secret" not in caplog.text


async def test_it_is_given_up_a_day_after_its_period(engine: AsyncEngine) -> None:
    desk = Desk(engine, *[500] * 10)
    ours = desk.alerts()
    await desk.spend(5)
    await ours.look()
    await ours.deliver()
    desk.clock.now = MONTH_ENDS / 1000 + DAY - 1
    await ours.deliver()
    assert len(desk.hook.sent) == 2
    desk.clock.now += 4000
    await ours.deliver()
    assert len(desk.hook.sent) == 2
    assert [alert.state(desk.clock.now) for alert in await ours.listed()] == ["expired"]


async def test_a_process_that_dies_while_it_sends(engine: AsyncEngine) -> None:
    """Another sends it again, half a minute later and no sooner."""
    desk = Desk(engine)
    await desk.spend(5)
    reached = asyncio.Event()

    async def hang(outgoing: Outgoing, patience: float) -> Fetched:
        reached.set()
        await asyncio.sleep(60)
        raise AssertionError

    dying = desk.alerts(hang)
    await dying.look()
    sending = spawn(dying.deliver(), "dies")
    await reached.wait()
    other = desk.alerts()
    assert await other.deliver() == 0
    await end(sending)
    desk.clock.now += 29
    assert await other.deliver() == 0
    desk.clock.now += 1
    assert await other.deliver() == 1


async def test_without_a_webhook_it_is_only_written_down(engine: AsyncEngine) -> None:
    desk = Desk(engine, webhook=None)
    ours = desk.alerts()
    await desk.spend(5)
    assert (await ours.look(), await ours.deliver()) == (1, 0)
    assert await desk.rows() == [(50, False, 0)]
    assert await ours.test() == "no webhook is configured"
    assert desk.hook.sent == []


async def test_it_is_signed(engine: AsyncEngine) -> None:
    desk = Desk(engine, secret="whsec-1")
    ours = desk.alerts()
    assert await ours.test() is None
    (sent,) = desk.hook.sent
    assert sent.url == URL
    assert sent.headers["x-turnout-timestamp"] == "1792843200"
    signed = hmac.new(b"whsec-1", b"1792843200." + sent.body, hashlib.sha256).hexdigest()
    assert sent.headers["x-turnout-signature"] == "sha256=" + signed
    event = orjson.loads(sent.body)
    assert (event["event"], event["at"]) == ("test", "2026-10-24T12:00:00.000Z")


def test_a_signature_that_another_tool_made() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac topsecret
    signed = "6a939b0c71853d606167625a15168ee9188c6a511c773ef4f42d307f3849e50f"
    assert signature("topsecret", 1_700_000_000, b'{"a":1}') == {
        "x-turnout-timestamp": "1700000000",
        "x-turnout-signature": "sha256=" + signed,
    }
    assert signature(None, 1_700_000_000, b"") == {"x-turnout-timestamp": "1700000000"}


async def test_a_test_says_what_is_wrong(engine: AsyncEngine) -> None:
    desk = Desk(engine, 410, "its host name does not resolve")
    ours = desk.alerts()
    assert await ours.test() == "it answered with status 410"
    assert await ours.test() == "its host name does not resolve"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream(Signer())
    made.open()
    yield made
    await made.close()


async def test_over_a_real_socket(engine: AsyncEngine, upstream: Upstream) -> None:
    async with fakes.Upstream() as receiver:
        receiver.script(fakes.chat_reply())
        url = receiver.base_url + "/hook?token=1"
        desk = Desk(engine, webhook=url, secret="s")
        await desk.spend(10)
        ours = desk.alerts(upstream.fetch)
        await ours.look()
        assert await ours.deliver() == 1
        (got,) = receiver.log
    assert (got.method, got.path) == ("POST", "/v1/hook?token=1")
    assert got.header("content-type") == "application/json"
    assert (got.json["threshold_percent"], got.json["spent_usd"]) == (100, 10.0)
    fault = await ours.test()
    assert fault == "connection refused"


async def test_the_loop(engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    """It looks at once, and lives through a database that is away."""
    desk = Desk(engine, every=1)
    await desk.spend(5)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE alerts RENAME TO away"))
    running = spawn(desk.alerts().run(), "alerts")
    await asyncio.sleep(0.3)
    assert "the database failed with" in caplog.text
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO alerts"))
    async with asyncio.timeout(5):
        while not desk.hook.sent:
            await asyncio.sleep(0.02)
    await end(running)
    assert desk.hook.shares == [50]


async def test_the_newest_are_listed(engine: AsyncEngine) -> None:
    desk = Desk(engine)
    values = [
        {
            "scope": f"key:{number}",
            "begins": DAY_BEGAN,
            "threshold": 50,
            "spent_nanousd": 1,
            "budget_nanousd": 2,
            "name": "n",
            "per": "day",
            "created_at": number,
            "delivered_at": None,
            "tries": 0,
            "next_try_at": 0,
            "expires_at": 0,
        }
        for number in range(120)
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(alerts), values)
        assert (await connection.execute(select(func.count()).select_from(alerts))).scalar() == 120
    listed = await desk.alerts().listed()
    assert [alert.created_at for alert in listed] == list(range(119, 19, -1))


@pytest.mark.parametrize(
    "given",
    [
        {"webhook": "ftp://example.com/x"},
        {"webhook": "hooks.example.com"},
        {"webhook": "https://example.com/x#y"},
        {"thresholds": ["0%"]},
        {"thresholds": [0.505]},
        {"thresholds": ["101%"]},
        {"every": 0},
    ],
)
def test_settings_that_can_t_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        AlertsSection(**given)


def test_settings() -> None:
    section = AlertsSection(thresholds=["100%", "50%", 0.5, 0.07], webhook=URL)
    assert section.percents == (7, 50, 100)
    assert AlertsSection().percents == (50, 80, 100)
    assert "very-secret" not in repr(section)
