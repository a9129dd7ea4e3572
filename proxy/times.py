"""Times as text."""

import time
from datetime import UTC, datetime
from functools import lru_cache


def iso(millis: int) -> str:
    """Epoch milliseconds as ISO 8601 in UTC."""
    seconds, rest = divmod(millis, 1000)
    return f"{_second(seconds)}.{rest:03}Z"


def iso_now() -> str:
    """The time in ISO 8601, UTC."""
    return iso(time.time_ns() // 1_000_000)


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """Rows of one export have few different seconds, and a date is dear to write."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
