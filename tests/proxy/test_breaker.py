"""Circuits: when they open, who may probe them, what closes them, and what they never do."""

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.base import Failure, FailureKind, Retry, Target
from proxy import breaker
from proxy.breaker import Blocked, Breakers, BreakerStatus, Kind, Lease, Policy, State
from proxy.config_types import BreakerSection
from tests.adapters.asks import target

POLICY = Policy()
A = target("a")
PROVIDER, DEPLOYMENT, CREDENTIAL = "provider/up", "deployment/up/a", "credential/up#0"
EPOCH = 1_700_000_000.0  # the wall clock when `now` is 0


def middle(low: float, high: float) -> float:
    """No jitter."""
    return (low + high) / 2


def failed(kind: FailureKind, after: float | None = None) -> Failure:
    return Failure(kind, "x", Retry.NEXT_TARGET, retry_after=after)


DOWN = failed(FailureKind.SERVER)
SLOW = failed(FailureKind.TIMEOUT)
REFUSED = failed(FailureKind.AUTH)
LIMITED = failed(FailureKind.RATE_LIMIT)


class Bench:
    """Breakers with a clock that stands still until it is moved."""

    def __init__(
        self, policy: Policy = POLICY, uniform: Callable[[float, float], float] = middle
    ) -> None:
        self.now = 1000.0
        self.policy = policy
        self.breakers = Breakers(uniform, lambda: EPOCH + self.now)
        self.changes: list[tuple[str, State, float]] = []
        self.breakers.on_change = lambda *change: self.changes.append(change)

    def enter(self, to: Target = A, shared: bool = True) -> Lease | Blocked:
        return self.breakers.enter(to, self.policy, self.now, shared)

    def lease(self, to: Target = A) -> Lease:
        lease = self.enter(to)
        assert isinstance(lease, Lease), lease
        return lease

    def blocked(self, to: Target = A) -> Blocked:
        blocked = self.enter(to)
        assert isinstance(blocked, Blocked)
        return blocked

    def leave(self, lease: Lease, failure: Failure | None = None) -> None:
        self.breakers.leave(lease, failure, self.now)

    def call(self, *failures: Failure | None, to: Target = A) -> None:
        for failure in failures:
            self.leave(self.lease(to), failure)

    def status(self, name: str) -> BreakerStatus:
        found = [s for s in self.breakers.snapshot(self.now) if s.name == name]
        assert len(found) == 1, name
        return found[0]

    def states(self) -> dict[str, State]:
        return {status.name: status.state for status in self.breakers.snapshot(self.now)}

    def not_closed(self) -> set[str]:
        return {name for name, state in self.states().items() if state is not State.CLOSED}

    def half_opened(self, failure: Failure = DOWN) -> "Bench":
        """Opens a circuit and waits until it may be probed."""
        self.call(*[failure] * 5)
        self.now += 30
        return self


# Closed to open.


def test_a_closed_circuit_permits() -> None:
    bench = Bench()
    bench.call(None, None)
    assert bench.states() == {
        PROVIDER: State.CLOSED,
        DEPLOYMENT: State.CLOSED,
        CREDENTIAL: State.CLOSED,
    }


def test_five_in_a_row_open_it() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4)
    assert bench.not_closed() == set()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}
    assert bench.blocked() == Blocked(PROVIDER, State.OPEN, 30.0)


def test_a_success_breaks_the_row() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4, None, *[DOWN] * 4)
    assert bench.not_closed() == set()


def test_half_of_twenty_open_it() -> None:
    bench = Bench()
    bench.call(*[None, DOWN] * 9, None)  # 19 outcomes
    assert bench.not_closed() == set()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}


def test_less_than_half_of_many_does_not() -> None:
    bench = Bench()
    bench.call(*[None, DOWN, None] * 40)
    assert bench.not_closed() == set()


def test_successes_before_the_first_failure_count_in_the_share() -> None:
    bench = Bench()
    bench.call(*[None] * 100)
    bench.call(*[DOWN, None] * 50)  # 50 of 200
    assert bench.not_closed() == set()


def test_what_left_the_window_counts_no_more() -> None:
    bench = Bench()
    bench.call(*[None] * 50)  # these would keep the share below a half
    bench.now += 26
    bench.call(*[None, DOWN] * 9)
    assert bench.not_closed() == set()
    bench.now += 3.9
    bench.call(None, DOWN)
    assert bench.not_closed() == {PROVIDER}


def test_what_is_in_the_window_counts() -> None:
    bench = Bench()
    bench.call(*[None] * 50)
    bench.now += 26
    bench.call(*[None, DOWN] * 20)
    assert bench.not_closed() == set()


def test_failures_leave_the_window_bucket_by_bucket() -> None:
    bench = Bench(Policy(failures=100))
    for _ in range(40):  # 8 to 10 in a window
        bench.call(DOWN)
        bench.now += 3.2
    bench.call(*[DOWN] * 11)  # at 1128 s, when the buckets go back to 1101 s: 8 more
    assert bench.not_closed() == set()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}


def test_a_pause_longer_than_the_window_empties_it() -> None:
    bench = Bench()
    bench.call(*[None, DOWN] * 9, None)
    bench.now += 300
    bench.call(DOWN)
    assert bench.not_closed() == set()


# Open to half-open.


def test_it_permits_when_its_time_is_over_and_not_before() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 5)
    bench.now += 29.5
    assert bench.blocked() == Blocked(PROVIDER, State.OPEN, 0.5)
    bench.now += 0.5
    assert bench.states()[PROVIDER] is State.HALF_OPEN
    bench.lease()


@pytest.mark.parametrize(
    ("doublings", "seconds"),
    [(0, 30), (1, 60), (2, 120), (3, 240), (4, 300), (5, 300), (5000, 300)],
)
def test_the_open_time_doubles_to_its_bound(doublings: int, seconds: float) -> None:
    assert POLICY.open_time(doublings, 1.0) == seconds


def test_each_failed_probe_doubles_the_open_time_and_closing_resets_it() -> None:
    bench = Bench().half_opened()
    bench.call(DOWN)
    assert bench.blocked().seconds == 60
    bench.now += 60
    bench.call(None, DOWN)
    assert bench.blocked().seconds == 120
    bench.now += 120
    bench.call(None)
    assert bench.not_closed() == {PROVIDER}  # the one success before the failure is forgotten
    bench.call(None)
    assert bench.not_closed() == set()
    bench.call(*[DOWN] * 5)
    assert bench.blocked().seconds == 30


def test_the_open_time_is_jittered_by_a_tenth() -> None:
    seconds = []
    source = random.Random(7)
    for _ in range(300):
        bench = Bench(uniform=source.uniform)
        bench.call(*[DOWN] * 5)
        seconds.append(bench.blocked().seconds)
    assert 27 <= min(seconds) < 28
    assert 32 < max(seconds) <= 33


def test_jitter_does_not_pass_the_bound() -> None:
    assert POLICY.open_time(9, 1.1) == 300
    assert POLICY.open_time(9, 0.9) == 270


# Half-open.


def test_two_successes_close_it() -> None:
    bench = Bench().half_opened()
    bench.call(None)
    assert bench.states()[PROVIDER] is State.HALF_OPEN
    bench.call(None)
    assert bench.not_closed() == set()


def test_it_begins_anew_when_closed() -> None:
    bench = Bench().half_opened()
    bench.call(None, None, *[DOWN] * 4)
    assert bench.not_closed() == set()
    assert bench.status(PROVIDER).failures == 4


def test_at_most_two_probes_of_a_hundred_that_wait() -> None:
    bench = Bench().half_opened()
    answers = [bench.enter() for _ in range(100)]
    assert [isinstance(answer, Lease) for answer in answers] == [True] * 2 + [False] * 98
    assert answers[2] == Blocked(PROVIDER, State.HALF_OPEN, 1.0)


async def test_a_hundred_wait_side_by_side_and_some_leave() -> None:
    """FAULTS, row 25."""
    bench = Bench().half_opened()
    under_way = most = probes = 0
    served: list[bool] = []

    async def caller(number: int) -> None:
        nonlocal under_way, most, probes
        while isinstance(lease := bench.enter(), Blocked):
            await asyncio.sleep(0)
        half_open = bench.states()[PROVIDER] is State.HALF_OPEN
        under_way += half_open
        probes += half_open
        most = max(most, under_way)
        try:
            for _ in range(number % 3 + 1):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            bench.breakers.release(lease)
            raise
        else:
            bench.leave(lease)
            served.append(half_open)
        finally:
            under_way -= half_open

    callers = [asyncio.create_task(caller(number)) for number in range(100)]
    await asyncio.sleep(0)
    assert under_way == 2
    callers[0].cancel()
    callers[1].cancel()
    async with asyncio.timeout(10):
        await asyncio.gather(*callers, return_exceptions=True)
    assert most == 2
    assert probes >= 4  # two were cancelled, two closed it
    assert len(served) == 98
    assert bench.not_closed() == set()


def test_a_cancelled_probe_frees_its_slot_and_counts_nothing() -> None:
    bench = Bench().half_opened()
    first, second = bench.lease(), bench.lease()
    bench.breakers.release(first)
    third = bench.lease()
    assert bench.blocked().state is State.HALF_OPEN
    assert bench.changes == [(PROVIDER, State.OPEN, EPOCH + 1030)]
    bench.leave(second)
    bench.leave(third)
    assert bench.not_closed() == set()


def test_a_lost_probe_frees_its_slot_after_a_minute() -> None:
    bench = Bench().half_opened()
    bench.lease()
    bench.lease()
    bench.now += 59.9
    assert bench.blocked().state is State.HALF_OPEN
    bench.now += 0.1
    bench.lease()
    bench.lease()
    assert bench.blocked().state is State.HALF_OPEN


def test_a_probe_slower_than_its_lease_still_counts() -> None:
    """Else a model that takes over a minute to answer would never get its circuit closed."""
    bench = Bench().half_opened()
    first, second = bench.lease(), bench.lease()
    bench.now += 90
    bench.leave(first)
    bench.leave(second)
    assert bench.not_closed() == set()


def test_an_expired_probe_frees_no_other_ones_slot() -> None:
    bench = Bench().half_opened()
    lost = bench.lease()
    bench.now += 60
    bench.lease()
    bench.lease()
    bench.breakers.release(lost)
    assert bench.blocked().state is State.HALF_OPEN


def test_a_probe_ends_once() -> None:
    bench = Bench().half_opened()
    lease = bench.lease()
    bench.leave(lease)
    bench.leave(lease)
    assert bench.states()[PROVIDER] is State.HALF_OPEN
    bench.breakers.release(lease)
    bench.leave(lease, DOWN)
    assert bench.states()[PROVIDER] is State.HALF_OPEN


# What began before the circuit changed.


def test_what_hung_through_an_outage_does_not_open_it_again() -> None:
    bench = Bench()
    hung = [bench.lease() for _ in range(50)]
    bench.half_opened()
    bench.call(None, None)
    for lease in hung:
        bench.leave(lease, DOWN)
    assert bench.not_closed() == set()
    assert bench.status(PROVIDER).failures == 0


@pytest.mark.parametrize("failure", [None, DOWN])
def test_what_began_before_is_no_probe(failure: Failure | None) -> None:
    bench = Bench()
    early = bench.lease()
    bench.half_opened()
    bench.leave(early, failure)
    bench.leave(early, failure)
    assert bench.states()[PROVIDER] is State.HALF_OPEN


def test_a_probe_of_an_earlier_opening_is_none_of_the_next() -> None:
    bench = Bench().half_opened()
    first, second = bench.lease(), bench.lease()
    bench.leave(first, DOWN)
    bench.now += 60
    bench.call(None)
    bench.leave(second)
    assert bench.states()[PROVIDER] is State.HALF_OPEN


# Three circuits.


PROVIDERS = ("UNREACHABLE", "SERVER", "OVERLOADED", "INVALID_REPLY", "INTERRUPTED")
DEPLOYMENTS = ("TIMEOUT", "IDLE", "NOT_FOUND")
CREDENTIALS = ("AUTH", "QUOTA", "RATE_LIMIT")
NOBODYS = (
    "URL_NOT_ALLOWED",
    "INVALID_REQUEST",
    "CONTEXT_LENGTH",
    "CONTENT_POLICY",
    "UNSUPPORTED",
    "STREAM_OPTIONS",
    "NO_RESPONSES",
    "EVENT_TOO_LARGE",
    "CIRCUIT_OPEN",
    "NO_ROOM",
    "SHUTTING_DOWN",
)


def test_every_kind_of_failure_is_spoken_of_here() -> None:
    assert {*PROVIDERS, *DEPLOYMENTS, *CREDENTIALS, *NOBODYS} == set(FailureKind.__members__)


@pytest.mark.parametrize(
    ("name", "opened"),
    [(name, {PROVIDER}) for name in PROVIDERS]
    + [(name, {DEPLOYMENT}) for name in DEPLOYMENTS]
    + [(name, {CREDENTIAL}) for name in CREDENTIALS]
    + [(name, set()) for name in NOBODYS],
)
def test_a_failure_opens_what_it_speaks_of(name: str, opened: set[str]) -> None:
    bench = Bench()
    for _ in range(5):
        if isinstance(lease := bench.enter(), Lease):
            bench.leave(lease, failed(FailureKind[name]))
    assert bench.not_closed() == opened


@pytest.mark.parametrize(
    ("failure", "model", "provider", "credential", "still"),
    [
        (DOWN, "b", "up", 1, False),
        (DOWN, "a", "other", 0, True),
        (SLOW, "a", "up", 1, False),
        (SLOW, "b", "up", 0, True),
        (SLOW, "a", "other", 0, True),
        (LIMITED, "b", "up", 0, False),
        (LIMITED, "a", "up", 1, True),
        (LIMITED, "a", "other", 0, True),
    ],
)
def test_other_targets_fare_by_the_circuits_they_share(
    failure: Failure, model: str, provider: str, credential: int, still: bool
) -> None:
    bench = Bench()
    bench.call(*[failure] * 5)
    other = target(model, provider=provider, credential=credential)
    assert isinstance(bench.enter(other), Lease) is still


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA])
def test_a_refused_or_empty_key_is_left_alone_at_once(kind: FailureKind) -> None:
    bench = Bench()
    bench.call(None, failed(kind))
    assert bench.blocked() == Blocked(CREDENTIAL, State.OPEN, 30.0)
    bench.lease(target("a", credential=1))


def test_targets_add_up_in_the_circuit_they_share() -> None:
    bench = Bench()
    for number in range(5):
        bench.call(DOWN, to=target(f"m{number}", credential=number))
    assert bench.not_closed() == {PROVIDER}


def test_a_failure_of_one_breaks_no_row_of_another() -> None:
    bench = Bench()
    bench.call(*[DOWN, LIMITED] * 4)
    assert bench.not_closed() == set()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}


@pytest.mark.parametrize("name", NOBODYS)
def test_the_clients_fault_is_no_success_either(name: str) -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4, failed(FailureKind[name]), DOWN)
    assert bench.not_closed() == {PROVIDER}
    bench.now += 30
    bench.call(*[failed(FailureKind[name])] * 10)  # each gives its slot back
    assert bench.states()[PROVIDER] is State.HALF_OPEN


def test_the_longest_wait_is_told() -> None:
    bench = Bench()
    hung = bench.lease()
    bench.call(*[DOWN] * 5)
    bench.now += 10
    bench.leave(hung, REFUSED)
    assert bench.blocked() == Blocked(CREDENTIAL, State.OPEN, 30.0)
    bench.now += 25
    assert bench.blocked() == Blocked(CREDENTIAL, State.OPEN, 5.0)


def test_slots_are_taken_together_or_not_at_all() -> None:
    """The deployment's probes are under way: asking in vain takes none of the credential's."""
    bench = Bench()
    hung = bench.lease()
    bench.call(*[SLOW] * 5)
    bench.leave(hung, REFUSED)
    bench.now += 30
    first = bench.lease()
    second = bench.lease()
    assert [bench.blocked().state for _ in range(3)] == [State.HALF_OPEN] * 3
    bench.leave(first, failed(FailureKind.INVALID_REQUEST))
    bench.leave(second, failed(FailureKind.INVALID_REQUEST))
    other = target("b")  # shares the credential only
    bench.lease(other)
    bench.lease()
    assert bench.blocked(other).name == CREDENTIAL
    bench.lease(target("a", credential=1))  # one of the deployment's two was not taken


def test_a_failure_gives_back_the_slots_of_the_circuits_it_says_nothing_about() -> None:
    bench = Bench()
    hung = [bench.lease() for _ in range(5)]
    bench.call(*[DOWN] * 5)
    for lease in hung:
        bench.leave(lease, SLOW)
    bench.now += 30
    bench.call(SLOW)  # a probe of both
    assert bench.blocked() == Blocked(DEPLOYMENT, State.OPEN, 60.0)
    other = target("b")
    bench.lease(other)
    bench.lease(other)
    assert bench.blocked(other).name == PROVIDER


# Retry-After.


@pytest.mark.parametrize(("after", "seconds"), [(5, 30), (45, 45), (4000, 300), (None, 30)])
def test_a_long_retry_after_is_the_open_time(after: float | None, seconds: float) -> None:
    bench = Bench()
    limited = failed(FailureKind.RATE_LIMIT, after)
    bench.call(*[limited] * 4)
    assert bench.not_closed() == set()
    bench.call(limited)
    assert bench.blocked() == Blocked(CREDENTIAL, State.OPEN, seconds)


def test_retry_after_is_not_jittered_below_itself() -> None:
    bench = Bench(uniform=lambda low, high: low)
    bench.call(failed(FailureKind.QUOTA, 45))
    assert bench.blocked().seconds == 45


# A user's own key.


def test_a_users_own_key_moves_nothing() -> None:
    """FAULTS, row 22."""
    bench = Bench()
    for failure in [DOWN, SLOW, REFUSED, LIMITED] * 50:
        lease = bench.enter(shared=False)
        assert isinstance(lease, Lease)
        bench.leave(lease, failure)
    assert bench.breakers.snapshot(bench.now) == []
    bench.call(*[DOWN] * 4)
    own = bench.enter(shared=False)
    assert isinstance(own, Lease)
    bench.leave(own, None)
    bench.breakers.release(own)
    assert bench.status(PROVIDER).failures == 4
    assert [change[1] for change in bench.changes] == []


def test_a_users_own_key_is_kept_from_an_open_provider_alone() -> None:
    bench = Bench()
    bench.call(REFUSED)
    assert isinstance(bench.enter(shared=False), Lease)
    bench.call(*[DOWN] * 5, to=target("b", credential=1))
    assert bench.enter(shared=False) == Blocked(PROVIDER, State.OPEN, 30.0)
    bench.now += 30
    assert all(isinstance(bench.enter(shared=False), Lease) for _ in range(5))
    other = target("b", credential=1)
    bench.lease(other)
    bench.lease(other)  # they took no slots


# The registry.


def test_a_clean_attempt_makes_nothing_new() -> None:
    bench = Bench()
    first = bench.lease()
    bench.leave(first)
    assert bench.lease() is first
    bench.now += 100
    bench.leave(first)
    assert bench.lease() is first


def test_a_snapshot_says_all() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 5)
    assert bench.breakers.snapshot(bench.now) == [
        BreakerStatus("credential/up#0", Kind.CREDENTIAL, State.CLOSED, 0, None),
        BreakerStatus("deployment/up/a", Kind.DEPLOYMENT, State.CLOSED, 0, None),
        BreakerStatus("provider/up", Kind.PROVIDER, State.OPEN, 5, 1_700_001_030_000),
    ]
    bench.now += 30
    assert bench.status(PROVIDER) == BreakerStatus(
        "provider/up", Kind.PROVIDER, State.HALF_OPEN, 5, None
    )


def test_reset_closes_all_of_a_provider() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 5)
    bench.call(*[SLOW] * 5, to=target("x/y", provider="z"))
    bench.call(REFUSED, to=target("b", provider="z", credential=3))
    bench.changes.clear()
    assert bench.breakers.reset("nobody") == 0
    assert bench.breakers.reset("z") == 2
    assert bench.not_closed() == {PROVIDER}
    assert bench.changes == [
        ("deployment/z/x/y", State.CLOSED, 0.0),
        ("credential/z#3", State.CLOSED, 0.0),
    ]
    assert bench.breakers.reset(None) == 1
    bench.lease()


def test_reset_forgets_what_closed_circuits_counted() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4)
    assert bench.breakers.reset() == 0
    bench.call(*[DOWN] * 4)
    assert bench.not_closed() == set()


def test_a_new_policy_holds_for_circuits_that_are_there() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4)
    bench.policy = Policy(failures=2)
    bench.call(DOWN)
    assert bench.not_closed() == set()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}


def test_an_equal_policy_changes_nothing() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 4)
    bench.policy = Policy()
    bench.call(DOWN)
    assert bench.not_closed() == {PROVIDER}


def test_a_policy_is_made_of_its_section() -> None:
    section = BreakerSection(failures=3, ratio=0.25, window=10, open=5, max_open=50, successes=4)
    assert Policy.of(section) == Policy(3, 0.25, 10.0, 5.0, 50.0, 4, 20, 2)
    assert Policy.of(BreakerSection()) == POLICY


def test_a_policy_of_zeros_neither_breaks_nor_blocks() -> None:
    bench = Bench(Policy(ratio=0.0, window=0.0, open=0.0, max_open=0.0))
    bench.call(*[DOWN] * 30)
    assert bench.states()[PROVIDER] is State.HALF_OPEN


def test_names_from_requests_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "MOST", 100)
    bench = Bench()
    gone = failed(FailureKind.NOT_FOUND)
    bench.call(*[gone] * 5, to=target("open"))
    for number in range(1000):
        bench.call(gone if number % 10 == 0 else None, to=target(f"m{number}"))
        bench.now += 0.001
        assert len(bench.breakers.snapshot(bench.now)) <= 100
    names = bench.states()
    assert names["deployment/up/open"] is State.OPEN
    assert {"provider/up", "credential/up#0"} <= names.keys()  # clean, but in use
    kept = {int(name.rpartition("/m")[2]) for name in names if "/m" in name}
    assert min(number for number in kept if number % 10 == 0) < min(
        number for number in kept if number % 10
    )  # the clean went first


def test_open_circuits_do_not_fill_the_memory_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "MOST", 30)
    bench = Bench()
    for number in range(300):
        bench.call(REFUSED, to=target(f"m{number}", provider=f"p{number}"))
        bench.breakers.adopt(f"provider/q{number}", State.OPEN, EPOCH + 9e9, bench.now)
        assert len(bench.breakers.snapshot(bench.now)) <= 30


def test_passes_do_not_fill_the_memory_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more targets than circuits: each model through each key."""
    monkeypatch.setattr(breaker, "MOST", 30)
    bench = Bench()
    for number in range(10 * 15):
        bench.call(None, to=target(f"m{number % 10}", credential=number // 10))
        assert len(bench.breakers._passes) <= 30
    assert len(bench.states()) == 1 + 10 + 15


def test_nobody_need_listen() -> None:
    bench = Bench()
    bench.breakers.on_change = None
    bench.half_opened().call(None, None)
    assert bench.not_closed() == set()


def test_what_was_dropped_is_not_counted_beside_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "MOST", 30)
    bench = Bench()
    bench.call(None)
    bench.now += 100
    for number in range(12):
        bench.call(None, to=target("m", provider=f"p{number}"))
    assert "provider/up" not in bench.states()
    bench.call(*[DOWN] * 4)
    bench.call(DOWN, to=target("b"))
    assert bench.not_closed() == {PROVIDER}


# Several processes.


def test_on_change_hears_of_opening_and_closing_alone() -> None:
    bench = Bench().half_opened()
    bench.call(None, DOWN)
    bench.now += 60
    bench.call(None, None, None)
    assert bench.changes == [
        (PROVIDER, State.OPEN, EPOCH + 1030),
        (PROVIDER, State.OPEN, EPOCH + 1090),
        (PROVIDER, State.CLOSED, 0.0),
    ]


def test_what_another_process_saw_is_taken_over() -> None:
    bench = Bench()
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1020, bench.now)
    assert bench.blocked() == Blocked(PROVIDER, State.OPEN, 20.0)
    bench.now += 20
    bench.call(None, None)
    assert bench.not_closed() == set()
    assert bench.changes == [(PROVIDER, State.CLOSED, 0.0)]  # adopting is not told on
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1050, bench.now)
    assert bench.blocked().seconds == 30
    bench.breakers.adopt(PROVIDER, State.CLOSED, 0.0, bench.now)
    bench.lease()


def test_an_adopted_opening_begins_the_doubling() -> None:
    bench = Bench()
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1020, bench.now)
    bench.now += 20
    bench.call(DOWN)
    assert bench.blocked().seconds == 60


def test_of_two_ends_the_later_stands() -> None:
    bench = Bench()
    bench.call(*[DOWN] * 5)
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1010, bench.now)
    assert bench.blocked().seconds == 30
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1040, bench.now)
    assert bench.blocked().seconds == 40


def test_an_adopted_opening_ends_the_probes() -> None:
    bench = Bench().half_opened()
    first, second = bench.lease(), bench.lease()
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + bench.now + 15, bench.now)
    bench.leave(first)
    bench.leave(second)
    assert bench.blocked() == Blocked(PROVIDER, State.OPEN, 15.0)


def test_another_clock_can_not_lock_for_ever() -> None:
    bench = Bench()
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 1e9, bench.now)
    assert bench.blocked().seconds == 300


def test_what_is_past_unknown_or_closed_is_passed_over() -> None:
    bench = Bench()
    bench.breakers.adopt(PROVIDER, State.OPEN, EPOCH + 999, bench.now)
    bench.breakers.adopt("nothing/up", State.OPEN, EPOCH + 1020, bench.now)
    bench.breakers.adopt(PROVIDER, State.CLOSED, 0.0, bench.now)
    assert bench.breakers.snapshot(bench.now) == []
    bench.call(*[DOWN] * 4)
    bench.breakers.adopt(PROVIDER, State.CLOSED, 0.0, bench.now)
    bench.call(DOWN)  # what was counted here still counts
    assert bench.not_closed() == {PROVIDER}


# Whatever comes.


TARGETS = [
    target(model, provider=provider, credential=credential)
    for provider in ("p", "q")
    for model in ("a", "b")
    for credential in (0, 1)
]
OUTCOMES = [None, None, None, *map(failed, FailureKind), failed(FailureKind.RATE_LIMIT, 50.0)]


def names_of(to: Target) -> tuple[str, str, str]:
    return (
        f"provider/{to.provider}",
        f"deployment/{to.provider}/{to.model}",
        f"credential/{to.provider}#{to.credential}",
    )


class Machine(RuleBasedStateMachine):
    """What a bystander sees: who was let in, and what `on_change` and `adopt` said.

    It knows when each circuit may be tried again and which probes are under way, and nothing of
    how the circuits count.
    """

    @initialize(probes=st.integers(1, 3), failures=st.integers(1, 5), seed=st.integers(0, 1000))
    def begin(self, probes: int, failures: int, seed: int) -> None:
        self.policy = Policy(failures=failures, minimum=6, probes=probes)
        self.now = 50.0
        source = random.Random(seed)
        # All times are 64ths, which floats hold exactly.
        self.breakers = Breakers(
            lambda low, high: round(source.uniform(low, high) * 64) / 64,
            lambda: EPOCH + self.now,
        )
        self.breakers.on_change = self.note
        self.until: dict[str, float] = {}  # of circuits that are not closed
        self.opened: dict[str, int] = {}  # how often they changed
        self.out: list[tuple[Lease, Target, dict[str, tuple[int, float]]]] = []

    def note(self, name: str, state: State, until: float) -> None:
        self.opened[name] = self.opened.get(name, 0) + 1
        if state is State.CLOSED:
            assert name in self.until
            del self.until[name]
        else:
            assert state is State.OPEN
            assert 27 <= until - EPOCH - self.now <= 300
            self.until[name] = until - EPOCH

    def probes_of(self, name: str) -> int:
        """Under way since it opened last, and not expired."""
        era = self.opened.get(name, 0)
        return sum(
            held[name] == (era, began) and self.now < began + 60
            for _, _, held in self.out
            if name in held
            for began in [held[name][1]]
        )

    @rule(to=st.sampled_from(TARGETS))
    def enter(self, to: Target) -> None:
        names = names_of(to)
        troubled = [name for name in names if name in self.until]
        answer = self.breakers.enter(to, self.policy, self.now)
        free = all(
            self.until[name] <= self.now and self.probes_of(name) < self.policy.probes
            for name in troubled
        )
        assert isinstance(answer, Lease) is free
        if isinstance(answer, Lease):
            held = {name: (self.opened.get(name, 0), self.now) for name in troubled}
            self.out.append((answer, to, held))
        elif answer.state is State.OPEN:
            assert answer.name in troubled
            assert answer.seconds == self.until[answer.name] - self.now
            assert answer.seconds > 0
        else:
            assert answer.state is State.HALF_OPEN
            assert self.probes_of(answer.name) == self.policy.probes

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def leave(self, data: st.DataObject, outcome: Failure | None) -> None:
        lease, to, held = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = dict(self.opened)
        self.breakers.leave(lease, outcome, self.now)
        changed = {name for name, count in self.opened.items() if count != before.get(name, 0)}
        assert changed <= set(names_of(to))
        if outcome is None:
            assert changed <= held.keys()  # only a probe closes, no success opens
            assert changed.isdisjoint(self.until)
        else:
            assert len(changed) <= 1
            assert changed <= self.until.keys()

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease, _, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = dict(self.opened)
        self.breakers.release(lease)
        assert self.opened == before

    @precondition(lambda self: self.out)
    @rule()
    def lose(self) -> None:
        """It is never ended: its slot is free after a minute, which `probes_of` reckons with."""
        lease, to, held = self.out.pop(0)
        if held:
            self.out.append((lease, to, held))

    @rule(seconds=st.sampled_from([1 / 64, 1.0, 3.0, 10.0, 29.0, 40.0, 61.0, 330.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(to=st.sampled_from(TARGETS), outcome=st.sampled_from(OUTCOMES), times=st.integers(1, 8))
    def burst(self, to: Target, outcome: Failure | None, times: int) -> None:
        for _ in range(times):
            lease = self.breakers.enter(to, self.policy, self.now)
            if isinstance(lease, Lease):
                self.breakers.leave(lease, outcome, self.now)

    @rule(to=st.sampled_from(TARGETS))
    def recover(self, to: Target) -> None:
        """Nothing that happened keeps a target away for good."""
        self.now += 400.0
        for _ in range(self.policy.successes):
            lease = self.breakers.enter(to, self.policy, self.now)
            assert isinstance(lease, Lease)
            self.breakers.leave(lease, None, self.now)
        assert self.until.keys().isdisjoint(names_of(to))

    @rule(
        to=st.sampled_from(TARGETS), which=st.integers(0, 2), seconds=st.sampled_from([-1, 20, 200])
    )
    def adopt(self, to: Target, which: int, seconds: float) -> None:
        name, until = names_of(to)[which], self.now + seconds
        self.breakers.adopt(name, State.OPEN, EPOCH + until, self.now)
        if seconds > 0 and self.until.get(name, 0.0) < until:
            self.opened[name] = self.opened.get(name, 0) + 1
            status = [s for s in self.breakers.snapshot(self.now) if s.name == name]
            assert status[0].next_attempt_at == round((EPOCH + until) * 1000)
            self.until[name] = until

    @rule(provider=st.sampled_from(["p", "q", None]))
    def reset(self, provider: str | None) -> None:
        expected = {
            name
            for name in self.until
            if provider is None or name.split("/")[1].split("#")[0] == provider
        }
        assert self.breakers.reset(provider) == len(expected)
        assert expected.isdisjoint(self.until)

    @invariant()
    def states_are_told(self) -> None:
        if not hasattr(self, "breakers"):
            return
        for status in self.breakers.snapshot(self.now):
            until = self.until.get(status.name)
            if until is None:
                assert status.state is State.CLOSED
            else:
                assert status.state is (State.OPEN if self.now < until else State.HALF_OPEN)
            assert self.probes_of(status.name) <= self.policy.probes


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
