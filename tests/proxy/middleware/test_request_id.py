"""Each response has an id of its own."""

import pytest

from tests.proxy.middleware.calls import call, ok


async def test_ids_differ() -> None:
    headers = [dict((await call(ok))[0]["headers"]) for _ in range(2)]
    assert headers[0][b"x-request-id"].startswith(b"req_")
    assert headers[0][b"x-request-id"] != headers[1][b"x-request-id"]


@pytest.mark.parametrize(
    ("path", "is_private"),
    [
        ("/api/v1/usage/summary", True),
        ("/api/llm", True),
        ("/v2/llm-models", True),
        ("/metrics", True),
        ("/health", True),
        ("/v1/chat/completions", False),
        ("/", False),
        ("/ui/app.js", False),
    ],
)
async def test_no_cache_keeps_what_is_told_to_one(path: str, is_private: bool) -> None:
    said = dict((await call(ok, path=path))[0]["headers"])
    assert (said.get(b"cache-control") == b"no-store") is is_private
    assert (said.get(b"x-content-type-options") == b"nosniff") is is_private
