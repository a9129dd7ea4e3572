"""Usage under `/api/v1/usage`: sums, rows by pages, and all rows as a file.

The master key and service keys read everything, a virtual key what it asked itself.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from proxy.errors import Forbidden, Unprocessable
from proxy.ledger.analytics import (
    FILTERS,
    NOTHING,
    Chosen,
    Summary,
    daily,
    read_rows,
    summarise,
)
from proxy.live import Live
from proxy.tasks import spawn
from proxy.types import Outcome, Role

Handler = Callable[[Request], Awaitable[Response]]

DAYS, MOST_DAYS = 30, 365
MOST_ROW_DAYS = 3650  # rows may be kept for longer than a year
MOST_GROUPS, CUSTOMERS = 500, 50
PAGE, MOST_ROWS = 50, 500  # rows of an answer
EXPORTED = 500  # rows of an export that are in memory at a time

GROUPS = {
    "by-provider": ("provider", "provider_name"),
    "by-model": ("model", "model"),
    "by-service": ("service", "service_name"),
    "by-customer": ("user", "user_id"),
    "by-task": ("task", "task_type"),
    "by-key": ("key", "key_id"),
}
"""The end of the path -> what it sums by, and what that is called in the answer."""

EXPORT_COLUMNS = (
    "request_id", "created_at", "user_id", "service_name", "job_id", "task_type", "key_id",
    "provider_name", "model", "endpoint", "status_code", "input_tokens", "cached_tokens",
    "output_tokens", "reasoning_tokens", "usage_source", "cost_usd", "saved_usd", "duration_ms",
    "first_token_ms", "attempts", "cached", "error_message", "metadata",
)  # fmt: skip

PAGE_COLUMNS = (
    *EXPORT_COLUMNS, "cache_write_tokens", "images", "usage_type", "name", "stream", "role",
    "outcome", "error_code",
)  # fmt: skip

FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

PREFIX = "req_"
"""What `x-request-id` has before the id of the row."""

_ID = re.compile(r"[0-9a-f]{32}")
_EPOCH = datetime.fromtimestamp(0, UTC)


class UsageDoor:
    """Handlers over the books of the gateway."""

    def __init__(self, live: Live, engine: Callable[[], AsyncEngine]) -> None:
        self._live = live
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        handlers: dict[str, Handler] = {
            "summary": self.summary,
            **{path: self._by(*names, path) for path, names in GROUPS.items()},
            "daily": self.daily,
            "requests": self.requests,
            "export": self.export,
        }
        return [
            Route(f"/api/v1/usage/{path}", handler, methods=["GET"])
            for path, handler in handlers.items()
        ]

    async def _own(self, request: Request) -> str | None:
        """The key that the caller may read the usage of; None is all. Raises `Forbidden`."""
        headers = dict(reversed(request.scope["headers"]))
        principal = await self._live.current.auth.identify(headers)
        if principal.role in (Role.ADMIN, Role.SERVICE):
            return None
        if principal.role is Role.KEY and principal.key_id is not None:
            return principal.key_id
        raise Forbidden("usage needs a virtual key, a service key or the master key")

    async def summary(self, request: Request) -> Response:
        own = await self._own(request)
        days = _number(request.query_params, "days", DAYS, MOST_DAYS)
        found = await summarise(self._engine(), days, key_id=own)
        return _json(_total(days, found[0] if found else NOTHING))

    def _by(self, by: str, name: str, path: str) -> Handler:
        usual = CUSTOMERS if path == "by-customer" else MOST_GROUPS

        async def groups(request: Request) -> Response:
            own = await self._own(request)
            days = _number(request.query_params, "days", DAYS, MOST_DAYS)
            limit = _number(request.query_params, "limit", usual, MOST_GROUPS)
            found = await summarise(self._engine(), days, by, own, by != "user")
            return _json([{name: group.group} | _sums(group) for group in found[:limit]])

        return groups

    async def daily(self, request: Request) -> Response:
        own = await self._own(request)
        days = _number(request.query_params, "days", DAYS, MOST_DAYS)
        found = await daily(self._engine(), days, own)
        return _json([{"date": day.group} | _sums(day) for day in found])

    async def requests(self, request: Request) -> Response:
        own = await self._own(request)
        query = request.query_params
        days = _number(query, "days", DAYS, MOST_ROW_DAYS)
        limit = _number(query, "limit", PAGE, MOST_ROWS)
        chosen = Chosen(days, _filters(query), own)
        rows = await read_rows(self._engine(), chosen, limit + 1, _cursor(query))
        entries = [_entry(row, PAGE_COLUMNS) for row in rows[:limit]]
        more = len(rows) > limit
        following = entries[-1]["request_id"] if more else None
        return _json({"data": entries, "has_more": more, "next_cursor": following})

    async def export(self, request: Request) -> Response:
        own = await self._own(request)
        query = request.query_params
        days = _number(query, "days", DAYS, MOST_ROW_DAYS)
        form = query.get("format", "jsonl")
        if form not in FORMATS:
            raise _unprocessable("format", f"one of {', '.join(FORMATS)}")
        pages = _pages(self._engine(), Chosen(days, _filters(query), own))
        lines = _csv(pages) if form == "csv" else _jsonl(pages)
        named = {"content-disposition": f'attachment; filename="usage.{form}"'}
        return Streamed(lines, media_type=FORMATS[form], headers=named)


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


# What is asked.


def _unprocessable(field: str, wanted: str) -> Unprocessable:
    return Unprocessable(f"{field!r} must be {wanted}", param=field)


def _number(query: QueryParams, field: str, usual: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises `Unprocessable`."""
    text = query.get(field)
    if text is None:
        return usual
    if len(text) < 10 and text.isascii() and text.isdigit() and 1 <= int(text) <= most:
        return int(text)
    raise _unprocessable(field, f"a whole number from 1 to {most}")


def _filters(query: QueryParams) -> dict[str, str]:
    """What rows are wanted. Raises `Unprocessable`."""
    filters = {name: query[name] for name in FILTERS if name in query}
    for name, value in filters.items():
        if "\0" in value:
            raise _unprocessable(name, "a text without NUL")
    if filters.get("outcome", Outcome.OK) not in set(Outcome):
        raise _unprocessable("outcome", f"one of {', '.join(Outcome)}")
    return filters


def _cursor(query: QueryParams) -> str | None:
    """The id of the row that the page before ended with. Raises `Unprocessable`."""
    text = query.get("cursor")
    if text is None:
        return None
    row_id = text.removeprefix(PREFIX)
    if _ID.fullmatch(row_id) is None:
        raise _unprocessable("cursor", "the 'next_cursor' of an answer")
    return row_id


# What is answered.


def _total(days: int, found: Summary) -> dict[str, Any]:
    """The summary in the words of the API."""
    return {
        "period_days": days,
        "total_requests": found.requests,
        "total_cost_usd": found.cost_usd,
        "total_tokens": found.total_tokens,
        "cached_requests": found.cached,
        "error_requests": found.errors,
        "cache_hit_rate": found.cached / found.requests if found.requests else 0.0,
        **_details(found),
    }


def _sums(group: Summary) -> dict[str, Any]:
    """One group or day of many."""
    return {
        "request_count": group.requests,
        "total_cost_usd": group.cost_usd,
        "total_tokens": group.total_tokens,
        "cached_requests": group.cached,
        "error_requests": group.errors,
        **_details(group),
    }


def _details(group: Summary) -> dict[str, Any]:
    percentiles = {
        "p50_latency_ms": group.p50_ms,
        "p95_latency_ms": group.p95_ms,
        "p99_latency_ms": group.p99_ms,
    }
    return {
        "saved_usd": group.saved_usd,
        "input_tokens": group.input_tokens,
        "cached_tokens": group.cached_tokens,
        "cache_write_tokens": group.cache_write_tokens,
        "output_tokens": group.output_tokens,
        "reasoning_tokens": group.reasoning_tokens,
        "images": group.images,
        "avg_latency_ms": group.avg_latency_ms,
        "avg_first_token_ms": group.avg_first_token_ms,
        **(percentiles if group.p50_ms is not None else {}),
    }


def _entry(row: RowMapping, columns: Sequence[str]) -> dict[str, Any]:
    """A row in the words of the API."""
    values = dict(row)
    values["request_id"] = PREFIX + row["id"]
    values["created_at"] = _time(row["created_at"])
    values["cost_usd"] = _usd(row["cost_nanousd"])
    values["saved_usd"] = _usd(row["saved_nanousd"])
    return {column: values[column] for column in columns}


def _time(millis: int) -> str:
    """Epoch milliseconds -> ISO 8601, UTC."""
    at = _EPOCH + timedelta(milliseconds=millis)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _usd(nano: int | None) -> orjson.Fragment | None:
    """Nano-dollars as an exact decimal number of dollars, without an exponent."""
    if nano is None:
        return None
    whole, part = divmod(abs(nano), 10**9)
    digits = f"{whole}.{part:09}".rstrip("0")
    return orjson.Fragment(
        ("-" if nano < 0 else "") + (digits + "0" if digits[-1] == "." else digits)
    )


async def _pages(engine: AsyncEngine, chosen: Chosen) -> AsyncIterator[Sequence[RowMapping]]:
    """All rows, oldest first. Each page is a query of its own: an export may last for hours, and
    must hold no connection and no snapshot for as long."""
    after: str | None = None
    while rows := await read_rows(engine, chosen, EXPORTED, after, oldest_first=True):
        yield rows
        after = rows[-1]["id"]
        if len(rows) < EXPORTED:
            return


async def _jsonl(pages: AsyncIterator[Sequence[RowMapping]]) -> AsyncIterator[bytes]:
    async for rows in pages:
        yield b"".join(orjson.dumps(_entry(row, EXPORT_COLUMNS)) + b"\n" for row in rows)


async def _csv(pages: AsyncIterator[Sequence[RowMapping]]) -> AsyncIterator[bytes]:
    yield _lines([EXPORT_COLUMNS])
    async for rows in pages:
        entries = (_entry(row, EXPORT_COLUMNS) for row in rows)
        yield _lines([[_cell(value) for value in entry.values()] for entry in entries])


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Numbers, truth values and objects as JSON has them; nothing for None."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
