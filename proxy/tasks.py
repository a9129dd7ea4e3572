"""Background tasks that are kept, named, and heard when they fail."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("turnout.tasks")

_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
    """Starts `work`; the task is referenced until it ends, and a failure of it is logged."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_end)
    return task


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task and waits until it has ended.

    One that is only cancelled may be cancelled again by the loop's own end, in the middle of
    giving back what it holds; aiosqlite's thread then waits for ever.
    """
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _end(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.error("background task %r failed", task.get_name(), exc_info=task.exception())
