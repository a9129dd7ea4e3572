"""The conversion as a whole: a LiteLLM configuration -> the text of Turnout's, and what to know."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from proxy.migration.deployments import Deployment, deployments
from proxy.migration.findings import Finding, Findings, Secrets
from proxy.migration.providers import Providers, timeouts
from proxy.migration.routes import Route, grouped, longest
from proxy.migration.settings import default_timeouts, report_top, seconds, sections
from proxy.migration.source import Tree, variables
from proxy.migration.writing import comment, section, table

_BEFORE = ("server", "storage", "auth")
_AFTER = ("cache", "limits", "retry", "breaker", "pricing", "ledger")


class Converted(NamedTuple):
    """Turnout's configuration as YAML, and what was not carried over, in the source's order."""

    text: str
    findings: tuple[Finding, ...]


def convert(tree: Tree, name: str) -> Converted:
    """The configuration that does what the one called `name` did, as far as that can be."""
    root = tree.root
    findings = Findings()
    secrets = Secrets(findings, set(variables(tree.data)))
    providers = Providers(findings, secrets, timeouts(*default_timeouts(root)))
    found = list(deployments(root, providers))
    routes = grouped(root, found, findings).routes()
    made = sections(root, findings, secrets, longest(routes))
    report_top(root, findings)
    prices = _prices(found)
    if prices:
        made["pricing"] = {"overrides": prices}
    if not routes:
        findings.tell(root["model_list"], "no model that Turnout can serve", "write models")
    drops = root["litellm_settings"]["drop_params"].value is True
    text = "".join(_written(name, findings.all, made, providers, routes, drops))
    return Converted(text, findings.all)


def _prices(found: list[Deployment]) -> dict[str, dict[str, Any]]:
    """Prices by target; the first deployment that names one counts."""
    prices: dict[str, dict[str, Any]] = {}
    for one in found:
        target = f"{one.provider}/{one.model}"
        if one.price and target not in prices:
            prices[target] = {field: _as_number(price) for field, price in one.price.items()}
    return prices


def _as_number(price: str) -> float | int:
    return float(price) if "." in price else int(price)


def _written(
    name: str,
    findings: tuple[Finding, ...],
    made: Mapping[str, Mapping[str, Any]],
    providers: Providers,
    routes: Mapping[str, Route],
    drops: bool,
) -> Iterator[str]:
    yield from _head(name, findings)
    for before in _BEFORE:
        if before in made:
            yield section(before, made[before])
    if drops:
        yield "drop_params: true\n"
    yield "\n" + table("providers", dict(_entries(providers)))
    if routes:
        yield "\n" + table("models", {known: _route(route) for known, route in routes.items()})
    yield "\n"
    for after in _AFTER:
        if after in made:
            yield table(after, made[after]) if after == "pricing" else section(after, made[after])


def _head(name: str, findings: tuple[Finding, ...]) -> Iterator[str]:
    yield f"# Turnout's configuration, made of LiteLLM's {name} by `turnout migrate litellm`.\n"
    if findings:
        yield "#\n# What is otherwise, or was not carried over; where it stood; what to do:\n#\n"
        for finding in findings:
            yield "".join(f"{line}\n" for line in comment(f"- {finding}"))
    yield "\n"


def _entries(providers: Providers) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, entry in providers.entries.items():
        fields = dict(entry.items())
        if isinstance(fields.get("timeout"), dict):
            fields["timeout"] = {
                field: seconds(value) for field, value in fields["timeout"].items()
            }
        models = providers.models[name]
        yield name, fields | ({"models": models} if models else {})


def _route(route: Route) -> Any:
    if route.strategy == "ordered":
        return [one.target for one in route.targets]
    plain = all(one.weight is None for one in route.targets)
    targets = [
        one.target if plain else {"target": one.target, "weight": one.weight}
        for one in route.targets
    ]
    return {"strategy": route.strategy, "targets": targets}
