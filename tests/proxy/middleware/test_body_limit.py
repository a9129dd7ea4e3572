"""A body over the limit is refused, declared or not."""

from typing import Any

import pytest

from proxy.errors import TooLarge
from proxy.middleware.body_limit import BodyLimit
from tests.proxy.middleware.calls import call, ok


async def read_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["more_body"]:
        pass
    await ok(scope, receive, send)


@pytest.mark.parametrize(
    ("headers", "body"),
    [([(b"content-length", b"11")], [b""]), ([], [b"x" * 6, b"x" * 6])],
)
async def test_too_large(headers: list[tuple[bytes, bytes]], body: list[bytes]) -> None:
    with pytest.raises(TooLarge) as caught:
        await call(BodyLimit(read_all, lambda: 10), body=body, headers=headers)
    assert caught.value.headers["connection"] == "close"


async def test_just_right() -> None:
    assert (await call(BodyLimit(read_all, lambda: 10), body=[b"x" * 5, b"x" * 5]))[0][
        "status"
    ] == 200
