"""LiteLLM configurations of many shapes, converted and loaded; the expected values written out."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.migration.deployments import DEFAULTS, PLACED
from proxy.migration.settings import GENERAL, MODULE, ROUTER
from tests.proxy.migration.conversion import converted


def test_one_model_and_nothing_else(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
""",
        {"OPENAI_API_KEY": "sk-of-the-environment", "LITELLM_MASTER_KEY": "sk-master-of-mine"},
    )
    assert made.targets("gpt-4o") == ["openai/gpt-4o"]
    provider = made.config.providers["openai"]
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == "sk-of-the-environment"
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.models == ("gpt-4o",)
    assert made.config.auth.master_key is not None
    assert made.config.auth.master_key.get_secret_value() == "sk-master-of-mine"
    assert made.config.cache.enabled is False  # LiteLLM keeps no answers unless told to
    assert made.told == []


def test_azure_in_two_regions_by_requests_a_minute(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: gpt-4
    litellm_params:
      model: azure/gpt-4-eu
      api_base: https://company-eu.openai.azure.com/
      api_key: os.environ/AZURE_EU
      api_version: "2024-10-21"
      rpm: 60
  - model_name: gpt-4
    litellm_params:
      model: azure/gpt-4-us
      api_base: https://company-us.openai.azure.com/openai/
      api_key: os.environ/AZURE_US
      api_version: "2024-10-21"
      rpm: 1440
      tpm: 100000
""",
    )
    assert made.config.models["gpt-4"].strategy == "weighted"
    assert made.targets("gpt-4") == ["azure/gpt-4-eu", "azure-company-us/gpt-4-us"]
    assert made.weights("gpt-4") == [60, 1440]
    first, second = made.config.providers.values()
    assert (first.base_url, first.api_version, first.rpm, first.tpm) == (
        "https://company-eu.openai.azure.com",
        "2024-10-21",
        60,
        None,
    )
    assert (second.base_url, second.rpm, second.tpm) == (
        "https://company-us.openai.azure.com",
        1440,
        100_000,
    )
    assert (first.off, second.off) == ("AZURE_EU is not set", "AZURE_US is not set")


def test_several_keys_of_one_vendor(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - {model_name: flash, litellm_params: {model: gemini/gemini-2.5-flash, api_key: os.environ/G_1}}
  - {model_name: flash, litellm_params: {model: gemini/gemini-2.5-flash, api_key: os.environ/G_2}}
  - {model_name: flash, litellm_params: {model: gemini/gemini-2.5-flash, api_key: os.environ/G_3}}
  - {model_name: pro, litellm_params: {model: gemini/gemini-2.5-pro, api_key: os.environ/G_2}}
router_settings: {routing_strategy: usage-based-routing-v2}
""",
        {"G_1": "first-key", "G_2": "second-key", "G_3": "third-key"},
    )
    assert made.config.models["flash"].strategy == "round_robin"
    assert made.targets("flash") == [
        "google/gemini-2.5-flash",
        "google-2/gemini-2.5-flash",
        "google-3/gemini-2.5-flash",
    ]
    assert made.targets("pro") == ["google-2/gemini-2.5-pro"]
    keys = [provider.keys[0].get_secret_value() for provider in made.config.providers.values()]
    assert keys == ["first-key", "second-key", "third-key"]
    assert made.config.providers["google"].dialect == "gemini"
    assert made.says("litellm.yaml:7: router_settings.routing_strategy", "round_robin")


def test_fallbacks_follow_each_other(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - {model_name: small, litellm_params: {model: groq/llama-3.1-8b-instant}}
  - {model_name: middle, litellm_params: {model: mistral/mistral-small-latest}}
  - {model_name: large, litellm_params: {model: anthropic/claude-sonnet-4-5}}
  - {model_name: last, litellm_params: {model: openrouter/openai/gpt-4o}}
litellm_settings:
  num_retries: 1
  fallbacks: [{small: [middle, last]}, {middle: [large]}]
  default_fallbacks: [last]
""",
    )
    # What a fallback falls back to comes right after it, as in LiteLLM.
    assert made.targets("small") == [
        "groq/llama-3.1-8b-instant",
        "mistral/mistral-small-latest",
        "anthropic/claude-sonnet-4-5",
        "openrouter/openai/gpt-4o",
    ]
    assert made.config.models["small"].strategy == "ordered"
    assert made.targets("large") == ["anthropic/claude-sonnet-4-5", "openrouter/openai/gpt-4o"]
    assert made.targets("last") == ["openrouter/openai/gpt-4o"]
    assert made.config.retry.attempts == 4  # two would not reach the fourth target
    off = {name: provider.off for name, provider in made.config.providers.items()}
    assert off == {
        "groq": "GROQ_API_KEY is not set",
        "mistral": "MISTRAL_API_KEY is not set",
        "anthropic": "ANTHROPIC_API_KEY is not set",
        "openrouter": "OPENROUTER_API_KEY is not set",
    }


def test_a_balanced_group_before_its_fallback(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: zephyr
    litellm_params: {model: hosted_vllm/zephyr-7b, api_base: "http://10.0.0.1:8001/v1", weight: 3}
  - model_name: zephyr
    litellm_params: {model: hosted_vllm/zephyr-7b, api_base: "http://10.0.0.2:8002/v1", weight: 1}
  - model_name: zephyr
    litellm_params: {model: hosted_vllm/zephyr-7b, api_base: "http://10.0.0.3:8003/v1", weight: 0}
  - model_name: gpt
    litellm_params: {model: gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}
router_settings:
  fallbacks: [{zephyr: [gpt]}]
  num_retries: 3
  allowed_fails: 2
  cooldown_time: 600
""",
    )
    assert made.config.models["zephyr"].strategy == "weighted"
    assert made.targets("zephyr") == [
        "hosted-vllm/zephyr-7b",
        "hosted-vllm-server-8002/zephyr-7b",
        "openai/gpt-4o-mini",
    ]
    assert made.weights("zephyr") == [3, 1, 0.000001]
    assert made.says("model_list[2]: no weight, where others of its name have one")
    assert [p.base_url for p in made.config.providers.values()][:2] == [
        "http://10.0.0.1:8001/v1",
        "http://10.0.0.2:8002/v1",
    ]
    breaker = made.config.breaker
    assert (breaker.failures, breaker.open, breaker.max_open) == (3, 600, 600)
    assert made.config.retry.attempts == 4


def test_deployments_with_an_order(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - {model_name: m, litellm_params: {model: openai/gpt-4o, order: 2}}
  - {model_name: m, litellm_params: {model: azure/mine, api_base: "https://a.openai.azure.com", order: 1}}
  - {model_name: m, litellm_params: {model: deepseek/deepseek-chat, order: 3}}
""",  # noqa: E501
    )
    assert made.config.models["m"].strategy == "ordered"
    assert made.targets("m") == ["azure/mine", "openai/gpt-4o", "deepseek/deepseek-chat"]
    # Without a version Azure's v1 API is meant.
    assert made.config.providers["azure"].base_url == "https://a.openai.azure.com/openai/v1"


def test_wildcards(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - {model_name: "anthropic/*", litellm_params: {model: "anthropic/*"}}
  - {model_name: "fast-*", litellm_params: {model: "groq/llama-*"}}
  - {model_name: "*", litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}}
litellm_settings:
  fallbacks: [{gpt-4o: [anthropic/claude-sonnet-4-5]}]
""",
    )
    assert made.targets("anthropic/*") == ["anthropic"]
    assert made.targets("fast-*") == ["groq/llama-*"]
    assert made.targets("*") == ["openai"]
    assert made.targets("gpt-4o") == ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"]
    assert all(provider.models == () for provider in made.config.providers.values())


def test_any_model_of_any_vendor(tmp_path: Path) -> None:
    made = converted(tmp_path, 'model_list: [{model_name: "*", litellm_params: {model: "*"}}]\n')
    assert made.targets("gemini/*") == ["google"]
    assert made.targets("together_ai/*") == ["together"]
    assert made.targets("gpt-*") == ["openai/gpt-*"]
    assert {"openai", "anthropic", "google", "groq", "xai"} <= set(made.config.providers)
    assert made.says("any model of any vendor")


def test_servers_of_ones_own(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: llama
    litellm_params: {model: ollama_chat/llama3.2, api_base: "http://gpu.lan:11434/"}
  - model_name: qwen
    litellm_params: {model: openai/Qwen/Qwen3-8B, api_base: "http://localhost:9000/v1/", api_key: none}
  - model_name: studio
    litellm_params: {model: lm_studio/phi-4}
  - model_name: shared
    litellm_params: {model: openai/m, api_base: os.environ/TEAM_API_BASE, api_key: os.environ/TEAM_KEY}
  - model_name: novel
    litellm_params: {model: novelvendor/big-1, api_base: "https://api.novel.example/v1", api_key: os.environ/NOVEL}
""",  # noqa: E501
    )
    providers = made.config.providers
    assert (providers["ollama"].dialect, providers["ollama"].base_url) == (
        "ollama",
        "http://gpu.lan:11434",
    )
    assert made.targets("qwen") == ["server-9000/Qwen/Qwen3-8B"]
    assert providers["server-9000"].keys == ()
    assert providers["server-9000"].base_url == "http://localhost:9000/v1"
    assert providers["lmstudio"].base_url == "http://127.0.0.1:1234/v1"
    assert providers["team-api"].base_url == "http://team-api-base.invalid"
    assert made.says("litellm.yaml:10", "TEAM_API_BASE")
    assert made.targets("novel") == ["novelvendor/big-1"]
    assert providers["novelvendor"].dialect == "openai"
    assert made.says("litellm.yaml:12", "novelvendor is taken for a server of OpenAI's dialect")


def test_bedrock(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: claude
    litellm_params:
      model: bedrock/converse/eu.anthropic.claude-sonnet-4-5-20250929-v1:0
      aws_region_name: eu-west-1
      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID
      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY
  - model_name: claude
    litellm_params:
      model: bedrock/us-west-2/anthropic.claude-3-haiku-20240307-v1:0
      aws_access_key_id: os.environ/OTHER_ID
      aws_secret_access_key: os.environ/OTHER_SECRET
""",
        {
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "BEDROCK_OTHER_ID_OTHER_SECRET": "AKIB:other",
        },
    )
    one, two = made.config.providers.values()
    assert (one.dialect, one.region, one.keys[0].get_secret_value()) == (
        "bedrock",
        "eu-west-1",
        "AKIA:secret",
    )
    assert (two.region, two.keys[0].get_secret_value()) == ("us-west-2", "AKIB:other")
    assert made.targets("claude") == [
        "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock-2/anthropic.claude-3-haiku-20240307-v1:0",
    ]
    assert made.says("set BEDROCK_OTHER_ID_OTHER_SECRET to ACCESS:SECRET")


def test_prices_by_the_token(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: mine
    litellm_params:
      model: azure/mine
      api_base: https://a.openai.azure.com
      input_cost_per_token: 0.000421
      output_cost_per_token: 5.2e-4
    model_info: {base_model: azure/gpt-4o, mode: chat}
  - model_name: other
    litellm_params: {model: openai/gpt-5, api_key: os.environ/OPENAI_API_KEY}
    model_info:
      input_cost_per_token: 1.25e-06
      output_cost_per_token: 0.00001
      cache_read_input_token_cost: 1.25e-07
      supports_vision: true
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: embedding, input_cost_per_token: 0.00000002}
  - model_name: ranks
    litellm_params: {model: openai/rank-1, api_base: "http://ranks.lan/v1"}
    model_info: {mode: rerank}
""",
    )
    prices = made.config.pricing.overrides
    assert (prices["azure/mine"].input, prices["azure/mine"].output) == (421, 520)
    gpt = prices["openai/gpt-5"]
    assert (gpt.input, gpt.output, gpt.cached) == (1.25, 10, 0.125)
    assert (
        prices["openai/text-embedding-3-small"].input,
        prices["openai/text-embedding-3-small"].output,
    ) == (
        0.02,
        0,
    )
    assert made.says("litellm.yaml:9: model_list[0].model_info.base_model")
    assert made.says("model_list[3].model_info.mode: the mode rerank")


def test_timeouts_headers_and_organizations(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: a
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      organization: [org-1, org-2]
      timeout: 900
      stream_timeout: 20
      extra_headers: {x-team: blue, authorization-extra: Basic-of-a-secret}
  - model_name: b
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}
litellm_settings: {request_timeout: 45, drop_params: true}
""",
        {"OPENAI_API_KEY": "sk-of-the-environment"},
    )
    first, second, plain = made.config.providers.values()
    assert first.headers == {"x-team": "blue", "OpenAI-Organization": "org-1"}
    assert second.headers == {"x-team": "blue", "OpenAI-Organization": "org-2"}
    assert (first.timeout.response, first.timeout.first_token, first.timeout.total) == (
        900,
        20,
        900,
    )
    assert (plain.timeout.response, plain.timeout.first_token, plain.timeout.total) == (
        45,
        45,
        600,
    )
    assert plain.drop_params is True
    assert "Basic-of-a-secret" not in made.text
    assert made.says("extra_headers.authorization-extra: a secret in clear")


def test_redis_and_the_cache(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list: [{model_name: m, litellm_params: {model: gpt-4o}}]
litellm_settings:
  cache: true
  cache_params: {type: redis, host: cache.lan, port: 6380, password: os.environ/REDIS_PASSWORD, ttl: 600}
""",  # noqa: E501
        {"REDIS_PASSWORD": "pw"},
    )
    assert made.config.storage.redis is not None
    assert made.config.storage.redis.get_secret_value() == "redis://:pw@cache.lan:6380/0"
    assert (made.config.cache.enabled, made.config.cache.ttl) == (True, 600)
    assert made.config.cache.semantic.enabled is False


def test_a_cache_by_meaning(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list: [{model_name: m, litellm_params: {model: gpt-4o}}]
litellm_settings:
  cache: true
  cache_params:
    type: qdrant-semantic
    qdrant_semantic_cache_embedding_model: openai-embedding
    qdrant_collection_name: things
    similarity_threshold: 0.8
    supported_call_types: [acompletion]
router_settings: {redis_host: os.environ/REDIS_HOST, redis_port: os.environ/REDIS_PORT}
""",
    )
    semantic = made.config.cache.semantic
    assert (semantic.enabled, semantic.floor) == (True, 0.8)
    assert made.config.storage.redis is not None
    assert made.config.storage.redis.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert made.says("cache_params.type: qdrant-semantic", "turnout[semantic]")
    assert made.says("cache_params.supported_call_types")


def test_everything_else_is_said_aloud(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - model_name: vertex
    litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: p}
  - model_name: warm
    litellm_params: {model: openai/gpt-4o, temperature: 0.2, max_budget: 10, tags: [a]}
router_settings:
  model_group_alias: {gpt-4: warm, GPT-4: {model: warm, hidden: true}}
  enable_pre_call_checks: true
  retry_policy: {TimeoutErrorRetries: 3}
litellm_settings:
  set_verbose: true
  success_callback: [langfuse, prometheus]
  context_window_fallbacks: [{warm: [vertex]}]
  max_budget: 100
  budget_duration: 30d
general_settings:
  master_key: sk-1234-in-clear
  database_url: postgresql://llm:hunter2@db/litellm
  alerting: [slack]
  maximum_spend_logs_retention_period: 30d
  max_request_size_mb: 10
  pass_through_endpoints: [{path: /v1/rerank, target: "https://api.cohere.com/v1/rerank"}]
environment_variables: {LANGFUSE_SECRET_KEY: sk-lf-very-secret}
guardrails: [{guardrail_name: pii}]
""",
        {"TURNOUT_MASTER_KEY": "sk-of-mine-and-long"},
    )
    assert made.targets("gpt-4") == made.targets("GPT-4") == ["openai/gpt-4o"]
    assert "vertex" not in made.config.models
    assert made.config.ledger.retention == 30 * 86400
    assert made.config.server.body_limit == 10_000_000
    for words in (
        ("litellm.yaml:4: model_list[0].litellm_params.model", "vertex_ai is not spoken"),
        ("litellm.yaml:6: model_list[1].litellm_params.temperature: 0.2", "tasks.NAME.defaults"),
        ("model_list[1].litellm_params.max_budget: 10", "limits.budget"),
        ("model_list[1].litellm_params.tags", "not routed by tags"),
        ("litellm.yaml:8: router_settings.model_group_alias.GPT-4: a hidden alias",),
        ("router_settings.enable_pre_call_checks: on",),
        ("router_settings.retry_policy: settings", "retry.attempts"),
        ("litellm_settings.success_callback[0]: the callback langfuse",),
        ("litellm_settings.success_callback[1]: the callback prometheus", "GET /metrics"),
        ("litellm.yaml:14: litellm_settings.context_window_fallbacks", "not retried"),
        ("litellm_settings.max_budget: a budget of 100 for the whole proxy",),
        ("general_settings.master_key: a secret in clear", "TURNOUT_MASTER_KEY"),
        ("general_settings.database_url", "a database of Turnout's own"),
        ("general_settings.alerting", "docs/alerts.md"),
        ("general_settings.pass_through_endpoints",),
        ("environment_variables.LANGFUSE_SECRET_KEY", ".env"),
        ("litellm.yaml:25: guardrails: a list", "no guardrails"),
    ):
        assert made.says(*words), words
    everything = made.text + "\n".join(made.told)
    for secret in ("hunter2", "sk-1234-in-clear", "sk-lf-very-secret"):
        assert secret not in everything
    # Each finding stands in the file too, at its head.
    words = made.text.replace("\n#   ", " ").replace("\n# ", "\n")
    assert all(line in words for line in made.told)


def test_credentials_that_are_shared(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
credential_list:
  - credential_name: eu
    credential_values:
      api_key: os.environ/AZURE_EU
      api_base: https://eu.openai.azure.com
      api_version: "2024-10-21"
model_list:
  - {model_name: m, litellm_params: {model: azure/gpt-4o, litellm_credential_name: eu}}
  - {model_name: n, litellm_params: {model: azure/o3, litellm_credential_name: eu}}
  - {model_name: x, litellm_params: {model: azure/o4, litellm_credential_name: gone}}
""",
        {"AZURE_EU": "key-of-eu", "AZURE_API_BASE": "https://default.openai.azure.com"},
    )
    assert made.targets("m") == ["azure/gpt-4o"]
    assert made.targets("n") == ["azure/o3"]
    assert made.config.providers["azure"].models == ("gpt-4o", "o3")
    assert made.config.providers["azure"].base_url == "https://eu.openai.azure.com"
    assert made.says("litellm.yaml:11", "litellm_credential_name", "not in credential_list")


def test_included_files(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "model_list:\n- {model_name: b, litellm_params: {model: openai/gpt-4o, seed: 7}}\n"
    )
    made = converted(
        tmp_path,
        "include: [models.yaml]\n"
        "model_list: [{model_name: a, litellm_params: {model: openai/gpt-5}}]\n",
    )
    assert (made.targets("a"), made.targets("b")) == (["openai/gpt-5"], ["openai/gpt-4o"])
    assert made.says("models.yaml:2: model_list[1].litellm_params.seed: 7")


def test_secrets_in_clear_are_named_once(tmp_path: Path) -> None:
    made = converted(
        tmp_path,
        """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-4o, api_key: sk-proj-in-clear-1}}
  - {model_name: b, litellm_params: {model: openai/gpt-5, api_key: sk-proj-in-clear-1}}
  - {model_name: c, litellm_params: {model: openai/gpt-5, api_key: sk-proj-in-clear-2}}
general_settings: {master_key: sk-proj-in-clear-1}
""",
        {"OPENAI_API_KEY": "one-of-two", "OPENAI_API_KEY_2": "two-of-two"},
    )
    assert (made.targets("a"), made.targets("b")) == (["openai/gpt-4o"], ["openai/gpt-5"])
    assert made.targets("c") == ["openai-2/gpt-5"]
    assert made.config.providers["openai-2"].keys[0].get_secret_value() == "two-of-two"
    assert "sk-proj" not in made.text + "".join(made.told)


def test_nothing_that_can_be_served(tmp_path: Path) -> None:
    made = converted(tmp_path, "general_settings: {master_key: os.environ/K}\n")
    assert made.config.models == {}
    assert made.says("no model that Turnout can serve")


WORDS = (
    *("a", "b", "gpt-4o", "a/*", "*", "openai/gpt-4o", "azure/x", "bedrock/m", "novel/m", ""),
    *("os.environ/KEY", "${GO}", "http://h.example/v1", "https://u:p@h.example/v1?x=y", "30d"),
    *("redis", "qdrant-semantic", "vertex_ai/m", "huggingface/a/b/c", "simple-shuffle", "\n"),
    *("latency-based-routing", "groq/*", "ollama/m", "\u2028 x: y", "key: [", "h\u00f6", "-5s"),
)
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 5000), st.floats(0, 2), st.sampled_from(WORDS))
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "gpt-4o", "model", "type", "host"]), inside)
    ),
    max_leaves=5,
)


def mappings(keys: frozenset[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(keys)), VALUES, max_size=5)


DEPLOYMENTS = st.fixed_dictionaries(
    {
        "model_name": st.sampled_from(["a", "b", "gpt-4o", "a/*", "*"]),
        "litellm_params": st.builds(
            lambda rest, model: rest | {"model": model},
            mappings(PLACED | DEFAULTS),
            st.sampled_from([word for word in WORDS if "/" in word]),
        ),
    },
    optional={"model_info": VALUES, "rpm": SCALARS},
)
CONFIGURATIONS = st.fixed_dictionaries(
    {"model_list": st.lists(DEPLOYMENTS, max_size=4)},
    optional={
        "router_settings": mappings(ROUTER),
        "litellm_settings": mappings(MODULE),
        "general_settings": mappings(GENERAL),
        "credential_list": VALUES,
        "environment_variables": VALUES,
        "anything_else": VALUES,
    },
)


@given(CONFIGURATIONS)
@settings(max_examples=100, derandomize=True)
def test_whatever_it_is_the_result_loads(data: dict[str, Any]) -> None:
    """A source that is no sense gives findings, never a crash and never a file that fails."""
    with tempfile.TemporaryDirectory() as folder:
        converted(Path(folder), yaml.safe_dump(data))
