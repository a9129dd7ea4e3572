"""Edits of a JSON object's top-level members in its bytes.

What a client sent is forwarded as it came; where something must change, only the bytes of that
member do. Key order, spacing, number spelling, unknown fields and a provider's prompt-cache
prefix all survive, which a parse and a dump would not promise.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]', re.DOTALL)
_STRING_VALUE = re.compile(rb'\s*:\s*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
# No encoder escapes ASCII letters; one that does may be hiding a key from us.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]", re.IGNORECASE)


_NESTED = 200  # brackets in a text below which it can't be nested too deep to be written again


def loads(data: bytes | str) -> Any:
    """Parsed JSON that can be written again. Raises `orjson.JSONDecodeError` for any other.

    orjson reads 1,024 levels and writes 254: what lies between would fail only when it is written,
    in the middle of something else. The look costs a large text a dump, a small one nothing.
    """
    parsed = orjson.loads(data)
    opened = ("{", "[") if isinstance(data, str) else (b"{", b"[")
    if data.count(opened[0]) + data.count(opened[1]) > _NESTED:  # type: ignore[arg-type]
        try:
            orjson.dumps([[[[[[[[parsed]]]]]]]])  # what it will stand in
        except TypeError:
            raise orjson.JSONDecodeError("nested too deep", "", 0) from None
    return parsed


@dataclass(frozen=True, slots=True)
class Member:
    """A top-level member: its key, decoded, and where its bytes stand."""

    key: str
    start: int
    value: int
    end: int


def members(raw: bytes) -> list[Member]:
    """The top-level members of a valid JSON object, in order. `raw` must have been parsed."""
    found: list[Member] = []
    depth = 0
    key: bytes | None = None
    start = value = 0
    for token in _TOKEN.finditer(raw):
        mark = raw[token.start()]
        if mark == 0x22:  # a string
            if depth == 1 and key is None:
                key, start = token.group(), token.start()
        elif mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth == 0 and key is not None:
                found.append(_member(raw, key, start, value, token.start()))
        elif depth == 1:
            if mark == 0x3A:  # a colon
                value = token.end()
            elif key is not None:
                found.append(_member(raw, key, start, value, token.start()))
                key = None
    return found


def _member(raw: bytes, key: bytes, start: int, value: int, end: int) -> Member:
    while raw[value] in b" \t\r\n":
        value += 1
    while raw[end - 1] in b" \t\r\n":
        end -= 1
    return Member(orjson.loads(key), start, value, end)


def repeated(raw: bytes, keys: Collection[str]) -> str | None:
    """The first of `keys` that stands twice at the top level, however it is spelt.

    Parsers disagree on which of two counts, so a check on one could pass the other upstream.
    """
    if not any(raw.count(_quoted(key)) > 1 for key in keys) and not _ESCAPED_LETTER.search(raw):
        return None
    seen: set[str] = set()
    for member in members(raw):
        if member.key in seen and member.key in keys:
            return member.key
        seen.add(member.key)
    return None


def edit(
    raw: bytes,
    present: Collection[str],
    put: Mapping[str, bytes],
    drop: Collection[str] = (),
) -> bytes:
    """`raw` with the members of `put` set to the JSON given, and those of `drop` left out.

    `present` are the keys of the parsed object. What is put and not present goes to the end.
    With nothing to do the very same bytes come back.
    """
    gone = [key for key in drop if key in present]
    changed = [key for key in put if key in present]
    if gone or len(changed) > 1:
        raw = _rebuild(raw, put, gone)
    elif changed:
        raw = _replaced(raw, changed[0], put[changed[0]]) or _rebuild(raw, put, gone)
    if len(changed) < len(put):
        raw = _append(raw, {key: value for key, value in put.items() if key not in present})
    return raw


def _replaced(raw: bytes, key: str, value: bytes) -> bytes | None:
    """`raw` with another string for `key`, the quick way.

    None unless the only `"key"` in the bytes is the top-level one, with a string for its value.
    """
    needle = _quoted(key)
    if raw.count(needle) != 1 or _ESCAPED_LETTER.search(raw):
        return None
    match = _STRING_VALUE.match(raw, raw.find(needle) + len(needle))
    return match and raw[: match.start(1)] + value + raw[match.end(1) :]


def _quoted(key: str) -> bytes:
    return b'"' + key.encode() + b'"'


def _rebuild(raw: bytes, put: Mapping[str, bytes], gone: Collection[str]) -> bytes:
    found = members(raw)
    pieces = [raw[: found[0].start]]
    end = None  # of the member before, kept or not
    kept = False
    for member in found:
        separator = b"" if end is None else raw[end : member.start]
        end = member.end
        if member.key in gone:
            continue
        if kept:
            pieces.append(separator)
        kept = True
        if member.key in put:
            pieces += (raw[member.start : member.value], put[member.key])
        else:
            pieces.append(raw[member.start : member.end])
    pieces.append(raw[found[-1].end :])
    return b"".join(pieces)


def _append(raw: bytes, put: Mapping[str, bytes]) -> bytes:
    end = raw.rindex(b"}")
    head = raw[:end].rstrip()
    fields = b",".join(b"%b:%b" % (orjson.dumps(key), value) for key, value in put.items())
    comma = b"" if head.endswith(b"{") else b","
    return head + comma + fields + raw[end:]
