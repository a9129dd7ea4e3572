"""Dialects: what goes to an upstream and what comes back, as pure functions.

One literal registry, no discovery. A vendor of a known dialect is a line of configuration, not
a module. What a dialect does not have itself is built on its chat by a bridge.
"""

from adapters.anthropic import Anthropic
from adapters.base import (
    Adapter,
    Endpoint,
    Failure,
    FailureKind,
    Retry,
    Target,
    UpstreamFailure,
)
from adapters.bedrock import Bedrock
from adapters.gemini import Gemini
from adapters.inbound.base import Bridge, Bridged
from adapters.inbound.completions import Completions
from adapters.inbound.messages import Messages
from adapters.inbound.responses import Responses
from adapters.llamacpp import LlamaCpp
from adapters.ollama import Ollama
from adapters.openai import OpenAI

ADAPTERS: dict[str, Adapter] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "gemini": Gemini(),
    "ollama": Ollama(),
    "bedrock": Bedrock(),
    "llamacpp": LlamaCpp(),
}
"""Dialect -> adapter."""

BRIDGES: dict[Endpoint, Bridge] = {
    Endpoint.COMPLETIONS: Completions(),
    Endpoint.MESSAGES: Messages(),
    Endpoint.RESPONSES: Responses(),
}
"""Endpoint -> how it is built on chat."""

_BRIDGED = {
    (dialect, endpoint): Bridged(adapter, bridge)
    for dialect, adapter in ADAPTERS.items()
    for endpoint, bridge in BRIDGES.items()
}


def adapter_for(endpoint: Endpoint, target: Target) -> Adapter:
    """What serves an endpoint at a target. Raises `UpstreamFailure` when nothing can."""
    adapter = ADAPTERS[target.dialect]
    if endpoint in adapter.endpoints and not (
        endpoint is Endpoint.RESPONSES and target.has_responses is False
    ):
        return adapter
    bridged = _BRIDGED.get((target.dialect, endpoint))
    if bridged is None:
        raise UpstreamFailure(
            Failure(
                FailureKind.UNSUPPORTED,
                f"{target.provider}/{target.model} has no {endpoint}",
                Retry.NEXT_TARGET,
                status=400,
                code="unsupported_endpoint",
                param="model",
            )
        )
    return bridged
