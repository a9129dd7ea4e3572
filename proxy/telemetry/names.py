"""The words of OpenTelemetry's semantic conventions for what Turnout calls otherwise.

Names are those of opentelemetry-semantic-conventions 0.66b2; that the conventions for generative
AI are still in development is why they stand in one place.
"""

from adapters.base import Endpoint
from proxy import presets
from proxy.config_types import Provider

OPERATIONS = {
    Endpoint.CHAT: "chat",
    Endpoint.RESPONSES: "chat",
    Endpoint.MESSAGES: "chat",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.COUNT_TOKENS: "count_tokens",
    Endpoint.IMAGES: "image_generation",
    Endpoint.TRANSCRIPTIONS: "transcription",
    Endpoint.SPEECH: "speech",
    Endpoint.MODERATIONS: "moderation",
}
"""`gen_ai.operation.name`: the first three words are the conventions', the others ours."""

_VENDORS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gcp.gemini",
    "groq": "groq",
    "mistral": "mistral_ai",
    "deepseek": "deepseek",
    "xai": "x_ai",
    "perplexity": "perplexity",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
}
"""Presets whose vendor has a name of its own in `gen_ai.provider.name`."""


def operation(endpoint: Endpoint | None) -> str:
    """`gen_ai.operation.name` of an endpoint; empty for none."""
    return "" if endpoint is None else OPERATIONS[endpoint]


def provider_name(name: str, provider: Provider | None) -> str:
    """`gen_ai.provider.name`: the vendor's, where the conventions have one; else as configured."""
    vendor = None if provider is None else provider.vendor
    if vendor is not None:
        for preset, known in _VENDORS.items():
            if presets.PRESETS.get(preset) is vendor:
                return known
    return name
