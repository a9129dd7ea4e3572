"""Many calls of one request: some at a time, each told of as it is done.

When whoever asked leaves, what is under way is cut and nothing more is begun.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.client import CONNECTION, Connection, Heard
from proxy.errors import Internal, TurnoutError
from proxy.tasks import spawn

Job = Callable[[Heard], Awaitable[Any]]
"""One of the calls: its answer, or a `TurnoutError`. It is cut through the client it is given."""

log = logging.getLogger("turnout.batches")

LINES = "application/x-ndjson"


class Done(NamedTuple):
    """One call that has ended: the place it had in the request, and its answer or error."""

    place: int
    answer: Any
    error: TurnoutError | None


class Batch:
    """Calls, at most `concurrency` at a time. `results` is read once."""

    def __init__(self, jobs: Sequence[Job], concurrency: int) -> None:
        self.total = len(jobs)
        self._left = enumerate(jobs)
        self._workers = min(concurrency, len(jobs))
        self._clients: set[Heard] = set()
        self._done: asyncio.Queue[Done | None] = asyncio.Queue()
        self._over = False

    async def results(self) -> AsyncGenerator[Done, None]:
        """Each call as it ends. What is under way when it is closed is cut."""
        count = self._workers
        workers = [spawn(self._work(), "work on a batch") for _ in range(count)]
        try:
            while count:
                done = await self._done.get()
                if done is None:
                    count -= 1
                else:
                    yield done
        finally:
            self.leave()
            await asyncio.gather(*workers, return_exceptions=True)

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._over = True
        for client in list(self._clients):
            client.leave()

    async def _work(self) -> None:
        """Call after call, until none is left."""
        try:
            for place, job in self._left:
                if self._over:
                    return
                self._done.put_nowait(await self._one(place, job))
        finally:
            self._done.put_nowait(None)

    async def _one(self, place: int, job: Job) -> Done:
        client = Heard()
        self._clients.add(client)
        try:
            return Done(place, await job(client), None)
        except TurnoutError as error:
            return Done(place, None, error)
        except Exception:  # a fault of ours with one must not end the others
            log.exception("a call of a batch failed in Turnout itself")
            return Done(place, None, Internal("Turnout itself failed; its log has the details"))
        finally:
            self._clients.discard(client)


Line = Callable[[Done], Mapping[str, Any]]
"""What is said of a call that has ended."""

Summary = Callable[[Sequence[Done]], Mapping[str, Any]]
"""What is said at the end of all."""


class Streamed(Response):
    """A batch as lines of JSON, as it goes."""

    def __init__(self, batch: Batch, line: Line, summary: Summary) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._batch = batch
        self._line = line
        self._summary = summary

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["extensions"][CONNECTION]
        connection.on_lost = self._batch.leave
        if connection.is_lost:
            self._batch.leave()
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            connection.on_lost = None

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        done: list[Done] = []
        async with aclosing(self._batch.results()) as results:
            async for each in results:
                done.append(each)
                progress = {"done": len(done), "total": self._batch.total}
                yield orjson.dumps({**self._line(each), **progress}) + b"\n"
        yield orjson.dumps({"summary": self._summary(done)}) + b"\n"


def error_of(error: TurnoutError) -> dict[str, Any]:
    """An error among results: OpenAI's object, and the status that it would have had alone."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return {**said, "status": error.status}
