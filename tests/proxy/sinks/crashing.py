"""A process that ships to BigQuery and is killed when the rows have arrived, before it has
written down that they have."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy.config_types import BigQuerySection
from proxy.sinks.base import Answer, UsageRow
from proxy.sinks.bigquery import BigQuerySink
from proxy.sinks.shipper import Shipper
from proxy.storage.engine import open_database


class Killed(BigQuerySink):
    async def deliver(self, rows: Sequence[UsageRow]) -> Answer:
        await super().deliver(rows)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


async def ship(database: str, home: str, endpoint: str) -> None:
    section = BigQuerySection(project="project", dataset="llm", table="usage", endpoint=endpoint)
    await Shipper(await open_database(database, Path(home)), Killed(section)).run()


if __name__ == "__main__":
    asyncio.run(ship(*sys.argv[1:]))
