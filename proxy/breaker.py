"""Which targets are left alone for a while because they failed. Pure: the clock is passed in.

A target hangs on three circuits: `provider/<name>`, `deployment/<provider>/<model>` and
`credential/<provider>#<n>`. An attempt is made only where all three permit it, and its failure
counts for the one that it speaks of.

    CLOSED     -> OPEN       `failures` in a row, or a share of the outcomes in the window
    OPEN       -> HALF_OPEN  by the clock: after `open` seconds, doubled each time, jittered
    HALF_OPEN  -> CLOSED     `successes` of probes; at most `probes` are under way at a time
    HALF_OPEN  -> OPEN       a probe failed

An outcome counts for a circuit only if that has neither opened nor closed since the attempt
began: what hung through an outage doesn't open a circuit that has recovered meanwhile.

`now` is monotonic seconds. Where a time leaves the process it is epoch seconds.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from adapters.base import Failure, FailureKind, Target
from proxy.config_types import BreakerSection

BUCKETS = 10  # of the sliding window
LEASE = 60.0  # seconds after which a probe's slot is free again, whatever became of the probe
SLOT_WAIT = 1.0  # seconds to wait while all probes of a half-open circuit are under way
SPREAD = (0.9, 1.1)  # jitter of the open time, so that processes don't probe in step
MOST = 10_000  # circuits kept: model names come from requests, they must not fill the memory
DOUBLINGS = 60  # of the open time, at most; keeps the float finite

Uniform = Callable[[float, float], float]
OnChange = Callable[[str, "State", float], None]
"""(circuit, OPEN or CLOSED, epoch seconds until which it is open, 0.0 when closed)."""


class State(StrEnum):
    """CONTRACT's words."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Kind(StrEnum):
    """What a circuit stands for; the first part of its name."""

    PROVIDER = "provider"
    DEPLOYMENT = "deployment"
    CREDENTIAL = "credential"


_PROVIDER, _DEPLOYMENT, _CREDENTIAL = range(3)

BLAMED = {
    FailureKind.UNREACHABLE: _PROVIDER,
    FailureKind.SERVER: _PROVIDER,
    FailureKind.OVERLOADED: _PROVIDER,
    FailureKind.INVALID_REPLY: _PROVIDER,
    FailureKind.INTERRUPTED: _PROVIDER,
    FailureKind.TIMEOUT: _DEPLOYMENT,
    FailureKind.IDLE: _DEPLOYMENT,
    FailureKind.NOT_FOUND: _DEPLOYMENT,
    FailureKind.AUTH: _CREDENTIAL,
    FailureKind.QUOTA: _CREDENTIAL,
    FailureKind.RATE_LIMIT: _CREDENTIAL,
}
"""The circuit that a failure speaks of; it says nothing about the other two.

What is the client's to mend, or our own refusal, counts as nothing, and a probe that ends so
gives its slot back. It is no success: some of it is found before a byte is sent, and a 400 doesn't
show that a model that hung gives tokens again. It is no failure: one client could close a provider
to all.
"""

AT_ONCE = frozenset({FailureKind.AUTH, FailureKind.QUOTA})
"""Kinds that open their circuit the first time: a refused key stays refused. Not with a 403: that
may be one model that the key is not for, and would shut it to all the others."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, and for how long; times in seconds.

    `failures` in a row open it, or a share `ratio` of at least `minimum` outcomes in `window`.
    It stays open for `open` * 2**n, at most `max_open`; then up to `probes` attempts at a time
    may try, and `successes` of them close it.
    """

    failures: int = 5
    ratio: float = 0.5
    window: float = 30.0
    open: float = 30.0
    max_open: float = 300.0
    successes: int = 2
    minimum: int = 20
    probes: int = 2

    @classmethod
    def of(cls, section: BreakerSection) -> "Policy":
        """Make it once a configuration: `Breakers.enter` is fast for the very same object."""
        return cls(**section.model_dump())

    @property
    def width(self) -> float:
        """Seconds of a bucket; a window of nothing holds what came within 10 ms."""
        return max(self.window / BUCKETS, 0.001)

    def open_time(self, doublings: int, spread: float, asked: float | None = None) -> float:
        """Seconds to stay open; `asked` is the upstream's Retry-After."""
        seconds = min(self.open * 2.0 ** min(doublings, DOUBLINGS), self.max_open) * spread
        return min(max(seconds, asked or 0.0), self.max_open)


class Breaker:
    """One circuit. `epoch` counts how often it opened, closed or was cleared.

    `ok` and `bad` are the outcomes in the bucket of the last `turn`, `run` the failures in a row.
    It is closed while `until` is None, then open until that time, then half-open.
    """

    __slots__ = (
        "_bads", "_bucket", "_leases", "_oks", "_reopened", "_token", "_uniform", "_width",
        "_won", "bad", "epoch", "name", "ok", "policy", "run", "until",
    )  # fmt: skip

    @property
    def successes(self) -> int:
        """In the window; of one that is not closed those of its probes."""
        return self.ok + sum(self._oks) if self.until is None else self._won

    def __init__(self, name: str, policy: Policy, uniform: Uniform) -> None:
        self.name = name
        self.policy = policy
        self.until: float | None = None
        self.epoch = 0
        self._uniform = uniform
        self._width = policy.width
        self._token = 0
        self._bucket = 0
        self._clear()

    def _clear(self) -> None:
        """Forgets all counts and probes."""
        self.epoch += 1
        self.run = self.ok = self.bad = 0
        self._oks = [0] * BUCKETS
        self._bads = [0] * BUCKETS
        self._leases: dict[int, float] = {}  # token -> when it expires
        self._won = 0  # successes of probes
        self._reopened = 0  # times in a row

    def follow(self, policy: Policy) -> None:
        """Takes another policy; what was counted by the old one counts no more."""
        if policy == self.policy:
            return
        self.policy, self._width = policy, policy.width
        self._bucket = 0
        if self.until is None:
            self._clear()

    def state(self, now: float) -> State:
        if self.until is None:
            return State.CLOSED
        return State.OPEN if now < self.until else State.HALF_OPEN

    def wait(self, now: float) -> float:
        """Seconds until an attempt may be made; 0.0 when it may."""
        if self.until is None:
            return 0.0
        if now < self.until:
            return self.until - now
        for token in [token for token, expires in self._leases.items() if expires <= now]:
            del self._leases[token]
        return 0.0 if len(self._leases) < self.policy.probes else SLOT_WAIT

    def take(self, now: float) -> int:
        """A slot for an attempt that `wait` permits: its token, 0 when it needs none."""
        if self.until is None:
            return 0
        self._token += 1
        self._leases[self._token] = now + LEASE
        return self._token

    def give_back(self, token: int) -> None:
        """Frees a slot, if it has not expired."""
        self._leases.pop(token, None)

    def turn(self, now: float) -> float:
        """Makes the bucket of `now` the current one; returns when it ends."""
        bucket = int(now // self._width)
        passed = bucket - self._bucket
        if passed >= BUCKETS:
            self._oks, self._bads = [0] * BUCKETS, [0] * BUCKETS
        elif passed > 0:
            self._oks[self._bucket % BUCKETS] = self.ok
            self._bads[self._bucket % BUCKETS] = self.bad
            for gone in range(self._bucket + 1, bucket + 1):
                self._oks[gone % BUCKETS] = self._bads[gone % BUCKETS] = 0
        if passed > 0:
            self.ok = self.bad = 0
            self._bucket = bucket
        return (self._bucket + 1) * self._width

    def succeed(self, now: float) -> bool:
        """Counts a success; True when it closed the circuit."""
        if self.until is None:
            self.turn(now)
            self.ok += 1
            self.run = 0
            return False
        self._won += 1
        return self._won >= self.policy.successes and self.close()

    def fail(self, now: float, at_once: bool = False, asked: float | None = None) -> bool:
        """Counts a failure; True when it opened the circuit. `asked`: see `open_time`."""
        self.run += 1
        if self.until is not None:
            self._open(now, self._reopened + 1, asked)
            return True
        self.turn(now)
        self.bad += 1
        if not (at_once or self.run >= self.policy.failures or self._too_many()):
            return False
        self._open(now, 0, asked)
        return True

    def _too_many(self) -> bool:
        bad = self.bad + sum(self._bads)
        total = bad + self.ok + sum(self._oks)
        return total >= self.policy.minimum and bad / total >= self.policy.ratio

    def _open(self, now: float, reopened: int, asked: float | None) -> None:
        run, spread = self.run, self._uniform(*SPREAD)
        self._clear()
        self.run, self._reopened = run, reopened
        self.until = now + self.policy.open_time(reopened, spread, asked)

    def hold(self, now: float, seconds: float) -> None:
        """Opens it for what another process saw; the later end stands."""
        until = now + min(seconds, self.policy.max_open)
        if self.until is not None and self.until >= until:
            return
        run, reopened = self.run, self._reopened
        self._clear()
        self.run, self._reopened, self.until = run, reopened, until

    def close(self) -> bool:
        """Closes and clears it; whether it was not closed."""
        was_closed, self.until = self.until is None, None
        self._clear()
        return not was_closed

    def rank(self) -> tuple[int, float]:
        """What to drop first: the clean, then the closed; of these the least recently used."""
        used = self._bucket * self._width
        if self.until is not None:
            return 2, used
        return int(self.run > 0 or self.bad > 0 or any(self._bads)), used


class Lease:
    """Leave to make one attempt; `Breakers.leave` or `release` ends it.

    With all circuits closed it is a pass: one object for all attempts of a target. `epoch` is the
    sum of its circuits' epochs. These only grow, so an equal sum says that none has changed, and
    that all are still closed. Until `until` their buckets are the current ones.
    """

    __slots__ = ("circuits", "epoch", "epochs", "policy", "slots", "until")

    def __init__(
        self, circuits: tuple[Breaker, ...], policy: Policy | None, slots: tuple[int, ...]
    ) -> None:
        self.circuits = circuits
        self.policy = policy
        self.slots = slots
        self.epochs = tuple(circuit.epoch for circuit in circuits)
        self.epoch = sum(self.epochs)
        self.until = float("-inf")

    @property
    def is_pass(self) -> bool:
        return bool(self.circuits) and not any(self.slots)


_UNSHARED = Lease((), None, ())


class Blocked(NamedTuple):
    """An attempt that is not made: the circuit that stands longest against it.

    `seconds` until it may be tried; for a half-open one a guess, its probes may end at any time.
    """

    name: str
    state: State
    seconds: float


class BreakerStatus(NamedTuple):
    """One circuit, for people. `failures` in a row; `next_attempt_at` in epoch milliseconds;
    `successes` in the window, of one that is not closed those of its probes."""

    name: str
    kind: Kind
    state: State
    failures: int
    next_attempt_at: int | None
    successes: int = 0


class Breakers:
    """Every circuit of a process. `on_change` hears of each that opens or closes here.

    `enter` and `leave` of a target whose circuits are closed take 0.4 µs together and make no
    object that lasts (CPython 3.11, one core of a shared virtual machine).
    """

    def __init__(
        self, uniform: Uniform = random.uniform, wall: Callable[[], float] = time.time
    ) -> None:
        self.on_change: OnChange | None = None
        self._uniform = uniform
        self._wall = wall
        self._circuits: dict[str, Breaker] = {}
        self._passes: dict[tuple[str, str, int], Lease] = {}  # some no longer valid

    def enter(
        self, target: Target, policy: Policy, now: float, shared: bool = True
    ) -> Lease | Blocked:
        """Leave to try a target. `shared` False is for a user's own key.

        Such an attempt is kept from a provider that is open, and else neither counts nor takes a
        probe's slot: a user alone with a half-open provider must not be locked out for good.
        """
        if not shared:
            return self._enter_unshared(target, now)
        key = (target.provider, target.model, target.credential)
        lease = self._passes.get(key)
        if lease is not None and lease.policy is policy:
            one, two, three = lease.circuits
            if one.epoch + two.epoch + three.epoch == lease.epoch:
                return lease
        return self._enter(key, lease, policy, now)

    def _enter_unshared(self, target: Target, now: float) -> Lease | Blocked:
        circuit = self._circuits.get(f"{Kind.PROVIDER}/{target.provider}")
        if circuit is None or circuit.until is None or circuit.until <= now:
            return _UNSHARED
        return Blocked(circuit.name, State.OPEN, circuit.until - now)

    def _enter(
        self, key: tuple[str, str, int], known: Lease | None, policy: Policy, now: float
    ) -> Lease | Blocked:
        circuits = self._circuits_of(key, policy) if known is None else known.circuits
        for circuit in circuits:
            circuit.follow(policy)
        waits = [circuit.wait(now) for circuit in circuits]
        longest = max(waits)
        if longest > 0:
            circuit = circuits[waits.index(longest)]
            return Blocked(circuit.name, circuit.state(now), longest)
        slots = tuple(circuit.take(now) for circuit in circuits)
        lease = Lease(circuits, policy, slots)
        if lease.is_pass:
            if len(self._passes) >= MOST:
                self._passes.clear()
            self._passes[key] = lease
        return lease

    def _circuits_of(self, key: tuple[str, str, int], policy: Policy) -> tuple[Breaker, ...]:
        provider, model, credential = key
        names = (
            f"{Kind.PROVIDER}/{provider}",
            f"{Kind.DEPLOYMENT}/{provider}/{model}",
            f"{Kind.CREDENTIAL}/{provider}#{credential}",
        )
        self._make_room(len(names))
        return tuple(self._circuit(name, policy) for name in names)

    def _circuit(self, name: str, policy: Policy) -> Breaker:
        circuit = self._circuits.get(name)
        if circuit is None:
            circuit = self._circuits[name] = Breaker(name, policy, self._uniform)
        return circuit

    def _make_room(self, wanted: int) -> None:
        """Drops a tenth of the circuits when they are too many; all at once, as it sorts them."""
        if len(self._circuits) + wanted <= MOST:
            return
        ranked = sorted(self._circuits.values(), key=Breaker.rank)
        for circuit in ranked[: max(MOST // 10, wanted)]:
            del self._circuits[circuit.name]
        self._passes.clear()  # they may hold what was dropped

    def leave(self, lease: Lease, failure: Failure | None, now: float) -> None:
        """An attempt's outcome: a success (None) counts for all its circuits."""
        if failure is None and now < lease.until:
            one, two, three = lease.circuits
            if one.epoch + two.epoch + three.epoch == lease.epoch:
                one.ok += 1
                two.ok += 1
                three.ok += 1
                one.run = two.run = three.run = 0
                return
        if lease.is_pass:
            lease.until = min(circuit.turn(now) for circuit in lease.circuits)
        pairs = [*zip(lease.circuits, lease.epochs, strict=True)]
        self.release(lease)
        if failure is not None:
            blamed = BLAMED.get(failure.kind)
            pairs = [] if blamed is None else pairs[blamed : blamed + 1]
        for circuit, epoch in pairs:
            if circuit.epoch == epoch:
                self._count(circuit, failure, now)

    def _count(self, circuit: Breaker, failure: Failure | None, now: float) -> None:
        if failure is None:
            changed = circuit.succeed(now)
        else:
            at_once = failure.kind in AT_ONCE and failure.status != 403
            changed = circuit.fail(now, at_once, failure.retry_after)
        if changed:
            self._tell(circuit, now)

    def _tell(self, circuit: Breaker, now: float) -> None:
        if self.on_change is None:
            return
        if circuit.until is None:
            self.on_change(circuit.name, State.CLOSED, 0.0)
        else:
            self.on_change(circuit.name, State.OPEN, self._wall() + circuit.until - now)

    def release(self, lease: Lease) -> None:
        """An attempt that came to nothing: the client left, or it was never sent."""
        if any(lease.slots):
            for circuit, token in zip(lease.circuits, lease.slots, strict=True):
                circuit.give_back(token)
            lease.circuits, lease.epochs, lease.slots = (), (), ()  # it may be ended once

    def snapshot(self, now: float) -> list[BreakerStatus]:
        """Every circuit, by name."""
        return [self._status(self._circuits[name], now) for name in sorted(self._circuits)]

    def _status(self, circuit: Breaker, now: float) -> BreakerStatus:
        state = circuit.state(now)
        at = None
        if circuit.until is not None and state is State.OPEN:
            at = round((self._wall() + circuit.until - now) * 1000)
        kind = Kind(circuit.name.partition("/")[0])
        return BreakerStatus(circuit.name, kind, state, circuit.run, at, circuit.successes)

    def reset(self, provider: str | None = None) -> int:
        """Closes a provider's circuits, or all; returns how many were not closed."""
        count = 0
        for circuit in self._circuits.values():
            if provider in (None, provider_of(circuit.name)) and circuit.close():
                count += 1
                self._tell(circuit, 0.0)
        return count

    def adopt(self, name: str, state: State, until: float, now: float) -> None:
        """Takes over what another process told its `on_change`; `until` in epoch seconds.

        It is not told on. A name of no known kind and a time that is past are passed over.
        """
        circuit = self._circuits.get(name)
        if state is State.CLOSED:
            if circuit is not None and circuit.until is not None:
                circuit.close()
            return
        left = until - self._wall()
        if left <= 0 or name.partition("/")[0] not in _KINDS:
            return
        if circuit is None:
            self._make_room(1)
            circuit = self._circuit(name, Policy())
        circuit.hold(now, left)


_KINDS = frozenset(kind.value for kind in Kind)


def provider_of(name: str) -> str:
    """The provider in a circuit's name; its own name has no slash."""
    kind, _, rest = name.partition("/")
    if kind == Kind.CREDENTIAL:
        return rest.rpartition("#")[0]
    return rest.partition("/")[0] if kind == Kind.DEPLOYMENT else rest
