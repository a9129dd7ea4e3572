"""Conversations that are kept: who said what, in which order, and what it took.

Each belongs to one owner, whom every query carries: somebody else's is not there.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from proxy.ids import uuid7
from proxy.storage.schema import conversations, messages

LONGEST_HISTORY = 200  # messages of a conversation that go before the new ones
INSTRUCTIONS = ("system", "developer")
"""Roles whose messages still hold when the ones after them are too long ago."""

MOST_INSTRUCTIONS = 10  # of them, from before the history
MOST_LENGTH = 1024 * 1024
"""How long a message may be that is kept, in bytes of JSON; and how long all of a history, of the
instructions from before it, or of a page of messages may be, in characters of it."""

NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


class Said(NamedTuple):
    """A message as OpenAI has it: `content` is a text, a list of parts or None; `more` are its
    other fields."""

    role: str
    content: Any
    more: Mapping[str, Any] = NOTHING_MORE

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "Said":
        more = {k: v for k, v in message.items() if k not in ("role", "content")}
        return cls(message["role"], message.get("content"), more)

    def message(self) -> dict[str, Any]:
        """The message in OpenAI's shape."""
        return {"role": self.role, "content": self.content, **self.more}


class Took(NamedTuple):
    """Who gave an answer, and what it took; cost in nano-dollars, None when unknown."""

    model: str | None = None
    request_id: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanousd: int | None = None


class Conversation(NamedTuple):
    """A conversation without its messages. Times are epoch milliseconds."""

    id: str
    model: str
    title: str | None
    created_at: int
    updated_at: int


class Message(NamedTuple):
    """A message that is kept. `created_at` is in epoch milliseconds."""

    id: str
    said: Said
    took: Took
    created_at: int


class Page(NamedTuple):
    """Messages, and whether there are more behind them."""

    messages: Sequence[Message]
    has_more: bool


class Turn(NamedTuple):
    """What a call adds to the conversation `id`: the new messages, and the answer.

    `is_new`: there is no such conversation yet. `title` None leaves the old one.
    """

    id: str
    is_new: bool
    model: str
    title: str | None
    said: Sequence[Said]
    answer: Said
    took: Took


class Conversations:
    """The conversations of one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, owner: str, limit: int, offset: int = 0) -> Sequence[Conversation]:
        """The owner's, newest first."""
        query = _of(owner).order_by(conversations.c.id.desc()).limit(limit).offset(offset)
        return [_conversation(row) for row in await self._fetch(query)]

    async def get(self, owner: str, id: str) -> Conversation | None:
        rows = await self._fetch(_of(owner).where(conversations.c.id == id))
        return _conversation(rows[0]) if rows else None

    async def messages(self, owner: str, id: str, limit: int, offset: int = 0) -> Page:
        """What was said in one of the owner's, oldest first, `MOST_LENGTH` in all, but one at
        least; nothing where it is not there."""
        column = messages.c
        query = _lengths_in(owner, id).order_by(column.id).limit(limit + 1).offset(offset)
        found = await self._fetch(query)
        fitting = max(1, _fitting(found[:limit]))
        return Page(
            [_message(row) for row in await self._whole(owner, id, found[:fitting])],
            has_more=len(found) > fitting,
        )

    async def history(self, owner: str, id: str) -> Sequence[Said]:
        """The last messages, `LONGEST_HISTORY` and `MOST_LENGTH` at most, as a provider is to be
        told them.

        Of a longer conversation they begin with what a user said; instructions from before stay.
        """
        column = messages.c
        query = _lengths_in(owner, id).order_by(column.id.desc()).limit(LONGEST_HISTORY)
        found = await self._fetch(query)
        fitting = _fitting(found)
        rows = await self._whole(owner, id, found[:fitting])
        if fitting == len(found) < LONGEST_HISTORY:
            return [_message(row).said for row in rows]
        first = next((n for n, row in enumerate(rows) if row.role == "user"), len(rows))
        earlier = _lengths_in(owner, id).where(column.role.in_(INSTRUCTIONS))
        if rows:
            earlier = earlier.where(column.id < rows[0].id)
        named = await self._fetch(earlier.order_by(column.id).limit(MOST_INSTRUCTIONS))
        before = await self._whole(owner, id, named[: _fitting(named)])
        kept = [*before, *(row for row in rows[:first] if row.role in INSTRUCTIONS)]
        return [_message(row).said for row in (*kept, *rows[first:])]

    async def add(self, owner: str, turn: Turn) -> str | None:
        """Adds a turn, whole or not at all. Returns the id of the answer's message; None when the
        conversation has been deleted meanwhile, or a message is longer than `MOST_LENGTH`."""
        now = _now()
        if not are_storable([*turn.said, turn.answer]):
            return None
        async with self._engine.begin() as connection:
            if not await _begin(connection, owner, turn, now):
                return None
            rows = _rows(turn, now)
            await connection.execute(insert(messages), rows)
        return str(rows[-1]["id"])

    async def delete(self, owner: str, id: str) -> bool:
        """Deletes one of the owner's with all that was said; False when it is not there."""
        own = delete(conversations).where(conversations.c.owner == owner, conversations.c.id == id)
        async with self._engine.begin() as connection:
            if (await connection.execute(own)).rowcount == 0:
                return False
            await connection.execute(delete(messages).where(messages.c.conversation_id == id))
        return True

    async def delete_all(self, owner: str) -> int:
        """Deletes all of an owner's; how many conversations that were."""
        own = select(conversations.c.id).where(conversations.c.owner == owner)
        async with self._engine.begin() as connection:
            said = delete(messages).where(messages.c.conversation_id.in_(own))
            await connection.execute(said)
            gone = delete(conversations).where(conversations.c.owner == owner)
            return (await connection.execute(gone)).rowcount

    async def _whole(self, owner: str, id: str, found: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        """Those messages, oldest first."""
        if not found:
            return []
        query = _said_in(owner, id).where(messages.c.id.in_([row.id for row in found]))
        return await self._fetch(query.order_by(messages.c.id))

    async def _fetch(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return rows


async def _begin(connection: AsyncConnection, owner: str, turn: Turn, now: int) -> bool:
    """The conversation made, or held so that nobody deletes it until the turn is down."""
    if turn.is_new:
        row = {"id": turn.id, "owner": owner, "model": turn.model, "title": turn.title}
        await connection.execute(
            insert(conversations).values(row | {"created_at": now, "updated_at": now})
        )
        return True
    changed = {"updated_at": now} | ({"title": turn.title} if turn.title else {})
    held = update(conversations).where(
        conversations.c.owner == owner, conversations.c.id == turn.id
    )
    return (await connection.execute(held.values(changed))).rowcount == 1


def new_id() -> str:
    """An id of a conversation or message: a UUID that sorts by when it was made."""
    return str(UUID(uuid7()))


def are_storable(said: Iterable[Said]) -> bool:
    """Whether none of the messages is longer than `MOST_LENGTH`."""
    return all(len(orjson.dumps(each.message())) <= MOST_LENGTH for each in said)


def is_id(text: str) -> bool:
    """Whether it can be one at all."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _of(owner: str) -> Select[Any]:
    return select(conversations).where(conversations.c.owner == owner)


def _said_in(owner: str, id: str) -> Select[Any]:
    """The messages of a conversation, if it is the owner's."""
    return (
        select(messages)
        .join(conversations, conversations.c.id == messages.c.conversation_id)
        .where(conversations.c.owner == owner, messages.c.conversation_id == id)
    )


def _lengths_in(owner: str, id: str) -> Select[Any]:
    """The ids of the same, and how long each is: what is long is not fetched to find out."""
    length = func.length(messages.c.content) + func.coalesce(func.length(messages.c.more), 0)
    columns = messages.c.id, length.label("length")
    return _said_in(owner, id).with_only_columns(*columns, maintain_column_froms=True)


def _fitting(found: Sequence[Row[Any]]) -> int:
    """How many of them, from the first, are `MOST_LENGTH` together at most."""
    totals = accumulate(row.length for row in found)
    return sum(1 for total in totals if total <= MOST_LENGTH)


def _rows(turn: Turn, now: int) -> list[dict[str, Any]]:
    # Sorted: of ids of one millisecond the order is the counter's, which begins anew at times.
    ids = sorted(new_id() for _ in range(len(turn.said) + 1))
    taken: Iterable[tuple[Said, Took]] = [
        *((s, Took()) for s in turn.said),
        (turn.answer, turn.took),
    ]
    return [
        {
            "id": message_id,
            "conversation_id": turn.id,
            "role": said.role,
            "content": orjson.dumps(said.content).decode(),
            "more": orjson.dumps(dict(said.more)).decode() if said.more else None,
            "created_at": now,
            **took._asdict(),
        }
        for message_id, (said, took) in zip(ids, taken, strict=True)
    ]


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(row.id, row.model, row.title, row.created_at, row.updated_at)


def _message(row: Row[Any]) -> Message:
    more = orjson.loads(row.more) if row.more else NOTHING_MORE
    took = Took(row.model, row.request_id, row.input_tokens, row.output_tokens, row.cost_nanousd)
    return Message(row.id, Said(row.role, orjson.loads(row.content), more), took, row.created_at)


def _now() -> int:
    return int(time.time() * 1000)
