"""Overrides under `/api/v1/overrides`: where a customer's calls go instead."""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field
from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.doors.api import OPERATORS, Api, Asked, Operation, Strict, answer, nothing
from proxy.doors.providers import plain
from proxy.errors import NotFound, Unprocessable
from proxy.live import Live
from proxy.registry import OverrideRow, OverrideStore
from proxy.times import iso

PATH = "/api/v1/overrides"

Text = Annotated[str, Field(max_length=256), AfterValidator(plain)]


class NewOverride(Strict):
    """An override to be made; `service_name` null is for all services."""

    user_id: Text
    service_name: Text | None = None
    provider_name: Text
    model_name: Text


class Whose(Strict):
    """Whose overrides are listed; everybody's when it is left out."""

    user_id: Text | None = None


class OverrideEntry(Strict):
    """An override; times are ISO 8601 in UTC."""

    id: str
    user_id: str
    service_name: str | None
    provider_name: str
    model_name: str
    created_at: str
    updated_at: str


Entries = list[OverrideEntry]


class OverridesDoor:
    """Handlers over the store of overrides."""

    def __init__(self, api: Api, live: Live, store: Callable[[], OverrideStore]) -> None:
        self._api = api
        self._live = live
        self._store = store

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET", PATH, self.list, OPERATORS, "List overrides", query=Whose, answer=Entries
            ),
            Operation(
                "POST",
                PATH,
                self.create,
                OPERATORS,
                "Make an override",
                body=NewOverride,
                answer=OverrideEntry,
                status=201,
            ),
            Operation(
                "DELETE",
                PATH + "/{override_id}",
                self.remove,
                OPERATORS,
                "Delete an override",
                status=204,
                errors=(404,),
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def list(self, asked: Asked) -> Response:
        rows = self._store().list(asked.query.user_id)
        return answer([_entry(row).model_dump() for row in rows])

    async def create(self, asked: Asked) -> Response:
        body: NewOverride = asked.body
        provider = self._live.current.config.providers.get(body.provider_name)
        if provider is None:
            message = f"there is no provider {body.provider_name!r}"
            raise Unprocessable(message, param="provider_name")
        listed = provider.known_models
        if listed and body.model_name not in listed:
            message = f"provider {body.provider_name} lists no model {body.model_name!r}"
            raise Unprocessable(message, param="model_name")
        made = await self._store().create(
            body.user_id, body.service_name, body.provider_name, body.model_name
        )
        return answer(_entry(made), 201)

    async def remove(self, asked: Asked) -> Response:
        wanted = asked.path("override_id")
        if not await self._store().remove(wanted):
            raise NotFound(f"there is no override {wanted!r}")
        return nothing()


def _entry(row: OverrideRow) -> OverrideEntry:
    return OverrideEntry(
        id=row.id,
        user_id=row.user_id,
        service_name=row.service_name,
        provider_name=row.provider_name,
        model_name=row.model_name,
        created_at=iso(row.created_at),
        updated_at=iso(row.updated_at),
    )
