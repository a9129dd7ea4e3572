"""Who has which limits, what a request wants of them, and what is said to whom has none left."""

import asyncio
import time
from types import MappingProxyType, SimpleNamespace

import orjson
import pytest

from adapters.base import Ask, Endpoint, Target, Usage
from proxy.allowance import own_limits
from proxy.counters import Grant, Kind, Want
from proxy.counters_local import LocalCounters
from proxy.errors import BudgetExceeded, LimitExceeded
from proxy.ledger.pricing import Prices
from proxy.limits import (
    FREE,
    NOTHING,
    Limiter,
    LimitsOf,
    ProviderRoom,
    Reservation,
    duration,
    wants,
    worst_cost,
    worst_usage,
)
from proxy.types import Budget, Controls, Limits, OwnLimits, Period, Principal, Role

NEW_YEAR = 1_767_225_600.0  # 2026-01-01T00:00:00Z
NOON = 1_771_502_400.0  # 2026-02-19T12:00:00Z
KEY = Principal(Role.KEY, "key_1")
SERVICE = Principal(Role.SERVICE)
CHEAP = Target("cheap", "m", "openai", "http://127.0.0.1:1/v1")
DEAR = Target("dear", "m", "openai", "http://127.0.0.1:2/v1")


class Clock:
    def __init__(self, now: float = NEW_YEAR) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class NoCounters:
    """Fails when it is asked."""

    async def reserve(self, holder: str, wants: object) -> Grant:
        raise AssertionError("reserved")

    async def settle(self, holder: str, wants: object, used: object) -> None:
        raise AssertionError("settled")


def price(input: float, output: float, image: float | None = None) -> SimpleNamespace:
    return SimpleNamespace(input=input, output=output, cached=None, cache_write=None, image=image)


PRICES = Prices({"cheap/*": price(1, 2, 0.04), "dear/*": price(3, 10)})


def chat(**body: object) -> Ask:
    """40 bytes in one message: 10 + 3 tokens."""
    return Ask(Endpoint.CHAT, b"", {"messages": [{"role": "user", "content": "x" * 40}], **body})


def limiter(clock: Clock | None = None) -> Limiter:
    clock = clock or Clock()
    return Limiter(LocalCounters(clock), clock)


async def take(
    limiter: Limiter, limits: Limits, ask: Ask | None = None, id: str = "r"
) -> Reservation:
    return await limiter.reserve(id, KEY, LimitsOf(limits), ask or chat(), PRICES, [CHEAP])


# Whose limits.


def test_a_key_has_the_default_and_its_own() -> None:
    limits_of = LimitsOf(Limits(rpm=60, tpm=1000))
    assert limits_of.scopes(KEY) == [("key:key_1", Limits(rpm=60, tpm=1000))]
    own = KEY._replace(limits=own_limits({"rpm": 5, "tpm": None}))
    assert limits_of.scopes(own) == [("key:key_1", Limits(rpm=5))]
    freed = KEY._replace(limits=own_limits({"rpm": None, "tpm": None}))
    assert not limits_of.needs(freed)
    assert LimitsOf().needs(own)
    assert not LimitsOf().needs(KEY)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.SERVICE, Role.ANONYMOUS])
def test_the_default_is_for_keys_alone(role: Role) -> None:
    assert not LimitsOf(Limits(rpm=1)).needs(Principal(role))


def test_a_keys_owner_may_have_limits_too() -> None:
    limits_of = LimitsOf(users={"u": Limits(rpd=9)})
    owned = KEY._replace(user_id="u", limits=own_limits({"rpm": 5}))
    assert limits_of.scopes(owned) == [("key:key_1", Limits(rpm=5)), ("user:u", Limits(rpd=9))]
    assert limits_of.scopes(Principal(Role.USER, user_id="u")) == [("user:u", Limits(rpd=9))]


def test_only_a_service_is_believed_about_names() -> None:
    limits_of = LimitsOf(users={"u": Limits(rpd=9)}, services={"s": Limits(rpm=7)})
    said = Controls(user="u", service="s")
    both = [("service:s", Limits(rpm=7)), ("user:u", Limits(rpd=9))]
    assert limits_of.scopes(SERVICE, said) == both
    assert limits_of.scopes(SERVICE, Controls(service="other")) == []
    assert limits_of.scopes(KEY, said) == []
    assert limits_of.scopes(Principal(Role.ADMIN), said) == []


# What a request wants.


def test_wants_of_every_kind() -> None:
    limits = Limits(1, 2, 3, 4, 5, Budget(6, Period.MONTH))
    assert wants("key:k", limits, 70, 80, NOON) == [
        Want("key:k:concurrency", Kind.GAUGE, 5, 1, 660.0),
        Want("key:k:rpm", Kind.SLIDING, 1, 1, 60.0),
        Want("key:k:rpd", Kind.SLIDING, 3, 1, 86400.0),
        Want("key:k:tpm", Kind.SLIDING, 2, 70, 60.0),
        Want("key:k:tpd", Kind.SLIDING, 4, 70, 86400.0),
        Want("key:k:budget-month", Kind.FIXED, 6, 80, 28 * 86400.0, 1_769_904_000.0),
    ]
    assert wants("user:u", Limits(), 70, 80, NOON) == []
    assert wants("user:u", Limits(budget=Budget(6, Period.DAY)), 70, 80, NOON) == [
        Want("user:u:budget-day", Kind.FIXED, 6, 80, 86400.0, 1_771_459_200.0)
    ]


def test_a_leap_year_and_december() -> None:
    monthly = Limits(budget=Budget(1))
    [february] = wants("k", monthly, 0, 0, 1_709_208_000.0)  # 2024-02-29T12:00:00Z
    assert (february.begins, february.window) == (1_706_745_600.0, 29 * 86400.0)
    [december] = wants("k", monthly, 0, 0, NEW_YEAR - 1)
    assert december.begins + december.window == NEW_YEAR


def test_no_amount_is_more_than_a_store_can_count() -> None:
    made = wants("k", Limits(tpm=1, budget=Budget(1)), 10**40, 10**40, NOON)
    assert [want.amount for want in made] == [10**15, 10**15]


@pytest.mark.parametrize(
    ("ask", "usage"),
    [
        (chat(), Usage(prompt=13, completion=1024)),
        (chat(max_tokens=50), Usage(prompt=13, completion=50)),
        (chat(max_tokens=50, max_completion_tokens=7), Usage(prompt=13, completion=7)),
        (chat(max_tokens=50, n=3), Usage(prompt=13, completion=150)),
        (chat(max_tokens=None, n=None), Usage(prompt=13, completion=1024)),
        (chat()._replace(defaults={"max_tokens": 9}), Usage(prompt=13, completion=9)),
        (
            Ask(Endpoint.COMPLETIONS, b"", {"prompt": "xxxx", "max_tokens": 5, "best_of": 4}),
            Usage(prompt=1, completion=20),
        ),
        (
            Ask(Endpoint.RESPONSES, b"", {"input": "xxxx", "instructions": "y" * 8}),
            Usage(prompt=3, completion=1024),
        ),
        (
            Ask(Endpoint.MESSAGES, b"", {"messages": [], "system": "yyyy", "max_tokens": 6}),
            Usage(prompt=1, completion=6),
        ),
        (Ask(Endpoint.EMBEDDINGS, b"", {"input": ["xxxx", "xxxx"]}), Usage(prompt=2)),
        (Ask(Endpoint.IMAGES, b"", {"prompt": "xxxx", "n": 2}), Usage(prompt=1, images=2)),
        (Ask(Endpoint.COUNT_TOKENS, b"", {"messages": [{"content": "xxxx"}]}), Usage()),
    ],
)
def test_what_an_ask_may_come_to(ask: Ask, usage: Usage) -> None:
    assert worst_usage(ask) == usage


def test_the_worst_cost_is_that_of_the_dearest_target() -> None:
    usage = Usage(prompt=1000, completion=500)
    assert worst_cost(usage, PRICES, [CHEAP]) == 2_000_000
    assert worst_cost(usage, PRICES, [CHEAP, DEAR, CHEAP]) == 8_000_000
    assert worst_cost(Usage(images=2), PRICES, [CHEAP]) == 80_000_000
    nobody_knows = Target("local", "?", "openai", "http://127.0.0.1:3/v1")
    assert worst_cost(usage, PRICES, [nobody_knows]) == 0
    assert worst_cost(usage, PRICES, []) == 0


# Reserving.


async def test_who_has_no_limit_costs_nothing() -> None:
    limiter = Limiter(NoCounters())
    reservation = await limiter.reserve("r", KEY, LimitsOf(), chat(), PRICES, [CHEAP])
    assert reservation is NOTHING
    assert reservation.headers() == []
    await limiter.settle(reservation, Usage(1, 1), 1)


async def test_headers() -> None:
    clock = Clock(NEW_YEAR + 10)
    reservation = await take(
        limiter(clock), Limits(rpm=600, rpd=100, tpm=2000), chat(max_tokens=37)
    )
    assert reservation.headers() == [
        (b"x-ratelimit-limit-requests", b"100"),
        (b"x-ratelimit-remaining-requests", b"99"),
        (b"x-ratelimit-reset-requests", b"23h59m50s"),
        (b"x-ratelimit-limit-tokens", b"2000"),
        (b"x-ratelimit-remaining-tokens", b"1950"),
        (b"x-ratelimit-reset-tokens", b"1m48.8s"),  # a fiftieth of the next minute is left
    ]
    only = await take(limiter(clock), Limits(concurrency=1, budget=Budget(10**12)))
    assert only.headers() == []
    requests = await take(limiter(clock), Limits(rpm=1))
    assert [name for name, _ in requests.headers()] == [
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.02, "20ms"),
        (0.0001, "1ms"),
        (45.000001, "45s"),
        (0.9999, "1s"),
        (1.0, "1s"),
        (8.64, "8.64s"),
        (60.0, "1m0s"),
        (86.4, "1m26.4s"),
        (360.0, "6m0s"),
        (3600.0, "1h0m0s"),
        (86399.9999, "24h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_too_many_requests() -> None:
    clock = Clock(NEW_YEAR + 19.5)
    limits, limited = Limits(rpm=2), limiter(clock)
    await take(limited, limits, id="a")
    await take(limited, limits, id="b")
    with pytest.raises(LimitExceeded) as caught:
        await take(limited, limits, id="c")
    error = caught.value
    assert (type(error), error.status) == (LimitExceeded, 429)
    assert error.headers == {
        "retry-after": "41",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "40.5s",
    }
    assert orjson.loads(error.body())["error"] == {
        "message": "this key may have 2 requests a minute and has 0 left; try again in 41s",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    clock.now += 41
    await take(limited, limits, id="c")


async def test_the_wait_is_that_of_the_limit_that_has_room_last() -> None:
    limits, limited = Limits(rpm=1, rpd=1, concurrency=9), limiter()
    await take(limited, limits, id="a")
    with pytest.raises(LimitExceeded, match="1 requests a day") as caught:
        await take(limited, limits, id="b")
    assert caught.value.headers["retry-after"] == "86400"


async def test_what_can_never_fit_is_not_to_be_tried_again() -> None:
    with pytest.raises(LimitExceeded, match="may come to 1037; ask for less") as caught:
        await take(limiter(), Limits(tpm=1000))
    assert caught.value.headers["x-should-retry"] == "false"
    assert caught.value.headers["x-ratelimit-remaining-tokens"] == "1000"


async def test_tokens_come_back_when_fewer_were_used() -> None:
    limits, limited = Limits(tpm=2000), limiter()
    reservation = await take(limited, limits, id="a")
    with pytest.raises(LimitExceeded):
        await take(limited, limits, id="b")
    await limited.settle(reservation, Usage(prompt=13, completion=7), None)
    await limited.settle(reservation, Usage(prompt=0, completion=0), None)
    again = await take(limited, limits, chat(max_tokens=1967), id="b")
    assert again.grant.remaining == (0,)


async def test_a_request_that_failed_counts_as_a_request_only() -> None:
    limits, limited = Limits(rpm=2, tpm=2000, concurrency=1, budget=Budget(10**9)), limiter()
    await limited.settle(await take(limited, limits, id="a"), None, None)
    reservation = await take(limited, limits, chat(max_tokens=1), id="b")
    assert reservation.grant.remaining == (0, 0, 1986, 10**9 - 15_000)


async def test_concurrency() -> None:
    limits, limited = Limits(concurrency=1), limiter()
    reservation = await take(limited, limits, id="a")
    with pytest.raises(LimitExceeded, match="1 requests at once") as caught:
        await take(limited, limits, id="b")
    assert caught.value.headers == {"retry-after": "1"}
    await limited.settle(reservation, None, None)
    await take(limited, limits, id="b")


async def test_a_budget_that_is_spent() -> None:
    clock = Clock(NOON)
    limits, limited = Limits(rpm=1, budget=Budget(15_000, Period.DAY)), limiter(clock)
    ask = chat(max_tokens=1)  # 13 at 1 and 1 at 2 USD a million: 15,000 nano-dollars
    spent = await take(limited, limits, ask, id="a")
    await limited.settle(spent, Usage(prompt=12), 12_000)
    with pytest.raises(BudgetExceeded) as caught:
        await take(limited, limits, ask, id="b")
    assert caught.value.headers == {
        "retry-after": "43200",
        "x-should-retry": "false",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
    assert orjson.loads(caught.value.body())["error"] == {
        "message": "this key has 0.000003 USD left of its budget of 0.000015 USD a day, "
        "and this request may cost 0.000015 USD; it begins anew in 12h0m0s",
        "type": "insufficient_quota",
        "param": None,
        "code": "budget_exceeded",
    }
    clock.now += 43_200
    await take(limited, limits, ask, id="b")


async def test_a_long_wait_is_told_in_days() -> None:
    limits, limited = Limits(budget=Budget(15_000)), limiter(Clock(NOON))
    with pytest.raises(BudgetExceeded, match="it begins anew in 9d12h0m0s") as caught:  # 1 March
        await take(limited, limits, chat(max_tokens=100), id="a")
    assert caught.value.headers["retry-after"] == "820800"


async def test_fifty_and_more_at_the_last_cent() -> None:
    """FAULTS 16: reservations never pass the cap; what is not used is free again."""
    limits, limited, ask = Limits(budget=Budget(10_000_000)), limiter(), chat(max_tokens=500)
    each = 13_000 + 1_000_000

    async def one(id: str) -> Reservation | BudgetExceeded:
        try:
            return await take(limited, limits, ask, id)
        except BudgetExceeded as error:
            return error

    first = await asyncio.gather(*(one(f"a{n}") for n in range(200)))
    held = [r for r in first if isinstance(r, Reservation)]
    assert len(held) == 9 == 10_000_000 // each
    for reservation in held:
        await limited.settle(reservation, Usage(13, 10), 33_000)
    second = await asyncio.gather(*(one(f"b{n}") for n in range(200)))
    free = 10_000_000 - 9 * 33_000
    assert sum(isinstance(r, Reservation) for r in second) == 9 == free // each
    for r in second:
        if isinstance(r, Reservation):
            await limited.settle(r, None, None)
    third = await one("c")
    assert isinstance(third, Reservation)
    assert third.grant.remaining == (free - each,)


async def test_a_refused_request_has_taken_nothing() -> None:
    limited = limiter()
    limits_of = LimitsOf(Limits(rpm=5), users=MappingProxyType({"u": Limits(rpd=1)}))
    owned = KEY._replace(user_id="u")
    await limited.reserve("a", owned, limits_of, chat(), PRICES, [CHEAP])
    for number in range(9):
        with pytest.raises(LimitExceeded, match="this user"):
            await limited.reserve(str(number), owned, limits_of, chat(), PRICES, [CHEAP])
    other = await limited.reserve("b", KEY, limits_of, chat(), PRICES, [CHEAP])
    assert other.grant.remaining == (3,)


def test_needs_is_cheap() -> None:
    limits_of = LimitsOf()
    began = time.perf_counter()
    for _ in range(10_000):
        limits_of.needs(KEY)
    assert time.perf_counter() - began < 0.5  # a microsecond or two each, fifty at worst


# A provider's own limits.


class Rates:
    def __init__(self, rpm: int | None = None, tpm: int | None = None) -> None:
        self.rpm = rpm
        self.tpm = tpm


def test_a_provider_without_limits_always_has_room() -> None:
    room = ProviderRoom(Clock())
    for _ in range(100):
        assert room.room("p", Rates()) == 0.0
        room.take("p", Rates(), 10**6)


def test_room_for_requests() -> None:
    clock = Clock(NEW_YEAR + 30)
    room, rates = ProviderRoom(clock), Rates(rpm=2)
    for _ in range(2):
        assert room.room("p", rates) == 0.0
        room.take("p", rates, 5)
    assert room.room("p", rates) == 30.000001
    assert room.room("q", rates) == 0.0
    clock.now += 30.000001
    assert room.room("p", rates) == 0.0


def test_room_for_tokens() -> None:
    clock = Clock(NEW_YEAR + 30)
    room, rates = ProviderRoom(clock), Rates(tpm=100)
    room.take("p", rates, 90)
    assert room.room("p", rates, 10) == 0.0
    assert room.room("p", rates, 11) == 30.000001
    room.correct("p", 90, 20)
    assert room.room("p", rates, 80) == 0.0
    clock.now += 45  # a quarter of the next minute is gone: 15 of the 20 still count
    assert room.room("p", rates, 85) == 0.0
    assert room.room("p", rates, 86) > 0.0
    room.correct("p", 20, 0)  # of the minute before
    assert room.room("p", rates, 100) == 0.0
    room.correct("p", 99, 0)
    room.correct("nobody", 1, 0)
    room.take("p", rates, 100)
    assert room.room("p", rates) > 0.0


def test_a_request_over_a_whole_minutes_tokens_fits_when_nothing_else_was_sent() -> None:
    clock = Clock()
    room, rates = ProviderRoom(clock), Rates(tpm=100)
    assert room.room("p", rates, 500) == 0.0
    room.take("p", rates, 500)
    assert 60.0 < room.room("p", rates, 500) <= 120.0
    clock.now += 120
    assert room.room("p", rates, 500) == 0.0


def test_a_user_without_limits_has_the_default_ones() -> None:
    limits_of = LimitsOf(Limits(rpm=60), users={"u": Limits(rpd=9)})
    new = Principal(Role.USER, user_id="new")
    assert limits_of.scopes(new) == [("user:new", Limits(rpm=60))]
    assert limits_of.scopes(Principal(Role.KEY, "k", "new")) == [("key:k", Limits(rpm=60))]


def test_turnout_s_own_calls_count_against_nobody() -> None:
    limits_of = LimitsOf(Limits(rpm=60), users={"u": Limits(rpd=9)})
    user = Principal(Role.USER, user_id="u")
    assert limits_of.scopes(user._replace(limits=FREE)) == []
    assert limits_of.scopes(Principal(Role.KEY, "k", "u", limits=FREE)) == []
    same = OwnLimits(Limits(), frozenset(Limits.__dataclass_fields__))
    unlimited = Principal(Role.KEY, "k", "u", limits=same)
    assert limits_of.scopes(unlimited) == [("user:u", Limits(rpd=9))], "a key may say so too"
