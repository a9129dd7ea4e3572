"""LiteLLM's settings of the whole proxy, as Turnout's sections."""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from proxy.migration.advice import ADVICE, LOGS, NOTHING
from proxy.migration.findings import Findings, Secrets, is_off, shown
from proxy.migration.routes import either
from proxy.migration.source import Node

Sections = dict[str, dict[str, Any]]
"""Section -> field -> value, as they are written."""

ROUTER = frozenset(
    {"routing_strategy", "model_group_alias", "fallbacks", "default_fallbacks", "max_fallbacks"}
    | {"num_retries", "timeout", "stream_timeout", "allowed_fails", "cooldown_time"}
    | {"redis_host", "redis_port", "redis_password", "redis_url", "redis_db"}
    | {"context_window_fallbacks", "content_policy_fallbacks", "set_verbose", "debug_level"}
)
MODULE = frozenset(
    {"fallbacks", "default_fallbacks", "num_retries", "request_timeout", "allowed_fails"}
    | {"context_window_fallbacks", "content_policy_fallbacks", "cooldown_time", "cache"}
    | {"cache_params", "drop_params", "set_verbose", "json_logs", "telemetry", "max_budget"}
    | {"budget_duration", "success_callback", "failure_callback", "callbacks"}
    | {"service_callback", "service_callbacks", "default_key_generate_params"}
    | {"suppress_debug_info", "turn_off_message_logging"}
)
GENERAL = frozenset(
    {"master_key", "database_url", "maximum_spend_logs_retention_period", "store_model_in_db"}
    | {"global_max_parallel_requests", "max_request_size_mb", "disable_master_key_return"}
    | {"database_connection_pool_limit", "database_connection_timeout", "proxy_batch_write_at"}
    | {"maximum_spend_logs_retention_interval", "proxy_budget_rescheduler_min_time"}
    | {"proxy_budget_rescheduler_max_time", "disable_adding_master_key_hash_to_db"}
    | {"enable_jwt_auth", "litellm_jwtauth", "litellm_license"}
)
"""Settings that have a place, or need none."""

_NOT_CARRIED = {
    "context_window_fallbacks": "a prompt that is too long is the client's to know (400)",
    "content_policy_fallbacks": "a refusal of the content is the client's to know",
}
_DURATION = re.compile(r"\d+(\.\d+)?(s|m|h|d)")
_MEANING = frozenset({"redis-semantic", "qdrant-semantic", "valkey-semantic"})


def sections(root: Node, findings: Findings, secrets: Secrets, attempts: int) -> Sections:
    """Everything but providers, models and prices. `attempts` is what the routes need at least."""
    router, module, general = (
        root[name] for name in ("router_settings", "litellm_settings", "general_settings")
    )
    made: Sections = {
        "server": _server(general, findings),
        "storage": _storage(root, findings, secrets),
        "auth": _auth(general, findings, secrets),
        "cache": _cache(module, findings),
        "limits": _limits(module, findings),
        "retry": _retry(either(router, module, "num_retries"), attempts, findings),
        "breaker": _breaker(router, module, findings),
        "ledger": _ledger(general, findings),
    }
    for name, advice in _NOT_CARRIED.items():
        node = either(router, module, name)
        if not is_off(node):
            findings.tell(node, "other models for that fault alone", f"{advice}; it is not retried")
    _report_callbacks(module, findings)
    _report_environment(root["environment_variables"], findings)
    for section, known in ((router, ROUTER), (module, MODULE), (general, GENERAL)):
        _report_rest(section, known, findings)
    return {name: fields for name, fields in made.items() if fields}


def _server(general: Node, findings: Findings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    size = _positive(general["max_request_size_mb"], findings)
    if size is not None:
        name = size[2:-1] if isinstance(size, str) else ""
        found["body_limit"] = f"${{{name}:-20}}MB" if name else f"{plain(size)}MB"
    most = _count(general["global_max_parallel_requests"], findings)
    if most is not None:
        found["max_requests"] = most
        findings.tell(
            general["global_max_parallel_requests"],
            "a limit of the whole proxy",
            "server.max_requests is each worker's; divide it by the workers",
        )
    return found


def _storage(root: Node, findings: Findings, secrets: Secrets) -> dict[str, Any]:
    found: dict[str, Any] = {}
    node = root["general_settings"]["database_url"]
    if node.text:
        found["database"] = "${TURNOUT_DATABASE_URL:-sqlite:///turnout.db}"
        findings.tell(
            node,
            "LiteLLM's own database",
            "its keys, users, teams and spend are not read: set TURNOUT_DATABASE_URL to a database "
            "of Turnout's own, or keep the file, and make keys with turnout keys create",
        )
    redis = _redis(root, findings, secrets)
    return found | ({"redis": redis} if redis else {})


def _redis(root: Node, findings: Findings, secrets: Secrets) -> str | None:
    """The URL of the one Redis: the router's, else the cache's."""
    router, module = root["router_settings"], root["litellm_settings"]
    params = module["cache_params"]
    for node in (router["redis_url"], params["url"], params["redis_url"]):
        if node.text:
            return secrets.reference(node, "REDIS_URL")
    if router["redis_host"].text:
        prefix, section = "redis_", router
    elif _kind_of_cache(module) in ("redis", "redis-semantic", "valkey-semantic"):
        prefix, section = "", params
    else:
        return None
    host, port, password = (section[prefix + name] for name in ("host", "port", "password"))
    if not host.text:
        advice = "set REDIS_URL, such as redis://:PASSWORD@HOST:6379/0"
        findings.tell(module["cache"], "a Redis that the environment names", advice)
        return "${REDIS_URL}"
    login = ""
    if password.text:
        name = secrets.reference(password, "REDIS_PASSWORD")[2:-1]
        login = f":${{{name}:-}}@"
        findings.tell(password, f"a password in {name}", "characters such as @ and / as %40, %2F")
    scheme = "rediss" if section["ssl"].value is True else "redis"
    where = _embedded(host, "127.0.0.1") + ":" + _embedded(port, "6379")
    return f"{scheme}://{login}{where}/{_embedded(section[prefix + 'db'], '0')}"


def _embedded(node: Node, otherwise: str) -> str:
    """A part of a URL: an unset variable must leave one that is valid."""
    if node.variable:
        return f"${{{node.variable}:-{otherwise}}}"
    return quote(node.text or otherwise, safe=".:[]-_")


def _auth(general: Node, findings: Findings, secrets: Secrets) -> dict[str, Any]:
    node = general["master_key"]
    if not node.text:
        findings.tell(
            node,
            "no master key, so LiteLLM lets everybody in",
            "Turnout makes a master key at first start; callers need a key",
        )
    for name in ("enable_jwt_auth", "litellm_jwtauth"):
        if not is_off(general[name]):
            advice = "auth.oidc: {issuer, audience} takes its tokens"
            findings.tell(general[name], "tokens of an identity provider", advice)
    if not is_off(general["store_model_in_db"]):
        advice = "models made in LiteLLM's page are not in this file; write them under models"
        findings.tell(general["store_model_in_db"], "models in the database", advice)
    return {"master_key": secrets.reference(node, "TURNOUT_MASTER_KEY")} if node.text else {}


def _kind_of_cache(module: Node) -> str | None:
    """LiteLLM's type of cache; None when it keeps no answers."""
    on = module["cache"].value is True or (
        module["cache"].value is None and bool(module["cache_params"].value)
    )
    if not on:
        return None
    return module["cache_params"]["type"].text or "redis"


def _cache(module: Node, findings: Findings) -> dict[str, Any]:
    kind = _kind_of_cache(module)
    if kind is None:
        return {"enabled": False}
    params = module["cache_params"]
    found: dict[str, Any] = {"enabled": True}
    if params["mode"].text == "default_off":
        found["enabled"] = False
        findings.tell(
            params["mode"],
            "a cache that requests ask for",
            "it is off; switch it on for the tasks or keys that may have kept answers",
        )
    ttl = _positive(params["ttl"], findings)
    if ttl is not None:
        found["ttl"] = seconds(ttl)
    if kind in _MEANING:
        found["semantic"] = _by_meaning(params, kind, findings)
    elif kind not in ("redis", "local"):
        was = (
            f"a cache of type {kind}" if kind in ("s3", "gcs", "disk", "azure-blob") else "a cache"
        )
        findings.tell(params["type"], was, "answers are kept in memory, or in storage.redis")
    held = {"type", "host", "port", "password", "url", "redis_url", "ttl", "mode", "db", "ssl"}
    held |= {"similarity_threshold", "namespace", "max_connections"}
    for one in params.entries():
        if one.key not in held and not _is_of_meaning(one.key) and not is_off(one):
            findings.tell(one, shown(one), "Turnout's cache has no such setting: docs/cache.md")
    return found


def _by_meaning(params: Node, kind: str, findings: Findings) -> dict[str, Any]:
    found: dict[str, Any] = {"enabled": True}
    likeness = params["similarity_threshold"].number
    if isinstance(likeness, int | float) and 0 <= likeness <= 1:
        found["floor"] = likeness
    findings.tell(
        params["type"],
        f"{kind} with an embedding model of yours",
        "Turnout's own index and embedder are used (pip install 'turnout[semantic]'), whose "
        "likenesses are others: what is served is held to cache.semantic.max_wrong",
    )
    return found


def _is_of_meaning(key: str) -> bool:
    return any(word in key for word in ("semantic", "qdrant", "embedding", "redis_startup"))


def _limits(module: Node, findings: Findings) -> dict[str, Any]:
    """The limits of keys that say none; the proxy's own budget has no place."""
    if not is_off(module["max_budget"]):
        findings.tell(
            module["max_budget"],
            f"a budget of {shown(module['max_budget'])} for the whole proxy",
            "limits.budget is each key's, a month; divide it among the keys",
        )
    given = module["default_key_generate_params"]
    found: dict[str, Any] = {}
    for theirs, ours in (
        ("rpm_limit", "rpm"),
        ("tpm_limit", "tpm"),
        ("max_parallel_requests", "concurrency"),
    ):
        most = _count(given[theirs], findings)
        if most is not None:
            found[ours] = most
    budget, per = _positive(given["max_budget"], findings), given["budget_duration"].text
    if budget is not None and per in (None, "30d", "1mo"):
        found["budget"] = budget
    elif budget is not None:
        advice = "limits.budget is a month's; a key's own may be of the day"
        findings.tell(given["budget_duration"], "a budget of another time", advice)
    known = {"rpm_limit", "tpm_limit", "max_parallel_requests", "max_budget", "budget_duration"}
    for one in given.entries():
        if one.key not in known and not is_off(one):
            findings.tell(one, shown(one), "say it when a key is made: turnout keys create")
    return found


def _retry(node: Node, attempts: int, findings: Findings) -> dict[str, Any]:
    number = node.number
    if isinstance(number, str):
        findings.tell(node, "retries in a variable", "write retry.attempts")
        number = None
    wanted = 4 if number is None else int(number) + 1
    made = min(20, max(wanted, attempts, 1))
    return {"attempts": made} if number is not None or made != 4 else {}


def _breaker(router: Node, module: Node, findings: Findings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    fails = either(router, module, "allowed_fails").number
    if isinstance(fails, int | float) and fails >= 0:
        found["failures"] = int(fails) + 1
    pause = _positive(either(router, module, "cooldown_time"), findings)
    if pause is not None:
        found["open"] = seconds(pause)
        if isinstance(pause, int | float) and pause > 300:
            found["max_open"] = seconds(pause)
    return found


def _ledger(general: Node, findings: Findings) -> dict[str, Any]:
    node = general["maximum_spend_logs_retention_period"]
    if not node:
        return {}
    if not _DURATION.fullmatch(node.text or "") and not node.variable:
        findings.tell(node, "no duration that Turnout reads", "write ledger.retention, such as 30d")
        return {}
    return {"retention": node.text}


def _report_callbacks(module: Node, findings: Findings) -> None:
    for name in (
        *("success_callback", "failure_callback", "callbacks"),
        *("service_callback", "service_callbacks"),
    ):
        node = module[name]
        for one in [node] if node.text else node.entries():
            known = {
                "prometheus": "GET /metrics is there without it; its metrics have other names",
                "otel": "section telemetry sends OpenTelemetry: docs/observability.md",
                "bigquery": "sinks.bigquery: docs/sinks.md",
            }
            label = one.text if (one.text or "").isidentifier() and len(one.text or "") < 24 else ""
            findings.tell(one, f"the callback {label or 'given'}", known.get(label or "", LOGS))


def _report_environment(node: Node, findings: Findings) -> None:
    for one in node.entries():
        if not one.variable and not is_off(one):
            advice = "put it into .env beside the configuration, or into the environment"
            findings.tell(one, "a variable that is set there", advice)


def _report_rest(section: Node, known: frozenset[str], findings: Findings) -> None:
    for one in section.entries():
        if one.key not in known and not is_off(one):
            findings.tell(one, shown(one), ADVICE.get(one.key, NOTHING))


def report_top(root: Node, findings: Findings) -> None:
    """Sections that have no place at all."""
    known = {"model_list", "router_settings", "litellm_settings", "general_settings"}
    known |= {"environment_variables", "credential_list"}
    for one in root.entries():
        if one.key not in known and not is_off(one):
            findings.tell(one, shown(one), ADVICE.get(one.key, NOTHING))


def _positive(node: Node, findings: Findings) -> float | str | None:
    """A number over 0 or `${NAME}`; of anything else it is said that it has no place."""
    if node.positive is None and not is_off(node):
        findings.tell(node, "no number above 0", "it is left out")
    return node.positive


def _count(node: Node, findings: Findings) -> int | str | None:
    """The same of things that are counted."""
    number = _positive(node, findings)
    return number if number is None or isinstance(number, str) else max(1, int(number))


def plain(number: float | str) -> str:
    """A number without an exponent; a variable as it is."""
    return number if isinstance(number, str) else f"{Decimal(repr(number)):f}"


def seconds(number: float | str) -> str:
    """A duration as people write it; a variable as it is."""
    return number if isinstance(number, str) else f"{plain(number)}s"


def default_timeouts(root: Node) -> tuple[Node, Node]:
    """The whole answer's and the stream's, of all deployments that say none."""
    router, module = root["router_settings"], root["litellm_settings"]
    whole = router["timeout"] or module["request_timeout"]
    return whole, router["stream_timeout"]
