"""A pipeline of tasks: one after another for one request, each with the results of those before.

Each task is a call with a row of its own, all of one job. A step that fails fails the whole. When
the client leaves, what is under way is cut and nothing more is begun.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Scope

from adapters.base import JsonObject, Usage
from proxy.batches import Batch, Done, Job
from proxy.client import CONNECTION, Heard, when_lost
from proxy.config import Task
from proxy.config_types import Pipeline, Step
from proxy.doors import task_call
from proxy.doors.chats import Answer, Chats
from proxy.errors import Internal, InvalidRequest, TurnoutError, Upstream
from proxy.prompts import find
from proxy.times import iso_now
from proxy.types import Controls, Principal

AT_ONCE = 4  # calls of a step that runs for each entry of a list
MOST = 50  # entries of such a list


class Asker(NamedTuple):
    """Who asks, and how: the same for all steps."""

    chats: Chats
    principal: Principal
    controls: Controls
    tasks: Mapping[str, Task]


class Run:
    """One run of a pipeline."""

    def __init__(self, name: str, pipeline: Pipeline, asker: Asker, context: JsonObject) -> None:
        self._name = name
        self._steps = pipeline.steps
        self._asker = asker
        self._context = context
        self._results: dict[str, Any] = {}
        self._skipped: list[str] = []
        self._answers: list[Answer] = []
        self._batch: Batch | None = None
        self._gone = False

    async def result(self, scope: Scope) -> dict[str, Any]:
        """The results by step, and what they took in all. Raises the `TurnoutError` of the step
        that failed, which it names; `ClientDisconnect` when the client leaves."""
        began = time.monotonic()
        with when_lost(scope["extensions"][CONNECTION], self._leave):
            for number, step in enumerate(self._steps, 1):
                if self._gone:
                    raise ClientDisconnect
                try:
                    await self._run(step)
                except TurnoutError as error:
                    if self._gone:
                        raise ClientDisconnect from None
                    place = f"step {step.key!r} ({number} of {len(self._steps)})"
                    error.message = f"{place} of {self._name!r} failed: {error.message}"
                    raise
        metadata = {
            "taskType": self._name,
            "skipped": self._skipped,
            "latencyMs": int(1000 * (time.monotonic() - began)),
            "timestamp": iso_now(),
        }
        return {"steps": self._results, "usage": self._usage(), "metadata": metadata}

    def _leave(self) -> None:
        self._gone = True
        if self._batch is not None:
            self._batch.leave()

    async def _run(self, step: Step) -> None:
        """One step, kept under its name."""
        known = {**self._context, "steps": self._results}
        if step.when is not None and not find(known, step.when):
            self._skipped.append(step.key)
            return
        if step.each is None:
            contexts = [_with(step, known)]
        else:
            entries = _entries(step.each, known)
            contexts = [_with(step, {**known, "item": entry}) for entry in entries]
        found = await self._all([self._job(step, context) for context in contexts])
        self._results[step.key] = found if step.each is not None else found[0]

    async def _all(self, jobs: Sequence[Job]) -> list[Any]:
        """The results of calls, in their order. Raises the first error; the others are cut."""
        if not jobs:
            return []
        batch = self._batch = Batch(jobs, AT_ONCE)
        done: list[Done] = []
        async with aclosing(batch.results()) as results:
            async for each in results:
                if each.error is not None:
                    raise each.error
                done.append(each)
        if len(done) < len(jobs):
            raise ClientDisconnect if self._gone else Internal("a call of the step was lost")
        return [each.answer for each in sorted(done, key=lambda each: each.place)]

    def _job(self, step: Step, context: JsonObject) -> Job:
        asker = self._asker
        task = asker.tasks[step.task]

        async def job(client: Heard) -> Any:
            wanted = task_call.wanted(step.task, task, context, asker.controls)
            judge = partial(task_call.judge, step.task, task)
            answer = await asker.chats.ask_one(asker.principal, wanted, client, judge)
            self._answers.append(answer)
            return task_call.result(step.task, task, answer)

        return job

    def _usage(self) -> dict[str, Any]:
        used = [answer.record.usage or Usage() for answer in self._answers]
        total = Usage(*(sum(each) for each in zip(Usage(), *used, strict=True)))
        return task_call.counted(total, sum(answer.cost_usd for answer in self._answers))


def _with(step: Step, known: JsonObject) -> JsonObject:
    found = {name: find(known, path) for name, path in step.added.items()}
    return {**known, **{name: value for name, value in found.items() if value is not None}}


def _entries(path: str, known: JsonObject) -> list[Any]:
    found = find(known, path)
    if isinstance(found, list) and len(found) <= MOST:
        return found
    fault = f"must be a list of {MOST} entries at most"
    if path.startswith("steps."):
        message = f"what an earlier step gave at {path!r} {fault}"
        code = "invalid_upstream_response"
        raise Upstream(message, status=502, type="upstream_error", code=code)
    raise InvalidRequest(f"'context.{path}' {fault}", param=f"context.{path}")
