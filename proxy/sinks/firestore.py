"""Firestore, by `BatchWrite`: one document a request, its id the request's."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from proxy.config_types import FirestoreSection
from proxy.sinks.base import PATIENCE, Answer, Rejected, Sink, UsageRow

if TYPE_CHECKING:
    from google.cloud.firestore_v1.services.firestore import FirestoreClient

OK = 0
NEVER = {3: "INVALID_ARGUMENT", 11: "OUT_OF_RANGE"}
"""gRPC's numbers of what no second try changes, of one write."""

EMULATOR = (("authorization", "Bearer owner"),)
"""How an emulator is told that its rules don't matter; it is no secret."""


class FirestoreSink(Sink):
    """One collection. Google's library blocks, so it works in a thread; it is loaded there too.

    Writes of a batch succeed and fail one by one, and a document that is there is replaced.
    """

    name = "firestore"

    def __init__(self, section: FirestoreSection) -> None:
        self._section = section
        self._database = f"projects/{section.project}/databases/{section.database}"
        self._client: FirestoreClient | None = None

    async def deliver(self, rows: Sequence[UsageRow]) -> Answer:
        return await asyncio.to_thread(self._deliver, rows)

    async def close(self) -> None:
        if self._client is not None:
            await asyncio.to_thread(self._client.transport.close)

    def _deliver(self, rows: Sequence[UsageRow]) -> Answer:
        from google.api_core.exceptions import InvalidArgument
        from google.cloud.firestore_v1.types import BatchWriteRequest

        if self._client is None:
            self._client = _client(self._section)
        writes = [{"update": self._document(row)} for row in rows]
        try:
            said = self._client.batch_write(
                BatchWriteRequest(database=self._database, writes=writes),
                retry=None,  # one try, no more
                timeout=PATIENCE,
                metadata=EMULATOR if self._section.emulator else (),
            )
        except InvalidArgument:
            raise Rejected("INVALID_ARGUMENT") from None
        return _answer(rows, [status.code for status in said.status])

    def _document(self, row: UsageRow) -> dict[str, Any]:
        name = f"{self._database}/documents/{self._section.collection}/{row.request_id}"
        return {"name": name, "fields": {k: _value(v) for k, v in row.named().items()}}


def _client(section: FirestoreSection) -> "FirestoreClient":
    from google.cloud.firestore_v1.services.firestore import FirestoreClient

    if section.emulator:
        return FirestoreClient(transport=_plain_transport(section.emulator))
    if section.credentials_file:
        made: FirestoreClient = FirestoreClient.from_service_account_file(section.credentials_file)
        return made
    return FirestoreClient()


def _plain_transport(address: str) -> Any:
    """Without TLS and credentials."""
    import grpc
    from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport

    return FirestoreGrpcTransport(host=address, channel=grpc.insecure_channel(address))


def _value(value: Any) -> dict[str, Any]:
    """As a `Value` of the wire."""
    match value:
        case None:
            return {"null_value": 0}
        case bool():
            return {"boolean_value": value}
        case int():
            return {"integer_value": value}
        case Decimal():
            return {"double_value": float(value)}
        case datetime():
            return {"timestamp_value": value}
        case _:
            return {"string_value": value}


def _answer(rows: Sequence[UsageRow], codes: Sequence[int]) -> Answer:
    """The service says of each write, in their order, what became of it."""
    refused: dict[str, str] = {}
    later = {row.request_id for row in rows[len(codes) :]}
    for row, code in zip(rows, codes, strict=False):
        if code in NEVER:
            refused[row.request_id] = NEVER[code]
        elif code != OK:
            later.add(row.request_id)
    return Answer(refused, frozenset(later))
