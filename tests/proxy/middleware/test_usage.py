"""One record for each request that was let in, however it ended."""

from typing import Any

import pytest

from proxy.middleware.usage import RECORD, UsageRecords
from proxy.types import Outcome, Record
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
    await call(UsageRecords(ok, kept.append))
    assert kept == []
