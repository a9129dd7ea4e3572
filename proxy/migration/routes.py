"""From LiteLLM's model groups, orders and fallbacks to the targets of each name.

A group is tried in tiers: its deployments by `order`, then each fallback's group. Turnout has one
strategy for all targets of a name, so where a tier has several targets and another follows, the
targets are `weighted`, and each tier weighs a millionth of the one before: it is asked when those
before it have failed, and otherwise about once in a million requests.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.migration.deployments import SHARES, Deployment
from proxy.migration.findings import Findings, is_off
from proxy.migration.source import Node

STRATEGIES = {
    "simple-shuffle": "weighted",
    "latency-based-routing": "latency",
    "cost-based-routing": "cheapest",
    "least-busy": "round_robin",
    "usage-based-routing": "round_robin",
    "usage-based-routing-v2": "round_robin",
}
_NEAREST = {
    "least-busy": "Turnout counts no requests under way",
    "usage-based-routing": "Turnout does not look for the least used",
    "usage-based-routing-v2": "Turnout does not look for the least used",
}
MAX_FALLBACKS = 5  # LiteLLM's own default
_STEP = 1e-6


class Target(NamedTuple):
    """One target and its weight; None where it has none of its own."""

    target: str
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """What a name leads to."""

    strategy: str
    targets: tuple[Target, ...]


Tier = tuple[Target, ...]


@dataclass(slots=True)
class Groups:
    """The deployments by name, and where a name goes when they fail."""

    findings: Findings
    strategy: str
    groups: dict[str, list[Deployment]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    otherwise: tuple[str, ...] = ()
    most: int = MAX_FALLBACKS

    def routes(self) -> dict[str, Route]:
        """Every name with its targets: groups, aliases, and names that only have fallbacks."""
        named = [*self.groups, *self.aliases]
        named += [name for name in self.fallbacks if name not in named and self._tiers(name)]
        found = {}
        for name in named:
            tiers = [tier for tier in self._chain(name) if tier]
            if tiers:
                found[name] = self._route(tiers)
        return found

    def _chain(self, name: str) -> Iterator[Tier]:
        asked = self.aliases.get(name, name)
        seen: set[str] = set()
        for group in self._in_order(asked, [asked]):
            for tier in self._tiers(group):
                fresh = tuple(one for one in tier if one.target not in seen)
                seen |= {one.target for one in fresh}
                yield fresh

    def _in_order(self, name: str, asked: list[str]) -> Iterator[str]:
        """A group, and the groups after it; those of a fallback come right after it."""
        yield name
        for after in self.fallbacks.get(name, self.otherwise):
            if after not in asked and len(asked) <= self.most:
                asked.append(after)
                yield from self._in_order(after, asked)

    def _tiers(self, name: str) -> list[Tier]:
        """The targets of one name alone: by order, weighted inside."""
        found = self._members(self.aliases.get(name, name))
        orders = sorted({one.order for one, _ in found})
        tiers = ([pair for pair in found if pair[0].order == order] for order in orders)
        return [tuple(_weighed(tier)) for tier in tiers]

    def _members(self, name: str) -> list[tuple[Deployment, str]]:
        """The deployments that serve a name, each with its target: the group, one deployment by
        its id, or what a wildcard makes of it."""
        if name in self.groups:
            return [(one, one.target) for one in self.groups[name]]
        by_id = [one for group in self.groups.values() for one in group if one.id == name]
        if by_id:
            return [(one, one.target) for one in by_id]
        for pattern in sorted(self.groups, key=len, reverse=True):
            head, star, tail = pattern.partition("*")
            if star and len(name) > len(head) + len(tail) and name.startswith(head):
                matched = name[len(head) : len(name) - len(tail)]
                if name.endswith(tail):
                    return [(one, _filled(one, matched)) for one in self.groups[pattern]]
        return []

    def _route(self, tiers: list[Tier]) -> Route:
        flat = tuple(one for tier in tiers for one in tier)
        if all(len(tier) == 1 for tier in tiers):
            return Route("ordered", tuple(Target(one.target) for one in flat))
        if len(tiers) > 1:
            return Route("weighted", tuple(_descending(tiers)))
        if self.strategy != "weighted" or len({one.weight for one in flat}) == 1:
            flat = tuple(Target(one.target) for one in flat)
        return Route(self.strategy, flat)


def _filled(one: Deployment, matched: str) -> str:
    model = one.model.replace("*", matched)
    return f"{one.provider}/{model}"


def _weighed(tier: Iterable[tuple[Deployment, str]]) -> Iterator[Target]:
    """Targets with their shares. As in LiteLLM the first says what is weighed: without a weight
    of its own all are alike, and one that says nothing beside it gets nothing."""
    pairs = list(tier)
    kind = _kind(pairs[0][0]) if pairs else None
    shares: dict[str, float] = {}
    for one, target in pairs:
        shares[target] = shares.get(target, 0) + _share(one, kind)
    if not any(shares.values()):
        shares = dict.fromkeys(shares, 1)
    for target, share in shares.items():
        if share > 0:
            yield Target(target, share)


def _kind(one: Deployment) -> int | None:
    """Which of its shares counts; None when it has none."""
    return next((kind for kind, share in enumerate(one.shares) if share is not None), None)


def _share(one: Deployment, kind: int | None) -> float:
    return 1 if kind is None else one.shares[kind] or 0


def _descending(tiers: list[Tier]) -> Iterator[Target]:
    least = 1.0
    for number, tier in enumerate(tiers):
        whole = sum(one.weight or 1 for one in tier)
        factor = 1.0 if number == 0 else least * _STEP / whole
        made = [Target(one.target, (one.weight or 1) * factor) for one in tier]
        least = min(one.weight or 1 for one in made)
        yield from made


def grouped(root: Node, found: Iterable[Deployment], findings: Findings) -> Groups:
    """The groups with everything that the settings say of them."""
    router, module = root["router_settings"], root["litellm_settings"]
    groups = Groups(findings, _strategy(router["routing_strategy"], findings))
    for made in found:
        groups.groups.setdefault(made.name, []).append(made)
    _report_unpicked(groups, findings)
    _read_aliases(router["model_group_alias"], groups)
    most = router["max_fallbacks"].number
    groups.most = int(most) if isinstance(most, int | float) else MAX_FALLBACKS
    node = either(router, module, "default_fallbacks")
    groups.otherwise = tuple(_names(node, groups))
    for entry in either(router, module, "fallbacks").entries():
        for one in entry.entries():
            after = tuple(_names(one, groups))
            if one.key == "*":
                groups.otherwise = after
            elif after:
                groups.fallbacks[one.key] = after
    _report_nowhere(either(router, module, "fallbacks"), groups)
    return groups


def either(router: Node, module: Node, name: str) -> Node:
    """A setting that stands in two sections; the router's counts."""
    return router[name] or module[name]


def _strategy(node: Node, findings: Findings) -> str:
    said = node.text or "simple-shuffle"
    strategy = STRATEGIES.get(said)
    if strategy is None:
        findings.tell(node, "an unknown strategy", "targets are weighted; see docs/routing.md")
        return "weighted"
    if said in _NEAREST:
        findings.tell(node, f"{said}: {_NEAREST[said]}", "targets take turns (round_robin)")
    return strategy


def _read_aliases(node: Node, groups: Groups) -> None:
    for one in node.entries():
        model = one.text or one["model"].text
        if not model or isinstance(node.value, list):
            groups.findings.tell(one, "no alias of a model", "write the name under models")
            continue
        groups.aliases[one.key] = model
        if one["hidden"].value is True:
            groups.findings.tell(one, "a hidden alias", "GET /v1/models lists every name")
        if not groups._members(model):
            groups.findings.tell(one, "an alias of a model that is not there", "write its targets")


def _names(node: Node, groups: Groups) -> Iterator[str]:
    listed = [node] if node.text else list(node.entries())
    for one in listed:
        name = one.text or one["model"].text
        if one["model"]:
            groups.findings.tell(
                one, "a fallback with parameters of its own", "it is asked the same as the first"
            )
        if name and groups._members(groups.aliases.get(name, name)):
            yield name
        else:
            advice = "give it targets under models, and add them to the name it stands in for"
            groups.findings.tell(one, "a fallback that leads nowhere", advice)


def _report_nowhere(node: Node, groups: Groups) -> None:
    for entry in node.entries():
        for one in entry.entries():
            known = one.key == "*" or groups._members(groups.aliases.get(one.key, one.key))
            if not known and not is_off(one):
                advice = "give the name targets under models"
                groups.findings.tell(one, "fallbacks of a model that is not there", advice)


def _report_unpicked(groups: Groups, findings: Findings) -> None:
    for members in groups.groups.values():
        by_order: dict[float, list[Deployment]] = {}
        for one in members:
            by_order.setdefault(one.order, []).append(one)
        for tier in by_order.values():
            kind = _kind(tier[0])
            if kind is None or not any(_share(one, kind) for one in tier):
                continue
            for one in tier:
                if not _share(one, kind):
                    findings.tell(
                        one.node,
                        f"no {SHARES[kind]}, where others of its name have one: it is never picked",
                        "it is left out; give it a weight under models to have it asked",
                    )


def longest(routes: Mapping[str, Route]) -> int:
    """The most targets that one name has."""
    return max((len(route.targets) for route in routes.values()), default=0)
