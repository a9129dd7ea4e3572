"""What upstreams say, and seeded ways to spoil it.

The corpus is every recorded answer of a dialect and the small conversations of
tests/fakes/dialects.py, each in units: an SSE event, a line of NDJSON, a frame of AWS's event
stream, a whole body. A mutation changes the JSON in a unit, the order of units, or bytes; frames
are signed anew after the first, and now and then after the last.
"""

import binascii
import json
import random
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import orjson

from adapters.anthropic import JSON_TOOL
from tests.fakes import dialects
from tests.fakes.upstream import Received, Send
from tests.recordings import Recording, recordings

DIALECTS = ("openai", "anthropic", "gemini", "ollama", "bedrock", "llamacpp")

Kind = Literal["stream", "whole", "error", "typed", "embeddings"]
"""`typed` is a stream of OpenAI's Responses API."""

LONGEST = 20_000
"""Bytes of one entry: a longer stream is cut after the unit that passes it."""

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_DATA = re.compile(rb"((?:[^\r\n]*(?:\r\n|\n|\r))*?data: ?)([\[{].*?)([\r\n]+)", re.DOTALL)
_PRELUDE = struct.Struct(">III")


class Unit(NamedTuple):
    """`before + payload + after` is what goes over the wire; of a frame `before` is its headers."""

    before: bytes
    payload: bytes
    after: bytes = b""
    framed: bool = False

    def written(self) -> bytes:
        if not self.framed:
            return self.before + self.payload + self.after
        size = 16 + len(self.before) + len(self.payload)
        prelude = struct.pack(">II", size, len(self.before))
        prelude += struct.pack(">I", binascii.crc32(prelude))
        message = prelude + self.before + self.payload
        return message + struct.pack(">I", binascii.crc32(message))


class Entry(NamedTuple):
    """One answer of the corpus."""

    dialect: str
    kind: Kind
    units: tuple[Unit, ...]

    @property
    def size(self) -> int:
        return sum(len(unit.before) + len(unit.payload) + len(unit.after) for unit in self.units)


# The corpus.


def payload_of(dialect: str, body: Any, path: str = "/chat") -> bytes:
    """The bytes of the body that the fake of a dialect answers a request with."""
    match = dialects.speak("openai" if dialect == "llamacpp" else dialect)
    script = match(Received("POST", path, (), orjson.dumps(body), 0.0))
    assert script is not None
    sent = b"".join(step.data for step in script if isinstance(step, Send))
    return sent.partition(b"\r\n\r\n")[2]


TALKS: dict[str, dict[str, Any]] = {
    "hello": {"messages": [{"role": "user", "content": "Hi"}]},
    "call": {"tools": ["get_weather"]},
    "result": {"tools": ["get_weather"], "messages": ["sunny, 21"]},
    "json": {"schema": {"degrees": {}}},
    "json_tool": {"tools": [JSON_TOOL]},
}
"""Requests in no dialect: the fakes look for a word in them."""


def spoken(dialect: str, talk: str, stream: bool) -> bytes:
    """A conversation's answer, by its name in `TALKS`."""
    body = TALKS[talk] | {"stream": stream, "stream_options": {"include_usage": True}}
    return payload_of(dialect, body, "/stream" if stream else "/chat")


def dialect_of(found: Recording) -> tuple[str, Kind] | None:
    """What a recorded answer is; None for what is of no dialect's chat."""
    kind: Kind = "error" if found.status >= 400 else "stream" if found.is_stream else "whole"
    if found.path.endswith("/chat/completions"):
        return "openai", kind
    if found.path.endswith("/v1/responses"):
        return ("openai", "typed") if kind == "stream" else None
    if found.path.endswith("/v1/messages"):
        return "anthropic", kind
    if found.path.endswith(("enerateContent", "streamGenerateContent")):
        return "gemini", kind
    if found.path.endswith(("/converse", "/converse-stream")):
        return "bedrock", kind
    return None


@cache
def corpus() -> tuple[Entry, ...]:
    """All entries, in an order that does not change."""
    found: list[Entry] = []
    for recording in recordings():
        if (known := dialect_of(recording)) is not None:
            dialect, kind = known
            found.append(Entry(dialect, kind, units_of(dialect, kind, recording.reply)))
    for dialect in DIALECTS:
        for talk in TALKS:
            for kind in ("stream", "whole"):
                raw = spoken(dialect, talk, kind == "stream")
                found.append(Entry(dialect, kind, units_of(dialect, kind, raw)))
    found += [Entry(d, kind, (Unit(b"", raw),)) for d, kind, raw in _WRITTEN]
    found += [e._replace(dialect="llamacpp") for e in found if e.dialect == "openai"]
    found += [_cut(entry) for entry in found if entry.size > LONGEST]
    return tuple(entry for entry in found if entry.size <= LONGEST + 4000)


_WRITTEN: list[tuple[str, Kind, bytes]] = [
    ("openai", "error", b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'),
    ("openai", "error", b'{"error":{"code":503,"message":"Loading model","type":"unavailable"}}'),
    ("openai", "error", b'{"object":"error","message":"no","type":"invalid","code":400}'),
    ("anthropic", "error", b'{"type":"error","error":{"type":"overloaded_error","message":"o"}}'),
    (
        "gemini",
        "error",
        (
            b'{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":['
            b'{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":'
            b'"GenerateRequestsPerDay"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo",'
            b'"retryDelay":"34.07s"}]}}'
        ),
    ),
    ("gemini", "error", b'[{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}]'),
    ("ollama", "error", b'{"error":"model \'x\' not found"}'),
    ("bedrock", "error", b'{"message":"Too many requests","__type":"a#ThrottlingException"}'),
    (
        "openai",
        "embeddings",
        (
            b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,1]}],'
            b'"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}'
        ),
    ),
    (
        "gemini",
        "embeddings",
        (
            b'{"embeddings":[{"values":[0.5,-1]},{"values":[0.25,3e-05]}],'
            b'"usageMetadata":{"promptTokenCount":5}}'
        ),
    ),
    (
        "ollama",
        "embeddings",
        (
            b'{"model":"m","embeddings":[[0.5,-1],[0.25,3e-05]],"total_duration":14143917,'
            b'"load_duration":1019500,"prompt_eval_count":8}'
        ),
    ),
]


def units_of(dialect: str, kind: Kind, raw: bytes) -> tuple[Unit, ...]:
    """An answer's units, which joined are `raw` again."""
    if kind not in ("stream", "typed"):
        return (Unit(b"", raw),)
    if dialect == "bedrock":
        return tuple(_frames(raw))
    if dialect == "ollama":
        return tuple(Unit(b"", line, b"\n") for line in raw.splitlines())
    return tuple(_events(raw))


def _events(raw: bytes) -> Iterator[Unit]:
    start = 0
    for end in _EVENT_END.finditer(raw):
        piece = raw[start : end.end()]
        match = _DATA.fullmatch(piece)
        yield Unit(match[1], match[2], match[3]) if match else Unit(b"", piece)
        start = end.end()
    if start < len(raw):
        yield Unit(b"", raw[start:])


def _frames(raw: bytes) -> Iterator[Unit]:
    at = 0
    while at < len(raw):
        size, headers, _ = _PRELUDE.unpack_from(raw, at)
        body = raw[at + 12 : at + size - 4]
        yield Unit(body[:headers], body[headers:], framed=True)
        at += size


def _cut(entry: Entry) -> Entry:
    """The first units up to `LONGEST`, and the last two: a stream needs its end."""
    sizes = accumulate(len(unit.written()) for unit in entry.units)
    most = sum(size < LONGEST for size in sizes)
    return entry._replace(units=(*entry.units[:most], *entry.units[most:][-2:]))


@cache
def entries(dialect: str, kind: Kind) -> tuple[tuple[Entry, ...], tuple[float, ...]]:
    """A dialect's entries of a kind, with how often to take them, summed up: small ones more."""
    found = tuple(e for e in corpus() if e.dialect == dialect and e.kind == kind)
    return found, tuple(accumulate((500 / (500 + entry.size)) ** 2 for entry in found))


def pick(chance: random.Random, dialect: str, kind: Kind) -> Entry | None:
    """One of a dialect's entries of a kind; None when it has none."""
    found, weights = entries(dialect, kind)
    return chance.choices(found, cum_weights=weights)[0] if found else None


# Mutations.


DEEP, DEEPER = "@deep@", "@deeper@"
_DEPTHS = {DEEP: 300, DEEPER: 1100}
"""Levels of lists: what is read may be deeper than what can be written, orjson's 254."""

VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None,
    lambda _: True,
    lambda chance: chance.choice([0, -1, 1, 7, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1]),
    lambda chance: chance.choice([10**30, -(10**30), 10**400, 1.5, -0.0, 1e308, 1e-320]),
    lambda _: float("nan"),
    lambda _: [],
    lambda _: {},
    lambda _: "",
    lambda chance: chance.choice(["x", "stop", "error", "0", "[DONE]", "null", "\x00", "é\u2028"]),
    lambda chance: chance.choice(
        ["\ud800", "\udc00x", "\U0001f600", "a\nb\r\n\r\ndata: {}", '"\\']
    ),
    lambda chance: "long" * chance.randint(1, 400),
    lambda _: [None, 1, "x", {}, []],
    lambda _: {"type": "x", "text": 1, "index": "0"},
    lambda chance: DEEP if chance.random() < 0.7 else DEEPER,
)
"""What stands in for a value."""

NAMES = ("type", "index", "error", "text", "content", "message", "usage", "id", "", "é", "\ud800")


def spoil_json(chance: random.Random, payload: bytes) -> bytes:
    """A payload with one to three changes in its JSON; as it is when it has none."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        value = _changed(chance, value)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=chance.random() < 0.5)
    for mark, depth in _DEPTHS.items():
        if mark in text:
            text = text.replace(f'"{mark}"', "[" * depth + "]" * depth)
    return text.encode("utf-8", "surrogatepass")


def _changed(chance: random.Random, root: Any) -> Any:
    """`root` with one of its values replaced, deleted, renamed, doubled or moved."""
    places: list[tuple[Any, Any]] = []
    _walk(root, places)
    if not places or chance.random() < 0.03:
        return chance.choice(VALUES)(chance)
    holder, key = chance.choice(places)
    what = chance.random()
    if what < 0.55:
        holder[key] = chance.choice(VALUES)(chance)
    elif what < 0.70:
        del holder[key]
    elif what < 0.78:
        other, at = chance.choice(places)
        holder[key] = _copy(other[at])
    elif what < 0.86:
        holder[key] = [_copy(holder[key])] if chance.random() < 0.5 else {"x": holder[key]}
    elif isinstance(holder, list):
        holder.insert(chance.randint(0, len(holder)), _copy(holder[key]))
    elif what < 0.94:
        holder[chance.choice(NAMES)] = holder.pop(key)
    else:
        holder[chance.choice(NAMES)] = chance.choice(VALUES)(chance)
    return root


def _copy(value: Any) -> Any:
    """A copy, so that no value comes to hold itself."""
    return json.loads(json.dumps(value))


def _walk(value: Any, places: list[tuple[Any, Any]]) -> None:
    if len(places) > 400:
        return
    if isinstance(value, dict):
        places += [(value, name) for name in value]
        for inner in value.values():
            if isinstance(inner, dict | list):
                _walk(inner, places)
    elif isinstance(value, list):
        places += [(value, index) for index in range(len(value))]
        for inner in value:
            if isinstance(inner, dict | list):
                _walk(inner, places)


def spoil_units(chance: random.Random, units: list[Unit]) -> None:
    """One change in what follows what, or in the JSON of a unit."""
    at = chance.randrange(len(units))
    what = chance.random()
    if what < 0.6:
        units[at] = units[at]._replace(payload=spoil_json(chance, units[at].payload))
    elif what < 0.7:
        del units[at]
    elif what < 0.78:
        units.insert(chance.randint(0, len(units)), units[at])
    elif what < 0.86:
        other = chance.randrange(len(units))
        units[at], units[other] = units[other], units[at]
    elif what < 0.94:
        dialect = chance.choice(DIALECTS)
        strange = pick(chance, dialect, chance.choice(("stream", "whole", "error")))
        if strange is not None:
            begin = chance.randrange(len(strange.units))
            units[at:at] = strange.units[begin : begin + chance.randint(1, 4)]
    else:
        del units[at:]
    if not units:
        units.append(Unit(b"", b""))


def spoil_bytes(chance: random.Random, raw: bytes) -> bytes:
    """One change in the bytes, or between the lines."""
    if not raw:
        return bytes(chance.randrange(256) for _ in range(chance.randint(0, 40)))
    at = chance.randrange(len(raw))
    end = min(len(raw), at + chance.choice((1, 1, 2, 8, 60)))
    match chance.randrange(9):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + raw[end:]
        case 2:
            return raw[:end] + raw[at:]
        case 3:
            return raw[:at] + bytes([raw[at] ^ 1 << chance.randrange(8)]) + raw[at + 1 :]
        case 4:
            to = chance.randrange(len(raw))
            return raw[:at] + raw[to : to + end - at] + raw[at:]
        case 5:
            return raw[:at] + chance.choice(SCRAPS) + raw[at:]
        case 6:
            return raw[:at] + chance.randbytes(end - at) + raw[end:]
        case 7:
            return raw.replace(b"\n", chance.choice((b"\r", b"\r\n", b"\n\n", b"")))
        case _:
            lines = raw.split(b"\n")
            here, there = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[here], lines[there] = lines[there], lines[here]
            return b"\n".join(lines)


SCRAPS = (
    b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8",
    b": ping\n\n", b"data", b"data:", b"data: ", b"data: [DONE]\n\n", b"data: {}\n\n",
    b"data: []\n\n", b"event: error\n", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud800", b"null",
    b"NaN", b"1e999", b",", b":", b"id: 1\nretry: 1\n", b"{}\n", b"<html>", b"\xc0\x80",
    b"\xed\xa0\x80",
)  # fmt: skip


def resign(chance: random.Random, raw: bytes) -> bytes:
    """A frame with bytes of its inside changed, and both checksums right again."""
    if len(raw) < 17:
        return raw
    inside = bytearray(raw)
    payload = 12 + int.from_bytes(raw[4:8])
    begin = payload if chance.random() < 0.6 and payload < len(raw) - 4 else 0
    for _ in range(chance.randint(1, 4)):
        inside[chance.randrange(begin, len(inside))] = chance.randrange(256)
    if chance.random() < 0.9:
        inside[:8] = raw[:8]  # lengths that are wrong are found out at once
    inside[8:12] = struct.pack(">I", binascii.crc32(inside[:8]))
    inside[-4:] = struct.pack(">I", binascii.crc32(inside[:-4]))
    return bytes(inside)


def spoiled(chance: random.Random, entry: Entry) -> bytes:
    """An entry's bytes after some mutations; now and then none."""
    units = list(entry.units)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        spoil_units(chance, units)
    written = [unit.written() for unit in units]
    if entry.dialect == "bedrock" and chance.random() < 0.15:
        at = chance.randrange(len(written))
        written[at] = resign(chance, written[at])
    raw = b"".join(written)
    if chance.random() < 0.35:
        for _ in range(chance.choice((1, 1, 2, 4))):
            raw = spoil_bytes(chance, raw)
    return raw


def split(chance: random.Random, raw: bytes) -> Sequence[bytes]:
    """`raw` in pieces: whole, in a few, or byte by byte."""
    what = chance.random()
    if what < 0.4 or len(raw) < 2:
        return (raw,)
    if what > 0.95 and len(raw) < 2000:
        return [raw[i : i + 1] for i in range(len(raw))]
    ends = sorted(chance.randrange(1, len(raw)) for _ in range(chance.randint(1, 8)))
    return [raw[a:b] for a, b in zip([0, *ends], [*ends, len(raw)], strict=True)]
