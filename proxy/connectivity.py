"""Whether a provider can be reached and takes its key, tried once and by hand.

The provider's list of models is asked for; where there is none, its chat is, for nothing at all,
which a provider refuses only after it has looked at the key. Neither costs anything, and neither
counts for circuits, limits or the books.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from pydantic import SecretStr

from adapters import ADAPTERS, adapter_for
from adapters.base import Ask, Endpoint, FailureKind, Outgoing, Target, Timeouts, UpstreamFailure
from adapters.headers import headers_for
from proxy import routing
from proxy.errors import ModelNotFound
from proxy.probes import PATHS
from proxy.types import Call, Controls, Principal, Role
from proxy.upstream import Upstream

PATIENCE = 10.0  # seconds for the whole try of one key
MOST_BYTES = 16 * 2**20  # of an answer; a list of thousands of models is a few MiB

NO_SUCH_LIST = frozenset({404, 405, 501})
NO_FAULT_OF_OURS = frozenset({400, 422})
"""How a provider refuses a chat of nothing when it takes the key."""

_NOTHING = {"messages": [], "max_tokens": 1}
_LIST = Ask(Endpoint.CHAT, b"", {})
_NO_MODEL = "(test)"


class _Given(NamedTuple):
    """A user's own key for one provider, at hand and not stored."""

    provider: str
    secret: SecretStr

    @property
    def providers(self) -> frozenset[str]:
        return frozenset({self.provider})

    def open(self, provider: str, base_url: str) -> SecretStr:
        return self.secret


class _Wrong(Exception):
    """What is wrong, in words without URL or key."""


class Connectivity:
    """Tries providers. `current` gives the routes in force."""

    def __init__(self, upstream: Upstream, current: Callable[[], routing.Table]) -> None:
        self._upstream = upstream
        self._current = current

    async def __call__(self, provider: str) -> str | None:
        """What is wrong with a provider or any of its keys; None when nothing is."""
        table = self._current()
        entry = table.config.providers.get(provider)
        if entry is None:
            return f"there is no provider {provider}"
        if entry.off:
            return f"the provider is off: {entry.off}"
        for target in routing.targets_of(table, provider, _model(table, provider)):
            wrong = await self._try(target)
            if wrong is not None:
                return wrong
        return None

    async def with_key(self, provider: str, secret: SecretStr) -> str | None:
        """What is wrong when a user's own key is used instead of the provider's; None when
        nothing is."""
        table = self._current()
        own = Principal(Role.USER, own=_Given(provider, secret))
        route = (f"{provider}/{_model(table, provider)}",)
        call = Call(own, _LIST, route[0], Controls(), route)
        try:
            targets = routing.plan_route(table, own, call, routing.UNSEEN).targets
        except ModelNotFound:
            return f"there is no provider {provider} that is on"
        return await self._try(targets[0])

    async def _try(self, target: Target) -> str | None:
        if not target.base_url:
            return None  # it is loaded when it is first wanted, in this very process
        target = replace(target, timeouts=Timeouts(connect=3.0))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._look(target)
        except _Wrong as wrong:
            return str(wrong)
        except UpstreamFailure as failed:
            return _without_key(failed.failure.message, target)
        except TimeoutError:
            return f"the provider gave no answer within {PATIENCE:g} s"
        return None

    async def _look(self, target: Target) -> None:
        """Raises `_Wrong`, `UpstreamFailure`, `TimeoutError`."""
        if target.dialect in PATHS and target.api_version is None:
            status, body = await self._ask(_list_of(target), target)
            if status not in NO_SUCH_LIST:
                _expect_json(status, body)
                return
        ask = Ask(Endpoint.CHAT, orjson.dumps(_NOTHING), _NOTHING)
        outgoing = adapter_for(Endpoint.CHAT, target).request(ask, target)
        status, body = await self._ask(outgoing, target)
        if status not in NO_FAULT_OF_OURS:
            _expect_json(status, body)

    async def _ask(self, outgoing: Outgoing, target: Target) -> tuple[int, bytes]:
        exchange = await self._upstream.send(outgoing, target)
        try:
            body = await exchange.read(MOST_BYTES)
        finally:
            exchange.close()
        if exchange.status != 200:
            failure = ADAPTERS[target.dialect].failure(exchange.status, exchange.headers, body)
            if failure.kind is FailureKind.AUTH or exchange.status in (401, 403):
                raise _Wrong(f"the provider refused the key (status {exchange.status})")
        return exchange.status, body


def _model(table: routing.Table, provider: str) -> str:
    """One that a chat of nothing may name."""
    entry = table.config.providers.get(provider)
    if entry is None:
        return _NO_MODEL
    return entry.models[0] if entry.models else entry.model or _NO_MODEL


def _list_of(target: Target) -> Outgoing:
    headers = headers_for(_LIST, target)
    if target.dialect == "anthropic":
        headers["anthropic-version"] = "2023-06-01"
    return Outgoing(target.base_url + PATHS[target.dialect], headers, b"", method="GET")


def _expect_json(status: int, body: bytes) -> None:
    """Raises `_Wrong`. What the provider said is not told: it may repeat the key."""
    if status != 200:
        raise _Wrong(f"the provider answered with status {status}")
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict | list):
        raise _Wrong("what answers there is no API: it did not answer in JSON")


def _without_key(message: str, target: Target) -> str:
    secret = target.api_key.get_secret_value() if target.api_key else ""
    return message.replace(secret, "***") if secret else message
