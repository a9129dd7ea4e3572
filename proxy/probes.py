"""Active health: providers that ask for it (`providers.*.probe`) are looked at now and then.

A look lists the provider's models, which costs nothing there, and its outcome counts for the
circuits of its keys like that of a request. So a dead provider is known before a request meets it,
and one that is back is found without risking one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from adapters import ADAPTERS
from adapters.base import (
    Ask,
    Endpoint,
    Failure,
    FailureKind,
    Outgoing,
    Retry,
    Target,
    Timeouts,
    UpstreamFailure,
)
from adapters.headers import headers_for
from proxy import routing
from proxy.breaker import Blocked, Breakers, Policy
from proxy.upstream import ERROR_LIMIT, Upstream

LOOK = 1.0  # seconds between two looks at whose turn it is
PATIENCE = 10.0  # seconds for an answer

PATHS = {"openai": "/models", "anthropic": "/models", "gemini": "/models", "ollama": "/api/tags"}
"""Where a dialect lists its models; what has no such list is not probed."""

ANSWERED = frozenset({FailureKind.NOT_FOUND, FailureKind.INVALID_REQUEST})
"""What shows that somebody is there, though not with such a list."""

_ASK = Ask(Endpoint.CHAT, b"", {})
_NO_MODEL = "(probe)"

Current = Callable[[], tuple[routing.Table, Mapping[str, Policy]]]


class Probes:
    """Looks at providers. `current` gives the routes in force, and the circuits' policies."""

    def __init__(self, upstream: Upstream, breakers: Breakers, current: Current) -> None:
        self._upstream = upstream
        self._breakers = breakers
        self._current = current
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            table, policies = self._current()
            targets = [target for name in self._whose_turn(table) for target in _of(table, name)]
            await asyncio.gather(*(self.probe(t, policies[t.provider]) for t in targets))

    def _whose_turn(self, table: routing.Table) -> list[str]:
        now = time.monotonic()
        turn = []
        for name, provider in table.config.providers.items():
            if provider.probe is None or provider.off or provider.dialect not in PATHS:
                continue
            if self._due.get(name, now) <= now:
                self._due[name] = now + provider.probe
                turn.append(name)
        return turn

    async def probe(self, target: Target, policy: Policy) -> Failure | None:
        """One look, and what was wrong; its circuits are told. None too where they say wait."""
        lease = self._breakers.enter(target, policy, time.monotonic())
        if isinstance(lease, Blocked):
            return None
        failure: Failure | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                await self._look(target)
        except UpstreamFailure as failed:
            failure = None if failed.failure.kind in ANSWERED else failed.failure
        except TimeoutError:
            failure = Failure(FailureKind.UNREACHABLE, "no answer", Retry.NEXT_TARGET)
        except asyncio.CancelledError:
            self._breakers.release(lease)
            raise
        self._breakers.leave(lease, failure, time.monotonic())
        return failure

    async def _look(self, target: Target) -> None:
        url = target.base_url + PATHS[target.dialect]
        headers = headers_for(_ASK, target)
        if target.dialect == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
        exchange = await self._upstream.send(Outgoing(url, headers, b"", method="GET"), target)
        try:
            body = await exchange.read(ERROR_LIMIT)
            if exchange.status != 200:
                adapter = ADAPTERS[target.dialect]
                raise UpstreamFailure(adapter.failure(exchange.status, exchange.headers, body))
        finally:
            exchange.close()


def _of(table: routing.Table, provider: str) -> list[Target]:
    """The provider through each of its keys; a probe is of no model."""
    timeouts = Timeouts(connect=3.0)
    made = routing.targets_of(table, provider, _NO_MODEL)
    return [replace(target, timeouts=timeouts) for target in made]
