"""What two requests may share: nothing that one of them would not have been answered itself.

A request is drawn, one thing of it is changed, and the cache is asked what it knows both by:

    OTHER      another answer may be due      another digest, and another partition if there is one
    QUESTION   other words of the last turn   another digest, the same partition
    SAME       nothing of the answer          the same digest, the same partition

The second half lets many tenants ask one cache at once, and holds every answer to what the asker's
own upstream would have said. `python -m tests.fuzz.scope --cases 100000 --seed 1` is the long form.
"""

import argparse
import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from adapters.base import Ask, Endpoint, Target, Usage
from proxy.cache.answers import LocalAnswers
from proxy.cache.lookup import Answered, Cache
from proxy.cache.policy import NO_TASK
from proxy.cache.report import MeaningReport
from proxy.cache.types import Entry, Key, Purge, Tier
from proxy.cache.visit import Found, Near, Visit
from proxy.config_types import CacheSection, SemanticSection
from proxy.doors import controls
from proxy.types import Call, Plan, Principal, Role

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Effect(Enum):
    """What a change does to what a request is known by."""

    OTHER = "other"
    QUESTION = "question"
    SAME = "same"


@dataclass(frozen=True)
class Request:
    """A request, and all of its surroundings that an answer may depend on."""

    endpoint: Endpoint
    body: dict[str, Any]
    role: Role
    key: str | None = None
    user: str | None = None
    service: str | None = None
    customer: str | None = None
    name: str = "up/m"
    targets: tuple[str, ...] = ("up/m",)
    task: str | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    provider: str | None = None
    namespace: str = ""
    tags: tuple[str, ...] = ()
    epoch: str = ""
    ttl: float = 60.0


class Opened(NamedTuple):
    """A request as the pipeline would hand it to the cache."""

    section: CacheSection
    call: Call
    plan: Plan
    ask: Ask


# From a request to its key, by the ways that a real one goes.


def opened(request: Request) -> Opened:
    raw = orjson.dumps(request.body)
    body = orjson.loads(raw)
    options = body.get("stream_options") or {}
    ask = Ask(
        request.endpoint,
        raw,
        body,
        stream=body.get("stream") is True,
        wants_usage=options.get("include_usage") is True,
        defaults={n: v for n, v in request.defaults.items() if n not in body},
        headers=request.headers,
    )
    section = CacheSection(
        ttl=request.ttl,
        temperature=2.0,
        epoch=request.epoch,
        semantic=SemanticSection(enabled=True, temperature=2.0),
    )
    principal = Principal(request.role, request.key, request.user)
    asked = controls.read(_headers(request), body)
    call = Call(principal, ask, request.name, asked)
    return Opened(section, call, Plan(request.name, _targets(request), request.task), ask)


def _headers(request: Request) -> dict[bytes, bytes]:
    said = [f"namespace={request.namespace}"] if request.namespace else []
    said += [f"tag={tag}" for tag in request.tags]
    given = {
        b"x-turnout-service": request.service,
        b"x-turnout-user": request.customer,
        b"x-turnout-provider": request.provider,
        b"x-turnout-cache": ", ".join(said) or None,
    }
    return {name: value.encode() for name, value in given.items() if value is not None}


def _targets(request: Request) -> tuple[Target, ...]:
    pairs = [target.split("/", 1) for target in request.targets]
    return tuple(
        Target(provider, model, "openai", "http://up.test/v1") for provider, model in pairs
    )


def open_visit(cache: Cache, request: Request) -> Visit:
    section, call, plan, ask = opened(request)
    return cache.open(section, NO_TASK, call, plan, ask)


def key_of(request: Request) -> Key:
    visit = open_visit(Cache(LocalAnswers(1), lambda: None), request)
    assert visit.key is not None, visit.reason
    return visit.key


# Requests.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
QUESTIONS = st.builds(
    "{} {} {}?".format,
    st.sampled_from(["What is", "Who made", "Tell me about", "Where lies"]),
    st.sampled_from(["the", "a", "an old", "the \u00e9", "no"]),
    st.text("abcdefghijklmnopqrstuvwxyz -\u00e9\n\"'\\{}", min_size=1, max_size=20),
)
"""Words that may be answered by meaning; most of `TEXTS` may too."""

NAMES = st.text("abcdefghij0123456789_:.-", min_size=1, max_size=5)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
TOOLS = st.builds(
    lambda name, text: {
        "type": "function",
        "function": {"name": name, "description": text, "parameters": {"type": "object"}},
    },
    NAMES,
    TEXTS,
)
FORMATS = st.sampled_from([{"type": "text"}, {"type": "json_object"}]) | st.builds(
    lambda name: {"type": "json_schema", "json_schema": {"name": name, "schema": {}}}, NAMES
)
SAMPLING: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.none() | st.floats(0, 1) | st.sampled_from([0, 0.3, 1]),
    "top_p": st.floats(0, 1),
    "seed": st.integers(0, 2**53),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "max_tokens": st.integers(1, 4096),
    "max_completion_tokens": st.integers(1, 4096),
    "stop": TEXTS | st.lists(TEXTS, min_size=1, max_size=3),
    "n": st.integers(1, 4),
    "logit_bias": st.dictionaries(st.integers(0, 99).map(str), st.integers(-100, 100), max_size=2),
}
BESIDE: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.booleans(),
    "stream_options": st.none()
    | st.builds(lambda wanted: {"include_usage": wanted}, st.booleans()),
    "metadata": st.none() | st.dictionaries(st.sampled_from(["job_id", "team", "task"]), NAMES),
    "safety_identifier": NAMES,
    "prompt_cache_key": NAMES,
    "prompt_cache_retention": st.sampled_from(["24h", "in_memory"]),
    "service_tier": st.sampled_from(["auto", "default", "flex"]),
}
"""Fields that no answer depends on."""

SYSTEMS = ("system", "developer")


def turns_of(draw: Draw, last: str) -> list[dict[str, Any]]:
    """A conversation's turns up to a question; some of their texts are parts."""
    count = draw(st.integers(0, 3))
    turns = [
        {"role": role, "content": draw(_contents(TEXTS))}
        for _ in range(count)
        for role in ("user", "assistant")
    ]
    return [*turns, {"role": "user", "content": draw(_contents(st.just(last)))}]


def _contents(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return texts | texts.map(lambda text: [{"type": "text", "text": text}])


def body_of(draw: Draw, endpoint: Endpoint) -> dict[str, Any]:
    words = draw(QUESTIONS)
    match endpoint:
        case Endpoint.CHAT:
            system = {"role": draw(st.sampled_from(SYSTEMS)), "content": draw(TEXTS)}
            first = [system] if draw(st.booleans()) else []
            body: dict[str, Any] = {"messages": [*first, *turns_of(draw, words)]}
        case Endpoint.MESSAGES:
            body = {"max_tokens": 50, "messages": turns_of(draw, words)}
            if draw(st.booleans()):
                body["system"] = draw(_contents(TEXTS))
        case Endpoint.RESPONSES:
            body = {"store": False, "input": words}
            if draw(st.booleans()):
                body["input"] = turns_of(draw, words)
            if draw(st.booleans()):
                body["instructions"] = draw(TEXTS)
        case Endpoint.COMPLETIONS:
            body = {"prompt": words}
        case _:
            body = {"input": words}
    return {"model": "m", **body}


ENDPOINTS = (
    *([Endpoint.CHAT] * 3),
    *([Endpoint.MESSAGES] * 2),
    *([Endpoint.RESPONSES] * 2),
    Endpoint.COMPLETIONS,
    Endpoint.EMBEDDINGS,
)


@st.composite
def requests(draw: Any) -> Request:
    """A request. Most may be answered by meaning: what may not has a digest alone."""
    endpoint = draw(st.sampled_from(ENDPOINTS))
    body = body_of(draw, endpoint)
    kinds = st.sampled_from([*SAMPLING, "response_format", "x_new"])
    for name in draw(st.lists(kinds, max_size=3, unique=True)):
        strategy = {**SAMPLING, "response_format": FORMATS, "x_new": VALUES}[name]
        body.setdefault(name, draw(strategy))
    for name in draw(st.lists(st.sampled_from(list(BESIDE)), max_size=2, unique=True)):
        body[name] = draw(BESIDE[name])
    if draw(st.integers(0, 9)) == 0:
        body["tools"] = [draw(TOOLS)]
    if body.get("n") != 1 and draw(st.booleans()):
        body.pop("n", None)
    role, who = draw(st.sampled_from(TENANTS))
    return Request(
        endpoint,
        body,
        role,
        defaults=draw(st.sampled_from([{}, {}, {"top_k": 5}])),
        headers=draw(st.sampled_from([(), (), (("openai-beta", "x=1"),)])),
        namespace=draw(st.sampled_from(["", "", "a"])),
        epoch=draw(st.sampled_from(["", "2"])),
        **who,
    )


OWNERS = (Role.KEY, Role.USER)
TENANTS: list[tuple[Role, dict[str, Any]]] = [
    (Role.KEY, {"key": "key_1"}),
    (Role.KEY, {"key": "key_1", "user": "zoe"}),
    (Role.USER, {"user": "zoe"}),
    (Role.SERVICE, {"service": "mail", "customer": "zoe"}),
    (Role.SERVICE, {}),
    (Role.ADMIN, {}),
    (Role.ANONYMOUS, {}),
]


# One change. Each gives the request changed, or None where there is nothing of the kind.

Change = Callable[[Draw, Request], Request | None]


def other(draw: Draw, old: Any, strategy: st.SearchStrategy[Any]) -> Any:
    """A value that is written in another way."""
    written = json.dumps(old, sort_keys=True)
    return draw(strategy.filter(lambda new: json.dumps(new, sort_keys=True) != written))


def with_body(request: Request, **members: Any) -> Request:
    return replace(request, body={**request.body, **members})


def without(request: Request, name: str) -> Request:
    return replace(request, body={n: v for n, v in request.body.items() if n != name})


def change_field(draw: Draw, request: Request, name: str, values: Any) -> Request:
    """Changes a member, adds it, or leaves it out."""
    if name in request.body and draw(st.booleans()):
        return without(request, name)
    if name in request.body:
        return with_body(request, **{name: other(draw, request.body[name], values)})
    return with_body(request, **{name: draw(values)})


def caller(draw: Draw, request: Request) -> Request:
    """Another kind of tenant."""
    mine = tenant_of(request.role, vars(request))
    others = [(role, who) for role, who in TENANTS if tenant_of(role, who) != mine]
    role, who = draw(st.sampled_from(others))
    nobody = {"key": None, "user": None, "service": None, "customer": None}
    return replace(request, **{**nobody, **who}, role=role)


def owner(draw: Draw, request: Request) -> Request | None:
    """Another key that no user owns, or another user."""
    if request.role not in OWNERS:
        return None
    name = "key" if request.user is None else "user"
    return replace(request, **{name: other(draw, getattr(request, name), NAMES)})


def customer(draw: Draw, request: Request) -> Request | None:
    """Another customer of a service, or another service with a customer of that name."""
    if request.role is not Role.SERVICE:
        return None
    name = draw(st.sampled_from(["service", "customer"]))
    return replace(request, **{name: other(draw, getattr(request, name), NAMES)})


def tenant_of(role: Role, who: Mapping[str, Any]) -> tuple[str, ...]:
    """Whose answers these are, as the design has it; written again."""
    if role is Role.KEY and who.get("user") is None:
        return "key", str(who.get("key"))
    if role in (Role.KEY, Role.USER):
        return "user", str(who.get("user"))
    if role is Role.SERVICE:
        return "service", str(who.get("service")), str(who.get("customer"))
    return (role.value,)


def turns(request: Request) -> tuple[str, list[dict[str, Any]]] | None:
    """The member with the conversation, and its turns."""
    name = "input" if request.endpoint is Endpoint.RESPONSES else "messages"
    found = request.body.get(name)
    return (name, found) if isinstance(found, list) else None


def system(draw: Draw, request: Request) -> Request | None:
    """The system prompt, wherever the endpoint has it."""
    name = {Endpoint.MESSAGES: "system", Endpoint.RESPONSES: "instructions"}.get(request.endpoint)
    if name is not None:
        return change_field(draw, request, name, TEXTS)
    found = turns(request)
    if found is None:
        return None
    name, given = found
    rest = [turn for turn in given if turn["role"] not in SYSTEMS]
    if len(rest) == len(given):
        return with_body(request, **{name: [{"role": "system", "content": draw(TEXTS)}, *given]})
    if draw(st.booleans()):
        return with_body(request, **{name: rest})
    new = other(draw, given[0]["content"], TEXTS)
    return with_body(request, **{name: [{**given[0], "content": new}, *given[1:]]})


def earlier(draw: Draw, request: Request) -> Request | None:
    """One of the turns before the last: its words, its role, its place, its being there."""
    found = turns(request)
    if found is None:
        return None
    name, given = found
    changed = list(given)
    ways = ["add"] if len(given) == 1 else ["add", "drop", "text", "role", "swap"]
    way = draw(st.sampled_from(ways))
    place = draw(st.integers(0, max(0, len(given) - 2)))
    turn = given[place]
    match way:
        case "add":
            role = draw(st.sampled_from(["user", "assistant", "system"]))
            changed.insert(place, {"role": role, "content": draw(TEXTS)})
        case "drop":
            del changed[place]
        case "text":
            changed[place] = {**turn, "content": other(draw, turn["content"], _contents(TEXTS))}
        case "role":
            roles = st.sampled_from(["user", "assistant", "system", "developer"])
            changed[place] = {**turn, "role": other(draw, turn["role"], roles)}
        case "swap":
            if len(given) < 3:
                return None
            at = draw(st.integers(0, len(given) - 3))
            changed[at], changed[at + 1] = changed[at + 1], changed[at]
            if changed == given:
                return None
    return with_body(request, **{name: changed})


def last_role(draw: Draw, request: Request) -> Request | None:
    """The last turn, said by somebody else."""
    found = turns(request)
    if found is None:
        return None
    name, given = found
    role = draw(st.sampled_from(["assistant", "system", "developer", "tool"]))
    return with_body(request, **{name: [*given[:-1], {**given[-1], "role": role}]})


def last_shape(draw: Draw, request: Request) -> Request | None:
    """The last turn's other members."""
    found = turns(request)
    if found is None:
        return None
    name, given = found
    return with_body(request, **{name: [*given[:-1], {**given[-1], "name": draw(NAMES)}]})


def model(draw: Draw, request: Request) -> Request:
    return replace(request, name=other(draw, request.name, NAMES))


def targets(draw: Draw, request: Request) -> Request:
    new = draw(NAMES) + "/" + draw(NAMES)
    both = st.sampled_from([(*request.targets, new), (new,)])
    return replace(request, targets=draw(both))


def tools(draw: Draw, request: Request) -> Request:
    given = request.body.get("tools")
    if not given:
        return with_body(request, tools=[draw(TOOLS)])
    if draw(st.booleans()):
        return change_field(draw, request, "tools", st.lists(TOOLS, max_size=2))
    choices = st.sampled_from(["auto", "none", "required"])
    return change_field(draw, request, "tool_choice", choices)


def response_format(draw: Draw, request: Request) -> Request:
    return change_field(draw, request, "response_format", FORMATS)


def sampling(draw: Draw, request: Request) -> Request:
    name = draw(st.sampled_from(list(SAMPLING)))
    return change_field(draw, request, name, SAMPLING[name])


def unknown(draw: Draw, request: Request) -> Request:
    """A member that nobody has heard of, named in any way that is not `BESIDE`'s."""
    known = {
        *BESIDE,
        "user",
        "store",
        "model",
        "temperature",
        "previous_response_id",
        "conversation",
    }
    known |= {"background", "messages", "input", "prompt", *request.body}
    name = draw(TEXTS.filter(lambda name: name not in known) | st.just("x_new"))
    return change_field(draw, request, name, VALUES)


def namespace(draw: Draw, request: Request) -> Request:
    names = st.sampled_from(["", "a", "b", "docs/1", "A"])
    return replace(request, namespace=other(draw, request.namespace, names))


def epoch(draw: Draw, request: Request) -> Request:
    return replace(request, epoch=other(draw, request.epoch, st.sampled_from(["", "2", "3"])))


def endpoint(draw: Draw, request: Request) -> Request:
    """The same body, at another door."""
    others = set(ENDPOINTS) - {request.endpoint}
    if request.body.get("store") is not False:
        others.discard(Endpoint.RESPONSES)
    return replace(request, endpoint=draw(st.sampled_from(sorted(others))))


def defaults(draw: Draw, request: Request) -> Request | None:
    """What a task fills in, of what the request leaves out."""
    free = [name for name in ("top_k", "min_p", "seed", "top_p") if name not in request.body]
    name = draw(st.sampled_from(free))
    if name in request.defaults and draw(st.booleans()):
        return replace(request, defaults={})
    new = other(draw, request.defaults.get(name), st.integers(0, 9))
    return replace(request, defaults={**request.defaults, name: new})


def forwarded(draw: Draw, request: Request) -> Request:
    some = st.sampled_from(
        [
            (),
            (("openai-beta", "x=1"),),
            (("openai-beta", "x=2"),),
            (("anthropic-version", "2023-06-01"),),
            (("anthropic-version", "2023-06-01"), ("anthropic-beta", "y")),
        ]
    )
    return replace(request, headers=other(draw, request.headers, some))


def forced(draw: Draw, request: Request) -> Request:
    return replace(request, provider=other(draw, request.provider, st.none() | NAMES))


def question(draw: Draw, request: Request) -> Request | None:
    """Other words of the last user message, in the same shape."""
    found = turns(request)
    if found is None:
        name = "prompt" if request.endpoint is Endpoint.COMPLETIONS else "input"
        return with_body(request, **{name: other(draw, request.body[name], QUESTIONS)})
    name, given = found
    content = given[-1]["content"]
    if isinstance(content, str):
        new: Any = other(draw, content, QUESTIONS)
    else:
        new = [{**content[0], "text": other(draw, content[0]["text"], QUESTIONS)}]
    return with_body(request, **{name: [*given[:-1], {**given[-1], "content": new}]})


def beside(draw: Draw, request: Request) -> Request:
    """How the answer is sent and booked."""
    name = draw(st.sampled_from(list(BESIDE)))
    return change_field(draw, request, name, BESIDE[name])


def user(draw: Draw, request: Request) -> Request | None:
    """`user` names a service's customer, and else only who is booked."""
    if request.role is Role.SERVICE and request.customer is None:
        return None
    return change_field(draw, request, "user", NAMES)


def same_user(draw: Draw, request: Request) -> Request | None:
    """Another key of the same user, or the user itself."""
    if request.role is not Role.KEY or request.user is None:
        return None
    return replace(request, role=draw(st.sampled_from(list(OWNERS))), key=draw(st.none() | NAMES))


def order(draw: Draw, request: Request) -> Request:
    """Members and targets, in another order."""
    names = draw(st.permutations(list(request.body)))
    around = (*request.targets, *request.targets[:1])
    return replace(request, body={name: request.body[name] for name in names}, targets=around)


def kept(draw: Draw, request: Request) -> Request:
    """How long the answer is kept, and what it is purged by."""
    return replace(
        request, ttl=draw(st.floats(1, 1000)), tags=tuple(draw(st.lists(WORDS, max_size=5)))
    )


WORDS = st.text("abc123", min_size=1, max_size=5)


def name_of_the_body(draw: Draw, request: Request) -> Request:
    """The name in the body, where another one is in force."""
    return with_body(request, model=draw(NAMES))


CHANGES: dict[Change, Effect] = {
    **dict.fromkeys(
        (
            caller,
            owner,
            customer,
            system,
            earlier,
            last_role,
            last_shape,
            model,
            targets,
            tools,
            response_format,
            sampling,
            unknown,
            namespace,
            epoch,
            endpoint,
            defaults,
            forwarded,
            forced,
        ),
        Effect.OTHER,
    ),
    question: Effect.QUESTION,
    **dict.fromkeys((beside, user, same_user, order, kept, name_of_the_body), Effect.SAME),
}


@st.composite
def changed(draw: Any) -> tuple[Request, str, Effect, Request]:
    """A request, what is changed, what that must do, and the changed request."""
    request = draw(requests())
    change = draw(st.sampled_from(list(CHANGES)))
    after = change(draw, request)
    if after is None:
        change, after = namespace, namespace(draw, request)
    return request, change.__name__, CHANGES[change], after


GENERATE = (Phase.generate,)


class Wrong(AssertionError):
    """Two requests share what they may not, or don't what they may."""


def check(request: Request, effect: Effect, after: Request) -> bool:
    """Raises `Wrong`. Whether both may be answered by meaning, so that partitions were compared."""
    one, two = key_of(request), key_of(after)
    both = one.partition is not None and two.partition is not None
    if (one.digest == two.digest) is not (effect is Effect.SAME):
        raise Wrong(f"{effect.value}: digests {one.digest} and {two.digest}")
    if effect is Effect.SAME and one != two:
        raise Wrong(f"same: {one} and {two}")
    if effect is Effect.OTHER and both and one.partition == two.partition:
        raise Wrong(f"other: both in partition {one.partition}")
    if effect is Effect.QUESTION and both and one.partition != two.partition:
        raise Wrong(f"question: partitions {one.partition} and {two.partition}")
    if effect is Effect.QUESTION and both and one.question == two.question:
        raise Wrong("question: its words are the same")
    return both


# Many tenants at one cache.


def scope_of(request: Request) -> str:
    """All that an answer may depend on but the question: what a request's own upstream sees, and
    who asks. Written with other means than the cache's own."""
    said, _ = split(request)
    scope = [
        tenant_of(request.role, vars(request)),
        request.endpoint.value,
        request.name,
        sorted(set(request.targets)),
        request.provider,
        {name: value for name, value in request.defaults.items() if name not in request.body},
        request.headers,
        request.namespace,
        request.epoch,
        said,
    ]
    return hashlib.sha256(json.dumps(scope, sort_keys=True).encode()).hexdigest()


def split(request: Request) -> tuple[dict[str, Any], str]:
    """The body without what no answer depends on and without its question; and the question."""
    beside = {*BESIDE, "user", "store", "model"}
    body = {name: value for name, value in request.body.items() if name not in beside}
    found = turns(request)
    if found is None:
        return body, json.dumps([body.get("prompt"), body.get("input")])
    name, given = found
    content = given[-1]["content"]
    if isinstance(content, str):
        words, hole = content, None
    else:
        words, hole = content[0]["text"], [{**content[0], "text": None}]
    return {**body, name: [*given[:-1], {**given[-1], "content": hole}]}, words


def answer_of(request: Request) -> str:
    """What the request's own upstream would answer, whenever it is asked."""
    words = hashlib.sha256(split(request)[1].encode()).hexdigest()
    return f"{scope_of(request)} {words}"


class Eager:
    """A tier by meaning that serves whatever lies in the partition: the scope alone protects."""

    def __init__(self) -> None:
        self.last: dict[str, Entry] = {}

    async def find(self, visit: Visit, key: Key) -> Found:
        await asyncio.sleep(0)
        entry = self.last.get(key.partition or "")
        return Found(False, "none") if entry is None else Found(True, "", Near(entry, 0.9))

    async def keep(self, visit: Visit, entry: Entry) -> None:
        await asyncio.sleep(0)
        if entry.partition is not None:
            self.last[entry.partition] = entry

    def learn(self, visit: Visit, fresh: Entry) -> None:
        pass

    async def purge(self, purge: Purge) -> None:
        self.last.clear()

    def report(self) -> MeaningReport:
        raise NotImplementedError


class Slow(LocalAnswers):
    """Answers that are as far away as another machine: whoever asks, others go on meanwhile."""

    async def get(self, id: str) -> Entry | None:
        await asyncio.sleep(0)
        return await super().get(id)

    async def put(self, entry: Entry) -> bool:
        await asyncio.sleep(0)
        return await super().put(entry)


class End(Enum):
    """How an upstream's answer ends."""

    OK = "ok"
    NOT_KEPT = "length"
    FAILED = "failed"
    LEFT = "left"  # the client did


class Visitor(NamedTuple):
    """One request of a crowd: when it comes, how long its upstream takes, how that ends."""

    request: Request
    comes: int
    takes: int
    end: End


@st.composite
def crowds(draw: Any) -> list[Visitor]:
    """Some requests, each with relatives that differ in one thing, asked over and over."""
    known = []
    for _ in range(draw(st.integers(1, 3))):
        request = plain(draw(requests()))
        known.append(request)
        for _ in range(draw(st.integers(1, 3))):
            change = draw(st.just(question) | st.sampled_from(list(CHANGES)))
            after = change(draw, request)
            if after is not None and after.endpoint is request.endpoint:
                known.append(after)
    ends = st.sampled_from([End.OK, End.OK, End.OK, End.NOT_KEPT, End.FAILED, End.LEFT])
    visitor = st.builds(
        Visitor, st.sampled_from(known), st.integers(0, 12), st.integers(0, 6), ends
    )
    return draw(st.lists(visitor, min_size=5, max_size=25))


def plain(request: Request) -> Request:
    """At chat's door, in the simplest shape: every answer here is a chat completion's."""
    body = {n: v for n, v in request.body.items() if n not in ("n", "response_format", "stream")}
    if request.endpoint is not Endpoint.CHAT:
        words = body.pop("prompt", None) or body.pop("input", None) or body.pop("messages")
        words = words if isinstance(words, list) else [{"role": "user", "content": words}]
        body = {**body, "messages": words}
    return replace(request, endpoint=Endpoint.CHAT, body=body)


def completion(request: Request, finish: str) -> bytes:
    message = {"role": "assistant", "content": answer_of(request)}
    count = request.body.get("n", 1)
    choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(count)]
    return orjson.dumps({"object": "chat.completion", "choices": choices})


async def gather_crowd(visitors: Iterable[Visitor]) -> Counter[str]:
    """Lets them all ask. Raises `Wrong` for an answer that is not the asker's own; how many were
    asked for, served and shared."""
    eager, seen = Eager(), Counter[str]()
    cache = Cache(Slow(1 << 20), lambda: eager)
    async with asyncio.timeout(10):
        await asyncio.gather(*(_visit(cache, visitor, seen) for visitor in visitors))
    if len(cache._flights):
        raise Wrong(f"{len(cache._flights)} flights are left")
    seen["joined"] += cache.counts.joined
    return seen


async def _visit(cache: Cache, visitor: Visitor, seen: Counter[str]) -> None:
    request = visitor.request
    for _ in range(visitor.comes):
        await asyncio.sleep(0)
    visit, answered = open_visit(cache, request), False
    try:
        entry = await cache.look_up(visit)
        if entry is not None:
            judge_served(request, visit, entry)
            seen[visit.tier.value] += 1
            return
        for _ in range(visitor.takes):
            await asyncio.sleep(0)
        if visitor.end in (End.FAILED, End.LEFT):
            return
        answered = True
        seen["asked"] += 1
        await _keep(cache, visit, request, "stop" if visitor.end is End.OK else "length")
    finally:
        await cache.close(visit, answered)


async def _keep(cache: Cache, visit: Visit, request: Request, finish: str) -> None:
    assert visit.tape is not None
    visit.tape.take(completion(request, finish))
    _, _, plan, ask = opened(request)
    made = cache.made(visit, ask._replace(stream=False), plan, Answered("up", "m", Usage(), 1))
    if made is not None:
        await cache.keep(visit, made)


def judge_served(request: Request, visit: Visit, entry: Entry) -> None:
    """Raises `Wrong` where a kept answer is not what the request's own upstream would say: all of
    it, or by meaning its scope."""
    text = orjson.loads(entry.body)["choices"][0]["message"]["content"]
    due = answer_of(request)
    if visit.tier is Tier.SEMANTIC:
        text, due = text.split()[0], due.split()[0]
    if text != due:
        raise Wrong(f"{visit.tier.value}: {text} was served where {due} is due")


# The long form.


def run(cases: int, number: int, seen: Counter[str]) -> None:
    """So many cases of the first kind, and a fiftieth of the second. Raises at the first wrong."""
    begun = time.monotonic()

    def show() -> None:
        done = seen["cases"]
        if done % 1000 == 0:
            rate = done / (time.monotonic() - begun)
            print(f"\r{done:,} of {cases:,} cases, {rate:,.0f}/s", end="", file=sys.stderr)

    @seed(number)
    @_settings(cases)
    @given(changed())
    def scopes(drawn: tuple[Request, str, Effect, Request]) -> None:
        request, name, effect, after = drawn
        seen["cases"] += 1
        seen[name] += 1
        seen["partitions compared"] += check(request, effect, after)
        show()

    @seed(number)
    @_settings(max(1, cases // 50))
    @given(crowds())
    def together(visitors: list[Visitor]) -> None:
        seen["crowds"] += 1
        seen.update(asyncio.run(gather_crowd(visitors)))

    scopes()
    together()
    print(file=sys.stderr)


def _settings(cases: int) -> Callable[[Any], Any]:
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    phases = (Phase.generate, Phase.shrink)
    return settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=slow,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.scope", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    seen, begun = Counter[str](), time.monotonic()
    try:
        run(asked.cases, asked.seed, seen)
    finally:
        print(f"{time.monotonic() - begun:,.1f} s")
        for name, count in seen.most_common():
            print(f"  {count:>9,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
