"""Conversations on both databases: whose they are, in which order, whole or not at all."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from proxy.conversations import Conversations, Said, Took, Turn, is_id, new_id
from proxy.storage.schema import conversations, messages
from tests.servers import database, engine

__all__ = ["database", "engine"]

ASKED = Said("user", "Hello")
ANSWERED = Said("assistant", "Hi")
TOOK = Took("up/m", "req1", 11, 4, 2500)


def turn(place: str, is_new: bool = True, *said: Said, title: str | None = "T") -> Turn:
    return Turn(place, is_new, "up/m", title, said or (ASKED,), ANSWERED, TOOK)


async def count(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        found = [
            (await connection.execute(select(func.count()).select_from(table))).scalar()
            for table in (conversations, messages)
        ]
    return found[0] or 0, found[1] or 0


async def test_a_turn_is_kept_in_order(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    parts = [{"type": "text", "text": "a\0b"}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    said = (Said("system", "Be brief"), Said("user", parts), Said.of(call))
    answer_id = await store.add("u1", turn(place, True, *said))
    kept, has_more = await store.messages("u1", place, 10)
    assert not has_more
    assert [each.said.message() for each in kept] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a\0b"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
        {"role": "assistant", "content": "Hi"},
    ]
    assert [each.took for each in kept] == [Took(None, None, 0, 0, None)] * 3 + [TOOK]
    assert kept[-1].id == answer_id
    found = await store.get("u1", place)
    assert found is not None
    assert (found.id, found.model, found.title) == (place, "up/m", "T")
    assert found.created_at == found.updated_at > 1_700_000_000_000


async def test_a_second_turn_goes_on(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    await store.add("u1", turn(place))
    assert await store.add("u1", turn(place, False, Said("user", "More"), title=None))
    texts = [each.content for each in await store.history("u1", place)]
    assert texts == ["Hello", "Hi", "More", "Hi"]
    found = await store.get("u1", place)
    assert found is not None
    assert found.title == "T"
    page = await store.messages("u1", place, 2, 1)
    assert [each.said.content for each in page.messages] == ["Hi", "More"]
    assert page.has_more


async def test_nothing_of_somebody_else_is_there(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    await store.add("u1", turn(place))
    assert await store.get("u2", place) is None
    assert await store.messages("u2", place, 10) == ([], False)
    assert await store.history("u2", place) == []
    assert await store.list("u2", 10) == []
    assert await store.add("u2", turn(place, False)) is None
    assert not await store.delete("u2", place)
    assert await count(engine) == (1, 2)


async def test_the_newest_comes_first(engine: AsyncEngine) -> None:
    store = Conversations(engine)
    places = sorted(new_id() for _ in range(5))
    for place in places:
        await store.add("u1", turn(place))
    await store.add("u1", turn(places[0], False))
    assert [found.id for found in await store.list("u1", 10)] == places[::-1]
    assert [found.id for found in await store.list("u1", 2, 1)] == [places[3], places[2]]


async def test_delete_takes_the_messages_along(engine: AsyncEngine) -> None:
    store, place, other = Conversations(engine), new_id(), new_id()
    await store.add("u1", turn(place))
    await store.add("u1", turn(other))
    assert await store.delete("u1", place)
    assert not await store.delete("u1", place)
    assert await count(engine) == (1, 2)
    assert await store.add("u1", turn(place, False)) is None
    assert await count(engine) == (1, 2)


async def test_all_of_an_owner_goes(engine: AsyncEngine) -> None:
    store = Conversations(engine)
    for owner in ("u1", "u1", "u2"):
        await store.add(owner, turn(new_id()))
    assert await store.delete_all("u1") == 2
    assert await count(engine) == (1, 2)
    assert len(await store.list("u2", 10)) == 1
    assert await store.delete_all("u1") == 0


async def test_a_turn_is_kept_whole_or_not_at_all(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    broken = turn(place)._replace(took=TOOK._replace(input_tokens=None))  # type: ignore[arg-type]
    with pytest.raises(SQLAlchemyError):
        await store.add("u1", broken)
    assert await count(engine) == (0, 0)


async def test_a_long_history_is_cut_before_a_question(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    first = (Said("system", "Be brief"), Said("user", "0"))
    await store.add("u1", turn(place, True, *first))
    for number in range(1, 100):
        await store.add("u1", turn(place, False, Said("user", str(number))))
    await store.add("u1", turn(place, False, Said("user", "100"), Said("user", "101")))
    history = await store.history("u1", place)
    # 204 are kept. The last 200 begin with the answer to "1", which is nothing without it.
    assert history[0] == Said("system", "Be brief", {})
    assert history[1] == Said("user", "2", {})
    assert [said.content for said in history[-3:]] == ["100", "101", "Hi"]
    assert len(history) == 200


async def test_a_history_is_cut_by_its_length_too(engine: AsyncEngine) -> None:
    store, place, long = Conversations(engine), new_id(), "é" * 299_998  # with quotes 300,000
    await store.add("u1", turn(place, True, Said("system", "Be brief"), Said("user", "0")))
    for number in range(1, 5):
        question = Said("user", str(number) + long[1:])
        await store.add("u1", turn(place, False, question))
    history = await store.history("u1", place)
    # Three questions and their answers are 900,012 characters; a fourth would not fit.
    assert [(said.role, said.content[:2]) for said in history] == [
        ("system", "Be"),
        *[pair for n in "234" for pair in (("user", f"{n}é"), ("assistant", "Hi"))],
    ]


async def test_other_fields_count_for_the_length(engine: AsyncEngine) -> None:
    store, place = Conversations(engine), new_id()
    for number in range(3):
        call = {"role": "user", "content": str(number), "more": "x" * 400_000}
        await store.add("u1", turn(place, number == 0, Said.of(call)))
    assert [said.content for said in await store.history("u1", place)] == ["1", "Hi", "2", "Hi"]


async def test_pages_end_where_they_are_long(engine: AsyncEngine) -> None:
    store, place, long = Conversations(engine), new_id(), "x" * 500_000
    said = [Said("user", f"{number}{long}") for number in range(5)]
    await store.add("u1", turn(place, True, *said))
    shown = []
    for offset in (0, 2, 4):
        page = await store.messages("u1", place, 100, offset)
        shown.append(([each.said.content[:2] for each in page.messages], page.has_more))
    assert shown == [(["0x", "1x"], True), (["2x", "3x"], True), (["4x", "Hi"], False)]


async def test_a_message_that_is_too_long_is_not_kept(engine: AsyncEngine) -> None:
    store, place, other = Conversations(engine), new_id(), new_id()
    around = len('{"role":"user","content":""}')
    fits = Said("user", "é" * ((1_048_576 - around) // 2))
    assert await store.add("u1", turn(place, True, fits))
    assert len(await store.history("u1", place)) == 2
    long = Said("user", "x" * (1_048_577 - around))
    assert await store.add("u1", turn(other, True, ASKED, long)) is None
    assert await store.add("u1", turn(other)._replace(answer=long)) is None
    assert await count(engine) == (1, 2)


def test_ids() -> None:
    assert is_id(new_id())
    assert is_id("01890a5d-ac96-774b-bcce-b302099a8057")
    for wrong in ("", "x", "01890A5D-AC96-774B-BCCE-B302099A8057", "a\0b", "0" * 32):
        assert not is_id(wrong), wrong
