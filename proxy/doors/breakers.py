"""Circuit breakers under `/api/v1/breakers`: their states, and their reset."""

import time
from typing import Any

from pydantic import Field
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.breaker import Breakers, BreakerStatus, provider_of
from proxy.doors.api import OPERATORS, Api, Asked, Operation, Strict, answer
from proxy.errors import Unprocessable
from proxy.live import Live


class Circuit(Strict):
    """One circuit; `next_attempt_at` is when an open one lets a probe through."""

    name: str
    kind: str
    state: str
    failures: int
    next_attempt_at: Any


class Circuits(Strict):
    """Circuits of this process that there was a reason to make, of providers that there are."""

    breakers: list[Circuit]


class WhichCircuits(Strict):
    """Those of one provider, or all."""

    provider: str | None = Field(default=None, max_length=256)


class WereReset(Strict):
    """How many circuits were closed."""

    reset: int


class BreakerDoor:
    """Handlers over the circuits of this process."""

    def __init__(self, api: Api, live: Live, breakers: Breakers) -> None:
        self._api = api
        self._live = live
        self._breakers = breakers

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                "/api/v1/breakers",
                self.show,
                OPERATORS,
                "The state of every circuit",
                answer=Circuits,
            ),
            Operation(
                "POST",
                "/api/v1/breakers/reset",
                self.reset,
                OPERATORS,
                "Close the circuits of a provider, or all",
                body=WhichCircuits,
                answer=WereReset,
                body_may_miss=True,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def show(self, asked: Asked) -> Response:
        known = self._live.current.config.providers
        found = self._breakers.snapshot(time.monotonic())
        there = [status for status in found if provider_of(status.name) in known]
        return answer({"breakers": [_entry(status) for status in there]})

    async def reset(self, asked: Asked) -> Response:
        provider = asked.body.provider
        if provider is not None and provider not in self._live.current.config.providers:
            raise Unprocessable(f"there is no provider {provider!r}", param="provider")
        return answer({"reset": self._breakers.reset(provider)})


def _entry(status: BreakerStatus) -> dict[str, Any]:
    return {
        "name": status.name,
        "kind": status.kind.value,
        "state": status.state.value,
        "failures": status.failures,
        "next_attempt_at": status.next_attempt_at,
    }
