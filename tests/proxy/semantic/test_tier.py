"""The tier by meaning: why it serves or does not, and what it learns from fresh answers.

Cosines are given, scores follow from them by a formula of `tiers`, and the guards are the real
ones.
"""

import asyncio
import logging
from typing import Any

import pytest

from adapters.base import Usage
from proxy.cache.lookup import Cache
from proxy.cache.types import Entry, Purge
from proxy.cache.visit import Found, Near, Visit
from proxy.semantic import tier as module
from proxy.semantic.calibration import Label
from proxy.semantic.judge import agree
from tests.proxy.cache.entries import NOW, completion, entry
from tests.proxy.semantic.tiers import (
    ASKED,
    OTHERWISE,
    POOL,
    ROOM,
    World,
    score_of,
    visit,
)

CLOSE = {OTHERWISE: 0.95}
CAPITAL = "Tell me the capital city of Australia."
POEM = "Write a poem about the sea."


async def find(world: World, question: str = OTHERWISE, **over: Any) -> Found:
    given = visit(question, **over)
    assert given.key is not None
    return await world.tier.find(given, given.key)


def test_the_formula_of_these_tests_is_on_both_sides_of_the_threshold() -> None:
    assert score_of(0.95) == pytest.approx(0.9526, abs=1e-4)
    assert score_of(0.9) == pytest.approx(0.8808, abs=1e-4)


class TestFind:
    async def test_a_hit(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED)
        found = await find(world)
        assert (found.serve, found.reason) == (True, "")
        assert found.near is not None
        assert found.near.entry == kept
        assert found.near.similarity == pytest.approx(0.95)
        assert found.near.score == pytest.approx(score_of(0.95), abs=1e-5)
        assert (found.near.veto, found.near.drawn) == (None, False)

    async def test_what_is_not_eligible(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        given = visit(OTHERWISE)
        assert given.key is not None
        for key in (given.key._replace(question=None), given.key._replace(partition=None)):
            assert await world.tier.find(given, key) == Found(False, "ineligible")
        world.embedder.asked.clear()
        off = Visit(type(given.policy)(True, 60, 1, "", None), given.said, given.key, "")
        assert await world.tier.find(off, given.key) == Found(False, "ineligible")
        assert world.embedder.asked == []

    async def test_nothing_is_kept(self) -> None:
        assert await find(World(CLOSE)) == Found(False, "none-near")

    async def test_the_floor(self) -> None:
        world = World({OTHERWISE: 0.69})
        await world.keep(ASKED)
        assert await find(world) == Found(False, "floor")
        assert (await find(world, floor=0.68)).reason == "score"

    @pytest.mark.parametrize(
        ("kept", "asked", "guard"),
        [
            ("Where is order 48213?", "Where is order 48231?", "number"),
            ("How do I enable dark mode?", "How do I disable dark mode?", "antonym"),
            ("What is the capital of Spain?", "What is the capital of Portugal?", "entity"),
        ],
    )
    async def test_a_guard_is_named(self, kept: str, asked: str, guard: str) -> None:
        world = World({kept: 0.999, asked: 0.999})
        await world.keep(kept)
        assert await find(world, asked) == Found(False, f"guard:{guard}")
        assert world.counts.stages["guards"].count == 1

    async def test_without_a_threshold_nothing_is_served_but_all_is_learned_from(self) -> None:
        world = World(CLOSE, certified=False)
        kept = await world.keep(ASKED)
        found = await find(world)
        assert (found.serve, found.reason) == (False, "uncertified")
        assert found.near is not None
        assert (found.near.entry, found.near.drawn) == (kept, False)
        strict = World(CLOSE)
        await strict.keep(ASKED)
        assert (await find(strict, max_wrong=0.01)).reason == "uncertified"

    async def test_a_score_below_the_threshold(self) -> None:
        world = World({OTHERWISE: 0.9})
        await world.keep(ASKED)
        found = await find(world)
        assert (found.serve, found.reason) == (False, "score")
        assert found.near is not None
        assert found.near.score == pytest.approx(score_of(0.9), abs=1e-5)

    async def test_one_that_only_reports(self) -> None:
        world = World(CLOSE, draws=0.0)
        await world.keep(ASKED)
        found = await find(world, serves=False)
        assert (found.serve, found.reason) == (False, "shadow")
        assert found.near is not None
        assert not found.near.drawn
        assert world.tier.report().state == "shadow"
        await find(world)
        assert world.tier.report().state == "on"

    @pytest.mark.parametrize(("draws", "drawn"), [(0.049, True), (0.05, False), (0.99, False)])
    async def test_a_share_of_hits_is_checked(self, draws: float, drawn: bool) -> None:
        world = World(CLOSE, draws=draws)
        await world.keep(ASKED)
        found = await find(world, shadow=0.05)
        assert found.serve
        assert found.near is not None
        assert found.near.drawn is drawn

    async def test_one_that_was_wrong_before(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED)
        world.shelf.bad.add(kept.id)
        assert await find(world) == Found(False, "guard:quarantine")

    async def test_an_answer_that_has_gone_is_dropped_and_the_next_one_looked_at(self) -> None:
        world = World(CLOSE | {CAPITAL: 0.97})
        gone, stays = await world.keep(ASKED), await world.keep(CAPITAL)
        question = "Which city is Australia's capital?"
        world.embedder.cosines[question] = 0.9999
        assert await world.answers.purge(Purge(id=gone.id)) == 1
        found = await find(world, question)
        assert found.serve
        assert found.near is not None
        assert found.near.entry == stays
        assert list(world.index.rows) == [stays.id]
        await world.answers.purge(Purge())
        assert await find(world, question) == Found(False, "none-near")
        assert world.index.rows == {}

    async def test_what_has_expired_is_gone(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        world.clock.now += 601
        assert await find(world) == Found(False, "none-near")

    async def test_another_partition(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED, partition="partition-2")
        assert await find(world) == Found(False, "none-near")

    async def test_another_partition_is_not_served_even_if_the_index_finds_it(self) -> None:
        world = World(CLOSE | {CAPITAL: 0.96}, leaks=True)
        await world.keep(ASKED, partition="partition-2")
        assert await world.index.nearest(ROOM, _vector(), 4) != []
        assert await find(world) == Found(False, "none-near")
        mine = await world.keep(CAPITAL)
        found = await find(world)
        assert found.near is not None
        assert found.near.entry == mine

    async def test_the_best_score_serves_not_the_nearest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = World(CLOSE | {CAPITAL: 0.93})
        nearest, better = await world.keep(ASKED), await world.keep(CAPITAL)
        scores = {1.0: 0.91, 0.93: 0.97}

        def score(_: object, old: Any, *__: object) -> float:
            return scores[round(float(old.vector[0]), 3)]

        monkeypatch.setattr(module.pairs, "score", score)
        found = await find(world)
        assert found.near is not None
        assert (found.near.entry, found.near.score) == (better, 0.97)
        await world.answers.purge(Purge(id=better.id))
        found = await find(world)
        assert found.near is not None
        assert (found.near.entry, found.near.score) == (nearest, 0.91)

    async def test_a_threshold_is_the_pools_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        asked = []

        def threshold_for(max_wrong: float, scope: str = "") -> float | None:
            asked.append((max_wrong, scope))
            return None

        monkeypatch.setattr(world.calibration, "threshold_for", threshold_for)
        assert (await find(world, max_wrong=0.125)).reason == "uncertified"
        assert asked == [(0.125, POOL)]

    async def test_neighbours_are_embedded_once(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        world.embedder.asked.clear()
        for _ in range(3):
            await find(world)
        assert world.embedder.asked == [[OTHERWISE], [ASKED], [OTHERWISE], [OTHERWISE]]

    async def test_what_is_kept_ready_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "KEPT_SIDES", 3)
        monkeypatch.setattr(module, "KEPT_READINGS", 2)
        world = World(CLOSE)
        for number in range(8):
            question = f"What is the capital of Australia{'!' * number}"
            world.embedder.cosines[question] = 0.99 - number / 1000
            await world.keep(question)
            assert (await find(world)).serve
        assert (len(world.tier._sides), len(world.tier._readings)) == (3, 2)
        await world.tier.purge(Purge())
        assert (len(world.tier._sides), len(world.tier._readings)) == (0, 0)

    async def test_stages_are_counted(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        await find(world)
        counted = {name: took.count for name, took in world.counts.stages.items()}
        assert counted == {"embed": 3, "search": 1, "guards": 1, "pair": 1}


def _vector() -> Any:
    world = World({})
    return world.embedder._meaning(ASKED).vector


class TestOtherEmbedders:
    async def test_one_without_states_goes_by_the_cosine(self) -> None:
        world = World(CLOSE, id="up/text-embedding", states=False)
        await world.keep(ASKED)
        found = await find(world)
        assert found.serve
        assert found.near is not None
        assert found.near.score == pytest.approx(0.95)

    async def test_another_ones_states_are_not_looked_at(self) -> None:
        world = World({OTHERWISE: 0.89}, id="up/text-embedding")
        await world.keep(ASKED)
        found = await find(world)
        assert found.reason == "score"
        assert found.near is not None
        assert found.near.score == pytest.approx(0.89)

    async def test_no_cosine_is_below_nothing(self) -> None:
        world = World({OTHERWISE: -0.5}, id="up/text-embedding")
        await world.keep(ASKED)
        found = await find(world, floor=-1.0)
        assert found.near is not None
        assert found.near.score == 0

    async def test_a_cosine_never_stands_in_for_a_score(self) -> None:
        """The prior's thresholds are of scores; states that are missing are a miss."""
        world = World(CLOSE, states=False)
        await world.keep(ASKED)
        assert await find(world) == Found(False, "embedder")


class TestTrouble:
    async def test_an_embedder_in_trouble_is_a_miss_and_said_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        world.embedder.failure = "too busy"
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert await find(world) == Found(False, "embedder")
            assert len(caplog.records) == 1
            assert "too busy" in caplog.text
            assert ASKED not in caplog.text
            assert world.tier.report().state == "embedder: too busy"
            world.embedder.failure = None
            assert (await find(world)).serve
            assert world.tier.report().state == "on"
            world.embedder.failure = "too busy"  # comes and goes: not a line each time
            await find(world)
            assert len(caplog.records) == 1
            world.embedder.failure = "gone"
            await find(world)
            assert len(caplog.records) == 2

    async def test_a_neighbour_that_can_not_be_embedded(self) -> None:
        world = World(CLOSE)
        await world.keep(ASKED)
        embed = world.embedder.embed

        async def only_new(texts: Any) -> Any:
            world.embedder.failure = None if OTHERWISE in texts else "too busy"
            return await embed(texts)

        world.embedder.embed = only_new  # type: ignore[method-assign]
        assert await find(world) == Found(False, "embedder")

    async def test_a_question_that_is_too_long_is_not_embedded(self) -> None:
        world = World(CLOSE)
        assert await find(world, "x" * 201) == Found(False, "embedder")
        assert world.embedder.asked == []

    async def test_it_is_counted_as_a_miss(self) -> None:
        world = World(CLOSE)
        world.embedder.failure = "too busy"
        cache = Cache(world.answers, lambda: world.tier, clock=world.clock)
        given = visit(OTHERWISE)
        assert await cache.look_up(given) is None
        assert given.header() == b"miss; reason=embedder"
        assert cache.counts.misses == {"embedder": 1}

    async def test_warming_up_embeds_something_and_fails_quietly(self) -> None:
        world = World({})
        await world.tier.warm()
        assert len(world.embedder.asked) == 1
        world.embedder.failure = "broken"
        await world.tier.warm()
        assert world.tier.failure == "broken"


class TestKeep:
    async def test_it_is_found_by_its_question_for_as_long_as_it_lives(self) -> None:
        world = World({})
        kept = await world.keep(ASKED)
        assert world.index.rows == {kept.id: (ROOM, ASKED, [1.0, 0.0], NOW + 600)}
        assert world.widths == [2]

    async def test_what_was_embedded_to_look_up_is_not_embedded_again(self) -> None:
        world = World(CLOSE)
        given = visit(OTHERWISE)
        assert given.key is not None
        await world.tier.find(given, given.key)
        made = entry("b", question=OTHERWISE, partition=ROOM)
        await world.tier.keep(given, made)
        assert world.embedder.asked == [[OTHERWISE]]
        assert list(world.index.rows) == [made.id]

    @pytest.mark.parametrize("over", [{"question": None}, {"partition": None}])
    async def test_one_without_a_question(self, over: dict[str, None]) -> None:
        world = World({})
        given: dict[str, Any] = {"question": ASKED, "partition": ROOM, **over}
        await world.tier.keep(visit(), entry("a", **given))
        assert (world.index.rows, world.embedder.asked) == ({}, [])

    async def test_one_that_was_wrong_is_not_found_again(self) -> None:
        world = World({})
        made = entry("a", question=ASKED, partition=ROOM)
        world.shelf.bad.add(made.id)
        await world.tier.keep(visit(), made)
        assert world.index.rows == {}

    async def test_an_embedder_in_trouble(self) -> None:
        world = World({})
        world.embedder.failure = "too busy"
        await world.tier.keep(visit(), entry("a", question=ASKED, partition=ROOM))
        assert world.index.rows == {}

    async def test_a_purged_entry_goes_at_once(self) -> None:
        world = World({})
        kept, other = await world.keep(ASKED), await world.keep(CAPITAL)
        await world.tier.purge(Purge(id=kept.id))
        assert list(world.index.rows) == [other.id]


async def idle() -> None:
    """Returns when the comparisons in the background are done."""
    async with asyncio.timeout(5):
        while any(t.get_name() == "compare two answers" for t in asyncio.all_tasks()):
            await asyncio.sleep(0)


async def learn(
    world: World, kept: Entry, fresh: str, drawn: bool = False, question: str = OTHERWISE
) -> None:
    """A fresh answer to a question that `kept` was near to."""
    given = visit(question, shadow=0.05)
    given.near = Near(kept, 0.95, 0.9526, drawn=drawn)
    made = entry(
        "fresh", body=completion(fresh), question=question, usage=Usage(9, 3), cost_nanousd=39_000
    )
    world.tier.learn(given, made)
    await idle()


class TestLearn:
    @pytest.mark.parametrize(
        ("fresh", "right"),
        [("The capital of Australia is Canberra.", True), ("It is Sydney.", False)],
    )
    async def test_a_near_miss(self, fresh: str, right: bool) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED, "Canberra is the capital of Australia.")
        await learn(world, kept, fresh)
        label = Label(0.9526, right, 1.0, "near_miss", NOW, POOL)
        assert world.shelf.noted == [(label, kept.id)]
        assert world.calibration.size == 1
        assert (world.tier.shadow_requests, world.tier.shadow_nanousd) == (0, 0)
        assert await world.answers.get(kept.id) == kept
        assert list(world.index.rows) == [kept.id]

    async def test_a_checked_hit_stands_for_those_that_were_not(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED, "Canberra is the capital of Australia.")
        await learn(world, kept, "The capital of Australia is Canberra.", drawn=True)
        ((label, name),) = world.shelf.noted
        assert label == Label(0.9526, True, pytest.approx(20.0), "shadow", NOW, POOL)
        assert name == kept.id
        assert (world.tier.shadow_requests, world.tier.shadow_nanousd) == (1, 39_000)
        assert await world.answers.get(kept.id) == kept
        rate = world.calibration.estimate()
        assert (rate.rate, rate.labels) == (0.0, 1)

    async def test_a_checked_hit_that_was_wrong_serves_nobody_any_more(self) -> None:
        world = World(CLOSE)
        kept, other = await world.keep(ASKED, "Canberra."), await world.keep(CAPITAL)
        await learn(world, kept, "It is Sydney.", drawn=True)
        ((label, _),) = world.shelf.noted
        assert (label.right, label.source) == (False, "shadow")
        assert await world.answers.get(kept.id) is None
        assert await world.answers.get(other.id) == other
        assert list(world.index.rows) == [other.id]
        assert world.calibration.estimate().rate == 1.0

    async def test_where_nobody_can_tell_there_is_no_label(self) -> None:
        old, new = "The sea is wide and blue and deep.", "Waves roll on below a silver moon."
        assert agree(POEM, new, old, 0.95) is None
        world = World({POEM: 0.9, old: 0.9, new: 0.95})
        kept = await world.keep("Write a sea poem.", old)
        await learn(world, kept, new, drawn=True, question=POEM)
        assert world.shelf.noted == []
        assert world.calibration.size == 0
        assert world.tier.shadow_requests == 1
        assert await world.answers.get(kept.id) == kept

    async def test_what_was_not_near_teaches_nothing(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED)
        for near in (None, Near(kept, 0.9), Near(kept, 0.9, veto="number")):
            given = visit(OTHERWISE)
            given.near = near
            world.tier.learn(given, entry("fresh", body=completion("Sydney.")))
        await idle()
        assert world.shelf.noted == []

    async def test_an_embedder_in_trouble_leaves_it_to_the_words(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED, "Canberra is the capital of Australia.")
        world.embedder.failure = "too busy"
        await learn(world, kept, "The capital of Australia is Canberra.")
        assert [label.right for label, _ in world.shelf.noted] == [True]

    async def test_of_long_answers_the_beginnings_are_embedded(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED, "Canberra. " * 100)
        world.embedder.asked.clear()
        await learn(world, kept, "It is Canberra. " * 100)
        assert [len(text) for text in world.embedder.asked[0]] == [200, 200]

    async def test_more_than_can_be_compared_are_left_undone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LABELLING", 0)
        world = World(CLOSE)
        kept = await world.keep(ASKED)
        await learn(world, kept, "It is Sydney.", drawn=True)
        assert world.shelf.noted == []
        assert world.tier.shadow_requests == 1  # it was paid all the same

    async def test_faultless_labels_open_what_a_wrong_one_closes(self) -> None:
        """From nothing to a certified threshold, with the real calibration."""
        world = World(CLOSE, certified=False)
        kept = await world.keep(ASKED, "Canberra is the capital of Australia.")
        assert (await find(world)).reason == "uncertified"
        for _ in range(100):
            await learn(world, kept, "The capital of Australia is Canberra.")
        assert (await find(world)).serve
        assert world.tier.report().certified
        assert (await find(world, max_wrong=0.01)).reason == "uncertified"


class TestReport:
    async def test_the_first_questions_are_counted_one_by_one(self) -> None:
        world = World(CLOSE)
        for number, question in enumerate((ASKED, CAPITAL, POEM), start=1):
            await world.keep(question)
            assert world.tier.report().entries == number

    async def test_it_counts_what_there_is(self) -> None:
        world = World(CLOSE)
        kept = await world.keep(ASKED, "Canberra is the capital of Australia.")
        await find(world, max_wrong=0.05)
        await find(world, max_wrong=0.01)
        await learn(world, kept, "It is Sydney.")
        world.shelf.bad.add("x")
        report = world.tier.report()
        assert (report.state, report.embedder) == ("on", "a-model/1")
        assert (report.entries, report.labels, report.quarantined) == (1, 1, 1)
        assert report.thresholds == {"0.01": None, "0.05": 0.9}
        assert not report.certified
        assert (report.wrong.rate, report.wrong.labels) == (None, 0)
