"""The sections of the configuration as frozen values. `proxy.config` reads and checks them."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from adapters.base import Auth, Timeouts
from adapters.quirks import NO_QUIRKS, Quirks
from proxy import presets, prompts
from proxy.presets import Preset
from proxy.units import Bytes, Seconds, Share

DIALECTS = ("openai", "anthropic", "gemini", "ollama", "bedrock", "llamacpp")
DEFAULT_URLS = {
    "anthropic": "https://api.anthropic.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "ollama": "http://127.0.0.1:11434",
}
STRATEGIES = ("ordered", "weighted", "round_robin", "latency", "cheapest")
_SAME_STRATEGY = {
    "round-robin": "round_robin",
    "least-latency": "latency",
    "least_latency": "latency",
}
AUTHS = {
    "bearer": Auth.BEARER,
    "api-key": Auth.API_KEY,
    "x-api-key": Auth.X_API_KEY,
    "x-goog-api-key": Auth.GOOGLE,
    "sigv4": Auth.SIGV4,
}
_DIALECT_AUTHS = {"anthropic": Auth.X_API_KEY, "gemini": Auth.GOOGLE}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Section(BaseModel):
    """Frozen; a field that is not known is an error; secrets don't show."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a URL without user, password, query or fragment")
    return value.rstrip("/")


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.strip():
        raise ValueError("must not be empty")
    if _CONTROL.search(text) or not text.isascii():
        raise ValueError("must be plain ASCII without control characters")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Positive = Annotated[int, Field(gt=0)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=40)]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=40)]


class ServerSection(Section):
    """Where and how Turnout listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    body_limit: Bytes = 20 * 2**20
    drain: Seconds = 30.0
    send_timeout: Annotated[Seconds, Field(gt=0)] = 30.0
    read_timeout: Annotated[Seconds, Field(gt=0)] = 15.0
    max_requests: Positive = 2000
    max_lag: Annotated[Seconds, Field(gt=0)] = 1.0
    access_log: bool = False
    private_providers: bool = False


class StorageSection(Section):
    """Where the books and the shared state are kept."""

    database: str = "sqlite:///turnout.db"
    redis: Secret | None = None
    redis_timeout: Annotated[Seconds, Field(gt=0)] = 0.05
    replicas: Positive = 1


class JwtSection(Section):
    """Tokens that Turnout itself gives out at login."""

    secret: Secret | None = None
    expires: Seconds = 3600.0


class OidcSection(Section):
    """Tokens of an identity provider."""

    issuer: HttpUrl
    audience: str


class AuthSection(Section):
    """The credentials that open doors."""

    master_key: Secret | None = None
    encryption_key: Secret | None = None
    jwt: JwtSection = JwtSection()
    oidc: OidcSection | None = None
    service_keys: tuple[Secret, ...] = ()
    anonymous: bool = False


class TimeoutSection(Section):
    """Seconds that a provider may take."""

    connect: Annotated[Seconds, Field(gt=0)] = 3.0
    first_token: Annotated[Seconds, Field(gt=0)] = 60.0
    response: Annotated[Seconds, Field(gt=0)] = 300.0
    idle: Annotated[Seconds, Field(gt=0)] = 60.0
    total: Annotated[Seconds, Field(gt=0)] = 600.0


class RetrySection(Section):
    """How often a failed attempt is made again."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 4
    budget: Share = 0.2
    backoff: tuple[Seconds, Seconds] = (0.5, 8.0)


class BreakerSection(Section):
    """When a failing provider is left alone, and for how long."""

    failures: Positive = 5
    ratio: Share = 0.5
    window: Seconds = 30.0
    open: Seconds = 30.0
    max_open: Seconds = 300.0
    successes: Positive = 2


class Provider(Section):
    """One provider: where it is, what it speaks, and which keys open it."""

    preset: str | None = None
    dialect: Literal["openai", "anthropic", "gemini", "ollama", "bedrock", "llamacpp"]
    base_url: HttpUrl | None = None
    api_key: Secret | None = None
    api_keys: tuple[Secret, ...] = ()
    auth: Literal["bearer", "api-key", "x-api-key", "x-goog-api-key", "sigv4"] | None = None
    api_version: Version | None = None
    region: Region | None = None
    model: str | None = None
    drop_params: bool = False
    responses: bool | None = None
    priority: int = 10
    rpm: Positive | None = None
    tpm: Positive | None = None
    timeout: TimeoutSection = TimeoutSection()
    retry: RetrySection | None = None
    breaker: BreakerSection | None = None
    headers: dict[str, str] = {}
    allow_private: bool = False
    probe: Annotated[Seconds, Field(ge=1)] | None = None
    models: tuple[str, ...] = ()
    _off: str | None = PrivateAttr(default=None)
    _lacks_key: bool = PrivateAttr(default=False)
    _public_only: bool = PrivateAttr(default=False)
    _by_environment: bool = PrivateAttr(default=False)
    _is_locked: bool = PrivateAttr(default=False)

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        wrong = None if name is None else presets.unknown(name)
        if wrong:
            raise ValueError(wrong)
        return name

    @field_validator("headers")
    @classmethod
    def _plain(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if _CONTROL.search(name + value):
                raise ValueError(f"header {name!r} has a control character")
        return headers

    @model_validator(mode="before")
    @classmethod
    def _known_url(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        filled = presets.with_defaults(given)
        if "base_url" not in filled:
            known = DEFAULT_URLS.get(str(filled.get("dialect")))
            if known:
                return filled | {"base_url": known}
        return filled

    @model_validator(mode="after")
    def _complete(self) -> "Provider":
        if self.base_url is None and self.dialect != "llamacpp" and not self._may_be_placed_later():
            raise ValueError(f"a provider of dialect {self.dialect} needs a base_url")
        if self.dialect == "llamacpp" and self.model is None and self.base_url is None:
            raise ValueError("a provider of dialect llamacpp needs a model")
        if self.api_version is not None and "/openai" in urlsplit(self.base_url or "").path:
            raise ValueError("with an api_version the base_url ends before /openai")
        if self.auth == "sigv4" and self.dialect != "bedrock":
            raise ValueError("auth sigv4 is for dialect bedrock")
        return self

    def _may_be_placed_later(self) -> bool:
        """Its preset makes a URL of what the environment says; it is off when that is silent."""
        return self.preset is not None and presets.PRESETS[self.preset].base_url is None

    @property
    def off(self) -> str | None:
        """Why the provider is off; None when it is on."""
        return self._off

    @property
    def lacks_key(self) -> bool:
        """Whether it is off for want of a key alone: with a caller's own key it can be asked."""
        return self._lacks_key

    @property
    def public_only(self) -> bool:
        """Whether it may be at a public address only: the file is trusted, what is made through
        the API is not."""
        return self._public_only

    @property
    def is_by_environment(self) -> bool:
        """Whether its key came from a variable."""
        return self._by_environment

    def filled_by_environment(self) -> "Provider":
        """A copy whose key came from a variable."""
        copy = self.model_copy()
        copy._by_environment = True
        return copy

    @property
    def is_locked(self) -> bool:
        """Whether it is off because its key is there and can't be opened."""
        return self._is_locked

    def switched_off(
        self, reason: str, lacks_key: bool = False, is_locked: bool = False
    ) -> "Provider":
        """A copy that is off."""
        copy = self.model_copy()
        copy._off, copy._lacks_key, copy._is_locked = reason, lacks_key, is_locked
        return copy

    def opened_by(self, key: SecretStr) -> "Provider":
        """A copy with that key alone; on, if it was off for want of one."""
        copy = self.model_copy(update={"api_key": key, "api_keys": ()})
        if self._lacks_key:
            copy._off, copy._lacks_key, copy._is_locked = None, False, False
        return copy

    def kept_public(self) -> "Provider":
        """A copy that is connected to at public addresses only."""
        copy = self.model_copy()
        copy._public_only = True
        return copy

    @property
    def keys(self) -> tuple[SecretStr, ...]:
        """Every key, each a target of its own."""
        return ((self.api_key,) if self.api_key else ()) + self.api_keys

    @property
    def known_models(self) -> tuple[str, ...]:
        """What it lists, or is; empty where that is not written down."""
        return self.models or ((self.model,) if self.model else ())

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(**self.timeout.model_dump())

    @property
    def vendor(self) -> Preset | None:
        """The preset, or the one whose host the URL names; None where the dialect is another's."""
        if self.preset is not None:
            found: Preset | None = presets.PRESETS[self.preset]
        else:
            found = presets.by_host(self.base_url or "")
        return found if found is not None and found.dialect == self.dialect else None

    @property
    def sent_by(self) -> Auth:
        """How the credential is sent: as written, as the vendor wants it, as the dialect does."""
        if self.auth is not None:
            return AUTHS[self.auth]
        if self.dialect == "bedrock":
            return Auth.BEARER if self.keys else Auth.SIGV4
        if self.vendor is not None and self.vendor.auth is not None:
            return self.vendor.auth
        return _DIALECT_AUTHS.get(self.dialect, Auth.BEARER)

    @property
    def quirks(self) -> Quirks:
        """What its vendor does otherwise with a request."""
        return self.vendor.quirks if self.vendor else NO_QUIRKS

    @property
    def takes_stream_options(self) -> bool:
        return self.vendor.takes_stream_options if self.vendor else True

    @property
    def has_responses(self) -> bool | None:
        """Whether it has OpenAI's Responses API; None when only a try can tell."""
        if self.responses is not None:
            return self.responses
        if self.api_version is not None:
            return False  # below a deployment, Azure has none
        return self.vendor.has_responses if self.vendor else None

    @property
    def aws_region(self) -> str | None:
        """The region that requests are signed for: the field, or the URL's."""
        return self.region or presets.region_of(self.base_url or "")


class RouteTarget(Section):
    """One target of a route: `provider/model`, or a provider where a wildcard names the model."""

    target: str
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"target": given} if isinstance(given, str) else given


class Route(Section):
    """Where a name leads. Written as a target, a list of targets, or in full."""

    strategy: Literal["ordered", "weighted", "round_robin", "latency", "cheapest"] = "ordered"
    targets: Annotated[tuple[RouteTarget, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"targets": [given]}
        return {"targets": given} if isinstance(given, list) else given

    @field_validator("strategy", mode="before")
    @classmethod
    def _one_spelling(cls, given: Any) -> Any:
        return _SAME_STRATEGY.get(given, given) if isinstance(given, str) else given


class TaskCache(Section):
    """What a task says of the cache; what it leaves out is as for all."""

    enabled: bool | None = None
    ttl: Annotated[Seconds, Field(gt=0)] | None = None
    semantic: bool | None = None
    max_wrong: Annotated[Share, Field(gt=0, le=0.5)] | None = None


Template = Annotated[str, AfterValidator(prompts.checked)]


class Prompt(Section):
    """What a task says to the model: templates that a request's context is put into."""

    system: Template | None = None
    user: Template | None = None


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value.get("type", "object"), str | list):
        raise ValueError("must be a JSON schema: its type is a name or a list of names")
    if not isinstance(value.get("properties", {}), dict):
        raise ValueError("must be a JSON schema: its properties are an object")
    if not isinstance(value.get("required", []), list):
        raise ValueError("must be a JSON schema: what is required is a list")
    return value


class Task(Route):
    """A named job: its targets, the parameters that it fills in, how it is billed. What
    `/api/llm` makes of it besides: its prompt, the form of its answer, and what it asks for."""

    defaults: dict[str, Any] = {}
    usage_type: Literal["text", "image", "video"] = "text"
    cache: TaskCache = TaskCache()
    prompt: Prompt = Prompt()
    answer_schema: Annotated[dict[str, Any], AfterValidator(_schema)] | None = Field(
        default=None, alias="schema"
    )
    endpoint: Literal["chat", "images"] = "chat"


def billed_by_name(tasks: dict[str, Task]) -> dict[str, Task]:
    """Tasks that don't say how they are billed: `image_generation` as image, `video_…` as video,
    all others as text."""
    billed = {}
    for name, task in tasks.items():
        kind = "image" if name == "image_generation" else "text"
        kind = "video" if name.startswith("video_") else kind
        is_said = "usage_type" in task.model_fields_set
        billed[name] = task if is_said else task.model_copy(update={"usage_type": kind})
    return billed


DataPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[\w-]+)*$", max_length=200)]
"""Where something is among data: names, and numbers in lists, with dots between."""


class Step(Section):
    """One task of a pipeline: under which name its result is kept, when and how often it runs,
    and what is put into its context besides."""

    task: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*$")] | None = None
    when: DataPath | None = None
    each: DataPath | None = None
    added: dict[str, DataPath] = Field(default={}, alias="with")

    @property
    def key(self) -> str:
        """The name of its result."""
        return self.name or self.task


class Pipeline(Section):
    """Tasks that run one after another for one request."""

    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _each_once(self) -> "Pipeline":
        if not 1 <= len(self.steps) <= 50:
            raise ValueError("must have 1 to 50 steps")
        keys = [step.key for step in self.steps]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"two steps are named {twice!r}; give one another name")
        return self


class Backend(Section):
    """A service of yours that actions are sent to."""

    base_url: HttpUrl
    headers: dict[str, Secret] = {}
    timeout: Annotated[Seconds, Field(gt=0, le=600)] = 30.0


class Action(Section):
    """A request to a backend. `{name}` in its path is a member of the request's context."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: Annotated[str, Field(pattern=r"^(/([\w.~-]+|\{[A-Za-z_][\w.-]*\}))+$", max_length=500)]
    backend: str

    @field_validator("path")
    @classmethod
    def _plain(cls, path: str) -> str:
        if any(part in (".", "..") for part in path.split("/")):
            raise ValueError("must be a path without . and ..")
        return path


class SemanticSection(Section):
    """The cache by meaning. `shadow` is the share of hits that are checked by a fresh answer."""

    enabled: bool = False
    serve: bool = True
    max_wrong: Annotated[Share, Field(gt=0, le=0.5)] = 0.01
    embedder: Annotated[str, Field(min_length=1)] = "minilm"
    floor: Share = 0.6
    shadow: Share = 0.05
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.3
    allow: tuple[Literal["volatile", "personal"], ...] = ()
    max_entries: Annotated[int, Field(gt=0, le=10_000_000)] = 100_000


class CacheSection(Section):
    """Answers that are kept. `temperature` is the highest of a request that may have one."""

    enabled: bool = True
    ttl: Annotated[Seconds, Field(gt=0)] = 3600.0
    max_bytes: Annotated[Bytes, Field(gt=0)] = 64 * 2**20
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    epoch: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    semantic: SemanticSection = SemanticSection()


class LimitsSection(Section):
    """What a key may use, if it says nothing itself."""

    rpm: Positive | None = None
    tpm: Positive | None = None
    rpd: Positive | None = None
    tpd: Positive | None = None
    concurrency: Positive | None = None
    budget: Annotated[float, Field(gt=0)] | None = None


class PriceOverride(Section):
    """USD for a million tokens, and for one image."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None
    cache_write: Annotated[float, Field(ge=0)] | None = None
    image: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_the_piece(cls, given: Any) -> Any:
        """An image's price may stand alone."""
        if isinstance(given, dict) and given.get("image") is not None:
            return {"input": 0, "output": 0} | given
        return given


class PricingSection(Section):
    """Prices that the catalogue lacks or has wrong, and the currency of reports."""

    currency: str = "USD"
    rates: dict[str, Annotated[float, Field(gt=0)]] = {}
    overrides: dict[str, PriceOverride] = {}


def _webhook(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ValueError("must be an http or https URL without fragment")
    return value


def _whole_percent(value: float) -> float:
    if not 0 < round(100 * value) == round(100 * value, 6):
        raise ValueError("must be a whole percentage from 1% to 100%")
    return value


SecretUrl = Annotated[Secret, AfterValidator(_webhook)]
"""A URL that is a secret itself, as those of many webhooks are."""


class AlertsSection(Section):
    """Who is told when a share of a budget is spent, and of which shares."""

    webhook: SecretUrl | None = None
    secret: Secret | None = None
    thresholds: tuple[Annotated[Share, AfterValidator(_whole_percent)], ...] = (0.5, 0.8, 1.0)
    every: Annotated[Seconds, Field(ge=1)] = 60.0

    @property
    def percents(self) -> tuple[int, ...]:
        """The thresholds, lowest first."""
        return tuple(sorted({round(100 * share) for share in self.thresholds}))


Project = Annotated[str, Field(pattern=r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1024}$")]


class BigQuerySection(Section):
    """A table of BigQuery's. An endpoint over plain HTTP is an emulator: it gets no credential."""

    project: Project
    dataset: Identifier
    table: Identifier
    credentials_file: str | None = None
    endpoint: HttpUrl | None = None


class FirestoreSection(Section):
    """A collection of Firestore's."""

    project: Project
    database: Annotated[str, Field(pattern=r"^(\(default\)|[a-z0-9-]{1,63})$")] = "(default)"
    collection: Identifier = "llm_usage"
    credentials_file: str | None = None
    emulator: Annotated[str, Field(pattern=r"^[^/\s]+:\d{1,5}$")] | None = None


class SinksSection(Section):
    """Where usage is sent, beside the books."""

    bigquery: BigQuerySection | None = None
    firestore: FirestoreSection | None = None


class LedgerSection(Section):
    """How the books are kept."""

    log_bodies: bool = False
    retention: Seconds = 400 * 86400.0
    on_full: Literal["serve", "reject"] = "serve"


class TracesSection(Section):
    """Where spans are sent, by OTLP over HTTP. What is None the `OTEL_…` variables say."""

    endpoint: HttpUrl | None = None
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Secret] = {}
    sample: Share | None = None


class LogsSection(Section):
    """The lines on stderr."""

    format: Literal["text", "json"] = "text"


class TelemetrySection(Section):
    """What Turnout tells of itself, beside its books."""

    traces: TracesSection = TracesSection()
    logs: LogsSection = LogsSection()
