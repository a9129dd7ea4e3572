"""What a caller asks of Turnout itself: `x-turnout-…` headers, and the body's own fields for it.

OpenAI's `user` and `metadata` (keys `service_name`, `job_id`, `task`; Anthropic's `user_id`) mean
the same as the headers; a header wins. The rest of `metadata` goes into the ledger.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Scope

from proxy.errors import InvalidRequest
from proxy.types import Controls, Principal, Role

METADATA_LIMIT = 8192  # bytes of JSON that the ledger takes with a request
VALUE_LIMIT = 256  # characters of a name or id

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_PREFIX = b"x-turnout-"
_ACCOUNT = re.compile(r"user_[0-9a-f]{32}")
"""The id of an account (`proxy.users`)."""

_WHOLE = frozenset({b"x-turnout-metadata", b"x-turnout-cache"})
"""Headers that are not cut to a name's length."""

NOTHING_ASKED = Controls()
_BY_BODY = frozenset({"user", "metadata"})
_FROM_METADATA = {"service_name": "service", "job_id": "job", "task": "task", "user_id": "user"}


def first_of_each(scope: Scope) -> Mapping[bytes, bytes]:
    """The headers by name; of one that is given twice the first counts."""
    return dict(reversed(scope["headers"]))


def read(headers: Mapping[bytes, bytes], body: Mapping[str, Any]) -> Controls:
    """The controls of a request. Raises `InvalidRequest` naming the header or field."""
    given = {
        name[len(_PREFIX) :].decode("latin-1"): _text(name, value)
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    if not given and _BY_BODY.isdisjoint(body):
        return NOTHING_ASKED
    metadata = dict(body.get("metadata") or {})
    from_body = {
        control: str(metadata.pop(field))[:VALUE_LIMIT]
        for field, control in _FROM_METADATA.items()
        if metadata.get(field) is not None
    }
    check_forwardable(from_body.get("task", ""), "metadata.task")  # answers have it in a header
    metadata.update(_metadata(given.get("metadata")))
    if len(orjson.dumps(metadata)) > METADATA_LIMIT:
        raise InvalidRequest(f"metadata may be {METADATA_LIMIT} bytes at most", param="metadata")
    return Controls(
        task=given.get("task") or from_body.get("task"),
        provider=given.get("provider"),
        fallback=_switch(given.get("fallback")),
        timeout=_seconds(given.get("timeout")),
        user=given.get("user")
        or (str(body.get("user") or "")[:VALUE_LIMIT] or None)
        or from_body.get("user"),
        service=given.get("service") or from_body.get("service"),
        job=given.get("job") or from_body.get("job"),
        metadata=metadata,
        cache=given.get("cache"),
    )


def user_of(principal: Principal, asked: Controls) -> str | None:
    """Whose usage a call is: the authenticated user's, else whom the caller names.

    Only an operator is believed who names an account: a key that nobody owns could else put its
    calls on somebody's bill.
    """
    if principal.user_id is not None:
        return principal.user_id
    is_trusted = principal.role in (Role.ADMIN, Role.SERVICE)
    if asked.user is not None and _ACCOUNT.fullmatch(asked.user) and not is_trusted:
        return None
    return asked.user


def check_forwardable(value: str, name: str) -> None:
    """Raises `InvalidRequest` for a value with CR, LF, NUL or the like: no header may have it."""
    if _CONTROL.search(value):
        message = f"{name} has a control character (CR, LF, NUL …), which no header may carry"
        raise InvalidRequest(message, param=name, code="invalid_header")


def _text(name: bytes, value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    check_forwardable(text, name.decode("latin-1"))
    if name == b"x-turnout-cache" and len(text) > 4 * VALUE_LIMIT:  # a cut would lose directives
        message = f"x-turnout-cache may be {4 * VALUE_LIMIT} characters at most"
        raise InvalidRequest(message, param="x-turnout-cache")
    return text if name in _WHOLE else text[:VALUE_LIMIT]


def _metadata(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"x-turnout-metadata is not valid JSON: {error}"
        raise InvalidRequest(message, param="x-turnout-metadata") from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("x-turnout-metadata must be an object", param="x-turnout-metadata")
    return parsed


def _switch(text: str | None) -> bool:
    if text is None or text.lower() in ("on", "true", "1"):
        return True
    if text.lower() in ("off", "false", "0"):
        return False
    raise InvalidRequest("x-turnout-fallback is 'on' or 'off'", param="x-turnout-fallback")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        message = "x-turnout-timeout is a number of seconds, more than 0 and at most 3600"
        raise InvalidRequest(message, param="x-turnout-timeout")
    return seconds
