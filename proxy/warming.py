"""The cache, filled before anybody asks: many prompts, asked as the chat calls of one tenant.

    read      what is wanted, from a body                pure; a fault names its field
    prepare   whose answers these will be, of which name
    start     the prompts on their way, a few at a time  each is told of as it is done

Each prompt goes the way of any call, so what is kept is what that tenant's own call would have
made. It is the operator's doing: booked under a service of Turnout's own, and counted against no
key's limits. It gives way, too: while the process is overloaded nothing more is asked.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import orjson
from sqlalchemy.exc import SQLAlchemyError

from adapters.answers import unfit
from adapters.base import Ask, Endpoint
from proxy import routing
from proxy.batches import Batch
from proxy.cache import directives
from proxy.cache.counts import Counts
from proxy.client import Heard
from proxy.errors import DatabaseUnavailable, Internal, Overloaded, TurnoutError, Unprocessable
from proxy.keys import KeyStore
from proxy.limits import FREE, worst_cost, worst_usage
from proxy.pipeline import WARM, Pipeline, Snapshot
from proxy.routing import TASK_PREFIX
from proxy.types import Call, Controls, Principal, Record, Role

MOST = 10_000  # prompts of one request
USUAL, MOST_AT_ONCE = 4, 32  # prompts under way at a time
PAUSE = 0.5  # seconds between two looks at a process that is overloaded

log = logging.getLogger("turnout.warming")

_OWN = frozenset({"model", "messages", "stream", "stream_options", "metadata", "store"})
"""Fields of a chat call that a warm-up decides itself."""

Check = Callable[[Mapping[str, Any]], None]
"""Raises a `TurnoutError` whose `param` names what is wrong in the body of a chat call."""


class Status(StrEnum):
    """What came of a prompt: kept now, kept already, answered and not kept, not answered; of a
    dry run, what is to be asked."""

    STORED = "stored"
    HIT = "hit"
    NOT_KEPT = "not_kept"
    FAILED = "failed"
    PLANNED = "planned"


class Wanted(NamedTuple):
    """What a body asks for. `asked` is the field that has the name; `key_id` and `user_id` say
    whose answers these will be: None are the caller's own."""

    name: str
    asked: str
    bodies: tuple[dict[str, Any], ...]
    key_id: str | None
    user_id: str | None
    concurrency: int
    dry_run: bool


class Job(NamedTuple):
    """What is wanted, and as whom."""

    wanted: Wanted
    principal: Principal
    controls: Controls


class Told(NamedTuple):
    """What came of one prompt. `cost_nanousd` None when nobody knows; of a dry run the most that
    it can be."""

    place: int
    status: Status
    reason: str | None
    cost_nanousd: int | None


# What is asked.


def read(body: Mapping[str, Any], check: Check) -> Wanted:
    """A body: `{prompts, model | task, system?, parameters?, key_id? | user_id?, concurrency?,
    dry_run?}`. Raises `Unprocessable` naming the field at fault."""
    for field in body:
        if field not in _KNOWN:
            raise _fault(field, f"is not known; known are {', '.join(_KNOWN)}")
    asked = _one_of(body, "model", "task")
    if asked is None:
        raise _fault("model", "or 'task' is missing")
    name = _text(asked, body[asked])
    owner = _one_of(body, "key_id", "user_id")
    owners = {} if owner is None else {owner: _text(owner, body[owner])}
    at_once = body.get("concurrency", USUAL)
    if type(at_once) is not int or not 1 <= at_once <= MOST_AT_ONCE:
        raise _fault("concurrency", f"must be a whole number from 1 to {MOST_AT_ONCE}")
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise _fault("dry_run", "must be true or false")
    name = name if asked == "model" else TASK_PREFIX + name
    bodies = tuple(_bodies(body, asked, name, check))
    return Wanted(
        name, asked, bodies, owners.get("key_id"), owners.get("user_id"), at_once, dry_run
    )


_KNOWN = (
    "prompts", "model", "task", "system", "parameters", "key_id", "user_id", "concurrency",
    "dry_run",
)  # fmt: skip


def _fault(field: str, fault: str) -> Unprocessable:
    return Unprocessable(f"{field!r} {fault}", param=field)


def _one_of(body: Mapping[str, Any], first: str, second: str) -> str | None:
    """Which of two fields is there. Raises `Unprocessable` where both are."""
    if first in body and second in body:
        raise _fault(second, f"can't be given together with {first!r}")
    return next((field for field in (first, second) if field in body), None)


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _fault(field, "must be a non-empty string")
    return value


def _bodies(
    body: Mapping[str, Any], asked: str, name: str, check: Check
) -> Iterator[dict[str, Any]]:
    """The bodies of the chat calls, each checked."""
    prompts = body.get("prompts")
    if not isinstance(prompts, list) or not 1 <= len(prompts) <= MOST:
        raise _fault("prompts", f"must be a list of 1 to {MOST} prompts")
    system = _text("system", body["system"]) if "system" in body else None
    parameters = body.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _fault("parameters", "must be an object with fields of a chat call")
    for field in _OWN & parameters.keys():
        raise _fault(f"parameters.{field}", "is not for a warm-up to say here")
    for index, prompt in enumerate(prompts):
        place = f"prompts[{index}]"
        made = {"model": name, "messages": _messages(place, prompt, system), **parameters}
        try:
            check(made)
            orjson.dumps(made)  # it reads what is deeper, or larger, than it writes
        except TypeError:
            raise _fault(place, "is nested too deeply, or has a number that is too large") from None
        except TurnoutError as error:
            known = {"messages": f"{place}.messages", "model": asked}
            wrong = known.get(error.param or "", f"parameters.{error.param}")
            raise Unprocessable(f"{wrong}: {error.message}", param=wrong) from None
        yield made


def _messages(place: str, prompt: Any, system: str | None) -> list[Any]:
    """A prompt as the messages of a chat."""
    if isinstance(prompt, dict) and "messages" in prompt:
        _nothing_else(place, prompt, "messages")
        messages: list[Any] = prompt["messages"]
        return messages
    if isinstance(prompt, dict):
        _nothing_else(place, prompt, "prompt", "system")
        if "system" in prompt:
            system = _text(f"{place}.system", prompt["system"])
        place, prompt = f"{place}.prompt", prompt.get("prompt")
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": _text(place, prompt)}]


def _nothing_else(place: str, prompt: Mapping[str, Any], *known: str) -> None:
    for field in prompt:
        if field not in known:
            raise _fault(f"{place}.{field}", f"is not known; known are {', '.join(known)}")


# What is done.


class Warming:
    """Warms the cache of one process. `current` gives the configuration in force."""

    def __init__(
        self,
        pipeline: Pipeline,
        counts: Counts,
        current: Callable[[], Snapshot],
        keys: Callable[[], KeyStore],
    ) -> None:
        self.pipeline = pipeline
        self.counts = counts
        self.current = current
        self._keys = keys

    async def prepare(self, wanted: Wanted, caller: Principal, controls: Controls) -> Job:
        """The job, once it is known whose it is. `controls` are the caller's: a namespace and
        tags of `x-turnout-cache` hold for each prompt. Raises `Unprocessable`."""
        if controls.cache is not None:
            directives.parse(controls.cache)
        principal = await self._owner(wanted, caller)
        known = routing.resolve(self.current().table, wanted.name)
        if known is None or not principal.may_use(wanted.name):
            message = f"{wanted.name!r} does not exist or is not for this tenant"
            raise Unprocessable(message, param=wanted.asked)
        return Job(wanted, principal, controls._replace(task=None))

    async def _owner(self, wanted: Wanted, caller: Principal) -> Principal:
        """Whose call each prompt is."""
        if wanted.user_id is not None:
            return Principal(Role.USER, user_id=wanted.user_id, limits=FREE)
        if wanted.key_id is None:
            return caller
        try:
            row = await self._keys().get(wanted.key_id)
        except (SQLAlchemyError, OSError):
            message = "the database is away, which knows whose key that is; try again"
            raise DatabaseUnavailable(message, headers={"retry-after": "2"}) from None
        if row is None or not row.is_live(time.time()):
            raise _fault("key_id", "is the id of no key that is alive")
        return Principal(Role.KEY, row.id, row.user_id, row.models, FREE, row.cache)

    def start(self, job: Job) -> "Run":
        """Nothing is asked before its `results` are read."""
        return Run(self, job)


class Run:
    """One job under way. `results` is read once."""

    def __init__(self, warming: Warming, job: Job) -> None:
        self._warming = warming
        self._job = job
        wanted = job.wanted
        jobs = [partial(self._tell, place, body) for place, body in enumerate(wanted.bodies)]
        self._batch = Batch(jobs, wanted.concurrency, self._room)

    async def results(self) -> AsyncGenerator[Told, None]:
        """What came of each prompt, as it is done. What is under way when it is closed is cut."""
        async with aclosing(self._batch.results()) as results:
            async for done in results:
                yield done.answer

    def leave(self) -> None:
        """Whoever wanted it is gone: what is under way is cut, and nothing more is asked."""
        self._batch.leave()

    async def _tell(self, index: int, body: dict[str, Any], client: Heard) -> Told:
        try:
            if self._job.wanted.dry_run:
                return await self._plan(index, body)
            return await self._ask(index, body, client)
        except Exception:  # a fault of ours with one must not end the others
            log.exception("a prompt of a warm-up failed in Turnout itself")
            return Told(index, Status.FAILED, Internal.code, None)

    async def _room(self) -> None:
        """Returns when the process can take another request, or nobody wants it any more."""
        while not self._batch.is_over:
            try:
                self._warming.pipeline.admit(self._warming.current().config.server)
            except Overloaded:
                await asyncio.sleep(PAUSE)
            else:
                return

    async def _plan(self, index: int, body: dict[str, Any]) -> Told:
        """What asking would cost at the most; asks nobody."""
        await asyncio.sleep(0)  # thousands of prompts must not hold the others up
        snapshot, name = self._warming.current(), self._job.wanted.name
        ask = _ask_of(body, snapshot, name)
        resolved = routing.resolve(snapshot.table, name)
        first = resolved and routing.first_target(snapshot.table, resolved)
        if not first:
            return Told(index, Status.FAILED, "model_not_found", 0)
        targets = routing.targets_of(snapshot.table, *first)
        cost = worst_cost(worst_usage(ask), snapshot.prices, targets)
        return Told(index, Status.PLANNED, None, cost)

    async def _ask(self, index: int, body: dict[str, Any], client: Heard) -> Told:
        """One call through the pipeline, and onto the books."""
        warming, job = self._warming, self._job
        snapshot = warming.current()
        ask = _ask_of(body, snapshot, job.wanted.name)
        call = Call(job.principal, ask._replace(defaults={}), job.wanted.name, job.controls)
        record = warming.pipeline.own_record(Endpoint.CHAT, WARM)
        record.name = job.wanted.name
        refused = warming.counts.not_stored["store"]
        try:
            await warming.pipeline.serve(snapshot, call, record, client)
        except TurnoutError as error:
            record.error_code, record.error_message = error.code, error.message
            return Told(index, Status.FAILED, error.code, record.cost_nanousd or 0)
        finally:
            warming.pipeline.close_own(record)
        if not client.whole:
            return Told(index, Status.FAILED, record.error_code, _cost(record))
        # Which answer the store refused nobody says: with others under way, it may be theirs.
        is_refused = warming.counts.not_stored["store"] > refused
        return Told(index, *_status(client, ask, is_refused), _cost(record))


def _ask_of(body: dict[str, Any], snapshot: Snapshot, name: str) -> Ask:
    """A chat call, with the parameters that a task fills in."""
    resolved = routing.resolve(snapshot.table, name)
    defaults = {} if resolved is None else dict(resolved.defaults)
    drop = frozenset({"drop_params"} & body.keys())
    drop_params = body.get("drop_params") is True
    raw = orjson.dumps(body)
    return Ask(Endpoint.CHAT, raw, body, defaults=defaults, drop=drop, drop_params=drop_params)


def _status(client: Heard, ask: Ask, is_refused: bool) -> tuple[Status, str | None]:
    """What the cache made of an answer, by the answer itself."""
    if client.cache.startswith("hit"):
        return Status.HIT, None
    if client.cache.startswith("bypass"):
        return Status.NOT_KEPT, client.cache.rpartition("reason=")[2]
    reason = unfit(ask, client.body) or ("store" if is_refused else None)
    return (Status.STORED, None) if reason is None else (Status.NOT_KEPT, reason)


def _cost(record: Record) -> int | None:
    return 0 if not record.attempts else record.cost_nanousd


class Summary(NamedTuple):
    """All that came of a job. `cost_nanousd` is of those whose cost is known."""

    total: int
    counts: Mapping[str, int]
    cost_nanousd: int


def summarise(total: int, told: Sequence[Told]) -> Summary:
    """The sums of what was told."""
    counts = {status.value: sum(each.status is status for each in told) for status in Status}
    return Summary(total, counts, sum(each.cost_nanousd or 0 for each in told))
