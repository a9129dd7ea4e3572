"""The cache as the pipeline uses it: open, look up, keep, close."""

import asyncio
from typing import Any

import orjson
import pytest

from adapters.base import Ask, Endpoint, Usage
from proxy.cache import lookup
from proxy.cache.answers import LocalAnswers
from proxy.cache.lookup import Answered, Cache
from proxy.cache.policy import NO_TASK
from proxy.cache.report import MeaningReport, WrongRate
from proxy.cache.types import Entry, Key, Purge, Tier
from proxy.cache.visit import TAPE_LIMIT, Found, Near, Visit
from proxy.config_types import CacheSection, SemanticSection, TaskCache
from proxy.errors import InvalidRequest
from proxy.types import OwnCache
from tests.adapters.asks import ask
from tests.proxy.cache.entries import NOW, PLAN, Clock, call, completion, entry

BY = Answered("up", "m", Usage(9, 3), 39_000)
MEANT = CacheSection(semantic=SemanticSection(enabled=True))
QUESTION = ask(messages=[{"role": "user", "content": "Who made the clock?"}], temperature=0)


REPORT = MeaningReport(
    "on", "minilm", 1, 0, 0, WrongRate(None, None, None, 0), {}, [], 0, 0, certified=False
)


class Meanings:
    """A tier by meaning that finds what it is told to."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.asked: list[str | None] = []
        self.kept: list[Entry] = []
        self.learned: list[Entry] = []
        self.purged: list[Purge] = []
        self.gate: asyncio.Event | None = None

    async def find(self, visit: Visit, key: Key) -> Found:
        self.asked.append(key.question)
        return self.found

    async def keep(self, visit: Visit, entry: Entry) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.kept.append(entry)

    def learn(self, visit: Visit, fresh: Entry) -> None:
        self.learned.append(fresh)

    async def purge(self, purge: Purge) -> None:
        self.purged.append(purge)

    def report(self) -> MeaningReport:
        return REPORT


class Leases:
    """Leases of which another process may have some."""

    def __init__(self, *others: str) -> None:
        self.others = set(others)
        self.log: list[tuple[str, str]] = []
        self.end = asyncio.Event()

    async def take(self, digest: str) -> bool:
        self.log.append(("take", digest))
        return digest not in self.others

    async def landed(self, digest: str, seconds: float) -> None:
        self.log.append(("wait", digest))
        async with asyncio.timeout(seconds):
            await self.end.wait()

    async def give_back(self, digest: str) -> None:
        self.log.append(("give back", digest))


class World:
    """A cache with a clock, and requests at it."""

    def __init__(self, meanings: Meanings | None = None, leases: Leases | None = None) -> None:
        self.clock = Clock()
        self.answers = LocalAnswers(1 << 20, self.clock)
        self.cache = Cache(self.answers, lambda: meanings, leases, self.clock)

    def open(
        self, said: str | None = None, given: Ask = QUESTION, section: CacheSection | None = None
    ) -> Visit:
        section = section or CacheSection()
        return self.cache.open(section, NO_TASK, call(given, cache=said), PLAN, given)

    async def keep(
        self, visit: Visit, text: str = "Huygens", finish: str = "stop", given: Ask = QUESTION
    ) -> Entry | None:
        """What the pipeline does with an answer."""
        if visit.tape is not None:
            visit.tape.take(completion(text, finish))
        made = self.cache.made(visit, given, PLAN, BY)
        if made is not None:
            await self.cache.keep(visit, made)
        await self.cache.close(visit, True)
        return made

    async def ask(self, said: str | None = None, text: str = "Huygens") -> str:
        """One request from its beginning to its end; its header."""
        visit = self.open(said)
        if await self.cache.look_up(visit) is None:
            await self.keep(visit, text)
        else:
            await self.cache.close(visit, True)
        return visit.header().decode()


def flights(world: World) -> int:
    return len(world.cache._flights)


class TestOpen:
    def test_a_request_that_may_be_cached_has_a_key(self) -> None:
        visit = World().open()
        assert visit.key is not None
        assert len(visit.key.digest) == 32
        assert (visit.reason, visit.leads, visit.tape) == ("", False, None)

    def test_what_is_not_for_the_cache_is_counted(self) -> None:
        world = World()
        assert world.open("no-store").header() == b"bypass; reason=no-store"
        assert world.open(given=ask(temperature=2)).header() == b"bypass; reason=temperature"
        off = world.open(section=CacheSection(enabled=False))
        assert off.header() == b"bypass; reason=disabled"
        assert world.cache.counts.bypasses == {"no-store": 1, "temperature": 1, "disabled": 1}

    def test_what_can_not_be_written_down_is_left_alone(self) -> None:
        deep: Any = 1
        for _ in range(300):
            deep = {"a": deep}
        given = QUESTION._replace(body={**QUESTION.body, "x": deep})
        assert World().open(given=given).header() == b"bypass; reason=body"

    def test_a_wrong_directive_is_the_requests_fault(self) -> None:
        with pytest.raises(InvalidRequest):
            World().open("no-cash")

    def test_a_key_may_turn_it_off(self) -> None:
        world = World()
        given = call(QUESTION)
        principal = given.principal._replace(cache=OwnCache(enabled=False))
        given = given._replace(principal=principal)
        visit = world.cache.open(CacheSection(), TaskCache(enabled=True), given, PLAN, QUESTION)
        assert visit.header() == b"bypass; reason=disabled"


class TestExact:
    async def test_what_was_answered_is_a_hit_with_its_age(self) -> None:
        world = World()
        assert await world.ask() == "miss"
        world.clock.now += 7.5
        assert await world.ask() == "hit; tier=exact; sim=1.00; age=7"
        counts = world.cache.counts
        assert (counts.hits, counts.misses, counts.stored) == ({"exact": 1}, {"new": 1}, 1)
        assert (counts.saved_nanousd, counts.saved_tokens) == (39_000, 12)
        assert counts.stages["exact"].count == 2
        assert flights(world) == 0

    async def test_the_time_it_is_kept_is_the_policys(self) -> None:
        world = World()
        visit = world.open(section=CacheSection(ttl=5.0, epoch="v2"), said="tag=docs")
        await world.cache.look_up(visit)
        made = await world.keep(visit)
        assert made is not None
        assert visit.key is not None
        assert made == Entry(
            id=visit.key.id,
            endpoint=Endpoint.CHAT,
            body=completion("Huygens"),
            name="fast",
            provider="up",
            model="m",
            stored_at=NOW,
            expires_at=NOW + 5,
            usage=Usage(9, 3),
            cost_nanousd=39_000,
            tags=("docs",),
            epoch="v2",
        )

    async def test_no_cache_asks_and_keeps_what_is_new(self) -> None:
        world = World()
        await world.ask(text="old")
        assert await world.ask("no-cache", "new") == "miss; reason=no-cache"
        (kept,) = world.answers.entries()
        assert b'"new"' in kept.body

    async def test_max_age(self) -> None:
        world = World()
        await world.ask()
        world.clock.now += 10
        assert await world.ask("max-age=10") == "hit; tier=exact; sim=1.00; age=10"
        assert await world.ask("max-age=9") == "miss"
        assert await world.ask("max-age=9") == "hit; tier=exact; sim=1.00; age=0"

    async def test_only_if_cached_leads_nobody(self) -> None:
        world = World()
        visit = world.open("only-if-cached")
        assert await world.cache.look_up(visit) is None
        assert (visit.leads, flights(world)) == (False, 0)

    async def test_a_purge_drops_and_counts(self) -> None:
        meanings = Meanings(Found(False, "none"))
        world = World(meanings)
        await world.ask()
        assert await world.cache.purge(Purge()) == 1
        assert meanings.purged == [Purge()]
        assert await world.ask() == "miss"
        assert world.cache.counts.purged == 1

    async def test_to_purge_and_to_report_brings_no_tier_about(self) -> None:
        brought: list[str] = []

        def bring() -> Meanings:
            brought.append("one")
            return Meanings(Found(False, "none"))

        cache = Cache(LocalAnswers(1 << 20), bring, opened=lambda: None)
        assert await cache.purge(Purge()) == 0
        assert cache.meaning_report() is None
        assert brought == []

    def test_the_report_is_that_of_the_tier_by_meaning(self) -> None:
        assert World(Meanings(Found(False, "none"))).cache.meaning_report() == REPORT
        assert World().cache.meaning_report() is None


class TestMade:
    async def test_a_stream_is_kept_as_the_body_it_stands_for(self) -> None:
        world = World()
        given = QUESTION._replace(stream=True)
        visit = world.open(given=given)
        await world.cache.look_up(visit)
        assert visit.tape is not None
        shared = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        for delta, finish in (({"content": "Huy"}, None), ({"content": "gens"}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            visit.tape.take(b"data: " + orjson.dumps(shared | {"choices": [choice]}) + b"\n\n")
        visit.tape.take(b"data: [DONE]\n\n")
        made = world.cache.made(visit, given, PLAN, BY)
        assert made is not None
        body = orjson.loads(made.body)
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == "Huygens"
        assert body["usage"]["total_tokens"] == 12

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            (completion("Huy", "length"), "finish_length"),
            (completion("Huy", "tool_calls"), "tool_call"),
            (completion(" "), "empty"),
            (b"{}", "malformed"),
            (b"x" * (TAPE_LIMIT + 1), "size"),
        ],
        ids=["length", "tool call", "empty", "malformed", "size"],
    )
    async def test_what_may_not_be_kept_is_counted(self, given: bytes, reason: str) -> None:
        world = World()
        visit = world.open()
        await world.cache.look_up(visit)
        assert visit.tape is not None
        visit.tape.take(given)
        assert world.cache.made(visit, QUESTION, PLAN, BY) is None
        assert world.cache.counts.not_stored == {reason: 1}

    async def test_a_stream_that_is_cut_is_malformed(self) -> None:
        world = World()
        given = QUESTION._replace(stream=True)
        visit = world.open(given=given)
        await world.cache.look_up(visit)
        assert visit.tape is not None
        visit.tape.take(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
        assert world.cache.made(visit, given, PLAN, BY) is None
        assert world.cache.counts.not_stored == {"malformed": 1}

    def test_of_what_has_nothing_to_do_with_the_cache_nothing_is_made(self) -> None:
        world = World()
        visit = world.open("no-store")
        assert world.cache.made(visit, QUESTION, PLAN, BY) is None
        assert world.cache.counts.not_stored == {}

    async def test_what_the_store_does_not_take_is_counted(self) -> None:
        world = World()
        world.answers.max_bytes = 100
        await world.ask()
        assert world.cache.counts.not_stored == {"store": 1}
        assert world.cache.counts.stored == 0


async def crowd(world: World, count: int, **over: Any) -> list["asyncio.Task[Visit]"]:
    """Requests that look up at the same time, as far as they get."""

    async def look_up() -> Visit:
        visit = world.open(**over)
        await world.cache.look_up(visit)
        return visit

    tasks = [asyncio.ensure_future(look_up()) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


class TestSingleFlight:
    async def test_those_who_wait_have_the_leaders_answer(self) -> None:
        world = World()
        leader, *others = await crowd(world, 10)
        assert leader.done()
        assert leader.result().leads
        assert not any(task.done() for task in others)
        await world.keep(leader.result())
        visits = await asyncio.gather(*others)
        assert {visit.header() for visit in visits} == {b"hit; tier=exact; sim=1.00; age=0"}
        counts = world.cache.counts
        assert (counts.joined, counts.hits["exact"], counts.misses["new"]) == (9, 9, 1)
        assert counts.stages["wait"].count == 9
        assert flights(world) == 0

    async def test_a_leader_that_fails_is_followed(self) -> None:
        world = World()
        leader, second, third = await crowd(world, 3)
        await world.cache.close(leader.result(), False)
        await asyncio.sleep(0.01)
        assert second.done()
        assert second.result().leads
        assert not third.done()
        await world.keep(second.result())
        assert (await third).entry is not None

    async def test_an_answer_that_is_not_kept_is_nobody_elses(self) -> None:
        world = World()
        leader, *others = await crowd(world, 5)
        await world.keep(leader.result(), finish="length")
        visits = await asyncio.gather(*others)
        assert {visit.header() for visit in visits} == {b"miss; reason=alone"}
        assert not any(visit.leads for visit in visits)
        assert world.cache.counts.misses == {"new": 1, "alone": 4}
        await asyncio.gather(*(world.keep(visit) for visit in visits))
        assert await world.ask() == "hit; tier=exact; sim=1.00; age=0"

    async def test_an_answer_that_is_too_old_for_one_is_not_given_to_it(self) -> None:
        world = World()
        leader, other = await crowd(world, 2, said="max-age=5")
        made = entry(stored_at=NOW - 6, id=leader.result().key.id)
        await world.cache.keep(leader.result(), made)
        assert (await other).header() == b"miss; reason=alone"

    async def test_who_waits_too_long_asks_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup, "WAIT", 0.05)
        world = World()
        leader, other = await crowd(world, 2)
        assert (await other).header() == b"miss; reason=alone"
        assert flights(world) == 1
        await world.cache.close(leader.result(), False)
        assert flights(world) == 0

    async def test_who_leaves_while_it_waits_is_not_missed(self) -> None:
        world = World()
        leader, gone, stays = await crowd(world, 3)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await world.keep(leader.result())
        assert (await stays).entry is not None
        assert flights(world) == 0

    @pytest.mark.parametrize("said", ["no-cache", "only-if-cached"])
    async def test_who_has_no_use_for_anothers_answer_waits_for_none(self, said: str) -> None:
        world = World()
        leader, *_ = await crowd(world, 2)
        visit = world.open(said)
        async with asyncio.timeout(1):
            assert await world.cache.look_up(visit) is None
        assert not visit.leads
        await world.cache.close(visit, True)
        assert flights(world) == 1
        await world.keep(leader.result())

    async def test_another_request_does_not_wait(self) -> None:
        world = World()
        await crowd(world, 2)
        async with asyncio.timeout(1):
            visit = world.open(given=ask(seed=1))
            await world.cache.look_up(visit)
        assert visit.leads

    async def test_a_leader_that_has_landed_does_not_end_the_next_ones_flight(self) -> None:
        """The tiers may take their time to keep an answer that all who waited already have."""
        meanings = Meanings(Found(False, "none"))
        meanings.gate = asyncio.Event()
        world = World(meanings)
        first, *_ = await crowd(world, 1, section=MEANT)
        keeping = asyncio.ensure_future(world.keep(first.result()))
        await asyncio.sleep(0.01)
        world.clock.now += 10
        second, third = await crowd(world, 2, section=MEANT, said="max-age=5")
        assert second.result().leads
        meanings.gate.set()
        await keeping
        await asyncio.sleep(0.01)
        assert not third.done()
        await world.keep(second.result())
        assert (await third).header() == b"hit; tier=exact; sim=1.00; age=0"


NEAR = Near(entry("near", stored_at=NOW - 3), 0.9312, 0.999)


class TestMeaning:
    async def test_what_serves_is_a_hit(self) -> None:
        world = World(Meanings(Found(True, "", NEAR)))
        visit = world.open(section=MEANT)
        assert await world.cache.look_up(visit) == NEAR.entry
        assert visit.header() == b"hit; tier=semantic; sim=0.93; age=3"
        assert world.cache.counts.hits == {"semantic": 1}
        await world.cache.close(visit, True)
        assert flights(world) == 0

    async def test_the_exact_tier_comes_first(self) -> None:
        meanings = Meanings(Found(True, "", NEAR))
        world = World(meanings)
        visit = world.open("no-cache", section=MEANT)
        await world.cache.look_up(visit)
        await world.keep(visit)
        again = world.open(section=MEANT)
        await world.cache.look_up(again)
        assert again.header() == b"hit; tier=exact; sim=1.00; age=0"
        assert meanings.asked == []

    @pytest.mark.parametrize("near", [None, NEAR])
    async def test_what_does_not_serve_says_why_and_is_learned_from(
        self, near: Near | None
    ) -> None:
        meanings = Meanings(Found(False, "guard:numbers", near))
        world = World(meanings)
        visit = world.open(section=MEANT)
        assert await world.cache.look_up(visit) is None
        assert visit.header() == b"miss; reason=guard:numbers"
        made = await world.keep(visit)
        assert made is not None
        assert (made.question, made.partition) == ("Who made the clock?", visit.key.partition)
        assert meanings.kept == [made]
        assert meanings.learned == ([made] if near else [])

    async def test_an_answer_that_is_too_old_does_not_serve(self) -> None:
        world = World(Meanings(Found(True, "", NEAR._replace(drawn=True))))
        visit = world.open("max-age=2", section=MEANT)
        assert await world.cache.look_up(visit) is None
        assert visit.header() == b"miss; reason=stale"
        assert visit.near is not None
        assert not visit.near.drawn  # what is not served is no hit to be checked

    async def test_without_an_embedder_it_is_a_miss(self) -> None:
        world = World(None)
        visit = world.open(section=MEANT)
        assert await world.cache.look_up(visit) is None
        assert visit.header() == b"miss; reason=embedder"

    async def test_what_is_not_eligible_is_not_asked_for(self) -> None:
        meanings = Meanings(Found(True, "", NEAR))
        world = World(meanings)
        visit = world.open(section=MEANT, given=QUESTION._replace(body={**QUESTION.body, "n": 2}))
        assert await world.cache.look_up(visit) is None
        assert visit.header() == b"miss; reason=ineligible:choices"
        assert meanings.asked == []

    @pytest.mark.parametrize("said", ["exact", None])
    async def test_who_does_not_want_it_has_none(self, said: str | None) -> None:
        meanings = Meanings(Found(True, "", NEAR))
        world = World(meanings)
        section = MEANT if said else CacheSection()
        visit = world.open(said, section=section)
        assert await world.cache.look_up(visit) is None
        assert meanings.asked == []

    async def test_only_if_cached_may_have_it(self) -> None:
        world = World(Meanings(Found(True, "", NEAR)))
        visit = world.open("only-if-cached", section=MEANT)
        assert await world.cache.look_up(visit) == NEAR.entry
        assert flights(world) == 0

    async def test_a_hit_by_meaning_is_shared_with_its_likeness(self) -> None:
        world = World(Meanings(Found(True, "", NEAR)))
        gate, real = asyncio.Event(), world.cache._meant

        async def slow(visit: Visit, key: Key) -> Entry | None:
            await gate.wait()
            return await real(visit, key)

        world.cache._meant = slow  # type: ignore[method-assign]
        tasks = await crowd(world, 4, section=MEANT)
        assert not any(task.done() for task in tasks)
        gate.set()
        visits = await asyncio.gather(*tasks)
        assert {visit.header() for visit in visits} == {b"hit; tier=semantic; sim=0.93; age=3"}
        assert world.cache.counts.joined == 3

    async def test_who_may_not_have_it_does_not_get_it_from_a_leader(self) -> None:
        """One request asks for it whatever its temperature, the same one without does not."""
        meanings = Meanings(Found(True, "", NEAR))
        world = World(meanings)
        warm = QUESTION._replace(body={**QUESTION.body, "temperature": 0.9})
        gate, real = asyncio.Event(), world.cache._meant

        async def slow(visit: Visit, key: Key) -> Entry | None:
            await gate.wait()
            return await real(visit, key)

        world.cache._meant = slow  # type: ignore[method-assign]
        (wants,) = await crowd(world, 1, said="semantic", given=warm, section=MEANT)
        (plain,) = await crowd(world, 1, given=warm, section=MEANT)
        gate.set()
        assert (await wants).tier is Tier.SEMANTIC
        assert (await plain).header() == b"miss; reason=ineligible:temperature"


class TestLeases:
    async def test_who_has_the_lease_leads_and_gives_it_back(self) -> None:
        leases = Leases()
        world = World(leases=leases)
        visit = world.open()
        await world.cache.look_up(visit)
        digest = visit.key.digest
        await world.keep(visit)
        assert leases.log == [("take", digest), ("give back", digest)]

    @pytest.mark.parametrize("answered", [True, False])
    async def test_it_is_given_back_however_it_ends(self, answered: bool) -> None:
        leases = Leases()
        world = World(leases=leases)
        visit = world.open()
        await world.cache.look_up(visit)
        await world.cache.close(visit, answered)
        assert leases.log[-1][0] == "give back"

    async def test_another_processes_answer_is_waited_for(self) -> None:
        world = World()
        digest = world.open().key.digest
        leases = Leases(digest)
        world.cache = Cache(world.answers, lambda: None, leases, world.clock)
        first, second = await crowd(world, 2)
        assert not first.done()
        assert leases.log == [("take", digest), ("wait", digest)]
        await world.answers.put(entry(id=f"llm:cache:-:{digest}"))
        leases.end.set()
        visits = await asyncio.gather(first, second)
        assert {visit.header() for visit in visits} == {b"hit; tier=exact; sim=1.00; age=0"}
        assert world.cache.counts.joined == 2
        assert flights(world) == 0

    async def test_where_it_brings_none_the_provider_is_asked(self) -> None:
        world = World()
        digest = world.open().key.digest
        leases = Leases(digest)
        leases.end.set()
        world.cache = Cache(world.answers, lambda: None, leases, world.clock)
        visit = world.open()
        assert await world.cache.look_up(visit) is None
        assert visit.leads
        assert leases.log == [("take", digest), ("wait", digest), ("take", digest)]
