"""Anthropic's paths, and errors in its shape under them; the calls are in tests/e2e."""

from typing import cast

import orjson
import pytest
from starlette.routing import Route

from adapters.base import Endpoint
from proxy.doors import anthropic
from proxy.doors.call import CallDoor
from proxy.errors import InvalidRequest, Unauthenticated, Upstream, anthropic_body
from proxy.pipeline import Pipeline, Snapshot


def test_its_paths() -> None:
    def never() -> Snapshot:
        raise AssertionError

    routes = anthropic.routes(never, cast("Pipeline", None))
    assert [cast("Route", route).path for route in routes] == [
        "/v1/messages",
        "/v1/messages/count_tokens",
    ]
    assert all(isinstance(cast("Route", route).endpoint, CallDoor) for route in routes)
    assert Endpoint.MESSAGES == "/messages"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("m"), "invalid_request_error"),
        (Unauthenticated("m"), "authentication_error"),
        (Upstream("m", status=429, type="x", code="y"), "rate_limit_error"),
        (Upstream("m", status=503, type="x", code="y"), "overloaded_error"),
        (Upstream("m", status=504, type="x", code="y"), "timeout_error"),
        (Upstream("m", status=502, type="x", code="y"), "api_error"),
        (Upstream("m", status=422, type="x", code="y"), "invalid_request_error"),
    ],
)
def test_an_error_in_its_words(error: InvalidRequest, kind: str) -> None:
    assert orjson.loads(anthropic_body(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "m"},
        "request_id": "req_1",
    }
