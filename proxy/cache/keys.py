"""A request -> what it is known by in the cache. Pure; some 20 microseconds for a short one.

The digest is of everything that an answer may depend on, so of every field of the body but those
named in `_BESIDE`, known or not. What may be answered by meaning has a second one, the partition,
of everything but the words of its last user message. A question is only ever compared with those
of its own partition, so no likeness of words can cross a tenant, a system prompt, an earlier turn,
a model, a tool, a format, a sampling parameter, a namespace or an epoch.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from adapters.base import Ask, Endpoint
from proxy.cache.policy import Policy
from proxy.cache.questions import Asked, read_question
from proxy.cache.types import Directives, Key
from proxy.types import Controls, Plan, Principal, Role

VERSION = "1"
"""Of what is digested: to change it makes every entry of before unreachable."""

CACHED = frozenset(
    {
        Endpoint.CHAT,
        Endpoint.COMPLETIONS,
        Endpoint.EMBEDDINGS,
        Endpoint.MESSAGES,
        Endpoint.RESPONSES,
    }
)

_BESIDE = frozenset(
    {
        "stream", "stream_options", "model", "user", "metadata", "safety_identifier",
        "prompt_cache_key", "prompt_cache_retention", "service_tier", "store",
    }
)  # fmt: skip
"""Fields that say how an answer is sent, booked or kept, and nothing of what it says."""

_STATE = ("previous_response_id", "conversation", "background")
"""Fields of Responses that lead to what the provider keeps, which may change."""

_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def tenant_of(principal: Principal, controls: Controls) -> str:
    """Whose answers these are: a user's, a key's that no user owns, a service's customer's."""
    match principal.role:
        case Role.KEY if principal.user_id is None:
            return f"key:{principal.key_id}"
        case Role.KEY | Role.USER | Role.ADMIN if principal.user_id is not None:
            return f"user:{principal.user_id}"
        case Role.SERVICE:
            return orjson.dumps(["service", controls.service, controls.user]).decode()
        case role:
            return role.value


def bypass(ask: Ask, policy: Policy, said: Directives) -> str | None:
    """Why a request has nothing to do with the cache; None when it has."""
    body = ask.body
    if not policy.enabled:
        return "disabled"
    if ask.endpoint not in CACHED:
        return "endpoint"
    if not said.read and not said.write:
        return "no-store"
    if ask.endpoint is Endpoint.RESPONSES:
        if body.get("store") is not False or any(body.get(name) for name in _STATE):
            return "state"
    elif body.get("store") is True:
        return "state"
    if ask.endpoint is Endpoint.EMBEDDINGS:
        return None  # they know no temperature
    temperature = _parameter(ask, "temperature")
    if temperature is None:
        temperature = 1.0  # what every provider takes it for
    if not isinstance(temperature, int | float) or temperature > policy.temperature:
        return "temperature"
    return None


def key_of(
    ask: Ask,
    plan: Plan,
    principal: Principal,
    controls: Controls,
    policy: Policy,
    said: Directives,
) -> Key:
    """What a request that may be cached is known by."""
    tenant = tenant_of(principal, controls)
    scope = [
        VERSION,
        tenant,
        said.namespace,
        policy.epoch,
        ask.endpoint.value,
        plan.name,
        sorted({f"{target.provider}/{target.model}" for target in plan.targets}),
        controls.provider,
        dict(ask.defaults),
        ask.headers,
    ]
    fields = {name: value for name, value in ask.body.items() if name not in _BESIDE}
    digest = _digest([*scope, fields])
    if policy.meaning is None:
        return Key(digest, plan.task)
    asked = read_question(ask, policy.meaning)
    if not isinstance(asked, Asked):
        return Key(digest, plan.task, ineligible=asked)
    rest: Mapping[str, Any] = {**fields, asked.field: asked.before}
    partition = _digest([*scope, "meaning", rest])
    pool = _digest([tenant, plan.task or plan.name])
    return Key(digest, plan.task, partition, asked.text, pool=pool)


def _parameter(ask: Ask, name: str) -> Any:
    return ask.body.get(name, ask.defaults.get(name))


def _digest(value: Any) -> str:
    return hashlib.blake2b(orjson.dumps(value, option=_SORTED), digest_size=16).hexdigest()
