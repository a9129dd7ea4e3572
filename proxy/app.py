"""The composition root: `build_app` gives the ASGI application.

Here are the doors and the layers around them. What lives as long as the process is made by
`proxy.gateway`; nothing else constructs things.
"""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.actions import Actions
from proxy.config import Config
from proxy.connectivity import Connectivity
from proxy.control import ControlPlane
from proxy.doors import anthropic, openai, playground
from proxy.doors.alerts import AlertDoor
from proxy.doors.api import Api
from proxy.doors.breakers import BreakerDoor
from proxy.doors.budgets import BudgetDoor
from proxy.doors.cache import CacheDoor, Incomplete
from proxy.doors.call import CallDoor
from proxy.doors.chats import Chats
from proxy.doors.config import ConfigDoor
from proxy.doors.dashboard import DashboardDoor
from proxy.doors.forecast import ForecastDoor
from proxy.doors.generate import GenerateDoor
from proxy.doors.health import HealthDoor
from proxy.doors.keys import KeysDoor
from proxy.doors.login import LoginDoor
from proxy.doors.metrics import MetricsDoor, Sources
from proxy.doors.openapi import OpenApiDoor
from proxy.doors.overrides import OverridesDoor
from proxy.doors.own_keys import OwnKeysDoor
from proxy.doors.providers import ProvidersDoor
from proxy.doors.task import TaskDoor
from proxy.doors.trpc import TrpcDoor
from proxy.doors.trpc_analytics import Insights
from proxy.doors.trpc_figures import LedgerFigures
from proxy.doors.trpc_llm import Completions
from proxy.doors.usage import UsageDoor
from proxy.doors.users import UsersDoor
from proxy.doors.v2 import V2Door
from proxy.doors.v2_admin import V2AdminDoor
from proxy.doors.v2_billing import BillingDoor
from proxy.doors.v2_conversations import ConversationsDoor
from proxy.doors.v2_models import Discovery, ModelsDoor
from proxy.gateway import Gateway
from proxy.home import Home
from proxy.middleware.access_log import AccessLog
from proxy.middleware.bodies import Bodies
from proxy.middleware.body_limit import BodyLimit
from proxy.middleware.errors import Errors
from proxy.middleware.request_id import RequestId
from proxy.middleware.slash import TrailingSlash
from proxy.middleware.usage import UsageRecords
from proxy.passwords import Attempts
from proxy.warming import Warming


def _incomplete(config: Config) -> Incomplete:
    """What a purge raises that the configured Redis did not see to its end."""
    if config.storage.redis is None:
        return ()
    from proxy.shared.answers import PurgeIncomplete

    return (PurgeIncomplete,)


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
    layers = [
        Middleware(RequestId),
        Middleware(AccessLog),
        Middleware(
            UsageRecords,
            submit=gateway.submit,
            turned_away=gateway.turned_away,
            tracing=gateway.tracing,
        ),
        Middleware(Errors),
        Middleware(BodyLimit, limit=lambda: live.current.config.server.body_limit),
        Middleware(TrailingSlash),
    ]
    if gateway.config.ledger.log_bodies:
        layers.insert(3, Middleware(Bodies))
    if not gateway.config.server.access_log:
        del layers[1]
    routes = _routes(gateway)
    app = Application(routes=routes, middleware=layers, lifespan=gateway.running)
    app.router.redirect_slashes = False
    return app


def _routes(gateway: Gateway) -> list[BaseRoute]:
    """Every way in. What a door needs that is made when the process starts it asks for when it
    is called."""
    live, pipeline = gateway.live, gateway.pipeline
    api, chats = Api(live), Chats(lambda: live.current, pipeline)
    found: list[BaseRoute] = [
        *openai.routes(lambda: live.current, pipeline),
        *anthropic.routes(lambda: live.current, pipeline),
        *playground.routes(lambda: live.current, pipeline),
        *_control_plane(gateway, api, chats),
        *_seeds(gateway, api, chats),
        *DashboardDoor().routes(),
    ]
    return [*found, *OpenApiDoor(api, lambda: found).routes()]


def _control_plane(gateway: Gateway, api: Api, chats: Chats) -> list[BaseRoute]:
    """What is under `/api/v1`, health and metrics."""
    live, cache, breakers = gateway.live, gateway.cache, gateway.breakers

    def control() -> ControlPlane:
        return gateway.control

    warming = Warming(gateway.pipeline, cache.counts, lambda: live.current, lambda: gateway.keys)
    sources = Sources(
        cache,
        gateway.pipeline,
        breakers,
        lambda: gateway.writer,
        gateway.traffic,
        gateway.tracing,
    )
    tries = Connectivity(gateway.upstream, lambda: live.current.table)
    passwords, attempts = gateway.passwords, Attempts(lambda: gateway.counters)
    doors = (
        HealthDoor(
            api, live, lambda: gateway.writer, lambda name: control().providers.display_name(name)
        ),
        LoginDoor(
            api,
            live,
            lambda: control().users,
            lambda: control().revoked,
            passwords,
            attempts,
        ),
        UsersDoor(api, lambda: control().users, passwords, attempts, gateway.end_user),
        OwnKeysDoor(api, lambda: control().own_keys, live, tries.with_key),
        KeysDoor(api, lambda: gateway.keys),
        ProvidersDoor(api, live, lambda: control().providers, tries),
        OverridesDoor(api, live, lambda: control().overrides),
        BreakerDoor(api, live, breakers),
        CacheDoor(
            api,
            cache,
            warming,
            lambda: gateway.engine,
            _incomplete(gateway.config),
            lambda: live.current.config.cache.semantic,
        ),
        GenerateDoor(api, chats, lambda user, service: control().overrides.find(user, service)),
        UsageDoor(live, lambda: gateway.engine),
        ForecastDoor(live, lambda: gateway.engine, lambda owner: gateway.budgets.of_owner(owner)),
        AlertDoor(api, lambda: gateway.alerts),
        BudgetDoor(
            api, lambda: gateway.budgets.all(), lambda: gateway.keys, lambda: gateway.engine
        ),
        ConfigDoor(api, live),
        MetricsDoor(live, sources),
    )
    return [route for door in doors for route in door.routes()]


def _seeds(gateway: Gateway, api: Api, chats: Chats) -> list[BaseRoute]:
    """The APIs that were there before Turnout."""
    live = gateway.live
    current = chats.current
    discovery = Discovery(current)

    def email_of(user_id: str) -> str | None:
        user = gateway.control.users.get(user_id)
        return None if user is None else user.email

    def is_from_environment(provider: str) -> bool:
        return live.current.config.providers[provider].is_by_environment

    figures = LedgerFigures(lambda: gateway.engine)
    incomplete = _incomplete(gateway.config)
    insights = Insights(live, figures, gateway.breakers, gateway.cache, incomplete)
    procedures = [*Completions(chats).procedures(), *insights.procedures()]
    doors = (
        TrpcDoor(api, procedures),
        TaskDoor(api, chats, live, Actions(gateway.upstream)),
        ModelsDoor(api, discovery),
        V2Door(api, chats, lambda: gateway.control.conversations, discovery),
        ConversationsDoor(api, lambda: gateway.control.conversations),
        BillingDoor(api, current, lambda: gateway.engine, email_of),
        V2AdminDoor(api, current, lambda: gateway.control.own_keys, is_from_environment),
    )
    return [route for door in doors for route in door.routes()]
