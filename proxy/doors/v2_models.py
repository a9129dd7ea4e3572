"""Which models there are: `/v2/llm-models`, and `GET /api/v1/models` with the same entries.

A model's id is a UUID made of its name, so that it is the same in every process and for ever.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field
from starlette.responses import Response
from starlette.routing import BaseRoute

from adapters.base import Usage
from proxy import routing
from proxy.config import Provider
from proxy.doors.api import KNOWN, Api, Asked, Operation, Strict, answer
from proxy.doors.call import Current
from proxy.errors import ModelNotFound
from proxy.ledger import catalogue
from proxy.pipeline import Snapshot
from proxy.types import OwnKeys, Principal

PREFIX = "turnout:"
"""What a model's name has before it when its id is made."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SOME = 1000  # tokens that a price is worked out from: of prices by tiers this is the lowest


class ModelEntry(Strict):
    """A model, what it costs in USD for a million tokens, and whose key it would be asked with."""

    id: str
    name: str
    display_name: str
    provider: str
    model: str
    is_active: bool
    input_price_per_million: float | None
    output_price_per_million: float | None
    cached_input_price_per_million: float | None
    currency: str = "USD"
    context_window: int | None
    source: Literal["user", "system"] | None


class ModelList(Strict):
    """Models, under their name."""

    models: list[ModelEntry]


class ModelQuery(Strict):
    """Which models: those that can be asked now, those that can't, or all."""

    is_active: bool | None = None
    provider: str | None = Field(default=None, max_length=256)


class Listed(NamedTuple):
    """A name, and a model for each target that it may lead to, as if it were inactive."""

    name: str
    ways: tuple[ModelEntry, ...]


class Index(NamedTuple):
    """The models of one configuration."""

    snapshot: Snapshot
    listed: Mapping[str, Listed]
    """By id."""


class Discovery:
    """Knows the models of the configuration in force."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._index: Index | None = None
        self._making = asyncio.Lock()

    async def index(self) -> Index:
        """Of the configuration in force; made once, beside the loop: a thousand prices take some
        tenths of a second."""
        async with self._making:
            snapshot = self._current()
            if self._index is None or self._index.snapshot is not snapshot:
                self._index = await asyncio.to_thread(_made, snapshot)
            return self._index

    async def name_of(self, model_id: str) -> str:
        """The name that a `model_id` stands for: itself, unless it is the id of one. Raises
        `ModelNotFound`."""
        if not _ID.fullmatch(model_id):
            return model_id
        listed = (await self.index()).listed.get(model_id.lower())
        if listed is None:
            message = f"no model has the id {model_id}; GET /v2/llm-models lists the ids"
            raise ModelNotFound(message, param="model_id")
        return listed.name

    async def models(self, principal: Principal) -> list[ModelEntry]:
        """All that the caller may name."""
        index = await self.index()
        own = principal.own
        return [
            _seen(index.snapshot, listed, own)
            for listed in index.listed.values()
            if principal.may_use(listed.name)
        ]

    async def model(self, principal: Principal, model_id: str) -> ModelEntry | None:
        """One by its id or name, if the caller may name it."""
        wanted = model_id.lower() if _ID.fullmatch(model_id) else id_of(model_id)
        index = await self.index()
        listed = index.listed.get(wanted)
        if listed is None or not principal.may_use(listed.name):
            return None
        return _seen(index.snapshot, listed, principal.own)


class ModelsDoor:
    """Handlers over what there is."""

    def __init__(self, api: Api, discovery: Discovery) -> None:
        self._api = api
        self._discovery = discovery

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                "/v2/llm-models",
                self.list,
                KNOWN,
                "Models that the caller may ask, with prices",
                query=ModelQuery,
                answer=list[ModelEntry],
            ),
            Operation(
                "GET",
                "/v2/llm-models/{id:path}",
                self.show,
                KNOWN,
                "One model, by its id or name",
                answer=ModelEntry,
                errors=(404,),
            ),
            Operation(
                "GET",
                "/api/v1/models",
                self.under_name,
                KNOWN,
                "Models that the caller may ask, with prices",
                query=ModelQuery,
                answer=ModelList,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def list(self, asked: Asked) -> Response:
        return answer([model.model_dump() for model in await self._chosen(asked)])

    async def under_name(self, asked: Asked) -> Response:
        return answer({"models": [model.model_dump() for model in await self._chosen(asked)]})

    async def show(self, asked: Asked) -> Response:
        model = await self._discovery.model(asked.principal, asked.path("id").rstrip("/"))
        if model is None:
            message = "there is no such model, or none that this caller may use"
            raise ModelNotFound(message, param="id")
        return answer(model)

    async def _chosen(self, asked: Asked) -> Iterable[ModelEntry]:
        wanted: ModelQuery = asked.query
        found = await self._discovery.models(asked.principal)
        return [
            model
            for model in found
            if wanted.is_active in (None, model.is_active)
            and wanted.provider in (None, model.provider)
        ]


def id_of(name: str) -> str:
    """The id of the model that is called `provider/model`."""
    return str(uuid5(NAMESPACE_URL, PREFIX + name))


def unit_prices(snapshot: Snapshot, provider: str, model: str) -> tuple[float | None, ...]:
    """USD for a million tokens in, out, and in from the provider's cache; None when unknown."""
    section = snapshot.config.providers.get(provider)
    base_url = section.base_url or "" if section else ""
    uses = (
        Usage(prompt=_SOME),
        Usage(completion=_SOME),
        Usage(prompt=_SOME, cached=_SOME),
    )
    costs = [snapshot.prices.cost(provider, base_url, model, use) for use in uses]
    return tuple(None if cost is None else cost / (_SOME * 1000) for cost in costs)


def _made(snapshot: Snapshot) -> Index:
    """Goes through names, targets and catalogue; pure."""
    listed: dict[str, Listed] = {}
    for name in dict.fromkeys(_names(snapshot)):
        resolved = routing.resolve(snapshot.table, name)
        if resolved is None:
            continue  # a model that its provider does not list: there by its alias alone
        pairs = [(c.provider, c.model_for(resolved.matched)) for c in resolved.choices]
        known = [pair for pair in pairs if pair[0] in snapshot.config.providers]
        ways = tuple(_way(snapshot, name, *pair) for pair in known)
        if ways:
            listed[id_of(name)] = Listed(name, ways)
    return Index(snapshot, listed)


def _names(snapshot: Snapshot) -> Iterator[str]:
    """`provider/model` of all that is configured, or for sale at a provider that lists none."""
    table = snapshot.table
    for name, provider in snapshot.config.providers.items():
        yield from (f"{name}/{model}" for model in _models_of(name, provider))
    for route in (*table.aliases.values(), *table.tasks.values()):
        for choice in route.choices:
            if choice.model and "*" not in choice.model:
                yield f"{choice.provider}/{choice.model}"


def _models_of(name: str, provider: Provider) -> Iterable[str]:
    return provider.known_models or [
        sold.model for sold in catalogue.listed(name, provider.base_url or "", provider.dialect)
    ]


def _way(snapshot: Snapshot, name: str, provider: str, model: str) -> ModelEntry:
    base_url = snapshot.config.providers[provider].base_url or ""
    inward, outward, cached = unit_prices(snapshot, provider, model)
    return ModelEntry(
        id=id_of(name),
        name=name,
        display_name=catalogue.title(provider, base_url, model),
        provider=provider,
        model=model,
        is_active=False,
        input_price_per_million=inward,
        output_price_per_million=outward,
        cached_input_price_per_million=cached,
        context_window=snapshot.prices.context_window(provider, base_url, model),
        source=None,
    )


def _seen(snapshot: Snapshot, listed: Listed, own: OwnKeys | None) -> ModelEntry:
    """The model as this caller has it: where its first target is on, with whose key."""
    for way in listed.ways:
        if routing.is_on(snapshot.config, way.provider, own):
            is_own = own is not None and way.provider in own.providers
            seen = {"is_active": True, "source": "user" if is_own else "system"}
            return way.model_copy(update=seen)
    return listed.ways[0]
