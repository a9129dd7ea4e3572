"""One line a request, without what may be secret."""

import json
import logging

import orjson
import pytest

from proxy.middleware.access_log import AccessLog
from proxy.telemetry.logs import JsonLines
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
    members = json.loads(JsonLines().format(caplog.records[0]))
    assert (members["message"], members["path"]) == ("request", "/x")
    assert members["request_id"] == line["request_id"]


async def test_a_long_path_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "turnout.access"):
        await call(AccessLog(ok), path="/" + "x" * 60_000)
    assert orjson.loads(caplog.messages[0])["path"] == "/" + "x" * 999
