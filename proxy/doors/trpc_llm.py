"""tRPC's `llm.…`: one chat of a task, or many, through the pipeline.

What is left out of the options the task's own defaults fill in, and what these leave out the
defaults of this API.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt
from pydantic.alias_generators import to_camel

from adapters.base import Usage
from proxy import routing
from proxy.batches import Batch, Job
from proxy.client import Heard
from proxy.config import Config
from proxy.doors.api import KNOWN, Lenient
from proxy.doors.chats import Answer, Chats, Wanted
from proxy.doors.controls import check_forwardable, first_of_each, read
from proxy.doors.trpc import Given, Kind, Procedure, broken, gathered
from proxy.errors import InvalidRequest, TurnoutError, trpc_error
from proxy.ids import request_name
from proxy.pipeline import Snapshot
from proxy.routing import TASK_PREFIX
from proxy.times import iso_now
from proxy.types import Controls, Principal

TASKS = ("qualification", "content_generation", "verification", "analysis", "simple")
"""The tasks that this API has always had; a configuration may have more."""

TEMPERATURE, MAX_TOKENS, TOP_P = 0.7, 1000, 0.9
USUAL, MOST_AT_ONCE, MOST = 5, 32, 1000  # calls of a batch

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"""Names of one parameter."""

Name = Annotated[str, Field(min_length=1, max_length=256)]


class Camel(Lenient):
    """A value whose fields have JavaScript's names outside."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class RouterMessage(Camel):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class RouterOptions(Camel):
    """How an answer is to be made, and by whom; what is null says nothing."""

    temperature: Annotated[StrictFloat, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    top_p: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    bypass_cache: StrictBool | None = None
    force_provider: Name | None = None
    force_model: Name | None = None


class RouterRequest(Camel):
    """One chat of a task."""

    task_type: Name
    messages: list[RouterMessage] = Field(min_length=1, fail_fast=True)
    options: RouterOptions | None = None

    @property
    def said(self) -> RouterOptions:
        return self.options or RouterOptions()


class RouterRequests(Camel):
    """Chats, so many at a time."""

    requests: list[RouterRequest] = Field(min_length=1, max_length=MOST, fail_fast=True)
    concurrency: Annotated[StrictInt, Field(ge=1, le=MOST_AT_ONCE)] = USUAL


class RouterUsage(Camel):
    """The tokens of the answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class RouterMetadata(Camel):
    """How the answer came about. `fallback_attempts` were made before the one that answered."""

    task_type: str
    latency_ms: int
    cached: bool
    fallback_attempts: int
    timestamp: str
    cost_usd: float | None
    request_id: str


class RouterResponse(Camel):
    """An answer."""

    content: str
    model: str
    provider: str
    usage: RouterUsage
    metadata: RouterMetadata


class RouterFault(Camel):
    """Why one of many chats has no answer: tRPC's name of it, and Turnout's own."""

    message: str
    code: str
    http_status: int
    turnout_code: str


class RouterFailure(Camel):
    """Stands where the answer would."""

    error: RouterFault


class Way(NamedTuple):
    """Where a call goes: a name, or targets that count instead of it. `is_task`: the name is the
    task's, and the pipeline fills in what the task says."""

    name: str
    is_task: bool
    route: tuple[str, ...] = ()


class Completions:
    """The procedures that ask a model."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    def procedures(self) -> list[Procedure]:
        errors = (404, 429, 502, 503, 504)
        return [
            Procedure(
                "llm.complete",
                Kind.MUTATION,
                self.complete,
                KNOWN,
                "Answer a chat of a task",
                RouterRequest,
                RouterResponse,
                errors,
            ),
            Procedure(
                "llm.batchComplete",
                Kind.MUTATION,
                self.complete_many,
                KNOWN,
                "Answer many chats",
                RouterRequests,
                list[RouterResponse | RouterFailure],
            ),
        ]

    async def complete(self, given: Given) -> RouterResponse:
        asked: RouterRequest = given.input
        return await self._answer(asked, given, _controls(given), given.client)

    async def complete_many(self, given: Given) -> list[RouterResponse | RouterFailure]:
        """All in the order of the requests; one that failed says so in its place."""
        asked: RouterRequests = given.input
        self._check(asked)
        controls = _controls(given)
        jobs = [self._job(each, given, controls) for each in asked.requests]
        found = await gathered(Batch(jobs, asked.concurrency), given.departure)
        return [_failure(each) if isinstance(each, TurnoutError) else each for each in found]

    def _check(self, asked: RouterRequests) -> None:
        """A task that there is not is known before anything is asked. Raises `InvalidRequest`."""
        config = self._chats.current().config
        for place, each in enumerate(asked.requests):
            _check_task(config, each.task_type, f"requests.{place}.taskType")

    def _job(self, asked: RouterRequest, given: Given, controls: Controls) -> Job:
        async def job(client: Heard) -> RouterResponse:
            try:
                return await self._answer(asked, given, controls, client)
            except TurnoutError:
                raise
            except Exception as error:  # noqa: BLE001  (the others keep their answers)
                raise broken(error, given.request, "a chat") from None

        return job

    async def _answer(
        self,
        asked: RouterRequest,
        given: Given,
        controls: Controls,
        client: Heard | None,
    ) -> RouterResponse:
        """The answer to a chat that is the HTTP request, or with a client one of several."""
        principal = given.principal
        wanted = wanted_of(self._chats.current(), asked, principal, controls)
        try:
            if client is None:
                got = await self._chats.ask(given.request.scope, principal, wanted)
            else:
                got = await self._chats.ask_one(principal, wanted, client)
        except TurnoutError as error:
            error.param = _param_of(error.param, asked)
            raise
        return _response(asked.task_type, got)


# What is asked.


def wanted_of(
    snapshot: Snapshot, asked: RouterRequest, principal: Principal, controls: Controls
) -> Wanted:
    """The call that a request is. Raises `InvalidRequest`."""
    config, options = snapshot.config, asked.said
    _check_task(config, asked.task_type, "taskType")
    way = _way(snapshot, asked, principal)
    task = config.tasks.get(asked.task_type)
    defaults = task.defaults if task is not None else {}
    messages = [message.model_dump() for message in asked.messages]
    body = {"messages": messages, **_parameters(options, defaults, way.is_task)}
    controls = controls._replace(
        task=None,
        provider=options.force_provider or controls.provider,
        cache=_cache(controls.cache, options.bypass_cache),
    )
    return Wanted(way.name, body, controls, route=way.route, label=asked.task_type)


def _check_task(config: Config, name: str, param: str) -> None:
    task = config.tasks.get(name)
    if task is None and name not in TASKS:
        known = ", ".join(TASKS)
        message = f"there is no task {name!r}; known are {known}, and those of the configuration"
        raise InvalidRequest(message, param=param)
    if task is not None and task.endpoint != "chat":
        raise InvalidRequest(f"the task {name!r} is not answered with a text", param=param)


def _way(snapshot: Snapshot, asked: RouterRequest, principal: Principal) -> Way:
    """Raises `InvalidRequest` for a provider that there is not, or that the task is not for."""
    table, options = snapshot.table, asked.said
    name = TASK_PREFIX + asked.task_type
    provider, model = options.force_provider, options.force_model
    if model is not None:
        check_forwardable(model, "options.forceModel")
    if provider is not None and provider not in snapshot.config.providers:
        message = f"there is no provider {provider!r}"
        raise InvalidRequest(message, param="options.forceProvider")
    if provider is not None and model is not None:
        return _at_provider(snapshot.config, provider, model)
    if model is not None:
        return _by_model(table, name, model, principal)
    resolved = routing.resolve(table, name)
    known = {choice.provider for choice in resolved.choices} if resolved is not None else {provider}
    if provider is not None and provider not in known:
        message = f"the task {asked.task_type!r} has no model at {provider!r}; say forceModel too"
        raise InvalidRequest(message, param="options.forceProvider")
    return Way(name, is_task=True)


def _at_provider(config: Config, provider: str, model: str) -> Way:
    listed = config.providers[provider].models
    if listed and model not in listed:
        message = f"provider {provider!r} has no model {model!r}"
        raise InvalidRequest(message, param="options.forceModel")
    full = f"{provider}/{model}"
    return Way(full, is_task=False, route=(full,))


def _by_model(table: routing.Table, name: str, model: str, principal: Principal) -> Way:
    """The task's own targets of that model; else what the model's name leads to; else whoever
    has it in a task or lists it. A model of the task keeps its meaning whatever else is
    configured: `openai/gpt-4o-mini` may be OpenRouter's there."""
    task = routing.resolve(table, name)
    own = [] if task is None else [c.provider for c in task.choices if c.model == model]
    if not own:
        named = routing.resolve(table, model)
        if named is not None and routing.first_target(table, named, principal.own) is not None:
            return Way(model, is_task=False)
        own = list(_having(table, model))
    route = tuple(dict.fromkeys(f"{provider}/{model}" for provider in own))
    return Way(route[0] if route else model, is_task=False, route=route)


def _having(table: routing.Table, model: str) -> Iterator[str]:
    """Providers that are known to have a model."""
    for task in table.tasks.values():
        yield from (choice.provider for choice in task.choices if choice.model == model)
    for name, provider in table.config.providers.items():
        if model in provider.models:
            yield name


def _parameters(
    options: RouterOptions, defaults: Mapping[str, Any], is_task: bool
) -> dict[str, Any]:
    """What the request says, and what this API does where the task says nothing either. Away from
    the task's own way its defaults come along."""
    given = {
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "top_p": options.top_p,
    }
    said = {name: value for name, value in given.items() if value is not None}
    kept = dict(defaults)
    if "max_tokens" in said:
        kept = {name: value for name, value in kept.items() if name not in _LIMITS}
    usual = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "top_p": TOP_P}
    if not _LIMITS.isdisjoint(kept):
        del usual["max_tokens"]
    usual = {name: value for name, value in usual.items() if name not in kept}
    return {**usual, **({} if is_task else kept), **said}


def _cache(header: str | None, bypass: bool | None) -> str | None:
    """What is asked of the cache: by the header, and no kept answer where it is to be passed."""
    if not bypass:
        return header
    return "no-cache" if header is None else f"{header}, no-cache"


def _controls(given: Given) -> Controls:
    return read(first_of_each(given.request.scope), {})


_PARAMS = {
    "temperature": "options.temperature",
    "max_tokens": "options.maxTokens",
    "top_p": "options.topP",
    "x-turnout-provider": "options.forceProvider",
}


def _param_of(param: str | None, asked: RouterRequest) -> str | None:
    """The name that a field of the chat has in this API."""
    if param == "model":
        return "taskType" if asked.said.force_model is None else "options.forceModel"
    return None if param is None else _PARAMS.get(param, param)


# What is answered.


def _response(task: str, got: Answer) -> RouterResponse:
    record = got.record
    return RouterResponse(
        content=got.content,
        model=got.model,
        provider=got.provider,
        usage=_usage(got),
        metadata=RouterMetadata(
            task_type=task,
            latency_ms=round(1000 * record.duration),
            cached=record.cached,
            fallback_attempts=max(0, got.attempts - 1),
            timestamp=iso_now(),
            cost_usd=None if record.cost_nanousd is None else record.cost_nanousd / 1e9,
            request_id=request_name(record.id),
        ),
    )


def _usage(got: Answer) -> RouterUsage:
    """What the answer itself says; the books count the attempts before it too."""
    counted = got.record.usage or Usage()
    said = got.body.get("usage") or {}
    prompt = said.get("prompt_tokens", counted.prompt)
    completion = said.get("completion_tokens", counted.completion)
    return RouterUsage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def _failure(error: TurnoutError) -> RouterFailure:
    said = trpc_error(error, "llm.complete")["error"]["data"]
    return RouterFailure(
        error=RouterFault(
            message=error.message,
            code=said["code"],
            http_status=error.status,
            turnout_code=error.code,
        )
    )
