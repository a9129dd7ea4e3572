"""The vendors that LiteLLM has a prefix for, and what each is in Turnout.

Where they are and which variables hold their keys: LiteLLM's own provider table
(litellm_core_utils/get_llm_provider_logic.py) and its pages on each provider.
"""

import re
from typing import NamedTuple


class Vendor(NamedTuple):
    """One vendor. `preset` is Turnout's, None for a plain server of OpenAI's dialect at `url`.

    `key` is the variable that LiteLLM reads where a deployment has no key of its own, `base` the
    same for the URL. `tail` is what Turnout wants at the end of a URL that LiteLLM completes.
    """

    preset: str | None = None
    key: str | None = None
    url: str | None = None
    base: str | None = None
    tail: str = ""


VENDORS = {
    "openai": Vendor("openai", "OPENAI_API_KEY", base="OPENAI_API_BASE"),
    "azure": Vendor("azure", "AZURE_API_KEY", base="AZURE_API_BASE"),
    "azure_ai": Vendor("azure", "AZURE_AI_API_KEY", base="AZURE_AI_API_BASE"),
    "anthropic": Vendor("anthropic", "ANTHROPIC_API_KEY", base="ANTHROPIC_API_BASE", tail="/v1"),
    "gemini": Vendor("google", "GEMINI_API_KEY", tail="/v1beta"),
    "bedrock": Vendor("bedrock"),
    "ollama": Vendor("ollama", base="OLLAMA_API_BASE"),
    "groq": Vendor("groq", "GROQ_API_KEY"),
    "mistral": Vendor("mistral", "MISTRAL_API_KEY"),
    "deepseek": Vendor("deepseek", "DEEPSEEK_API_KEY"),
    "together_ai": Vendor("together", "TOGETHERAI_API_KEY"),
    "fireworks_ai": Vendor("fireworks", "FIREWORKS_AI_API_KEY"),
    "xai": Vendor("xai", "XAI_API_KEY"),
    "perplexity": Vendor("perplexity", "PERPLEXITYAI_API_KEY"),
    "cerebras": Vendor("cerebras", "CEREBRAS_API_KEY"),
    "openrouter": Vendor("openrouter", "OPENROUTER_API_KEY"),
    "huggingface": Vendor("huggingface", "HUGGINGFACE_API_KEY", tail="/v1"),
    "hosted_vllm": Vendor(base="HOSTED_VLLM_API_BASE"),
    "lm_studio": Vendor("lmstudio", base="LM_STUDIO_API_BASE"),
    "llamafile": Vendor(url="http://127.0.0.1:8080/v1", base="LLAMAFILE_API_BASE"),
    "xinference": Vendor(base="XINFERENCE_API_BASE"),
    "litellm_proxy": Vendor(key="LITELLM_PROXY_API_KEY", base="LITELLM_PROXY_API_BASE"),
    "nvidia_nim": Vendor(key="NVIDIA_NIM_API_KEY", url="https://integrate.api.nvidia.com/v1"),
    "sambanova": Vendor(key="SAMBANOVA_API_KEY", url="https://api.sambanova.ai/v1"),
    "deepinfra": Vendor(key="DEEPINFRA_API_KEY", url="https://api.deepinfra.com/v1/openai"),
    "codestral": Vendor(key="CODESTRAL_API_KEY", url="https://codestral.mistral.ai/v1"),
    "volcengine": Vendor(key="VOLCENGINE_API_KEY", url="https://ark.cn-beijing.volces.com/api/v3"),
    "friendliai": Vendor(key="FRIENDLI_TOKEN", url="https://api.friendli.ai/serverless/v1"),
    "meta_llama": Vendor(key="LLAMA_API_KEY", url="https://api.llama.com/compat/v1"),
    "github": Vendor(key="GITHUB_API_KEY", url="https://models.inference.ai.azure.com"),
    "ai21": Vendor(key="AI21_API_KEY", url="https://api.ai21.com/studio/v1"),
    "moonshot": Vendor(key="MOONSHOT_API_KEY", url="https://api.moonshot.ai/v1"),
}

SAME_AS = {
    "text-completion-openai": "openai",
    "custom_openai": "openai",
    "openai_like": "openai",
    "azure_text": "azure",
    "ollama_chat": "ollama",
    "bedrock_converse": "bedrock",
    "ai21_chat": "ai21",
    "vllm": "hosted_vllm",
}

UNSPOKEN = {
    "vertex_ai": "for Gemini take preset google with an API key, for Claude preset anthropic",
    "vertex_ai_beta": "for Gemini take preset google with an API key",
    "palm": "take preset google with a Gemini model",
    "sagemaker": "put a server of OpenAI's dialect in front of it, such as vLLM's",
    "sagemaker_chat": "put a server of OpenAI's dialect in front of it, such as vLLM's",
    "cohere": "its own endpoint of OpenAI's dialect can be a provider of dialect openai",
    "cohere_chat": "its own endpoint of OpenAI's dialect can be a provider of dialect openai",
    "cloudflare": "its own endpoint of OpenAI's dialect can be a provider of dialect openai",
    "replicate": "take the model from another vendor",
    "watsonx": "take the model from another vendor",
    "watsonx_text": "take the model from another vendor",
    "oci": "take the model from another vendor",
    "snowflake": "take the model from another vendor",
    "triton": "take the server's endpoint of OpenAI's dialect, if it has one",
    "predibase": "take its endpoint of OpenAI's dialect as a provider of dialect openai",
    "clarifai": "take its endpoint of OpenAI's dialect as a provider of dialect openai",
    "petals": "take the model from another vendor",
    "nlp_cloud": "take the model from another vendor",
    "aleph_alpha": "take the model from another vendor",
    "github_copilot": "it signs in with a browser, which Turnout does not; take another vendor",
    "auto_router": "Turnout chooses by no content; name the targets",
    "jina_ai": "its endpoint of OpenAI's dialect can be a provider of dialect openai",
}
"""Vendors of a dialect that Turnout does not speak, and what may serve instead."""

_INFERRED = (
    (re.compile(r"(gpt-|o\d|chatgpt-|text-embedding-|dall-e|tts-|whisper|ft:gpt|omni-)"), "openai"),
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"(us\.|eu\.|apac\.)?(anthropic|amazon|meta|mistral|cohere|ai21)\."), "bedrock"),
    (re.compile(r"gemini"), "vertex_ai"),
    (re.compile(r"command"), "cohere"),
)

_INNER = {
    "azure": ("o_series/", "responses/", "gpt5_series/"),
    "openai": ("responses/",),
    "bedrock": ("converse/", "invoke/", "converse_like/"),
}
"""Words between a vendor and a model that choose a route inside LiteLLM."""

_BEDROCK_REGION = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)/")


class Model(NamedTuple):
    """What `litellm_params.model` names. `vendor` None: nothing tells. `region` is AWS's."""

    vendor: str | None
    name: str
    region: str | None = None


def parse_model(text: str, vendor: str | None, has_base: bool) -> Model:
    """A model as LiteLLM reads it: after the vendor's prefix, or by its own name's beginning."""
    head, slash, rest = text.partition("/")
    if vendor is not None:
        name = rest if slash and head == vendor else text
    elif slash:
        vendor, name = head, rest
    elif text == "*":
        return Model(None, "*")
    else:
        found = (owner for pattern, owner in _INFERRED if pattern.match(text))
        vendor, name = next(found, "openai" if has_base else None), text
    vendor = SAME_AS.get(vendor or "", vendor)
    return _without_routes(Model(vendor, name), has_base)


def _without_routes(model: Model, has_base: bool) -> Model:
    vendor, name, region = model
    for word in _INNER.get(vendor or "", ()):
        name = name.removeprefix(word)
    if vendor == "bedrock" and (match := _BEDROCK_REGION.match(name)):
        region, name = match.group(1), name[match.end() :]
    if vendor == "fireworks_ai" and "/" not in name and name != "*" and "#" not in name:
        name = f"accounts/fireworks/models/{name}"
    if vendor == "huggingface" and name.count("/") == 2 and not has_base:
        server, _, name = name.partition("/")
        name = f"{name}:{server}"  # the router's own spelling of a chosen server
    return Model(vendor, name, region)
