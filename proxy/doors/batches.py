"""Results of many calls, as lines of JSON that are sent while the others are under way."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from proxy.batches import Batch, Done
from proxy.client import CONNECTION, when_lost
from proxy.errors import TurnoutError

LINES = "application/x-ndjson"

Line = Callable[[Done], Mapping[str, Any]]
"""What is said of a call that has ended."""

Summary = Callable[[Sequence[Done]], Mapping[str, Any]]
"""What is said at the end of all."""


class Lines(Response):
    """Lines, each with its end, as they come. `leave` is called when the client leaves."""

    def __init__(self, lines: AsyncGenerator[bytes, None], leave: Callable[[], None]) -> None:
        super().__init__(media_type=LINES)
        del self.headers["content-length"]
        self._lines = lines
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with when_lost(scope["extensions"][CONNECTION], self._leave):
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def streamed(batch: Batch, line: Line, summary: Summary) -> Response:
    """A batch as lines of JSON, as it goes."""
    return Lines(_lines(batch, line, summary), batch.leave)


async def _lines(batch: Batch, line: Line, summary: Summary) -> AsyncGenerator[bytes, None]:
    done: list[Done] = []
    async with aclosing(batch.results()) as results:
        async for each in results:
            done.append(each)
            progress = {"done": len(done), "total": batch.total}
            yield orjson.dumps({**line(each), **progress}) + b"\n"
    yield orjson.dumps({"summary": summary(done)}) + b"\n"


def error_of(error: TurnoutError) -> dict[str, Any]:
    """An error among results: OpenAI's object, and the status that it would have had alone."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return {**said, "status": error.status}
