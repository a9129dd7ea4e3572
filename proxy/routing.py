"""From a name to the targets that may serve it, in order. Pure: what changes comes in as `Signals`.

Names are looked up as an exact alias, `task/NAME`, the longest wildcard, `provider/model`.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Protocol

from pydantic import SecretStr

from adapters.base import Target
from proxy.config import Config, Provider, Route, Task
from proxy.errors import CredentialUnavailable, ModelNotFound, TurnoutError
from proxy.types import Call, Controls, OwnKeys, Plan, Principal

UnitPrice = Callable[[str, str, str], float | None]
"""(provider, base URL, model) -> USD for a million tokens in and out, None when unknown."""

TASK_PREFIX = "task/"
TARGETS_KEPT = 10_000
OWN = -1  # the number of a caller's own key, where the provider's are counted from 0


class Signals(Protocol):
    """What the gateway has seen so far, as far as choosing a target needs it."""

    def turn(self, name: str) -> int: ...

    def latency(self, target: str) -> float | None: ...


class Unseen:
    """`Signals` of a gateway that has seen nothing, for who only wants to know the targets."""

    def turn(self, name: str) -> int:
        return 0

    def latency(self, target: str) -> float | None:
        return None


UNSEEN = Unseen()


@dataclass(frozen=True, slots=True)
class Choice:
    """One target of a route. `model` None means what the wildcard matched."""

    provider: str
    model: str | None
    weight: float = 1.0

    def model_for(self, matched: str) -> str:
        return matched if self.model is None else self.model.replace("*", matched)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A route that answers to a name, and what its wildcard matched."""

    name: str
    strategy: str
    choices: tuple[Choice, ...]
    matched: str = ""
    task: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """The routes of one configuration, prepared for look-up."""

    config: Config
    unit_price: UnitPrice
    aliases: dict[str, Resolved]
    tasks: dict[str, Resolved]
    wildcards: tuple[tuple[str, str, Resolved], ...]  # (prefix, suffix, route), longest first
    targets: dict[tuple[str, str], tuple[Target, ...]] = field(default_factory=dict)  # made once


def build_table(config: Config, unit_price: UnitPrice) -> Table:
    """Prepares a validated configuration for look-ups."""
    routes = {name: _resolved(name, route) for name, route in config.models.items()}
    tasks = {name: _resolved_task(name, task) for name, task in config.tasks.items()}
    wildcards = [(*_halves(name), route) for name, route in routes.items() if "*" in name]
    wildcards.sort(key=lambda entry: len(entry[0]) + len(entry[1]), reverse=True)
    return Table(
        config,
        unit_price,
        {name: route for name, route in routes.items() if "*" not in name},
        tasks,
        tuple(wildcards),
    )


def _halves(name: str) -> tuple[str, str]:
    prefix, _, suffix = name.partition("*")
    return prefix, suffix


def _resolved(name: str, route: Route) -> Resolved:
    return Resolved(name, route.strategy, tuple(map(_choice, route.targets)))


def _resolved_task(name: str, task: Task) -> Resolved:
    choices = tuple(map(_choice, task.targets))
    return Resolved(TASK_PREFIX + name, task.strategy, choices, task=name, defaults=task.defaults)


def _choice(target: Any) -> Choice:
    provider, slash, model = target.target.partition("/")
    return Choice(provider, model if slash else None, target.weight)


def plan(
    table: Table, principal: Principal, name: str, controls: Controls, signals: Signals
) -> Plan:
    """The targets for a call, first choice first. Raises `ModelNotFound`."""
    resolved = _permitted(table, principal, name, controls)
    choices = _order(table, resolved, signals)
    if controls.provider is not None:
        choices = _force(table, principal, resolved, choices, controls.provider, name)
    targets = _all_targets(table, principal, resolved, choices, signals)
    if not controls.fallback:
        targets = targets[:1]
    return Plan(resolved.name, targets, resolved.task, resolved.defaults)


def plan_route(table: Table, principal: Principal, call: Call, signals: Signals) -> Plan:
    """The same for a call whose targets a door has chosen. Raises `ModelNotFound`."""
    refused = [name for name in call.route if not principal.may_use(name)]
    if refused:
        raise ModelNotFound(_unknown(table, principal, refused[0]), param="model")
    halves = (name.partition("/") for name in call.route)
    choices = [Choice(provider, model) for provider, _, model in halves]
    resolved = Resolved(call.name, "ordered", tuple(choices))
    return Plan(call.name, _all_targets(table, principal, resolved, choices, signals), call.label)


def _all_targets(
    table: Table,
    principal: Principal,
    resolved: Resolved,
    choices: Iterable[Choice],
    signals: Signals,
) -> tuple[Target, ...]:
    own = principal.own
    targets: list[Target] = []
    closed: CredentialUnavailable | None = None
    for choice in choices:
        try:
            targets += _targets(table, choice, resolved.matched, signals, own)
        except CredentialUnavailable as error:  # told only when nobody else can serve
            closed = closed or error
    if not targets:
        raise closed or _no_target(table, resolved)
    return tuple(targets)


def _no_target(table: Table, resolved: Resolved) -> TurnoutError:
    providers = (table.config.providers.get(choice.provider) for choice in resolved.choices)
    if any(provider is not None and provider.is_locked for provider in providers):
        return CredentialUnavailable(_why_off(table, resolved))
    return ModelNotFound(_why_off(table, resolved), param="model")


def _permitted(table: Table, principal: Principal, name: str, controls: Controls) -> Resolved:
    if controls.task is not None:
        name = TASK_PREFIX + controls.task
    resolved = resolve(table, name) if principal.may_use(name) else None
    if resolved is None:
        raise ModelNotFound(_unknown(table, principal, name), param="model")
    return resolved


def resolve(table: Table, name: str) -> Resolved | None:
    """The route that answers to a name, by CONTRACT's order; None when there is none."""
    if alias := table.aliases.get(name):
        return alias
    if name.startswith(TASK_PREFIX) and (task := table.tasks.get(name[len(TASK_PREFIX) :])):
        return task
    for prefix, suffix, route in table.wildcards:
        if _matches(name, prefix, suffix):
            matched = name[len(prefix) : len(name) - len(suffix)]
            return Resolved(name, route.strategy, route.choices, matched)
    provider_name, _, model = name.partition("/")
    provider = table.config.providers.get(provider_name)
    if provider is None or not model or (provider.models and model not in provider.models):
        return None
    return Resolved(name, "ordered", (Choice(provider_name, model.replace("*", "")),))


def _matches(name: str, prefix: str, suffix: str) -> bool:
    fits = len(name) > len(prefix) + len(suffix) or (not prefix and not suffix and name)
    return bool(fits) and name.startswith(prefix) and name.endswith(suffix)


def _order(table: Table, resolved: Resolved, signals: Signals) -> list[Choice]:
    choices = list(resolved.choices)
    if len(choices) > 1:
        _ORDERS[resolved.strategy](choices, table, resolved, signals)
    return choices


def _keep(choices: list[Choice], table: Table, resolved: Resolved, signals: Signals) -> None:
    """Ordered: as written."""


def _shuffle(choices: list[Choice], table: Table, resolved: Resolved, signals: Signals) -> None:
    """Weighted: a random order in which a heavier target comes first more often.

    The k-th draw of weighted sampling without replacement is the k-th smallest of independent
    exponentials with the weights as rates (Efraimidis and Spirakis, 2006).
    """
    draws = {id(c): random.expovariate(c.weight) for c in choices}
    choices.sort(key=lambda choice: draws[id(choice)])


def _rotate(choices: list[Choice], table: Table, resolved: Resolved, signals: Signals) -> None:
    turn = signals.turn(resolved.name) % len(choices)
    choices[:] = choices[turn:] + choices[:turn]


def _by_latency(choices: list[Choice], table: Table, resolved: Resolved, signals: Signals) -> None:
    """Fastest first; one not measured of late comes before all, so that it is measured."""

    def latency(choice: Choice) -> float:
        keys = range(max(1, len(table.config.providers[choice.provider].keys)))
        name = f"{choice.provider}/{choice.model_for(resolved.matched)}"
        known = [signals.latency(f"{name}#{key}") for key in keys]
        return min((seconds for seconds in known if seconds is not None), default=0.0)

    live = [c for c in choices if c.provider in table.config.providers]
    choices[:] = sorted(live, key=latency)


def _by_price(choices: list[Choice], table: Table, resolved: Resolved, signals: Signals) -> None:
    """Cheapest first, by the price of equal shares of input and output; no price comes last."""

    def price(choice: Choice) -> float:
        provider = table.config.providers[choice.provider]
        model = choice.model_for(resolved.matched)
        known = table.unit_price(choice.provider, provider.base_url or "", model)
        return float("inf") if known is None else known

    live = [c for c in choices if c.provider in table.config.providers]
    choices[:] = sorted(live, key=price)


_ORDERS = {
    "ordered": _keep,
    "weighted": _shuffle,
    "round_robin": _rotate,
    "latency": _by_latency,
    "cheapest": _by_price,
}


def _force(
    table: Table,
    principal: Principal,
    resolved: Resolved,
    choices: list[Choice],
    provider: str,
    name: str,
) -> list[Choice]:
    """Only the targets of one provider; where the route has none, that provider's own `name`."""
    if provider not in table.config.providers:
        guess = _guess(provider, table.config.providers)
        raise ModelNotFound(f"there is no provider {provider!r}{guess}", param="x-turnout-provider")
    kept = [choice for choice in choices if choice.provider == provider]
    if kept:
        return kept
    full = f"{provider}/{name}"
    if resolved.task is None and principal.may_use(full) and resolve(table, full):
        return [Choice(provider, name)]
    message = f"{resolved.name!r} has no target at provider {provider!r}"
    raise ModelNotFound(message, param="x-turnout-provider")


def _targets(
    table: Table, choice: Choice, matched: str, signals: Signals, own: OwnKeys | None
) -> tuple[Target, ...]:
    """A choice through each of its provider's keys, a different key first each time; through the
    caller's own key alone where there is one."""
    model = choice.model_for(matched)
    if own is not None and choice.provider in own.providers:
        return _made_own(table.config.providers.get(choice.provider), choice.provider, model, own)
    name = (choice.provider, model)
    targets = table.targets.get(name)
    if targets is None:
        targets = _made(table.config.providers.get(choice.provider), choice.provider, model)
        if len(table.targets) > TARGETS_KEPT:
            table.targets.clear()  # names come from requests: they must not fill the memory
        table.targets[name] = targets
    if len(targets) < 2:
        return targets
    first = signals.turn("keys of " + choice.provider) % len(targets)
    return targets[first:] + targets[:first]


def targets_of(table: Table, provider: str, model: str) -> tuple[Target, ...]:
    """A model of a provider through each of its keys; none when the provider is off."""
    return _made(table.config.providers.get(provider), provider, model)


def _made(provider: Provider | None, name: str, model: str) -> tuple[Target, ...]:
    if provider is None or provider.off:
        return ()
    keys: tuple[SecretStr | None, ...] = provider.keys or (None,)
    return tuple(
        _target(provider, name, model, key, credential) for credential, key in enumerate(keys)
    )


def _made_own(provider: Provider | None, name: str, model: str, own: OwnKeys) -> tuple[Target, ...]:
    """A model of a provider through the caller's own key. Raises `CredentialUnavailable`."""
    if provider is None or (provider.off and not provider.lacks_key):
        return ()
    key = own.open(name, provider.base_url or "")
    return (replace(_target(provider, name, model, key, OWN), is_own=True),)


def _target(
    provider: Provider, name: str, model: str, key: SecretStr | None, credential: int
) -> Target:
    return Target(
        provider=name,
        model=model,
        dialect=provider.dialect,
        base_url=provider.base_url or "",
        api_key=key,
        credential=credential,
        headers=tuple(provider.headers.items()),
        timeouts=provider.timeouts,
        takes_stream_options=provider.takes_stream_options,
        auth=provider.sent_by,
        quirks=provider.quirks,
        api_version=provider.api_version,
        region=provider.aws_region,
        drop_params=provider.drop_params,
        has_responses=provider.has_responses,
        public_only=provider.public_only,
    )


def _unknown(table: Table, principal: Principal, name: str) -> str:
    known = [n for n in names(table) if principal.may_use(n)]
    return (
        f"the model {name!r} does not exist or this key may not use it{_guess(name, known)}; "
        "GET /v1/models lists what it may use"
    )


def _why_off(table: Table, resolved: Resolved) -> str:
    providers = dict.fromkeys(choice.provider for choice in resolved.choices)
    reasons = []
    for name in providers:
        provider = table.config.providers.get(name)
        reason = f"provider {name} is off: {provider.off}" if provider else f"no provider {name}"
        lacks = provider is not None and provider.lacks_key
        reasons.append(reason + (", and you have saved no key of your own for it" * lacks))
    return f"{resolved.name!r} has no target that is on ({'; '.join(reasons)})"


def _guess(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def names(table: Table, own: OwnKeys | None = None) -> list[str]:
    """Every name that can be listed and has a live target: aliases, tasks, provider/model.

    With a caller's own keys those too that are live with them.
    """
    config = table.config
    routes = [*table.aliases.values(), *table.tasks.values()]
    found = dict.fromkeys(r.name for r in routes if _live(config, r, own))
    for route in routes:
        for choice in route.choices:
            if choice.model and "*" not in choice.model and is_on(config, choice.provider, own):
                found.setdefault(f"{choice.provider}/{choice.model}")
    for name, provider in config.providers.items():
        if is_on(config, name, own):
            found.update(dict.fromkeys(f"{name}/{model}" for model in provider.known_models))
    return list(found)


def first_target(
    table: Table, resolved: Resolved, own: OwnKeys | None = None
) -> tuple[str, str] | None:
    """(provider, model) of a route's first live choice; None when all are off."""
    for choice in resolved.choices:
        if is_on(table.config, choice.provider, own):
            return choice.provider, choice.model_for(resolved.matched)
    return None


def _live(config: Config, resolved: Resolved, own: OwnKeys | None) -> bool:
    return any(is_on(config, choice.provider, own) for choice in resolved.choices)


def is_on(config: Config, name: str, own: OwnKeys | None = None) -> bool:
    """Whether a provider can be asked: by its own keys, or by the caller's."""
    provider = config.providers.get(name)
    if provider is None or not provider.off:
        return provider is not None
    return provider.lacks_key and own is not None and name in own.providers
