"""Bodies in the log: of calls, where the operator asks for them, and of nothing else."""

import logging
from pathlib import Path

import pytest

from proxy.middleware.bodies import LIMIT, Copy
from proxy.telemetry.logs import FIELDS
from tests.e2e.gateway import MASTER, one_upstream, running
from tests.fakes.upstream import Upstream

CHAT = {"model": "up/m", "messages": [{"role": "user", "content": "what was asked"}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call(tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    with caplog.at_level(logging.INFO, "turnout.bodies"):
        async with (
            Upstream() as up,
            running(tmp_path, one_upstream(up.base_url, "ledger: {log_bodies: true}")) as gateway,
        ):
            answer = await gateway.post(CHAT | {"stream": stream})
            assert answer.status == 200
            await gateway.rows(1)
            login = {"email": "a@example.com", "password": "a-password-of-somebody"}
            await gateway.call("POST", "/api/v1/login", login, MASTER)
            await gateway.post(CHAT, headers={"authorization": "Bearer wrong"})
    (line,) = [record for record in caplog.records if record.name == "turnout.bodies"]
    fields = getattr(line, FIELDS)
    assert fields["request_id"] == answer.headers["x-request-id"].removeprefix("req_")
    assert '"what was asked"' in fields["request"]
    assert fields["response"] == answer.body.decode()
    assert fields["is_cut"] is False
    assert gateway.key not in line.getMessage()
    assert "a-password" not in caplog.text


async def test_nothing_unless_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with (
            Upstream() as up,
            running(tmp_path, one_upstream(up.base_url)) as gateway,
        ):
            assert (await gateway.post(CHAT)).status == 200
            await gateway.rows(1)
    assert "what was asked" not in caplog.text


def test_a_long_body_is_cut() -> None:
    copy = Copy()
    copy.take({"type": "http.request", "body": b"a" * (LIMIT - 1)})
    assert not copy.is_cut
    copy.take({"type": "http.request", "body": b"bcd"})
    copy.take({"type": "http.request", "body": b"e"})
    assert copy.is_cut
    assert len(copy.text) == LIMIT
    assert copy.text.endswith("ab")
