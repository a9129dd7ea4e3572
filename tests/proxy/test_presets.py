"""Vendors by name and by host, and what a configuration makes of them."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mistralai.client.models import ChatCompletionRequest

from adapters import ADAPTERS
from adapters.base import Auth
from adapters.quirks import NO_QUIRKS
from proxy import config as config_module
from proxy import presets, routing
from proxy.config import Config, ConfigError, Provider, load
from proxy.presets import PRESETS

CANARY = "sk-canary-0123456789"
NAMES = (
    "openai anthropic google openrouter huggingface groq mistral deepseek together fireworks xai "
    "perplexity cerebras azure bedrock ollama vllm lmstudio llamacpp"
)


@pytest.fixture
def no_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setitem(ADAPTERS, "bedrock", ADAPTERS["openai"])
    monkeypatch.setitem(ADAPTERS, "gemini", ADAPTERS["openai"])


def written(folder: Path, entry: str, **environ: str) -> Provider:
    (folder / "config.yaml").write_text(f"providers:\n  up: {{{entry}}}\n")
    return load(folder / "config.yaml", environ).providers["up"]


def target(provider: Provider) -> Any:
    (made,) = routing._made(provider, "up", "m")
    return made


def secret(provider: Provider) -> list[str]:
    return [key.get_secret_value() for key in provider.keys]


def test_the_names() -> None:
    assert set(PRESETS) == set(NAMES.split())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_each_is_whole(name: str) -> None:
    preset = PRESETS[name]
    assert preset.note
    if preset.base_url is None:
        assert name in ("azure", "bedrock")
        return
    parts = urlsplit(preset.base_url)
    is_local = parts.hostname == "127.0.0.1"
    assert (preset.key is None) == is_local
    assert parts.scheme == ("http" if is_local else "https")
    found = presets.by_host(preset.base_url)
    assert found is (None if is_local else preset)


def test_mistrals_members_are_those_of_its_own_client() -> None:
    """What its client can say is neither refused nor renamed; what it is renamed to can be said."""
    known = set(ChatCompletionRequest.model_fields)
    quirks = PRESETS["mistral"].quirks
    assert not quirks.refuses & known
    assert {theirs for _, theirs in quirks.rename} <= known
    assert not {ours for ours, _ in quirks.rename} & known
    assert "stream_options" not in known


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.together.xyz/v1", "together"),
        ("https://acme.openai.azure.com/openai/v1", "azure"),
        ("https://acme.cognitiveservices.azure.com", "azure"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "bedrock"),
        ("https://bedrock-runtime-fips.us-east-1.amazonaws.com", "bedrock"),
        ("https://API.groq.com:443/openai/v1", "groq"),
        ("https://api.groq.com.evil.test/v1", None),
        ("https://evil.test/api.groq.com", None),
        ("http://127.0.0.1:8000/v1", None),
        ("", None),
    ],
)
def test_by_host(url: str, name: str | None) -> None:
    assert presets.by_host(url) is (PRESETS[name] if name else None)


def test_a_name_alone(tmp_path: Path) -> None:
    provider = written(tmp_path, "preset: groq", GROQ_API_KEY=CANARY)
    made = target(provider)
    assert (made.dialect, made.base_url) == ("openai", "https://api.groq.com/openai/v1")
    assert made.api_key.get_secret_value() == CANARY
    assert (made.auth, made.has_responses, made.drop_params) == (Auth.BEARER, True, False)
    refused = {"logprobs", "top_logprobs", "logit_bias", "n", "prompt_cache_key"}
    assert made.quirks.refuses == refused
    assert CANARY not in repr(provider)


def test_what_is_written_wins(tmp_path: Path) -> None:
    entry = "preset: groq, base_url: 'http://g.test/v1', api_key: '${MINE}', responses: false"
    provider = written(tmp_path, entry, GROQ_API_KEY="theirs", MINE=CANARY)
    assert (provider.base_url, secret(provider)) == ("http://g.test/v1", [CANARY])
    assert target(provider).has_responses is False
    off = written(tmp_path, entry, GROQ_API_KEY="theirs")
    assert (off.off, secret(off)) == ("MINE is not set", [])
    both = written(tmp_path, "preset: groq, api_keys: [a, b]", GROQ_API_KEY="theirs")
    assert secret(both) == ["a", "b"]


def test_the_file_beside_is_read_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"XAI_API_KEY={CANARY}\n")
    assert secret(written(tmp_path, "preset: xai")) == [CANARY]


def test_an_unset_variable_is_told(tmp_path: Path) -> None:
    assert written(tmp_path, "preset: mistral").off == "MISTRAL_API_KEY is not set"
    google = written(tmp_path, "preset: google")
    assert google.off == "GOOGLE_API_KEY or GEMINI_API_KEY is not set"
    assert written(tmp_path, "preset: vllm").off is None


@pytest.mark.usefixtures("no_aws")
def test_googles_two_variables(tmp_path: Path) -> None:
    second = written(tmp_path, "preset: google", GEMINI_API_KEY="two")
    assert (second.off, secret(second), second.sent_by) == (None, ["two"], Auth.GOOGLE)
    first = written(tmp_path, "preset: google", GEMINI_API_KEY="two", GOOGLE_API_KEY="one")
    assert secret(first) == ["one"]


def test_quirks_without_a_preset(tmp_path: Path) -> None:
    url = "base_url: 'https://api.mistral.ai/v1', api_key: k"
    made = target(written(tmp_path, "dialect: openai, " + url))
    assert dict(made.quirks.rename) == {
        "seed": "random_seed",
        "max_completion_tokens": "max_tokens",
    }
    assert "user" in made.quirks.refuses
    assert made.takes_stream_options is False
    plain = target(written(tmp_path, "dialect: openai, base_url: 'http://u.test/v1'"))
    assert (plain.quirks, plain.takes_stream_options, plain.has_responses) == (
        NO_QUIRKS,
        True,
        None,
    )


def test_another_dialect_of_the_host_is_left_alone(tmp_path: Path) -> None:
    """Google's and Anthropic's endpoints for OpenAI's clients take a bearer."""
    for url in (
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "https://api.anthropic.com/v1",
    ):
        made = target(written(tmp_path, f"dialect: openai, base_url: '{url}', api_key: k"))
        assert (made.auth, made.has_responses) == (Auth.BEARER, None)


@pytest.mark.parametrize(
    ("entry", "auth"),
    [
        ("dialect: anthropic, base_url: 'http://u.test'", Auth.X_API_KEY),
        ("dialect: gemini, base_url: 'http://u.test'", Auth.GOOGLE),
        ("dialect: ollama", Auth.BEARER),
        ("dialect: openai, base_url: 'http://u.test', auth: api-key", Auth.API_KEY),
        ("dialect: anthropic, base_url: 'http://u.test', auth: bearer", Auth.BEARER),
        ("dialect: openai, base_url: 'http://u.test', auth: x-goog-api-key", Auth.GOOGLE),
        ("dialect: bedrock, base_url: 'http://u.test', api_key: k", Auth.BEARER),
        ("dialect: bedrock, base_url: 'http://u.test'", Auth.SIGV4),
    ],
)
def test_how_a_key_is_sent(tmp_path: Path, entry: str, auth: Auth) -> None:
    assert written(tmp_path, entry).sent_by is auth


def test_an_unknown_preset_is_told_with_the_rest(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "providers:\n"
        "  a: {preset: grok, base_ur: x}\n"
        "  b:\n"
        "    preset: mistrl\n"
        "  c: {preset: 7}\n"
        "models: {m: [a/x, b/y]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.yaml", {})
    found = {p.path: (p.line, p.message) for p in caught.value.problems}
    assert set(found) == {
        "providers.a.preset",
        "providers.a.base_ur",
        "providers.b.preset",
        "providers.c.preset",
    }
    assert found["providers.b.preset"] == (
        4,
        "there is no preset 'mistrl'; did you mean \"mistral\"?",
    )
    with pytest.raises(ValueError, match="there is no preset 'grok'"):
        Provider.model_validate({"preset": "grok", "dialect": "openai"})


def test_drop_params_of_all_and_of_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "drop_params: true\nproviders: {up: {dialect: openai, base_url: 'http://u.test'}}\n"
    )
    found = load(tmp_path / "config.yaml", {})
    assert found.drop_params
    assert target(found.providers["up"]).drop_params
    one = written(tmp_path, "dialect: openai, base_url: 'http://u.test', drop_params: true")
    assert target(one).drop_params
    assert not Config().drop_params


# Azure.


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        (
            "base_url: 'https://a.openai.azure.com/openai/v1'",
            "https://a.openai.azure.com/openai/v1",
        ),
        ("base_url: 'https://a.openai.azure.com/'", "https://a.openai.azure.com/openai/v1"),
        (
            "base_url: 'https://openai.openai.azure.com'",
            "https://openai.openai.azure.com/openai/v1",
        ),
        ("base_url: 'https://a.test', api_version: 2024-10-21", "https://a.test"),
    ],
)
def test_azures_url(tmp_path: Path, entry: str, url: str) -> None:
    provider = written(
        tmp_path,
        "preset: azure, " + entry.replace("2024-10-21", "'2024-10-21'"),
        AZURE_OPENAI_API_KEY=CANARY,
    )
    made = target(provider)
    assert (made.base_url, made.auth, made.dialect) == (url, Auth.API_KEY, "openai")
    dated = "api_version" in entry
    assert (made.api_version, made.has_responses) == (
        ("2024-10-21", False) if dated else (None, True)
    )


def test_azure_out_of_the_environment(tmp_path: Path) -> None:
    found = {"AZURE_OPENAI_ENDPOINT": "https://a.openai.azure.com/", "AZURE_OPENAI_API_KEY": "k"}
    assert target(written(tmp_path, "preset: azure", **found)).base_url == (
        "https://a.openai.azure.com/openai/v1"
    )
    assert written(tmp_path, "preset: azure").off == "AZURE_OPENAI_API_KEY is not set"
    keyed = written(tmp_path, "preset: azure", AZURE_OPENAI_API_KEY="k")
    assert keyed.off == "AZURE_OPENAI_ENDPOINT is not set"


def test_azure_with_a_version_and_the_path_of_the_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="before /openai"):
        written(tmp_path, "preset: azure, base_url: 'https://a.test/openai/v1', api_version: '1'")


# Bedrock.


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize(
    ("entry", "environ", "url", "region"),
    [
        ("region: eu-west-1", {"AWS_REGION": "us-east-1"}, "eu-west-1", "eu-west-1"),
        ("", {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "x"}, "us-east-1", "us-east-1"),
        ("", {"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2", "us-west-2"),
        (
            "base_url: 'https://bedrock-runtime.eu-north-1.amazonaws.com'",
            {"AWS_REGION": "us-east-1"},
            "eu-north-1",
            "eu-north-1",
        ),
    ],
)
def test_bedrocks_place(
    tmp_path: Path, entry: str, environ: dict[str, str], url: str, region: str
) -> None:
    key = {"AWS_BEARER_TOKEN_BEDROCK": CANARY}
    made = target(written(tmp_path, "preset: bedrock, " + entry, **environ, **key))
    assert made.base_url == f"https://bedrock-runtime.{url}.amazonaws.com"
    assert (made.region, made.auth, made.dialect) == (region, Auth.BEARER, "bedrock")
    assert made.api_key.get_secret_value() == CANARY


@pytest.mark.usefixtures("no_aws")
def test_bedrock_signs_without_its_key(tmp_path: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_REGION": "us-east-1"}
    plain = written(tmp_path, "preset: bedrock", **environ)
    assert (plain.off, plain.sent_by, secret(plain)) == (None, Auth.SIGV4, ["AK:SK"])
    passing = written(tmp_path, "dialect: bedrock", **environ, AWS_SESSION_TOKEN="ST")
    assert secret(passing) == ["AK:SK:ST"]
    forced = written(
        tmp_path, "preset: bedrock, auth: sigv4", **environ, AWS_BEARER_TOKEN_BEDROCK="k"
    )
    assert (forced.sent_by, secret(forced)) == (Auth.SIGV4, ["AK:SK"])


@pytest.mark.usefixtures("no_aws")
def test_when_bedrock_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    region = {"AWS_REGION": "us-east-1"}
    key = {"AWS_BEARER_TOKEN_BEDROCK": "k"}
    assert written(tmp_path, "preset: bedrock", **key).off == "AWS_REGION is not set"
    bearer = written(tmp_path, "preset: bedrock, auth: bearer", **region)
    assert bearer.off == "AWS_BEARER_TOKEN_BEDROCK is not set"
    dark = written(tmp_path, "preset: bedrock", **region)
    assert dark.off == "AWS_BEARER_TOKEN_BEDROCK is not set, and there are no AWS credentials"
    assert written(tmp_path, "preset: bedrock", **region, AWS_PROFILE="p").off is None
    assert written(tmp_path, "preset: bedrock, auth: sigv4", **region).off is None, "a role's"
    (tmp_path / "nobody" / ".aws").mkdir(parents=True)
    (tmp_path / "nobody" / ".aws" / "credentials").touch()
    assert written(tmp_path, "preset: bedrock", **region).off is None
    elsewhere = "dialect: bedrock, base_url: 'http://vpc.test'"
    assert written(tmp_path, elsewhere).off == "it has no region"
    monkeypatch.setattr(config_module, "find_spec", lambda name: None)
    assert "turnout[bedrock]" in (written(tmp_path, "preset: bedrock", **region).off or "")
    assert written(tmp_path, "preset: bedrock", **region, **key).off is None


def test_signing_is_bedrocks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sigv4 is for dialect bedrock"):
        written(tmp_path, "preset: groq, auth: sigv4")
