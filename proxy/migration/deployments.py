"""`model_list`: each deployment with the target that it becomes, and its price."""

from collections.abc import Iterator, Mapping
from dataclasses import replace as replaced
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from proxy.migration.findings import Findings, is_off, shown
from proxy.migration.providers import Entry, Providers, everyone
from proxy.migration.source import Node
from proxy.migration.vendors import Model

Price = Mapping[str, str]
"""`input`, `output`, `cached`, `cache_write`, `image` -> USD, a million tokens or one image."""

PLACED = frozenset(
    {"model", "custom_llm_provider", "api_key", "api_base", "base_url", "api_version"}
    | {"organization", "project", "extra_headers", "headers", "rpm", "tpm", "weight", "order"}
    | {"timeout", "request_timeout", "stream_timeout", "drop_params", "litellm_credential_name"}
    | {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name"}
    | {"azure_ad_token", "model_info"}
)
"""Members of `litellm_params` that have a place."""

DEFAULTS = frozenset(
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "n"}
    | {"presence_penalty", "frequency_penalty", "logit_bias", "response_format", "tools"}
    | {"tool_choice", "reasoning_effort", "thinking", "extra_body", "user", "top_k", "modalities"}
    | {"parallel_tool_calls", "service_tier", "verbosity", "dimensions", "input_type", "num_ctx"}
)
"""Members of `litellm_params` that are parameters of a request."""

_AS_TASK = "make the name a task: tasks.NAME.defaults, asked for as task/NAME"

ADVICE = {
    "max_parallel_requests": "limits.concurrency holds a key to so many; a provider has rpm, tpm",
    "max_retries": "attempts are counted for a whole request: retry.attempts",
    "num_retries": "attempts are counted for a whole request: retry.attempts",
    "max_budget": "a budget belongs to a key: limits.budget, or the key's own",
    "budget_duration": "a budget is of a day or a month, and belongs to a key",
    "tags": "requests are not routed by tags; make a name for each",
    "additional_drop_params": "drop_params leaves out all that a provider can't be told",
    "allowed_openai_params": "a provider of OpenAI's dialect gets every field as it came",
    "cooldown_time": "one breaker.open for all, or the provider's own: providers.*.breaker",
    "mock_response": "Turnout has no made-up answers; point the name at a server of yours",
    "input_cost_per_second": "prices are by the token or the image",
    "tenant_id": "get a token of Entra ID and give it as api_key with auth: bearer",
    "client_id": "get a token of Entra ID and give it as api_key with auth: bearer",
    "client_secret": "get a token of Entra ID and give it as api_key with auth: bearer",
    "aws_profile_name": "set AWS_PROFILE; requests are signed with it",
    "aws_role_name": "let the environment take the role; requests are signed with it",
    "aws_session_name": "let the environment take the role; requests are signed with it",
    "cache_control_injection_points": "put cache_control on the messages where they are made",
    "merge_reasoning_content_in_choices": "reasoning comes in reasoning_content",
    "fallbacks": "give the name more targets",
    "context_window_fallbacks": "a prompt that is too long is the client's to know",
}
NOTHING = "there is no such setting; nothing is done"

_PRICES = (
    ("input_cost_per_token", "input", 1_000_000),
    ("output_cost_per_token", "output", 1_000_000),
    ("cache_read_input_token_cost", "cached", 1_000_000),
    ("cache_creation_input_token_cost", "cache_write", 1_000_000),
    ("output_cost_per_image", "image", 1),
    ("input_cost_per_image", "image", 1),
)

_BY_BEGINNING = (
    ("gpt-*", "openai"),
    ("o1*", "openai"),
    ("o3*", "openai"),
    ("o4*", "openai"),
    ("claude-*", "anthropic"),
)
"""Names without a vendor that tell theirs, where a caller may name any model."""

SERVED = frozenset(
    {"chat", "completion", "embedding", "image_generation", "responses", "audio_transcription"}
    | {"audio_speech", "moderation"}
)
"""Values of `model_info.mode` that Turnout has an endpoint for."""

_INFORMED = frozenset(
    {"id", "mode", "db_model", "version", "max_tokens", "max_input_tokens", "max_output_tokens"}
    | {"litellm_provider", "description", "created_at", "updated_at", "output_vector_size"}
    | {name for name, _, _ in _PRICES}
)
"""Members of `model_info` that need nothing done, or have been done."""

_INFO_ADVICE = {
    "base_model": "give what it is called the base model's price: pricing.overrides",
    "access_groups": "say what a key may use when it is made: turnout keys create --models",
    "team_id": "say what a key may use when it is made: turnout keys create --models",
    "health_check_model": "providers.*.probe looks at a provider's list of models",
    "disable_background_health_check": "nothing is looked at without providers.*.probe",
    "supported_environments": "keep a configuration for each environment",
}


SHARES = ("weight", "rpm", "tpm")
"""What LiteLLM's `simple-shuffle` picks by: the first of them that a group's first has."""


class Deployment(NamedTuple):
    """One entry of `model_list`, placed. `model` may have a `*` where `name` has one; `shares`
    are in the order of `SHARES`."""

    name: str
    provider: str
    model: str
    order: float
    shares: tuple[float | None, ...]
    id: str | None
    price: Price
    node: Node

    @property
    def target(self) -> str:
        """`provider/model`; the provider alone where the model is all that a wildcard matched."""
        return self.provider if self.model == "*" else f"{self.provider}/{self.model}"


def deployments(root: Node, providers: Providers) -> Iterator[Deployment]:
    """Every deployment that has a place in Turnout; of the others it is said why."""
    findings = providers.findings
    credentials = {node["credential_name"].text: node for node in root["credential_list"].entries()}
    for node in root["model_list"].entries():
        name = node["model_name"].text
        if not name or not isinstance(node["litellm_params"].value, dict):
            advice = "give it model_name and litellm_params"
            findings.tell(node, "no deployment: its name or parameters are missing", advice)
            continue
        if name.count("*") > 1:
            findings.tell(node["model_name"], "a name with more than one *", "write names with one")
            continue
        params = _with_credential(node, credentials, findings)
        made = [
            placed
            for one in _each_organization(params)
            for placed in _placed(name, node, one, providers)
        ]
        if made:
            _report_rest(node, findings)
        yield from made


def _with_credential(
    node: Node, credentials: Mapping[str | None, Node], findings: Findings
) -> Node:
    params = node["litellm_params"]
    value = dict(params.value)
    for limit in ("rpm", "tpm"):
        if limit not in value and node[limit]:
            value[limit] = node[limit].value
    named = params["litellm_credential_name"]
    if named:
        held = credentials.get(named.text)
        if held is None:
            findings.tell(named, "a credential that is not in credential_list", "write api_key")
        else:
            value = dict(held["credential_values"].value or {}) | value
    return Node(params.tree, params.path, value)


def _each_organization(params: Node) -> Iterator[Node]:
    """A list of organizations is a deployment for each."""
    listed = params.value.get("organization")
    for organization in listed if isinstance(listed, list) else [listed]:
        yield replaced(params, value=params.value | {"organization": organization})


def _placed(name: str, node: Node, params: Node, providers: Providers) -> Iterator[Deployment]:
    if params["model"].text == "*":
        yield from _any_vendor(name, node, params, providers)
        return
    found = providers.of(params)
    if found is None:
        return
    model, entry = found
    if "*" in model.name and "*" not in name:
        providers.findings.tell(
            params["model"], "a * in the model and none in the name", "put one into the name"
        )
        return
    yield _deployment(name, node, params, providers, model, entry)


def _deployment(
    name: str, node: Node, params: Node, providers: Providers, model: Model, entry: Entry
) -> Deployment:
    order = params["order"].number
    return Deployment(
        name,
        providers.placed(entry, model.vendor or "provider", model.name),
        model.name,
        order if isinstance(order, int | float) else float("inf"),
        tuple(_share(params[name]) for name in SHARES),
        node["model_info"]["id"].text,
        _price(params, node["model_info"], providers.findings),
        node,
    )


def _any_vendor(name: str, node: Node, params: Node, providers: Providers) -> Iterator[Deployment]:
    """`model: "*"`: whatever vendor the caller names, with the keys of the environment."""
    findings = providers.findings
    findings.tell(
        params["model"],
        "any model of any vendor that has a key in the environment",
        "the vendors with presets are listed as providers; take out those that you don't use",
    )
    if name != "*":
        findings.tell(node["model_name"], "a name for any vendor's models", "name the vendor")
        return
    known = everyone(providers.secrets)
    for prefix, (preset, entry) in known.items():
        provider = providers.placed(entry, preset, "*")
        if prefix != provider:
            yield Deployment(f"{prefix}/*", provider, "*", 0, (None,), None, {}, node)
    for pattern, prefix in _BY_BEGINNING:
        preset, entry = known[prefix]
        provider = providers.placed(entry, preset, "*")
        yield Deployment(pattern, provider, pattern, 0, (None,), None, {}, node)


def _share(node: Node) -> float | None:
    number = node.number
    return number if isinstance(number, int | float) else None


def _price(params: Node, info: Node, findings: Findings) -> Price:
    found: dict[str, str] = {}
    for name, field, factor in _PRICES:
        node = params[name] or info[name]
        if not node:
            continue
        price = _dollars(node.value, factor)
        if price is None:
            findings.tell(node, "no price", "write pricing.overrides")
        else:
            found.setdefault(field, price)
    if found and "image" not in found:
        found = {"input": "0", "output": "0"} | found
    return found


def _dollars(value: Any, factor: int) -> str | None:
    try:
        price = Decimal(str(value)) * factor
    except InvalidOperation:
        return None
    if not price.is_finite() or price < 0:
        return None
    return f"{price.normalize():f}"


def _report_rest(node: Node, findings: Findings) -> None:
    """What of an entry has no place."""
    prices = {name for name, _, _ in _PRICES}
    for one in node["litellm_params"].entries():
        if one.key in PLACED or one.key in prices or is_off(one):
            continue
        if one.key in DEFAULTS:
            findings.tell(one, f"{shown(one)} as a default of requests", _AS_TASK)
        else:
            findings.tell(one, shown(one), ADVICE.get(one.key, NOTHING))
    for one in (*node["model_info"].entries(), *node["litellm_params"]["model_info"].entries()):
        _report_info(one, findings)
    for one in node.entries():
        known = {"model_name", "litellm_params", "model_info", "rpm", "tpm"}
        if one.key not in known and not is_off(one):
            findings.tell(one, shown(one), ADVICE.get(one.key, NOTHING))


def _report_info(one: Node, findings: Findings) -> None:
    if one.key in _INFORMED or one.key.startswith("supports_") or is_off(one):
        if one.key == "mode" and one.text and one.text not in SERVED:
            was = f"the mode {one.text}" if one.text.isidentifier() else "a mode"
            findings.tell(one, was, "Turnout has no such endpoint; call the vendor for it")
    else:
        findings.tell(one, shown(one), _INFO_ADVICE.get(one.key, NOTHING))
