"""The HTTP client: what it sends, what it refuses, how it says that a connection broke."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from adapters.base import Failure, FailureKind, Outgoing, Retry, UpstreamFailure
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


# Providers that were made through the API: public addresses only.


class Trap:
    """Sockets that listen at every address of this machine, and must see nobody."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("0.0.0.0", 0))]
        self.port = self._sockets[0].getsockname()[1]
        self._sockets.append(
            socket.create_server(("::", self.port), family=socket.AF_INET6, dualstack_ipv6=False)
        )
        for each in self._sockets:
            each.setblocking(False)

    def is_untouched(self) -> bool:
        for each in self._sockets:
            try:
                each.accept()[0].close()
            except BlockingIOError:
                continue
            return False
        return True

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


CONNECTED: list[str] = []
"""Every host that a socket of this process was connected to, as the interpreter's audit tells."""


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        CONNECTED.append(str(args[1][0]))


@cache
def listen_in() -> None:
    """Once: an audit hook stays as long as the process."""
    sys.addaudithook(_hear)


@pytest.fixture
def connected() -> list[str]:
    """Where sockets were connected to since the test began."""
    listen_in()
    CONNECTED.clear()
    return CONNECTED


def leads_to(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, ...]) -> list[str]:
    """From now on every name leads to the addresses of the next answer, the last one stays.
    Returns the names that are asked for."""
    asked: list[str] = []
    left = list(answers)

    def resolve(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append(str(host))
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [_info(address, port) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def _info(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)


async def refused(client: Upstream, url: str, public_only: bool = True) -> Failure:
    kept = replace(target(), public_only=public_only)
    with pytest.raises(UpstreamFailure) as caught:
        async with asyncio.timeout(5):  # a trap takes connections and says nothing
            (await client.send(outgoing(url), kept)).close()
    assert "127.0.0.1" not in caught.value.failure.message
    return caught.value.failure


HIDDEN = [
    *("127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
    *("[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fd00:ec2::254]", "169.254.169.254"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "192.168.1.1", "172.16.0.1"),
    *("2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1", "127.1"),
    *("127.0.1", "0", "0x0", "127.0.0.1.", "localhost", "localhost.", "LOCALHOST"),
]


@pytest.mark.parametrize("host", HIDDEN)
async def test_a_private_address_is_not_connected_to(
    client: Upstream, trap: Trap, connected: list[str], host: str
) -> None:
    failure = await refused(client, f"http://{host}:{trap.port}/v1")
    if failure.kind is not FailureKind.URL_NOT_ALLOWED:  # this machine may know no such name
        assert failure.message.endswith("its host name does not resolve")
        assert host.lower().startswith(("0", "localhost", "127.0.0.1."))
    assert trap.is_untouched()
    assert connected == []


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("::1",),
        ("::1", "127.0.0.1"),
        ("169.254.169.254", "127.0.0.1", "10.0.0.1"),
        ("64:ff9b::7f00:1",),
        ("::ffff:127.0.0.1", "0.0.0.0"),
    ],
)
async def test_a_name_that_leads_to_private_addresses(
    client: Upstream,
    trap: Trap,
    connected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
) -> None:
    asked = leads_to(monkeypatch, addresses)
    failure = await refused(client, f"http://rebound.example.com:{trap.port}/v1")
    assert (failure.kind, failure.retry) == (FailureKind.URL_NOT_ALLOWED, Retry.NEXT_TARGET)
    assert asked == ["rebound.example.com"]
    assert trap.is_untouched()
    assert connected == []


async def test_the_address_counts_that_is_connected_to(
    client: Upstream, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    """A name that was public when it was asked for first, and leads elsewhere the next time."""
    monkeypatch.setattr("proxy.upstream.is_public", lambda address: address == "127.0.0.1")
    async with Fake() as up:
        port = urlsplit(up.base_url).port
        leads_to(monkeypatch, ("127.0.0.1",), ("127.0.0.2",))
        kept = replace(target(), public_only=True)
        url = f"http://rebound.example.com:{port}/v1"
        up.script([*fake.error_reply(500), fake.Close()])
        exchange = await client.send(outgoing(url), kept)
        assert exchange.status == 500
        exchange.close()
        await up.wait_until_closed()
        monkeypatch.setattr("aiohttp.connector._DNSCacheTable.expired", lambda *_: True)
        failure = await refused(client, url)
        assert failure.kind is FailureKind.URL_NOT_ALLOWED
        assert connected == ["127.0.0.1"]


async def test_of_several_addresses_only_the_public_ones_are_connected_to(
    client: Upstream, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    monkeypatch.setattr("proxy.upstream.is_public", lambda address: address == "127.0.0.1")
    async with Fake() as up:
        leads_to(monkeypatch, ("127.0.0.3", "127.0.0.1", "127.0.0.2"))
        url = f"http://many.example.com:{urlsplit(up.base_url).port}/v1"
        exchange = await client.send(outgoing(url), replace(target(), public_only=True))
        assert exchange.status == 200
        exchange.close()
        assert connected == ["127.0.0.1"]


async def test_a_redirect_to_a_private_address_is_not_followed(
    client: Upstream, trap: Trap, monkeypatch: pytest.MonkeyPatch, connected: list[str]
) -> None:
    monkeypatch.setattr("proxy.upstream.is_public", lambda address: address == "127.0.0.1")
    async with Fake() as up:
        up.script(fake.redirect_reply(f"http://127.0.0.2:{trap.port}/v1"))
        exchange = await client.send(outgoing(up.base_url), replace(target(), public_only=True))
        assert (exchange.status, len(up.log)) == (302, 1)
        exchange.close()
        assert trap.is_untouched()
        assert connected == ["127.0.0.1"]


async def test_a_connection_of_a_trusted_provider_is_not_lent(
    client: Upstream, connected: list[str]
) -> None:
    """One that is kept open is to a place that was allowed to whom it was opened for."""
    async with Fake() as up:
        exchange = await client.send(outgoing(up.base_url), target())
        await exchange.read()
        exchange.close()
        assert connected == ["127.0.0.1"]
        assert (await refused(client, up.base_url)).kind is FailureKind.URL_NOT_ALLOWED
        assert (connected, len(up.log)) == (["127.0.0.1"], 1)


async def test_a_trusted_provider_may_be_anywhere(client: Upstream) -> None:
    async with Fake() as up:
        exchange = await client.send(outgoing(up.base_url), target())
        assert exchange.status == 200
        exchange.close()


async def test_a_trusted_providers_odd_host_is_merely_unreachable(client: Upstream) -> None:
    failure = await refused(client, "http://2130706433:9/v1", public_only=False)
    assert failure.kind is FailureKind.UNREACHABLE
