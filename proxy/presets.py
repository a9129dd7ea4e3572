"""Vendors that are known by name: where each is, which variable holds its key, what it does
otherwise than its dialect says.

What stands in `refuses` and `rename` was found in the vendor's documentation or in its own
client, named beside it. What depends on the model is left to the vendor to say.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.base import Auth
from adapters.quirks import EXTENSIONS, NO_QUIRKS, Quirks

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
AZURE_V1 = "/openai/v1"
BEDROCK_KEY = "AWS_BEARER_TOKEN_BEDROCK"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")

AWS_SOURCES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables that lead botocore to credentials."""

AWS_FILES = {
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
    "AWS_CONFIG_FILE": "~/.aws/config",
}
"""Files that it reads them from: the variable that names each, and where it is without."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One vendor. `key` is the variable of its credential, `other_keys` are read after it.

    `base_url` None: it has to be given, or is made of what the environment says. `auth` None is
    the dialect's own. `has_responses` None: whether it has OpenAI's Responses API is to be found
    out.
    """

    dialect: str
    base_url: str | None = None
    key: str | None = None
    auth: Auth | None = None
    quirks: Quirks = NO_QUIRKS
    takes_stream_options: bool = True
    has_responses: bool | None = None
    note: str = ""
    other_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The variables that may hold its credential, the first that is set wins."""
        return (*((self.key,) if self.key else ()), *self.other_keys)


_NO_MAX_COMPLETION = ("max_completion_tokens", "max_tokens")

PRESETS: dict[str, Preset] = {
    "openai": Preset(
        "openai",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        quirks=Quirks(unread=EXTENSIONS),
        has_responses=True,
        note="OpenAI",
    ),
    "anthropic": Preset(
        "anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        Auth.X_API_KEY,
        has_responses=False,
        note="Anthropic's Messages API",
    ),
    # Google's own client takes GOOGLE_API_KEY first where both are set.
    "google": Preset(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "GOOGLE_API_KEY",
        Auth.GOOGLE,
        has_responses=False,
        note="Gemini API; GEMINI_API_KEY is read too",
        other_keys=("GEMINI_API_KEY",),
    ),
    "openrouter": Preset(
        "openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", note="OpenRouter"
    ),
    # Responses API (beta): huggingface/hub-docs, docs/inference-providers/guides/responses-api.md
    "huggingface": Preset(
        "openai",
        "https://router.huggingface.co/v1",
        "HF_TOKEN",
        has_responses=True,
        note="Hugging Face Inference Providers",
    ),
    # console.groq.com/docs/openai: "will result in a 400 error (yikes) if they are supplied";
    # n must be 1 there. The same page has the Responses API. prompt_cache_key: picoclaw#1196;
    # members of messages: freellmapi#1070, janhq/jan#8136.
    "groq": Preset(
        "openai",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        quirks=Quirks(
            refuses=frozenset({"logprobs", "top_logprobs", "logit_bias", "n", "prompt_cache_key"}),
            unread=EXTENSIONS,
        ),
        has_responses=True,
        note="refuses logprobs, top_logprobs, logit_bias, n over 1",
    ),
    # Unknown members are answered 422, extra_forbidden. Known ones: ChatCompletionRequest of
    # mistralai 3.7.0. stream_options.include_usage is such a member (openai-agents-python#442,
    # avante.nvim#2347); the last chunk has the usage without it, as the recorded streams show.
    "mistral": Preset(
        "openai",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        quirks=Quirks(
            rename=(("seed", "random_seed"), _NO_MAX_COMPLETION),
            refuses=frozenset(
                {
                    "audio",
                    "function_call",
                    "functions",
                    "logit_bias",
                    "modalities",
                    "prompt_cache_retention",
                    "safety_identifier",
                    "store",
                    "user",
                    "verbosity",
                    "web_search_options",
                }
            ),
            unread=EXTENSIONS,
        ),
        takes_stream_options=False,
        note="seed is random_seed; answers 422 to members that it does not know",
    ),
    # api-docs.deepseek.com has max_tokens alone; max_completion_tokens is ignored without a word
    # (earendil-works/pi#8018, measured).
    "deepseek": Preset(
        "openai",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        quirks=Quirks(rename=(_NO_MAX_COMPLETION,)),
        note="max_completion_tokens is max_tokens",
    ),
    # Its client, together 3.1.1, has max_tokens and no max_completion_tokens, and this host;
    # before it was api.together.xyz.
    "together": Preset(
        "openai",
        "https://api.together.ai/v1",
        "TOGETHER_API_KEY",
        quirks=Quirks(rename=(_NO_MAX_COMPLETION,)),
        note="max_completion_tokens is max_tokens",
    ),
    # docs.fireworks.ai/tools-sdks/openai-compatibility; its client takes both token limits.
    "fireworks": Preset(
        "openai",
        "https://api.fireworks.ai/inference/v1",
        "FIREWORKS_API_KEY",
        note="models are accounts/fireworks/models/NAME",
    ),
    # docs.x.ai: chat completions are its legacy, the Responses API comes first.
    "xai": Preset(
        "openai",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        has_responses=True,
        note="its reasoning models refuse presence_penalty, frequency_penalty and stop",
    ),
    # docs.perplexity.ai/docs/agent-api/openai-compatibility: POST /v1/responses. Sonar's chat
    # completions ended on 2026-09-27.
    "perplexity": Preset(
        "openai",
        "https://api.perplexity.ai/v1",
        "PERPLEXITY_API_KEY",
        has_responses=True,
        note="the Responses API only: its chat completions ended in September 2026",
    ),
    # inference-docs.cerebras.ai/resources/openai, "currently unsupported": 400, as quoted by
    # pydantic-ai (providers/cerebras.py) and ReqLLM (guides/cerebras.md).
    "cerebras": Preset(
        "openai",
        "https://api.cerebras.ai/v1",
        "CEREBRAS_API_KEY",
        quirks=Quirks(
            refuses=frozenset({"frequency_penalty", "presence_penalty", "logit_bias"}),
            unread=EXTENSIONS,
        ),
        note="refuses frequency_penalty, presence_penalty, logit_bias",
    ),
    # learn.microsoft.com/azure/foundry/openai/api-version-lifecycle
    "azure": Preset(
        "openai",
        None,
        "AZURE_OPENAI_API_KEY",
        Auth.API_KEY,
        quirks=Quirks(unread=EXTENSIONS),
        has_responses=True,
        note="needs a base_url or AZURE_OPENAI_ENDPOINT; the model is the deployment's name",
    ),
    # docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html
    "bedrock": Preset(
        "bedrock",
        None,
        BEDROCK_KEY,
        has_responses=False,
        note="needs a region or AWS_REGION; without a key requests are signed (turnout[bedrock])",
    ),
    "ollama": Preset(
        "ollama", "http://127.0.0.1:11434", has_responses=False, note="Ollama on this machine"
    ),
    "vllm": Preset("openai", "http://127.0.0.1:8000/v1", note="vLLM on this machine"),
    "lmstudio": Preset("openai", "http://127.0.0.1:1234/v1", note="LM Studio on this machine"),
    "llamacpp": Preset(
        "llamacpp", "http://127.0.0.1:8080/v1", note="llama.cpp's server on this machine"
    ),
}

_HOSTS = {
    urlsplit(preset.base_url).hostname: preset
    for preset in PRESETS.values()
    if preset.base_url is not None and preset.base_url.startswith("https:")
} | {"api.together.xyz": PRESETS["together"]}

_AZURE_HOST = re.compile(r".+\.(openai\.azure|cognitiveservices\.azure|services\.ai\.azure)\.com")
_BEDROCK_HOST = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com|api\.aws)")


def by_host(base_url: str) -> Preset | None:
    """The vendor at a URL that was written out; None for hosts of nobody known, and local ones."""
    host = urlsplit(base_url).hostname or ""
    if _AZURE_HOST.fullmatch(host):
        return PRESETS["azure"]
    if _BEDROCK_HOST.fullmatch(host):
        return PRESETS["bedrock"]
    return _HOSTS.get(host)


def region_of(base_url: str) -> str | None:
    """The region in the host name of a Bedrock endpoint; None in any other."""
    match = _BEDROCK_HOST.fullmatch(urlsplit(base_url).hostname or "")
    return match.group(1) if match else None


def unknown(name: object) -> str | None:
    """What is wrong with a preset's name; None when there is one."""
    if not isinstance(name, str):
        return "must be the name of a preset"
    if name in PRESETS:
        return None
    close = get_close_matches(name, list(PRESETS), n=1)
    guess = f'; did you mean "{close[0]}"?' if close else "; turnout providers --presets has all"
    return f"there is no preset {name!r}{guess}"


def with_defaults(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A provider's entry with the dialect and the base URL of its preset, where it has none.

    Azure's base URL may be that of the resource alone: without an `api_version` it is completed
    to the v1 API's. Bedrock's is made of the region.
    """
    name = entry.get("preset")
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        return dict(entry)
    filled = {"dialect": preset.dialect} | dict(entry)
    if filled.get("base_url") is None and preset.base_url is not None:
        filled["base_url"] = preset.base_url
    if name == "azure":
        _complete_azure(filled)
    elif name == "bedrock":
        _complete_bedrock(filled)
    return filled


def _complete_azure(entry: dict[str, Any]) -> None:
    url = entry.get("base_url")
    if isinstance(url, str) and not entry.get("api_version"):
        has_path = "/openai" in urlsplit(url).path
        entry["base_url"] = url if has_path else url.rstrip("/") + AZURE_V1


def _complete_bedrock(entry: dict[str, Any]) -> None:
    region = entry.get("region")
    if entry.get("base_url") is None and isinstance(region, str) and region:
        entry["base_url"] = f"https://bedrock-runtime.{region}.amazonaws.com"


def with_environment(
    entry: Mapping[str, Any], environ: Mapping[str, str], written: frozenset[str]
) -> tuple[dict[str, Any], str | None]:
    """A provider's entry with what its preset takes from the environment, and why it is off.

    `written` names the fields that the file has, the ones left out for an unset variable too:
    a key that was written is never replaced by another.
    """
    name = entry.get("preset")
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        return dict(entry), None
    filled, off = dict(entry), None
    if name == "azure" and not filled.get("base_url"):
        filled["base_url"] = environ.get(AZURE_ENDPOINT) or None
        off = None if filled["base_url"] else f"{AZURE_ENDPOINT} is not set"
    if name == "bedrock":
        off = _place_bedrock(filled, environ)
    if preset.key is not None and written.isdisjoint({"api_key", "api_keys"}):
        off = _give_key(filled, preset, environ) or off
    return with_defaults(filled), off


def _place_bedrock(entry: dict[str, Any], environ: Mapping[str, str]) -> str | None:
    """Takes the region from the environment; why the entry is off if it has none then."""
    if entry.get("region"):
        return None
    url = entry.get("base_url")
    found = [region_of(url) if isinstance(url, str) else None, *map(environ.get, REGIONS)]
    entry["region"] = next((region for region in found if region), None)
    return None if entry["region"] or url else f"{REGIONS[0]} is not set"


def _give_key(entry: dict[str, Any], preset: Preset, environ: Mapping[str, str]) -> str | None:
    """Takes the credential from the environment; why the entry is off without one.

    Bedrock without its key is signed for, with the environment's AWS credentials where they are
    there, else with those that botocore finds: `proxy.config` says when it can't.
    """
    if entry.get("auth") != "sigv4":
        for variable in preset.keys:
            if environ.get(variable):
                entry["api_key"] = environ[variable]
                return None
        if preset.dialect != "bedrock" or entry.get("auth"):
            return f"{' or '.join(preset.keys)} is not set"
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    access, secret, token = (environ.get(variable) for variable in names)
    if access and secret:
        entry["api_key"] = ":".join(filter(None, (access, secret, token)))
        entry["auth"] = "sigv4"
    return None


def may_have_aws_credentials(environ: Mapping[str, str]) -> bool:
    """Whether botocore may find credentials, by what can be seen without the network."""
    if any(map(environ.get, AWS_SOURCES)):
        return True
    files = (environ.get(name) or usual for name, usual in AWS_FILES.items())
    return any(Path(file).expanduser().is_file() for file in files)
