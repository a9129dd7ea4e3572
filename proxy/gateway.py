"""What lives as long as a process serves: made when it starts, unmade in reverse when it ends."""

import asyncio
import gc
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette

from adapters import adapter_for
from adapters.base import (
    Ask,
    Endpoint,
    Failure,
    FailureKind,
    Retry,
    Target,
    UpstreamFailure,
    Usage,
)
from proxy import allowance, breaker, retry, routing
from proxy.alerts import Alerts
from proxy.auth import ADMIN
from proxy.breaker import Breakers, State
from proxy.budgets import Budgets
from proxy.cache.answers import LocalAnswers
from proxy.cache.lookup import Cache
from proxy.config import Config
from proxy.config_types import OidcSection, Provider, TracesSection
from proxy.control import ControlPlane
from proxy.counters_local import LocalCounters, Portion
from proxy.errors import LedgerUnavailable
from proxy.home import Home
from proxy.keys import KeyStore
from proxy.ledger.books import Books
from proxy.ledger.pricing import Prices
from proxy.ledger.retention import sweep
from proxy.ledger.writer import LedgerFull, Writer
from proxy.limits import Limiter, LimitsOf
from proxy.live import Live
from proxy.local import LocalModels, LocalModelUnavailable
from proxy.meanings import MeaningOnDemand
from proxy.oidc import Oidc
from proxy.passwords import Passwords
from proxy.pipeline import Pipeline, Snapshot
from proxy.probes import Probes
from proxy.signals import Signals
from proxy.signing import Signer
from proxy.sinks import sinks_of
from proxy.sinks.shipper import Shipper
from proxy.storage.engine import StorageError, open_database
from proxy.tasks import end, spawn
from proxy.telemetry.context import Tracer, Tracing, endpoint_of
from proxy.telemetry.traffic import Traffic
from proxy.types import Attempt, Controls, Limits, Record
from proxy.upstream import Upstream

if TYPE_CHECKING:
    from proxy.semantic.embedders.provider import Post
    from proxy.semantic.opening import SharedVectors
    from proxy.shared.joined import Joined

log = logging.getLogger("turnout")

SPOOL = "spool"  # the folder in TURNOUT_HOME
SWEEP_EVERY = 3600.0  # seconds between two looks for rows that are too old
DATABASE_PAUSE = 1.0  # seconds between two tries to open it
FLUSH = 5.0  # seconds that the last spans may take, and no longer than the drain
LAST_WORDS = 2.0  # seconds that requests have, cut off by the end of the drain, to say so
COLLECT_AFTER = 5_000  # objects made and not freed before the youngest are looked through


class Gateway:
    """Everything that lives as long as a process serves."""

    def __init__(self, load: Callable[[], Config], home: Home, waits: bool) -> None:
        self._home = home
        self._waits = waits
        self.live = Live(load, self._snapshot)
        self.config = load()
        self.upstream = Upstream(Signer())
        self.local = LocalModels(home.path)
        self.passwords = Passwords()
        self.breakers = Breakers()
        self.traffic = Traffic(lambda: self.live.current.config)
        self.tracing = Tracing()
        joined = self._joined = _joined(self.config)
        self.counters = joined.counters if joined else _counters(self.config)
        answers = joined.answers if joined else LocalAnswers(self.config.cache.max_bytes)
        self.meanings = MeaningOnDemand(
            lambda: self.live.current.config.cache.semantic,
            lambda: self.engine,
            answers,
            lambda: self.cache.counts,
            self._embeddings_of,
            self._questions,
        )
        self.cache = Cache(
            answers,
            self.meanings,
            joined.leases if joined else None,
            opened=lambda: self.meanings.tier,
        )
        self.pipeline = Pipeline(
            self.upstream,
            Signals(),
            self.breakers,
            Limiter(self.counters),
            self.cache,
            self._ready,
            self._intent,
            self.submit,
        )
        self._engine: AsyncEngine | None = None
        self._control: ControlPlane | None = None
        self._writer: Writer | None = None
        self._budgets: Budgets | None = None
        self._alerts: Alerts | None = None
        self.shippers: list[Shipper] = []
        self._oidc: tuple[OidcSection | None, Oidc | None] = None, None

    @property
    def engine(self) -> AsyncEngine:
        assert self._engine is not None, "the gateway has not started"
        return self._engine

    @property
    def control(self) -> ControlPlane:
        assert self._control is not None, "the gateway has not started"
        return self._control

    @property
    def keys(self) -> KeyStore:
        return self.control.keys

    @property
    def alerts(self) -> Alerts:
        assert self._alerts is not None, "the gateway has not started"
        return self._alerts

    @property
    def budgets(self) -> Budgets:
        assert self._budgets is not None, "the gateway has not started"
        return self._budgets

    @property
    def writer(self) -> Writer:
        assert self._writer is not None, "the gateway has not started"
        return self._writer

    @asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """The application's lifespan."""
        async with AsyncExitStack() as stack:
            self._engine = await self._open_database()
            stack.push_async_callback(self._engine.dispose)
            await self._open_books(self._engine, stack)
            await self._share(stack)
            await self._count_budgets(stack)
            self.upstream.open()
            stack.push_async_callback(self.upstream.close)
            stack.push_async_callback(self.local.close)
            stack.callback(self.passwords.close)
            stack.push_async_callback(self.meanings.close)
            await self._trace(stack)
            stack.push_async_callback(self.pipeline.idle, LAST_WORDS)
            self.live.put(self.config)
            self._follow()
            stack.push_async_callback(self._forget_issuer)
            if _is_by_meaning(self.config):
                self.meanings()
            self._watch_config(stack)
            self._run(self._probes().run(), "probe providers", stack)
            self._run(_warm_up(self.live.current), "warm up", stack)
            self._alerts = Alerts(
                self.engine,
                self.upstream.fetch,
                self.budgets.all,
                lambda: self.live.current.config.alerts,
            )
            self._run(self._alerts.run(), "tell of budgets", stack)
            yield

    async def _trace(self, stack: AsyncExitStack) -> None:
        """Traces, where there is a place for them. What that takes is loaded in a thread."""
        section = self.config.telemetry.traces
        endpoint = endpoint_of(section, os.environ)
        if endpoint is None:
            return
        tracer = await asyncio.to_thread(_tracer, endpoint, section, self._provider)
        if tracer is not None:
            self.tracing.tracer = tracer
            stack.push_async_callback(self._end_traces, tracer)

    async def _end_traces(self, tracer: Tracer) -> None:
        self.tracing.tracer = None
        await tracer.close(min(FLUSH, self.config.server.drain))

    def _provider(self, name: str) -> Provider | None:
        return self.live.current.config.providers.get(name)

    def _run(self, work: Coroutine[Any, Any, None], name: str, stack: AsyncExitStack) -> None:
        """Has something done beside, until the process ends."""
        stack.push_async_callback(end, spawn(work, name))

    async def _open_database(self) -> AsyncEngine:
        """The database. One of several workers waits for it: were it to give up, uvicorn would
        end the others too, which serve well without."""
        while True:
            try:
                engine = await open_database(self.config.storage.database, self._home.path)
            except StorageError as error:
                if not self._waits:
                    raise
                log.error("%s; this worker waits for it", error)
                await asyncio.sleep(DATABASE_PAUSE)
            else:
                return engine

    async def _open_books(self, engine: AsyncEngine, stack: AsyncExitStack) -> None:
        ledger = self.config.ledger
        sinks = sinks_of(self.config.sinks)
        books = Books(engine, [sink.name for sink in sinks])
        self._writer = Writer(books, self._home.path / SPOOL, ledger.on_full)
        sealing = self.config.auth.encryption_key or self._home.secret("encryption_key")
        self._control = await ControlPlane.open(
            engine, sealing, self._home, self.upstream, self._patiently, stack
        )
        await self._writer.start()
        stack.push_async_callback(self._writer.stop)
        for sink in sinks:
            shipper = Shipper(engine, sink)
            stack.push_async_callback(shipper.close)
            self._run(shipper.run(), f"ship usage to {sink.name}", stack)
            self.shippers.append(shipper)
        self._run(self._sweep(), "drop old rows", stack)

    async def _patiently(self, start: Callable[[], Awaitable[None]], what: str) -> None:
        """Starts what needs the database. One of several workers waits for it."""
        while True:
            try:
                await start()
            except SQLAlchemyError as error:
                if not self._waits:
                    raise
                log.error("%s can't be read (%s); this worker waits", what, type(error).__name__)
                await asyncio.sleep(DATABASE_PAUSE)
            else:
                return

    def _follow(self) -> None:
        """What is made through the API comes into force, here and by other processes."""
        control = self.control
        control.providers.on_change = self.live.rebuild
        control.own_keys.on_system_change = self.live.rebuild

    async def _forget_issuer(self) -> None:
        if self._oidc[1] is not None:
            await self._oidc[1].close()

    async def _count_budgets(self, stack: AsyncExitStack) -> None:
        """Budgets know what was spent before they were made, or this process began."""
        budgets = self._budgets = Budgets(
            self.engine,
            self.keys,
            self.control.users,
            self.counters,
            self._default_limits,
            self.writer.caught_up,
        )
        stack.push_async_callback(budgets.stop)
        await budgets.prime_all()
        self.keys.on_limits = budgets.prime_keys
        self.control.users.on_limits = budgets.prime_users

    def _default_limits(self) -> Limits:
        config = self.live.current.config if self.live.is_on else self.config
        return allowance.of_section(config.limits)

    async def _share(self, stack: AsyncExitStack) -> None:
        """Joins the other processes on Redis, when there is one."""
        if self._joined is None:
            return
        board = self._joined.listen(stack, self._adopt, self.keys.end)
        self.breakers.on_change = board.publish
        self.keys.on_revoked = board.publish_revocation
        self._joined.on_back(
            lambda: spawn(self.budgets.prime_missing(), "tell Redis what was spent")
        )

    def _adopt(self, name: str, state: str, until: float) -> None:
        self.breakers.adopt(name, State(state), until, time.monotonic())

    async def _sweep(self) -> None:
        """Rows that are older than the operator wants to keep, at start and each hour."""
        while True:
            retention = self.live.current.config.ledger.retention if self.live.is_on else None
            if retention is not None:
                try:
                    await sweep(self.engine, retention)
                    await self.control.revoked.purge()
                except SQLAlchemyError as error:
                    log.warning("old rows were not dropped: %s", type(error).__name__)
            await asyncio.sleep(SWEEP_EVERY if retention is not None else 1.0)

    def _probes(self) -> Probes:
        def current() -> tuple[routing.Table, Mapping[str, breaker.Policy]]:
            snapshot = self.live.current
            return snapshot.table, snapshot.breakers

        return Probes(self.upstream, self.breakers, current)

    def _watch_config(self, stack: AsyncExitStack) -> None:
        if self.config.path is not None:
            self._run(self.live.watch(self.config.path), "watch the configuration", stack)

    def _snapshot(self, file: Config) -> Snapshot:
        """What serves under the configuration of a file."""
        config = self.control.merged(file)
        prices = Prices(config.pricing.overrides)
        return Snapshot(
            config=config,
            table=routing.build_table(config, prices.unit),
            auth=self.control.authenticator(config, self._issuer(config)),
            prices=prices,
            policy=retry.Policy(config.retry.attempts, config.retry.backoff, config.retry.budget),
            limits=LimitsOf(allowance.of_section(config.limits), self.control.users.limits),
            breakers=_breaker_policies(config),
        )

    def _issuer(self, config: Config) -> Oidc | None:
        """Kept from one configuration to the next: it has the issuer's keys."""
        section, oidc = self._oidc
        if section != config.auth.oidc:
            if oidc is not None:
                spawn(oidc.close(), "forget an issuer")
            oidc = self.control.oidc(config)
            self._oidc = config.auth.oidc, oidc
        return oidc

    async def _ready(self, target: Target) -> Target:
        """Where the embedded model listens, once it is loaded; every other target as it is."""
        if target.dialect != "llamacpp" or target.base_url:
            return target
        try:
            endpoint = await self.local.ready(target.model)
        except LocalModelUnavailable as error:
            failure = Failure(FailureKind.UNREACHABLE, str(error), Retry.NEXT_TARGET)
            raise UpstreamFailure(failure) from None
        return replace(target, base_url=endpoint.base_url, api_key=endpoint.api_key)

    def _embeddings_of(self, provider: str, model: str) -> "Post":
        """Asks a configured provider for embeddings, for the cache by meaning."""

        async def post(body: bytes) -> bytes:
            name, controls = f"{provider}/{model}", Controls()
            table = self.live.current.table
            plan = routing.plan(table, ADMIN, name, controls, Signals())
            ask = Ask(Endpoint.EMBEDDINGS, body, orjson.loads(body))
            target = plan.targets[0]
            adapter = adapter_for(ask.endpoint, target)
            exchange = await self.upstream.send(adapter.request(ask, target), target)
            try:
                answer = await exchange.read()
            finally:
                exchange.close()
            if exchange.status != 200:
                raise UpstreamFailure(adapter.failure(exchange.status, exchange.headers, answer))
            return adapter.reply(ask, answer).body

        return post

    def _questions(self) -> "SharedVectors | None":
        if self._joined is None:
            return None
        from proxy.shared.questions import SharedQuestions

        link = self._joined.cache_link
        return lambda width, embedder: SharedQuestions(link, width, embedder)

    async def end_user(self, user_id: str) -> None:
        """What a user who was removed had ends: virtual keys, own keys of providers, and
        conversations. The rows of the books stay: somebody has paid for them."""
        await self.keys.revoke_all(user_id)
        await self.control.own_keys.remove(user_id, None)
        await self.control.conversations.delete_all("user:" + user_id)

    def submit(self, record: Record) -> None:
        self.writer.submit(record)
        self.traffic.note(record)
        if record.trace is not None:
            self.tracing.finish(record)

    def turned_away(self, record: Record) -> None:
        """A request that is none for the books: what its caller asked for was no call."""
        self.traffic.turned_away(record)
        if record.trace is not None:
            self.tracing.finish(record)

    def _intent(self, record: Record, attempt: Attempt, estimate: Usage) -> None:
        try:
            self.writer.intent(record, attempt, estimate)
        except LedgerFull as full:
            message = f"the ledger can take no more rows ({full}), and ledger.on_full is reject"
            raise LedgerUnavailable(message, headers={"retry-after": "5"}) from None


def _tracer(
    endpoint: str, section: TracesSection, provider: Callable[[str], Provider | None]
) -> Tracer | None:
    """What sends spans to `endpoint`. None without the extra, where the environment alone wants
    it: it may have been meant for others."""
    try:
        from proxy.telemetry.otlp import OtlpTracer
    except ImportError:
        log.warning("no traces: OTEL_… asks for them, and pip install 'turnout[otel]' brings them")
        return None
    return OtlpTracer(endpoint, section, provider)


def _is_by_meaning(config: Config) -> bool:
    """Whether the configuration turns the cache by meaning on, for all or for a task."""
    tasks = config.tasks.values()
    return config.cache.enabled and (
        config.cache.semantic.enabled or any(task.cache.semantic for task in tasks)
    )


def _joined(config: Config) -> "Joined | None":
    """This process among those that share the configured Redis."""
    if config.storage.redis is None:
        return None
    from proxy.shared.joined import Joined

    storage, url = config.storage, config.storage.redis.get_secret_value()
    return Joined(url, LocalCounters(), _shares(config), storage.redis_timeout)


def _counters(config: Config) -> LocalCounters | Portion:
    """The counts of a process that shares none: it has its part of what all workers may."""
    shares = _shares(config)
    return LocalCounters() if shares == 1 else Portion(LocalCounters(), shares)


def _shares(config: Config) -> int:
    return config.server.workers * config.storage.replicas


def _breaker_policies(config: Config) -> dict[str, breaker.Policy]:
    """One object for all providers that say nothing themselves: circuits look whether it is the
    same."""
    common = breaker.Policy.of(config.breaker)
    return {
        name: common if provider.breaker is None else breaker.Policy.of(provider.breaker)
        for name, provider in config.providers.items()
    }


async def _warm_up(snapshot: Snapshot) -> None:
    """Loads the price catalogue, then keeps the collector from walking what never dies.

    Libraries and catalogue are some 300,000 objects. Walking them over and over took a seventh
    of a request's CPU, and pauses of 40 ms (docs/performance.md).
    """
    providers = snapshot.config.providers.items()
    known = [(name, p.base_url or "") for name, p in providers if not p.off]
    await asyncio.to_thread(snapshot.prices.warm, known)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)
