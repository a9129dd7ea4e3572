"""The HTTP client: what it sends, what it refuses, how it says that a connection broke."""

from collections.abc import AsyncIterator

import pytest

from adapters.base import FailureKind, Outgoing, UpstreamFailure
from proxy.signing import Signer
from proxy.upstream import Upstream
from tests.adapters.asks import target
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream as Fake


@pytest.fixture
async def client() -> AsyncIterator[Upstream]:
    client = Upstream(Signer())
    client.open()
    yield client
    await client.close()


def outgoing(base_url: str) -> Outgoing:
    return Outgoing(base_url + "/chat/completions", {"content-type": "application/json"}, b"{}")


async def failure(client: Upstream, base_url: str) -> tuple[FailureKind, str]:
    with pytest.raises(UpstreamFailure) as caught:
        exchange = await client.send(outgoing(base_url), target())
        try:
            await exchange.read(1000)
        finally:
            exchange.close()
    assert "127.0.0.1" not in caught.value.failure.message
    return caught.value.failure.kind, caught.value.failure.message


async def test_connections_are_kept(client: Upstream) -> None:
    async with Fake() as up:
        up.script(fake.json_reply({"a": 1}))
        for _ in range(3):
            exchange = await client.send(outgoing(up.base_url), target())
            assert await exchange.read() == b'{"a":1}'
            exchange.close()
        assert up.connections_open == 1


async def test_redirects_are_not_followed(client: Upstream) -> None:
    async with Fake() as up:
        up.script(fake.redirect_reply(up.base_url))
        exchange = await client.send(outgoing(up.base_url), target())
        assert (exchange.status, len(up.log)) == (302, 1)
        exchange.close()


async def test_nobody_there(client: Upstream) -> None:
    kind, message = await failure(client, f"http://127.0.0.1:{fake.refused_port()}/v1")
    assert (kind, "connection refused" in message) == (FailureKind.UNREACHABLE, True)


async def test_a_reset_before_the_answer(client: Upstream) -> None:
    async with Fake() as up:
        up.script([fake.Reset()])
        assert (await failure(client, up.base_url))[0] is FailureKind.UNREACHABLE


async def test_an_answer_that_breaks_off(client: Upstream) -> None:
    async with Fake() as up:
        up.script(fake.cut_json_reply())
        assert (await failure(client, up.base_url))[0] is FailureKind.INTERRUPTED


async def test_an_answer_that_is_too_large(client: Upstream) -> None:
    async with Fake() as up:
        up.script(fake.json_reply(b"x" * 5000))
        assert (await failure(client, up.base_url))[0] is FailureKind.INVALID_REPLY


async def test_what_is_not_http(client: Upstream) -> None:
    async with Fake() as up:
        up.script([fake.Send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), fake.Close()])
        kind, _ = await failure(client, up.base_url)
        assert kind in (FailureKind.INVALID_REPLY, FailureKind.UNREACHABLE)
