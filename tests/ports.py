"""Ports that stay free while a server is down for a moment."""

import random
import socket

FIRST, LAST = 15_000, 30_000
"""Below those that the system gives out by itself (32768 and up): while a server that was killed
starts again, no connection and no other test's server takes its port."""


def lasting_port() -> int:
    """A port of loopback on which nobody listens, and that only who asks for it gets."""
    while True:
        port = random.SystemRandom().randint(FIRST, LAST)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
