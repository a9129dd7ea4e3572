"""Every error is an answer, unless the answer has begun."""

import logging
from typing import Any

import orjson
import pytest
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from proxy.errors import InvalidRequest
from proxy.middleware.errors import Errors
from tests.proxy.middleware.calls import call


def raising(error: Exception, begun: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("no", param="n"), 400, "invalid_value"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405), 405, "method_not_allowed"),
        (RuntimeError("secret detail"), 500, "internal_error"),
        (OperationalError("secret", None, Exception()), 503, "database_unavailable"),
        (ConnectionRefusedError("secret"), 503, "database_unavailable"),
        (TimeoutError("secret"), 503, "database_unavailable"),
        (DataError("secret", None, Exception()), 400, "invalid_value"),
    ],
)
async def test_answers(error: Exception, status: int, code: str) -> None:
    start, body = await call(Errors(raising(error)))
    assert start["status"] == status
    assert orjson.loads(body["body"])["error"]["code"] == code
    assert b"secret" not in body["body"]


async def test_a_client_that_left_is_not_answered() -> None:
    assert await call(Errors(raising(ClientDisconnect()))) == []


async def test_what_nobody_foresaw_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError):
        await call(Errors(raising(RuntimeError("oops"), begun=True)))
    assert "oops" in caplog.text
