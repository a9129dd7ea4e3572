"""Opens a request's usage record, and hands it to the ledger when the response has ended.

However it ended: answered, failed, cancelled. The pipeline fills the record in on the way.
"""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.middleware.request_id import REQUEST_ID
from proxy.response import RESPONSE
from proxy.telemetry.context import UNDER_WAY, Tracing
from proxy.types import Outcome, Record

RECORD = "turnout.record"
"""The key of the record in the ASGI scope."""

CLIENT_CLOSED = 499  # nginx's status for a client that left before its answer began

Submit = Callable[[Record], None]

OFF = Tracing()


def _ignore(_: Record) -> None:
    """Nobody asks who was turned away."""


class UsageRecords:
    """Writes one record for each request whose caller was let in. `turned_away` is told of the
    others; `tracing` gives a request its place in a trace, where traces are on."""

    def __init__(
        self,
        app: ASGIApp,
        submit: Submit,
        turned_away: Submit = _ignore,
        tracing: Tracing = OFF,
    ) -> None:
        self._app = app
        self._submit = submit
        self._turned_away = turned_away
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = Record(scope[REQUEST_ID])
        UNDER_WAY.set(record)
        tracer = self._tracing.tracer
        if tracer is not None:
            record.trace = tracer.begin(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            _complete(record, scope[RESPONSE].status)
            if record.admitted:
                self._submit(record)
            else:
                self._turned_away(record)


def _complete(record: Record, status: int) -> None:
    record.duration = time.monotonic() - record.started
    record.status = status
    if not status:
        record.status = CLIENT_CLOSED
        record.outcome = Outcome.CLIENT_CLOSED
