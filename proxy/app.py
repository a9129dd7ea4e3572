"""The composition root: the only file that constructs things.

`build_app` gives the ASGI application; what needs a running loop is made when its lifespan
starts, and unmade in reverse when it ends.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

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
from proxy.auth import ADMIN, Authenticator
from proxy.breaker import Breakers, State
from proxy.cache.answers import LocalAnswers
from proxy.cache.lookup import Cache
from proxy.config import Config
from proxy.counters_local import LocalCounters, Portion
from proxy.doors import anthropic, openai
from proxy.doors.admin import Admin
from proxy.doors.breakers import BreakerDoor
from proxy.doors.cache import CacheDoor, Incomplete
from proxy.doors.call import CallDoor
from proxy.doors.metrics import MetricsDoor, Sources
from proxy.doors.usage import UsageDoor
from proxy.errors import LedgerUnavailable
from proxy.home import Home, digest_key
from proxy.keys import KeyRow, KeyStore
from proxy.ledger.books import Books
from proxy.ledger.pricing import Prices
from proxy.ledger.retention import sweep
from proxy.ledger.spending import spent
from proxy.ledger.writer import LedgerFull, Writer
from proxy.limits import Limiter, LimitsOf, budget_want
from proxy.live import Live
from proxy.local import LocalModels, LocalModelUnavailable
from proxy.meanings import MeaningOnDemand
from proxy.middleware.access_log import AccessLog
from proxy.middleware.body_limit import BodyLimit
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.middleware.slash import TrailingSlash
from proxy.middleware.usage import UsageRecords
from proxy.pipeline import Pipeline, Snapshot
from proxy.probes import Probes
from proxy.signals import Signals
from proxy.signing import Signer
from proxy.storage.engine import StorageError, open_database
from proxy.tasks import end, spawn
from proxy.types import Attempt, Controls, Record
from proxy.upstream import Upstream
from proxy.warming import Warming

if TYPE_CHECKING:
    from proxy.semantic.embedders.provider import Post
    from proxy.semantic.opening import SharedVectors
    from proxy.shared.joined import Joined

log = logging.getLogger("turnout")

SPOOL = "spool"  # the folder in TURNOUT_HOME
SWEEP_EVERY = 3600.0  # seconds between two looks for rows that are too old
CATCH_UP = 10.0  # seconds that budgets wait for the rows of processes that died
DATABASE_PAUSE = 1.0  # seconds between two tries to open it
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
        self.breakers = Breakers()
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
        self._keys: KeyStore | None = None
        self._writer: Writer | None = None

    @property
    def engine(self) -> AsyncEngine:
        assert self._engine is not None, "the gateway has not started"
        return self._engine

    @property
    def keys(self) -> KeyStore:
        assert self._keys is not None, "the gateway has not started"
        return self._keys

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
            await self._prime(await self.keys.list())
            self.keys.on_limits = self._prime
            self.upstream.open()
            stack.push_async_callback(self.upstream.close)
            stack.push_async_callback(self.local.close)
            stack.push_async_callback(self.meanings.close)
            stack.push_async_callback(self.pipeline.idle, LAST_WORDS)
            self.live.put(self.config)
            if _is_by_meaning(self.config):
                self.meanings()
            self._watch_config(stack)
            probing = spawn(self._probes().run(), "probe providers")
            stack.push_async_callback(end, probing)
            warming = spawn(_warm_up(self.live.current), "warm up")
            stack.push_async_callback(end, warming)
            yield

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
        sealing = self.config.auth.encryption_key or self._home.secret("encryption_key")
        self._keys = KeyStore(engine, digest_key(sealing))
        ledger = self.config.ledger
        self._writer = Writer(Books(engine), self._home.path / SPOOL, ledger.on_full)
        await self._start_keys(self._keys)
        stack.push_async_callback(self._keys.stop)
        await self._writer.start()
        stack.push_async_callback(self._writer.stop)
        sweeping = spawn(self._sweep(), "drop old rows")
        stack.push_async_callback(end, sweeping)

    async def _start_keys(self, keys: KeyStore) -> None:
        while True:
            try:
                await keys.start()
            except SQLAlchemyError as error:
                if not self._waits:
                    raise
                log.error("keys can't be read (%s); this worker waits", type(error).__name__)
                await asyncio.sleep(DATABASE_PAUSE)
            else:
                return

    async def _share(self, stack: AsyncExitStack) -> None:
        """Joins the other processes on Redis, when there is one."""
        if self._joined is None:
            return
        board = self._joined.listen(stack, self._adopt, self.keys.end)
        self.breakers.on_change = board.publish
        self.keys.on_revoked = board.publish_revocation
        self._joined.on_back(lambda: spawn(self._prime_all(), "tell Redis what was spent"))

    async def _prime_all(self) -> None:
        await self._prime(await self.keys.list())

    async def _prime(self, keys: Sequence[KeyRow]) -> None:
        """Budgets know what was spent before they were made, or this process began."""
        config = self.live.current.config if self.live.is_on else self.config
        default = allowance.of_section(config.limits)
        now = time.time()
        sums: dict[float, dict[str, int]] = {}
        budgeted = [key for key in keys if key.is_live(now)]
        for key in budgeted:
            limits = default if key.limits is None else allowance.effective(default, key.limits)
            if limits.budget is None:
                continue
            if not sums:  # what a dead process left behind was spent too
                await self.writer.caught_up(CATCH_UP)
            want = budget_want(f"key:{key.id}", limits.budget, 0, now)
            if want.begins not in sums:
                sums[want.begins] = await spent(self.engine, want.begins)
            if amount := sums[want.begins].get(key.id):
                await self.counters.prime(want._replace(amount=amount))

    def _adopt(self, name: str, state: str, until: float) -> None:
        self.breakers.adopt(name, State(state), until, time.monotonic())

    async def _sweep(self) -> None:
        """Rows that are older than the operator wants to keep, at start and each hour."""
        while True:
            retention = self.live.current.config.ledger.retention if self.live.is_on else None
            if retention is not None:
                try:
                    await sweep(self.engine, retention)
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
            watching = spawn(self.live.watch(self.config.path), "watch the configuration")
            stack.push_async_callback(end, watching)

    def _snapshot(self, config: Config) -> Snapshot:
        prices = Prices(config.pricing.overrides)
        auth = config.auth
        return Snapshot(
            config=config,
            table=routing.build_table(config, prices.unit),
            auth=Authenticator(
                self.keys,
                auth.master_key or self._home.secret("master_key"),
                auth.service_keys,
                auth.anonymous,
            ),
            prices=prices,
            policy=retry.Policy(config.retry.attempts, config.retry.backoff, config.retry.budget),
            limits=LimitsOf(keys=allowance.of_section(config.limits)),
            breakers=_breaker_policies(config),
        )

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

    def submit(self, record: Record) -> None:
        self.writer.submit(record)

    def _intent(self, record: Record, attempt: Attempt, estimate: Usage) -> None:
        try:
            self.writer.intent(record, attempt, estimate)
        except LedgerFull as full:
            message = f"the ledger can take no more rows ({full}), and ledger.on_full is reject"
            raise LedgerUnavailable(message, headers={"retry-after": "5"}) from None


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

    return Joined(config.storage.redis.get_secret_value(), LocalCounters(), _shares(config))


def _incomplete(config: Config) -> Incomplete:
    """What a purge raises that the configured Redis did not see to its end."""
    if config.storage.redis is None:
        return ()
    from proxy.shared.answers import PurgeIncomplete

    return (PurgeIncomplete,)


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


class ByPath:
    """Routes that are plain applications at a fixed path are found by it at once; the router,
    which tries its patterns one by one, has the rest."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._fixed: dict[str, ASGIApp] = {
            route.path: route.endpoint
            for route in router.routes
            if isinstance(route, Route) and isinstance(route.endpoint, CallDoor)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fixed = self._fixed.get(scope["path"]) if scope["type"] == "http" else None
        await (fixed or self._router)(scope, receive, send)


class Application(Starlette):
    """Starlette with our layers only: its own two cost each chunk of a stream a coroutine more,
    and their work is done by `proxy.middleware.errors`."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = ByPath(self.router)
        for layer, args, kwargs in reversed(self.user_middleware):
            app = layer(app, *args, **kwargs)
        return app


def build_app(load: Callable[[], Config], home: Home, waits: bool = False) -> Starlette:
    """The application. `load` gives the configuration, now and at each reload. `waits`: for a
    database that is away when it starts.

    Raises `ConfigError` when it does not load now.
    """
    gateway = Gateway(load, home, waits)
    live = gateway.live
    admin = Admin(live, lambda: gateway.keys, lambda: gateway.writer)
    cache = gateway.cache
    sources = Sources(cache, gateway.pipeline, gateway.breakers, lambda: gateway.writer)
    warming = Warming(gateway.pipeline, cache.counts, lambda: live.current, lambda: gateway.keys)
    cache_door = CacheDoor(
        live, cache, warming, lambda: gateway.engine, _incomplete(gateway.config)
    )
    layers = [
        Middleware(RequestId),
        Middleware(AccessLog),
        Middleware(UsageRecords, submit=gateway.submit),
        Middleware(Errors),
        Middleware(BodyLimit, limit=lambda: live.current.config.server.body_limit),
        Middleware(TrailingSlash),
    ]
    if not gateway.config.server.access_log:
        del layers[1]
    app = Application(
        routes=[
            *openai.routes(lambda: live.current, gateway.pipeline),
            *anthropic.routes(lambda: live.current, gateway.pipeline),
            *admin.routes(),
            *BreakerDoor(live, gateway.breakers).routes(),
            *UsageDoor(live, lambda: gateway.engine).routes(),
            *cache_door.routes(),
            *MetricsDoor(live, sources).routes(),
        ],
        middleware=layers,
        lifespan=gateway.running,
    )
    app.router.redirect_slashes = False
    return app
