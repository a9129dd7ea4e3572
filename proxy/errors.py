"""Everything that Turnout answers instead of an answer.

    TurnoutError                  status  type                        code
    ├── InvalidRequest            400     invalid_request_error       (given)
    ├── Unauthenticated           401     invalid_request_error       invalid_api_key
    ├── Forbidden                 403     permission_error            forbidden
    ├── NotFound                  404     invalid_request_error       not_found
    │   └── ModelNotFound         404     invalid_request_error       model_not_found
    ├── Conflict                  409     invalid_request_error       conflict
    ├── MethodNotAllowed          405     invalid_request_error       method_not_allowed
    ├── TooLarge                  413     invalid_request_error       request_too_large
    ├── Unprocessable             422     invalid_request_error       invalid_value
    ├── LimitExceeded             429     rate_limit_error            rate_limit_exceeded
    │   └── BudgetExceeded        429     insufficient_quota          budget_exceeded
    ├── Upstream                  (given) (given)                     (given)
    ├── Overloaded                503     service_unavailable_error   server_overloaded
    ├── NoProvider                503     service_unavailable_error   no_provider
    ├── NotCached                 504     invalid_request_error       not_cached
    ├── DatabaseUnavailable       503     service_unavailable_error   database_unavailable
    ├── CredentialUnavailable     503     service_unavailable_error   credential_unavailable
    ├── LedgerUnavailable         503     service_unavailable_error   ledger_unavailable
    └── Internal                  500     server_error                internal_error

The body is OpenAI's `{"error": {message, type, param, code}}`, so that its SDKs raise the class
that fits. A message says what went wrong, where, and what to do; it never carries a secret.
"""

from typing import Any

import orjson

MESSAGE_LIMIT = 4000  # characters of an answer's message: it may quote what was sent
PARAM_LIMIT = 200
IRE = "invalid_request_error"
UE = "upstream_error"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + " …"


class TurnoutError(Exception):
    """An error that is an answer. `headers` go out with it."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        message = _cut(message, MESSAGE_LIMIT)
        super().__init__(message)
        self.message = message
        self.param = param and _cut(param, PARAM_LIMIT)
        self.code = code or type(self).code
        self.headers = headers or {}

    def body(self) -> bytes:
        """OpenAI's error body, as JSON."""
        return error_body(self.message, self.type, self.code, self.param)


class InvalidRequest(TurnoutError):
    """The request itself is at fault: JSON, a value, a header, a parameter."""

    status = 400
    type = IRE
    code = "invalid_value"


class Unauthenticated(TurnoutError):
    """No credential, or none that is known, valid and alive."""

    status = 401
    type = IRE
    code = "invalid_api_key"


class Forbidden(TurnoutError):
    """A known caller on a route that is not for it."""

    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFound(TurnoutError):
    """No such thing, or none that this caller may see."""

    status = 404
    type = IRE
    code = "not_found"


class ModelNotFound(NotFound):
    """A name that resolves to no target for this caller."""

    code = "model_not_found"


class Conflict(TurnoutError):
    """What is there already, or may not be changed here."""

    status = 409
    type = IRE
    code = "conflict"


class MethodNotAllowed(TurnoutError):
    """The path exists, the method does not."""

    status = 405
    type = IRE
    code = "method_not_allowed"


class TooLarge(TurnoutError):
    """A body over `server.body_limit`."""

    status = 413
    type = IRE
    code = "request_too_large"


class LimitExceeded(TurnoutError):
    """More requests or tokens than the caller may have now; `retry-after` says when."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class BudgetExceeded(LimitExceeded):
    """The money is spent, or promised to requests under way."""

    type = "insufficient_quota"
    code = "budget_exceeded"


class Unprocessable(TurnoutError):
    """A value that a route under `/api/v1` can't take; `param` names it."""

    status = 422
    type = IRE
    code = "invalid_value"


class Upstream(TurnoutError):
    """No target gave an answer: what the last one said, in the status that fits."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str,
        code: str,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code, headers=headers)
        self.status = status
        self.type = type
        self.was_sent = True  # to a provider: else it is Turnout that holds it back


class Overloaded(TurnoutError):
    """More than this process can serve: better one no at once than a late answer for all."""

    status = 503
    type = "service_unavailable_error"
    code = "server_overloaded"


class NoProvider(TurnoutError):
    """No provider is on that could be asked."""

    status = 503
    type = "service_unavailable_error"
    code = "no_provider"


class NotCached(TurnoutError):
    """Only a kept answer was wanted, and there is none (RFC 9111's answer to only-if-cached)."""

    status = 504
    type = "invalid_request_error"
    code = "not_cached"


class DatabaseUnavailable(TurnoutError):
    """What only the database knows can't be asked now: a key that was not seen before."""

    status = 503
    type = "service_unavailable_error"
    code = "database_unavailable"


class CredentialUnavailable(TurnoutError):
    """A key of a provider that is stored, and can't be opened."""

    status = 503
    type = "service_unavailable_error"
    code = "credential_unavailable"


class LedgerUnavailable(TurnoutError):
    """The books can't take another row, and `ledger.on_full` is `reject`."""

    status = 503
    type = "service_unavailable_error"
    code = "ledger_unavailable"


class Internal(TurnoutError):
    """A fault of Turnout's own; the details are in the log under the request id."""


def error_body(message: str, type: str, code: str | None, param: str | None = None) -> bytes:
    """OpenAI's error object as JSON bytes."""
    error: dict[str, Any] = {"message": message, "type": type, "param": param, "code": code}
    return orjson.dumps({"error": error})


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_body(error: TurnoutError, request_id: str | None = None) -> bytes:
    """The error as Anthropic's API would say it."""
    kind = _ANTHROPIC_TYPES.get(error.status)
    kind = kind or ("invalid_request_error" if error.status < 500 else "api_error")
    body = {"type": "error", "error": {"type": kind, "message": error.message}}
    return orjson.dumps(body | ({"request_id": request_id} if request_id else {}))


_TRPC_CODES = {
    400: ("BAD_REQUEST", -32600),
    401: ("UNAUTHORIZED", -32001),
    403: ("FORBIDDEN", -32003),
    404: ("NOT_FOUND", -32004),
    405: ("METHOD_NOT_SUPPORTED", -32005),
    408: ("TIMEOUT", -32008),
    409: ("CONFLICT", -32009),
    413: ("PAYLOAD_TOO_LARGE", -32013),
    422: ("UNPROCESSABLE_CONTENT", -32022),
    429: ("TOO_MANY_REQUESTS", -32029),
    499: ("CLIENT_CLOSED_REQUEST", -32099),
    501: ("NOT_IMPLEMENTED", -32603),
    502: ("BAD_GATEWAY", -32603),
    503: ("SERVICE_UNAVAILABLE", -32603),
    504: ("GATEWAY_TIMEOUT", -32603),
}
"""Status -> tRPC's name of it and JSON-RPC's number, as tRPC 11 has them."""


def trpc_error(error: TurnoutError, path: str) -> dict[str, Any]:
    """The error as a tRPC server says it, for a procedure's `path`; our own code is beside."""
    kind, number = _TRPC_CODES.get(error.status, ("INTERNAL_SERVER_ERROR", -32603))
    data = {"code": kind, "httpStatus": error.status, "path": path}
    data |= {"turnoutCode": error.code, "param": error.param}
    return {"error": {"message": error.message, "code": number, "data": data}}


def detail_body(error: TurnoutError) -> bytes:
    """The error as the API under `/v2` says it: `detail` in words, OpenAI's object beside."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return orjson.dumps({"detail": error.message, "error": said})


def responses_body(error: TurnoutError) -> bytes:
    """The error as an event of the Responses API, with OpenAI's error object beside: its SDKs
    raise on that one."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    event = {
        "type": "error",
        "sequence_number": 0,
        **{k: v for k, v in said.items() if k != "type"},
    }
    return orjson.dumps(event | {"error": said})
