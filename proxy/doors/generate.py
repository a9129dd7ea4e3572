"""`/api/v1/generate`, `/estimate` and `/batch`: a prompt in, a text out, and what that costs.

Where a call goes nobody says who calls: the customer's override decides, else the task of that
name, else the providers that are on, the highest priority first, each with its first model.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from pydantic import Field
from starlette.responses import Response
from starlette.routing import BaseRoute

from adapters.base import Ask, Endpoint, Usage
from proxy import routing
from proxy.batches import Batch, Done, Job
from proxy.client import Heard
from proxy.config import Config
from proxy.doors.api import KNOWN, OPERATORS, Api, Asked, Lenient, Operation, Strict, answer
from proxy.doors.batches import error_of, streamed
from proxy.doors.chats import Answer, Chats, Wanted
from proxy.doors.controls import first_of_each, read
from proxy.errors import ModelNotFound, NoProvider, TurnoutError, Unprocessable, Upstream
from proxy.limits import worst_usage
from proxy.pipeline import Snapshot
from proxy.routing import TASK_PREFIX
from proxy.types import Call, Controls, Principal, Role

MAX_TOKENS, TEMPERATURE = 1000, 0.7  # of a request that says nothing, nor does its task
MOST_AT_ONCE, USUAL, MOST = 32, 5, 1000  # calls of a batch


class Text(Lenient):
    """A prompt, and how it is to be answered."""

    user_id: str = Field(min_length=1, max_length=256, description="The customer that asks")
    service: str = Field(min_length=1, max_length=256, description="The service that calls")
    task_type: str = Field(default="general", min_length=1, max_length=256)
    prompt: str = Field(min_length=1)
    system: str = ""
    max_tokens: int = Field(default=MAX_TOKENS, ge=1, le=8000)
    temperature: float = Field(default=TEMPERATURE, ge=0.0, le=2.0)
    json_mode: bool = False


class Generated(Strict):
    """An answer, who gave it, and what it took."""

    content: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: float
    cached: bool
    latency_ms: int


class ToEstimate(Lenient):
    """A call whose cost is wanted: of a model or task by `model`, else as `generate` would go."""

    model: str | None = Field(default=None, min_length=1, max_length=256)
    user_id: str = Field(default="", max_length=256)
    service: str = Field(default="", max_length=256)
    task_type: str = Field(default="general", min_length=1, max_length=256)
    prompt: str | None = Field(default=None, min_length=1)
    messages: list[dict[str, Any]] | None = Field(default=None, min_length=1)
    system: str = ""
    max_tokens: int = Field(default=MAX_TOKENS, ge=1, le=1_000_000)


class EstimateOf(Strict):
    """What a call would cost at one target; no price is known where `cost_usd` is null."""

    provider: str
    model: str
    input_cost_usd: float | None
    output_cost_usd: float | None
    cost_usd: float | None


class Estimate(Strict):
    """The tokens by estimate, the output at its most, and the cost at the first target; `targets`
    has those that it may fail over to as well."""

    model: str
    provider: str
    input_tokens: int
    output_tokens: int
    input_cost_usd: float | None
    output_cost_usd: float | None
    cost_usd: float | None
    max_cost_usd: float | None
    currency: str = "USD"
    targets: list[EstimateOf]


class Many(Strict):
    """Calls of `generate`, so many at a time."""

    requests: list[Text] = Field(min_length=1, max_length=MOST)
    concurrency: int = Field(default=USUAL, ge=1, le=MOST_AT_ONCE)


class Chosen(Protocol):
    """An override."""

    @property
    def provider_name(self) -> str: ...

    @property
    def model_name(self) -> str: ...


Override = Callable[[str, str | None], Chosen | None]
"""(customer, service) -> where that customer's calls go instead."""


class Way(NamedTuple):
    """Where a call goes: a name, or targets that count instead of it."""

    name: str
    route: tuple[str, ...] = ()


class GenerateDoor:
    """Handlers over the pipeline."""

    def __init__(self, api: Api, chats: Chats, override: Override) -> None:
        self._api = api
        self._chats = chats
        self._override = override

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "POST",
                "/api/v1/generate",
                self.generate,
                OPERATORS,
                "Answer a prompt",
                body=Text,
                answer=Generated,
                errors=(429, 502, 503, 504),
            ),
            Operation(
                "POST",
                "/api/v1/estimate",
                self.estimate,
                KNOWN,
                "What a call would cost",
                body=ToEstimate,
                answer=Estimate,
                errors=(404, 503),
            ),
            Operation(
                "POST",
                "/api/v1/batch",
                self.batch,
                OPERATORS,
                "Answer many prompts",
                body=Many,
                media_type="application/x-ndjson",
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def generate(self, asked: Asked) -> Response:
        wanted = self._wanted(asked.body, _controls(asked))
        try:
            got = await self._chats.ask(asked.request.scope, SERVICE, wanted)
        except TurnoutError as error:
            raise _told(error) from None
        return answer(_generated(got))

    async def batch(self, asked: Asked) -> Response:
        """Each call is as one of `generate`; what one comes to is no matter to the others."""
        controls = _controls(asked)
        jobs = [self._job(text, controls) for text in asked.body.requests]
        return streamed(Batch(jobs, asked.body.concurrency), _line, _summary)

    def _job(self, text: Text, controls: Controls) -> Job:
        async def job(client: Heard) -> Answer:
            try:
                wanted = self._wanted(text, controls)
                return await self._chats.ask_one(SERVICE, wanted, client)
            except TurnoutError as error:
                raise _told(error) from None

        return job

    async def estimate(self, asked: Asked) -> Response:
        body: ToEstimate = asked.body
        if (body.prompt is None) == (body.messages is None):
            raise Unprocessable("give 'prompt' or 'messages', one of them", param="prompt")
        snapshot = self._chats.current()
        ask = _ask_of(body)
        principal = asked.principal
        if principal.role not in OPERATORS:  # where a customer's calls go is that customer's
            body = body.model_copy(update={"user_id": principal.user_id or ""})
        way = Way(body.model) if body.model else self._way(body)
        return answer(_estimate(snapshot, principal, ask, way, _controls(asked)))

    def _wanted(self, text: Text, controls: Controls) -> Wanted:
        way = self._way(text)
        task = self._chats.current().config.tasks.get(text.task_type)
        left = text.model_dump(include={"max_tokens", "temperature"})
        if not way.route and task is not None:  # what the task says comes before our defaults
            said = text.model_fields_set | (left.keys() - task.defaults.keys())
            left = {name: value for name, value in left.items() if name in said}
        if text.json_mode:
            left["response_format"] = {"type": "json_object"}
        body = {"messages": _messages(text.system, text.prompt), **left}
        named = controls._replace(user=text.user_id, service=text.service, task=None)
        return Wanted(way.name, body, named, route=way.route, label=text.task_type)

    def _way(self, asked: Text | ToEstimate) -> Way:
        """Raises `NoProvider`."""
        config = self._chats.current().config
        override = self._override(asked.user_id, asked.service or None)
        if override is not None:
            name = f"{override.provider_name}/{override.model_name}"
            return Way(name, (name,))
        if asked.task_type in config.tasks:
            return Way(TASK_PREFIX + asked.task_type)
        route = tuple(_by_priority(config))
        if not route:
            message = "no provider is on that lists a model; set a provider's key, or make one"
            raise NoProvider(message, headers={"retry-after": "30"})
        return Way(route[0], route)


def _by_priority(config: Config) -> list[str]:
    """The first model of each provider that is on, the highest priority first."""
    found = []
    for name, provider in config.providers.items():
        models = provider.known_models
        if models and not provider.off:
            found.append((-provider.priority, f"{name}/{models[0]}"))
    return [name for _, name in sorted(found, key=lambda entry: entry[0])]


SERVICE = Principal(Role.SERVICE)
"""Who calls for a customer, whoever it is: the row, the limits, what is kept are the customer's."""


def _controls(asked: Asked) -> Controls:
    return read(first_of_each(asked.request.scope), {})


def _messages(system: str, prompt: str) -> list[dict[str, str]]:
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": prompt}]


def _told(error: TurnoutError) -> TurnoutError:
    """As this API says it: 502 for whatever a provider did, 503 where there is none to ask. What
    was never sent to one, such as over its own limits, stays what it is."""
    if isinstance(error, ModelNotFound):
        return NoProvider(error.message, headers={"retry-after": "30"})
    if isinstance(error, Upstream) and error.was_sent:
        headers = {k: v for k, v in error.headers.items() if k != "retry-after"}
        return Upstream(
            error.message,
            status=502,
            type=error.type,
            code=error.code,
            param=error.param,
            headers=headers,
        )
    return error


def _generated(got: Answer) -> Generated:
    usage = got.record.usage or Usage()
    return Generated(
        content=got.content,
        provider=got.provider,
        model=got.model,
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cost_usd=got.cost_usd,
        cached=got.record.cached,
        latency_ms=round(1000 * got.record.duration),
    )


def _line(done: Done) -> dict[str, Any]:
    if done.error is not None:
        return {"index": done.place, "status": "error", "error": error_of(done.error)}
    result = _generated(done.answer).model_dump()
    return {"index": done.place, "status": "ok", "result": result}


def _summary(done: Sequence[Done]) -> dict[str, Any]:
    answers: list[Answer] = [each.answer for each in done if each.error is None]
    return {
        "total": len(done),
        "succeeded": len(answers),
        "failed": len(done) - len(answers),
        "cached": sum(each.record.cached for each in answers),
        "cost_usd": sum(each.record.cost_nanousd or 0 for each in answers) / 1e9,
    }


# What a call would cost.


def _ask_of(body: ToEstimate) -> Ask:
    messages = body.messages or _messages(body.system, body.prompt or "")
    chat = {"model": body.model or "", "messages": messages, "max_tokens": body.max_tokens}
    return Ask(Endpoint.CHAT, orjson.dumps(chat), chat)


def _estimate(
    snapshot: Snapshot, principal: Principal, ask: Ask, way: Way, controls: Controls
) -> Estimate:
    """Raises `ModelNotFound`."""
    if way.route:
        call = Call(principal, ask, way.name, controls, way.route)
        plan = routing.plan_route(snapshot.table, principal, call, routing.UNSEEN)
    else:
        plan = routing.plan(snapshot.table, principal, way.name, controls, routing.UNSEEN)
    targets = {(target.provider, target.model): target for target in plan.targets}.values()
    usage = worst_usage(ask)
    found = [_estimate_of(snapshot, usage, t.provider, t.base_url, t.model) for t in targets]
    costs = [each.cost_usd for each in found if each.cost_usd is not None]
    first = found[0]
    return Estimate(
        **first.model_dump(),
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        max_cost_usd=max(costs, default=None),
        targets=found,
    )


def _estimate_of(
    snapshot: Snapshot, usage: Usage, provider: str, base_url: str, model: str
) -> EstimateOf:
    def usd(part: Usage) -> float | None:
        nano = snapshot.prices.cost(provider, base_url, model, part)
        return None if nano is None else nano / 1e9

    return EstimateOf(
        provider=provider,
        model=model,
        input_cost_usd=usd(Usage(prompt=usage.prompt)),
        output_cost_usd=usd(Usage(completion=usage.completion)),
        cost_usd=usd(usage),
    )
