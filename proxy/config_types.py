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
from proxy import presets
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


class StorageSection(Section):
    """Where the books and the shared state are kept."""

    database: str = "sqlite:///turnout.db"
    redis: Secret | None = None
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

    def switched_off(self, reason: str) -> "Provider":
        """A copy that is off."""
        copy = self.model_copy()
        copy._off = reason
        return copy

    @property
    def keys(self) -> tuple[SecretStr, ...]:
        """Every key, each a target of its own."""
        return ((self.api_key,) if self.api_key else ()) + self.api_keys

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


class Task(Route):
    """A named job: its targets, the parameters that it fills in, how it is billed."""

    defaults: dict[str, Any] = {}
    usage_type: Literal["text", "image", "video"] = "text"
    cache: TaskCache = TaskCache()


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


class LedgerSection(Section):
    """How the books are kept."""

    log_bodies: bool = False
    retention: Seconds = 400 * 86400.0
    on_full: Literal["serve", "reject"] = "serve"
