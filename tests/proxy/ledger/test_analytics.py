"""The books, summed."""

import time
from pathlib import Path

from proxy.ids import earliest
from proxy.ledger.analytics import GROUPS, summarise
from proxy.ledger.books import Books
from proxy.ledger.writer import Writer
from proxy.storage.engine import open_database
from proxy.types import Outcome
from tests.proxy.ledger.records import record


async def test_sums(tmp_path: Path) -> None:
    engine = await open_database("sqlite:///t.db", tmp_path)
    writer = Writer(Books(engine))
    await writer.start()
    assert await summarise(engine, 30) == []
    for made in (
        record(service="a", duration=1.0),
        record(service="a", outcome=Outcome.FAILED, cost_nanousd=None, duration=3.0),
        record(service=None, cost_nanousd=5_000_000),
        record(id=earliest(time.time() - 40 * 86_400)),
    ):
        writer.submit(made)
    await writer.stop()
    (total,) = await summarise(engine, 30)
    assert (total.requests, total.errors, total.total_tokens) == (3, 1, 45)
    assert total.cost_usd == 0.006
    by_service = {group.group: group for group in await summarise(engine, 30, "service")}
    assert (by_service["a"].requests, by_service["a"].avg_latency_ms) == (2, 2000.0)
    assert by_service[None].cost_usd == 0.005
    for by in GROUPS:
        assert sum(group.requests for group in await summarise(engine, 60, by)) == 4
    await engine.dispose()
