"""OpenAI's paths; what they do is tested over sockets in tests/e2e."""

from typing import cast

import pytest
from starlette.routing import Route

from proxy.doors import openai
from proxy.doors.call import CallDoor
from proxy.errors import MethodNotAllowed
from proxy.pipeline import Pipeline, Snapshot


def never() -> Snapshot:
    raise AssertionError("the method is checked before anything else")


def test_the_paths() -> None:
    routes = [cast("Route", route) for route in openai.routes(never, cast("Pipeline", None))]
    calls = {route.path for route in routes if isinstance(route.endpoint, CallDoor)}
    assert calls == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/images/generations",
        "/v1/audio/transcriptions",
        "/v1/audio/speech",
        "/v1/moderations",
    }
    assert {route.path for route in routes} - calls == {"/v1/models", "/v1/models/{name:path}"}


async def test_a_call_is_a_post() -> None:
    route = cast("Route", openai.routes(never, cast("Pipeline", None))[0])
    with pytest.raises(MethodNotAllowed) as refused:
        await route.endpoint({"method": "GET", "path": "/v1/chat/completions"}, None, None)
    assert refused.value.headers == {"allow": "POST"}
