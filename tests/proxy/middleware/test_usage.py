"""One record for each request that was let in, however it ended."""

from typing import Any

import pytest

from proxy.middleware.usage import RECORD, UsageRecords
from proxy.telemetry.context import Tracing, request_id
from proxy.types import Outcome, Record, Trace
from tests.proxy.middleware.calls import call, ok


def admitting(then: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope[RECORD].admitted = True
        if then is not None:
            await then(scope, receive, send)

    return app


async def test_an_answer() -> None:
    kept: list[Record] = []
    await call(UsageRecords(admitting(ok), kept.append))
    assert [record.status for record in kept] == [200]


async def test_no_answer_at_all() -> None:
    kept: list[Record] = []
    await call(UsageRecords(admitting(None), kept.append))
    assert (kept[0].status, kept[0].outcome) == (499, Outcome.CLIENT_CLOSED)


async def test_an_error_on_the_way() -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError

    kept: list[Record] = []
    with pytest.raises(RuntimeError):
        await call(UsageRecords(admitting(fail), kept.append))
    assert len(kept) == 1


async def test_who_was_not_let_in_leaves_no_record() -> None:
    kept: list[Record] = []
    turned: list[Record] = []
    await call(UsageRecords(ok, kept.append, turned.append))
    assert kept == []
    assert [record.status for record in turned] == [200]


async def test_a_request_is_known_while_it_is_served() -> None:
    seen: list[str | None] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(request_id())
        await ok(scope, receive, send)
        seen.append(scope[RECORD].id)

    await call(UsageRecords(look, lambda _: None))
    assert seen[0] == seen[1]


class Places:
    """Gives every request the same place in a trace."""

    exported = dropped = 0

    def begin(self, scope: Any) -> Trace:
        return Trace(7, 8, None, True, path=scope["path"])

    def finish(self, record: Record) -> None: ...

    async def close(self, patience: float) -> None: ...


async def test_a_place_in_a_trace_where_there_are_traces() -> None:
    kept: list[Record] = []
    tracing = Tracing()
    app = UsageRecords(admitting(ok), kept.append, tracing=tracing)
    await call(app)
    tracing.tracer = Places()
    await call(app)
    assert [record.trace and record.trace.path for record in kept] == [None, "/x"]
