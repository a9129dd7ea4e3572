"""Times as text."""

import time
from datetime import datetime

import pytest

from proxy.times import iso, iso_now


@pytest.mark.parametrize(
    ("millis", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (1_709_164_800_007, "2024-02-29T00:00:00.007Z"),
        (1_776_772_800_123, "2026-04-21T12:00:00.123Z"),
    ],
)
def test_milliseconds(millis: int, text: str) -> None:
    assert iso(millis) == text


def test_now() -> None:
    said = datetime.fromisoformat(iso_now())
    assert said.utcoffset() is not None
    assert abs(said.timestamp() - time.time()) < 5
