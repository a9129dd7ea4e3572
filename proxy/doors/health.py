"""Health, which is open, at the root and under `/api/v1`; of the providers, to who has a key."""

import re
from collections.abc import Callable
from typing import Any, Protocol

from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.config import Provider
from proxy.doors.api import EVERYONE, Api, Asked, Operation, Strict, answer
from proxy.live import Live

ELSEWHERE = "the file is not in force, and GET /api/v1/config and the log say why"


class Books(Protocol):
    """The ledger's writer, as far as health needs it."""

    @property
    def pending(self) -> int: ...

    @property
    def lost(self) -> int: ...

    @property
    def unspooled(self) -> int: ...

    @property
    def degraded(self) -> str | None: ...


class LedgerHealth(Strict):
    """Rows that are not in the database yet, and what went wrong with others."""

    pending: int
    lost: int
    unspooled: int
    degraded: str | None


class ConfigHealth(Strict):
    """The configuration in force; `error` is there when a newer one is not."""

    version: str
    loaded_at: int
    error: str | None


class Health(Strict):
    """How the service is."""

    status: str
    service: str
    database: str
    ledger: LedgerHealth
    config: ConfigHealth


class Status(Strict):
    """`ok`, or what is wrong."""

    status: str


class ProviderHealth(Strict):
    """A provider, and whether it is on."""

    name: str
    display_name: str
    is_enabled: bool
    models_count: int


class Providers(Strict):
    """All providers."""

    providers: list[ProviderHealth]


class HealthDoor:
    """Handlers over the configuration in force and the books."""

    def __init__(
        self,
        api: Api,
        live: Live,
        books: Callable[[], Books],
        display_name: Callable[[str], str] = str,
    ) -> None:
        self._api = api
        self._live = live
        self._books = books
        self._display_name = display_name

    def routes(self) -> list[BaseRoute]:
        return [
            self._api.route(operation)
            for prefix in ("", "/api/v1")
            for operation in self._operations(prefix + "/health")
        ]

    def _operations(self, path: str) -> list[Operation]:
        return [
            _open(path, self.health, "How the service is", Health),
            _open(path + "/live", self.alive, "Whether the process lives", Status),
            _open(path + "/ready", self.ready, "Whether it should be sent requests", Status, 503),
            Operation(
                "GET",
                path + "/providers",
                self.providers,
                EVERYONE,
                "Which providers are on",
                answer=Providers,
            ),
        ]

    async def health(self, asked: Asked) -> Response:
        books = self._books()
        return answer(
            Health(
                status="ok",
                service="turnout",
                database="ok" if not books.lost else "rows were lost",
                ledger=LedgerHealth(
                    pending=books.pending,
                    lost=books.lost,
                    unspooled=books.unspooled,
                    degraded=books.degraded,
                ),
                config=ConfigHealth(
                    version=self._live.current.config.version,
                    loaded_at=int(self._live.loaded_at),
                    error=_told(self._live.error),
                ),
            )
        )

    async def alive(self, asked: Asked) -> Response:
        return answer(Status(status="ok"))

    async def ready(self, asked: Asked) -> Response:
        """503 while rows can't be kept. One that was lost is told by `/health` and the metrics: it
        does not come back, and a process that is out of service for good helps nobody."""
        fault = self._books().degraded
        return answer(Status(status=fault or "ok"), 503 if fault else 200)

    async def providers(self, asked: Asked) -> Response:
        found = self._live.current.config.providers.items()
        return answer(Providers(providers=[self._entry(name, each) for name, each in found]))

    def _entry(self, name: str, provider: Provider) -> ProviderHealth:
        return ProviderHealth(
            name=name,
            display_name=self._display_name(name),
            is_enabled=not provider.off,
            models_count=len(provider.models),
        )


def _told(error: str | None) -> str | None:
    """What everybody may know of a file that does not load: the first line at fault, and its
    section. The rest names providers, paths and what else is in the file."""
    if error is None:
        return None
    where, _, fault = error.partition(": ")
    section = re.match(r"\w+", fault)
    return f"{where}: {section[0] if section else ''}: {ELSEWHERE}"


def _open(path: str, handler: Any, summary: str, model: Any, *errors: int) -> Operation:
    return Operation(
        "GET", path, handler, EVERYONE, summary, answer=model, is_open=True, errors=errors
    )
