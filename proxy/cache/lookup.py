"""The cache as the pipeline sees it: a visit is opened, looked up, filled, closed.

    open      the policy, and what the request is known by             pure
    look up   exact tier -> single flight -> tier by meaning           a hit, or a reason
    keep      a whole answer that may be kept goes into the tiers      after the client has it
    close     whoever waits for this request is told how it ended      whatever happens

Nothing in here fails a request: a store or an embedder in trouble is a miss, and counted.
"""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from adapters.answers import gather, unfit
from adapters.base import Ask, Usage
from proxy.cache import directives
from proxy.cache.answers import Answers, age_of
from proxy.cache.counts import Counts
from proxy.cache.flights import Flights, Landing, Shared
from proxy.cache.keys import bypass, key_of
from proxy.cache.policy import resolve
from proxy.cache.report import MeaningReport
from proxy.cache.types import Entry, Key, Purge, Tier
from proxy.cache.visit import Found, Tape, Visit
from proxy.config_types import CacheSection, TaskCache
from proxy.types import Call, Plan

WAIT = 60.0  # seconds that a request waits for one like it, before it asks itself


class Meanings(Protocol):
    """The tier by meaning. Nothing of it raises."""

    async def find(self, visit: Visit, key: Key) -> Found:
        """The nearest question's answer, and whether it may serve."""
        ...

    async def keep(self, visit: Visit, entry: Entry) -> None:
        """Makes an answer findable by its question."""
        ...

    def learn(self, visit: Visit, fresh: Entry) -> None:
        """A fresh answer is there, to compare `visit.near` with."""
        ...

    async def purge(self, purge: Purge) -> None: ...

    def report(self) -> MeaningReport:
        """What it has done so far, and what it serves from."""
        ...


class Leases(Protocol):
    """Single flight among processes: who has the lease of a digest asks the provider."""

    async def take(self, digest: str) -> bool:
        """Whether the caller leads among all processes; True where nobody can tell."""
        ...

    async def landed(self, digest: str, seconds: float) -> None:
        """Returns when the flight of another process has ended, or after `seconds`."""
        ...

    async def give_back(self, digest: str) -> None: ...


class Answered(NamedTuple):
    """Who answered, and what that came to."""

    provider: str
    model: str
    usage: Usage
    cost_nanousd: int | None


class Cache:
    """The tiers of one process. `meanings` gives the tier by meaning, None where it can't be;
    `opened` gives it only if it is there already, and brings nothing about."""

    def __init__(
        self,
        answers: Answers,
        meanings: Callable[[], Meanings | None],
        leases: Leases | None = None,
        clock: Callable[[], float] = time.time,
        opened: Callable[[], Meanings | None] | None = None,
    ) -> None:
        self.answers = answers
        self.counts = Counts()
        self._meanings = meanings
        self._opened = opened or meanings
        self._leases = leases
        self._clock = clock
        self._flights = Flights()

    def open(
        self, section: CacheSection, task: TaskCache, call: Call, plan: Plan, ask: Ask
    ) -> Visit:
        """What is known of a request before anything is looked up. Raises `InvalidRequest`."""
        controls, principal = call.controls, call.principal
        said = directives.NOTHING_SAID
        if controls.cache is not None:
            said = directives.parse(controls.cache)
        policy = resolve(section, task, principal.cache, said)
        reason = bypass(ask, policy, said)
        if reason is not None:
            self.counts.bypasses[reason] += 1
            return Visit(policy, said, None, reason)
        try:
            key = key_of(ask, plan, principal, controls, policy, said)
        except TypeError:  # orjson reads what is deeper, or larger, than it writes
            self.counts.bypasses["body"] += 1
            return Visit(policy, said, None, "body")
        return Visit(policy, said, key, "" if said.read else "no-cache")

    async def look_up(self, visit: Visit) -> Entry | None:
        """A kept answer that may serve, None where the provider has to be asked.

        The caller of a visit that then `leads` has to `close` it: others may be waiting.
        """
        key = visit.key
        if key is None:
            return None
        if visit.said.read:
            entry = await self._exact(visit, key) or await self._shared(visit, key)
            if entry is not None:
                visit.entry, visit.age = entry, age_of(entry, self._clock())
                self.counts.hit(visit.tier, entry)
                return entry
        self.counts.misses[visit.reason or "new"] += 1
        if visit.said.write:
            visit.tape = Tape()
        return None

    async def _exact(self, visit: Visit, key: Key) -> Entry | None:
        began = time.perf_counter()
        entry = await self.answers.get(key.id)
        self.counts.took("exact", time.perf_counter() - began)
        return entry if entry is not None and self._is_fresh(visit, entry) else None

    def _is_fresh(self, visit: Visit, entry: Entry) -> bool:
        age = self._clock() - entry.stored_at
        return visit.said.max_age is None or age <= visit.said.max_age

    async def _shared(self, visit: Visit, key: Key) -> Entry | None:
        """Waits for the same request under way, or leads; then asks the tier by meaning."""
        if not visit.said.write or visit.said.only_if_cached:
            return await self._meant(visit, key)
        asked = _flight_of(key)
        ends = time.monotonic() + WAIT
        while not self._flights.lead(asked):
            began = time.perf_counter()
            landed = await self._flights.wait(asked, ends - time.monotonic())
            self.counts.took("wait", time.perf_counter() - began)
            if isinstance(landed, Shared) and self._is_fresh(visit, landed.entry):
                return self._join(visit, landed)
            if landed is not Landing.FAILED:
                visit.reason = "alone"
                return None
        visit.leads = True
        entry = await self._elsewhere(visit, key) or await self._meant(visit, key)
        if entry is not None:
            self._land(visit, Shared(entry, visit.tier, visit.similarity))
        return entry

    def _join(self, visit: Visit, landed: Shared) -> Entry:
        self.counts.joined += 1
        visit.tier, visit.similarity = landed.tier, landed.similarity
        return landed.entry

    async def _elsewhere(self, visit: Visit, key: Key) -> Entry | None:
        """What another process brings that asks the same, if one does."""
        if self._leases is None or await self._leases.take(key.digest):
            return None
        await self._leases.landed(key.digest, WAIT)
        entry = await self._exact(visit, key)
        if entry is not None:
            self.counts.joined += 1
        else:
            await self._leases.take(key.digest)  # or another has it: then both ask
        return entry

    async def _meant(self, visit: Visit, key: Key) -> Entry | None:
        if visit.policy.meaning is None:
            return None
        if key.question is None:
            visit.reason = f"ineligible:{key.ineligible}"
            return None
        meanings = self._meanings()
        if meanings is None:
            visit.reason = "embedder"
            return None
        found = await meanings.find(visit, key)
        visit.reason, visit.near = found.reason, found.near
        if not found.serve or found.near is None:
            return None
        if not self._is_fresh(visit, found.near.entry):  # not served, so no checked hit either
            visit.reason, visit.near = "stale", found.near._replace(drawn=False)
            return None
        visit.tier, visit.similarity = Tier.SEMANTIC, found.near.similarity
        return found.near.entry

    def made(self, visit: Visit, ask: Ask, plan: Plan, answered: Answered) -> Entry | None:
        """The entry that an answer makes; None, and counted why, where it may not be kept."""
        key, tape = visit.key, visit.tape
        if key is None or tape is None:
            return None
        given = tape.whole()
        body = given
        if given is not None and ask.stream:
            body = gather(ask.endpoint, given, answered.usage)
        reason = "size" if given is None else "malformed" if body is None else unfit(ask, body)
        if reason is not None or body is None:
            self.counts.not_stored[reason or "malformed"] += 1
            return None
        now = self._clock()
        return Entry(
            key.id,
            ask.endpoint,
            body,
            plan.name,
            answered.provider,
            answered.model,
            now,
            now + visit.policy.ttl,
            answered.usage,
            answered.cost_nanousd,
            visit.said.tags,
            visit.policy.epoch,
            key.partition,
            key.question,
        )

    async def keep(self, visit: Visit, entry: Entry) -> None:
        """Puts an answer where the next one finds it."""
        if await self.answers.put(entry):
            self.counts.stored += 1
        else:
            self.counts.not_stored["store"] += 1
        self._land(visit, Shared(entry))
        meanings = self._meanings() if entry.question is not None else None
        if meanings is not None:
            if visit.near is not None:
                meanings.learn(visit, entry)
            await meanings.keep(visit, entry)

    async def close(self, visit: Visit, answered: bool) -> None:
        """The request has ended: with a whole answer that nobody else may have, or without."""
        if visit.leads:
            self._land(visit, Landing.NOT_KEPT if answered else Landing.FAILED)
        if visit.leads and self._leases is not None and visit.key is not None:
            await self._leases.give_back(visit.key.digest)

    async def purge(self, purge: Purge) -> int:
        """Drops the entries that are named; how many answers those were."""
        meanings = self._opened()
        if meanings is not None:
            await meanings.purge(purge)
        dropped = await self.answers.purge(purge)
        self.counts.purged += dropped
        return dropped

    def meaning_report(self) -> MeaningReport | None:
        """What the tier by meaning says of itself; None where there is none, or none yet."""
        meanings = self._opened()
        return None if meanings is None else meanings.report()

    def _land(self, visit: Visit, landed: Shared | Landing) -> None:
        if visit.leads and not visit.landed and visit.key is not None:
            visit.landed = True  # from now on the next one's flight may have its name
            self._flights.land(_flight_of(visit.key), landed)


def _flight_of(key: Key) -> str:
    """Requests that may be answered by meaning don't share with those that may not."""
    return key.digest if key.question is None else key.digest + "~"
