"""From LiteLLM's deployments to Turnout's named providers.

A deployment has its own key, address, limits and timeouts; in Turnout those are a provider's. So
deployments that agree in all of them share one provider, and any other gets one of its own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from proxy import presets
from proxy.migration.findings import Findings, Secrets
from proxy.migration.source import Node
from proxy.migration.vendors import UNSPOKEN, VENDORS, Model, Vendor, parse_model

NO_KEYS = frozenset(
    {"none", "null", "empty", "dummy", "fake", "fake-key", "dummy-key", "not-needed", "anything"}
    | {"no-key", "no-key-required", "sk-no-key-required", "not-used", "unused", "ignored", "-"}
    | {"ollama", "lm-studio", "vllm", "token-abc123", "sk-1234", "noop", "na", "n/a", "x"}
)
"""Keys that people write where a server wants none."""

_USUAL = frozenset({"api", "www", "llm", "gateway"})
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,40}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One provider's fields, as far as they are written. Timeouts are seconds or `${NAME}`."""

    preset: str | None = None
    dialect: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    auth: str | None = None
    api_version: str | None = None
    region: str | None = None
    rpm: float | str | None = None
    tpm: float | str | None = None
    timeout: tuple[tuple[str, float | str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    drop_params: bool | None = None

    def items(self) -> Iterator[tuple[str, Any]]:
        """Name and value of what is written, in the order in which people write it."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value not in (None, ()):
                yield name, dict(value) if isinstance(value, tuple) else value


@dataclass(slots=True)
class Providers:
    """The providers so far, by name; `models` are all that each is used for, None for any."""

    findings: Findings
    secrets: Secrets
    timeout: tuple[tuple[str, float | str], ...] = ()
    entries: dict[str, Entry] = field(default_factory=dict)
    models: dict[str, list[str] | None] = field(default_factory=dict)

    def placed(self, entry: Entry, vendor: str, model: str) -> str:
        """The name of the provider with these fields, made where there is none yet."""
        name = next((known for known, held in self.entries.items() if held == entry), None)
        if name is None:
            name = self._new_name(entry, vendor)
            self.entries[name] = entry
            self.models[name] = []
        used = self.models[name]
        if "*" in model:
            self.models[name] = None
        elif used is not None and model not in used:
            used.append(model)
        return name

    def _new_name(self, entry: Entry, vendor: str) -> str:
        url = entry.base_url or ""
        plain = (
            entry.preset or _place(url) if vendor == "openai" else entry.preset or _plain(vendor)
        )
        if plain not in self.entries:
            return plain
        if url and f"{plain}-{_place(url)}" not in self.entries and _place(url) != plain:
            return f"{plain}-{_place(url)}"
        number = 2
        while f"{plain}-{number}" in self.entries:
            number += 1
        return f"{plain}-{number}"

    def of(self, params: Node) -> tuple[Model, Entry] | None:
        """The model and the fields of a deployment; None, and said so, where it has no place."""
        text = params["model"].text
        if not text or params["model"].variable:
            self.findings.tell(
                params["model"],
                "a model that is not written out",
                "write provider/model under models",
            )
            return None
        base = _base_of(params)
        said = params["custom_llm_provider"].text
        model = parse_model(text, said, bool(base))
        if model.vendor in UNSPOKEN:
            words = f"{model.vendor} is not spoken by Turnout"
            self.findings.tell(params["model"], words, UNSPOKEN[model.vendor])
            return None
        if not model.name:
            self.findings.tell(params["model"], "a vendor without a model", "name the model")
            return None
        vendor = VENDORS.get(model.vendor or "")
        if vendor is None:
            if not base or model.vendor is None:
                was = f"a vendor that Turnout does not know ({model.vendor or 'none is named'})"
                advice = "if it has OpenAI's API, write a provider with its base_url"
                self.findings.tell(params["model"], was, advice)
                return None
            self.findings.tell(
                params["model"],
                f"{model.vendor} is taken for a server of OpenAI's dialect",
                f"see that base_url ends before /chat/completions; it is asked for {model.name}",
            )
            vendor = Vendor()
        entry = self._entry(params, model, vendor, base)
        return None if entry is None else (model, entry)

    def _entry(self, params: Node, model: Model, vendor: Vendor, base: Node) -> Entry | None:
        entry = _kind(vendor, base)
        entry = self._located(entry, params, model, vendor, base)
        if entry.base_url is None and entry.preset is None:
            was = f"{model.vendor} without an address"
            self.findings.tell(params["model"], was, "write a provider with its base_url")
            return None
        entry = self._keyed(entry, params, model, vendor, base)
        return replace(
            entry,
            rpm=self._limit(params["rpm"]),
            tpm=self._limit(params["tpm"]),
            timeout=self._timeouts(params),
            headers=self._headers(params),
            drop_params=True if params["drop_params"].value is True else None,
        )

    def _located(
        self, entry: Entry, params: Node, model: Model, vendor: Vendor, base: Node
    ) -> Entry:
        url = self._url(base) if base else vendor.url
        variable = vendor.base
        if url is None and variable and entry.preset in (None, "azure"):
            url = f"${{{variable}}}"
        if url and url.startswith("${") and entry.preset != "azure":
            url = self._promised(url, base or params)
        version, url = self._version(params, entry, url)
        tail = "/v1" if entry.dialect == "anthropic" else vendor.tail
        if url and not url.startswith("${") and tail and not _ends_in_version(url):
            url += tail
        if entry.preset == "azure" and url and not url.startswith("${"):
            url = _azure_root(url, version is not None)
        region = model.region or self._region(params["aws_region_name"])
        if model.vendor == "bedrock" and region is None and url is None:
            region = "${AWS_REGION_NAME}"
        if model.vendor != "bedrock":
            region = None
        return replace(entry, base_url=url, api_version=version, region=region)

    def _url(self, base: Node) -> str | None:
        text = (base.text or "").strip().rstrip("/")
        if text.startswith("${"):
            return text
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            self.findings.tell(base, "no http or https URL", "write the provider's base_url")
            return None
        if parts.username or parts.password:
            advice = "send it as a header: providers.*.headers, authorization"
            self.findings.tell(base, "a URL with a user and a password", advice)
        host = parts.netloc.rpartition("@")[2]
        path = parts.path
        for ending in ("/chat/completions", "/embeddings", "/completions"):
            path = path.removesuffix(ending)
        return urlunsplit((parts.scheme, host, path.rstrip("/"), "", ""))

    def _promised(self, url: str, node: Node) -> str:
        """An address that a variable holds. Without it the provider must not be somewhere else."""
        name = url[2:-1]
        self.findings.tell(
            node, f"an address in {name}", f"set {name}; until then the provider can't be reached"
        )
        return f"${{{name}:-http://{name.lower().replace('_', '-').strip('-')}.invalid}}"

    def _version(
        self, params: Node, entry: Entry, url: str | None
    ) -> tuple[str | None, str | None]:
        if entry.preset != "azure":
            return None, url
        node = params["api_version"]
        asked = parse_qs(urlsplit(_base_of(params).text or "").query).get("api-version", [None])
        version = node.text or asked[0]
        if version and not node.variable and not _VERSION.fullmatch(version):
            self.findings.tell(node, "no version of Azure's", "write providers.*.api_version")
            return None, url
        return version, url

    def _region(self, node: Node) -> str | None:
        if node and not node.variable and not _REGION.fullmatch(node.text or ""):
            self.findings.tell(node, "no region of AWS's", "write providers.*.region")
            return None
        return node.text

    def _keyed(self, entry: Entry, params: Node, model: Model, vendor: Vendor, base: Node) -> Entry:
        if model.vendor == "bedrock":
            return self._signed(entry, params)
        for name in ("azure_ad_token", "api_key"):
            node = params[name]
            text = node.text
            if not text or (text.lower() in NO_KEYS and (base or vendor.key is None)):
                continue
            wished = f"{self._title(entry, model)}_API_KEY"
            reference = self.secrets.reference(node, wished)
            if name == "azure_ad_token":
                advice = "it is sent as written; renew the variable before it runs out"
                self.findings.tell(node, "a token that expires", advice)
                return replace(entry, api_key=reference, auth="bearer")
            return replace(entry, api_key=reference)
        return replace(entry, api_key=self._usual(entry, params, vendor, base))

    def _usual(self, entry: Entry, params: Node, vendor: Vendor, base: Node) -> str | None:
        """The key where the deployment has none: the vendor's variable, at the vendor's alone."""
        if vendor.key is None or params["api_key"]:
            return None
        if base and entry.preset is None and vendor.preset is not None:
            self.findings.tell(
                base,
                f"no key is sent there, where LiteLLM would send {vendor.key}",
                "write api_key if the server wants one",
            )
            return None
        return f"${{{vendor.key}}}"

    def _signed(self, entry: Entry, params: Node) -> Entry:
        access, secret = params["aws_access_key_id"], params["aws_secret_access_key"]
        if params["api_key"]:
            return replace(
                entry, api_key=self.secrets.reference(params["api_key"], "BEDROCK_API_KEY")
            )
        if access and (access.variable, secret.variable) != (
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ):
            named = "_".join(filter(None, (access.variable, secret.variable))) or "in clear"
            pair = "BEDROCK_" + re.sub(r"[^A-Z0-9]", "_", named.upper())
            if not access.variable:
                pair = self.secrets.new_name("BEDROCK_CREDENTIALS")
            advice = f"set {pair} to ACCESS:SECRET, or ACCESS:SECRET:TOKEN"
            self.findings.tell(access, "AWS credentials of this deployment", advice)
            return replace(entry, api_key=f"${{{pair}}}", auth="sigv4")
        profile = any(params[name] for name in ("aws_profile_name", "aws_role_name"))
        return replace(entry, auth="sigv4") if profile else entry

    def _title(self, entry: Entry, model: Model) -> str:
        if entry.preset is not None:
            return entry.preset
        return (
            _place(entry.base_url or "") if model.vendor == "openai" else _plain(model.vendor or "")
        )

    def _limit(self, node: Node) -> float | str | None:
        number = node.positive
        if number is None and node:
            self.findings.tell(node, "no number above 0", "the provider is not limited")
        return number if number is None or isinstance(number, str) else max(1, int(number))

    def _timeouts(self, params: Node) -> tuple[tuple[str, float | str], ...]:
        return timeouts(
            params["timeout"] or params["request_timeout"],
            params["stream_timeout"],
            self.timeout,
        )

    def _headers(self, params: Node) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for node in (*params["extra_headers"].entries(), *params["headers"].entries()):
            if not _HEADER.fullmatch(node.key) or not (node.text or "\n").isprintable():
                advice = "write providers.*.headers"
                self.findings.tell(node, "a header that can't be sent", advice)
            elif _is_secret_header(node.key) and not node.variable:
                found[node.key] = self.secrets.reference(node, f"HEADER_{node.key}")
            else:
                found[node.key] = node.text or ""
        for name, header in (
            ("organization", "OpenAI-Organization"),
            ("project", "OpenAI-Project"),
        ):
            if params[name].text and str(params[name].text).isprintable():
                found[header] = str(params[name].text)
        return tuple(found.items())


def timeouts(
    whole: Node, stream: Node, otherwise: tuple[tuple[str, float | str], ...] = ()
) -> tuple[tuple[str, float | str], ...]:
    """LiteLLM's `timeout` and `stream_timeout` as a provider's; `otherwise` where none is said."""
    known = dict(otherwise)
    response, first = whole.positive, stream.positive
    if response is not None:
        known = {"first_token": response, "response": response}
    if first is not None:
        known["first_token"] = first
    longest = max((n for n in known.values() if isinstance(n, int | float)), default=0)
    if longest > 600:
        known["total"] = longest
    return tuple(
        (name, known[name]) for name in ("first_token", "response", "total") if name in known
    )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "provider"


def _place(url: str) -> str:
    """What a server is called after its address."""
    if url.startswith("${"):
        return _plain(url[2:].partition(":")[0].partition("}")[0].lower().removesuffix("_base"))
    parts = urlsplit(url)
    labels = [label for label in (parts.hostname or "").split(".") if label not in _USUAL]
    if not labels or labels[-1].isdigit() or labels == ["localhost"]:
        return f"server-{parts.port}" if parts.port else "server"
    return _plain(labels[0])


def _base_of(params: Node) -> Node:
    return params["api_base"] or params["base_url"]


def _kind(vendor: Vendor, base: Node) -> Entry:
    """A preset; OpenAI's own prefix with another address is a server of its dialect."""
    host = urlsplit(base.text or "").hostname or ""
    if vendor.preset == "openai" and base and host != "api.openai.com":
        return Entry(dialect="openai")
    if host.endswith(".models.ai.azure.com"):
        return Entry(dialect="openai")
    if vendor.preset == "azure" and "/anthropic" in (base.text or ""):
        return Entry(dialect="anthropic")
    return Entry(dialect="openai") if vendor.preset is None else Entry(preset=vendor.preset)


def _azure_root(url: str, is_dated: bool) -> str:
    """The URL as the preset wants it: the resource alone with a version, else as far as /v1."""
    parts = urlsplit(url)
    path = parts.path.partition("/openai")[0] if is_dated else parts.path
    path = path.removesuffix("/models")
    if not is_dated and "/openai/deployments" in path:
        path = path.partition("/openai")[0]
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def _ends_in_version(url: str) -> bool:
    return re.search(r"/v\d+(beta|alpha)?\d*$", urlsplit(url).path) is not None


def _is_secret_header(name: str) -> bool:
    plain = name.lower()
    return any(word in plain for word in ("auth", "key", "token", "secret", "cookie", "pass"))


def everyone(secrets: Secrets) -> dict[str, tuple[str, Entry]]:
    """Every vendor of LiteLLM's that has a preset and is known by its key alone, by prefix."""
    return {
        prefix: (vendor.preset, Entry(preset=vendor.preset, api_key=f"${{{vendor.key}}}"))
        for prefix, vendor in VENDORS.items()
        if vendor.preset and vendor.key and presets.PRESETS[vendor.preset].base_url
    }
