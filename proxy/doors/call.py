"""One POST endpoint of the data plane: who calls, what is asked, and on to the pipeline.

Each is a plain ASGI application: a stream is written as its chunks arrive, with no response
object between.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from adapters.base import Ask, Endpoint
from proxy.auth import Authenticator
from proxy.client import Client
from proxy.doors import body as bodies
from proxy.doors import controls
from proxy.errors import MethodNotAllowed
from proxy.middleware.usage import RECORD
from proxy.pipeline import Pipeline, Snapshot
from proxy.types import Call, Controls, Principal, Record

Current = Callable[[], Snapshot]
"""The configuration in force now."""

Identify = Callable[[Authenticator, Mapping[bytes, bytes]], Awaitable[Principal]]
"""Who calls, by the headers."""

FORWARDED = (b"openai-beta", b"anthropic-beta", b"anthropic-version")
"""Client headers that mean something to a provider of that dialect; nothing else of a client goes
upstream."""

_FORMS = frozenset({Endpoint.TRANSCRIPTIONS})
"""Endpoints whose body is a form with a file."""

_STREAMED = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES, Endpoint.IMAGES}
)
"""Endpoints that stream with `stream: true`."""


class CallDoor:
    """One POST endpoint of the data plane. Another `identify` lets other callers in."""

    def __init__(
        self,
        endpoint: Endpoint,
        current: Current,
        pipeline: Pipeline,
        identify: Identify = Authenticator.identify,
    ) -> None:
        self._endpoint = endpoint
        self._identify = identify
        self._current = current
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            message = f"{scope['path']} takes POST, not {scope['method']}"
            raise MethodNotAllowed(message, headers={"allow": "POST"})
        snapshot = self._current()
        self._pipeline.admit(snapshot.config.server)
        record: Record = scope[RECORD]
        headers = controls.first_of_each(scope)
        principal = await self._identify(snapshot.auth, headers)
        _admit(record, self._endpoint, principal)
        call = _understand(self._endpoint, principal, headers, await bodies.read(receive))
        _describe(record, call)
        client = Client(scope, snapshot.config.server.send_timeout)
        await self._pipeline.serve(snapshot, call, record, client)


def _admit(record: Record, endpoint: Endpoint, principal: Principal) -> None:
    record.admitted = True
    record.endpoint = endpoint
    record.principal = principal


def _understand(
    endpoint: Endpoint, principal: Principal, headers: Mapping[bytes, bytes], raw: bytes
) -> Call:
    """Step 2: bytes -> a call. Raises `InvalidRequest`."""
    content_type = "application/json"
    if endpoint in _FORMS:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        body = bodies.parse_form(raw, content_type)
    else:
        body = bodies.parse(raw)
    bodies.check(endpoint, body)
    name = bodies.model_of(endpoint, body)
    controls.check_forwardable(name, "model")
    options = body.get("stream_options") or {}
    ask = Ask(
        endpoint=endpoint,
        raw=raw,
        body=body,
        stream=_is_stream(endpoint, body),
        wants_usage=options.get("include_usage") is True,
        drop=_own_fields(endpoint, body),
        headers=_forwarded(headers),
        drop_params=body.get("drop_params") is True,
        content_type=content_type,
    )
    return Call(principal, ask, name, controls.read(headers, body))


def _is_stream(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    if endpoint in _STREAMED:
        return body.get("stream") is True
    if endpoint is Endpoint.TRANSCRIPTIONS:
        return body.get("stream") == "true"
    return endpoint is Endpoint.SPEECH and body.get("stream_format") == "sse"


def _own_fields(endpoint: Endpoint, body: Mapping[str, Any]) -> frozenset[str]:
    """Members that are Turnout's and stay here. OpenAI takes `metadata` with `store: true` only,
    and refuses it else; Anthropic's `metadata` is its own."""
    own = set()
    if "drop_params" in body:
        own.add("drop_params")
    if "metadata" in body and body.get("store") is not True and endpoint not in _ANTHROPIC:
        own.add("metadata")
    return frozenset(own) if own else _NOTHING


_ANTHROPIC = frozenset({Endpoint.MESSAGES, Endpoint.COUNT_TOKENS})
_NOTHING = frozenset[str]()


def _forwarded(headers: Mapping[bytes, bytes]) -> tuple[tuple[str, str], ...]:
    found = []
    for name in FORWARDED:
        if name in headers:
            value = headers[name].decode("latin-1")
            controls.check_forwardable(value, name.decode())
            found.append((name.decode(), value))
    return tuple(found)


def _describe(record: Record, call: Call) -> None:
    asked: Controls = call.controls
    record.name = call.name
    record.stream = call.ask.stream
    record.user = controls.user_of(call.principal, asked)
    record.service, record.job = asked.service, asked.job
    record.metadata = asked.metadata
