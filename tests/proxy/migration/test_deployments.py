"""`model_list`, entry by entry."""

from typing import Any

import pytest

from proxy.migration.deployments import Deployment, deployments
from proxy.migration.findings import Findings, Secrets
from proxy.migration.providers import Providers
from proxy.migration.source import Node, Tree


def listed(*entries: Any) -> tuple[list[Deployment], list[str]]:
    findings = Findings()
    root = Node(Tree({}, {(): "c.yaml:1"}), (), {"model_list": list(entries)})
    found = list(deployments(root, Providers(findings, Secrets(findings, set()))))
    return found, [str(one) for one in findings.all]


def test_limits_may_stand_beside_the_parameters() -> None:
    (one,), told = listed({"model_name": "a", "litellm_params": {"model": "groq/m"}, "rpm": 7})
    assert (one.target, one.shares, told) == ("groq/m", (None, 7, None), [])


def test_order_and_id() -> None:
    (one, two), _ = listed(
        {"model_name": "a", "litellm_params": {"model": "groq/m", "order": 1}},
        {"model_name": "a", "litellm_params": {"model": "groq/n"}, "model_info": {"id": "nn"}},
    )
    assert (one.order, two.order, two.id) == (1, float("inf"), "nn")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"litellm_params": {"model": "groq/m"}}, "its name or parameters are missing"),
        ({"model_name": "a"}, "its name or parameters are missing"),
        ("gpt-4o", "its name or parameters are missing"),
        (
            {"model_name": "*-*", "litellm_params": {"model": "groq/*"}},
            "a name with more than one *",
        ),
        ({"model_name": "a", "litellm_params": {"model": "groq/*"}}, "a * in the model"),
        ({"model_name": "a", "litellm_params": {"model": "${M}"}}, "not written out"),
        ({"model_name": "a", "litellm_params": {"model": "strange"}}, "does not know (none is"),
        ({"model_name": "a", "litellm_params": {"model": "novel/m"}}, "does not know (novel)"),
        ({"model_name": "a", "litellm_params": {"model": "cohere/r"}}, "cohere is not spoken"),
        ({"model_name": "a/*", "litellm_params": {"model": "*"}}, "a name for any vendor's models"),
    ],
)
def test_what_has_no_place(entry: Any, words: str) -> None:
    found, told = listed(entry)
    assert found == []
    assert any(words in line for line in told), told


def test_prices() -> None:
    (one,), told = listed(
        {
            "model_name": "a",
            "litellm_params": {"model": "groq/m", "input_cost_per_token": "5e-7"},
            "model_info": {"output_cost_per_image": 0.04, "output_cost_per_token": "much"},
        }
    )
    assert one.price == {"input": "0.5", "image": "0.04"}
    where = "c.yaml:1: model_list[0].model_info.output_cost_per_token"
    assert told == [f"{where}: no price; write pricing.overrides"]
