"""What is bound and printed; serving itself is in tests/e2e/test_serve.py."""

import socket

import pytest

from proxy.server import Settings, _authority, _bind


def test_a_free_port_and_the_address_of_it() -> None:
    sock = _bind("127.0.0.1", 0)
    assert _authority(sock) == f"127.0.0.1:{sock.getsockname()[1]}"
    sock.close()


def test_ipv6_is_bracketed() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    sock = _bind("::1", 0)
    assert _authority(sock).startswith("[::1]:")
    sock.close()


def test_an_address_that_is_taken_is_named() -> None:
    first = _bind("127.0.0.1", 0)
    first.listen()
    port = first.getsockname()[1]
    with pytest.raises(OSError, match=f"127.0.0.1:{port}.*--port"):
        _bind("127.0.0.1", port)
    first.close()


def test_the_command_line_wins() -> None:
    assert Settings(port=7, workers=2).load().server.port == 7
