"""What a model's name says of its vendor."""

import pytest

from proxy.migration.vendors import SAME_AS, UNSPOKEN, VENDORS, Model, parse_model
from proxy.presets import PRESETS


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("openai/gpt-4o", Model("openai", "gpt-4o")),
        ("gpt-4o", Model("openai", "gpt-4o")),
        ("o3-mini", Model("openai", "o3-mini")),
        ("claude-3-opus-20240229", Model("anthropic", "claude-3-opus-20240229")),
        ("gemini-1.5-pro", Model("vertex_ai", "gemini-1.5-pro")),
        ("openrouter/openai/gpt-4o", Model("openrouter", "openai/gpt-4o")),
        ("azure/o_series/my-o3", Model("azure", "my-o3")),
        ("openai/responses/gpt-5", Model("openai", "gpt-5")),
        ("bedrock/converse/us.amazon.nova", Model("bedrock", "us.amazon.nova")),
        ("bedrock/eu-central-1/m", Model("bedrock", "m", "eu-central-1")),
        ("anthropic.claude-v2", Model("bedrock", "anthropic.claude-v2")),
        ("fireworks_ai/llama-v3", Model("fireworks_ai", "accounts/fireworks/models/llama-v3")),
        ("fireworks_ai/accounts/a/models/m", Model("fireworks_ai", "accounts/a/models/m")),
        ("huggingface/together/org/m", Model("huggingface", "org/m:together")),
        ("huggingface/org/m", Model("huggingface", "org/m")),
        ("ollama_chat/llama3", Model("ollama", "llama3")),
        ("nobody-knows", Model(None, "nobody-knows")),
    ],
)
def test_models(text: str, model: Model) -> None:
    assert parse_model(text, None, has_base=False) == model


def test_a_vendor_that_is_said() -> None:
    assert parse_model("org/m", "openai", True) == Model("openai", "org/m")
    assert parse_model("openai/m", "openai", True) == Model("openai", "m")
    assert parse_model("anything", None, has_base=True) == Model("openai", "anything")


def test_the_table_names_presets_that_there_are() -> None:
    assert {vendor.preset for vendor in VENDORS.values() if vendor.preset} <= set(PRESETS)
    assert set(SAME_AS.values()) <= set(VENDORS)
    assert not set(VENDORS) & set(UNSPOKEN)
