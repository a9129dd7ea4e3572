"""Names are those of the semantic conventions, by the package that has them as constants."""

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as known

from adapters.base import Endpoint
from proxy.config_types import Provider
from proxy.telemetry.names import _VENDORS, OPERATIONS, operation, provider_name

VENDORS = {value.value for value in known.GenAiProviderNameValues}


def test_vendors_are_called_as_the_conventions_call_them() -> None:
    # Perplexity and the like: every name on our side of the table is one of theirs.
    assert set(_VENDORS.values()) <= VENDORS


def test_every_endpoint_has_an_operation() -> None:
    assert set(OPERATIONS) == set(Endpoint)
    words = {value.value for value in known.GenAiOperationNameValues}
    talking = (Endpoint.CHAT, Endpoint.MESSAGES, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)
    assert {operation(endpoint) for endpoint in talking} <= words
    assert operation(None) == ""


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("eu", {"dialect": "openai", "base_url": "https://api.openai.com/v1"}, "openai"),
        ("g", {"dialect": "gemini"}, "gcp.gemini"),
        ("a", {"dialect": "anthropic"}, "anthropic"),
        ("m", {"preset": "mistral"}, "mistral_ai"),
        ("mine", {"dialect": "openai", "base_url": "http://127.0.0.1:9/v1"}, "mine"),
        ("router", {"preset": "openrouter"}, "router"),
    ],
)
def test_a_providers_vendor(name: str, entry: dict[str, str], expected: str) -> None:
    assert provider_name(name, Provider.model_validate(entry)) == expected


def test_one_that_is_gone_keeps_its_name() -> None:
    assert provider_name("gone", None) == "gone"
