"""Many calls of one request: some at a time, each told of as it is done.

When whoever asked leaves, what is under way is cut and nothing more is begun.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from proxy.client import Heard
from proxy.errors import Internal, TurnoutError
from proxy.tasks import spawn

Job = Callable[[Heard], Awaitable[Any]]
"""One of the calls: its answer, or a `TurnoutError`. It is cut through the client it is given."""

Room = Callable[[], Awaitable[None]]
"""Waits until another call may begin."""

log = logging.getLogger("turnout.batches")


class Done(NamedTuple):
    """One call that has ended: the place it had in the request, and its answer or error."""

    place: int
    answer: Any
    error: TurnoutError | None


class Batch:
    """Calls, at most `concurrency` at a time, each once there is room. `results` is read once."""

    def __init__(self, jobs: Sequence[Job], concurrency: int, room: Room | None = None) -> None:
        self.total = len(jobs)
        self.is_over = False
        self._left = enumerate(jobs)
        self._workers = min(concurrency, len(jobs))
        self._room = room
        self._clients: set[Heard] = set()
        self._done: asyncio.Queue[Done | None] = asyncio.Queue()

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
        """Nobody wants the rest: `is_over`, which a `room` that waits has to heed."""
        self.is_over = True
        for client in list(self._clients):
            client.leave()

    async def _work(self) -> None:
        """Call after call, until none is left."""
        try:
            for place, job in self._left:
                if self._room is not None:
                    await self._room()
                if self.is_over:
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
