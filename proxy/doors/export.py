"""Rows of the books as a file, JSON Lines or CSV, of any size in little memory.

Each page is a query of its own: an export may last for hours, and must hold no connection and no
snapshot for as long. Text in CSV that a spreadsheet would run as a formula begins with `'`, as
OWASP says: names and errors come from strangers.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.ids import REQUEST
from proxy.ledger.analytics import Chosen, read_values, span_of
from proxy.tasks import spawn
from proxy.times import iso

COLUMNS = (
    "request_id", "created_at", "user_id", "service_name", "job_id", "task_type", "key_id",
    "provider_name", "model", "endpoint", "status_code", "input_tokens", "cached_tokens",
    "output_tokens", "reasoning_tokens", "usage_source", "cost_usd", "saved_usd", "duration_ms",
    "first_token_ms", "attempts", "cached", "error_message", "metadata",
)  # fmt: skip
"""The order of a row."""

FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

PAGE = 500  # rows that are in memory at a time

_STORED = {"request_id": "id", "cost_usd": "cost_nanousd", "saved_usd": "saved_nanousd"}
_READ = tuple(_STORED.get(name, name) for name in COLUMNS[1:])
_CREATED, _COST, _SAVED, _CACHED, _METADATA = (
    COLUMNS.index(name) for name in ("created_at", "cost_usd", "saved_usd", "cached", "metadata")
)
_TEXTS = tuple(
    COLUMNS.index(name)
    for name in (
        "user_id", "service_name", "job_id", "task_type", "key_id", "provider_name", "model",
        "endpoint", "usage_source", "error_message", "metadata",
    )
)  # fmt: skip
_FORMULA = frozenset("=+-@\t\r")

Row = Sequence[Any]
Pages = AsyncIterator[Sequence[Row]]


class Streamed(Response):
    """A body as it is made; it ends when its client leaves, between two chunks.

    Starlette's own cancels whatever is under way then, again and again. A query that this happens
    to while it connects leaves a task behind that never ends, and the process with it.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        leaving = spawn(_left(receive), "watch the client of an export")
        try:
            await send(start)
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if leaving.done():
                    return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()


async def _left(receive: Receive) -> None:
    """Ends when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def exported(engine: AsyncEngine, chosen: Chosen, form: str) -> Response:
    """The chosen rows, oldest first, in one of `FORMATS`."""
    pages = _pages(engine, chosen)
    lines = _csv(pages) if form == "csv" else _jsonl(pages)
    named = {"content-disposition": f'attachment; filename="usage.{form}"'}
    return Streamed(lines, media_type=FORMATS[form], headers=named)


async def _pages(engine: AsyncEngine, chosen: Chosen) -> Pages:
    after: str | None = None
    span = await span_of(engine, chosen)
    while rows := await read_values(engine, chosen, span, _READ, PAGE, after):
        yield rows
        after = rows[-1][0]
        if len(rows) < PAGE:
            return


async def _jsonl(pages: Pages) -> AsyncIterator[bytes]:
    async for rows in pages:
        yield b"".join(map(_line, rows))


def _line(row: Row) -> bytes:
    values = list(row)
    values[0] = REQUEST + values[0]
    values[_CREATED] = iso(values[_CREATED])
    values[_COST] = usd(values[_COST])
    values[_SAVED] = usd(values[_SAVED])
    if values[_METADATA] is not None:
        values[_METADATA] = orjson.Fragment(values[_METADATA])
    return orjson.dumps(dict(zip(COLUMNS, values, strict=True)), option=orjson.OPT_APPEND_NEWLINE)


async def _csv(pages: Pages) -> AsyncIterator[bytes]:
    yield _lines([COLUMNS])
    async for rows in pages:
        yield _lines(map(_cells, rows))


def _cells(row: Row) -> list[Any]:
    """Numbers, truth values and objects as JSON has them; nothing for None."""
    values = list(row)
    values[0] = REQUEST + values[0]
    values[_CREATED] = iso(values[_CREATED])
    values[_COST] = usd_text(values[_COST])
    values[_SAVED] = usd_text(values[_SAVED])
    values[_CACHED] = "true" if values[_CACHED] else "false"
    for place in _TEXTS:
        text = values[place]
        if text and text[0] in _FORMULA:
            values[place] = "'" + text
    return values


def _lines(rows: Iterable[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def usd(nano: int | None) -> orjson.Fragment | None:
    """Nano-dollars as a JSON number of dollars; see `usd_text`."""
    return None if nano is None else orjson.Fragment(usd_text(nano) or "")


def usd_text(nano: int | None) -> str | None:
    """Nano-dollars as an exact decimal number of dollars, without an exponent."""
    if nano is None:
        return None
    if not nano:
        return "0.0"
    whole, part = divmod(abs(nano), 10**9)
    digits = f"{part:09}".rstrip("0") or "0"
    return f"{'-' if nano < 0 else ''}{whole}.{digits}"
