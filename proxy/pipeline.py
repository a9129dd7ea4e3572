"""A request's life, read top to bottom.

    1  identify   who calls                                     doors, auth
    2  parse      what is asked                                 doors
    3  plan       which targets may serve it, in order          routing
    4  reserve    limits and budget                             limits
    5  look up    an answer that is already known               cache
    6  attempt    build, send; on failure `retry` decides       adapters, breaker, upstream, retry
    7  commit     the first content: the point of no return     relay
    8  relay      upstream bytes -> client                      relay
    9  settle     usage, cost, the record, the reservation      accounting, limits, cache

Before 7 any failure may fail over unseen. After it an error is an event inside the stream, never
a clean end. Whatever happens, 9 happens, and the usage middleware hands the record on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from adapters import ADAPTERS, adapter_for
from adapters.answers import replay
from adapters.base import (
    Adapter,
    Ask,
    Endpoint,
    Failure,
    FailureKind,
    Retry,
    Target,
    UpstreamFailure,
    Usage,
)
from adapters.estimate import tokens
from adapters.inbound.messages import count_estimate
from proxy import accounting, breaker, retry, routing
from proxy.auth import Authenticator
from proxy.breaker import Blocked, Breakers, Lease
from proxy.cache.lookup import Answered, Cache
from proxy.cache.policy import NO_TASK
from proxy.cache.types import Entry
from proxy.cache.visit import Tape, Visit
from proxy.client import Client, Silent
from proxy.config import Config
from proxy.config_types import ServerSection
from proxy.errors import LedgerUnavailable, NotCached, Overloaded, TurnoutError
from proxy.failures import answer_to, error_for, without_key
from proxy.ids import uuid7
from proxy.ledger.pricing import Prices
from proxy.lifeline import Cut, Lifeline, Severed, Watch
from proxy.limits import NOTHING, Limiter, LimitsOf, ProviderRoom, Reservation, worst_usage
from proxy.relay import Relay, error_event, hit_headers
from proxy.signals import Signals
from proxy.tasks import spawn
from proxy.telemetry.context import UNDER_WAY
from proxy.types import Attempt, Call, Outcome, Plan, Record
from proxy.upstream import ERROR_LIMIT, Exchange, Upstream

Ready = Callable[[Target], Awaitable[Target]]
"""Fills in where a target is, for one that has to be started first."""

Submit = Callable[[Record], None]
"""Puts a record on the books that no middleware has opened: of a call of Turnout's own."""

Intent = Callable[[Record, Attempt, Usage], None]
"""Puts an attempt on the books before it is sent, with an estimate of its prompt. Raises
`LedgerUnavailable` when the operator wants no request that can't be put there."""

SHADOW, WARM = "turnout:shadow", "turnout:warm"
"""Services that Turnout's own calls are booked under: checks of the cache, and its warming up."""

CLIENT_CLOSED = 499  # nginx's status for a client that left before its answer began

CHECKS = 8  # under way at a time; a hit that would be one more is not checked

_LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
"""Names of one parameter."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration, ready to serve. A request keeps the one that it began with."""

    config: Config
    table: routing.Table
    auth: Authenticator
    prices: Prices
    policy: retry.Policy
    limits: LimitsOf
    breakers: Mapping[str, breaker.Policy]  # by provider


@dataclass(slots=True)
class Request:
    """A call under way: what every step of it needs."""

    ask: Ask
    plan: Plan
    record: Record
    client: Client
    lifeline: Lifeline
    snapshot: Snapshot
    reservation: Reservation
    visit: Visit
    attempt: Attempt | None = None  # under way: it has been, or is being, sent
    lease: Lease | None = None  # that the attempt has of its target's circuits
    room: int = 0  # tokens that the attempt was counted with against its provider's limits

    def begin_again(self) -> None:
        """Before each attempt: what the last one left behind is gone."""
        self.attempt, self.lease, self.room = None, None, 0


class Pipeline:
    """Serves calls. One a process; what changes with the configuration comes with each call."""

    def __init__(
        self,
        upstream: Upstream,
        signals: Signals,
        breakers: Breakers,
        limiter: Limiter,
        cache: Cache,
        ready: Ready,
        intent: Intent,
        submit: Submit,
    ) -> None:
        self._upstream = upstream
        self._signals = signals
        self._breakers = breakers
        self._limiter = limiter
        self._cache = cache
        self._ready = ready
        self._intent = intent
        self._submit = submit
        self._checking = 0
        self._rooms = ProviderRoom()
        self._budget = retry.Budget()
        self._watch = Watch()
        self._counts_no_streams: set[str] = set()  # providers
        self._lacks_responses: set[str] = set()  # providers

    @property
    def under_way(self) -> int:
        """Requests that are being served."""
        return self._budget.requests

    def admit(self, server: ServerSection) -> None:
        """Raises `Overloaded` when another request would be one too many."""
        if self.under_way >= server.max_requests:
            reason = f"{self.under_way} requests are under way"
        elif self._watch.lag > server.max_lag:
            reason = f"the event loop is {self._watch.lag:.1f} s late"
        else:
            return
        message = f"this process is overloaded ({reason}); try again"
        raise Overloaded(message, headers={"retry-after": "1"})

    async def idle(self, seconds: float) -> None:
        """Returns when nothing is under way any more, or after `seconds`."""
        ends = time.monotonic() + seconds
        while self.under_way and time.monotonic() < ends:  # noqa: ASYNC110  (once, at the end)
            await asyncio.sleep(0.01)

    async def serve(self, snapshot: Snapshot, call: Call, record: Record, client: Client) -> None:
        """Steps 3 to 9: answers the client, or raises the `TurnoutError` to answer with."""
        plan = self._plan(snapshot, call)
        record.name, record.task = plan.name, plan.task
        ask = _with_defaults(call.ask, plan)
        if ask.endpoint is Endpoint.COUNT_TOKENS and not _counts(plan.targets[0]):
            await _answer_count(ask, plan.targets[0], record, client)
            return
        task = snapshot.config.tasks.get(plan.task or "")
        if task is not None and task.usage_type != "text":
            record.usage_type = task.usage_type
        section = snapshot.config.cache
        visit = self._cache.open(section, task.cache if task else NO_TASK, call, plan, ask)
        reservation = await self._limiter.reserve(
            record.id,
            call.principal,
            snapshot.limits,
            ask,
            snapshot.prices,
            plan.targets,
            call.controls,
        )
        lifeline = Lifeline(self._watch, call.controls.timeout or plan.targets[0].timeouts.total)
        request = Request(ask, plan, record, client, lifeline, snapshot, reservation, visit)
        self._budget.requests += 1
        try:
            client.watch(lifeline)
            if not await self._from_cache(request):
                await self._attempts(request)
        finally:
            self._budget.requests -= 1
            client.unwatch()
            lifeline.release()
            accounting.settle(record)
            record.cache = _verdict(visit)
            if reservation.wants or visit.tape or visit.leads:
                await asyncio.shield(self._settle(request))

    def _plan(self, snapshot: Snapshot, call: Call) -> Plan:
        """Step 3. Raises `ModelNotFound`, `CredentialUnavailable`."""
        principal, controls, signals = call.principal, call.controls, self._signals
        if call.route:
            return routing.plan_route(snapshot.table, principal, call, signals)
        plan = routing.plan(snapshot.table, principal, call.name, controls, signals)
        if plan.task is None and call.label is not None:
            return plan._replace(task=call.label)
        return plan

    async def _settle(self, request: Request) -> None:
        """Step 9, for a caller with limits, and an answer that the next caller may have. Limits
        come first: to keep an answer may take a while, and the caller may be back before."""
        record, reservation, visit = request.record, request.reservation, request.visit
        answered = record.outcome is Outcome.OK
        try:
            if reservation.wants:
                used = None if record.cached else record.usage
                await self._limiter.settle(reservation, used, record.cost_nanousd)
            if answered and visit.tape is not None:
                await self._keep(request)
        finally:
            await self._cache.close(visit, answered)

    async def _keep(self, request: Request) -> None:
        record = request.record
        by = Answered(
            record.provider or "", record.model or "", record.usage or Usage(), record.cost_nanousd
        )
        entry = self._cache.made(request.visit, request.ask, request.plan, by)
        if entry is not None:
            await self._cache.keep(request.visit, entry)

    async def _from_cache(self, request: Request) -> bool:
        """Step 5: whether the request is done. Raises `NotCached` where only a hit was wanted."""
        visit = request.visit
        if visit.key is not None:
            try:
                await request.lifeline.guard(self._look_up(visit))
            except Severed as severed:
                return _ended_waiting(request, severed.cut)
            except asyncio.CancelledError:
                raise error_for(_shutting_down(), request.plan.targets[0]) from None
        if visit.entry is not None:
            await self._give(request, visit.entry)
            is_own = any(target.is_own for target in request.plan.targets)  # nobody else's to spend
            drawn = visit.near is not None and visit.near.drawn and not is_own
            if drawn and self._checking < CHECKS:
                spawn(self._check(request), "check an answer by meaning")
            return True
        if visit.said.only_if_cached:
            message = "no kept answer serves this request, and x-turnout-cache wants no other"
            raise NotCached(message, headers={"x-should-retry": "false"})
        return False

    async def _look_up(self, visit: Visit) -> None:
        await self._cache.look_up(visit)

    async def _check(self, served: Request) -> None:
        """Asks the provider what a kept answer was served for, to compare the two. The operator
        pays: it is on the books as a service of its own, and counts against nobody's limits."""
        record = self.own_record(served.ask.endpoint, SHADOW, served.record)
        visit = replace(served.visit, entry=None, leads=False, tape=Tape(), reason="shadow")
        lifeline = Lifeline(self._watch, served.plan.targets[0].timeouts.total)
        snapshot, ask, plan = served.snapshot, served.ask, served.plan
        client = Silent()
        request = Request(ask, plan, record, client, lifeline, snapshot, NOTHING, visit)
        self._checking += 1
        self._budget.requests += 1
        try:
            client.watch(lifeline)
            try:
                await self._attempts(request)
            finally:  # what failed may have cost something too
                accounting.settle(record)
            if record.outcome is Outcome.OK:
                await self._keep(request)
        except TurnoutError as error:
            record.error_code, record.error_message = error.code, error.message
        finally:
            self._checking -= 1
            self._budget.requests -= 1
            lifeline.release()
            self.close_own(record)

    def own_record(self, endpoint: Endpoint, service: str, like: Record | None = None) -> Record:
        """A record of a call that Turnout makes itself, under the name of a service."""
        record = Record(uuid7())
        record.admitted, record.endpoint, record.service = True, endpoint, service
        if like is not None:
            record.name, record.task, record.stream = like.name, like.task, like.stream
        asker = like or UNDER_WAY.get()
        if asker is not None and asker.trace is not None:
            record.trace = asker.trace.below()
        return record

    def close_own(self, record: Record, status: int = 502) -> None:
        """Puts such a record on the books; `status` is of one that failed."""
        record.duration = time.monotonic() - record.started
        record.status = 200 if record.outcome is Outcome.OK else status
        if record.outcome is Outcome.CLIENT_CLOSED:
            record.status = CLIENT_CLOSED
        self._submit(record)

    async def _give(self, request: Request, entry: Entry) -> None:
        """A kept answer, in the way that was asked for."""
        record, ask, client = request.record, request.ask, request.client
        body = b"".join(replay(ask, entry.body, int(time.time())))
        accounting.reuse(record, entry)
        headers = hit_headers(record, request.visit, ask.stream, len(body))
        headers += request.reservation.headers()
        try:
            await request.lifeline.guard(_write(client, headers, body))
        except Severed as severed:
            record.outcome = Outcome.CLIENT_CLOSED
            record.error_code = "client_closed"
            if severed.cut is Cut.CLIENT_SLOW:
                await client.abort()

    async def _attempts(self, request: Request) -> None:
        """Step 6, until a target answers. Raises the last failure's error when none does."""
        policy = request.snapshot.policy
        targets = self._as_learned(request.plan.targets)
        tried: list[tuple[Target, Failure]] = []
        while step := retry.next_step(targets, tried, policy, self._budget):
            if step.delay > request.lifeline.time_left():
                break
            began = time.monotonic()
            self._budget.retries += step.again
            try:
                failure = await self._attempt(request, step)
            finally:
                self._budget.retries -= step.again
            if failure is None:
                return
            request.record.upstream_wait += time.monotonic() - began
            tried.append((step.target, failure))
            self._learn(step.target, failure)
        raise answer_to(tried)

    async def _attempt(self, request: Request, step: retry.Step) -> Failure | None:
        """One attempt, settled whatever comes; the failure when it may be made good elsewhere."""
        target = step.target
        request.begin_again()
        try:
            if step.delay:
                await request.lifeline.guard(asyncio.sleep(step.delay))
            await request.lifeline.guard(self._exchange(request, target))
            self._leave(request, None)
        except UpstreamFailure as error:
            return await self._fail(request, target, error.failure)
        except Severed as severed:
            if severed.cut in (Cut.CLIENT_GONE, Cut.CLIENT_SLOW):
                _note_client_gone(request, target, severed.cut)
                if severed.cut is Cut.CLIENT_SLOW:
                    await request.client.abort()
                return None
            if severed.cut is Cut.TOTAL and request.lease is not None:
                self._breakers.release(request.lease)  # a client may have set that time itself
                request.lease = None
            return await self._fail(request, target, _too_late(severed.cut, target))
        except asyncio.CancelledError:
            return await self._shut_down(request, target)
        finally:
            self._close_attempt(request, target)
        return None

    async def _exchange(self, request: Request, target: Target) -> None:
        """Steps 6 to 8 with one target: returns when the client has its whole answer.

        What the dialect can't say is known before anything is sent, and is no attempt.
        """
        ask, lifeline = request.ask, request.lifeline
        if not target.base_url:
            target = await self._started(request, target)
        adapter = adapter_for(ask.endpoint, target)
        outgoing = adapter.request(ask, target)
        self._enter(request, target)
        attempt = request.attempt = accounting.begin(request.record, target)
        cut = Cut.FIRST_TOKEN if ask.stream else Cut.RESPONSE
        timeouts = target.timeouts
        patience = timeouts.first_token if ask.stream else timeouts.response
        lifeline.arm(cut, patience)
        self._announce(request, target, attempt)
        trace = request.record.trace
        beside = None if trace is None else trace.headers_of(attempt.id, outgoing.url)
        exchange = await self._upstream.send(outgoing, target, beside)
        try:
            attempt.status = exchange.status
            if exchange.status != 200:
                raise UpstreamFailure(await _read_failure(ask, target, adapter, exchange))
            relay = Relay(
                ask=ask,
                target=target,
                adapter=adapter,
                client=request.client,
                lifeline=lifeline,
                record=request.record,
                attempt=attempt,
                prices=request.snapshot.prices,
                dropped=outgoing.dropped,
                limits=request.reservation.headers(),
                visit=request.visit,
            )
            await relay.serve(exchange)
            self._signals.note_latency(target.id, attempt.first_token or 0.0)
        finally:
            exchange.close()

    def _close_attempt(self, request: Request, target: Target) -> None:
        attempt = request.attempt
        if attempt is not None:
            attempt.duration = time.monotonic() - attempt.started
        if request.lease is not None:  # it came to nothing: the client left
            self._breakers.release(request.lease)
        if request.room:
            used = attempt.usage.total if attempt is not None and attempt.usage else 0
            self._rooms.correct(target.provider, request.room, used)

    def _enter(self, request: Request, target: Target) -> None:
        """Raises `UpstreamFailure` where a circuit or the provider's own limits leave no room."""
        rates = request.snapshot.config.providers[target.provider]
        is_limited = (rates.rpm is not None or rates.tpm is not None) and not target.is_own
        amount = worst_usage(request.ask).total if is_limited else 0
        if is_limited and (seconds := self._rooms.room(target.provider, rates, amount)) > 0:
            raise UpstreamFailure(_no_room(target, seconds))
        policy = request.snapshot.breakers[target.provider]
        found = self._breakers.enter(target, policy, time.monotonic(), shared=not target.is_own)
        if isinstance(found, Blocked):
            raise UpstreamFailure(_circuit_open(target, found))
        request.lease = found
        if is_limited:
            self._rooms.take(target.provider, rates, amount)
            request.room = amount

    def _announce(self, request: Request, target: Target, attempt: Attempt) -> None:
        """Puts the attempt on the books before it is sent; one that can't be is none.

        What the prompt costs goes with it: if the process dies, budgets have to know of it.
        """
        estimate = Usage(prompt=tokens(len(request.ask.raw)))
        place = target.provider, target.base_url, target.model
        attempt.cost_nanousd = request.snapshot.prices.cost(*place, estimate)
        try:
            self._intent(request.record, attempt, estimate)
        except LedgerUnavailable:
            request.record.attempts.remove(attempt)
            request.attempt = None
            raise
        attempt.cost_nanousd = None

    def _leave(self, request: Request, failure: Failure | None) -> None:
        """Tells the circuits how the attempt ended."""
        lease, request.lease = request.lease, None
        if lease is not None:
            self._breakers.leave(lease, failure, time.monotonic())

    async def _started(self, request: Request, target: Target) -> Target:
        """A target that has to be started first; waiting for it is no overhead of ours."""
        began = time.monotonic()
        request.lifeline.arm(Cut.FIRST_TOKEN, target.timeouts.first_token)
        started = await self._ready(target)
        request.record.upstream_wait += time.monotonic() - began
        return started

    async def _fail(self, request: Request, target: Target, failure: Failure) -> Failure | None:
        """Notes a failure. After the point of no return the client is told inside its stream."""
        failure = without_key(failure, target)
        self._leave(request, failure)
        if request.attempt is not None:
            accounting.fail(request.attempt, failure, target)
        if not request.client.started:
            return failure
        error = error_for(failure, target)
        request.record.outcome = Outcome.FAILED
        request.record.error_code, request.record.error_message = error.code, error.message
        last = error_event(error, request.ask.endpoint)
        if last is None:
            await request.client.abort()
            return None
        try:
            await request.lifeline.guard(request.client.end(last))
        except Severed:
            await request.client.abort()
        return None

    async def _shut_down(self, request: Request, target: Target) -> Failure | None:
        """The server ends and waits no longer: the client is told, and the books are kept."""
        return await self._fail(request, target, _shutting_down())

    def _as_learned(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """The targets, without what their providers have been seen to refuse."""
        refusing, lacking = self._counts_no_streams, self._lacks_responses
        if not refusing and not lacking:
            return targets
        return tuple(
            replace(
                target,
                takes_stream_options=target.takes_stream_options
                and target.provider not in refusing,
                has_responses=False if target.provider in lacking else target.has_responses,
            )
            for target in targets
        )

    def _learn(self, target: Target, failure: Failure) -> None:
        if failure.kind is FailureKind.STREAM_OPTIONS and target.takes_stream_options:
            self._counts_no_streams.add(target.provider)
        if failure.kind is FailureKind.NO_RESPONSES:
            self._lacks_responses.add(target.provider)


def _verdict(visit: Visit) -> str:
    """What the cache did: the tier of a hit, `miss` or `bypass`."""
    if visit.entry is not None:
        return visit.tier.value
    return "bypass" if visit.key is None else "miss"


async def _write(client: Client, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await client.start(200, headers)
    await client.end(body)


def _ended_waiting(request: Request, cut: Cut) -> bool:
    """A request that was cut while it waited for one like it: its client left, or its time is
    up."""
    if cut is Cut.CLIENT_GONE:
        request.record.outcome = Outcome.CLIENT_CLOSED
        request.record.error_code = "client_closed"
        return True
    target = request.plan.targets[0]
    raise error_for(_too_late(cut, target), target)


def _shutting_down() -> Failure:
    """The failure that the server's cancel is. The task goes on, to tell of it."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
    return Failure(FailureKind.SHUTTING_DOWN, "Turnout is shutting down", Retry.NEVER)


def _no_room(target: Target, seconds: float) -> Failure:
    message = f"the limits configured for provider {target.provider} are reached"
    return Failure(FailureKind.NO_ROOM, message, Retry.NEXT_TARGET, retry_after=seconds)


def _circuit_open(target: Target, blocked: Blocked) -> Failure:
    message = f"{blocked.name} is left alone for {blocked.seconds:.0f} s, because it failed"
    return Failure(
        FailureKind.CIRCUIT_OPEN, message, Retry.NEXT_TARGET, retry_after=blocked.seconds
    )


async def _read_failure(ask: Ask, target: Target, adapter: Adapter, exchange: Exchange) -> Failure:
    """What an answer that is no 200 says. A path that is not there is no model that is not."""
    body = await exchange.read(ERROR_LIMIT)
    if target.api_key is not None:  # here, where it is whole: later it may have been cut
        body = body.replace(target.api_key.get_secret_value().encode(), b"***")
    failure = adapter.failure(exchange.status, exchange.headers, body)
    maybe_absent = ask.endpoint is Endpoint.RESPONSES and target.has_responses is None
    if maybe_absent and exchange.status in (404, 405, 501) and failure.code != "model_not_found":
        return replace(failure, kind=FailureKind.NO_RESPONSES, retry=Retry.NEXT_TARGET)
    return failure


def _counts(target: Target) -> bool:
    """Whether a provider counts tokens itself."""
    return Endpoint.COUNT_TOKENS in ADAPTERS[target.dialect].endpoints


async def _answer_count(ask: Ask, target: Target, record: Record, client: Client) -> None:
    """A count of tokens that no provider makes: an estimate, and marked as one."""
    try:
        body = count_estimate(ask)
    except UpstreamFailure as error:
        raise error_for(error.failure, target) from None
    record.outcome = Outcome.OK
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-turnout-estimated", b"true"),
    ]
    await client.start(200, headers)
    await client.end(body)


def _with_defaults(ask: Ask, plan: Plan) -> Ask:
    """A task's parameters, where the request leaves them out."""
    if not plan.defaults:
        return ask
    given = ask.body.keys()
    limited = not _LIMITS.isdisjoint(given)
    defaults = {
        name: value
        for name, value in plan.defaults.items()
        if name not in given and not (limited and name in _LIMITS)
    }
    return ask._replace(defaults=defaults)


def _too_late(cut: Cut, target: Target) -> Failure:
    """The failure that a deadline of ours is: the same target is not waited for again."""
    timeouts = target.timeouts
    match cut:
        case Cut.IDLE:
            message = f"no content for {timeouts.idle:g} s"
            return Failure(FailureKind.IDLE, message, Retry.NEVER)
        case Cut.FIRST_TOKEN:
            message = f"no first token within {timeouts.first_token:g} s"
            return Failure(FailureKind.TIMEOUT, message, Retry.NEXT_TARGET)
        case Cut.RESPONSE:
            message = f"no answer within {timeouts.response:g} s"
            return Failure(FailureKind.TIMEOUT, message, Retry.NEXT_TARGET)
        case _:
            message = "the request took longer than it may in all"
            return Failure(FailureKind.TIMEOUT, message, Retry.NEVER)


def _note_client_gone(request: Request, target: Target, cut: Cut) -> None:
    record, attempt = request.record, request.attempt
    record.outcome = Outcome.CLIENT_CLOSED
    record.error_code = "client_too_slow" if cut is Cut.CLIENT_SLOW else "client_closed"
    if attempt is not None:
        attempt.outcome = Outcome.CLIENT_CLOSED
        attempt.error_code = record.error_code
        if attempt.usage is None:
            # The prompt was sent, and is likely billed.
            accounting.count(attempt, target, request.ask, None, 0, request.snapshot.prices)
