"""What tRPC's clients send: paths, queries and bodies -> calls. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from proxy.errors import InvalidRequest, TurnoutError

MOST = 100  # calls of one request
MOST_VALUES = 200_000  # objects, lists and members of a body: each costs more than its bytes
WINDOW = 2**16  # bytes that are taken apart at a time
DEEPEST = 32  # levels that a mark of superjson's may name


class Call(NamedTuple):
    """One call as it came. `fault` says that it can't be read; `is_super` that superjson wrapped
    it."""

    path: str
    given: Mapping[str, Any]
    fault: TurnoutError | None = None
    is_super: bool = False


def read_one(path: str, query: Mapping[str, str], raw: bytes | None) -> Call:
    """The call of a request that is no batch. `raw` is the body; None where the query counts."""
    try:
        if raw is not None:
            given = _read(raw, "the body")
        elif "input" in query:
            given = _json(query["input"], "the parameter 'input'")
        else:
            given = {n: _number(v) for n, v in query.items() if n != "batch"}
    except InvalidRequest as error:
        return Call(path, {}, error)
    return _call(path, given)


def read_many(paths: str, query: Mapping[str, str], raw: bytes | None) -> list[Call]:
    """The calls of a batch, `raw` as above. Each has the fault of the whole."""
    names = paths.split(",")
    if len(names) > MOST:
        fault = InvalidRequest(f"a batch has {MOST} calls at most, not {len(names)}", param="batch")
        return [Call(name, {}, fault) for name in names[:MOST]]
    text = query.get("input", "").encode() if raw is None else raw
    try:
        given = _read(text, "the batch's input", {})
        if not isinstance(given, dict):
            raise InvalidRequest('"input" needs to be an object when doing a batch call')
    except InvalidRequest as error:
        return [Call(name, {}, error) for name in names]
    return [_call(name, given.get(str(place))) for place, name in enumerate(names)]


def _read(raw: bytes, what: str, nothing: Any = None) -> Any:
    """`nothing` where there is none. Raises `InvalidRequest`."""
    if not raw.strip():
        return nothing
    if values(raw) > MOST_VALUES:
        raise InvalidRequest(f"{what} has more than {MOST_VALUES} objects, lists and members")
    return _json(raw, what)


def values(raw: bytes) -> int:
    """How many objects, lists and members there are in JSON; up to `MOST_VALUES` their marks in
    strings may count too, which are quicker to count than to leave out."""
    most = _marks(raw)
    if most <= MOST_VALUES:
        return most
    text = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    number, is_inside = 0, False
    for begin in range(0, len(text), WINDOW):  # so that the pieces stay few
        # What stands in strings is none: of the pieces between quotes every other is outside.
        pieces = text[begin : begin + WINDOW].split(b'"')
        number += _marks(b"".join(pieces[is_inside::2]))
        if number > MOST_VALUES:
            break
        is_inside ^= len(pieces) % 2 == 0
    return number


def _marks(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[") + raw.count(b":")


def _json(text: str | bytes, what: str) -> Any:
    """Raises `InvalidRequest` with code `invalid_json`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{what} is not valid JSON: {error}", code="invalid_json") from None


def _number(text: str) -> str | int:
    """A plain parameter: a whole number as one."""
    return int(text) if len(text) < 10 and text.isascii() and text.isdigit() else text


def _call(path: str, given: Any) -> Call:
    is_super = isinstance(given, dict) and "json" in given and given.keys() <= {"json", "meta"}
    if is_super:
        given = _unwrapped(given["json"], given.get("meta"))
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return Call(path, {}, InvalidRequest("the input must be an object"), is_super)
    return Call(path, given, None, is_super)


def _unwrapped(value: Any, meta: Any) -> Any:
    """superjson's value, without the members that it says were undefined: JSON has null there."""
    marks = meta.get("values") if isinstance(meta, dict) else None
    if not isinstance(marks, dict):
        return value
    for name, mark in marks.items():
        *inner, place = name.split(".", DEEPEST)
        holder = value
        for step in inner:
            if not isinstance(holder, dict):
                break
            holder = holder.get(step)
        if mark == ["undefined"] and isinstance(holder, dict) and holder.get(place) is None:
            holder.pop(place, None)
    return value
