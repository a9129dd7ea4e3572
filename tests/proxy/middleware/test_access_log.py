"""One line a request, without what may be secret."""

import logging

import orjson
import pytest

from proxy.middleware.access_log import AccessLog
from tests.proxy.middleware.calls import call, ok


async def test_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "turnout.access"):
        await call(
            AccessLog(ok), query_string=b"key=secret", headers=[(b"authorization", b"secret")]
        )
    line = orjson.loads(caplog.messages[0])
    assert (line["method"], line["path"], line["status"]) == ("GET", "/x", 200)
    assert line["request_id"]
    assert "secret" not in caplog.text
