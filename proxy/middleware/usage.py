"""Opens a request's usage record, and hands it to the ledger when the response has ended.

However it ended: answered, failed, cancelled. The pipeline fills the record in on the way.
"""

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.middleware.request_id import REQUEST_ID
from proxy.response import RESPONSE
from proxy.types import Outcome, Record

RECORD = "turnout.record"
"""The key of the record in the ASGI scope."""

CLIENT_CLOSED = 499  # nginx's status for a client that left before its answer began

Submit = Callable[[Record], None]


class UsageRecords:
    """Writes one record for each request whose caller was let in."""

    def __init__(self, app: ASGIApp, submit: Submit) -> None:
        self._app = app
        self._submit = submit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[RECORD] = Record(scope[REQUEST_ID])
        try:
            await self._app(scope, receive, send)
        finally:
            if record.admitted:
                _complete(record, scope[RESPONSE].status)
                self._submit(record)


def _complete(record: Record, status: int) -> None:
    record.duration = time.monotonic() - record.started
    record.status = status
    if not status:
        record.status = CLIENT_CLOSED
        record.outcome = Outcome.CLIENT_CLOSED
