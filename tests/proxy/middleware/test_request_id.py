"""Each response has an id of its own."""

from tests.proxy.middleware.calls import call, ok


async def test_ids_differ() -> None:
    headers = [dict((await call(ok))[0]["headers"]) for _ in range(2)]
    assert headers[0][b"x-request-id"].startswith(b"req_")
    assert headers[0][b"x-request-id"] != headers[1][b"x-request-id"]
