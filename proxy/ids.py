"""Identifiers: UUIDs of version 7, which sort by the time they were made (RFC 9562)."""

import os
import time
from itertools import count

_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62
_COUNTER_BITS = 12
_counter = count(int.from_bytes(os.urandom(1)))


def uuid7() -> str:
    """A new id: 48 bits of milliseconds, 12 of a counter, 62 of chance, in the usual text form."""
    millis = time.time_ns() // 1_000_000
    turn = next(_counter) & 0xFFF
    chance = int.from_bytes(os.urandom(8)) >> 2
    text = f"{millis << 80 | _VERSION | turn << 64 | _VARIANT | chance:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
