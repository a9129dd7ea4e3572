"""Usage under `/api/v1/usage`: sums, sums over time, rows by pages, and all rows as a file.

The master key, admins and service keys read everything, or of one `user_id` or `key_id`; a user
and a virtual key the own, whatever they ask for.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, TypeAdapter
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.doors import export, usage_answers
from proxy.doors.api import KNOWN, Api, Asked, Handler, Operation
from proxy.doors.owners import Name, Number, Whose, owner_of
from proxy.doors.usage_answers import AttemptEntry, Daily, Detailed, Page, Total, UsageSeries
from proxy.errors import NotFound, Unprocessable
from proxy.ids import REQUEST
from proxy.ledger.analytics import FILTERS, NOTHING, Chosen, Owner, daily, read_rows, summarise
from proxy.ledger.currency import Currency
from proxy.ledger.details import read_request
from proxy.ledger.series import Only, series
from proxy.live import Live
from proxy.times import iso
from proxy.types import Outcome

DAYS, MOST_DAYS = 30, 365
MOST_ROW_DAYS = 3650  # rows may be kept for longer than a year
MOST_GROUPS, CUSTOMERS = 500, 50
PAGE, MOST_ROWS = 50, 500  # rows of an answer

PAGE_COLUMNS = (
    *export.COLUMNS, "cache_write_tokens", "images", "usage_type", "name", "stream", "role",
    "outcome", "error_code",
)  # fmt: skip

GROUPS = {
    "by-provider": "provider",
    "by-model": "model",
    "by-service": "service",
    "by-customer": "user",
    "by-task": "task",
    "by-key": "key",
}
"""The end of the path -> what it sums by."""

ATTEMPT_COLUMNS = tuple(AttemptEntry.model_fields)

_ID = re.compile(r"[0-9a-f]{32}")


def _row_id(cursor: str) -> str:
    """The id of the row that the page before ended with."""
    row_id = cursor.removeprefix(REQUEST)
    if _ID.fullmatch(row_id) is None:
        raise ValueError("must be the 'next_cursor' of an answer")
    return row_id


Cursor = Annotated[str, BeforeValidator(_row_id)]


class UsageDays(Whose):
    """How far is looked back."""

    days: Number = Field(default=DAYS, ge=1, le=MOST_DAYS)


class UsageGroups(UsageDays):
    """And how many groups are wanted."""

    limit: Number = Field(default=MOST_GROUPS, ge=1, le=MOST_GROUPS)


class UsageCustomers(UsageDays):
    """And how many customers are wanted."""

    limit: Number = Field(default=CUSTOMERS, ge=1, le=MOST_GROUPS)


class UsageFilters(Whose):
    """Which rows are wanted; an empty text asks for rows that have none."""

    days: Number = Field(default=DAYS, ge=1, le=MOST_ROW_DAYS)
    provider: Name | None = None
    model: Name | None = None
    service: Name | None = None
    user: Name | None = None
    task: Name | None = None
    key: Name | None = None
    outcome: Outcome | None = None

    def filters(self) -> dict[str, str]:
        given = {name: getattr(self, name) for name in FILTERS}
        return {name: str(value) for name, value in given.items() if value is not None}


class UsagePeriod(Whose):
    """How far is looked back, and what for: one of the filters at most."""

    period: Literal["1h", "6h", "24h", "7d", "30d", "90d"] = "24h"
    provider: Name | None = None
    model: Name | None = None
    service: Name | None = None
    user: Name | None = None
    task: Name | None = None
    key: Name | None = None

    def only(self) -> Only | None:
        """Raises `Unprocessable` for more than one filter."""
        given = {name: getattr(self, name) for name in GROUPS.values()}
        found = [Only(name, value) for name, value in given.items() if value is not None]
        if len(found) > 1:
            names = ", ".join(repr(each.dimension) for each in found)
            message = f"give one filter at most; {names} were given"
            raise Unprocessable(message, param=found[1].dimension)
        return found[0] if found else None


class UsageRows(UsageFilters):
    """And which page of them."""

    limit: Number = Field(default=PAGE, ge=1, le=MOST_ROWS)
    cursor: Cursor | None = None


class UsageFile(UsageFilters):
    """And as what."""

    format: Literal["jsonl", "csv"] = "jsonl"


class UsageDoor:
    """Handlers over the books of the gateway."""

    def __init__(self, live: Live, engine: Callable[[], AsyncEngine]) -> None:
        self._api = Api(live)
        self._live = live
        self._engine = engine

    def routes(self) -> list[BaseRoute]:
        operations = [
            _get("summary", self.summary, "Usage in all", UsageDays, Total),
            *(self._by(path, by) for path, by in GROUPS.items()),
            _get("daily", self.daily, "Usage day by day", UsageDays, list[Daily]),
            _get("series", self.series, "Usage over time", UsagePeriod, UsageSeries),
            _get("requests", self.requests, "Requests, newest first", UsageRows, Page),
            _get("requests/{id}", self.request, "One request, with its attempts", Whose, Detailed),
            Operation(
                "GET",
                "/api/v1/usage/export",
                self.export,
                KNOWN,
                "All requests as a file, oldest first",
                query=UsageFile,
                media_type=export.FORMATS["jsonl"],
                also=("text/csv",),
                errors=(404,),
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def _owner(self, asked: Asked) -> Owner | None:
        return await owner_of(self._engine(), asked.principal, asked.query)

    def _currency(self) -> Currency:
        return Currency.of_reports(self._live.current.config.pricing)

    async def summary(self, asked: Asked) -> Response:
        days = asked.query.days
        found = await summarise(self._engine(), days, owner=await self._owner(asked))
        total = found[0] if found else NOTHING
        return _json(Total, usage_answers.total(days, total, self._currency()))

    def _by(self, path: str, by: str) -> Operation:
        kind = usage_answers.GROUPS[by]

        async def groups(asked: Asked) -> Response:
            owner, query = await self._owner(asked), asked.query
            many = by == "user"
            most = query.limit if many else None
            found = await summarise(self._engine(), query.days, by, owner, not many, most)
            currency = self._currency()
            return _json(
                list[kind],  # type: ignore[valid-type]
                [usage_answers.group(kind, each, currency) for each in found[: query.limit]],
            )

        query = UsageCustomers if by == "user" else UsageGroups
        return _get(path, groups, f"Usage by {by}, dearest first", query, list[kind])  # type: ignore[valid-type]

    async def daily(self, asked: Asked) -> Response:
        found = await daily(self._engine(), asked.query.days, await self._owner(asked))
        currency = self._currency()
        return _json(list[Daily], [usage_answers.group(Daily, day, currency) for day in found])

    async def requests(self, asked: Asked) -> Response:
        query = asked.query
        chosen = Chosen(query.days, query.filters(), await self._owner(asked))
        rows = await read_rows(self._engine(), chosen, query.limit + 1, query.cursor)
        entries = [_entry(row, PAGE_COLUMNS) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        following = entries[-1]["request_id"] if more else None
        page = {"data": entries, "has_more": more, "next_cursor": following}
        return Response(orjson.dumps(page), media_type="application/json")

    async def series(self, asked: Asked) -> Response:
        query, only = asked.query, asked.query.only()
        found = await series(self._engine(), query.period, await self._owner(asked), only)
        points = [usage_answers.point(iso(each.begins), each) for each in found.points]
        step = found.step // 1000
        return _json(
            UsageSeries, UsageSeries(period=query.period, step_seconds=step, points=points)
        )

    async def request(self, asked: Asked) -> Response:
        owner = await self._owner(asked)
        row_id = asked.path("id").removeprefix(REQUEST)
        found = None
        if _ID.fullmatch(row_id) is not None:
            found = await read_request(self._engine(), row_id, owner)
        if found is None:
            raise NotFound("there is no such request")
        entry = _entry(found.request, PAGE_COLUMNS)
        entry["attempt_list"] = [_attempt(row) for row in found.attempts]
        return Response(orjson.dumps(entry), media_type="application/json")

    async def export(self, asked: Asked) -> Response:
        query = asked.query
        chosen = Chosen(query.days, query.filters(), await self._owner(asked))
        return export.exported(self._engine(), chosen, query.format)


def _get(path: str, handler: Handler, summary: str, query: type[Whose], answer: Any) -> Operation:
    return Operation(
        "GET",
        f"/api/v1/usage/{path}",
        handler,
        KNOWN,
        summary,
        query=query,
        answer=answer,
        errors=(404,),
    )


def _entry(row: RowMapping, columns: Sequence[str]) -> dict[str, Any]:
    """A row in the words of the API."""
    values = dict(row)
    values["request_id"] = REQUEST + row["id"]
    values["created_at"] = iso(row["created_at"])
    values["cost_usd"] = export.usd(row["cost_nanousd"])
    values["saved_usd"] = export.usd(row["saved_nanousd"])
    return {column: values[column] for column in columns}


def _attempt(row: RowMapping) -> dict[str, Any]:
    """A row of attempts in the words of the API."""
    values = dict(row)
    values["created_at"] = iso(row["created_at"])
    values["cost_usd"] = export.usd(row["cost_nanousd"])
    return {column: values[column] for column in ATTEMPT_COLUMNS}


def _json(kind: Any, value: Any) -> Response:
    """JSON of values; fields that were not set are left out."""
    content = TypeAdapter(kind).dump_json(value, exclude_unset=True)
    return Response(content, media_type="application/json")
