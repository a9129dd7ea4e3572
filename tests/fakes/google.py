"""Google's services as far as Turnout uses them, on their own wires: BigQuery's `insertAll` over
HTTP, Firestore's `BatchWrite` over gRPC. What they hold is the oracle of what has arrived."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import grpc
from aiohttp import web
from google.cloud.firestore_v1.types import BatchWriteRequest, BatchWriteResponse
from google.rpc.status_pb2 import Status

Reply = Callable[[web.Request, list[dict[str, Any]]], web.StreamResponse]


def status(code: int, reason: str = "backendError") -> Reply:
    """Google's error body; nothing is inserted."""

    def reply(_: web.Request, rows: list[dict[str, Any]]) -> web.StreamResponse:
        error = {"code": code, "message": "no", "errors": [{"reason": reason, "message": "no"}]}
        return web.json_response({"error": error}, status=code)

    return reply


def cut(request: web.Request, _: list[dict[str, Any]]) -> web.StreamResponse:
    """The connection goes before there is an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class BigQuery:
    """One table. `bad` rows are never inserted; `slow` ones not this time. Of more than `most`
    rows none is. `table` holds a row by its insert id, as the service tells doubles apart."""

    def __init__(self) -> None:
        self.table: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.bad: set[str] = set()
        self.slow: set[str] = set()
        self.most = 10_000
        self._script: deque[Reply] = deque()
        self._port = 0

    def script(self, *replies: Reply) -> None:
        """What the next calls are answered; then all is well again."""
        self._script.extend(replies)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=50 * 2**20)
        app.router.add_post("/{path:.*}", self._insert)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _insert(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        rows = asked["rows"]
        self.calls.append((request.path, [row["insertId"] for row in rows]))
        self.headers.append(dict(request.headers))
        if self._script:
            return self._script.popleft()(request, rows)
        if len(rows) > self.most:
            return status(413, "uploadTooLarge")(request, rows)
        assert asked["skipInvalidRows"] is True
        errors = []
        for index, row in enumerate(rows):
            if row["insertId"] in self.bad:
                fault = {"reason": "invalid", "location": "status", "message": "secret words"}
                errors.append({"index": index, "errors": [fault]})
            elif row["insertId"] in self.slow:
                errors.append({"index": index, "errors": [{"reason": "timeout"}]})
            else:
                self.table[row["insertId"]] = row["json"]
        said: dict[str, Any] = {"kind": "bigquery#tableDataInsertAllResponse"}
        return web.json_response(said | ({"insertErrors": errors} if errors else {}))


class Firestore:
    """A database. `codes` are gRPC's numbers of what becomes of single documents; `refusals` the
    codes that whole calls end with, first to last; of more than `most` writes none is done."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: list[list[str]] = []
        self.metadata: list[dict[str, Any]] = []
        self.codes: dict[str, int] = {}
        self.refusals: deque[grpc.StatusCode] = deque()
        self.most = 10_000
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._batch_write,
            request_deserializer=BatchWriteRequest.deserialize,
            response_serializer=BatchWriteResponse.serialize,
        )
        service = "google.firestore.v1.Firestore"
        generic = grpc.method_handlers_generic_handler(service, {"BatchWrite": handler})
        self._server.add_generic_rpc_handlers((generic,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(None).wait()

    def _batch_write(self, request: Any, context: Any) -> Any:
        names = [write.update.name for write in request.writes]
        self.calls.append(names)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.refusals:
            context.abort(self.refusals.popleft(), "no")
        if len(names) > self.most:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too large")
        return BatchWriteResponse(status=list(self._written(request.writes)))

    def _written(self, writes: Iterable[Any]) -> Iterable[Status]:
        for write in writes:
            code = self.codes.get(write.update.name.rpartition("/")[2], 0)
            if code == 0:
                self.documents[write.update.name] = dict(write.update.fields)
            yield Status(code=code)
