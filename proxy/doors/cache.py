"""The cache under `/api/v1/cache`: what it does, what is dropped of it, what is put into it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import Response
from starlette.routing import BaseRoute

from adapters.base import Endpoint
from proxy.cache.counts import Counts, Durations
from proxy.cache.lookup import Cache
from proxy.cache.report import MeaningReport, WrongRate
from proxy.cache.types import Purge
from proxy.config_types import SemanticSection
from proxy.doors import body as bodies
from proxy.doors import controls
from proxy.doors.api import OPERATORS, Api, Asked, Operation, Strict
from proxy.doors.batches import LINES, Lines
from proxy.errors import DatabaseUnavailable, Unprocessable
from proxy.ledger.analytics import Summary, summarise
from proxy.pipeline import SHADOW, WARM
from proxy.warming import Run, Told, Warming, read
from proxy.warming import summarise as sum_up

if TYPE_CHECKING:
    from proxy.shared.answers import PurgeIncomplete

Incomplete = tuple["type[PurgeIncomplete]", ...]
"""What a store raises that could not finish a purge; none where all is kept in this process."""

DAYS, MOST_DAYS = 30, 365
OWN = frozenset({SHADOW, WARM})
"""Services that Turnout's own calls are booked under: nobody asked for those."""

NO_MEANING = MeaningReport("off", "", 0, 0, 0, WrongRate(None, None, None, 0), {}, [], 0, 0, False)
"""The report where there is no tier by meaning."""


class Days(Strict):
    """How far the books are looked back on."""

    days: int = Field(default=DAYS, ge=1, le=MOST_DAYS)


class WhatGoes(Strict):
    """What kept answers have that go; without any field all do."""

    pattern: str | None = None
    model: str | None = None
    task: str | None = None
    tag: str | None = None
    epoch: str | None = None
    id: str | None = None


class Invalidated(Strict):
    """How many answers went."""

    invalidated: int


class CacheDoor:
    """Handlers over the cache of this process, and the store that it may share."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        warming: Warming,
        engine: Callable[[], AsyncEngine],
        incomplete: Incomplete = (),
        settings: Callable[[], SemanticSection] = SemanticSection,
    ) -> None:
        self._api = api
        self._cache = cache
        self._warming = warming
        self._engine = engine
        self._incomplete = incomplete
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        path = "/api/v1/cache"
        operations = [
            Operation(
                "GET",
                path + "/metrics",
                self.metrics,
                OPERATORS,
                "What the cache does",
                query=Days,
                answer=dict[str, Any],
            ),
            Operation(
                "POST",
                path + "/invalidate",
                self.invalidate,
                OPERATORS,
                "Drop kept answers",
                body=WhatGoes,
                answer=Invalidated,
                body_may_miss=True,
                errors=(503,),
            ),
            Operation(
                "POST",
                path + "/warm",
                self.warm,
                OPERATORS,
                "Ask prompts before anybody does",
                takes=dict[str, Any],
                media_type=LINES,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def metrics(self, asked: Asked) -> Response:
        days = asked.query.days
        size = await self._cache.answers.size()
        meaning = self._cache.meaning_report() or NO_MEANING
        shown = _counts(self._cache.counts, meaning)
        shown["entries"] = None if size.entries < 0 else size.entries
        shown["bytes"] = None if size.bytes < 0 else size.bytes
        shown["semantic"] = _semantic(meaning) | _promised(self._settings(), meaning)
        shown["ledger"] = await self._ledger(days)
        return _json(shown)

    async def _ledger(self, days: int) -> dict[str, Any] | None:
        """What all processes have saved; None while the database is away."""
        try:
            groups = await summarise(self._engine(), days, "service", percentiles=False)
        except (SQLAlchemyError, OSError):
            return None
        return {"days": days, **_booked(groups)}

    async def invalidate(self, asked: Asked) -> Response:
        """Drops what is named; without any name all."""
        purge = _purge(asked.body)
        try:
            dropped = await self._cache.purge(purge)
        except self._incomplete as error:
            return _incomplete(error.dropped)
        return _json({"invalidated": dropped})

    async def warm(self, asked: Asked) -> Response:
        """Asks many prompts; the answer grows as they are done."""
        request = asked.request
        headers = controls.first_of_each(request.scope)
        wanted = read(bodies.parse(await bodies.read(request.receive)), _check)
        job = await self._warming.prepare(wanted, asked.principal, controls.read(headers, {}))
        run = self._warming.start(job)
        return Lines(_lines(run, len(job.wanted.bodies)), run.leave)


# What is asked.


def _purge(body: WhatGoes) -> Purge:
    """What is to go. Null is no name: who means all leaves the field out."""
    given = {field: getattr(body, field) for field in body.model_fields_set}
    for field, value in given.items():
        if value is None or (not value and field != "epoch"):
            message = f"{field!r} must be a non-empty string; without any field all is dropped"
            raise Unprocessable(message, param=field)
    return Purge(**given)


def _check(body: Mapping[str, Any]) -> None:
    bodies.check(Endpoint.CHAT, body)
    controls.check_forwardable(body["model"], "model")


# What is answered.


def _counts(counts: Counts, meaning: MeaningReport) -> dict[str, Any]:
    """This process's counts since it began."""
    hits, misses = counts.hits.total(), counts.misses.total()
    return {
        "hits": {"exact": counts.hits["exact"], "semantic": counts.hits["semantic"]},
        "misses": dict(counts.misses),
        "bypasses": dict(counts.bypasses),
        "hit_rate": hits / (hits + misses) if hits else 0.0,
        "stored": counts.stored,
        "not_stored": dict(counts.not_stored),
        "joined": counts.joined,
        "purged": counts.purged,
        "saved_usd": counts.saved_nanousd / 1e9,
        "saved_tokens": counts.saved_tokens,
        "net_saved_usd": (counts.saved_nanousd - meaning.shadow_nanousd) / 1e9,
        "stages": {name: _stage(durations) for name, durations in counts.stages.items()},
    }


def _stage(durations: Durations) -> dict[str, Any]:
    """Milliseconds; null is longer than the last step."""
    return {
        "count": durations.count,
        "p50_ms": durations.quantile_ms(0.5),  # orjson writes infinity as null
        "p99_ms": durations.quantile_ms(0.99),
    }


def _semantic(meaning: MeaningReport) -> dict[str, Any]:
    return {
        "state": meaning.state,
        "embedder": meaning.embedder or None,
        "entries": meaning.entries,
        "labels": meaning.labels,
        "quarantined": meaning.quarantined,
        "wrong": meaning.wrong._asdict(),
        "thresholds": meaning.thresholds,
        "curve": [point._asdict() for point in meaning.curve],
        "shadow": {"requests": meaning.shadow_requests, "usd": meaning.shadow_nanousd / 1e9},
        "certified": meaning.certified,
    }


def _promised(settings: SemanticSection, meaning: MeaningReport) -> dict[str, Any]:
    """What the configuration asks for, and the score that is served from for it; null is none."""
    return {
        "floor": settings.floor,
        "max_wrong": settings.max_wrong,
        "threshold": meaning.thresholds.get(f"{settings.max_wrong:g}"),
    }


def _booked(groups: list[Summary]) -> dict[str, Any]:
    """What was asked and saved, without Turnout's own calls, and what checking cost."""
    asked = [group for group in groups if group.group not in OWN]
    return {
        "requests": sum(group.requests for group in asked),
        "cached": sum(group.cached for group in asked),
        "saved_usd": sum((group.saved_usd for group in asked), 0.0),
        "shadow_usd": sum((group.cost_usd for group in groups if group.group == SHADOW), 0.0),
    }


def _incomplete(dropped: int) -> Response:
    """A purge that Redis did not see to its end: what is left may still be served."""
    message = f"redis went away after {dropped} entries were dropped; ask again for the rest"
    error = {
        "message": message,
        "type": DatabaseUnavailable.type,
        "param": None,
        "code": "purge_incomplete",
    }
    answer = _json({"error": error, "invalidated": dropped}, 503)
    answer.headers["retry-after"] = "2"
    return answer


async def _lines(run: Run, total: int) -> AsyncGenerator[bytes, None]:
    """The lines of a warm-up, as it goes, and its sums."""
    told: list[Told] = []
    async with aclosing(run.results()) as results:
        async for each in results:
            told.append(each)
            yield _line(each, len(told), total)
    _, counts, cost = sum_up(total, told)
    summary = {"total": total, **counts, "cost_usd": cost / 1e9}
    yield orjson.dumps({"summary": summary}) + b"\n"


def _line(told: Told, done: int, total: int) -> bytes:
    cost = None if told.cost_nanousd is None else told.cost_nanousd / 1e9
    line: dict[str, Any] = {"index": told.place, "status": told.status}
    if told.reason is not None:
        line["reason"] = told.reason
    return orjson.dumps(line | {"cost_usd": cost, "done": done, "total": total}) + b"\n"


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")
