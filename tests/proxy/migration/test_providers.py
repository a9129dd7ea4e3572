"""From deployments to named providers."""

from typing import Any

import pytest

from proxy.migration.findings import Findings, Secrets
from proxy.migration.providers import Entry, Providers, timeouts
from proxy.migration.source import Node, Tree


def node(value: Any) -> Node:
    return Node(Tree({}, {(): "c.yaml:1"}), (), value)


def providers() -> Providers:
    findings = Findings()
    return Providers(findings, Secrets(findings, set()))


def entry(**params: Any) -> Entry:
    found = providers().of(node(params))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://gate.example/anthropic/v1/", "https://gate.example/anthropic/v1"),
    ],
)
def test_urls_that_litellm_completes(base: str, url: str) -> None:
    assert entry(model="anthropic/claude", api_base=base).base_url == url


@pytest.mark.parametrize(
    ("base", "version", "url", "dated"),
    [
        ("https://a.openai.azure.com/", None, "https://a.openai.azure.com", None),
        ("https://a.azure.example/openai/v1/", None, "https://a.azure.example/openai/v1", None),
        (
            "https://a.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-06-01",
            None,
            "https://a.openai.azure.com",
            "2024-06-01",
        ),
        ("https://a.services.ai.azure.com/models", None, "https://a.services.ai.azure.com", None),
        ("${AZURE_BASE}", "${AZURE_VERSION}", "${AZURE_BASE}", "${AZURE_VERSION}"),
    ],
)  # fmt: skip
def test_azure(base: str, version: str | None, url: str, dated: str | None) -> None:
    made = entry(model="azure/m", api_base=base, api_version=version)
    assert (made.preset, made.base_url, made.api_version) == ("azure", url, dated)


def test_foundry_serves_others_too() -> None:
    base = "https://a.services.ai.azure.com/anthropic"
    made = entry(model="azure_ai/claude-sonnet-4-5", api_base=base, api_key="${K}")
    assert (made.preset, made.dialect, made.base_url) == (None, "anthropic", base + "/v1")
    made = entry(
        model="azure_ai/m", api_base="https://m.eastus.models.ai.azure.com", api_key="${K}"
    )
    assert (made.dialect, made.base_url) == ("openai", "https://m.eastus.models.ai.azure.com")


def test_openais_key_goes_to_openai_alone() -> None:
    where = providers()
    found = where.of(node({"model": "openai/m", "api_base": "http://elsewhere.example/v1"}))
    assert found is not None
    assert found[1].api_key is None
    assert "where LiteLLM would send OPENAI_API_KEY" in str(where.findings.all[0])
    assert entry(model="openai/m").api_key == "${OPENAI_API_KEY}"
    at_home = entry(model="openai/m", api_base="https://api.openai.com/v1")
    assert (at_home.preset, at_home.api_key) == ("openai", "${OPENAI_API_KEY}")


@pytest.mark.parametrize("key", ["none", "EMPTY", "fake-key", "sk-1234", "not-needed"])
def test_keys_that_are_none(key: str) -> None:
    made = entry(model="hosted_vllm/m", api_base="http://h:1/v1", api_key=key)
    assert made.api_key is None


def test_a_token_of_entra_id() -> None:
    made = entry(model="azure/m", api_base="https://a.example", azure_ad_token="${TOKEN}")
    assert (made.api_key, made.auth) == ("${TOKEN}", "bearer")


def test_urls_with_passwords_lose_them() -> None:
    where = providers()
    found = where.of(node({"model": "openai/m", "api_base": "https://u:pw@h.example/v1"}))
    assert found is not None
    assert found[1].base_url == "https://h.example/v1"
    assert not any("pw@" in str(one) for one in where.findings.all)


def test_names() -> None:
    where = providers()
    made = [
        where.placed(entry, vendor, "m")
        for entry, vendor in (
            (Entry(preset="openai", api_key="${A}"), "openai"),
            (Entry(preset="openai", api_key="${B}"), "openai"),
            (Entry(preset="openai", api_key="${A}"), "openai"),
            (Entry(dialect="openai", base_url="https://api.mine.example/v1"), "openai"),
            (Entry(dialect="openai", base_url="http://127.0.0.1:9/v1"), "openai"),
            (Entry(dialect="openai", base_url="${TEAM_BASE:-http://x.invalid}"), "openai"),
            (Entry(dialect="openai", base_url="http://a.b/v1"), "Odd Vendor"),
        )
    ]
    assert made == ["openai", "openai-2", "openai", "mine", "server-9", "team", "odd-vendor"]
    assert where.models["openai"] == ["m"]
    where.placed(Entry(preset="openai", api_key="${A}"), "openai", "*")
    assert where.models["openai"] is None


def test_timeouts() -> None:
    assert timeouts(node(30), node(5)) == (("first_token", 5), ("response", 30))
    assert timeouts(node("${T}"), node(None)) == (("first_token", "${T}"), ("response", "${T}"))
    assert timeouts(node(None), node(5), (("response", 9),)) == (
        ("first_token", 5),
        ("response", 9),
    )
    assert timeouts(node(6000), node(None))[-1] == ("total", 6000)
    assert timeouts(node(None), node(None)) == ()
