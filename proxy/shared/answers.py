"""Answers that all processes share, in any Redis since 6.2.

Each entry is one text, in one key that ends when the entry does:

    magic, flags, length of what is known, CRC-32 of all but itself    13 bytes
    what is known of the answer                                        JSON
    the question, then the answer as it came                           maybe deflated

Whoever purges reads the beginning of it only. A value that is not whole, not ours or another
entry's is a miss. So is a Redis that is away or full.
"""

import asyncio
import re
import struct
import time
import zlib
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

import orjson
from pydantic import ConfigDict, TypeAdapter, ValidationError

from adapters.base import Endpoint, Usage
from proxy.cache.answers import Size, matches
from proxy.cache.types import PREFIX as CACHE
from proxy.cache.types import Entry, Purge
from proxy.shared.redis import Away, Link, Reply, Script

PREFIX = "turnout:{cache}:a:"  # then the entry's id
LARGEST = 1 << 20  # bytes of an answer; characters of its question
WORTH_DEFLATING = 1 << 10  # bytes
PAYS = 0.9  # what is deflated to no less than this share is left as it is
BLOCKING = 1 << 16  # bytes that are not inflated or deflated on the event loop's own thread
LONGEST = 10 * 365 * 86400.0  # seconds that anything is kept
STEP = 500  # keys that Redis looks at in one step of a purge
HEADS = 100  # values whose beginning is asked for at once
PAUSE = 0.2  # seconds until Redis is asked again
HEAD = 512  # bytes of it, which is enough for most

MAGIC = b"TRN\x01"  # the last byte is the version
DEFLATED = 1
FIRST = struct.Struct(">4sBI")
CRC = struct.Struct(">I")
FIXED = FIRST.size + CRC.size  # bytes before what is known

KEEP = Script.load("keep")
GET_HEADS = Script.load("heads")


class PurgeIncomplete(Exception):
    """Redis went away during a purge; `dropped` entries had gone by then. To be asked again."""

    def __init__(self, dropped: int) -> None:
        super().__init__(f"redis went away after {dropped} entries were dropped")
        self.dropped = dropped


class Known(NamedTuple):
    """What is known of an answer beside it, as `Entry` says. Lengths are in bytes."""

    id: str
    endpoint: Endpoint
    name: str
    provider: str
    model: str
    stored_at: float
    expires_at: float
    usage: Usage
    cost_nanousd: int | None
    tags: tuple[str, ...]
    epoch: str
    partition: str | None
    question: int | None  # its length
    body: int  # its length


KNOWN = TypeAdapter(Known, config=ConfigDict(strict=True, allow_inf_nan=False))


class Broken(Exception):
    """A value that is damaged, or none of ours."""


class SharedAnswers:
    """Answers in Redis. `clock` gives epoch seconds.

    Of what Redis was asked, `failures` counts what it left unanswered, `refused` what it would not
    keep (it is full), `broken` the values that were damaged or foreign.
    """

    def __init__(self, link: Link, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._clock = clock
        self.failures = 0
        self.refused = 0
        self.broken = 0

    async def get(self, id: str) -> Entry | None:
        try:
            # GET fails where a key is no text, and three failures are one too many for the link.
            [value] = await self._link.ask("MGET", _name(id))
        except Away:
            self.failures += 1
            return None
        if value is None:
            return None
        try:
            if len(value) > BLOCKING:
                entry = await asyncio.to_thread(unpack, id, value)
            else:
                entry = unpack(id, value)
        except Broken:
            self.broken += 1
            return None
        return entry if entry.expires_at > self._clock() else None

    async def put(self, entry: Entry) -> bool:
        size = len(entry.body)
        if max(size, len(entry.question or "")) > LARGEST:
            return False
        value = await asyncio.to_thread(pack, entry) if size > BLOCKING else pack(entry)
        left = round(min(entry.expires_at - self._clock(), LONGEST) * 1000)
        if left <= 0:
            return False
        try:
            kept = await self._link.run(KEEP, [_name(entry.id)], [value, left])
        except Away:
            self.failures += 1
            return False
        if kept != 1:
            self.refused += 1
        return bool(kept == 1)

    async def purge(self, purge: Purge) -> int:
        """Drops what it names; what Redis drops without saying so in time is not counted. Raises
        `PurgeIncomplete` where Redis is away or goes away: nobody may take what is left for gone.
        """
        dropped = 0
        try:
            if purge.id is not None:
                return await self._drop([purge.id], purge)
            cursor, pattern = b"0", PREFIX + _pattern(purge)
            while True:
                scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", STEP, "TYPE", "string")
                cursor, names = await self._insist(self._link.ask, *scan)
                ids = [known for known in map(_id, names) if known is not None]
                for start in range(0, len(ids), HEADS):
                    dropped += await self._drop(ids[start : start + HEADS], purge)
                if cursor == b"0":
                    return dropped
        except Away:
            self.failures += 1
            raise PurgeIncomplete(dropped) from None

    async def size(self) -> Size:
        """Redis can't tell what is ours without looking at every key."""
        return Size(-1, -1)

    async def _drop(self, ids: list[str], purge: Purge) -> int:
        """Drops those of a few entries that a purge names. Raises `Away`."""
        named = [each for each in ids if _is_named(each, purge)]
        if named and not (purge.model is purge.tag is purge.epoch is None):
            keys = list(map(_name, named))
            heads = await self._insist(self._link.run, GET_HEADS, keys, [HEAD])
            pairs = zip(named, heads, strict=True)
            named = [each for each, head in pairs if await self._is_meant(each, head, purge)]
        if not named:
            return 0
        return int(await self._insist(self._link.ask, "UNLINK", *map(_name, named)))

    async def _is_meant(self, id: str, head: bytes, purge: Purge) -> bool:
        """Whether a purge names an entry, by how its value begins. Raises `Away`."""
        wants = _head_size(head)
        if wants > len(head):
            whole = [min(wants, LARGEST)]
            [head] = await self._insist(self._link.run, GET_HEADS, [_name(id)], whole)
        try:
            known = read_known(id, head)
        except Broken:
            self.broken += 1
            return False
        return matches(_entry(known, None, b""), purge)

    async def _insist(self, ask: Callable[..., Awaitable[Reply]], *what: object) -> Reply:
        """An answer, for which Redis is asked twice: a purge asks too often to end at the first
        that is late. Raises `Away`."""
        try:
            return await ask(*what)
        except Away:
            self.failures += 1
            await asyncio.sleep(PAUSE)
        return await ask(*what)


def pack(entry: Entry) -> bytes:
    """An entry as Redis keeps it."""
    question = None if entry.question is None else entry.question.encode("utf-8", "surrogatepass")
    known = Known(
        entry.id,
        entry.endpoint,
        entry.name,
        entry.provider,
        entry.model,
        entry.stored_at,
        entry.expires_at,
        entry.usage,
        entry.cost_nanousd,
        entry.tags,
        entry.epoch,
        entry.partition,
        None if question is None else len(question),
        len(entry.body),
    )
    # orjson writes plain tuples only, and takes what it doesn't know to `default`.
    about = orjson.dumps(known, default=tuple)
    said, flags = (question or b"") + entry.body, 0
    if len(said) > WORTH_DEFLATING:
        deflated = zlib.compress(said, 1)
        if len(deflated) < PAYS * len(said):
            said, flags = deflated, DEFLATED
    first = FIRST.pack(MAGIC, flags, len(about))
    return b"".join((first, CRC.pack(_sum(first, about, said)), about, said))


def unpack(id: str, value: bytes) -> Entry:
    """The entry of an id. Raises `Broken`."""
    known = read_known(id, value)
    if CRC.unpack_from(value, FIRST.size)[0] != _sum(value[: FIRST.size], value[FIXED:]):
        raise Broken("not as it was written")
    said = value[_head_size(value) :]
    first, size = known.question or 0, (known.question or 0) + known.body
    if not (0 <= first <= 4 * LARGEST and 0 <= known.body <= LARGEST):
        raise Broken("larger than what is kept")
    if value[len(MAGIC)] & DEFLATED:
        said = _inflate(said, size)
    if len(said) != size:
        raise Broken("not as long as it says")
    try:
        question = said[:first].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise Broken("no text") from None
    return _entry(known, None if known.question is None else question, said[first:])


def read_known(id: str, value: bytes) -> Known:
    """What is known of the answer of an id, of the beginning of a value. Raises `Broken`."""
    about = value[FIXED : _head_size(value)]
    try:
        known = KNOWN.validate_json(about)
    except ValidationError:  # it quotes the value
        raise Broken("none of ours") from None
    if known.id != id:
        raise Broken("another entry's")
    return known


def _head_size(value: bytes) -> int:
    """Bytes until the end of what is known; 0 where it is no value of ours."""
    if len(value) < FIXED or not value.startswith(MAGIC):
        return 0
    length: int = FIRST.unpack_from(value)[2]
    return FIXED + length


def _sum(*parts: bytes) -> int:
    """The CRC-32 of all parts together."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc


def _inflate(data: bytes, size: int) -> bytes:
    """Never more than a byte above what is due."""
    try:
        return zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        raise Broken("not deflated") from None


def _entry(known: Known, question: str | None, body: bytes) -> Entry:
    return Entry(
        known.id,
        known.endpoint,
        body,
        known.name,
        known.provider,
        known.model,
        known.stored_at,
        known.expires_at,
        known.usage,
        known.cost_nanousd,
        known.tags,
        known.epoch,
        known.partition,
        question,
    )


def _name(id: str) -> str:
    """The key of an entry. What is no text can't be sent: it gets a name of its own."""
    return PREFIX + id.encode("utf-8", "backslashreplace").decode()


def _id(name: bytes) -> str | None:
    try:
        return name.decode().removeprefix(PREFIX)
    except UnicodeDecodeError:  # none of ours
        return None


def _is_named(id: str, purge: Purge) -> bool:
    """Whether a purge may name an entry, by its id alone."""
    task = id.removeprefix(CACHE).rpartition(":")[0]
    return (purge.pattern is None or fnmatchcase(id, purge.pattern)) and (
        purge.task is None or purge.task == task
    )


def _pattern(purge: Purge) -> str:
    """Redis's pattern for all that a purge may name, and maybe more: its `?` is a byte, and its
    classes are others than Python's."""
    pattern = "*" if purge.pattern is None else purge.pattern
    plain = re.split(r"[?\[\\]", pattern, maxsplit=1)[0]
    return plain if plain == pattern else plain + "*"
