"""Requests to services of the operator's own, which `/api/llm` passes a task on to.

Host and path are the configuration's. A request fills in the path's parameters only, and no value
of one can be more than one part of the path.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from adapters.base import JsonObject, Outgoing
from proxy.config import Config
from proxy.config_types import Action, Backend
from proxy.errors import UE, InvalidRequest, NotFound, Upstream
from proxy.prompts import find
from proxy.upstream import Fetched, Unreachable
from proxy.upstream import Upstream as Wire

log = logging.getLogger("turnout.actions")

VALUE_LIMIT = 256  # characters of a path's parameter
MESSAGE_LIMIT = 500  # characters of a backend's message that are passed on
REPLY_LIMIT = 16 * 1024 * 1024  # bytes of a backend's answer
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
"""Statuses that are about Turnout's own credential at the backend, and nothing to the caller."""


class Origin(NamedTuple):
    """Whom an action is for; the backend gets it in headers. A key is there for who is no user."""

    request_id: str
    user: str | None = None
    key_id: str | None = None
    job: str | None = None


class Actions:
    """Runs the actions of a configuration."""

    def __init__(self, upstream: Wire) -> None:
        self._upstream = upstream

    async def run(self, config: Config, name: str, context: JsonObject, origin: Origin) -> Any:
        """The backend's JSON; None where it says nothing.

        Raises `Upstream` with 501 where there is no backend, the backend's own status where it is
        a 4xx, else 502; `InvalidRequest`; `NotFound`.
        """
        action = config.actions[name]
        backend = config.backends.get(action.backend)
        if backend is None:
            raise _not_configured(name, action)
        outgoing = outgoing_for(action, backend, context, origin)
        try:
            fetched = await self._upstream.fetch(outgoing, backend.timeout, REPLY_LIMIT)
        except Unreachable as error:
            log.warning("action %s failed: backend %s: %s", name, action.backend, error)
            raise _failed(f"backend {action.backend!r} gave no answer: {error}") from None
        log.info("action %s: backend %s answered %d", name, action.backend, fetched.status)
        return _result(action, fetched)


def outgoing_for(action: Action, backend: Backend, context: JsonObject, origin: Origin) -> Outgoing:
    """The request that an action is for this context. Raises `InvalidRequest`."""
    parts = [_part(part, context) for part in action.path.split("/")]
    headers = {name: value.get_secret_value() for name, value in backend.headers.items()}
    headers |= {"accept": "application/json", "x-request-id": origin.request_id}
    known = {
        "x-turnout-user": origin.user,
        "x-turnout-key-id": origin.key_id,
        "x-turnout-job": origin.job,
    }
    for header, value in known.items():
        if value is not None:
            headers[header] = quote(value, safe=" !#$&'()*+,/:;=?@[]|")
    body = b""
    if action.method != "GET":
        headers["content-type"] = "application/json"
        body = _json(context)
    return Outgoing(backend.base_url + "/".join(parts), headers, body, method=action.method)


def _json(context: JsonObject) -> bytes:
    try:
        return orjson.dumps(context)
    except TypeError:
        raise InvalidRequest("'context' has too many levels", param="context") from None


def _part(part: str, context: JsonObject) -> str:
    """A part of the path; a parameter is taken from the context and encoded."""
    if not part.startswith("{"):
        return part
    name = part[1:-1]
    value = find(context, name)
    where = f"context.{name}"
    if value is None:
        raise InvalidRequest(f"{where!r} is missing", param=where)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise InvalidRequest(f"{where!r} must be an id: a string or a number", param=where)
    text = str(value)
    is_odd = any(c in "/\\" or not c.isprintable() for c in text)
    if is_odd or ".." in text or text == "." or len(text) > VALUE_LIMIT:
        message = f"{where!r} must be an id of {VALUE_LIMIT} characters at most, without / and .."
        raise InvalidRequest(message, param=where)
    return quote(text, safe="")


def _not_configured(name: str, action: Action) -> Upstream:
    message = (
        f"{name!r} is passed on to the backend {action.backend!r}, and none is configured: "
        f"put backends.{action.backend}.base_url into the configuration"
    )
    headers = {"x-should-retry": "false"}
    return Upstream(
        message, status=501, type="server_error", code="backend_not_configured", headers=headers
    )


def _result(action: Action, fetched: Fetched) -> Any:
    status, body = fetched.status, fetched.body
    if 200 <= status < 300:
        return _read(action, body)
    said = _message(body) or f"backend {action.backend!r} answered {status}"
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound(said)
    if 400 <= status < 500 and status not in REFUSED:
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        raise Upstream(
            said, status=status, type=kind, code="backend_error", headers=_kept(fetched.headers)
        )
    raise _failed(f"backend {action.backend!r} failed with status {status}: {said}")


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    named = {name.lower(): value for name, value in headers.items()}
    return {"retry-after": named["retry-after"]} if "retry-after" in named else {}


def _read(action: Action, body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _failed(f"backend {action.backend!r} did not answer in JSON") from None


def _message(body: bytes) -> str | None:
    """What an error body says, in any of the usual shapes."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    places = ("error.message", "message", "error", "detail")
    found = (find(said, place) for place in places)
    text = next((each for each in found if isinstance(each, str) and each), None)
    return text and text[:MESSAGE_LIMIT]


def _failed(message: str) -> Upstream:
    return Upstream(message, status=502, type=UE, code="backend_failed")
