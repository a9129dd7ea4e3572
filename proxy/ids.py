"""Identifiers: UUIDs of version 7, which sort by the time they were made (RFC 9562)."""

import os
import time
from itertools import count
from random import Random

_FIXED = 0x7 << 76 | 0x2 << 62  # version and variant
_random = Random(os.urandom(32))  # noqa: S311  (ids are names, not secrets)
_counter = count(_random.getrandbits(8))


REQUEST = "req_"
"""What the id of a request has before it wherever it is told, as in `x-request-id`."""


def request_name(request_id: str) -> str:
    """A request's id as it is told."""
    return REQUEST + request_id.removeprefix(REQUEST)


def uuid7() -> str:
    """A new id: 48 bits of milliseconds, 12 of a counter, 62 of chance; 32 hex digits."""
    millis = time.time_ns() // 1_000_000
    turn = next(_counter) & 0xFFF
    return f"{millis << 80 | _FIXED | turn << 64 | _random.getrandbits(62):032x}"


def earliest(at: float) -> str:
    """The id that all those made since `at`, in epoch seconds, come after."""
    return f"{int(at * 1000) << 80:032x}"


def reseed() -> None:
    """After a fork: the child must not go on with its parent's numbers."""
    _random.seed(os.urandom(32))


os.register_at_fork(after_in_child=reseed)
