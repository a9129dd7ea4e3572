"""From groups, orders and fallbacks to targets."""

from typing import Any

import pytest

from proxy.migration.deployments import Deployment
from proxy.migration.findings import Findings
from proxy.migration.routes import Route, Target, grouped, longest
from proxy.migration.source import Node, Tree

ROOT = Node(Tree({}, {(): "c.yaml:1"}), (), {})


def one(name: str, target: str, share: float | None = None, order: float = 9) -> Deployment:
    provider, _, model = target.partition("/")
    return Deployment(name, provider, model, order, (share, None, None), f"id-{model}", {}, ROOT)


def routed(*found: Deployment, **settings: Any) -> tuple[dict[str, Route], list[str]]:
    findings = Findings()
    root = Node(ROOT.tree, (), {"router_settings": settings})
    routes = grouped(root, found, findings).routes()
    return routes, [str(line) for line in findings.all]


def flat(route: Route) -> list[str]:
    return [entry.target for entry in route.targets]


@pytest.mark.parametrize(
    ("theirs", "ours", "is_said"),
    [
        ("simple-shuffle", "weighted", False),
        ("latency-based-routing", "latency", False),
        ("cost-based-routing", "cheapest", False),
        ("least-busy", "round_robin", True),
        ("usage-based-routing", "round_robin", True),
        ("my-own", "weighted", True),
    ],
)
def test_strategies(theirs: str, ours: str, is_said: bool) -> None:
    routes, told = routed(one("a", "x/m"), one("a", "y/m"), routing_strategy=theirs)
    assert routes["a"] == Route(ours, (Target("x/m"), Target("y/m")))
    assert bool(told) is is_said


def test_each_tier_weighs_a_millionth_of_the_one_before() -> None:
    routes, _ = routed(
        one("a", "x/m", 2, order=1),
        one("a", "y/m", 8, order=1),
        one("a", "z/m", order=2),
        one("b", "v/m"),
        one("b", "w/m"),
        fallbacks=[{"a": ["b"]}],
    )
    assert routes["a"].strategy == "weighted"
    assert flat(routes["a"]) == ["x/m", "y/m", "z/m", "v/m", "w/m"]
    weights = [entry.weight for entry in routes["a"].targets]
    assert weights == pytest.approx([2, 8, 2e-6, 1e-12, 1e-12])
    assert longest(routes) == 5


def test_the_same_target_twice_stands_once() -> None:
    routes, _ = routed(
        one("a", "x/m"), one("b", "x/m"), one("b", "y/m"), fallbacks=[{"a": ["b"]}, {"b": ["a"]}]
    )
    assert flat(routes["a"]) == ["x/m", "y/m"]
    assert flat(routes["b"]) == ["x/m", "y/m"]


def test_fallbacks_to_a_deployment_by_its_id_and_by_a_wildcard() -> None:
    routes, told = routed(
        one("a", "x/m"), one("b", "y/n"), one("c/*", "z/*"),
        fallbacks=[{"a": ["id-n", "c/deep/one"]}],
    )  # fmt: skip
    assert flat(routes["a"]) == ["x/m", "y/n", "z/deep/one"]
    assert told == []


def test_fallbacks_of_every_name() -> None:
    routes, _ = routed(one("a", "x/m"), one("b", "y/m"), fallbacks=[{"*": ["b"]}])
    assert (flat(routes["a"]), flat(routes["b"])) == (["x/m", "y/m"], ["y/m"])


def test_no_more_fallbacks_than_allowed() -> None:
    found = [one(f"m{n}", f"p{n}/m") for n in range(8)]
    after = [f"m{n}" for n in range(1, 8)]
    routes, _ = routed(*found, fallbacks=[{"m0": after}])
    assert flat(routes["m0"]) == [f"p{n}/m" for n in range(6)]
    routes, _ = routed(*found, fallbacks=[{"m0": after}], max_fallbacks=1)
    assert flat(routes["m0"]) == ["p0/m", "p1/m"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fallbacks": [{"a": ["gone"]}]}, "a fallback that leads nowhere"),
        ({"fallbacks": [{"gone": ["a"]}]}, "fallbacks of a model that is not there"),
        ({"fallbacks": [{"a": [{"model": "b", "messages": []}]}]}, "parameters of its own"),
        ({"model_group_alias": {"x": "gone"}}, "an alias of a model that is not there"),
        ({"model_group_alias": ["x"]}, "no alias of a model"),
    ],
)
def test_what_leads_nowhere_is_said(settings: dict[str, Any], words: str) -> None:
    routes, told = routed(one("a", "x/m"), one("b", "y/m"), **settings)
    assert any(words in line for line in told), told
    assert {"a", "b"} == set(routes)


def test_the_weight_of_the_first_says_what_is_weighed() -> None:
    routes, told = routed(one("a", "x/m", 5), one("a", "y/m"), one("a", "z/m", 5))
    assert flat(routes["a"]) == ["x/m", "z/m"]
    assert "where others of its name have one: it is never picked" in told[0]
    routes, told = routed(one("a", "x/m"), one("a", "y/m", 5))
    assert routes["a"] == Route("weighted", (Target("x/m"), Target("y/m")))
    assert told == []
