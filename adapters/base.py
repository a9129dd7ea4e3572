"""The values that cross the border between the pipeline and a dialect, and the adapter protocol.

An adapter is stateless and pure: four synchronous functions over the values below. It never
touches the network, never sees a principal or a ledger, and never changes an `Ask`: the same
`Ask` is handed to each attempt, whatever its target.

What is made for each request is a named tuple and not a frozen dataclass, which takes four times
as long to make: a sixth of a request's own CPU, when they were measured (docs/performance.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from adapters.quirks import NO_QUIRKS, Quirks

JsonObject = Mapping[str, Any]
Headers = tuple[tuple[str, str], ...]


class Endpoint(StrEnum):
    """What is asked for; the value is its path below an OpenAI-shaped base URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"
    EMBEDDINGS = "/embeddings"
    RESPONSES = "/responses"
    MESSAGES = "/messages"
    COUNT_TOKENS = "/messages/count_tokens"
    IMAGES = "/images/generations"
    TRANSCRIPTIONS = "/audio/transcriptions"
    SPEECH = "/audio/speech"
    MODERATIONS = "/moderations"


class Auth(StrEnum):
    """The header that a credential goes upstream in; SIGV4 signs the request instead."""

    BEARER = "authorization"
    API_KEY = "api-key"
    X_API_KEY = "x-api-key"
    GOOGLE = "x-goog-api-key"
    SIGV4 = "sigv4"


class Ask(NamedTuple):
    """One client's request: the bytes as they came beside what they mean.

    `defaults` are a task's parameters that the request leaves out; `drop` names the top-level
    fields that are Turnout's own and stay here. `drop_params`: what a dialect can't say is left
    out instead of refused. `content_type` is that of `raw`, with its multipart boundary.
    """

    endpoint: Endpoint
    raw: bytes
    body: JsonObject
    stream: bool = False
    wants_usage: bool = False
    defaults: JsonObject = MappingProxyType({})
    drop: frozenset[str] = frozenset()
    headers: Headers = ()
    drop_params: bool = False
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that an upstream may take, from FAULTS' policy."""

    connect: float = 3.0
    first_token: float = 60.0
    response: float = 300.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """One place an ask can be sent to: a model of a provider, through one of its keys.

    `has_responses` says whether it has OpenAI's Responses API; None is to be found out.
    `api_version` is Azure's, `region` AWS's. `is_own`: the key is the caller's own, so that what
    comes of it concerns nobody else. `public_only`: no address but a public one is connected to.
    """

    provider: str
    model: str
    dialect: str
    base_url: str
    api_key: SecretStr | None = None
    credential: int = 0
    headers: Headers = ()
    timeouts: Timeouts = Timeouts()
    takes_stream_options: bool = True
    auth: Auth = Auth.BEARER
    quirks: Quirks = NO_QUIRKS
    api_version: str | None = None
    region: str | None = None
    drop_params: bool = False
    has_responses: bool | None = None
    is_own: bool = False
    public_only: bool = False

    @property
    def id(self) -> str:
        """`provider/model#credential`: what the ledger, latencies and breakers know it by."""
        return f"{self.provider}/{self.model}#{self.credential}"


class Outgoing(NamedTuple):
    """A request as it goes upstream. `dropped` names what had to be left out."""

    url: str
    headers: dict[str, str]
    body: bytes
    dropped: tuple[str, ...] = ()
    method: str = "POST"


class Usage(NamedTuple):
    """Tokens by class.

    `prompt` counts all input, `cached` and `cache_write` are parts of it; `completion` counts
    all billed output, `reasoning` is the part of it that was thought and not said. `images` are
    pictures made, which some providers bill by the piece.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    images: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


def count_of(value: Any) -> int:
    """A number of tokens as an upstream gave it; 0 for what can't be one.

    A bool is no number, and what is over 2**53 no upstream has counted: the books hold 64 bits.
    """
    return value if type(value) is int and 0 < value < 2**53 else 0


class Reply(NamedTuple):
    """A whole answer in the shape asked for. `usage` is None when the upstream gave none."""

    body: bytes
    usage: Usage | None
    text_bytes: int = 0
    content_type: str = "application/json"


class Retry(StrEnum):
    """Where an attempt that failed may be made again."""

    NEVER = "never"
    SAME_TARGET = "same_target"
    NEXT_TARGET = "next_target"


class FailureKind(StrEnum):
    """Why an attempt failed; the ledger's `error_code` of an attempt."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length_exceeded"
    CONTENT_POLICY = "content_policy_violation"
    NOT_FOUND = "model_not_found"
    AUTH = "upstream_auth_failed"
    RATE_LIMIT = "rate_limit_exceeded"
    QUOTA = "insufficient_quota"
    OVERLOADED = "upstream_overloaded"
    SERVER = "upstream_error"
    UNREACHABLE = "upstream_unreachable"
    TIMEOUT = "upstream_timeout"
    INVALID_REPLY = "invalid_upstream_response"
    INTERRUPTED = "stream_interrupted"
    IDLE = "stream_idle_timeout"
    EVENT_TOO_LARGE = "event_too_large"
    STREAM_OPTIONS = "stream_options_refused"
    UNSUPPORTED = "unsupported_parameter"
    NO_RESPONSES = "no_responses_api"
    CIRCUIT_OPEN = "circuit_open"
    NO_ROOM = "provider_limit"
    SHUTTING_DOWN = "server_shutting_down"
    URL_NOT_ALLOWED = "url_not_allowed"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in one attempt. `status` is the upstream's, None when it never answered.

    `type`, `code` and `param` are the upstream's own words, kept for errors that are the
    client's to mend. `retry_after` is in seconds.
    """

    kind: FailureKind
    message: str
    retry: Retry
    status: int | None = None
    retry_after: float | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None


class UpstreamFailure(Exception):
    """Raised where an answer turns out to be none: unreadable, cut short, too large."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


CostOf = Callable[[Usage], float | None]
"""What a usage costs in USD at the target in hand; None when there is no price."""


class StreamTranslator(Protocol):
    """Turns an upstream's stream into OpenAI's, whatever way its bytes are split.

    `feed` gives the client bytes that the upstream's bytes complete. When `failure` is set the
    upstream has reported an error inside the stream: nothing after it counts. `done` says that
    the stream is whole and its end already given out. `finish` is called at the upstream's end
    of file: it gives what is still owed, or raises `UpstreamFailure` for a stream cut short.
    """

    @property
    def usage(self) -> Usage | None: ...

    @property
    def contents(self) -> int:
        """Events so far that carry content: the point of no return is at the first."""
        ...

    @property
    def text_bytes(self) -> int:
        """Of content given out, for an estimate when the upstream counts nothing."""
        ...

    @property
    def skipped(self) -> int:
        """Malformed events."""
        ...

    @property
    def failure(self) -> Failure | None: ...

    @property
    def done(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class Adapter(Protocol):
    """One dialect. See the module's head for what it may not do."""

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """What the dialect itself has; other ways in are bridged to its chat."""
        ...

    def request(self, ask: Ask, target: Target) -> Outgoing: ...

    def reply(self, ask: Ask, body: bytes) -> Reply: ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure: ...

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator: ...
