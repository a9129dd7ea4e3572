"""The composition root: the only file that constructs things.

`build_app` gives the ASGI application; what needs a running loop is made when its lifespan
starts, and unmade in reverse when it ends.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.base import Failure, FailureKind, Retry, Target, UpstreamFailure
from proxy import retry, routing
from proxy.auth import Authenticator
from proxy.config import Config
from proxy.doors import anthropic, openai
from proxy.doors.admin import Admin
from proxy.doors.call import CallDoor
from proxy.home import Home, digest_key
from proxy.keys import KeyStore
from proxy.ledger.books import Books
from proxy.ledger.pricing import Prices
from proxy.ledger.writer import Writer
from proxy.live import Live
from proxy.local import LocalModels, LocalModelUnavailable
from proxy.middleware.access_log import AccessLog
from proxy.middleware.body_limit import BodyLimit
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.middleware.slash import TrailingSlash
from proxy.middleware.usage import UsageRecords
from proxy.pipeline import Pipeline, Snapshot
from proxy.signals import Signals
from proxy.signing import Signer
from proxy.storage.engine import open_database
from proxy.tasks import spawn
from proxy.types import Record
from proxy.upstream import Upstream

log = logging.getLogger("turnout")

LAST_WORDS = 2.0  # seconds that requests have, cut off by the end of the drain, to say so
COLLECT_AFTER = 5_000  # objects made and not freed before the youngest are looked through


class Gateway:
    """Everything that lives as long as a process serves."""

    def __init__(self, load: Callable[[], Config], home: Home) -> None:
        self._home = home
        self.live = Live(load, self._snapshot)
        self.config = load()
        self.upstream = Upstream(Signer())
        self.local = LocalModels(home.path)
        self.pipeline = Pipeline(self.upstream, Signals(), self._ready)
        self._keys: KeyStore | None = None
        self._writer: Writer | None = None

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
            engine = await open_database(self.config.storage.database, self._home.path)
            stack.push_async_callback(engine.dispose)
            await self._open_books(engine, stack)
            self.upstream.open()
            stack.push_async_callback(self.upstream.close)
            stack.push_async_callback(self.local.close)
            stack.push_async_callback(self.pipeline.idle, LAST_WORDS)
            self.live.put(self.config)
            self._watch_config(stack)
            warming = spawn(_warm_up(self.live.current), "warm up")
            stack.callback(warming.cancel)
            yield

    async def _open_books(self, engine: AsyncEngine, stack: AsyncExitStack) -> None:
        sealing = self.config.auth.encryption_key or self._home.secret("encryption_key")
        self._keys = KeyStore(engine, digest_key(sealing))
        self._writer = Writer(Books(engine))
        await self._keys.start()
        stack.push_async_callback(self._keys.stop)
        await self._writer.start()
        stack.push_async_callback(self._writer.stop)

    def _watch_config(self, stack: AsyncExitStack) -> None:
        if self.config.path is not None:
            watching = spawn(self.live.watch(self.config.path), "watch the configuration")
            stack.callback(watching.cancel)

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

    def submit(self, record: Record) -> None:
        self.writer.submit(record)


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


def build_app(load: Callable[[], Config], home: Home) -> Starlette:
    """The application. `load` gives the configuration, now and at each reload.

    Raises `ConfigError` when it does not load now.
    """
    gateway = Gateway(load, home)
    live = gateway.live
    admin = Admin(live, lambda: gateway.keys, lambda: gateway.writer)
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
        ],
        middleware=layers,
        lifespan=gateway.running,
    )
    app.router.redirect_slashes = False
    return app
