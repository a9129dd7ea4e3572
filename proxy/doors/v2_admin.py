"""The system's own keys of providers, under `/v2/admin/llm-keys`: what all fall back to.

They stand in the configuration, or are set here; one that is set here counts before it. Keys come
in and never go out.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field, SecretStr
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.config import Provider
from proxy.config_types import Secret
from proxy.doors.api import ADMIN, Api, Asked, Operation, Strict, answer, nothing
from proxy.doors.call import Current
from proxy.errors import Conflict, NotFound, Unprocessable
from proxy.own_keys import SYSTEM, OwnKeyRow, takes_none
from proxy.vault import mask

PATH = "/v2/admin/llm-keys"
LONGEST = 4096  # characters of a key

Origin = Literal["environment", "file", "api", "none"]


class SystemKeys(Protocol):
    """Where keys are kept: `proxy.own_keys.OwnKeyStore`. What is saved or removed is in force
    here when the call returns."""

    async def save(
        self, user_id: str, provider: str, base_url: str, secret: SecretStr
    ) -> OwnKeyRow: ...

    async def remove(self, user_id: str, provider: str | None) -> int: ...

    async def list(self, user_id: str) -> Sequence[OwnKeyRow]: ...


class SystemKeyBody(Strict):
    """A provider's key."""

    api_key: Annotated[Secret, Field(max_length=LONGEST)]


class SystemKeyStatus(Strict):
    """A provider, whether the system has a key of it, and whether it can be asked without a
    user's own."""

    provider: str
    is_set: bool
    masked_key: str | None
    source: Origin
    is_enabled: bool


class V2AdminDoor:
    """Handlers over the system's keys. `is_from_environment` says of a provider of the
    configuration that its key came from a variable."""

    def __init__(
        self,
        api: Api,
        current: Current,
        keys: Callable[[], SystemKeys],
        is_from_environment: Callable[[str], bool],
    ) -> None:
        self._api = api
        self._current = current
        self._keys = keys
        self._is_from_environment = is_from_environment

    def routes(self) -> list[BaseRoute]:
        one = f"{PATH}/{{provider}}"
        operations = [
            Operation(
                "GET",
                PATH,
                self.show,
                ADMIN,
                "The system's keys, masked",
                answer=list[SystemKeyStatus],
            ),
            Operation(
                "PUT",
                one,
                self.save,
                ADMIN,
                "Set the system's key of a provider",
                body=SystemKeyBody,
                answer=SystemKeyStatus,
                errors=(404, 409, 503),
            ),
            Operation(
                "DELETE",
                one,
                self.remove,
                ADMIN,
                "Remove a key that was set here",
                status=204,
                errors=(404, 409),
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def show(self, asked: Asked) -> Response:
        return answer([status.model_dump() for status in await self._statuses()])

    async def save(self, asked: Asked) -> Response:
        name, provider = self._provider(asked)
        if why := takes_none(provider):
            raise Unprocessable(f"{name}: {why}", param="provider")
        await self._keys().save(SYSTEM, name, provider.base_url or "", asked.body.api_key)
        statuses = await self._statuses()
        return answer(next(status for status in statuses if status.provider == name))

    async def remove(self, asked: Asked) -> Response:
        name, provider = self._provider(asked)
        if not await self._keys().remove(SYSTEM, name):
            if provider.keys:
                message = f"the key of {name} stands in the configuration; remove it there"
                raise Conflict(message, param="provider")
            raise NotFound(f"the system has no key of {name}", param="provider")
        return nothing()

    def _provider(self, asked: Asked) -> tuple[str, Provider]:
        """Raises `NotFound`."""
        name = asked.path("provider")
        provider = self._current().config.providers.get(name)
        if provider is None:
            raise NotFound("there is no such provider in the configuration", param="provider")
        return name, provider

    async def _statuses(self) -> list[SystemKeyStatus]:
        set_here = {row.provider: row.hint for row in await self._keys().list(SYSTEM)}
        providers = self._current().config.providers
        return [
            self._status(name, provider, set_here.get(name)) for name, provider in providers.items()
        ]

    def _status(self, name: str, provider: Provider, hint: str | None) -> SystemKeyStatus:
        source: Origin = "none"
        if hint is not None:
            source = "api"
        elif provider.keys:
            source = "environment" if self._is_from_environment(name) else "file"
            hint = mask(provider.keys[0].get_secret_value())
        return SystemKeyStatus(
            provider=name,
            is_set=hint is not None,
            masked_key=hint,
            source=source,
            is_enabled=provider.off is None,
        )
