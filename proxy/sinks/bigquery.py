"""BigQuery, by its streaming API: `tabledata.insertAll`, a row's request id as its insert id."""

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from proxy.config_types import BigQuerySection
from proxy.sinks.base import PATIENCE, Answer, Rejected, Sink, UsageRow

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

NEVER = frozenset({"invalid"})
"""Reasons of a row's that no second try changes."""

OF_ROWS = frozenset({400, 413})
"""Statuses of a delivery that its rows are to blame for; any other means that nothing is taken."""


class BigQuerySink(Sink):
    """One table. Google's library blocks, so it works in a thread; it is loaded there too."""

    name = "bigquery"

    def __init__(self, section: BigQuerySection) -> None:
        self._section = section
        self._table = f"{section.project}.{section.dataset}.{section.table}"
        self._client: Client | None = None

    async def deliver(self, rows: Sequence[UsageRow]) -> Answer:
        return await asyncio.to_thread(self._deliver, rows)

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    def _deliver(self, rows: Sequence[UsageRow]) -> Answer:
        from google.api_core.exceptions import GoogleAPICallError

        if self._client is None:
            self._client = _client(self._section)
        try:
            errors = self._client.insert_rows_json(
                self._table,
                [_fields(row) for row in rows],
                row_ids=[row.request_id for row in rows],
                skip_invalid_rows=True,
                retry=None,  # type: ignore[arg-type]  # it takes None: one try, no more
                timeout=PATIENCE,
            )
        except GoogleAPICallError as error:  # of a 413 the library has no class
            if error.code not in OF_ROWS:
                raise
            raise Rejected(f"HTTP {error.code}") from None
        return _answer(rows, errors)


def _client(section: BigQuerySection) -> "Client":
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client

    options = {"api_endpoint": section.endpoint} if section.endpoint else None
    if section.endpoint and section.endpoint.startswith("http:"):
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(section.project, credentials, client_options=options)
    if section.credentials_file:
        made: Client = Client.from_service_account_json(  # type: ignore[no-untyped-call]
            section.credentials_file, project=section.project, client_options=options
        )
        return made
    return Client(section.project, client_options=options)


def _fields(row: UsageRow) -> dict[str, Any]:
    """As JSON has it: a time in RFC 3339, money as an exact decimal text."""
    return {name: _json(value) for name, value in row.named().items()}


def _json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if hasattr(value, "isoformat") else value


def _answer(rows: Sequence[UsageRow], errors: Sequence[Mapping[str, Any]]) -> Answer:
    """The service names the rows that it has not inserted, by their places."""
    refused: dict[str, str] = {}
    later = set()
    for entry in errors:
        request = rows[entry["index"]].request_id
        faults = entry["errors"]
        if faults and all(fault.get("reason") in NEVER for fault in faults):
            places = sorted({fault.get("location") or "?" for fault in faults})
            refused[request] = f"invalid: {', '.join(places)}"
        else:
            later.add(request)
    return Answer(refused, frozenset(later))
