"""Settings of the whole proxy, section by section."""

from typing import Any

import pytest

from proxy.migration.findings import Findings, Secrets
from proxy.migration.settings import Sections, report_top, sections
from proxy.migration.source import Node, Tree


def made(data: dict[str, Any], attempts: int = 1) -> tuple[Sections, list[str]]:
    findings = Findings()
    root = Node(Tree({}, {(): "c.yaml:1"}), (), data)
    found = sections(root, findings, Secrets(findings, set()), attempts)
    report_top(root, findings)
    return found, [str(one) for one in findings.all]


def general(**settings: Any) -> dict[str, Any]:
    return {"general_settings": {"master_key": "${K}"} | settings}


@pytest.mark.parametrize(
    ("data", "section", "fields"),
    [
        (general(max_request_size_mb=5), "server", {"body_limit": "5MB"}),
        (general(global_max_parallel_requests=50), "server", {"max_requests": 50}),
        (
            general(database_url="${DB}"),
            "storage",
            {"database": "${TURNOUT_DATABASE_URL:-sqlite:///turnout.db}"},
        ),
        (general(maximum_spend_logs_retention_period="7d"), "ledger", {"retention": "7d"}),
        ({"router_settings": {"num_retries": 0}}, "retry", {"attempts": 1}),
        ({"litellm_settings": {"num_retries": 50}}, "retry", {"attempts": 20}),
        (
            {"router_settings": {"num_retries": 2}, "litellm_settings": {"num_retries": 9}},
            "retry",
            {"attempts": 3},
        ),
        ({"litellm_settings": {"allowed_fails": 3}}, "breaker", {"failures": 4}),
        ({"router_settings": {"cooldown_time": 30}}, "breaker", {"open": "30s"}),
        (
            {
                "litellm_settings": {
                    "default_key_generate_params": {
                        "rpm_limit": 10,
                        "tpm_limit": 1000,
                        "max_budget": 5,
                        "budget_duration": "30d",
                    }
                }
            },
            "limits",
            {"rpm": 10, "tpm": 1000, "budget": 5},
        ),
        ({}, "cache", {"enabled": False}),
        ({"litellm_settings": {"cache": False}}, "cache", {"enabled": False}),
        (
            {"litellm_settings": {"cache": True, "cache_params": {"type": "local"}}},
            "cache",
            {"enabled": True},
        ),
        (
            {"router_settings": {"redis_url": "${REDIS}"}},
            "storage",
            {"redis": "${REDIS}"},
        ),
        (
            {"litellm_settings": {"cache_params": {"type": "redis", "host": "h", "ssl": True}}},
            "storage",
            {"redis": "rediss://h:6379/0"},
        ),
    ],
)
def test_settings(data: dict[str, Any], section: str, fields: dict[str, Any]) -> None:
    found, _ = made(data)
    assert found[section] == fields


def test_what_switches_nothing_on_is_not_told() -> None:
    found, told = made(
        general(alerting=[], disable_spend_logs=False)
        | {"litellm_settings": {"set_verbose": False, "force_ipv4": False}, "guardrails": []}
    )
    assert told == []
    assert found == {"auth": {"master_key": "${K}"}, "cache": {"enabled": False}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "LiteLLM lets everybody in"),
        (general(store_model_in_db=True), "models in the database"),
        (general(enable_jwt_auth=True), "auth.oidc"),
        (general(brand_new_setting=3), "brand_new_setting: 3; there is no such setting"),
        (general(maximum_spend_logs_retention_period="1mo"), "no duration"),
        ({"litellm_settings": {"cache": True}}, "set REDIS_URL"),
        (
            {"litellm_settings": {"cache": True, "cache_params": {"type": "s3"}}},
            "a cache of type s3",
        ),
        (
            {"litellm_settings": {"cache": True, "cache_params": {"mode": "default_off"}}},
            "a cache that requests ask for",
        ),
        ({"router_settings": {"disable_cooldowns": True}}, "circuits can't be switched off"),
        ({"router_settings": {"num_retries": "${N}"}}, "retries in a variable"),
        ({"litellm_settings": {"callbacks": ["otel"]}}, "section telemetry"),
        (
            {"litellm_settings": {"default_key_generate_params": {"models": ["a"]}}},
            "when a key is made",
        ),
        ({"mcp_servers": {"a": {}}}, "Turnout speaks no MCP"),
    ],
)
def test_what_is_told(data: dict[str, Any], words: str) -> None:
    _, told = made(data)
    assert any(words in line for line in told), told


def test_routes_need_attempts() -> None:
    assert made({}, attempts=7)[0]["retry"] == {"attempts": 7}
    assert "retry" not in made({}, attempts=4)[0]
